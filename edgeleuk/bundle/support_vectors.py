"""``support.npz``: support vectors that judge what a network saw within a cell and within its nucleus.

The network ends in a map: a vector of channels at each place. `pooled` takes their mean and spread within
each mask; the support vectors tell from these how much the cell resembles those it was trained on. A network
that is taken as it is from ImageNet needs no more, and a few dozen subjects teach a classifier of this kind
better than they teach layers. Source: Cortes and Vapnik, "Support-Vector Networks", Machine Learning, 1995.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.arrays import arrays_of
from edgeleuk.bundle.projection import (
    arrays_of_projection,
    mean_squares,
    projected,
    projection_in,
    require_projection,
    standardised,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

# Keep empty masks and channels of one value finite.
LEAST_WEIGHT, LEAST_VARIANCE = 1e-3, 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class SupportVectors:
    """A classifier on F features: ``sum of weight * exp(-|z - vector|^2 / F) + bias``.

    Without a projection z is the standardised features; with one it is their product with that.

    Attributes
    ----------
    mean, deviation : (F,) float32
        Of the training cells' features: ``z = (features - mean) / deviation``.
    vectors : (S, F) float16
        Standardised; (S, P) where there is a projection.
    weights : (S,) float32
    bias : float
    projection : (F, P) float16, optional
    """

    mean: Floats
    deviation: Floats
    vectors: npt.NDArray[np.float16]
    weights: Floats
    bias: float
    projection: npt.NDArray[np.float16] | None = None
    _rows: Floats = field(init=False, repr=False)
    _lengths: Floats = field(init=False, repr=False)
    _directions: Floats | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        features, count = self.mean.size, self.weights.size
        shapes = (self.mean.shape, self.deviation.shape, self.vectors.shape, self.weights.shape)
        width = self.vectors.shape[-1] if self.vectors.ndim else 0
        if shapes != ((features,), (features,), (count, width), (count,)) or not count:
            msg = f"expected shapes (F,), (F,), (S, F), (S,), got {shapes}"
            raise ValueError(msg)
        require_projection(self.projection, features, width)
        finite = all(
            np.isfinite(of).all()
            for of in (self.mean, self.deviation, self.vectors, self.weights, np.float64(self.bias))
        )
        if not (finite and (self.deviation > 0).all()):
            msg = "expected finite numbers and deviations above 0"
            raise ValueError(msg)
        rows = self.vectors.astype(np.float32)
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_lengths", (rows**2).sum(axis=1))
        directions = None if self.projection is None else self.projection.astype(np.float32)
        object.__setattr__(self, "_directions", directions)

    def log_odds(self, features: npt.ArrayLike) -> Floats:
        """Judge cells by their pooled features.

        Parameters
        ----------
        features : (n, F) array_like

        Returns
        -------
        (n,) float32
            Above 0 for the positive class.
        """
        z = projected(standardised(features, self.mean, self.deviation), self._directions)
        # Each cell by itself: of many together, a product rounds otherwise than of one.
        return np.array([self._of_one(row) for row in z], np.float32)

    def _of_one(self, z: Floats) -> float:
        squares = mean_squares(z, self._rows, self._lengths, self.mean.size)
        return float(np.einsum("s,s->", np.exp(-squares), self.weights)) + self.bias


def pooled(maps: Floats, masks: Floats) -> Floats:
    """Take the mean and the spread of every channel within every mask.

    Parameters
    ----------
    maps : (n, P, C) float32
        C channels at P places.
    masks : (n, P, M) float32
        How much of each place belongs to each mask, 0 to 1.

    Returns
    -------
    (n, M * 2 * C) float32
        Of the first mask C means and C standard deviations, then of the next.
    """
    count, _, channels = maps.shape
    found = np.empty((count, masks.shape[2], 2, channels), np.float32)
    for one, cell, parts in zip(maps, masks, found, strict=True):
        for mask, (mean, spread) in zip(cell.T, parts, strict=True):
            share = mask / (mask.sum() + np.float32(LEAST_WEIGHT))
            # As above, no BLAS.
            mean[...] = np.einsum("p,pc->c", share, one)
            spread[...] = np.sqrt(np.einsum("p,pc->c", share, (one - mean) ** 2) + np.float32(LEAST_VARIANCE))
    return found.reshape(count, masks.shape[2] * 2 * channels)


def encode_support(support: SupportVectors) -> bytes:
    """Return ``support.npz``; the same vectors give the same bytes."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        mean=support.mean,
        deviation=support.deviation,
        vectors=support.vectors,
        weights=support.weights,
        bias=np.float64(support.bias)[None],
        **arrays_of_projection(support.projection),
    )
    return buffer.getvalue()


def decode_support(data: bytes) -> SupportVectors:
    """Read ``support.npz``; nothing in it is executed.

    Raises
    ------
    BundleError
        It is damaged, or holds something else.
    """
    with arrays_of(data, "the support vectors", "train and convert the network again") as arrays:
        return SupportVectors(
            arrays.floats("mean", 1, np.float32),
            arrays.floats("deviation", 1, np.float32),
            arrays.floats("vectors", 2, np.float16),
            arrays.floats("weights", 1, np.float32),
            arrays.number("bias"),
            projection_in(arrays),
        )
