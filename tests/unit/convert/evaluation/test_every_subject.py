"""What stands in for held-out subjects: the answers of nested folds, on every subject."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from edgeleuk.errors import DataRefusedError
from edgeleuk_convert.dataset.cells import Label, LabelledCell
from edgeleuk_convert.dataset.splits import every_subject, grouped_folds
from edgeleuk_convert.evaluation.every_subject import _specificity, cross_validated, folds_of
from edgeleuk_convert.evaluation.fold_scores import fold_output
from edgeleuk_convert.metrics.classification import Judged
from edgeleuk_convert.training.inner_folds import INNER_FOLDS, inner_answers
from edgeleuk_convert.training.out_of_fold import Answers, InnerAnswers
from edgeleuk_convert.training.plan import TrainingSettings

FOLDS = 3
SETTINGS = TrainingSettings(architecture="efficientnet-lite0-frozen")


@pytest.fixture(scope="module")
def cells() -> list[LabelledCell]:
    """Return 20 subjects of 8 cells; subjects 0 and 2 are one group."""
    labels: tuple[Label, Label] = ("normal", "blast")
    return [
        LabelledCell(
            Path(f"UID_{subject}_{n}.bmp"), labels[subject % 2], str(subject),
            "0" if subject == 2 else str(subject), f"{subject:02d}{n:02d}",
            20_000 + 100 * n, 450, 450, "fold_2" if subject < 8 else "fold_0",
        )
        for subject in range(20) for n in range(8)
    ]  # fmt: skip


def answered(
    cells: list[LabelledCell], *, seed: int = 0, logit: float = 2.0, inner: bool = True
) -> list[Answers]:
    """Answer as networks would that are right about nine cells of ten."""
    of_group = grouped_folds(cells, FOLDS, 0)
    said = {
        cell.sha256: (logit if cell.label == "blast" else -logit) * (-1 if n % 10 == seed else 1)
        for n, cell in enumerate(cells)
    }

    def of(rows: list[LabelledCell]) -> dict[str, float]:
        return {cell.sha256: said[cell.sha256] for cell in rows}

    runs = []
    for fold in range(FOLDS):
        test = [cell for cell in cells if of_group[cell.group or ""] == fold]
        rest = [cell for cell in cells if of_group[cell.group or ""] != fold]
        runs.append(
            Answers(
                architecture=SETTINGS.architecture, fold=fold, seed=seed, parameters=5, identity="",
                logits=of(test), forest=of(test),
                inner=InnerAnswers(folds=4, logits=of(rest), forest=of(rest)) if inner else None,
            )
        )  # fmt: skip
    return runs


def test_every_cell_is_judged_once(cells: list[LabelledCell]) -> None:
    found = cross_validated(cells, answered(cells), forest=True, resamples=20)
    assert (found.folds, found.seeds, found.inner_folds) == (FOLDS, (0,), 4)
    assert (found.cells, found.subjects, found.groups) == (160, 20, 19)
    assert found.pooled["accuracy"] == pytest.approx(0.9)
    assert found.mean["accuracy"] == pytest.approx(0.9, abs=0.03)
    assert found.mean["hard_auroc"] > 0.8
    for of, intervals in ((found.mean, found.interval_95), (found.pooled, found.pooled_interval_95)):
        assert of.keys() == intervals.keys()
        low, high = intervals["auroc"]
        assert low - 1e-9 <= of["auroc"] <= high + 1e-9
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_seeds_are_averaged_and_folds_that_are_not_nested_are_said_to_be_so(
    cells: list[LabelledCell],
) -> None:
    two = answered(cells, inner=False) + answered(cells, seed=1, inner=False)
    found = cross_validated(cells, two, forest=False, resamples=5)
    assert (found.seeds, found.inner_folds) == ((0, 1), None)


def test_a_fold_is_calibrated_by_what_its_own_cells_taught_nothing(cells: list[LabelledCell]) -> None:
    run = answered(cells)
    _, tests = folds_of(cells, run)
    before = fold_output(run, 0, tests, forest=True)
    # The other folds' networks have learned from fold 0: whatever they say does not matter.
    spoilt = [
        run[0],
        *(msgspec.structs.replace(one, logits=dict.fromkeys(one.logits, 0.0)) for one in run[1:]),
    ]
    assert fold_output(spoilt, 0, tests, forest=True) == before
    assert fold_output(spoilt, 1, tests, forest=True) == fold_output(run, 1, tests, forest=True)
    bare = [msgspec.structs.replace(one, inner=None) for one in spoilt]
    assert fold_output(bare, 0, tests, forest=True) != before


def test_answers_that_do_not_cover_the_cells_are_refused(cells: list[LabelledCell]) -> None:
    run = answered(cells)
    with pytest.raises(DataRefusedError, match=r"do not tell of every cell.*got 1 of 161 without an answer"):
        folds_of([*cells, another(cells[0])], run)
    divided = [*run[1].logits.items()][:1]
    moved = [
        msgspec.structs.replace(run[0], logits={**run[0].logits, **dict(divided)}),
        msgspec.structs.replace(run[1], logits=dict([*run[1].logits.items()][1:])),
        run[2],
    ]
    with pytest.raises(DataRefusedError, match="a group of subjects stands in two folds"):
        folds_of(cells, moved)
    other = [msgspec.structs.replace(one, seed=1, fold=(one.fold + 1) % FOLDS) for one in answered(cells)]
    with pytest.raises(DataRefusedError, match=r"seeds .* do not have the same folds: got seeds 0 and 1"):
        folds_of(cells, run + other)


def another(cell: LabelledCell) -> LabelledCell:
    """Return another cell, that nobody was asked about."""
    from dataclasses import replace

    return replace(cell, sha256="new", path=Path("new.bmp"))


def test_specificity_is_told_where_nine_blasts_of_ten_are_found() -> None:
    truth = np.repeat([True, False], 10)
    probability = np.concatenate([np.linspace(0.1, 1, 10), np.linspace(0, 0.36, 10)])
    subject = np.repeat(["a", "b"], 10)
    judged = Judged(truth, probability, truth, np.ones(20), subject, subject)
    # At .2 one blast of ten is missed, and 5 of 10 normal cells lie below.
    assert _specificity(judged) == pytest.approx(0.5)


def test_nobody_is_held_out(cells: list[LabelledCell]) -> None:
    twin = another(cells[0])
    split = every_subject([*cells, twin, cells[3]])
    assert (len(split.train), split.validation, split.test) == (161, (), ())


def test_inner_answers_are_those_of_cells_that_taught_nothing(cells: list[LabelledCell]) -> None:
    rng = np.random.default_rng(0)
    truth = np.array([cell.label == "blast" for cell in cells])
    # A number that tells the group alone: learned by heart, it says nothing of another group.
    group = np.array([int(cell.group or 0) for cell in cells])
    by_heart = (rng.permutation(20)[group, None] == np.arange(20)).astype(np.float32)
    telling: npt.NDArray[np.float32] = (rng.normal(size=(160, 4)) + 2 * truth[:, None]).astype(np.float32)
    numbers = np.hstack([telling, np.zeros((160, 10))])
    found = inner_answers(cells, np.hstack([telling, by_heart]), numbers, SETTINGS)
    assert found is not None
    assert found.folds == INNER_FOLDS
    assert found.logits.keys() == found.forest.keys() == {cell.sha256 for cell in cells}
    right = np.mean([(found.logits[cell.sha256] > 0) == (cell.label == "blast") for cell in cells])
    assert right > 0.9
    alone = inner_answers(cells, by_heart, numbers, SETTINGS)
    assert alone is not None
    right = np.mean([(alone.logits[cell.sha256] > 0) == (cell.label == "blast") for cell in cells])
    assert right < 0.7


def test_few_groups_give_as_many_inner_folds_as_there_are(cells: list[LabelledCell]) -> None:
    rng = np.random.default_rng(0)
    for groups, folds in ((3, 3), (1, None)):
        few = [cell for cell in cells if int(cell.subject or 0) in range(3, 3 + 2 * groups)]
        numbers = rng.normal(size=(len(few), 14))
        found = inner_answers(few, numbers.astype(np.float32), numbers, SETTINGS)
        assert (None if found is None else found.folds) == folds
