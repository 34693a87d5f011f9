"""Shapes of masks: distances, openings, holes. Discs cost the same at every size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import Mask

    Bools = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float32]


def disc(diameter: float) -> Mask:
    """Structuring element of an odd size, (n, n) uint8."""
    size = max(1, round(diameter)) | 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def filled(mask: Mask) -> Mask:
    """Fill the holes of a 0/255 mask."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), contours, -1, 255, cv2.FILLED), np.uint8)


def distance_from(mask: Mask) -> Floats:
    """Distance in pixels of each pixel from the nearest set one."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(
        cv2.distanceTransform(np.where(mask, np.uint8(0), np.uint8(1)), cv2.DIST_L2, 3), np.float32
    )


def opened(mask: Mask, diameter: float) -> Mask:
    """Open by a disc, whose cost does not grow with its size; what lies beyond the border counts as set."""
    core = cv2.distanceTransform(mask, cv2.DIST_L2, 3) > diameter / 2
    return np.where(distance_from(core.astype(np.uint8)) < diameter / 2, mask, np.uint8(0))


def closed(mask: Mask, diameter: float) -> Mask:
    """Close by a disc; nothing is closed towards the picture's border."""
    grown = (distance_from(mask) <= diameter / 2).astype(np.uint8)
    framed = cv2.copyMakeBorder(grown, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    inner = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1] > diameter / 2
    return np.where(inner, np.uint8(255), mask)


def without_specks(mask: Mask, scale: float) -> Mask:
    """Fill small holes and leave out granules."""
    inverse = np.where(mask, np.uint8(0), np.uint8(255))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inverse, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < 3 * scale**2
    small[0] = False
    mask = np.where(small[labels], np.uint8(255), mask)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count == 1:
        return mask
    large = stats[:, cv2.CC_STAT_AREA] >= 0.1 * stats[1:, cv2.CC_STAT_AREA].max()
    large[0] = False
    return np.asarray(np.where(large[labels], np.uint8(255), np.uint8(0)), np.uint8)
