"""How a cell looks before it is normalised: colour and sharpness, at the network's scale.

A network that has stain and lamp taken out of its input cannot see that they are foreign; these numbers can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.inference.preprocessing import ScaledCell

    Floats = npt.NDArray[np.float32]

# Standard deviations (pixels) whose differences make the fine and the coarse band of detail.
SIGMAS_PX = (1.0, 2.0, 4.0)
# Squared grey levels, well below what chromatin has: rounding to bytes must not pass for fine detail.
ROUNDING_POWER = 0.1
# Measures are compared by their logarithms: none may be 0.
_LEAST = 1e-4


class CellAppearance(NamedTuple):
    """How one cell looks; each is above 0.

    Attributes
    ----------
    red_to_green, blue_to_green, red_to_blue : float
        Ratios of the channels' means within the cell: the stain's hue, whatever the exposure. The third
        follows from the others, but its range does not: it is the one that swapped channels leave.
    sharpness : float
        Power of the detail between 1 and 2 pixels over that between 2 and 4: blur takes the finer first,
        and contrast cancels out.
    """

    red_to_green: float
    blue_to_green: float
    red_to_blue: float
    sharpness: float


def appearance_of(cell: ScaledCell) -> CellAppearance:
    """Measure one cell, its rim taken off as the network's input has it.

    Detail is the difference of Gaussians (Burt and Adelson, "The Laplacian Pyramid as a Compact Image Code",
    1983) that see the cell alone (normalised convolution: Knutsson and Westin, CVPR 1993).

    Parameters
    ----------
    cell : ScaledCell

    Returns
    -------
    CellAppearance
        A cell that is nothing but rim is grey and blurred.
    """
    pixels, inside = cell
    if not inside.any():
        return CellAppearance(1.0, 1.0, 1.0, _LEAST)
    # One grey level keeps the ratios of a black cell finite.
    mask = np.ascontiguousarray(inside).view(np.uint8)
    red, green, blue = (max(level, 1.0) for level in cv2.mean(pixels, mask)[:3])
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)
    within = np.asarray(mask, np.float32)
    finest, middle, coarsest = (_smoothed(grey * within, within, sigma) for sigma in SIGMAS_PX)
    fine, coarse = (
        cv2.norm(one, two, cv2.NORM_L2SQR, mask) / cv2.countNonZero(mask)
        for one, two in ((finest, middle), (middle, coarsest))
    )
    sharpness = max(fine / (coarse + ROUNDING_POWER), _LEAST)
    return CellAppearance(red / green, blue / green, red / blue, sharpness)


def _smoothed(grey: Floats, inside: Floats, sigma_px: float) -> Floats:
    weight = np.maximum(cv2.GaussianBlur(inside, (0, 0), sigma_px), np.float32(1e-6))
    return np.asarray(cv2.divide(cv2.GaussianBlur(grey, (0, 0), sigma_px), weight), np.float32)
