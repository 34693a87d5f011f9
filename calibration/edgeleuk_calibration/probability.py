"""What makes a decision of a logit: temperature, bias, threshold, band, from cells held out for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]
    Names = npt.NDArray[np.str_]

TEMPERATURES = (0.25, 8.0)
BIASES = (-4.0, 4.0)
FOREST_WEIGHTS = (0.0, 4.0)
# How far from 1 the slope, and from the prior's log odds the bias, are thought to lie before any group is
# seen: a network that was trained on balanced classes, with smoothed labels, is nearly calibrated.
SLOPE_DEVIATION, BIAS_DEVIATION = 0.35, 0.7
# A threshold from a handful of held-out subjects is not to be trusted far from one half.
THRESHOLDS = (0.4, 0.6)
ERROR_BINS = 15
_SMOOTHING = 0.1
_MOST_STEPS = 60
_STEADY = 1e-10
_ROUNDING = 1e-9
# Thresholds and the ends of bands lie on this grid.
_GRID = np.round(np.linspace(0, 1, 1001), 3)


class OperatingPoint(NamedTuple):
    """Where decisions are made.

    Attributes
    ----------
    threshold : float
        Probability at and above which a cell is called positive.
    abstain : (low, high)
        Strictly between these nothing is called; equal ends are an empty band.
    """

    threshold: float
    abstain: tuple[float, float]


def sigmoid(logit: Floats) -> Floats:
    """Logistic function without overflow.

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.exp(-np.logaddexp(0, -logit))


def calibration_error(probability: Floats, truth: Bools) -> float:
    """Return the expected calibration error, over `ERROR_BINS` bins of equal width.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    AAAI 2015.

    Examples
    --------
    >>> round(calibration_error(np.array([0.5, 0.5, 0.9]), np.array([True, False, True])), 6)
    0.033333
    """
    bins = np.minimum((probability * ERROR_BINS).astype(np.int64), ERROR_BINS - 1)
    return float(np.abs(np.bincount(bins, weights=probability - truth)).sum() / len(truth))


def fit_joint(
    logits: Floats,
    forest: Floats | None,
    truth: Bools,
    weights: Floats,
    *,
    groups: int | None = None,
) -> tuple[float, float, float]:
    """Find temperature, forest's weight and bias under which the weighted likelihood of the truth is largest.

    The probability is ``sigmoid(logit / temperature + forest_weight * forest + bias)``. The loss is convex in
    (1 / temperature, forest_weight, bias): Newton's method with backtracking, kept inside `TEMPERATURES`,
    `FOREST_WEIGHTS` and `BIASES`, which also keeps separable cells from driving it to infinity. Sources:
    Platt, "Probabilistic Outputs for Support Vector Machines", 1999; Lin, Lin and Weng, "A Note on Platt's
    Probabilistic Outputs", Machine Learning 68, 2007.

    Parameters
    ----------
    logits : (n,) float64
    forest : (n,) float64 or None
        Log odds; None where there is no forest, whose weight is then 0.
    truth : (n,) bool
    weights : (n,) float64
        Of each cell; such that classes and subjects count as they should.
    groups : int, optional
        The cells come from so few groups, each worth one observation: slopes and bias are then drawn towards
        1 (with a forest, one half each) and the log odds of the positive class in `weights`, with normal
        priors of `SLOPE_DEVIATION` and `BIAS_DEVIATION`. A hard inner split of a dozen groups must not undo
        a good network.

    Returns
    -------
    temperature, forest_weight, bias : float
    """
    share = weights / weights.sum()
    positive = float(np.clip(share[truth].sum(), 1e-6, 1 - 1e-6))
    prior = np.log(positive / (1 - positive))
    slope = (1 / TEMPERATURES[1], 1 / TEMPERATURES[0], SLOPE_DEVIATION)
    constant = (*BIASES, BIAS_DEVIATION)
    if forest is None:
        columns, bounds, centre = [logits], [slope, constant], [1.0, prior]
    else:
        columns, bounds = [logits, forest], [slope, (*FOREST_WEIGHTS, SLOPE_DEVIATION), constant]
        centre = [0.5, 0.5, prior]
    at = _newton(np.column_stack([*columns, np.ones_like(logits)]), truth, share, bounds, centre, groups)
    temperature = float(np.clip(1 / at[0], *TEMPERATURES))
    weight = 0.0 if forest is None else round(float(at[1]), 4)
    return round(temperature, 4), weight, round(float(at[-1]), 4)


def _newton(
    design: Floats,
    truth: Bools,
    share: Floats,
    bounds: Sequence[tuple[float, float, float]],
    centre: Sequence[float],
    groups: int | None,
) -> Floats:
    """Minimise the logistic loss in a box (low, high, deviation of the prior), drawn towards `centre`."""
    low, high, deviation = np.array(bounds).T
    middle = np.array(centre)
    ridge = np.zeros(len(middle)) if groups is None else deviation**-2.0 / groups
    sign = np.where(truth, -1.0, 1.0)

    def loss(at: Floats) -> float:
        likelihood = (share * np.logaddexp(0, sign * (design @ at))).sum()
        return float(likelihood + (ridge * (at - middle) ** 2).sum() / 2)

    at: Floats = np.clip(np.append(middle[:-1], 0.0), low, high)
    for _ in range(_MOST_STEPS):
        p = sigmoid(design @ at)
        gradient = design.T @ (share * (p - truth)) + ridge * (at - middle)
        free = ~(((at <= low) & (gradient > 0)) | ((at >= high) & (gradient < 0)))
        if not free.any() or np.abs(gradient[free]).max() < _STEADY:
            break
        curvature = (design * (share * p * (1 - p))[:, None]).T @ design + np.diag(ridge)
        step = np.zeros(len(at))
        step[free] = np.linalg.solve(
            curvature[np.ix_(free, free)] + 1e-9 * np.eye(int(free.sum())), -gradient[free]
        )
        before = loss(at)
        for _ in range(_MOST_STEPS):
            there = np.clip(at + step, low, high)
            if loss(there) < before:
                break
            step /= 2
        else:
            break
        at = there
    return at


def choose_operating_point(
    probability: Floats,
    truth: Bools,
    weights: Floats,
    *,
    sensitivity: float | None = None,
    within: tuple[float, float] = (0.0, 1.0),
    band_sensitivity: float = 0.95,
    band_specificity: float = 0.9,
    most_abstained: float = 0.15,
) -> OperatingPoint:
    """Choose the threshold, and around it the band in which nothing is called.

    The threshold is the largest, kept `within` its bounds, at which `sensitivity` of the positive cells are
    called positive, or, where no sensitivity is asked for, what `choose_threshold` finds. ``low`` is the
    largest probability, up to the threshold, such that at most ``1 - band_sensitivity`` of the positive cells
    lie at or below it, which is to say that so many are missed; ``high`` the smallest, from the threshold
    on, such that at most ``1 - band_specificity`` of the negative cells lie at or above it. Where the
    threshold alone does as much, the band is empty. A band that would hold more than `most_abstained` of all
    cells shrinks towards the threshold, both sides in proportion, until it does not: what was asked for is
    then not reached. Source of the reject option: Chow, "On Optimum Recognition Error and Reject Tradeoff",
    1970.

    Parameters
    ----------
    probability : (n,) float64
        Calibrated, of cells that taught the network nothing.
    truth : (n,) bool
        Both classes.
    weights : (n,) float64
        Of each cell; such that classes and subjects count as they should.
    sensitivity : float, optional
        From 0 to 1.
    within : (low, high)
        Where a sensitivity may take the threshold. A dozen groups do not tell it well: see `THRESHOLDS`.
    band_sensitivity, band_specificity, most_abstained : float
        Shares from 0 to 1.

    Raises
    ------
    UsageError
        A share is not from 0 to 1.

    Examples
    --------
    >>> probability = np.array([0.1, 0.2, 0.8, 0.9])
    >>> truth = np.array([False, False, True, True])
    >>> choose_operating_point(probability, truth, np.full(4, 0.25))
    OperatingPoint(threshold=0.51, abstain=(0.51, 0.51))
    """
    shares = {
        "sensitivity": 0.0 if sensitivity is None else sensitivity,
        "band_sensitivity": band_sensitivity,
        "band_specificity": band_specificity,
        "most_abstained": most_abstained,
    }
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} is out of range", got=value, allowed="0 to 1")
    missed = _share_up_to(probability[truth], weights[truth])
    called = _share_from(probability[~truth], weights[~truth])
    if sensitivity is None:
        threshold = choose_threshold(probability, truth, weights)
    else:
        # At the threshold itself a cell is called positive: that share is not among the missed.
        found = _share_from(probability[truth], weights[truth])
        holds = _GRID[(found >= sensitivity - _ROUNDING) & (_GRID < 1)]
        threshold = float(np.clip(max(holds.max(initial=0), _GRID[1]), *within))
    low = float(_GRID[(missed <= 1 - band_sensitivity + _ROUNDING) & (threshold >= _GRID)].max(initial=0))
    high = float(_GRID[(called <= 1 - band_specificity + _ROUNDING) & (threshold <= _GRID)].min(initial=1))
    for keep in np.linspace(1, 0, 201):
        # Rounded towards the threshold, so that the band only shrinks.
        ends = (
            min(float(np.ceil((threshold - keep * (threshold - low)) * 1000 - 1e-6) / 1000), threshold),
            max(float(np.floor((threshold + keep * (high - threshold)) * 1000 + 1e-6) / 1000), threshold),
        )
        between = (probability > ends[0]) & (probability < ends[1])
        if weights[between].sum() <= most_abstained * weights.sum() + _ROUNDING:
            break
    return OperatingPoint(threshold, ends)


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


def _share_up_to(values: Floats, weights: Floats) -> Floats:
    """Return the weighted share of `values` at or below each point of the grid."""
    order = np.argsort(values)
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    return np.asarray(sums[np.searchsorted(values[order], _GRID, "right")] / max(sums[-1], 1e-300))


def _share_from(values: Floats, weights: Floats) -> Floats:
    """Return the weighted share of `values` at or above each point of the grid."""
    order = np.argsort(values)
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    below = sums[np.searchsorted(values[order], _GRID, "left")]
    return np.asarray((sums[-1] - below) / max(sums[-1], 1e-300))
