"""Parting what touches at its necks, whether the picture's border cuts one of the parts or not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import Box
from edgeleuk.vision.morphology import distance_from

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import Mask

    Bools = npt.NDArray[np.bool_]
    Indices = npt.NDArray[np.intp]
    Sides = tuple[bool, bool, bool, bool]

# What touches has a neck, at most this wide beside the narrower of the two; each is at least so wide.
NECK = 0.75
_NARROWEST_UM = 4.4
# Of that, a part that the border cuts: it is wider than what shows.
_SLIVER = 0.5
# Beyond the border nothing is wider than that.
_WIDEST_UM = 20.0


def border_sides(box: Box, shape: tuple[int, ...]) -> Sides:
    """Tell which of the sides of a picture, (H, W), a box touches: top, bottom, left, right."""
    return box.y == 0, box.y + box.h == shape[0], box.x == 0, box.x + box.w == shape[1]


def split_at_necks(mask: Mask, scale: float, cut: Sides, widest: float = NECK) -> Indices | None:
    """Tell to which of the parts, that only necks connect, each pixel belongs.

    Parameters
    ----------
    mask : (h, w) uint8
    scale : float
        Pixels per micrometre.
    cut : tuple of 4 bool
        Sides of the mask that are the picture's border: what reaches them is taken to go on as wide as it is
        there, so that the little that shows of a cell is not shallow.
    widest : float
        Width of a neck beside the narrower part.

    Returns
    -------
    (h, w) intp or None
        None where there are not two parts.
    """
    reach = math.ceil(_WIDEST_UM / 2 * scale)
    top, bottom, left, right = (reach * side for side in cut)
    longer = cv2.copyMakeBorder(mask, top, bottom, left, right, cv2.BORDER_REPLICATE)
    inside = Box(left, top, mask.shape[1], mask.shape[0]).slices
    cores = _cores(np.asarray(longer, np.uint8), _NARROWEST_UM / 2 * scale, inside, widest)
    if not cores:
        return None
    # The cores lie equally deep, so that their neck is as far from one as from the other.
    return np.asarray(np.argmin([distance_from(core)[inside] for core in cores], axis=0), np.intp)


def _cores(mask: Mask, least_radius: float, inside: tuple[slice, slice], neck: float) -> list[Mask]:
    """Masks of what only necks connect; none where there are not two."""
    # Without the frame the mask's border would not count as outside.
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]
    beyond = np.ones(mask.shape, bool)
    beyond[inside] = False
    best: list[Mask] = []
    for level in np.linspace(0.2, 0.9, 8) * float(depth.max()):
        count, found = cv2.connectedComponents((depth > level).astype(np.uint8))
        labels = np.asarray(found, np.int32)
        if count - 1 <= max(1, len(best)):
            continue
        # Not as Python's numbers, with which depths would be compared less exactly.
        least, least_of_sliver = np.maximum(level / neck, (least_radius, _SLIVER * least_radius))
        deep = _labels_in(labels, depth > least, count)
        of_slivers = _labels_in(labels, depth > least_of_sliver, count)
        cores = np.flatnonzero(deep | (of_slivers & _labels_in(labels, beyond, count)))
        if len(cores[cores > 0]) > max(1, len(best)):
            best = [(labels == core).astype(np.uint8) for core in cores if core > 0]
    return best


def _labels_in(labels: npt.NDArray[np.int32], where: Bools, count: int) -> Bools:
    """Which of so many labels lie somewhere, (count,) bool."""
    return np.asarray(np.bincount(labels[where], minlength=count) > 0)
