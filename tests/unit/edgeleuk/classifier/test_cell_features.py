"""Fourteen numbers: what each says of a cell that was drawn to say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.classifier.cell_features import COLOUR, NAMES, morphology_numbers
from edgeleuk.errors import DataRefusedError
from edgeleuk.frames import CellCrop
from edgeleuk_convert.dataset.cells import CNMC_PX_PER_UM, LabelledCell
from edgeleuk_convert.dataset.measuring import measure

if TYPE_CHECKING:
    from pathlib import Path


def drawn(
    axes: tuple[int, int] = (80, 80), colour: tuple[int, int, int] = (120, 60, 140), *, side: int = 240
) -> CellCrop:
    """Draw an ellipse of one colour on black."""
    pixels = np.zeros((side, side, 3), np.uint8)
    cv2.ellipse(pixels, (side // 2, side // 2), axes, 0, 0, 360, colour, -1)
    return CellCrop.on_black(pixels, CNMC_PX_PER_UM)


def with_stripes(wavelength_px: float, zoom: int = 1) -> CellCrop:
    """Draw a disc whose brightness is a sine along x."""
    crop = drawn((80 * zoom, 80 * zoom), side=240 * zoom)
    wave = 100 + 40 * np.sin(np.arange(240 * zoom) * (2 * np.pi / wavelength_px / zoom))
    pixels = np.where(crop.pixels > 0, np.rint(wave)[None, :, None], 0).astype(np.uint8)
    return CellCrop.on_black(pixels, CNMC_PX_PER_UM * zoom)


def named(crop: CellCrop) -> dict[str, float]:
    return dict(zip(NAMES, morphology_numbers(crop).tolist(), strict=True))


def test_there_are_fourteen_finite_numbers() -> None:
    numbers = morphology_numbers(drawn())
    assert numbers.shape == (14,) == (len(NAMES),)
    assert np.isfinite(numbers).all()
    assert [NAMES[column] for column in COLOUR] == ["lab_l_mean", "lab_a_mean", "lab_b_mean"]


def test_a_disc_is_round_and_as_large_as_it_is() -> None:
    disc = named(drawn())
    assert np.exp(disc["log_area"]) == pytest.approx(np.pi * (80 / CNMC_PX_PER_UM) ** 2, rel=0.02)
    assert disc["circularity"] == pytest.approx(
        0.9, abs=0.02
    )  # a contour of pixels is longer than its circle
    assert disc["solidity"] > 0.98
    assert disc["aspect"] == pytest.approx(1, abs=0.01)


def test_an_ellipse_is_half_as_wide_and_a_notch_is_not_solid() -> None:
    assert named(drawn((80, 40)))["aspect"] == pytest.approx(0.5, abs=0.01)
    notched = drawn().pixels.copy()
    notched[100:140, 120:] = 0
    assert named(CellCrop.on_black(notched, CNMC_PX_PER_UM))["solidity"] < 0.9


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [((255, 0, 0), (53.24, 80.09, 67.20)), ((0, 0, 255), (32.30, 79.19, -107.86))],
    ids=["red", "blue"],
)
def test_colours_are_those_of_the_cie(rgb: tuple[int, int, int], lab: tuple[float, ...]) -> None:
    numbers = morphology_numbers(drawn(colour=rgb))
    assert numbers[list(COLOUR)] == pytest.approx(np.array(lab), abs=0.3)
    assert numbers[7:] == pytest.approx(np.zeros(7), abs=1e-3)  # flat: no spread, no texture


@pytest.mark.parametrize(
    ("wavelength_px", "strongest"),
    [(3, "texture_80nm"), (10, "texture_160nm"), (20, "texture_320nm"), (45, "texture_650nm")],
)
def test_each_band_answers_to_its_scale(wavelength_px: float, strongest: str) -> None:
    texture = {name: value for name, value in named(with_stripes(wavelength_px)).items() if "texture" in name}
    assert max(texture, key=lambda name: texture[name]) == strongest


def test_scale_does_not_matter() -> None:
    small, large = with_stripes(24), with_stripes(24, zoom=2)
    assert morphology_numbers(large) == pytest.approx(morphology_numbers(small), rel=0.15, abs=0.1)


def test_what_lies_outside_the_mask_does_not_matter() -> None:
    black = with_stripes(12)
    bright = np.where(black.mask[:, :, None] > 0, black.pixels, np.uint8(230))
    crop = CellCrop(bright, black.mask, black.px_per_um)
    assert morphology_numbers(crop) == pytest.approx(morphology_numbers(black))


def test_a_sliver_still_has_numbers() -> None:
    assert np.isfinite(morphology_numbers(drawn((40, 0)))).all()


def test_a_speck_is_refused() -> None:
    with pytest.raises(DataRefusedError, match="too small to be measured: got 1 pixels, allowed 25 or more"):
        morphology_numbers(drawn((0, 0)))


def test_measure_keeps_the_order_and_names_the_file(tmp_path: Path) -> None:
    def stored(name: str, axes: tuple[int, int]) -> LabelledCell:
        cv2.imwrite(str(tmp_path / name), drawn(axes).pixels)
        return LabelledCell(tmp_path / name, "blast", "1", "1", name, 1, 240, 240)

    good = [stored("a.png", (80, 80)), stored("b.png", (40, 40))]
    told: list[tuple[int, int]] = []
    areas = measure(good, lambda crop: int(crop.mask.any(axis=0).sum()), progress=lambda *at: told.append(at))
    assert areas[0] > areas[1]
    assert told == [(1, 2), (2, 2)]
    with pytest.raises(DataRefusedError, match=r"speck\.png: the cell is too small"):
        measure([*good, stored("speck.png", (0, 0))], morphology_numbers)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataRefusedError, match=r"a\.png can no longer be read"):
        measure(good, morphology_numbers)
