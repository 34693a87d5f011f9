"""How a cell looks before it is normalised: colour and sharpness, at the network's scale.

A network that has stain and lamp taken out of its input cannot see that they are foreign; these numbers can.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from edgeleuk.preprocessing import ScaledCell

    Bytes = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]
    Planes = tuple[Floats, Floats]

# Standard deviations (pixels) whose differences make the fine and the coarse band of detail.
SIGMAS_PX = (1.0, 2.0, 4.0)
# Squared grey levels, well below what chromatin has: rounding to bytes must not pass for fine detail.
ROUNDING_POWER = 0.1
# Measures are compared by their logarithms: none may be 0.
_LEAST = 1e-4


class Look(NamedTuple):
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


def look(cell: ScaledCell) -> Look:
    """Measure one cell, its rim taken off as the network's input has it.

    Detail is the difference of Gaussians (Burt and Adelson, "The Laplacian Pyramid as a Compact Image Code",
    1983) that see the cell alone (normalised convolution: Knutsson and Westin, CVPR 1993).

    Parameters
    ----------
    cell : ScaledCell

    Returns
    -------
    Look
        A cell that is nothing but rim is grey and blurred.
    """
    pixels, inside = cell
    if not inside.any():
        return Look(1.0, 1.0, 1.0, _LEAST)
    # One grey level keeps the ratios of a black cell finite.
    mask = np.ascontiguousarray(inside).view(np.uint8)
    red, green, blue = (max(level, 1.0) for level in cv2.mean(pixels, mask)[:3])
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)
    within = np.asarray(mask, np.float32)
    finest, middle, coarsest = SIGMAS_PX
    weighed = grey * within, within
    smooth = _blurred(weighed, middle)
    fine = _power(_blurred(weighed, finest), smooth, mask)
    # Every second pixel of what is smooth already tells as much, for a third of the time.
    few = np.ascontiguousarray(smooth[0][::2, ::2]), np.ascontiguousarray(smooth[1][::2, ::2])
    smoother = _blurred(few, math.sqrt(coarsest**2 - middle**2) / 2)
    coarse = _power(few, smoother, np.ascontiguousarray(mask[::2, ::2]))
    sharpness = max(fine / (coarse + ROUNDING_POWER), _LEAST)
    return Look(red / green, blue / green, red / blue, sharpness)


def _blurred(planes: Iterable[Floats], sigma_px: float) -> Planes:
    """Blur a cell's grey levels, 0 outside, and its weights, 1 inside."""
    grey, weight = (np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_px), np.float32) for plane in planes)
    return grey, weight


def _power(one: Planes, other: Planes, mask: Bytes) -> float:
    """Mean square within the mask of the difference between two blurred cells."""
    finer, coarser = (cv2.divide(grey, np.maximum(weight, np.float32(1e-6))) for grey, weight in (one, other))
    return cv2.norm(finer, coarser, cv2.NORM_L2SQR, mask) / max(cv2.countNonZero(mask), 1)
