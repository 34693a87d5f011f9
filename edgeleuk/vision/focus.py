"""How sharp one cell is, to choose the best of its views by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from edgeleuk.frames import Cell, RgbImage

# Grey levels: below this a cell shows nothing to focus on.
_LEAST_CONTRAST = 2.0


def focus_of(pixels: RgbImage, cell: Cell) -> float:
    """Measure how sharp a cell is: fine detail of green within it, relative to its contrast.

    Comparable between views of one cell with one camera, not between cells. The Laplacian as a measure of
    focus: Pertuz, Puig and Garcia, "Analysis of focus measure operators", Pattern Recognition 46 (2013).

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    cell : Cell

    Returns
    -------
    float
        0 or more.
    """
    green = np.ascontiguousarray(pixels[cell.box.slices][:, :, 1])
    detail = cv2.Laplacian(green, cv2.CV_32F)
    _, contrast = cv2.meanStdDev(green, mask=cell.mask)
    _, sharp = cv2.meanStdDev(detail, mask=cell.mask)
    return float(sharp[0, 0]) / max(float(contrast[0, 0]), _LEAST_CONTRAST)
