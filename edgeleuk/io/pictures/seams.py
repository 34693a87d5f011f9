"""A JPEG whose damage the decoder did not notice shows it: the picture does not go on where damage begins.

A JPEG is a chain of squares, row by row. A bit that flips shifts or brightens all squares behind it. So a
seam runs along the upper edges of just so many squares as are in a row: from the damage to the end of its
row, and from the beginning of the next row to below the damage. Nothing in a sound picture has this shape: a
horizon, a scale bar or the frame of a display keeps to one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Floats = npt.NDArray[np.float32]

# Every so-many-th pixel of an edge is enough; where there are many squares, neighbours are taken together.
_STEP = 8
_PATCH_PX, _MANY_PX = 32, 480
# Levels: a greater jump is an edge of the picture's own, and counts for no more.
_MOST_JUMP = 24
# A part of a seam counts fully from so many pixels on.
_SURE_PX = 144.0
_LEAST_COLUMNS, _LEAST_ROWS = 4, 3
# Windows below are not looked at closely: levels, and relative to what is usual.
_FAINT_STEP, _FAINT_BREAK = 4.5, 2.5
# Levels: the median of an enlarged or a drawn picture may be near 0.
_LEAST_UNEVENNESS = 2.5


class Seam(NamedTuple):
    """How much a picture looks as if it did not go on somewhere; see the module.

    Attributes
    ----------
    step : float
        Levels by which all squares behind are brighter or darker, in the channel that shows it most.
    break_ratio : float
        Unevenness along the seam, relative to what is usual between the squares of this picture.
    """

    step: float
    break_ratio: float


def strongest_seam(pixels: RgbImage, square: tuple[int, int]) -> Seam:
    """Look for the strongest seam.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
        As it was decoded, not turned.
    square : tuple of 2 ints
        Width and height of what the JPEG codes at once, in pixels: 16 and 16 where colours are halved.

    Examples
    --------
    >>> picture = np.full((64, 640, 3), 200, np.uint8)
    >>> picture[32:, 320:] = picture[48:] = 190
    >>> strongest_seam(picture, (16, 16)).step
    10.0
    """
    width, height = square
    if pixels.shape[1] >= _MANY_PX:
        width = max(width, _PATCH_PX)
    columns, rows = pixels.shape[1] // width, (pixels.shape[0] - 1) // height
    if columns < _LEAST_COLUMNS or rows < _LEAST_ROWS:
        return Seam(0.0, 0.0)
    sums = _summed(pixels, (width, height), columns, rows)
    whole = _window_means(sums, columns)
    some = whole[1, ::7]
    usual = max(float(np.partition(some, len(some) // 2)[len(some) // 2]), _LEAST_UNEVENNESS)
    # Where both parts of a seam are so strong, their mean is: most pictures have no such window.
    step, sure = 0.0, _SURE_PX / width
    if len(starts := np.flatnonzero(np.maximum(whole[0], whole[2]) > _FAINT_STEP)):
        step = float(_weaker_parts(sums[::2], starts, columns, sure).max())
    if not len(starts := np.flatnonzero(whole[1] > _FAINT_BREAK * usual)):
        return Seam(step, 0.0)
    uneven = _weaker_parts(sums[1:2], starts, columns, sure)[0]
    strong = uneven > _FAINT_BREAK * usual
    if not strong.any():
        return Seam(step, 0.0)
    # An edge of the picture's own is as uneven half a square further up or down.
    usuals = np.full(int(strong.sum()), usual, np.float32)
    inside = _window_means(_summed(pixels[height // 2 :], (width, height), columns, rows - 1), columns)[1]
    for shift in (0, -columns):
        beside = np.clip(starts[strong] + shift, 0, len(inside) - 1)
        usuals = np.maximum(usuals, inside[beside])
    return Seam(step, float((uneven[strong] / usuals).max()))


def _summed(pixels: RgbImage, patch: tuple[int, int], columns: int, rows: int) -> Floats:
    """Return the sums of `_jumps` up to each patch, (3, rows * columns + 1): a window is a difference."""
    sums = np.zeros((3, rows * columns + 1), np.float32)
    np.cumsum(_jumps(pixels, patch, columns, rows), axis=1, out=sums[:, 1:])
    return sums


def _window_means(sums: Floats, columns: int) -> Floats:
    return np.asarray(np.abs(sums[:, columns:] - sums[:, :-columns]) / columns, np.float32)


def _jumps(pixels: RgbImage, patch: tuple[int, int], columns: int, rows: int) -> Floats:
    """Mean step from one row of patches down to the next.

    Returns
    -------
    (3, rows * columns) float32
        Of red, of the absolute of green, and of blue.
    """
    width, height = patch
    size = (columns * (width // _STEP), rows)
    above, below = (
        cv2.resize(
            pixels[first : first + (rows - 1) * height + 1 : height, : columns * width],
            size,
            interpolation=cv2.INTER_NEAREST,
        )
        for first in (height - 1, height)
    )
    steps = np.subtract(below, above, dtype=np.int16)
    np.clip(steps, -_MOST_JUMP, _MOST_JUMP, out=steps)
    # Brighter or darker is seen in red and blue as well: green says how uneven it is.
    np.abs(steps[..., 1], out=steps[..., 1])
    means = cv2.resize(steps.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means.reshape(-1, 3).T, np.float32)


def _weaker_parts(sums: Floats, starts: npt.NDArray[np.intp], columns: int, sure: float) -> Floats:
    """Return the weaker part of each window, up to its row's end and behind; 0 where they are no seam."""
    ahead = columns - starts % columns
    behind = columns - ahead
    ends = starts + ahead
    right = (sums[:, ends] - sums[:, starts]) / ahead
    left = (sums[:, starts + columns] - sums[:, ends]) / np.maximum(behind, 1)
    right_weight, left_weight = (np.minimum(1, np.sqrt(part / sure)) for part in (ahead, behind))
    weaker = np.minimum(np.abs(right) * right_weight, np.abs(left) * left_weight)
    return np.asarray(np.where(right * left > 0, weaker, 0), np.float32)
