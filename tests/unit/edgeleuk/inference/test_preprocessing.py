"""A crop becomes a tensor: scale, centre, mask, normalisation."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.bundle.manifest import InputContract
from edgeleuk.frames import CellCrop
from edgeleuk.inference.preprocessing import (
    NORMAL_MEAN,
    NORMAL_STD,
    ScaledCell,
    normalised,
    nucleus_of,
    to_batch,
    to_tensor,
)

CONTRACT = InputContract(
    height=128,
    width=128,
    channels=("luminance", "mask"),
    normalise=True,
    px_per_um=7.4,
    crop_px_per_um=18.5,
)


def disc(radius: int, size: int, *, centre: tuple[int, int] | None = None, seed: int = 0) -> CellCrop:
    y, x = np.mgrid[:size, :size]
    cx, cy = centre or (size // 2, size // 2)
    inside = (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
    noise = np.random.default_rng(seed).integers(60, 200, (size, size, 3)).astype(np.uint8)
    return CellCrop.on_black(np.where(inside[:, :, None], noise, np.uint8(0)), 18.5)


def area(tensor: np.ndarray) -> int:
    return int(np.count_nonzero(tensor[:, :, 1]))


def test_shape_and_type_follow_the_contract() -> None:
    tensor = to_tensor(disc(90, 450), CONTRACT)
    assert tensor.shape == (128, 128, 2)
    assert tensor.dtype == np.uint8


@given(x=st.integers(120, 330), y=st.integers(120, 330))
def test_where_the_cell_lies_in_its_picture_does_not_matter(x: int, y: int) -> None:
    moved = disc(90, 450, centre=(x, y))
    assert area(to_tensor(moved, CONTRACT)) == area(to_tensor(disc(90, 450), CONTRACT))


def test_a_larger_canvas_gives_the_same_tensor() -> None:
    small = disc(90, 450)
    pixels = np.zeros((600, 600, 3), np.uint8)
    pixels[75:525, 75:525] = small.pixels
    assert np.array_equal(to_tensor(CellCrop.on_black(pixels, 18.5), CONTRACT), to_tensor(small, CONTRACT))


@pytest.mark.parametrize("px_per_um", [4.0, 7.4, 13.0, 18.5, 40.0])
def test_size_in_the_tensor_is_size_in_micrometres(px_per_um: float) -> None:
    radius = 5.0 * px_per_um
    crop = disc(round(radius), round(radius * 3))
    crop = CellCrop(crop.pixels, crop.mask, px_per_um)
    expected = np.pi * (round(radius) / px_per_um * CONTRACT.px_per_um) ** 2
    assert area(to_tensor(crop, CONTRACT)) == pytest.approx(expected, rel=0.06)


def test_lamp_and_stain_drop_out() -> None:
    crop = disc(90, 450)
    dark = CellCrop(
        np.where(crop.mask[:, :, None] > 0, crop.pixels // 2 + 20, 0).astype(np.uint8), crop.mask, 18.5
    )
    difference = np.abs(to_tensor(crop, CONTRACT).astype(int) - to_tensor(dark, CONTRACT))
    assert difference.mean() <= 1.5  # rounding of the darker picture, stretched


def test_the_inside_has_the_promised_mean_and_spread() -> None:
    tensor = to_tensor(disc(120, 450), CONTRACT)
    inside = tensor[:, :, 0][tensor[:, :, 1] == 255].astype(float)
    assert inside.mean() == pytest.approx(NORMAL_MEAN, abs=1.5)
    assert inside.std() == pytest.approx(NORMAL_STD, rel=0.05)
    assert set(np.unique(tensor[:, :, 0][tensor[:, :, 1] == 0])) == {NORMAL_MEAN}


def test_without_normalisation_colours_stay_and_the_outside_is_black() -> None:
    plain = msgspec.structs.replace(CONTRACT, channels=("red", "green", "blue"), normalise=False)
    crop = disc(90, 450)
    crop.pixels[crop.mask > 0] = (10, 120, 230)
    tensor = to_tensor(crop, plain)
    assert tensor[64, 64].tolist() == [10, 120, 230]
    # No black is mixed into the rim: the cell's own colour reaches its edge.
    rim = tensor[64, :, 1]
    assert set(np.unique(rim[rim > 60])) == {120}


def test_a_flat_cell_is_not_stretched_into_noise() -> None:
    values = np.full((20, 20), 100, np.uint8)
    values[::2] += 1
    result = normalised(values, np.ones((20, 20), bool))
    assert np.ptp(result.astype(int)) <= 12


def test_a_cell_larger_than_the_tensor_is_cut_not_shrunk() -> None:
    tensor = to_tensor(disc(220, 450), CONTRACT)
    assert tensor[:, :, 1].all(axis=0)[64]


def test_the_rim_is_taken_off_all_around() -> None:
    whole, shrunk = (
        to_tensor(disc(90, 450), msgspec.structs.replace(CONTRACT, rim_um=rim)) for rim in (0.0, 0.27)
    )
    radius = 90 / 18.5 * 7.4
    assert area(whole) == pytest.approx(np.pi * radius**2, rel=0.03)
    assert area(shrunk) == pytest.approx(np.pi * (radius - 2) ** 2, rel=0.03)
    assert set(np.unique(shrunk[:, :, 0][shrunk[:, :, 1] == 0])) == {NORMAL_MEAN}


def test_the_rim_is_taken_off_a_cell_that_fills_its_crop() -> None:
    full = CellCrop.on_black(np.full((90, 90, 3), 90, np.uint8), 18.5)
    contract = msgspec.structs.replace(CONTRACT, rim_um=0.27)
    assert area(to_tensor(full, contract)) == 32 * 32


def test_a_bright_rim_does_not_change_what_the_network_sees() -> None:
    cell = disc(90, 450)
    y, x = np.mgrid[:450, :450]
    bright = ((x - 225) ** 2 + (y - 225) ** 2 > 88**2) & (cell.mask > 0)
    rimmed = CellCrop(np.where(bright[:, :, None], np.uint8(255), cell.pixels), cell.mask, 18.5)
    contract = msgspec.structs.replace(CONTRACT, rim_um=0.27)
    difference = np.abs(to_tensor(cell, contract).astype(int) - to_tensor(rimmed, contract))
    assert difference.mean() < 0.2


def test_an_empty_crop_gives_an_empty_tensor() -> None:
    empty = CellCrop.on_black(np.zeros((50, 50, 3), np.uint8), 18.5)
    tensor = to_tensor(empty, CONTRACT)
    assert not tensor[:, :, 1].any()


def test_a_batch_is_its_tensors() -> None:
    crops = [disc(80, 450, seed=1), disc(110, 450, seed=2)]
    batch = to_batch(crops, CONTRACT)
    assert batch.shape == (2, 128, 128, 2)
    assert np.array_equal(batch[1], to_tensor(crops[1], CONTRACT))


def with_nucleus(dark: int, light: int) -> ScaledCell:
    """Draw a cell of 40 x 40 whose middle 20 x 20 are darker in green."""
    pixels = np.full((40, 40, 3), light, np.uint8)
    pixels[10:30, 10:30, 1] = dark
    return ScaledCell(pixels, np.ones((40, 40), bool))


@given(dark=st.integers(0, 150), step=st.integers(1, 100))
def test_the_nucleus_is_the_darker_part(dark: int, step: int) -> None:
    nucleus = nucleus_of(with_nucleus(dark, dark + step))
    assert int(nucleus.sum()) == 400
    assert nucleus[10:30, 10:30].all()


@given(seed=st.integers(0, 99))
def test_the_nucleus_is_found_as_opencv_finds_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (30, 30, 3)).astype(np.uint8)
    pixels[:15] //= 2
    cell = ScaledCell(pixels, rng.random((30, 30)) > 0.3)
    values = np.ascontiguousarray(pixels[:, :, 1][cell.inside]).reshape(-1, 1)
    threshold = cv2.threshold(values, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0]
    assert np.array_equal(nucleus_of(cell), cell.inside & (pixels[:, :, 1] <= threshold))


def test_a_cell_of_one_grey_level_is_all_nucleus() -> None:
    assert nucleus_of(with_nucleus(80, 80)).all()


def test_the_nucleus_lies_within_the_mask() -> None:
    contract = msgspec.structs.replace(CONTRACT, channels=("mask", "nucleus"))
    tensor = to_tensor(disc(90, 450), contract)
    assert set(np.unique(tensor)) == {0, 255}
    assert not tensor[:, :, 1][tensor[:, :, 0] == 0].any()
    assert 0 < area(tensor) < int(np.count_nonzero(tensor[:, :, 0]))
    empty = CellCrop.on_black(np.zeros((50, 50, 3), np.uint8), 18.5)
    assert not to_tensor(empty, contract).any()
