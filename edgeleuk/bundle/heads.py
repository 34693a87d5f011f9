"""``kind.npz`` and ``blast.npz``: heads that judge a cell by the trunk's features and the hand-crafted ones.

A head is regularised least squares on a Gaussian kernel, with a column of weights for each answer. All
answers share the kernel, so that the head for kinds costs as much as one of them. Source: Rifkin, Yeo and
Poggio, "Regularized Least-Squares Classification", in Advances in Learning Theory, 2003.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.bundle.arrays import arrays_of
from edgeleuk.bundle.projection import (
    arrays_of_projection,
    mean_squares,
    mean_squares_beside,
    projected,
    projection_in,
    require_projection,
    standardised,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

# What lies beyond makes sums that are no numbers, or takes a board minutes for a cell.
LARGEST_VALUE, LARGEST_WEIGHT, LEAST_DEVIATION = 1e6, 1e9, 1e-9
MOST_NUMBERS = 1 << 25
# Behind the trunk's features come these: see `edgeleuk.classifier.cell_features`.
HAND_CRAFTED = 14


class HeadAnswers(NamedTuple):
    """What the head says of n cells.

    Attributes
    ----------
    scores : (n, K) float64
        Of kinds: about 1 for that of the cell, about 0 for the others. Of the one answer of ``blast.npz``:
        about 1 for a blast, about -1 for a normal cell.
    distances : (n,) float64
        From the nearest cell that it holds: root mean square over the standardised features. Of a head with
        a projection: from the nearest along its directions, and beside these from the mean of all.
    """

    scores: npt.NDArray[np.float64]
    distances: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class KernelHead:
    """K scores: ``sum of weights * exp(-gamma * |z - vector|^2 / D) + bias``.

    Without a projection z is the standardised features; with one it is their product with that.

    Attributes
    ----------
    mean, deviation : (D,) float32
        Standardised is ``(x - mean) / deviation``, where x is features and hand-crafted ones, side by side.
    vectors : (S, D) float16
        The cells that taught it, standardised; (S, P) where there is a projection.
    weights : (S, K) float32
    bias : (K,) float32
    gamma : float
    projection : (D, P) float16, optional
        Columns of length 1, at right angles.
    """

    mean: Floats
    deviation: Floats
    vectors: npt.NDArray[np.float16]
    weights: Floats
    bias: Floats
    gamma: float
    projection: npt.NDArray[np.float16] | None = None
    _rows: Floats = field(init=False, repr=False)
    _lengths: Floats = field(init=False, repr=False)
    _directions: Floats | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        width = self.mean.size
        count, kinds = self.weights.shape if self.weights.ndim == 2 else (0, 0)
        shapes = (self.mean.shape, self.deviation.shape, self.vectors.shape, self.bias.shape)
        directions = self.vectors.shape[-1] if self.vectors.ndim else 0
        if shapes != ((width,), (width,), (count, directions), (kinds,)) or not count or not kinds:
            msg = f"expected shapes (D,), (D,), (S, D), (K,) and weights (S, K), got {shapes}"
            raise ValueError(msg)
        require_projection(self.projection, width, directions)
        arrays = (self.mean, self.deviation, self.vectors, self.weights, self.bias)
        if not all(np.isfinite(of).all() for of in arrays) or not (self.deviation >= LEAST_DEVIATION).all():
            msg = f"expected finite numbers and deviations from {LEAST_DEVIATION:g} on"
            raise ValueError(msg)
        if not 0 < self.gamma <= LARGEST_VALUE:
            msg = f"expected gamma above 0, at most {LARGEST_VALUE:g}, got {self.gamma}"
            raise ValueError(msg)
        if width < HAND_CRAFTED or self.vectors.size > MOST_NUMBERS:
            msg = (
                f"expected {HAND_CRAFTED} features or more and vectors of at most {MOST_NUMBERS} numbers, got"
                f" {width} and {self.vectors.size}"
            )
            raise ValueError(msg)
        largest = max(np.abs(of).max() for of in (self.mean, self.deviation, self.bias))
        if largest > LARGEST_VALUE or np.abs(self.weights).max() > LARGEST_WEIGHT:
            msg = f"expected numbers within {LARGEST_VALUE:g} and weights within {LARGEST_WEIGHT:g}"
            raise ValueError(msg)
        rows = self.vectors.astype(np.float32)
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_lengths", (rows**2).sum(axis=1))
        along = None if self.projection is None else self.projection.astype(np.float32)
        object.__setattr__(self, "_directions", along)

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        of = (self.mean, self.deviation, self.vectors, self.weights, self.bias, self.projection)
        return 1 + sum(one.size for one in of if one is not None)

    @property
    def width(self) -> int:
        """How many scores it gives."""
        return self.bias.size

    @property
    def features(self) -> int:
        """How many of its features are the trunk's."""
        return self.mean.size - HAND_CRAFTED

    def answer(self, cells: npt.ArrayLike) -> HeadAnswers:
        """Judge cells by their features.

        Parameters
        ----------
        cells : (n, D) array_like
            Features of the trunk, then the hand-crafted ones.
        """
        z, beside = self.located(cells)
        found = [self._of_one(row) for row in z]
        scores = np.array([scores for scores, _ in found], np.float64).reshape(-1, self.width)
        nearest = np.array([square for _, square in found], np.float32)
        return HeadAnswers(scores, np.sqrt(nearest + beside).astype(np.float64))

    def located(self, cells: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Say where cells lie among its vectors, and how far beside what it sees.

        Parameters
        ----------
        cells : (n, D) array_like

        Returns
        -------
        z : (n, D) float32
            Standardised; (n, P) with a projection.
        beside : (n,) float32
            See `mean_squares_beside`; 0 without a projection.
        """
        features = standardised(cells, self.mean, self.deviation)
        z = projected(features, self._directions)
        return z, mean_squares_beside(features, z)

    def _of_one(self, z: Floats) -> tuple[Floats, np.float32]:
        # Each cell by itself, and without BLAS: a cell is judged alike in any company and on any threads.
        squares = mean_squares(z, self._rows, self._lengths, self.mean.size)
        kernel = np.exp(-np.float32(self.gamma) * squares)
        return np.einsum("s,sk->k", kernel, self.weights) + self.bias, squares.min()


def kind_probabilities(scores: npt.NDArray[np.float64], sharpness: float) -> npt.NDArray[np.float64]:
    """Turn (n, K) scores into probabilities that sum to 1: the softmax of ``sharpness * scores``."""
    raised = sharpness * (scores - scores.max(axis=1, keepdims=True))
    shares = np.exp(raised)
    found: npt.NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return found


def encode_head(head: KernelHead) -> bytes:
    """Return a head's member; the same head gives the same bytes."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        mean=head.mean,
        deviation=head.deviation,
        vectors=head.vectors,
        weights=head.weights,
        bias=head.bias,
        gamma=np.float64(head.gamma)[None],
        **arrays_of_projection(head.projection),
    )
    return buffer.getvalue()


def decode_head(data: bytes, what: str) -> KernelHead:
    """Read a head's member, called `what` in errors; nothing in it is executed.

    Raises
    ------
    BundleError
        It is damaged, or holds something else.
    """
    with arrays_of(data, what, "teach it again") as arrays:
        return KernelHead(
            arrays.floats("mean", 1, np.float32),
            arrays.floats("deviation", 1, np.float32),
            arrays.floats("vectors", 2, np.float16),
            arrays.floats("weights", 2, np.float32),
            arrays.floats("bias", 1, np.float32),
            arrays.number("gamma"),
            projection_in(arrays),
        )
