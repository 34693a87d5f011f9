"""Let a few cells in a few directions answer for all: the subset of regressors.

A head that keeps all cells that taught it holds hundreds of thousands of numbers. One that keeps some of
them, the landmarks, and sees features along their principal directions only, answers nearly alike with a
tenth of that: see "Cheaper heads" in ``docs/models.md``. Sources: Rasmussen and Williams, "Gaussian Processes
for Machine Learning", 2006, section 8.3.1; Burges, "Simplified Support Vector Decision Rules", ICML 1996.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.support_vectors import SupportVectors

    Floats = npt.NDArray[np.float64]

# Along which features are kept; chosen on inner folds.
DIRECTIONS = 64
# Of the least squares by which landmarks learn what support vectors answer: log odds, of cells that count 1.
RIDGE = 0.3
# Of the spread within classes towards that of a sphere.
SHRINKAGE = 0.3
# Keeps the equations solvable where landmarks lie together, for each cell.
_JITTER = 1e-6


def squared_distances(one: Floats, other: Floats) -> Floats:
    """Return the (n, m) squared distances of (n, D) and (m, D) features."""
    found: Floats = np.maximum((one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T, 0)
    return found


def gaussian(one: Floats, other: Floats, width: float) -> Floats:
    """Return the (n, m) kernel ``exp(-|one - other|^2 / width)`` of (n, D) and (m, D) features."""
    found: Floats = np.exp(-squared_distances(one, other) / width)
    return found


def principal_directions(z: Floats, weights: Floats, count: int) -> Floats:
    """Return the directions along which standardised cells spread most: columns of length 1, at right angles.

    Parameters
    ----------
    z : (n, D) float64
    weights : (n,) float64
    count : int
        All D where there are fewer.

    Returns
    -------
    (D, P) float64
    """
    _, vectors = np.linalg.eigh(_spread(z, weights))
    return np.asarray(vectors[:, ::-1][:, :count], np.float64)


def telling_directions(z: Floats, targets: Floats, weights: Floats, count: int) -> Floats:
    """Return the directions along which cells spread most, measured by how far cells of one class spread.

    What differs within classes is shrunk and what differs between them is kept. Cells keep their mean square,
    so that a kernel's width means the same. Source: Rao, "The Utilization of Multiple Measurements in
    Problems of Biological Classification", 1948; the shrinkage: Friedman, "Regularized Discriminant
    Analysis", 1989.

    Parameters
    ----------
    z : (n, D) float64
    targets : (n, K) float64
        1 for the class of a cell, 0 for the others.
    weights : (n,) float64
    count : int
        All D where there are fewer.

    Returns
    -------
    (D, P) float64
    """
    of_class = targets * weights[:, None]
    means = of_class.T @ z / of_class.sum(axis=0)[:, None]
    within = _spread(z - targets @ means, weights)
    within += SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    white = vectors / np.sqrt(values) @ vectors.T
    found = white @ principal_directions(z @ white, weights, count)
    along = z @ found
    scale = np.sqrt((weights @ (z**2).sum(axis=1)) / (weights @ (along**2).sum(axis=1)))
    return np.asarray(scale * found, np.float64)


def _spread(z: Floats, weights: Floats) -> Floats:
    found: Floats = (z * weights[:, None]).T @ z / weights.sum()
    return found


def on_landmarks(towards: Floats, among: Floats, targets: Floats, weights: Floats, ridge: float) -> Floats:
    """Return the weights of landmarks that bring cells nearest to their targets.

    Parameters
    ----------
    towards : (n, m) float64
        Kernel of cells and landmarks.
    among : (m, m) float64
        Of the landmarks.
    targets : (n, K) float64
    weights : (n,) float64
        Of each cell.
    ridge : float

    Returns
    -------
    (m, K) float64
    """
    left = towards.T @ (weights[:, None] * towards) + ridge * among
    left += _JITTER * len(towards) * np.eye(len(among))
    return np.asarray(np.linalg.solve(left, towards.T @ (weights[:, None] * targets)), np.float64)


def reduced(
    support: SupportVectors,
    features: npt.NDArray[np.float32],
    landmarks: int,
    *,
    directions: int = DIRECTIONS,
    ridge: float = RIDGE,
) -> SupportVectors:
    """Teach landmarks to answer as support vectors do; no labels are needed.

    Parameters
    ----------
    support : SupportVectors
        Without a projection.
    features : (n, F) float32
        Of cells that the support vectors know; landmarks are drawn of these.
    landmarks : int
        All cells where there are fewer.
    directions : int
        All features where there are fewer.
    ridge : float
    """
    z = ((features - support.mean) / support.deviation).astype(np.float64)
    even = np.ones(len(z))
    # Rounded as they are kept, so that what is found is what runs.
    projection = principal_directions(z, even, directions).astype(np.float16)
    along = z @ projection.astype(np.float64)
    drawn = np.random.default_rng(0).choice(len(z), min(landmarks, len(z)), replace=False)
    vectors = along[drawn].astype(np.float16)
    kept, width = vectors.astype(np.float64), float(support.mean.size)
    # What `log_odds` says, of all cells at once.
    answers = gaussian(z, support.vectors.astype(np.float64), width) @ support.weights + support.bias
    bias = float(answers.mean())
    weights = on_landmarks(
        gaussian(along, kept, width), gaussian(kept, kept, width), answers[:, None] - bias, even, ridge
    )
    return replace(
        support,
        vectors=vectors,
        weights=weights[:, 0].astype(np.float32),
        bias=bias,
        projection=projection,
    )
