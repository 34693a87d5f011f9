"""Temperature and threshold: what makes a decision of a logit, chosen on cells held out for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

TEMPERATURES = (0.25, 8.0)
# A threshold from a handful of held-out subjects is not to be trusted far from one half.
THRESHOLDS = (0.4, 0.6)
_SMOOTHING = 0.1


def sigmoid(logit: Floats) -> Floats:
    """Logistic function without overflow.

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.exp(-np.logaddexp(0, -logit))


def fit_temperature(logits: Floats, truth: Bools, weights: Floats) -> float:
    """Find what to divide logits by so that the weighted likelihood of the truth is largest."""
    temperatures = np.geomspace(*TEMPERATURES, 201)
    signed = np.where(truth, -logits, logits)
    losses = [(weights * np.logaddexp(0, signed / temperature)).sum() for temperature in temperatures]
    return round(float(temperatures[int(np.argmin(losses))]), 4)


def choose_threshold(probability: Floats, truth: Bools, weights: Floats) -> float:
    """Find the probability that divides the classes best, from the middle of the plateau.

    Parameters
    ----------
    probability : (n,) float64
    truth : (n,) bool
    weights : (n,) float64
        Of each cell; such that classes and subjects count alike.

    Returns
    -------
    float
        Within `THRESHOLDS`.
    """
    candidates = np.round(np.arange(0.1, 0.9001, 0.01), 2)
    right = np.array([(weights * ((probability >= c) == truth)).sum() for c in candidates])
    # Averaged over the neighbourhood, so that one lucky gap between two cells does not decide.
    near = np.abs(candidates[:, None] - candidates) <= _SMOOTHING + 1e-9
    smooth = (near * right).sum(axis=1) / near.sum(axis=1)
    plateau = candidates[smooth >= smooth.max() - 1e-3]
    return round(float(np.clip(plateau.mean(), *THRESHOLDS)), 2)
