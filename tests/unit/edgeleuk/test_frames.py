"""Arrays are checked once, where they enter."""

from __future__ import annotations

import numpy as np
import pytest

from edgeleuk.frames import CYTOPLASM, NUCLEUS, Box, Cell, CellCrop, Frame


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_a_frame_that_is_no_rgb_image_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8, got"):
        Frame(pixels, 0, 0.0, 0.0, "test")


def test_a_cell_measures_itself() -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3] = CYTOPLASM
    mask[1, 2:4] = NUCLEUS
    cell = Cell(Box(10, 20, 6, 4), mask)
    assert (cell.area_px, cell.nucleus_area_px) == (12, 2)
    assert cell.box.centre == (13, 22)


def test_a_mask_of_another_size_than_its_box_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(4, 6\) uint8, got \(6, 4\) uint8"):
        Cell(Box(0, 0, 6, 4), np.zeros((6, 4), np.uint8))


def test_on_black_takes_what_is_not_black_for_the_cell() -> None:
    pixels = np.zeros((5, 5, 3), np.uint8)
    pixels[2, 2] = (0, 0, 1)
    assert CellCrop.on_black(pixels, 10.0).mask.sum() == 255


@pytest.mark.parametrize("px_per_um", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_none_is_refused(px_per_um: float) -> None:
    with pytest.raises(ValueError, match="px_per_um above 0"):
        CellCrop.on_black(np.ones((5, 5, 3), np.uint8), px_per_um)
