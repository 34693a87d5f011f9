"""Cutting a found cell out of its field, the way the training set shows cells: alone, on black."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import CellCrop, require_rgb

if TYPE_CHECKING:
    from edgeleuk.frames import Cell, RgbImage


def crop_with_surroundings(
    pixels: RgbImage, cell: Cell, px_per_um: float, size_um: tuple[float, float]
) -> CellCrop:
    """Cut out a window around one cell, with all that the field shows there.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    cell : Cell
        Its box's middle becomes the window's.
    px_per_um : float
        Scale of the field.
    size_um : (height, width)
        Of the window, at least as large as the box is made; black beyond the field.
    """
    alone = crop_cell(pixels, cell, px_per_um)
    x, y, w, h = cell.box
    height, width = (max(side, round(um * px_per_um)) for side, um in zip((h, w), size_um, strict=True))
    top, left = y - (height - h) // 2, x - (width - w) // 2
    window = np.zeros((height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    rows = slice(max(top, 0), min(top + height, pixels.shape[0]))
    columns = slice(max(left, 0), min(left + width, pixels.shape[1]))
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    window[inside] = pixels[rows, columns]
    mask[y - top : y - top + h, x - left : x - left + w] = alone.mask
    return CellCrop(pixels=window, mask=mask, px_per_um=px_per_um)


def crop_cell(pixels: RgbImage, cell: Cell, px_per_um: float) -> CellCrop:
    """Cut out one cell, tight to its box, with pure black outside its mask.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
        The field in which the cell was found.
    cell : Cell
        Its box must lie inside `pixels`.
    px_per_um : float
        Scale of the field; the crop is not resized.

    Returns
    -------
    CellCrop
        Owns its pixels: the field may be reused by the camera.
    """
    require_rgb(pixels)
    x, y, w, h = cell.box
    height, width = pixels.shape[:2]
    if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
        msg = f"expected a box inside {width}x{height} px, got {tuple(cell.box)}"
        raise ValueError(msg)
    mask = np.asarray(cv2.threshold(cell.mask, 0, 255, cv2.THRESH_BINARY)[1], np.uint8)
    window = np.asarray(cv2.copyTo(pixels[cell.box.slices], mask), np.uint8)
    return CellCrop(pixels=window, mask=mask, px_per_um=px_per_um)
