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
# White balance: the glass's red and blue relative to its green.
GLASS_RED, GLASS_BLUE = "glass_red", "glass_blue"
# A normal distribution's standard deviation, in median absolute deviations.
MAD_TO_SD = 1.4826
# The field in so many rows and columns, of which each has glass.
_PARTS = 3
_GLASS_PERCENT = 90
_LONGEST_SIDE = 320
_NUMBER = r"(\d+(?:\.\d+)?)"
_TEXT = re.compile(
    rf"^glass {_NUMBER} \+- {_NUMBER} of 255, evenness {_NUMBER} \+- {_NUMBER},"
    rf" sharpness {_NUMBER} \+- {_NUMBER},"
    # Earlier versions did not say it.
    rf"(?: red/green {_NUMBER} \+- {_NUMBER}, blue/green {_NUMBER} \+- {_NUMBER},)? (\d+) fields$"
)


class OpticsMeter:
    """Measures fields one by one."""

    def __init__(self) -> None:
        self._light: list[float] = []
        self._parts: list[npt.NDArray[np.float64]] = []
        self._sharpness: list[float] = []
        self._red: list[float] = []
        self._blue: list[float] = []

    def add(self, pixels: RgbImage) -> None:
        """Measure a field, (H, W, 3) uint8, RGB."""
        quality = measure_quality(pixels)
        self._light.append(quality.glass[1])
        self._sharpness.append(quality.sharpness)
        red, green, blue = quality.glass
        self._red.append(red / green)
        self._blue.append(blue / green)
        self._parts.append(_glass_of_parts(pixels))

    def measured(self) -> dict[str, Measured]:
        """Return light, evenness, sharpness and white balance of the fields so far, at least one.

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
            GLASS_RED: measured(self._red),
            GLASS_BLUE: measured(self._blue),
        }


def measured(values: Sequence[float] | npt.NDArray[np.float64]) -> Measured:
    """Return the median of at least one value, and their spread."""
    return Measured(value=float(np.median(values)), spread=spread_of(values), n=len(values))


def spread_of(values: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """Return the standard deviation that the median absolute deviation stands for."""
    found = np.asarray(values, np.float64)
    return MAD_TO_SD * float(np.median(np.abs(found - np.median(found))))


def optics_text(measures: dict[str, Measured]) -> str:
    """Say what an `OpticsMeter` measured, as the event has it; white balance where it is known."""
    light, evenness, sharpness = (measures[name] for name in (LIGHT, EVENNESS, SHARPNESS))
    balance = "".join(
        f" {title} {measures[name].value:.4f} +- {measures[name].spread:.4f},"
        for title, name in (("red/green", GLASS_RED), ("blue/green", GLASS_BLUE))
        if name in measures
    )
    return (
        f"glass {light.value:.2f} +- {light.spread:.2f} of 255,"
        f" evenness {evenness.value:.4f} +- {evenness.spread:.4f},"
        f" sharpness {sharpness.value:.4f} +- {sharpness.spread:.4f},{balance} {light.n} fields"
    )


def read_optics(text: str) -> dict[str, Measured]:
    """Return what `optics_text` said; nothing where it is another text."""
    found = _TEXT.match(text)
    if found is None:
        return {}
    *numbers, fields = found.groups()
    names = (LIGHT, EVENNESS, SHARPNESS, GLASS_RED, GLASS_BLUE)
    return {
        name: Measured(value=float(value), spread=float(spread), n=int(fields))
        for name, value, spread in zip(names, numbers[::2], numbers[1::2], strict=True)
        if value is not None
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
