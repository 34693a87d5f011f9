"""Light and focus of the first fields, as the session says them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.control.entries import Measured
from edgeleuk.control.optics import (
    EVENNESS,
    LIGHT,
    MAD_TO_SD,
    SHARPNESS,
    OpticsMeter,
    measured,
    optics_text,
    read_optics,
)
from edgeleuk.virtual.render import VirtualSlide

if TYPE_CHECKING:
    from edgeleuk.frames import RgbImage

FIELDS = [VirtualSlide(7).field(70.0 * place, 0, width=640, height=480).pixels for place in range(3)]


def optics_of(fields: list[RgbImage]) -> dict[str, Measured]:
    meter = OpticsMeter()
    for pixels in fields:
        meter.add(pixels)
    return meter.measured()


GOOD = optics_of(FIELDS)


def dimmed(pixels: RgbImage, by: float) -> RgbImage:
    return np.asarray(np.rint(pixels * by), np.uint8)


@pytest.mark.parametrize("by", [0.95, 0.8, 0.6])
def test_a_dimmer_lamp_changes_the_light_alone(by: float) -> None:
    dim = optics_of([dimmed(pixels, by) for pixels in FIELDS])
    assert dim[LIGHT].value == pytest.approx(by * GOOD[LIGHT].value, rel=0.01)
    assert dim[EVENNESS].value == pytest.approx(GOOD[EVENNESS].value, abs=0.01)
    assert dim[SHARPNESS].value == pytest.approx(GOOD[SHARPNESS].value, rel=0.05)


@pytest.mark.parametrize("sigma_px", [1.5, 3.0])
def test_a_blur_changes_the_sharpness_alone(sigma_px: float) -> None:
    blurred = optics_of([np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma_px)) for pixels in FIELDS])
    assert blurred[SHARPNESS].value < 0.9 * GOOD[SHARPNESS].value
    assert blurred[LIGHT].value == pytest.approx(GOOD[LIGHT].value, rel=0.02)


def test_a_lamp_that_is_off_its_centre_changes_the_evenness() -> None:
    slope = np.linspace(1.0, 0.7, 640)[None, :, None]
    askew = optics_of([np.asarray(np.rint(pixels * slope), np.uint8) for pixels in FIELDS])
    assert askew[EVENNESS].value < GOOD[EVENNESS].value - 0.1


def test_the_median_forgives_one_field() -> None:
    with_one = optics_of([*FIELDS, dimmed(FIELDS[0], 0.5)])
    assert with_one[LIGHT].value == pytest.approx(GOOD[LIGHT].value, rel=0.02)


@given(
    st.tuples(*[st.floats(0, 255)] * 2),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.integers(1, 99),
)
def test_what_is_said_is_read_back(light: tuple[float, float], rest: tuple[float, ...], n: int) -> None:
    said = {
        LIGHT: Measured(value=light[0], spread=light[1], n=n),
        EVENNESS: Measured(value=rest[0], spread=rest[1], n=n),
        SHARPNESS: Measured(value=rest[2], spread=rest[3], n=n),
    }
    found = read_optics(optics_text(said))
    for name, one in said.items():
        step = 0.01 if name == LIGHT else 0.0001
        assert (found[name].value, found[name].spread) == pytest.approx((one.value, one.spread), abs=step)
        assert found[name].n == n


@pytest.mark.parametrize("text", ["", "the lamp is lit", "glass x +- 1 of 255", "glass 1 +- 2 of 255"])
def test_another_text_is_no_measure(text: str) -> None:
    assert read_optics(text) == {}


def test_the_spread_is_a_normal_distributions() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 20_000)
    found = measured(values)
    assert (found.value, found.spread, found.n) == (
        pytest.approx(5, abs=0.05),
        pytest.approx(2, 0.03),
        20_000,
    )
    assert pytest.approx(1 / 0.6745, rel=1e-3) == MAD_TO_SD
