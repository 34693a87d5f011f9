"""Let a few cells in a few directions answer for all: the subset of regressors.

A head that keeps all cells that taught it holds hundreds of thousands of numbers. One that keeps some of
them, the landmarks, and sees features only along the directions that tell, answers nearly alike with a
fraction of that: see "Cheaper heads" in ``docs/models.md``. Sources: Rasmussen and Williams, "Gaussian
Processes for Machine Learning", 2006, section 8.3.1; Burges, "Simplified Support Vector Decision Rules",
ICML 1996.
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
DIRECTIONS = 32
# Of the least squares by which landmarks learn what support vectors answer: log odds, of cells that count 1.
RIDGE = 0.3
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


def change_of_answers(z: Floats, vectors: Floats, answers: Floats, weights: Floats, width: float) -> Floats:
    """Return how much a head's answers change along each direction, (D, D), but for a factor.

    A small step d changes the answers by d'Cd in the mean of squares. Parameters as for `telling_directions`.
    """
    near, change = gaussian(z, vectors, width), np.zeros((z.shape[1], z.shape[1]))
    for answer in answers.T:
        pull = near * answer
        gradient = pull @ vectors - pull.sum(axis=1)[:, None] * z
        change += (gradient * weights[:, None]).T @ gradient
    return change


def telling_directions(
    z: Floats, vectors: Floats, answers: Floats, weights: Floats, width: float, count: int
) -> npt.NDArray[np.float16]:
    """Return the directions along which a head's answers change most: its active subspace.

    Those along which the cells spread most are not these, and lose more: see "Cheaper heads" in
    ``docs/models.md``. Source: Constantine, "Active Subspaces", SIAM, 2015.

    Parameters
    ----------
    z : (n, D) float64
        Standardised cells, at which the change is measured.
    vectors, answers : (S, D), (S, K) float64
        Of the head: each answer is the sum of `answers` times the kernel of `gaussian`.
    weights : (n,) float64
        Of each cell.
    width : float
        Of the kernel.
    count : int
        All D where there are fewer.

    Returns
    -------
    (D, P) float16
        Columns of length 1, at right angles.
    """
    _, directions = np.linalg.eigh(change_of_answers(z, vectors, answers, weights, width))
    return np.ascontiguousarray(directions[:, ::-1][:, :count]).astype(np.float16)


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
    even, width = np.ones(len(z)), float(support.mean.size)
    exact, of_exact = support.vectors.astype(np.float64), support.weights.astype(np.float64)[:, None]
    projection = telling_directions(z, exact, of_exact, even, width, directions)
    # Rounded as they are kept, so that what is found is what runs.
    along = z @ projection.astype(np.float64)
    drawn = np.random.default_rng(0).choice(len(z), min(landmarks, len(z)), replace=False)
    vectors = along[drawn].astype(np.float16)
    kept = vectors.astype(np.float64)
    # What `log_odds` says, of all cells at once, but for the bias.
    answers = gaussian(z, exact, width) @ of_exact
    middle = float(answers.mean())
    weights = on_landmarks(
        gaussian(along, kept, width), gaussian(kept, kept, width), answers - middle, even, ridge
    )
    return replace(
        support,
        vectors=vectors,
        weights=weights[:, 0].astype(np.float32),
        bias=support.bias + middle,
        projection=projection,
    )
