"""From logits of held-out cells to the whole output contract: probability, decision, doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.manifest import OutputContract
from edgeleuk_calibration.conformal import fit_conformal
from edgeleuk_calibration.probability import (
    TEMPERATURES,
    THRESHOLDS,
    calibration_error,
    choose_operating_point,
    fit_joint,
    sigmoid,
)

if TYPE_CHECKING:
    from edgeleuk_calibration.probability import Bools, Floats, Names


# Priors are for a dozen groups; below this many nothing else is tried.
LEAST_GROUPS = 30


def better_plain(
    logits: Floats, forest: Floats | None, truth: Bools, group: Names, weights: Floats, *, half: Bools
) -> bool:
    """Ask whether cells alone calibrate better than subjects and priors do; parameters as in `fit_output`.

    The expected calibration error decides, of the probabilities that each half gets from what was fitted on
    the other one. Fewer than `LEAST_GROUPS` groups cannot tell.
    """
    if len(np.unique(group)) < LEAST_GROUPS:
        return False
    error = {}
    for plain in (False, True):
        probability = _Fit(logits, forest, truth, group, weights, plain).unseen_probability(half)
        sides = [side for side in (half, ~half) if side.any()]
        error[plain] = np.mean([calibration_error(probability[side], truth[side]) for side in sides])
    return bool(error[True] < error[False])


@dataclass(frozen=True, slots=True)
class _Fit:
    """Fits temperature, forest's weight and bias to some of the cells; attributes as in `fit_output`."""

    logits: Floats
    forest: Floats | None
    truth: Bools
    group: Names
    weights: Floats
    plain: bool

    def fitted(self, rows: Bools) -> tuple[float, float, float]:
        of_forest = None if self.forest is None else self.forest[rows]
        logits, truth = self.logits[rows], self.truth[rows]
        groups = len(np.unique(self.group[rows]))
        temperature, weight, bias = fit_joint(logits, of_forest, truth, self.weights[rows], groups=groups)
        if not self.plain:
            return temperature, weight, bias
        joined = logits / temperature if of_forest is None else logits / temperature + weight * of_forest
        scale, _, bias = fit_joint(joined, None, truth, np.ones(len(truth)))
        # Not past what a contract may hold.
        scale = float(np.clip(scale, TEMPERATURES[0] / temperature, TEMPERATURES[1] / temperature))
        return temperature * scale, weight / scale, bias

    def probability_of(self, rows: Bools, by: tuple[float, float, float]) -> Floats:
        temperature, weight, bias = by
        joined = self.logits[rows] / temperature + bias
        return sigmoid(joined if self.forest is None else joined + weight * self.forest[rows])

    def unseen_probability(self, half: Bools) -> Floats:
        """Return what each half gets from the other one, where both have both classes."""
        everything = np.ones_like(self.truth)
        probability = self.probability_of(everything, self.fitted(everything))
        if all(np.unique(self.truth[side]).size == 2 for side in (half, ~half)):
            for side in (half, ~half):
                probability[side] = self.probability_of(side, self.fitted(~side))
        return probability


def fit_output(
    logits: Floats,
    forest: Floats | None,
    truth: Bools,
    group: Names,
    weights: Floats,
    *,
    half: Bools,
    sensitivity: float,
    plain: bool = False,
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
    plain : bool
        Fit scale and bias of the joined log odds once more, every cell counting the same and without a prior;
        how network and forest share in them stays. See `better_plain`.
    """
    fit = _Fit(logits, forest, truth, group, weights, plain)
    by_all = fit.fitted(np.ones_like(truth))
    probability = fit.unseen_probability(half)
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
