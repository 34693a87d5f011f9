"""What a picture shows: a field of white cells, one cell with others around it, or one cell on black."""

from __future__ import annotations

from math import hypot
from typing import TYPE_CHECKING

from edgeleuk.vision.eyepiece import cut_by, is_field_on_black, with_glass_around
from edgeleuk.vision.picture_scale import PictureScale, estimated_scale
from edgeleuk.vision.quality import is_cell_on_black
from edgeleuk.vision.segmentation import segment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeleuk.frames import Cell, RgbImage


def is_one_cell_on_black(pixels: RgbImage, px_per_um: float | None) -> bool:
    """Whether a picture, (H, W, 3) uint8 RGB, is one cell cut out on black, and no field in an eyepiece."""
    return is_cell_on_black(pixels) and not is_field_on_black(pixels, px_per_um)


def find_cells(pixels: RgbImage, px_per_um: float | None) -> tuple[list[Cell], PictureScale]:
    """Find the white cells of a picture, and its scale: the given one, else what the red cells tell."""
    if is_field_on_black(pixels, px_per_um):
        filled, around = with_glass_around(pixels)
        cells, scale = _cells_and_scale(filled, px_per_um)
        return [cut_by(around, cell) for cell in cells], scale
    return _cells_and_scale(pixels, px_per_um)


def _cells_and_scale(pixels: RgbImage, px_per_um: float | None) -> tuple[list[Cell], PictureScale]:
    if px_per_um is not None:
        return segment(pixels, px_per_um=px_per_um), PictureScale(px_per_um)
    scale = estimated_scale(pixels)
    cells = segment(pixels, px_per_um=scale.px_per_um)
    return cells, scale.of_cells(cells)


def nearest_the_middle(cells: Iterable[Cell], shape: tuple[int, ...]) -> Cell | None:
    """Return the cell whose box lies nearest the middle of a picture of (H, W, ...); None without cells.

    Pictures of one cell, with others or parts of them around it, show it in their middle.
    """
    height, width = shape[:2]

    def off_centre(cell: Cell) -> float:
        x, y = cell.box.centre
        return hypot(x - width / 2, y - height / 2)

    return min(cells, key=off_centre, default=None)
