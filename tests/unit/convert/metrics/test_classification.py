"""Metrics against scikit-learn, by hand, and against a bootstrap written as a loop."""

from __future__ import annotations

import numpy as np
import pytest

from edgeleuk_calibration.probability import THRESHOLDS, choose_threshold, sigmoid
from edgeleuk_convert.metrics.classification import (
    METRICS,
    Judged,
    auroc,
    balanced_weights,
    bootstrap_weights,
    interval_95,
    point_metrics,
)


def judged(seed: int = 0, n: int = 400) -> Judged:
    """Draw cells of eight blast and six normal subjects; two of each class share a group."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.6
    subject = np.where(truth, rng.integers(0, 8, n), 100 + rng.integers(0, 6, n))
    group = np.where(subject == 1, 0, np.where(subject == 101, 100, subject))
    probability = np.round(sigmoid(rng.normal(np.where(truth, 0.8, -0.8), 1.2)), 2)
    area = rng.normal(np.where(truth, 36000, 25000), 6000).round(-3)
    return Judged(truth, probability, probability >= 0.5, area, subject.astype(str), group.astype(str))


def test_point_metrics_agree_with_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

    cells = judged()
    values = point_metrics(cells)
    assert tuple(values) == METRICS
    assert values["weighted_f1"] == pytest.approx(f1_score(cells.truth, cells.called, average="weighted"))
    assert values["accuracy"] == pytest.approx(accuracy_score(cells.truth, cells.called))
    assert values["auroc"] == pytest.approx(roc_auc_score(cells.truth, cells.probability))
    assert values["sensitivity"] == pytest.approx(recall_score(cells.truth, cells.called))
    assert values["specificity"] == pytest.approx(recall_score(~cells.truth, ~cells.called))
    assert values["baseline_area_auroc"] == pytest.approx(roc_auc_score(cells.truth, cells.area))
    for name, side in (("subject_sensitivity_mean", cells.truth), ("subject_specificity_mean", ~cells.truth)):
        shares = [
            np.mean((cells.called == cells.truth)[side & (cells.subject == subject)])
            for subject in np.unique(cells.subject[side])
        ]
        assert values[name] == pytest.approx(np.mean(shares))


def test_ece_by_hand() -> None:
    truth = np.array([True, True, False, False])
    probability = np.array([0.9, 0.9, 0.9, 0.1])
    names = np.array(list("abcd"))
    cells = Judged(truth, probability, probability >= 0.5, probability, names, names)
    assert point_metrics(cells)["ece"] == pytest.approx(3 / 4 * (0.9 - 2 / 3) + 1 / 4 * 0.1)


def test_bootstrap_is_that_of_a_loop() -> None:
    """Repeat one resample the slow way: copy the cells of each drawn group as often as it was drawn."""
    cells = judged()
    names = np.unique(cells.group)
    is_blast = np.array([cells.truth[cells.group == name].mean() > 0.5 for name in names])
    weights = bootstrap_weights(is_blast, resamples=200, seed=3)
    slow: dict[str, list[float]] = {name: [] for name in METRICS}
    for row in weights:
        rows = np.concatenate(
            [
                np.flatnonzero(cells.group == name)
                for name, times in zip(names, row, strict=True)
                for _ in range(int(times))
            ]
        )
        copies = np.concatenate(
            [
                np.full(np.count_nonzero(cells.group == name), f"{copy}", dtype="U9")
                for name, times in zip(names, row, strict=True)
                for copy in range(int(times))
            ]
        )
        again = Judged(
            cells.truth[rows], cells.probability[rows], cells.called[rows], cells.area[rows],
            np.char.add(np.char.add(cells.subject[rows], "-"), copies), cells.group[rows],
        )  # fmt: skip
        for name, value in point_metrics(again).items():
            slow[name].append(value)
    fast = interval_95(cells, resamples=200, seed=3)
    for name in METRICS:
        assert fast[name] == pytest.approx(tuple(np.percentile(slow[name], (2.5, 97.5))), abs=1e-12)


def test_bootstrap_draws_each_class_apart() -> None:
    is_blast = np.array([True, True, False, True])
    weights = bootstrap_weights(is_blast, resamples=50, seed=0)
    assert (weights[:, is_blast].sum(axis=1) == 3).all()
    assert (weights[:, 2] == 1).all()
    assert np.array_equal(weights, bootstrap_weights(is_blast, resamples=50, seed=0))


def test_interval_holds_the_point() -> None:
    cells = judged()
    intervals = interval_95(cells)
    for name, value in point_metrics(cells).items():
        low, high = intervals[name]
        assert low < high
        if name != "ece":  # a resample is never better calibrated than the whole
            assert low <= value <= high


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_with_weights_is_that_of_copies(*, ties: bool) -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    truth, score = rng.random(50) < 0.5, rng.random(50)
    score = score.round(1) if ties else score
    copies = rng.integers(1, 4, 50)
    assert auroc(truth, score) == pytest.approx(roc_auc_score(truth, score))
    expected = roc_auc_score(np.repeat(truth, copies), np.repeat(score, copies))
    assert auroc(truth, score, copies.astype(float)) == pytest.approx(expected)


def test_auroc_of_one_class_is_nan() -> None:
    assert np.isnan(auroc(np.array([True, True]), np.array([0.1, 0.2])))


def test_balanced_weights() -> None:
    truth = np.array([True] * 101 + [False] * 3)
    group = np.array(["1"] * 100 + ["2"] + ["H1"] * 2 + ["H2"])
    weights = balanced_weights(truth, group, cap=40)
    assert weights[truth].sum() == pytest.approx(0.5)
    assert weights[~truth].sum() == pytest.approx(0.5)
    assert weights[group == "1"].sum() == pytest.approx(40 * weights[group == "2"].sum())


@pytest.mark.parametrize("field", ["probability", "area", "subject"])
def test_shapes_are_checked(field: str) -> None:
    cells = judged(n=10)
    parts = {name: getattr(cells, name) for name in Judged.__slots__}
    with pytest.raises(ValueError, match=rf"expected {field} of shape \(10,\), got \(9,\)"):
        Judged(**parts | {field: parts[field][:9]})


def test_nan_is_refused() -> None:
    cells = judged(n=10)
    with pytest.raises(ValueError, match="finite"):
        Judged(cells.truth, cells.probability * np.nan, cells.called, cells.area, cells.subject, cells.group)


def test_threshold_lies_between_the_classes_and_within_bounds() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(2000) < 0.5
    weights = np.full(2000, 1 / 2000)
    assert choose_threshold(np.where(truth, 0.8, 0.4), truth, weights) == pytest.approx(0.6, abs=0.02)
    assert choose_threshold(np.where(truth, 0.9, 0.7), truth, weights) == THRESHOLDS[1]
    assert choose_threshold(np.where(truth, 0.3, 0.1), truth, weights) == THRESHOLDS[0]
