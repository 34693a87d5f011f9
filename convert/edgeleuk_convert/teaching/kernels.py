"""Regularised least squares on a Gaussian kernel: what heads are fitted with, and the ways to fit them.

With a reference (the cells that taught the shipped heads) the laboratory's cells are seen through what the
reference leaves open: the posterior kernel and mean of a Gaussian process. Each fold of a validation then
costs a solution of the laboratory's size alone. Sources: Rifkin, Yeo and Poggio, "Regularized Least-Squares
Classification", in Advances in Learning Theory, 2003; Rasmussen and Williams, "Gaussian Processes for
Machine Learning", 2006, equations 2.25 and 2.26.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.bundle.heads import HAND_CRAFTED, KernelHead
from edgeleuk_convert.training.landmarks import gaussian, on_landmarks, telling_directions

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

# Features that never change tell nothing; divided by 1 they stay 0.
_FLAT = 1e-9


class Standard(NamedTuple):
    """Where features lie and how far they spread: ``z = (x - mean) / deviation``, both (D,)."""

    mean: Floats
    deviation: Floats

    def of(self, cells: Floats) -> Floats:
        """Standardise (n, D) features, rounded as a head keeps them."""
        z = (cells - self.mean) / self.deviation
        rounded: Floats = np.clip(z, -1e4, 1e4).astype(np.float16).astype(np.float64)
        return rounded


def standard_of(cells: Floats, weights: Floats | None = None, *, hand_crafted: float = 1.0) -> Standard:
    """Measure (n, D) features, the hand-crafted ones last.

    Parameters
    ----------
    cells : (n, D) float64
    weights : (n,) float64, optional
    hand_crafted : float
        What a hand-crafted feature weighs beside one of the trunk's: there are 14 against hundreds.
    """
    weights = np.ones(len(cells)) if weights is None else weights
    share = weights / weights.sum()
    mean = share @ cells
    deviation = np.sqrt(np.maximum(share @ (cells - mean) ** 2, 0))
    deviation = np.where(deviation > _FLAT, deviation, 1.0)
    deviation[-HAND_CRAFTED:] /= hand_crafted
    # As a head keeps them.
    return Standard(
        mean.astype(np.float32).astype(np.float64), deviation.astype(np.float32).astype(np.float64)
    )


def kernel(one: Floats, other: Floats, gamma: float) -> Floats:
    """Return the (n, m) kernel of (n, D) and (m, D) standardised features."""
    return gaussian(one, other, one.shape[1] / gamma)


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """What is known of some cells before their labels are looked at.

    Attributes
    ----------
    mean : (n, K) float64
        Scores that they would get.
    kernel : (n, n) float64
        What their labels can still change.
    """

    mean: Floats
    kernel: Floats

    def scores(self, taught: Ints, asked: Ints, targets: Floats, noise: Floats) -> Floats:
        """Score the cells `asked` once those of `taught` have told their labels.

        Parameters
        ----------
        taught, asked : (t,), (a,) int64
            Rows.
        targets : (n, K) float64
        noise : (n,) float64
            How little a label is believed: ridge over the cell's weight.

        Returns
        -------
        (a, K) float64
        """
        weights = solved(self.kernel[np.ix_(taught, taught)], noise[taught], (targets - self.mean)[taught])
        found: Floats = self.mean[asked] + self.kernel[np.ix_(asked, taught)] @ weights
        return found


def solved(matrix: Floats, noise: Floats, right: Floats) -> Floats:
    """Solve ``(matrix + diag(noise)) x = right``."""
    return np.asarray(np.linalg.solve(matrix + np.diag(noise), right), np.float64)


@dataclass(frozen=True, eq=False)
class Reference:
    """The cells that taught the shipped heads, ready to be joined.

    Attributes
    ----------
    z : (r, D) float64
        Standardised.
    targets : (r, K) float64
    noise : (r,) float64
    gamma : float
    among : (r, r) float64
        Their kernel, which other noises can share.
    """

    z: Floats
    targets: Floats
    noise: Floats
    gamma: float
    among: Floats

    @cached_property
    def _inverse(self) -> Floats:
        return np.asarray(np.linalg.inv(self.among + np.diag(self.noise)), np.float64)

    def prior(self, z: Floats, bias: float) -> Prior:
        """Return what the reference says of (n, D) standardised cells, and leaves open."""
        towards = kernel(z, self.z, self.gamma)
        through = towards @ self._inverse
        mean = bias + through @ (self.targets - bias)
        return Prior(mean, kernel(z, z, self.gamma) - through @ towards.T)


def no_prior(z: Floats, answers: int, gamma: float, bias: float) -> Prior:
    """Return the prior of cells that nothing is known of."""
    return Prior(np.full((len(z), answers), bias), kernel(z, z, gamma))


def fitted_head(
    z: Floats, targets: Floats, noise: Floats, standard: Standard, *, gamma: float, bias: float
) -> KernelHead:
    """Fit a head to all cells at once.

    Parameters
    ----------
    z : (n, D) float64
        Standardised by `standard`; those of a reference by its own.
    targets : (n, K) float64
    noise : (n,) float64
    standard : Standard
        That cells will be standardised by when they are judged.
    gamma, bias : float
    """
    weights = solved(kernel(z, z, gamma), noise, targets - bias)
    return KernelHead(
        mean=standard.mean.astype(np.float32),
        deviation=standard.deviation.astype(np.float32),
        vectors=z.astype(np.float16),
        weights=weights.astype(np.float32),
        bias=np.full(targets.shape[1], bias, np.float32),
        gamma=gamma,
    )


def fitted_by_landmarks(
    z: Floats,
    targets: Floats,
    weights: Floats,
    standard: Standard,
    landmarks: Ints,
    *,
    gamma: float,
    ridge: float,
) -> KernelHead:
    """Fit a head to many cells that keeps only some of them: see `on_landmarks`.

    Parameters
    ----------
    z, targets, standard, gamma
        As for `fitted_head`.
    weights : (n,) float64
        Of each cell, 1 on average.
    landmarks : (m,) int64
        Rows that are kept.
    ridge : float
    """
    kept = z[landmarks]
    found, bias = _on(kept, z, targets, weights, z.shape[1] / gamma, ridge)
    return KernelHead(
        mean=standard.mean.astype(np.float32),
        deviation=standard.deviation.astype(np.float32),
        vectors=kept.astype(np.float16),
        weights=found,
        bias=bias,
        gamma=gamma,
    )


def with_fewer(
    head: KernelHead,
    z: Floats,
    targets: Floats,
    weights: Floats,
    landmarks: Ints,
    *,
    ridge: float,
    directions: int,
) -> KernelHead:
    """Let some landmarks, in the directions along which a head tells, answer for all of its own.

    Parameters
    ----------
    head : KernelHead
        Without a projection.
    z, targets, weights, landmarks, ridge
        As for `fitted_by_landmarks`.
    directions : int
        See `telling_directions`.
    """
    width = z.shape[1] / head.gamma
    projection = telling_directions(
        z, head.vectors.astype(np.float64), head.weights.astype(np.float64), weights, width, directions
    )
    # Rounded as they are kept, so that what is found is what runs.
    along = z @ projection.astype(np.float64)
    vectors = along[landmarks].astype(np.float16)
    found, bias = _on(vectors.astype(np.float64), along, targets, weights, width, ridge)
    return replace(head, vectors=vectors, weights=found, bias=bias, projection=projection)


def _on(
    kept: Floats, z: Floats, targets: Floats, weights: Floats, width: float, ridge: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return weights and bias of the landmarks `kept`."""
    bias = weights @ targets / weights.sum()
    found = on_landmarks(
        gaussian(z, kept, width), gaussian(kept, kept, width), targets - bias, weights, ridge
    )
    return found.astype(np.float32), bias.astype(np.float32)
