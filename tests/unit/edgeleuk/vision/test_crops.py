from __future__ import annotations

import numpy as np
import pytest

from edgeleuk.frames import Box, Cell
from edgeleuk.vision.crops import crop_cell

FIELD = np.random.default_rng(0).integers(1, 256, (40, 60, 3), np.uint8)
CELL = Cell(Box(10, 5, 3, 2), np.array([[0, 128, 128], [255, 255, 0]], np.uint8))


def test_crop_is_the_cell_on_black() -> None:
    crop = crop_cell(FIELD, CELL, 12.5)
    inside = np.array([[False, True, True], [True, True, False]])
    np.testing.assert_array_equal(crop.pixels[inside], FIELD[5:7, 10:13][inside])
    assert not crop.pixels[~inside].any()
    np.testing.assert_array_equal(crop.mask, np.where(inside, 255, 0))
    assert crop.px_per_um == 12.5


def test_crop_owns_its_pixels() -> None:
    field = FIELD.copy()
    crop = crop_cell(field, CELL, 12.5)
    field[:] = 0
    assert crop.pixels.any()


@pytest.mark.parametrize("box", [Box(-1, 0, 3, 2), Box(0, -1, 3, 2), Box(58, 0, 3, 2), Box(0, 39, 3, 2)])
def test_a_box_outside_the_field_is_refused(box: Box) -> None:
    with pytest.raises(ValueError, match="expected a box inside 60x40 px"):
        crop_cell(FIELD, Cell(box, CELL.mask), 12.5)


def test_a_scale_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="px_per_um above 0"):
        crop_cell(FIELD, CELL, 0.0)


def test_a_grey_field_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        crop_cell(FIELD[..., 0], CELL, 12.5)
