"""Affine quantization, real = scale * (quantized - zero_point), in one place.

Source of the formulas: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

# One for all channels of a picture, or one for each.
Scales: TypeAlias = "float | tuple[float, ...]"
AnyNumber = TypeVar("AnyNumber", bound=np.generic)

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


def real_table(scale: Scales, offset: Scales) -> npt.NDArray[np.float32]:
    """Return what each byte of an image stands for: ``byte * scale + offset``.

    Parameters
    ----------
    scale, offset : float, or one for each of C channels

    Returns
    -------
    (256,) float32, or (256, C) where channels differ
    """
    bytes_ = np.arange(256)
    if np.ndim(scale) or np.ndim(offset):
        bytes_ = bytes_[:, np.newaxis]
    return (bytes_ * np.asarray(scale, np.float64) + np.asarray(offset, np.float64)).astype(np.float32)


def real_ends(scale: Scales, offset: Scales) -> tuple[float, float]:
    """Return the least and the greatest number that a byte of any channel stands for.

    Examples
    --------
    >>> real_ends((1.0, 2.0), (-5.0, 0.0))
    (-5.0, 510.0)
    """
    ends = np.array([0, 255])[:, np.newaxis] * np.asarray(scale, np.float64) + np.asarray(offset, np.float64)
    return float(ends.min()), float(ends.max())


def look_up(table: npt.NDArray[AnyNumber], tensors: npt.NDArray[np.uint8]) -> npt.NDArray[AnyNumber]:
    """Replace each byte of (..., C) tensors by what a table has for it, (256,) or (256, C)."""
    if table.ndim == 1:
        # No byte is out of a table's range: a quarter of the time of an index, which looks after that.
        return np.take(table, tensors, mode="clip")
    found = np.empty(tensors.shape, table.dtype)
    for channel in range(tensors.shape[-1]):
        found[..., channel] = table[tensors[..., channel], channel]
    return found


def byte_table(affine: Affine, *, scale: Scales, offset: Scales) -> npt.NDArray[np.generic]:
    """Return what each byte of an image becomes in the network's input tensor.

    Bytes that fall half-way between two integers all go the same way: they do where 0.0 lies between two
    bytes, as in inputs from -1 to 1, and going to the even one would throw neighbours together.

    Parameters
    ----------
    affine : Affine
        Quantization of the input tensor.
    scale, offset : float, or one for each of C channels
        The network's real input is ``byte * scale + offset``.

    Returns
    -------
    (256,) ndarray of ``affine.dtype``, or (256, C) where channels differ

    Examples
    --------
    >>> len(set(byte_table(Affine(2 / 255, 0), scale=2 / 255, offset=-1.0).tolist()))
    256
    """
    if np.ndim(scale) or np.ndim(offset):
        pairs = np.broadcast_arrays(np.atleast_1d(scale), np.atleast_1d(offset))
        tables = [byte_table(affine, scale=float(s), offset=float(o)) for s, o in zip(*pairs, strict=True)]
        return np.stack(tables, axis=-1)
    real = np.arange(256) * np.asarray(scale, np.float64) + np.asarray(offset, np.float64)
    top = real[-1] / affine.scale + affine.zero_point
    # A scale is stored in float32, which moves a half by less than this.
    nudge = HALF if top <= integer_range(affine.dtype)[1] else -HALF
    return quantize(real + nudge * affine.scale, affine)
