"""From logits of held-out cells to the whole output contract: probability, decision, doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.manifest import OutputContract
from edgeleuk_calibration.conformal import fit_conformal
from edgeleuk_calibration.probability import THRESHOLDS, choose_operating_point, fit_platt, sigmoid

if TYPE_CHECKING:
    from edgeleuk_calibration.probability import Bools, Floats, Names


def fit_output(
    logits: Floats, truth: Bools, group: Names, weights: Floats, *, half: Bools, sensitivity: float
) -> OutputContract:
    """Fit temperature and bias, then choose threshold, band and conformal limits on other cells.

    Held-out groups are few, so each half serves both ends in turn: the probabilities by which threshold,
    band and limits are chosen come, for either half, from a temperature and a bias that were fitted on the
    other one. Those of the contract are then fitted on all.

    Parameters
    ----------
    logits : (n,) float64
        Of cells that taught the network nothing.
    truth : (n,) bool
        True for the positive class; both classes.
    group : (n,) str
        Subjects that share cells are one group.
    weights : (n,) float64
        Of each cell. The share of the positive class in them is the prior of the probabilities.
    half : (n,) bool
        Which of two halves a cell is in, by group. Where a half lacks a class, all cells serve for both
        ends.
    sensitivity : float
        That the threshold holds on these cells, 0 to 1, as far as `THRESHOLDS` allow.
    """

    def fitted(rows: Bools) -> tuple[float, float]:
        groups = len(np.unique(group[rows]))
        return fit_platt(logits[rows], truth[rows], weights[rows], groups=groups)

    temperature, bias = fitted(np.ones_like(truth))
    probability = sigmoid(logits / temperature + bias)
    if all(np.unique(truth[side]).size == 2 for side in (half, ~half)):
        for side in (half, ~half):
            of_side, of_bias = fitted(~side)
            probability[side] = sigmoid(logits[side] / of_side + of_bias)
    point = choose_operating_point(probability, truth, weights, sensitivity=sensitivity, within=THRESHOLDS)
    return OutputContract(
        kind="logit",
        temperature=temperature,
        bias=bias,
        threshold=point.threshold,
        abstain=point.abstain,
        conformal=fit_conformal(probability, truth, group),
    )
