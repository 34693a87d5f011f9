"""How far the view moved between two pictures of one slide, or that they show different places.

Two pictures are correlated at every shift that leaves a least overlap, much reduced; the few best shifts are
judged, and the best of those measured, at a finer resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from edgeleuk.frames import require_rgb
from edgeleuk.vision.morphology import components
from edgeleuk.vision.reducing import green_of, reduced

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Floats = npt.NDArray[np.float32]
    Bytes = npt.NDArray[np.uint8]
    Integers = npt.NDArray[np.int_]

# Less overlap than this share of a field cannot be told from chance.
LEAST_OVERLAP = 0.12

# Longest sides, in pixels, of the pictures that are searched and measured.
_COARSE_SIDE = 160
_FINE_SIDE = 320
# Texture is limited to so many times its mean, lest two unrelated fields agree because each holds one dark
# nucleus, and to no fewer than so many grey levels, lest an empty glass's noise pass for texture.
_LIMIT = 1.5
_LEAST_LIMIT = 6.0
# Standard deviation of a texture, in its own units of 127 for the limit, that is too little to be compared.
_LEAST_CONTRAST = 12.0
_PROPOSALS = 3
_LEAST_COARSE = 0.5
# Measured: the same place in other light, noise and focus agrees by 0.87 and more. Of 16,467 pairs of
# unrelated fields, about 8 red cells wide, the best shifts with 12-15 % overlap reach 0.80, with 15-20 %
# 0.71, with more 0.62.
_LEAST_FINE = 0.68
_LEAST_FINE_OF_LEAST_OVERLAP = 0.84
_SMALL_OVERLAP = 0.3
# Round cells agree with each other wherever one lies over another: correlation that chance does not reach
# where both fields show so many objects. Measured: of unrelated fields one object reaches 0.96, two or three
# 0.92, four to six 0.73; the same objects agree by 0.9 and more.
_OBJECTS = (1, 3, 5, 7)
_LEAST_OF_OBJECTS = (0.96, 0.91, 0.8, _LEAST_FINE)
# Of a texture's units, and in its pixels.
_OBJECT_DEPTH = 32
_LEAST_OBJECT = 40
_REACH = 4


class Rectangle(NamedTuple):
    """A place in pixels of the slide; a pixel of the first field of an area is one of the slide."""

    left: float
    top: float
    right: float
    bottom: float

    def common(self, other: Rectangle) -> Rectangle:
        """Return what both cover; its sides are negative where that is nothing."""
        return Rectangle(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def share(self, other: Rectangle) -> float:
        """Share of this one that another covers."""
        return self.common(other).area / self.area

    def moved(self, x: float, y: float) -> Rectangle:
        """Return it shifted to the right and down."""
        return Rectangle(self.left + x, self.top + y, self.right + x, self.bottom + y)

    def distance(self, other: Rectangle) -> float:
        """Between the centres."""
        x = self.left + self.right - other.left - other.right
        y = self.top + self.bottom - other.top - other.bottom
        return math.hypot(x, y) / 2

    @property
    def radius(self) -> float:
        """A quarter of both sides together."""
        return (self.right - self.left + self.bottom - self.top) / 4

    @property
    def area(self) -> float:
        """0 where a side is negative."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)


class Shift(NamedTuple):
    """Move of the view between two fields.

    Attributes
    ----------
    x, y : float
        Pixels of the field, to the right and down.
    correlation : float
        Pearson's, of what both fields show.
    """

    x: float
    y: float
    correlation: float


@dataclass(frozen=True, slots=True)
class Texture:
    """What is kept of a field in order to register others to it; at most 100 kB.

    Attributes
    ----------
    fine : (h, w) uint8
        High-passed green with 128 for none.
    shape : (H, W)
        Of the field.
    """

    fine: Bytes
    shape: tuple[int, int]

    @classmethod
    def of(cls, pixels: RgbImage) -> Texture:
        """Reduce a field to its texture: without lamp, vignette and film, which do not move with the slide.

        Parameters
        ----------
        pixels : (H, W, 3) uint8, RGB
        """
        require_rgb(pixels)
        height, width = pixels.shape[:2]
        size = _size((width, height), _FINE_SIDE)
        green = reduced(green_of(pixels), size).astype(np.float32)
        # The ground is so smooth that a quarter of the pixels will do.
        quarter = cv2.resize(green, _size(size, max(size) // 4), interpolation=cv2.INTER_AREA)
        ground = cv2.resize(cv2.GaussianBlur(quarter, (0, 0), max(size) / 64), size)
        band = cv2.GaussianBlur(green, (0, 0), 1.0) - ground
        limit = max(_LEAST_LIMIT, _LIMIT * float(cv2.norm(band, cv2.NORM_L1)) / band.size)
        fine = np.clip(band * np.float32(127 / limit), -127, 127) + np.float32(128.5)
        return cls(fine.astype(np.uint8), (height, width))

    @classmethod
    def enlarged(cls, fine: Bytes, shape: tuple[int, int]) -> Texture:
        """Return the texture of a field of a shape, (H, W), from a smaller picture of it."""
        size = _size((shape[1], shape[0]), _FINE_SIDE)
        if fine.shape != size[::-1]:
            fine = np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        return cls(fine, shape)

    def of_size(self, shape: tuple[int, int]) -> Texture:
        """Return it as if the field had been taken with another number of pixels, (H, W)."""
        size = _size((shape[1], shape[0]), _FINE_SIDE)
        fine = self.fine
        if fine.shape != size[::-1]:
            fine = np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), np.uint8)
        return Texture(fine, shape)

    @property
    def is_blank(self) -> bool:
        """Whether nothing is there to be recognised."""
        return _contrast(self.fine) < _LEAST_CONTRAST


class Spectrum:
    """A texture made ready for `register`: its transform, and its power at every shift. About 1 MB."""

    def __init__(self, texture: Texture) -> None:
        self.texture = texture
        fine_height, fine_width = texture.fine.shape
        size = _size((fine_width, fine_height), _COARSE_SIDE)
        coarse = cv2.resize(texture.fine, size, interpolation=cv2.INTER_AREA).astype(np.float32) - 128
        self.factor = fine_width / size[0], fine_height / size[1]
        # The padding keeps shifts of enough overlap apart; others may wrap, and are not looked at.
        (top, bottom), self._y = _axis(size[1])
        (left, right), self._x = _axis(size[0])
        padded = np.zeros((len(self._y), len(self._x)), np.float32)
        padded[: size[1], : size[0]] = coarse
        self.transform: Floats = np.asarray(cv2.dft(padded), np.float32)
        # Sums over the overlap at every shift, from summed-area tables.
        first, second = cv2.integral2(coarse, sdepth=cv2.CV_64F, sqdepth=cv2.CV_64F)
        area = np.outer(bottom - top, right - left).astype(np.float32)
        enough = area >= LEAST_OVERLAP * size[0] * size[1]
        area[~enough] = 1

        def over(table: npt.NDArray[Any]) -> Floats:
            bands = (table[bottom] - table[top]).astype(np.float32)
            return np.asarray(np.where(enough, bands[:, right] - bands[:, left], 0), np.float32)

        total, power = over(np.asarray(first)), over(np.asarray(second))
        power += area * np.float32(_LEAST_CONTRAST**2) - total * total / area
        # One over the root of the power; and the mean times the root of the area over that of the power.
        self.scale: Floats = np.asarray(enough / np.sqrt(power), np.float32)
        self.mean: Floats = total / np.sqrt(power * area)

    def proposals(self, after: Spectrum) -> list[tuple[float, float]]:
        """Shifts (x, y) in fine pixels at which two fields of one size agree best, best first."""
        product = cv2.mulSpectrums(self.transform, after.transform, 0, conjB=True)
        cross = cv2.idft(product, flags=cv2.DFT_REAL_OUTPUT | cv2.DFT_SCALE)
        # What one field shows at a shift, the other shows at the opposite one.
        agreement = cross * self.scale * _opposite(after.scale) - self.mean * _opposite(after.mean)
        found = []
        for _ in range(_PROPOSALS):
            _, correlation, _, (i, j) = cv2.minMaxLoc(agreement)
            if correlation < _LEAST_COARSE:
                break
            found.append((self._x[i] * self.factor[0], self._y[j] * self.factor[1]))
            around = np.ix_(
                np.arange(j - 3, j + 4) % agreement.shape[0], np.arange(i - 3, i + 4) % agreement.shape[1]
            )
            agreement[around] = 0
        return found


def register(before: Spectrum, after: Spectrum) -> Shift | None:
    """Find the move of the view between two fields, without knowing anything of it.

    Normalised cross-correlation of the overlap at every shift, by zero-padded Fourier transform: the
    "masked" registration of D. Padfield, IEEE Trans. Image Process. 21 (2012) 2706. As the masks are
    rectangles, its five other correlations are differences in summed-area tables (J. P. Lewis, Fast
    normalized cross-correlation, 1995).

    Parameters
    ----------
    before, after : Spectrum
        Of fields of one size.

    Returns
    -------
    Shift or None
        None when they show different places, or nothing that could tell.
    """
    if before.texture.shape != after.texture.shape:
        return None
    shifts = [
        shift
        for proposal in before.proposals(after)
        if (shift := _measured(before.texture, after.texture, proposal)) is not None
        and shift.correlation >= _least_evident(before.texture, after.texture, shift)
    ]
    return max(shifts, key=lambda shift: shift.correlation, default=None)


def refine(before: Texture, after: Texture, guess: tuple[float, float]) -> Shift | None:
    """Measure a move of the view that is known to about 1 % of the field.

    Parameters
    ----------
    before, after : Texture
        Of fields of one size.
    guess : (x, y)
        In pixels of the field.

    Returns
    -------
    Shift or None
        None when the fields do not agree near the guess.
    """
    if before.shape != after.shape:
        return None
    x, y = _field_pixels(before)
    return _measured(before, after, (guess[0] / x, guess[1] / y))


def _measured(before: Texture, after: Texture, guess: tuple[float, float]) -> Shift | None:
    """Best shift within a few fine pixels of a guess in fine pixels."""
    height, width = before.fine.shape
    dx, dy = round(guess[0]), round(guess[1])
    left, right = max(dx, 0), width + min(dx, 0)
    top, bottom = max(dy, 0), height + min(dy, 0)
    # The inner part of the overlap in one field is looked for in the whole overlap of the other.
    inner = np.s_[top - dy + _REACH : bottom - dy - _REACH, left - dx + _REACH : right - dx - _REACH]
    if min(right - left, bottom - top) < 4 * _REACH:
        return None
    part, whole = after.fine[inner], before.fine[top:bottom, left:right]
    if min(_contrast(part), _contrast(whole)) < _LEAST_CONTRAST:
        return None
    match = _correlations(whole, part)
    _, correlation, _, (i, j) = cv2.minMaxLoc(match)
    if correlation < _least_correlation((right - left) * (bottom - top) / (width * height)):
        return None
    x = dx + i - _REACH + _summit(match[j, :], i)
    y = dy + j - _REACH + _summit(match[:, i], j)
    factor = _field_pixels(before)
    return Shift(x * factor[0], y * factor[1], correlation)


def _correlations(whole: Bytes, part: Bytes) -> Floats:
    """Pearson's correlation of a part with each place in the whole where it has room.

    It is what ``cv2.matchTemplate`` gives, which goes by Fourier transforms: for so few places it takes more
    than twice as long.
    """
    height, width = part.shape
    rows, columns = whole.shape[0] - height + 1, whole.shape[1] - width + 1
    kernel = part - np.float32(cv2.mean(part)[0])
    levels = whole.astype(np.float32) - np.float32(128)
    # No BLAS: the order in which it adds depends on how many threads it has.
    products = [
        [np.einsum("ij,ij->", levels[j : j + height, i : i + width], kernel) for i in range(columns)]
        for j in range(rows)
    ]
    first, second = (np.asarray(table, np.float64) for table in cv2.integral2(whole, sqdepth=cv2.CV_64F))
    total, power = (
        table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
        for table in (first, second)
    )
    spread = np.sqrt(np.maximum(power - total**2 / part.size, 1.0) * float(cv2.norm(kernel, cv2.NORM_L2SQR)))
    return np.asarray(np.array(products) / spread, np.float32)


def _least_evident(before: Texture, after: Texture, shift: Shift) -> float:
    """Correlation that chance does not reach, for the number of objects that two fields have in common."""
    height, width = before.fine.shape
    x, y = _field_pixels(before)
    dx, dy = round(shift.x / x), round(shift.y / y)
    left, right = max(dx, 0), width + min(dx, 0)
    top, bottom = max(dy, 0), height + min(dy, 0)
    common = (
        before.fine[top:bottom, left:right],
        after.fine[top - dy : bottom - dy, left - dx : right - dx],
    )
    return float(np.interp(min(map(_objects, common)), _OBJECTS, _LEAST_OF_OBJECTS))


def _objects(fine: Bytes) -> int:
    """Count what is darker than its surroundings: cells, clumps, and what the edges cut of them."""
    dark = cv2.threshold(fine, 127 - _OBJECT_DEPTH, 255, cv2.THRESH_BINARY_INV)[1]
    _, areas = components(np.asarray(dark, np.uint8))
    return int(np.count_nonzero(areas[1:] >= _LEAST_OBJECT))


def _contrast(fine: Bytes) -> float:
    """Return the standard deviation."""
    return float(cv2.meanStdDev(fine)[1].item())


def _least_correlation(overlap: float) -> float:
    """Correlation that chance does not reach, for a share of the field that two fields have in common."""
    overlaps = LEAST_OVERLAP, _SMALL_OVERLAP
    return float(np.interp(overlap, overlaps, (_LEAST_FINE_OF_LEAST_OVERLAP, _LEAST_FINE)))


def _summit(line: Floats, i: int) -> float:
    """Place of the highest of three values beside `i`, from the parabola through them."""
    if not 0 < i < len(line) - 1:
        return 0.0
    low, mid, high = (float(value) for value in line[i - 1 : i + 2])
    curvature = low - 2 * mid + high
    return 0.5 * (low - high) / curvature if curvature < 0 else 0.0


def _field_pixels(texture: Texture) -> tuple[float, float]:
    """How many pixels of the field a fine pixel is, in x and y."""
    return texture.shape[1] / texture.fine.shape[1], texture.shape[0] / texture.fine.shape[0]


def _size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(width, height) reduced so that no side is longer than `longest`."""
    factor = max(1.0, max(size) / max(longest, 1))
    return max(1, round(size[0] / factor)), max(1, round(size[1] / factor))


def _axis(length: int) -> tuple[tuple[Integers, Integers], Integers]:
    """First and last + 1 pixel of the overlap at each shift along an axis, and the shifts in FFT order."""
    padded = cv2.getOptimalDFTSize(length + int((1 - LEAST_OVERLAP) * length) + 1)
    shifts = np.arange(padded)
    shifts[shifts > padded // 2] -= padded
    first = np.clip(shifts, 0, length)
    last = np.clip(length + shifts, 0, length)
    return (np.minimum(first, last), last), shifts


def _opposite(at_shifts: Floats) -> Floats:
    """Value of a table at minus each shift."""
    return np.roll(at_shifts[::-1, ::-1], (1, 1), (0, 1))
