"""Light and focus of a run's first fields, which a session holds no picture of: measured and recorded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.control.entries import Measured
from edgeleuk.vision.quality import measure_quality
from edgeleuk.vision.reducing import green_of, percentiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

# Kind of the event that holds them.
OPTICS = "optics"
# So many fields are enough for a median; all of them would cost time that the cells need.
FIRST_FIELDS = 5
LIGHT, EVENNESS, SHARPNESS = "light", "evenness", "sharpness"
# A normal distribution's standard deviation, in median absolute deviations.
MAD_TO_SD = 1.4826
# The field in so many rows and columns, of which each has glass.
_PARTS = 3
_GLASS_PERCENT = 90
_LONGEST_SIDE = 320
_NUMBER = r"(\d+(?:\.\d+)?)"
_TEXT = re.compile(
    rf"^glass {_NUMBER} \+- {_NUMBER} of 255, evenness {_NUMBER} \+- {_NUMBER},"
    rf" sharpness {_NUMBER} \+- {_NUMBER}, (\d+) fields$"
)


class OpticsMeter:
    """Measures fields one by one."""

    def __init__(self) -> None:
        self._light: list[float] = []
        self._parts: list[npt.NDArray[np.float64]] = []
        self._sharpness: list[float] = []

    def add(self, pixels: RgbImage) -> None:
        """Measure a field, (H, W, 3) uint8, RGB."""
        quality = measure_quality(pixels)
        self._light.append(quality.glass[1])
        self._sharpness.append(quality.sharpness)
        self._parts.append(_glass_of_parts(pixels))

    def measured(self) -> dict[str, Measured]:
        """Return light, evenness and sharpness of the fields so far, at least one.

        Evenness is the darkest part's glass over the brightest part's. The parts are medians over the fields,
        so that a part that cells cover in one field counts by the others.
        """
        parts = np.array(self._parts)
        each = parts.min(axis=1) / np.maximum(parts.max(axis=1), 1.0)
        of_all = np.median(parts, axis=0)
        evenness = float(of_all.min() / max(float(of_all.max()), 1.0))
        return {
            LIGHT: measured(self._light),
            EVENNESS: Measured(value=evenness, spread=spread_of(each), n=len(parts)),
            SHARPNESS: measured(self._sharpness),
        }


def measured(values: Sequence[float] | npt.NDArray[np.float64]) -> Measured:
    """Return the median of at least one value, and their spread."""
    return Measured(value=float(np.median(values)), spread=spread_of(values), n=len(values))


def spread_of(values: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """Return the standard deviation that the median absolute deviation stands for."""
    found = np.asarray(values, np.float64)
    return MAD_TO_SD * float(np.median(np.abs(found - np.median(found))))


def optics_text(measures: dict[str, Measured]) -> str:
    """Say what an `OpticsMeter` measured, as the event has it."""
    light, evenness, sharpness = (measures[name] for name in (LIGHT, EVENNESS, SHARPNESS))
    return (
        f"glass {light.value:.2f} +- {light.spread:.2f} of 255,"
        f" evenness {evenness.value:.4f} +- {evenness.spread:.4f},"
        f" sharpness {sharpness.value:.4f} +- {sharpness.spread:.4f}, {light.n} fields"
    )


def read_optics(text: str) -> dict[str, Measured]:
    """Return what `optics_text` said; nothing where it is another text."""
    found = _TEXT.match(text)
    if found is None:
        return {}
    numbers = [float(number) for number in found.groups()]
    names = (LIGHT, EVENNESS, SHARPNESS)
    return {
        name: Measured(value=numbers[2 * place], spread=numbers[2 * place + 1], n=int(numbers[6]))
        for place, name in enumerate(names)
    }


def _glass_of_parts(pixels: RgbImage) -> npt.NDArray[np.float64]:
    """Level of the glass in each part of a field, (9,) float64: a bright percentile of green."""
    step = max(1, round(max(pixels.shape[:2]) / _LONGEST_SIDE))
    green = green_of(np.ascontiguousarray(pixels[::step, ::step]))
    return np.array(
        [
            percentiles(np.ascontiguousarray(part), [_GLASS_PERCENT])[0]
            for row in np.array_split(green, _PARTS)
            for part in np.array_split(row, _PARTS, axis=1)
        ]
    )
