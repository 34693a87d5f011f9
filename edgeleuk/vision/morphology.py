"""Shapes of masks: distances, openings, holes, components."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import Mask

    Bools = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float32]
    Labels = npt.NDArray[np.int32]

# Beyond this radius two distance transforms take less time than two passes with a kernel.
_LARGEST_KERNEL_PX = 8.0


def disc(diameter: float) -> Mask:
    """Structuring element of an odd size, (n, n) uint8."""
    size = max(1, round(diameter)) | 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def mask_of(where: Bools) -> Mask:
    """Return a 0/255 mask: what `numpy.where` does, in a tenth of the time."""
    return np.negative(where.view(np.uint8))


def around(mask: Mask, margin: float) -> tuple[slice, slice]:
    """Rows and columns of the box about what is set, and so many pixels more on each side."""
    x, y, w, h = cv2.boundingRect(mask)
    more = math.ceil(margin)
    return slice(max(0, y - more), y + h + more), slice(max(0, x - more), x + w + more)


def filled(mask: Mask) -> Mask:
    """Fill the holes of a 0/255 mask."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), contours, -1, 255, cv2.FILLED), np.uint8)


def distance_from(mask: Mask) -> Floats:
    """Distance in pixels of each pixel from the nearest set one."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform((mask == 0).view(np.uint8), cv2.DIST_L2, 3), np.float32)


def within(mask: Mask, radius: float) -> Bools:
    """Pixels that are at most so far away from the nearest set one."""
    if radius > _LARGEST_KERNEL_PX:
        return np.asarray(distance_from(mask) <= radius)
    return np.asarray(cv2.dilate(mask, _ball(radius, closed=True)), np.uint8) > 0


def opened(mask: Mask, diameter: float) -> Mask:
    """Open a 0/255 mask by a disc; what lies beyond the border counts as set."""
    radius = diameter / 2
    if radius > _LARGEST_KERNEL_PX:
        deep = cv2.distanceTransform(mask, cv2.DIST_L2, 3) > radius
        return np.where(distance_from(deep.astype(np.uint8)) < radius, mask, np.uint8(0))
    core = cv2.erode(mask, _ball(radius, closed=True))
    return np.asarray(cv2.bitwise_and(cv2.dilate(core, _ball(radius, closed=False)), mask), np.uint8)


def closed(mask: Mask, diameter: float) -> Mask:
    """Close a 0/255 mask by a disc; nothing is closed towards the picture's border."""
    radius = diameter / 2
    if radius > _LARGEST_KERNEL_PX:
        grown = mask_of(distance_from(mask) <= radius)
        framed = cv2.copyMakeBorder(grown, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        inner = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1] > radius
        return np.where(inner, np.uint8(255), mask)
    ball = _ball(radius, closed=True)
    shrunk = cv2.erode(cv2.dilate(mask, ball), ball, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(cv2.bitwise_or(shrunk, mask), np.uint8)


@lru_cache(maxsize=64)
def _ball(radius: float, *, closed: bool) -> Mask:
    """Structuring element of the distances of `distance_from`: both ways of it give the same masks.

    Parameters
    ----------
    radius : float
    closed : bool
        With the pixels that are just so far away.
    """
    reach = int(radius) + 1
    point = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    point[reach, reach] = 0
    distance = np.asarray(cv2.distanceTransform(point, cv2.DIST_L2, 3))
    ball = (distance <= radius if closed else distance < radius).astype(np.uint8)
    # One too many on each side, if rounding did not make it so far.
    return np.asarray(ball if reach == 1 or ball[0].any() else ball[1:-1, 1:-1].copy(), np.uint8)


def components(mask: Mask, connectivity: int = 8) -> tuple[Labels, npt.NDArray[np.int64]]:
    """Label the components of a mask, and count their pixels; 0 is the rest.

    OpenCV's own statistics cost ten times the labels.

    Returns
    -------
    labels : (H, W) int32
    areas : (n,) int64
        Of the rest, of component 1, and so on.
    """
    labels = np.asarray(cv2.connectedComponents(mask, connectivity=connectivity)[1], np.int32)
    return labels, np.bincount(labels.ravel())


def without_specks(mask: Mask, scale: float) -> Mask:
    """Fill small holes and leave out granules."""
    labels, areas = components(np.asarray(cv2.bitwise_not(mask), np.uint8), 4)
    small = areas < 3 * scale**2
    small[0] = False
    if small.any():
        mask = np.where(small[labels], np.uint8(255), mask)
    labels, areas = components(mask)
    large = areas >= 0.1 * areas[1:].max(initial=0)
    large[0] = False
    if large[1:].all():
        return mask
    return mask_of(large[labels])
