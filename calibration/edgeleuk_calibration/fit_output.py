"""From logits of held-out cells to the whole output contract: probability, decision, doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.manifest import OutputContract
from edgeleuk_calibration.conformal import fit_conformal
from edgeleuk_calibration.probability import THRESHOLDS, choose_operating_point, fit_joint, sigmoid

if TYPE_CHECKING:
    from edgeleuk_calibration.probability import Bools, Floats, Names


def fit_output(
    logits: Floats,
    forest: Floats | None,
    truth: Bools,
    group: Names,
    weights: Floats,
    *,
    half: Bools,
    sensitivity: float,
) -> OutputContract:
    """Fit temperature, bias and the forest's weight; on other cells choose threshold, band, conformal limits.

    Held-out groups are few, so each half serves both ends in turn: the probabilities by which threshold,
    band and limits are chosen come, for either half, from a temperature, a bias and a weight that were
    fitted on the other one. Those of the contract are then fitted on all.

    Parameters
    ----------
    logits : (n,) float64
        Of cells that taught the network nothing.
    forest : (n,) float64 or None
        Log odds of a forest that knew as little of them; None where the network stands alone.
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

    def fitted(rows: Bools) -> tuple[float, float, float]:
        groups = len(np.unique(group[rows]))
        of_forest = None if forest is None else forest[rows]
        return fit_joint(logits[rows], of_forest, truth[rows], weights[rows], groups=groups)

    def probability_of(rows: Bools, by: tuple[float, float, float]) -> Floats:
        temperature, weight, bias = by
        joined = logits[rows] / temperature + bias
        return sigmoid(joined if forest is None else joined + weight * forest[rows])

    everything = np.ones_like(truth)
    by_all = fitted(everything)
    probability = probability_of(everything, by_all)
    if all(np.unique(truth[side]).size == 2 for side in (half, ~half)):
        for side in (half, ~half):
            probability[side] = probability_of(side, fitted(~side))
    point = choose_operating_point(probability, truth, weights, sensitivity=sensitivity, within=THRESHOLDS)
    return OutputContract(
        kind="logit",
        temperature=by_all[0],
        forest_weight=by_all[1],
        bias=by_all[2],
        threshold=point.threshold,
        abstain=point.abstain,
        conformal=fit_conformal(probability, truth, group),
    )
