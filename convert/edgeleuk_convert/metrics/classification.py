"""Metrics of a two-class classifier on grouped cells, with intervals: plain NumPy.

Every metric is computed from sums over groups, so that a bootstrap over groups is a matrix product
and not a loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

ECE_BINS = 15
RESAMPLES = 1000

# The metrics that get an interval.
METRICS = (
    "weighted_f1",
    "accuracy",
    "auroc",
    "sensitivity",
    "specificity",
    "subject_sensitivity_mean",
    "subject_specificity_mean",
    "ece",
    "baseline_area_auroc",
)


@dataclass(frozen=True, slots=True)
class Judged:
    """Cells with their truth and what a model said of them.

    Attributes
    ----------
    truth : (n,) bool
        True for a blast.
    probability : (n,) float64
        Of being a blast.
    called : (n,) bool
        The decision.
    area : (n,) float64
        Of the cell, for the baseline that knows nothing else.
    subject, group : (n,) str
    """

    truth: npt.NDArray[np.bool_]
    probability: Floats
    called: npt.NDArray[np.bool_]
    area: Floats
    subject: npt.NDArray[np.str_]
    group: npt.NDArray[np.str_]

    def __post_init__(self) -> None:
        n = len(self.truth)
        for name in ("probability", "called", "area", "subject", "group"):
            shape = getattr(self, name).shape
            if shape != (n,):
                msg = f"expected {name} of shape ({n},), got {shape}"
                raise ValueError(msg)
        if not np.isfinite(self.probability).all():
            msg = "expected finite probabilities, got NaN or infinity"
            raise ValueError(msg)


def point_metrics(judged: Judged) -> dict[str, float]:
    """Compute each of `METRICS` on the cells as they are."""
    sums = _Sums(judged)
    values = sums.metrics(np.ones((1, sums.groups)))
    return {name: float(value[0]) for name, value in values.items()}


def interval_95(
    judged: Judged, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Bootstrap whole groups, within each class, and take the 2.5th and 97.5th percentile.

    A class of one group gives an interval of no width from that class: the numbers are then only as
    good as that one subject.
    """
    sums = _Sums(judged)
    weights = bootstrap_weights(sums.group_is_blast, resamples=resamples, seed=seed)
    return {
        name: (float(low), float(high))
        for name, value in sums.metrics(weights).items()
        for low, high in (np.nanpercentile(value, (2.5, 97.5)),)
    }


def metrics_of_resamples(judged: Judged, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Floats]:
    """Compute each of `METRICS` on the cells as they are, and on every resample of groups.

    Returns
    -------
    dict of str to (1 + resamples,) float64
        The first is on the cells as they are.
    """
    sums = _Sums(judged)
    weights = bootstrap_weights(sums.group_is_blast, resamples=resamples, seed=seed)
    return sums.metrics(np.vstack([np.ones((1, sums.groups)), weights]))


def paired_drop(
    reference: Judged, other: Judged, metric: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, Floats]:
    """Return by how much `other` is below `reference` on the same cells, and that of every resample.

    Returns
    -------
    drop : float
    drops : (resamples,) float64
        The same groups are drawn for both.
    """
    one, two = _Sums(reference), _Sums(other)
    as_they_are = np.ones((1, one.groups))
    weights = bootstrap_weights(one.group_is_blast, resamples=resamples, seed=seed)
    drop, drops = (one.metrics(rows)[metric] - two.metrics(rows)[metric] for rows in (as_they_are, weights))
    return float(drop[0]), drops


def bootstrap_weights(group_is_blast: npt.NDArray[np.bool_], *, resamples: int, seed: int) -> Floats:
    """Draw groups with replacement, blast and normal groups apart.

    Returns
    -------
    (resamples, groups) float64
        How often each group was drawn.
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(group_is_blast)))
    for side in (group_is_blast, ~group_is_blast):
        members = np.flatnonzero(side)
        if len(members):
            weights[:, members] = rng.multinomial(
                len(members), np.full(len(members), 1 / len(members)), resamples
            )
    return weights


def auroc(truth: npt.NDArray[np.bool_], score: Floats, weight: Floats | None = None) -> float:
    """Probability that a blast scores above a normal cell, ties counted half; NaN for one class.

    Examples
    --------
    >>> auroc(np.array([False, True, True]), np.array([0.1, 0.1, 0.9]))
    0.75
    """
    weight = np.ones(len(score)) if weight is None else weight
    order = np.argsort(score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    positive = np.diff(np.cumsum((weight * truth)[order])[ends], prepend=0)
    negative = np.diff(np.cumsum((weight * ~truth)[order])[ends], prepend=0)
    below = np.cumsum(negative) - negative
    total = positive.sum() * negative.sum()
    return float((positive * (below + negative / 2)).sum() / total) if total > 0 else float("nan")


def log_loss(truth: npt.NDArray[np.bool_], logits: npt.ArrayLike, weights: Floats) -> float:
    """Return the weighted mean of ``-log p(true class)``; `weights` sum to 1.

    Examples
    --------
    >>> round(log_loss(np.array([True, False]), [0.0, 0.0], np.array([0.5, 0.5])), 4)
    0.6931
    """
    wrong = np.where(truth, -np.asarray(logits, np.float64), logits)
    return float((weights * np.logaddexp(0, wrong)).sum())


def balanced_weights(truth: npt.NDArray[np.bool_], group: npt.NDArray[np.str_], *, cap: int = 40) -> Floats:
    """Weigh cells so that both classes count the same and, within a class, large groups do not rule.

    Parameters
    ----------
    truth : (n,) bool
    group : (n,) str
    cap : int
        A group of more cells than this weighs as much as one of this many.

    Returns
    -------
    (n,) float64
        Sums to 1, one half for each class that is there.
    """
    weight = np.zeros(len(truth))
    for side in (truth, ~truth):
        if side.any():
            _, inverse, counts = np.unique(group[side], return_inverse=True, return_counts=True)
            of_cell = np.minimum(counts, cap)[inverse] / counts[inverse]
            weight[side] = of_cell / of_cell.sum() / 2
    return weight


def prior_weights(truth: npt.NDArray[np.bool_], group: npt.NDArray[np.str_], *, cap: int = 40) -> Floats:
    """Weigh cells so that large groups do not rule within a class, and the classes keep their shares."""
    share: Floats = np.where(truth, truth.mean(), 1 - truth.mean())
    return balanced_weights(truth, group, cap=cap) * 2 * share


class _Sums:
    """Sums over each group, from which every metric of any reweighting of groups follows."""

    def __init__(self, judged: Judged) -> None:
        truth, called = judged.truth, judged.called
        names, group = np.unique(judged.group, return_inverse=True)
        self.groups = len(names)
        blasts, normals = self._per_group(group, truth), self._per_group(group, ~truth)
        self.group_is_blast = blasts > normals
        self._blasts, self._normals = blasts, normals
        self._true_blasts = self._per_group(group, truth & called)
        self._false_blasts = self._per_group(group, ~truth & called)
        self._subject_rates(judged, group)
        self._ece_sums(judged, group)
        self._wins = _pair_wins(truth, judged.probability, group, self.groups)
        self._area_wins = _pair_wins(truth, judged.area, group, self.groups)

    def metrics(self, weights: Floats) -> dict[str, Floats]:
        """Compute every metric for each row of `weights` (n, groups)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            blasts, normals = weights @ self._blasts, weights @ self._normals
            true_blasts, false_blasts = weights @ self._true_blasts, weights @ self._false_blasts
            missed, true_normals = blasts - true_blasts, normals - false_blasts
            f1_blast = 2 * true_blasts / np.maximum(2 * true_blasts + false_blasts + missed, 1)
            f1_normal = 2 * true_normals / np.maximum(2 * true_normals + false_blasts + missed, 1)
            pairs = blasts * normals
            values = (
                (f1_blast * blasts + f1_normal * normals) / (blasts + normals),
                (true_blasts + true_normals) / (blasts + normals),
                np.einsum("rp,pn,rn->r", weights, self._wins, weights, optimize=True) / pairs,
                true_blasts / blasts,
                true_normals / normals,
                (weights @ self._subject_sensitivity) / (weights @ self._blast_subjects),
                (weights @ self._subject_specificity) / (weights @ self._normal_subjects),
                np.abs(np.tensordot(weights, self._bin_gap, 1)).sum(axis=1) / (blasts + normals),
                np.einsum("rp,pn,rn->r", weights, self._area_wins, weights, optimize=True) / pairs,
            )
        return dict(zip(METRICS, values, strict=True))

    def _per_group(self, group: Ints, what: npt.NDArray[np.bool_]) -> Floats:
        return np.bincount(group, weights=what.astype(np.float64), minlength=self.groups).astype(np.float64)

    def _subject_rates(self, judged: Judged, group: Ints) -> None:
        """Sum, over the subjects of each group, the share of their cells that was called right."""
        names, subject = np.unique(judged.subject, return_inverse=True)
        group_of = np.zeros(len(names), np.int64)
        group_of[subject] = group
        right = judged.called == judged.truth
        sums = []
        for side in (judged.truth, ~judged.truth):
            there = np.bincount(subject, weights=side, minlength=len(names))
            correct = np.bincount(subject, weights=side & right, minlength=len(names))
            rate = np.divide(correct, there, out=np.zeros(len(names)), where=there > 0)
            sums.append(np.bincount(group_of, weights=rate, minlength=self.groups))
            sums.append(np.bincount(group_of, weights=there > 0, minlength=self.groups))
        self._subject_sensitivity, self._blast_subjects, self._subject_specificity, self._normal_subjects = (
            sums
        )

    def _ece_sums(self, judged: Judged, group: Ints) -> None:
        """Sum, in each bin of probability, what the probability is off by: (groups, bins)."""
        bins = np.minimum((judged.probability * ECE_BINS).astype(np.int64), ECE_BINS - 1)
        gap = judged.probability - judged.truth
        flat = np.bincount(group * ECE_BINS + bins, weights=gap, minlength=self.groups * ECE_BINS)
        self._bin_gap = flat.reshape(self.groups, ECE_BINS)


def _pair_wins(truth: npt.NDArray[np.bool_], score: Floats, group: Ints, groups: int) -> Floats:
    """Count, for each pair of groups, the (blast, normal) pairs that the blast wins; ties count half.

    Returns
    -------
    (groups, groups) float64
        Row: the blast's group; column: the normal cell's.
    """
    wins = np.zeros((groups, groups))
    blast_scores, blast_groups = score[truth], group[truth]
    for column in np.unique(group[~truth]):
        normal = np.sort(score[~truth & (group == column)])
        below = np.searchsorted(normal, blast_scores, "left")
        not_above = np.searchsorted(normal, blast_scores, "right")
        wins[:, column] = np.bincount(blast_groups, weights=(below + not_above) / 2, minlength=groups)
    return wins
