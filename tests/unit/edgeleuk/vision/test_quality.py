from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision.quality import QualityFault, measure_quality, quality_check

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def fields(edgeleuk_data: Path) -> list[Image]:
    paths = sorted((edgeleuk_data / "fields_bccd").glob("*.jpg"))
    assert len(paths) == 182
    return [np.ascontiguousarray(cv2.imread(str(path))[..., ::-1]) for path in paths[1::26]]


def scaled(pixels: Image, *gains: float) -> Image:
    return np.clip(pixels * np.array(gains) + 0.5, 0, 255).astype(np.uint8)


def test_real_fields_pass(fields: list[Image]) -> None:
    assert [quality_check(pixels) for pixels in fields] == [None] * len(fields)


@pytest.mark.parametrize(
    ("gains", "reason"),
    [
        ((1.5, 1.5, 1.5), QualityFault.OVEREXPOSED),
        ((0.4, 0.4, 0.4), QualityFault.UNDEREXPOSED),
        ((1.3, 1.0, 1.0), QualityFault.WHITE_BALANCE),
        ((0.75, 1.0, 1.25), QualityFault.WHITE_BALANCE),
        ((1.0, 0.75, 1.0), QualityFault.WHITE_BALANCE),
        ((1.0, 1.0, 0.7), QualityFault.WHITE_BALANCE),
    ],
)
def test_light_that_is_wrong(fields: list[Image], gains: tuple[float, ...], reason: QualityFault) -> None:
    assert [quality_check(scaled(pixels, *gains)) for pixels in fields] == [reason.value] * len(fields)


def test_blurs(fields: list[Image]) -> None:
    line = np.full((1, 31), 1 / 31)
    for pixels in fields:
        assert quality_check(np.asarray(cv2.GaussianBlur(pixels, (0, 0), 4), np.uint8)) == "out of focus"
        assert quality_check(np.asarray(cv2.filter2D(pixels, -1, line), np.uint8)) == "motion blur"


def grainy(pixels: Image, levels: float) -> Image:
    noise = np.random.default_rng(0).normal(0, levels, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("grain", [0.0, 1.5, 3.0])
@pytest.mark.parametrize("sigma", [3, 6, 12, 20])
def test_a_wide_blur_is_none_the_sharper_for_a_sensors_grain(
    fields: list[Image], sigma: float, grain: float
) -> None:
    for pixels in fields:
        blurred = np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)
        assert quality_check(grainy(blurred, grain)) in {"out of focus", "motion blur"}


@pytest.mark.parametrize("grain", [1.0, 2.0, 3.0])
def test_grain_alone_is_no_blur(fields: list[Image], grain: float) -> None:
    assert [quality_check(grainy(pixels, grain)) for pixels in fields] == [None] * len(fields)


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_the_seams_of_a_jpeg_are_no_edges(fields: list[Image], quality: int) -> None:
    def packed(pixels: Image) -> Image:
        jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)

    assert [quality_check(packed(pixels)) for pixels in fields] == [None] * len(fields)
    for sigma in (3, 6, 12, 20):
        for pixels in fields:
            blurred = np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)
            assert quality_check(packed(blurred)) in {"out of focus", "motion blur", "empty field"}


@pytest.mark.parametrize("z_um", [3.0, 9.0, 20.0, 40.0])
def test_a_slide_far_out_of_focus(z_um: float) -> None:
    for width in (640, 1280):
        field = VirtualSlide(1).field(0, 0, z_um=z_um, width=width, height=width * 3 // 4)
        assert quality_check(field.pixels) in {"out of focus", "motion blur"}


def test_a_blur_never_sharpens(fields: list[Image]) -> None:
    for pixels in fields:
        levels = [measure_quality(pixels).sharpness]
        levels += [measure_quality(cv2.GaussianBlur(pixels, (0, 0), sigma)).sharpness for sigma in (1, 2)]
        assert levels == sorted(levels, reverse=True)


def test_turning_and_mirroring_change_nothing(fields: list[Image]) -> None:
    for pixels in fields:
        quality = measure_quality(pixels)
        for other in (np.rot90(pixels), pixels[:, ::-1]):
            turned = measure_quality(np.ascontiguousarray(other))
            assert turned.sharpness == pytest.approx(quality.sharpness, rel=1e-3)
            assert turned.least_sharpness == pytest.approx(quality.least_sharpness, rel=1e-3)
            assert turned.evenness == pytest.approx(quality.evenness, rel=1e-3)


def test_exposure_follows_the_lamp(fields: list[Image]) -> None:
    glass = [measure_quality(scaled(fields[0], gain)).glass[1] for gain in (0.3, 0.5, 0.8, 1.0, 1.2)]
    assert glass == sorted(set(glass))


def test_empty_glass_is_no_blur() -> None:
    rng = np.random.default_rng(0)
    glass = np.clip(rng.normal(200, 2, (480, 640, 3)), 0, 255).astype(np.uint8)
    assert quality_check(glass) == "empty field"


def test_a_dead_camera_is_dark() -> None:
    assert quality_check(np.zeros((480, 640, 3), np.uint8)) == "underexposed"


def test_what_is_no_field_passes() -> None:
    cell = np.zeros((450, 450, 3), np.uint8)
    cv2.circle(cell, (225, 225), 100, (120, 60, 140), -1)
    assert quality_check(cell) is None
    assert quality_check(np.full((120, 120, 3), 200, np.uint8)) is None


def test_pixels_of_another_kind_are_refused() -> None:
    for function in (measure_quality, quality_check):
        with pytest.raises(ValueError, match="expected \\(H, W, 3\\) uint8"):
            function(np.zeros((480, 640), np.uint8))
