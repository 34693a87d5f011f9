"""Fourteen plain numbers of a cell: what a network has to beat before it may say that it sees more.

Lengths are in micrometres, so that crops of any scale give the same numbers; colours are CIE L*a*b*
(D65, the pixels taken for sRGB). Everything is computed on one crop, from NumPy and OpenCV alone.

==  =============  ========  ====================================================================
 #  name           unit      what
==  =============  ========  ====================================================================
 1  log_area       ln(um^2)  natural logarithm of the area of the mask
 2  circularity    1         4 pi area / perimeter^2 of the outer contour: 1 for a disc (Cox 1927)
 3  solidity       1         area of the contour / area of its convex hull
 4  aspect         1         minor / major axis of the ellipse with the mask's second moments
 5  lab_l_mean     L*        mean lightness, 0 to 100
 6  lab_a_mean     a*        mean green to red, about -128 to 127
 7  lab_b_mean     b*        mean blue to yellow, about -128 to 127
 8  lab_l_std      L*        standard deviation of lightness within the cell
 9  lab_a_std      a*        the same of a*
10  lab_b_std      b*        the same of b*
11  texture_80nm   L*        standard deviation of lightness minus itself smoothed by 0.08 um
12  texture_160nm  L*        ... of the difference of Gaussians 0.08 and 0.16 um
13  texture_320nm  L*        ... of the difference of Gaussians 0.16 and 0.32 um
14  texture_650nm  L*        ... of the difference of Gaussians 0.32 and 0.65 um, at every second pixel
==  =============  ========  ====================================================================

Shape and colour count the whole mask; texture leaves out a rim of `RIM_UM`, where C-NMC's pixels are
mixed with black. Differences of Gaussians as band-passes: Marr and Hildreth, Proc. R. Soc. B 207 (1980).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.errors import DataRefusedError

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import CellCrop, RgbImage
    from edgeleuk.inference.preprocessing import ScaledCell

    Floats = npt.NDArray[np.float64]
    Floats32 = npt.NDArray[np.float32]
    Bytes = npt.NDArray[np.uint8]

NAMES = (
    "log_area",
    "circularity",
    "solidity",
    "aspect",
    "lab_l_mean",
    "lab_a_mean",
    "lab_b_mean",
    "lab_l_std",
    "lab_a_std",
    "lab_b_std",
    "texture_80nm",
    "texture_160nm",
    "texture_320nm",
    "texture_650nm",
)
# Columns of the numbers that know nothing but the mean colour.
COLOUR = tuple(NAMES.index(name) for name in ("lab_l_mean", "lab_a_mean", "lab_b_mean"))

SIGMAS_UM = (0.08, 0.16, 0.32, 0.65)
RIM_UM = 0.22
# A cell this small has no inside to speak of.
LEAST_PX = 25
# Of a byte's levels, in 255ths.
_SHARES = np.arange(256, dtype=np.float32) / 255


def morphology_numbers(crop: CellCrop) -> Floats:
    """Measure one cell.

    Parameters
    ----------
    crop : CellCrop

    Returns
    -------
    (14,) float64
        In the order of `NAMES`, finite.

    Raises
    ------
    DataRefusedError
        The mask has fewer than `LEAST_PX` pixels.
    """
    area_px = int(np.count_nonzero(crop.mask))
    if area_px < LEAST_PX:
        raise DataRefusedError(
            "the cell is too small to be measured",
            got=f"{area_px} pixels",
            allowed=f"{LEAST_PX} or more",
            cure="remove it",
        )
    x, y, w, h = cv2.boundingRect(crop.mask)
    inside = crop.mask[y : y + h, x : x + w] > 0
    return _numbers(crop.pixels[y : y + h, x : x + w], inside, crop.px_per_um)


def numbers_of(cell: ScaledCell, px_per_um: float) -> Floats:
    """Measure a cell as the network sees it: at the network's scale, its rim taken off.

    Parameters
    ----------
    cell : ScaledCell
    px_per_um : float
        The network's scale.

    Returns
    -------
    (14,) float64
        In the order of `NAMES`; zeros where there are fewer than `LEAST_PX` pixels to measure.
    """
    if int(np.count_nonzero(cell.inside)) < LEAST_PX:
        return np.zeros(len(NAMES))
    return _numbers(cell.pixels, cell.inside, px_per_um)


def _numbers(pixels: RgbImage, inside: npt.NDArray[np.bool_], px_per_um: float) -> Floats:
    mask = np.ascontiguousarray(inside).view(np.uint8)
    lab = cv2.cvtColor(cv2.LUT(pixels, _SHARES), cv2.COLOR_RGB2LAB)
    means, spreads = cv2.meanStdDev(lab, mask=mask)
    return np.array([
        np.log(cv2.countNonZero(mask) / px_per_um**2),
        *_shape(mask),
        *means.ravel(),
        *spreads.ravel(),
        *_texture(np.asarray(cv2.extractChannel(lab, 0), np.float32), float(means[0, 0]), mask, px_per_um),
    ])  # fmt: skip


def _shape(mask: Bytes) -> tuple[float, float, float]:
    """Return circularity, solidity and aspect."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outer = max(contours, key=cv2.contourArea)
    area, hull = cv2.contourArea(outer), cv2.contourArea(cv2.convexHull(outer))
    perimeter = cv2.arcLength(outer, closed=True)
    moments = cv2.moments(mask, binaryImage=True)
    # A pixel is a square, not a point: 1/12 is its own second moment.
    xx, yy, xy = (moments[name] / moments["m00"] for name in ("mu20", "mu02", "mu11"))
    minor, major = np.sqrt(np.linalg.eigvalsh(np.array([[xx + 1 / 12, xy], [xy, yy + 1 / 12]])))
    circularity = 4 * np.pi * area / perimeter**2 if perimeter else 0.0
    return float(circularity), float(area / hull) if hull else 0.0, float(minor / major)


def _texture(lightness: Floats32, mean: float, mask: Bytes, px_per_um: float) -> list[float]:
    """Return the spread of lightness in four bands of scale, away from the rim."""
    filled = np.full(lightness.shape, mean, np.float32)
    cv2.copyTo(lightness, mask, filled)
    deep = _without_rim(mask, round(RIM_UM * px_per_um))
    *finer, widest = (sigma * px_per_um for sigma in SIGMAS_UM)
    smooth = [filled, *(cv2.GaussianBlur(filled, (0, 0), sigma) for sigma in finer)]
    pairs = [(fine, coarse, deep) for fine, coarse in pairwise(smooth)]
    # So smooth a picture is told by a quarter of its pixels, which halves what all of this takes.
    few = np.ascontiguousarray(smooth[-1][::2, ::2])
    wide = cv2.GaussianBlur(few, (0, 0), math.sqrt(widest**2 - finer[-1] ** 2) / 2)
    pairs.append((few, wide, np.ascontiguousarray(deep[::2, ::2])))
    bands = ((cv2.subtract(fine, coarse), mask) for fine, coarse, mask in pairs)
    return [float(cv2.meanStdDev(band, mask=mask)[1][0, 0]) for band, mask in bands]


def _without_rim(mask: Bytes, rim_px: int) -> Bytes:
    """Shrink the cell by a rim, or leave it as it is where nothing would remain."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    shrunk = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=rim_px)[1:-1, 1:-1]
    return np.ascontiguousarray(shrunk, np.uint8) if shrunk.any() else mask
