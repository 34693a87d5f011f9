"""Calibration images on their way into the converters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.bundle.manifest import InputContract
from edgeleuk.errors import DataRefusedError
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.dataset.cells import LabelledCell
from edgeleuk_convert.dataset.cnmc import load_cells, pixel_hash
from edgeleuk_convert.quantization.calibration_data import RealInput, TensorStore, read_calibration

if TYPE_CHECKING:
    from pathlib import Path

CONTRACT = InputContract(
    height=32, width=32, channels=("red", "mask"), normalise=True, px_per_um=3, crop_px_per_um=18.5,
    scale=0.5, offset=-3.0,
)  # fmt: skip
STACK = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 2)).astype(np.uint8)


def test_a_store_is_sliced_as_an_array() -> None:
    with TensorStore(CONTRACT.shape) as store:
        for tensor in STACK:
            store.append(tensor)
        assert len(store) == 40
        for rows in (slice(None), slice(0, 7), slice(38, 99), slice(5, 5), slice(9, 2)):
            np.testing.assert_array_equal(store[rows], STACK[rows])
        np.testing.assert_array_equal(np.array(list(store)), STACK)
        with pytest.raises(ValueError, match="without a step"):
            store[::2]
        with pytest.raises(ValueError, match="uint8"):
            store.append(STACK[0].astype(np.int16))


def test_real_input_is_byte_times_scale_and_offset() -> None:
    real = RealInput(STACK, CONTRACT)
    np.testing.assert_allclose(real[3:5], STACK[3:5] * 0.5 - 3.0)
    assert real[:2].dtype == np.float32
    assert [tensor.shape for tensor in real] == [(1, 32, 32, 2)] * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(20):
        crop = single_cell("blast" if n % 2 else "normal", n)
        label = "all" if n % 2 else "hem"
        subject = f"{n % 4}" if n % 2 else f"H{n % 4}"
        (tmp_path / label).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / label / f"UID_{subject}_{n}_1_{label}.png"), crop.pixels[:, :, ::-1])
    return tmp_path


def test_cells_are_read_in_order(folder: Path) -> None:
    from edgeleuk.inference.preprocessing import to_tensor
    from edgeleuk_convert.dataset.cnmc import read_crop

    cells = load_cells(folder).cells
    told: list[tuple[int, int]] = []
    with read_calibration(cells, CONTRACT, progress=lambda *done: told.append(done)) as store:
        expected = [to_tensor(read_crop(cell), CONTRACT) for cell in cells]
        np.testing.assert_array_equal(store[:], np.array(expected))
    assert told[-1] == (20, 20)


def test_noise_and_flat_colour_are_named(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, inside in (("UID_1_98_1_all", rng.integers(1, 256, (80, 80, 3))), ("UID_1_99_1_all", 120)):
        pixels = np.zeros((120, 120, 3), np.uint8)
        pixels[20:100, 20:100] = inside
        cv2.imwrite(str(folder / "all" / f"{name}.png"), pixels)
    with pytest.raises(
        DataRefusedError, match="2 of 22 calibration images are no picture of a cell"
    ) as caught:
        read_calibration(load_cells(folder).cells, CONTRACT)
    assert "UID_1_98_1_all.png (noise" in str(caught.value)
    assert "UID_1_99_1_all.png (constant" in str(caught.value)


def test_a_file_that_is_gone_is_named(folder: Path) -> None:
    cells = load_cells(folder).cells
    cells[3].path.unlink()
    with pytest.raises(DataRefusedError, match=cells[3].path.name):
        read_calibration(cells, CONTRACT)


def test_the_hash_of_a_cell_is_of_its_pixels(folder: Path) -> None:
    from edgeleuk_convert.dataset.decoding import decode

    (cell, *_) = load_cells(folder).cells
    assert isinstance(cell, LabelledCell)
    pixels = decode(cell.path)
    assert not isinstance(pixels, str)
    assert cell.sha256 == pixel_hash(pixels)
