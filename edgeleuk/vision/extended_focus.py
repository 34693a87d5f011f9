"""Several planes of one field as one picture that is sharp everywhere, and which plane each place is from.

A place is sharp where its second differences have most power. Between planes the power to -2/3 is a parabola,
as `edgeleuk.stage.autofocus` says, so that a height is told more exactly than by the number of a plane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Floats = npt.NDArray[np.float32]
    Bytes = npt.NDArray[np.uint8]

# So many pixels of a picture, across and down, are one of its map.
MAP_PX = 8
_SMOOTH_PX = 1.0
# In pixels of the map: how far around a place its sharpness is measured, and filled in from.
_AROUND, _FILLED_FROM = 1.5, 12.0
# Where the sharpest plane has not so many times the power of the least sharp, there is nothing to focus on.
_LEAST_CHANGE = 1.5


class ExtendedFocus(NamedTuple):
    """What several planes come to.

    Attributes
    ----------
    pixels : (H, W, 3) uint8, RGB
        Each place from the plane where it is sharpest.
    plane : (H / MAP_PX, W / MAP_PX) float32, rounded up
        Number of that plane, between planes where the focus lies between them; NaN where nothing tells.
        At the first and the last plane the focus may lie beyond it.
    """

    pixels: RgbImage
    plane: Floats


def extend_focus(planes: Sequence[RgbImage]) -> ExtendedFocus:
    """Join the planes of a field.

    Parameters
    ----------
    planes : sequence of (H, W, 3) uint8, RGB
        Of one size, in the order of their heights.

    Raises
    ------
    ValueError
        There are none, or they differ in size.
    """
    if not planes or any(plane.shape != planes[0].shape for plane in planes):
        msg = f"expected planes of one size, got {[plane.shape for plane in planes]}"
        raise ValueError(msg)
    power = np.stack([_sharpness(plane) for plane in planes])
    best = np.argmax(power, axis=0)
    is_known = power.max(axis=0) >= _LEAST_CHANGE * power.min(axis=0)
    told = np.where(is_known, best + _between(power, best), np.nan).astype(np.float32)
    return ExtendedFocus(_composed(planes, _filled(best, is_known, len(planes) // 2)), told)


def map_size(width: int, height: int) -> tuple[int, int]:
    """Return (W, H) of the map of a picture.

    Examples
    --------
    >>> map_size(1280, 961)
    (160, 121)
    """
    return -(-width // MAP_PX), -(-height // MAP_PX)


def _sharpness(pixels: RgbImage) -> Floats:
    """Measure the power of green's second differences around each place of the map."""
    # Rounded to whole levels, what is left of noise would look like detail.
    green = cv2.GaussianBlur(pixels[:, :, 1].astype(np.float32), (0, 0), _SMOOTH_PX)
    detail = cv2.Laplacian(green, cv2.CV_32F, ksize=3)
    small = cv2.resize(detail**2, map_size(green.shape[1], green.shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), _AROUND) + 1e-6, np.float32)


def _between(power: Floats, best: npt.NDArray[np.intp]) -> Floats:
    """Return how far the focus lies from the best plane, at most half a step; 0 of two planes."""
    last = len(power) - 1
    if last < 2:
        return np.zeros(best.shape, np.float32)
    # At both ends the parabola is that of the next plane.
    summit = np.clip(best, 1, last - 1)
    before, middle, after = (
        np.take_along_axis(power, (summit + way)[None], axis=0)[0] ** np.float32(-2 / 3) for way in (-1, 0, 1)
    )
    bend = before - 2 * middle + after
    way = 0.5 * (before - after) / np.maximum(bend, np.float32(1e-12))
    return np.asarray(np.clip(summit + way - best, -0.5, 0.5), np.float32)


def _filled(best: npt.NDArray[np.intp], is_known: npt.NDArray[np.bool_], middle: int) -> Bytes:
    """Choose a plane for each place of the map: where nothing tells, that of what is around."""
    weight = is_known.astype(np.float32)
    around = cv2.GaussianBlur(weight, (0, 0), _FILLED_FROM)
    mean = cv2.GaussianBlur(best * weight, (0, 0), _FILLED_FROM) / np.maximum(around, 1e-6)
    far = float(best[is_known].mean()) if is_known.any() else float(middle)
    planes = np.where(is_known, best, np.where(around > 1e-3, mean, far))
    chosen = np.round(planes).astype(np.uint8)
    # A single place that differs from all around it is noise.
    return np.asarray(cv2.medianBlur(chosen, 3), np.uint8)


def _composed(planes: Sequence[RgbImage], chosen: Bytes) -> RgbImage:
    """Take each place from its plane; planes are not averaged, which would blur."""
    height, width = planes[0].shape[:2]
    whole = cv2.resize(chosen.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    number = np.round(whole).astype(np.uint8)
    pixels: RgbImage = planes[0].copy()
    for n, plane in enumerate(planes[1:], 1):
        cv2.copyTo(np.ascontiguousarray(plane), np.asarray(number == n, np.uint8), pixels)
    return pixels
