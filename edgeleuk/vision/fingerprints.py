"""Find pictures of the same cell, photographed twice, cut out again, turned or stored anew.

A near-duplicate is found in two steps. A 64-bit difference hash of the cell's box nominates pairs; it
survives shifts, re-compression and brightness, but on round cells it alone is not specific. The fine
texture inside the cell then decides: correlated within a few pixels' shift, in any of the eight
orientations that flips and quarter turns give.

The thresholds come from 5,269 cells of C-NMC in 53 groups that share no identical image (13 million
pairs). Different cells correlate at most 0.71; 46 pairs correlate 0.78 and more, nothing lies between, and
to the eye each of the 46 is one cell, photographed or cut out again: subjects H2 and H7, 43 and 44, H14 and
H24, and 1, 16, 17 and 18 with 20 share cells, though no file is identical. Joined by them,
the 53 groups are 46.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Numbers = npt.NDArray[np.intp]

_Scalar = TypeVar("_Scalar", bound=np.generic)

SIDE = 64
# Bits of 64 by which the hashes of nominated pairs may differ.
MOST_BITS = 12
# Correlation of fine texture from which two pictures show the same cell.
LEAST_CORRELATION = 0.745
# Largest ratio of the boxes' aspects.
MOST_ASPECT = 1.08
# Pixels of the 64 x 64 picture by which the second cell may be shifted.
SHIFT = 3
# What is darker than this share of the picture's brightest cell counts as black.
_DARK = 0.2
_LEAST_BRIGHTNESS = 8
_FINE, _COARSE = 1.0, 6.0
_ROWS = 512


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What of a cell is compared with others.

    Attributes
    ----------
    picture : (64, 64) uint8
        Luminance of the cell's box, the cell's mean around it.
    texture : (64, 64) int8
        Band-passed luminance inside the cell, 0 outside.
    aspect : float
        Width / height of the box.
    """

    picture: npt.NDArray[np.uint8]
    texture: npt.NDArray[np.int8]
    aspect: float


def fingerprint(pixels: RgbImage) -> Fingerprint:
    """Take the fingerprint of one cell on black.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    # Relative to the cell: JPEG leaves ripples on the black, and a darker copy is still a copy.
    least = max(_LEAST_BRIGHTNESS, _DARK * float(np.percentile(grey, 99)))
    _, labels, stats, _ = cv2.connectedComponentsWithStats((grey >= least).astype(np.uint8))
    if len(stats) < 2:
        blank = np.zeros((SIDE, SIDE))
        return Fingerprint(blank.astype(np.uint8), blank.astype(np.int8), 1.0)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    x, y, w, h = (int(value) for value in stats[largest, :4])
    inside = labels[y : y + h, x : x + w] == largest
    box = grey[y : y + h, x : x + w]
    filled = np.where(inside, box, np.uint8(round(float(box[inside].mean()))))
    picture = np.asarray(cv2.resize(filled, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    shape = cv2.resize(inside.astype(np.uint8) * 255, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return Fingerprint(picture, _texture(picture, np.asarray(shape) >= 128), w / h)


def alike_pairs(
    ours: Sequence[Fingerprint], our_groups: Numbers, theirs: Sequence[Fingerprint], their_groups: Numbers
) -> dict[tuple[int, int], float]:
    """Find pairs that show the same cell.

    Parameters
    ----------
    ours : sequence of Fingerprint
    our_groups : (n,) int
        Cells of the same group are not compared.
    theirs, their_groups
        As `ours`; the very same sequence to look among themselves, where each pair is told once, the lower
        number first.

    Returns
    -------
    dict of (int, int) to float
        By the numbers of one of ours and one of theirs, how their texture correlates.
    """
    pairs: dict[tuple[int, int], float] = {}
    if not ours or not theirs:
        return pairs
    alone = theirs is ours
    our_bits = _hashes([one.picture for one in ours])
    our_aspects = np.log([one.aspect for one in ours])
    for turn in range(8):
        their_bits = _hashes([_turned(one.picture, turn) for one in theirs])
        their_aspects = np.log([one.aspect for one in theirs]) * (-1 if turn % 2 else 1)
        for start in range(0, len(ours), _ROWS):
            rows, columns = slice(start, start + _ROWS), slice(start if alone else 0, None)
            near = our_bits[rows] @ their_bits[columns].T >= 64 - 2 * MOST_BITS
            near &= our_groups[rows, None] != their_groups[columns]
            near &= np.abs(our_aspects[rows, None] - their_aspects[columns]) <= np.log(MOST_ASPECT)
            if alone:
                near = np.triu(near, 1)
            for row, column in np.argwhere(near):
                i, j = start + int(row), columns.start + int(column)
                alike = _correlation(ours[i].texture, _turned(theirs[j].texture, turn))
                if alike >= LEAST_CORRELATION:
                    pairs[i, j] = max(alike, pairs.get((i, j), 0.0))
    return pairs


def _texture(picture: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    deep = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if not deep.any():
        return np.zeros(picture.shape, np.int8)
    plane = np.where(inside, picture, picture[inside].mean()).astype(np.float32)
    band = cv2.GaussianBlur(plane, (0, 0), _FINE) - cv2.GaussianBlur(plane, (0, 0), _COARSE)
    band = np.where(deep, band, 0)
    levels = np.rint(band * (32 / max(float(band[deep].std()), 1e-3)))
    return np.asarray(np.clip(levels, -127, 127), np.int8)


def _turned(plane: npt.NDArray[_Scalar], turn: int) -> npt.NDArray[_Scalar]:
    """Return one of the eight orientations; the odd ones swap width and height."""
    return np.rot90(plane[:, ::-1] if turn >= 4 else plane, turn % 4)


def _hashes(pictures: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """Return (n, 64) of -1 and 1: which of two neighbours is brighter, on a grid of 9 x 8."""
    small = [
        cv2.resize(np.ascontiguousarray(picture), (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
        for picture in pictures
    ]
    grid = np.array(small)
    bits = grid[:, :, 1:] > grid[:, :, :-1]
    return np.where(bits, 1, -1).reshape(len(grid), 64).astype(np.float32)


def _correlation(one: npt.NDArray[np.int8], other: npt.NDArray[np.int8]) -> float:
    """Return the largest correlation of two textures over small shifts; 0 for a flat one."""
    centre = one[SHIFT:-SHIFT, SHIFT:-SHIFT].astype(np.float32)
    field = np.ascontiguousarray(other).astype(np.float32)
    if not centre.any() or not field.any():
        return 0.0
    return float(cv2.matchTemplate(field, centre, cv2.TM_CCOEFF_NORMED).max())
