"""Baselines: fitted on training groups, judged as the model is; and what a random split would claim."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgeleuk.errors import MissingDependencyError
from edgeleuk_convert.dataset.cells import Label, LabelledCell
from edgeleuk_convert.evaluation import baselines
from edgeleuk_convert.evaluation.baselines import (
    OTHER_GROUPS,
    TITLES,
    TRAINING_GROUPS,
    fit,
    forest_split_gap,
    judge_baselines,
    most_folds,
)
from edgeleuk_convert.evaluation.evaluate import area_baseline_weighted_f1, judge

Floats = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "TREES", 30)


def cohort(
    subjects: range, *, signal: float = 3.0, of_subject: float = 0.0, cells: int = 12
) -> tuple[list[LabelledCell], Floats]:
    """Make subjects, odd ones with blasts; `of_subject` is what only a subject's own cells share."""
    made, numbers = [], []
    for subject in subjects:
        rng = np.random.default_rng(subject)
        label: Label = "blast" if subject % 2 else "normal"
        own = of_subject * rng.normal(size=14)
        for n in range(cells):
            area = int(20_000 + 3_000 * rng.normal())
            path = Path(f"UID_{subject}_{n}_1.bmp")
            made.append(
                LabelledCell(path, label, str(subject), str(subject), f"{subject}-{n}", area, 450, 450)
            )
            row = rng.normal(size=14) + own
            row[12] += signal * (label == "blast")
            numbers.append(row)
    return made, np.array(numbers)


def test_all_four_are_judged_on_the_same_cells() -> None:
    (train, train_numbers), (test, test_numbers) = cohort(range(10)), cohort(range(10, 18))
    judged = judge_baselines(train, test, train_numbers, test_numbers, resamples=50)
    assert [one.name for one in judged] == list(TITLES)
    by_name = {one.name: one for one in judged}
    assert by_name["forest"].metrics["auroc"] > 0.9
    assert by_name["logistic"].metrics["auroc"] > 0.9
    # Neither area nor colour knows anything here.
    assert by_name["colour"].metrics["auroc"] < 0.7
    assert by_name["area"].metrics["auroc"] < 0.7
    for one in judged:
        assert one.fitted_on == TRAINING_GROUPS
        assert (one.training_cells, one.training_groups) == (120, 10)
        low, high = one.interval_95["auroc"]
        assert low <= one.metrics["auroc"] <= high


def test_the_area_is_the_evaluation_s() -> None:
    (train, train_numbers), (test, test_numbers) = cohort(range(10)), cohort(range(10, 18))
    area, *_ = judge_baselines(train, test, train_numbers, test_numbers, resamples=10)
    expected = area_baseline_weighted_f1(train, judge(test, np.zeros(len(test)), 0.5))
    assert area.metrics["weighted_f1"] == expected


def test_the_same_seed_gives_the_same_numbers() -> None:
    (train, train_numbers), (test, test_numbers) = cohort(range(10)), cohort(range(10, 18))
    one, two = (judge_baselines(train, test, train_numbers, test_numbers, resamples=10) for _ in range(2))
    assert [b.metrics for b in one] == [b.metrics for b in two]


def test_without_training_cells_other_groups_serve() -> None:
    test, numbers = cohort(range(12))
    judged = judge_baselines([], test, np.empty((0, 14)), numbers, resamples=20)
    assert {one.fitted_on for one in judged} == {OTHER_GROUPS}
    assert judged[-1].metrics["auroc"] > 0.9


def test_too_few_groups_give_no_baseline_and_no_gap() -> None:
    test, numbers = cohort(range(2))
    assert most_folds(test) == 1
    assert judge_baselines([], test, np.empty((0, 14)), numbers) == ()
    assert forest_split_gap(test, numbers) is None


def test_a_random_split_praises_who_knows_the_subject() -> None:
    cells, numbers = cohort(range(16), signal=0.3, of_subject=2.0)
    gap = forest_split_gap(cells, numbers, resamples=50)
    assert gap is not None
    assert gap.grouped_cells == gap.random_cells == len(cells)
    assert gap.random["auroc"] - gap.grouped["auroc"] > 0.2
    assert gap.interval_95 is not None
    assert gap.interval_95["auroc"][0] > 0


def test_large_subjects_do_not_rule() -> None:
    """A class of many cells is not called more often for that."""
    small, small_numbers = cohort(range(0, 10, 2), signal=0, cells=5)
    large, large_numbers = cohort(range(1, 11, 2), signal=0, cells=40)
    numbers = np.concatenate([small_numbers, large_numbers])
    answer = fit("logistic", [*small, *large], numbers)(numbers)
    assert answer.mean() == pytest.approx(0.5, abs=0.1)


def test_a_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    cells, numbers = cohort(range(4))
    with pytest.raises(
        MissingDependencyError, match=r"scikit-learn is not installed.*edgeleuk\[workstation\]"
    ):
        fit("forest", cells, numbers)
