"""How two neighbouring fields lie to each other, to a fraction of a pixel.

The overlap that the stage lets expect is searched first, much reduced; the best place is measured in full
on the patches with most texture. Where nothing agrees there, both fields are compared at every shift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edgeleuk.vision.registration import Spectrum, Texture, register

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Bytes = npt.NDArray[np.uint8]
    Grey = npt.NDArray[np.float32]

# The search is made in pixels of so many of a field.
_COARSE = 4
# Of a field's width: so far the stage may be wrong before both fields are compared at every shift.
_REACH = 1 / 20
_PATCH_PX = 128
_PATCHES = 4
_FINE_REACH_PX = 6
# Correlation that chance does not reach: of a whole strip, and of each patch.
_LEAST_STRIP = 0.6
_LEAST_PATCH = 0.5
# Standard deviation, in grey levels, of a patch that can be compared.
_LEAST_CONTRAST = 3.0
# Patches of one overlap agree to so many pixels, else the lens distorts or one is wrong.
_MOST_SPREAD_PX = 2.0


class Step(NamedTuple):
    """From the upper left corner of one field to that of another, in pixels, and how it is known."""

    x: float
    y: float
    correlation: float


def measure_step(first: RgbImage, second: RgbImage, guess: tuple[float, float]) -> Step | None:
    """Measure where the second field lies from the first.

    Parameters
    ----------
    first, second : (H, W, 3) uint8, RGB
        Of one size, with the light taken out.
    guess : (x, y)
        Where the stage says it lies, in pixels.

    Returns
    -------
    Step or None
        None where nothing that both show could tell.
    """
    # In green stained cells stand out most.
    one, two = (np.ascontiguousarray(pixels[:, :, 1]) for pixels in (first, second))
    coarse = _searched(one, two, guess)
    if coarse is not None:
        found = _measured(one, two, coarse)
        if found is not None:
            return found
    far = register(Spectrum(Texture.of(first)), Spectrum(Texture.of(second)))
    return None if far is None else _measured(one, two, (round(far.x), round(far.y)))


def _searched(one: Bytes, two: Bytes, guess: tuple[float, float]) -> tuple[int, int] | None:
    """Find the whole-pixel step within reach of a guess, in reduced pictures."""
    height, width = one.shape
    size = (width // _COARSE, height // _COARSE)
    small, other = (cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in (one, two))
    dx, dy = (round(each / _COARSE) for each in guess)
    reach = max(2, round(_REACH * size[0]))
    left, right = max(dx, 0) + reach, size[0] + min(dx, 0) - reach
    top, bottom = max(dy, 0) + reach, size[1] + min(dy, 0) - reach
    if right - left < reach or bottom - top < reach:
        return None
    part = small[top:bottom, left:right]
    # What the first shows there is looked for in the second, as far around as both reach.
    x0, x1 = max(left - dx - reach, 0), min(right - dx + reach, size[0])
    y0, y1 = max(top - dy - reach, 0), min(bottom - dy + reach, size[1])
    if part.std() < _LEAST_CONTRAST:
        return None
    match = cv2.matchTemplate(other[y0:y1, x0:x1], part, cv2.TM_CCOEFF_NORMED)
    _, best, _, (i, j) = cv2.minMaxLoc(match)
    if best < _LEAST_STRIP:
        return None
    return _COARSE * (left - x0 - i), _COARSE * (top - y0 - j)


def _measured(one: Bytes, two: Bytes, coarse: tuple[int, int]) -> Step | None:
    """Measure a step that is known to a few pixels, on the patches of the overlap with most texture."""
    height, width = one.shape
    dx, dy = coarse
    reach = _FINE_REACH_PX
    left, right = max(dx, 0) + reach, width + min(dx, 0) - reach
    top, bottom = max(dy, 0) + reach, height + min(dy, 0) - reach
    side = min(_PATCH_PX, right - left, bottom - top)
    if side < 4 * reach:
        return None
    places = [
        (float(one[y : y + side, x : x + side].std()), x, y)
        for y in range(top, bottom - side + 1, side)
        for x in range(left, right - side + 1, side)
    ]
    found = []
    for contrast, x, y in sorted(places, reverse=True)[:_PATCHES]:
        if contrast < _LEAST_CONTRAST:
            break
        around = _smooth(two[y - dy - reach : y - dy + side + reach, x - dx - reach : x - dx + side + reach])
        part = _smooth(one[y : y + side, x : x + side])
        match = np.asarray(cv2.matchTemplate(around, part, cv2.TM_CCOEFF_NORMED), np.float32)
        _, best, _, (i, j) = cv2.minMaxLoc(match)
        if best >= _LEAST_PATCH and 0 < i < 2 * reach and 0 < j < 2 * reach:
            found.append(
                (
                    dx + reach - i - _summit(match[j, i - 1 : i + 2]),
                    dy + reach - j - _summit(match[j - 1 : j + 2, i]),
                    best,
                )
            )
    if not found:
        return None
    steps = np.array(found)
    middle = np.median(steps, axis=0)
    close = np.hypot(*(steps[:, :2] - middle[:2]).T) <= _MOST_SPREAD_PX
    if 2 * np.count_nonzero(close) < len(found) or not close.any():
        return None
    x, y, correlation = np.mean(steps[close], axis=0).tolist()
    return Step(x, y, correlation)


def _smooth(grey: Bytes) -> Grey:
    """Take out the noise of single pixels."""
    return np.asarray(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0), np.float32)


def _summit(line: Grey) -> float:
    """Place of the highest of three values from the middle one, from the parabola through them."""
    low, mid, high = (float(value) for value in line)
    curvature = low - 2 * mid + high
    return 0.5 * (low - high) / curvature if curvature < 0 else 0.0
