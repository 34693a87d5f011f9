"""A photograph through an eyepiece: a round field on black, and not one cell on black."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.vision.quality import BLACK_LEVEL, is_cell_on_black
from edgeleuk.vision.stain import background_colour

if TYPE_CHECKING:
    from edgeleuk.frames import Cell, Mask, RgbImage

# A white cell is no wider on a smear, and one so pale that it looks like glass is narrower.
LARGEST_CELL_UM, _LARGEST_PALE_CELL_UM = 35.0, 20.0
# All channels of empty glass are brighter, which most of a cell seldom is.
_PALE = 110
# Where nobody tells the scale: that of C-NMC.
_SUPPOSED_PX_PER_UM = 18.5
# Between black and the field lies a soft edge, which a JPEG widens.
_EDGE_PX = 4


def is_field_on_black(pixels: RgbImage, px_per_um: float | None) -> bool:
    """Whether a picture on black shows a field, as through an eyepiece, and no single cell.

    It does, where what is lit is larger than any cell, or large and for the greater part empty glass.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    px_per_um : float or None
        Scale. Where it is only supposed, a small field is told by its glass.

    Examples
    --------
    >>> import numpy as np
    >>> cell = np.zeros((300, 300, 3), np.uint8)
    >>> cell[50:250, 50:250] = 120, 60, 150
    >>> is_field_on_black(cell, 18.5), is_field_on_black(cell, 5.0)
    (False, True)
    """
    if not is_cell_on_black(pixels):
        return False
    area = int(np.count_nonzero(pixels.max(axis=2) > BLACK_LEVEL))
    diameter_um = math.sqrt(4 * area / math.pi) / (px_per_um or _SUPPOSED_PX_PER_UM)
    if diameter_um <= _LARGEST_PALE_CELL_UM:
        return False
    pale = int(np.count_nonzero(pixels.min(axis=2) > _PALE))
    return diameter_um > LARGEST_CELL_UM or pale > 0.5 * area


def with_glass_around(pixels: RgbImage) -> tuple[RgbImage, Mask]:
    """Fill what is black around a field with the colour of its glass, or the outline would be a cell's.

    Returns
    -------
    pixels : (H, W, 3) uint8, RGB
    around : (H, W) uint8
        255 where it was filled: what is black up to the rim, and the soft edge.
    """
    dark = cv2.copyMakeBorder(
        np.where(pixels.max(axis=2) <= BLACK_LEVEL, np.uint8(255), np.uint8(0)),
        *(1, 1, 1, 1), cv2.BORDER_CONSTANT, value=255,
    )  # fmt: skip
    labels = cv2.connectedComponents(dark)[1]
    around = np.where(labels == labels[0, 0], np.uint8(255), np.uint8(0))
    side = 2 * _EDGE_PX + 1
    around = np.asarray(cv2.dilate(around, np.ones((side, side), np.uint8))[1:-1, 1:-1], np.uint8)
    glass = np.asarray(background_colour(pixels[around == 0][None]), np.float64)
    filled = np.where(around[:, :, None] > 0, np.rint(glass).astype(np.uint8), pixels)
    return filled, around


def cut_by(around: Mask, cell: Cell) -> Cell:
    """Return the cell, and say that the border touches it where the edge of the field does."""
    x, y, width, height = cell.box
    window = around[max(0, y - 1) : y + height + 1, max(0, x - 1) : x + width + 1]
    own = np.zeros_like(window)
    top, left = min(y, 1), min(x, 1)
    own[top : top + height, left : left + width] = cell.mask
    near = np.asarray(cv2.dilate(own, np.ones((3, 3), np.uint8)))
    return replace(cell, touches_border=True) if ((near > 0) & (window > 0)).any() else cell
