"""Affine quantization, real = scale * (quantized - zero_point), in one place.

Source of the formulas: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

# Steps within which a real number counts as half-way between two integers.
HALF = 1e-3


@dataclass(frozen=True, slots=True)
class Affine:
    """Quantization of one whole tensor.

    Attributes
    ----------
    scale : float
        Real value of one step, above 0.
    zero_point : int
        The quantized value that stands for 0.0.
    dtype : str
        ``int8``, ``uint8`` or ``int16``.
    """

    scale: float
    zero_point: int
    dtype: str = "int8"

    def __post_init__(self) -> None:
        low, high = integer_range(self.dtype)
        if not (np.isfinite(self.scale) and self.scale > 0):
            msg = f"expected a finite scale above 0, got {self.scale}"
            raise ValueError(msg)
        if not low <= self.zero_point <= high:
            msg = f"expected a zero point from {low} to {high}, got {self.zero_point}"
            raise ValueError(msg)


def integer_range(dtype: str) -> tuple[int, int]:
    """Return the least and the greatest value of an integer dtype.

    Examples
    --------
    >>> integer_range("int8")
    (-128, 127)
    """
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def quantize(real: npt.ArrayLike, affine: Affine) -> npt.NDArray[np.generic]:
    """Round real numbers to the nearest quantized value, saturating at the ends of the range.

    Parameters
    ----------
    real : array_like of float
    affine : Affine

    Returns
    -------
    ndarray of ``affine.dtype``, the shape of `real`

    Examples
    --------
    >>> quantize([0.0, 255.0, 300.0], Affine(1.0, -128)).tolist()
    [-128, 127, 127]
    """
    low, high = integer_range(affine.dtype)
    steps = np.rint(np.asarray(real, dtype=np.float64) / affine.scale) + affine.zero_point
    quantized: npt.NDArray[np.generic] = np.clip(steps, low, high).astype(affine.dtype)
    return quantized


def dequantize(quantized: npt.ArrayLike, affine: Affine) -> npt.NDArray[np.float32]:
    """Return the real numbers that quantized values stand for, as float32.

    Examples
    --------
    >>> dequantize([-128, 127], Affine(0.5, -128)).tolist()
    [0.0, 127.5]
    """
    steps = np.asarray(quantized, dtype=np.float64) - affine.zero_point
    return (steps * affine.scale).astype(np.float32)


def byte_table(affine: Affine, *, scale: float, offset: float) -> npt.NDArray[np.generic]:
    """Return what each byte of an image becomes in the network's input tensor.

    Bytes that fall half-way between two integers all go the same way: they do where 0.0 lies between two
    bytes, as in inputs from -1 to 1, and going to the even one would throw neighbours together.

    Parameters
    ----------
    affine : Affine
        Quantization of the input tensor.
    scale, offset : float
        The network's real input is ``byte * scale + offset``.

    Returns
    -------
    (256,) ndarray of ``affine.dtype``

    Examples
    --------
    >>> len(set(byte_table(Affine(2 / 255, 0), scale=2 / 255, offset=-1.0).tolist()))
    256
    """
    real = np.arange(256) * scale + offset
    top = real[-1] / affine.scale + affine.zero_point
    # A scale is stored in float32, which moves a half by less than this.
    nudge = HALF if top <= integer_range(affine.dtype)[1] else -HALF
    return quantize(real + nudge * affine.scale, affine)
