"""Find the cell in a picture that also shows what is around it, as the device finds cells in a field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.vision.finding import nearest_the_middle
from edgeleuk.vision.segmentation import segment

if TYPE_CHECKING:
    from edgeleuk.frames import Mask, RgbImage


def cell_mask(pixels: RgbImage) -> Mask:
    """Return the mask of the white cell nearest the picture's middle; all of the picture where none is found.

    The scale is estimated and not taken from whoever stated it: a wrong one finds no cells, or parts of them.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB

    Returns
    -------
    (H, W) uint8
        255 inside the cell, 0 outside.
    """
    height, width = pixels.shape[:2]
    cell = nearest_the_middle(segment(pixels), pixels.shape)
    if cell is None:
        return np.full((height, width), 255, np.uint8)
    mask: Mask = np.zeros((height, width), np.uint8)
    mask[cell.box.slices] = np.where(cell.mask > 0, np.uint8(255), np.uint8(0))
    return mask
