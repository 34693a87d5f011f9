"""Cross-validation: what stands in the comparison, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from edgeleuk.errors import DataRefusedError, IntegrityError, UsageError
from edgeleuk_convert.commands.schemas import PRINTED
from edgeleuk_convert.dataset.cells import CellSet, Label, LabelledCell
from edgeleuk_convert.dataset.splits import grouped_folds
from edgeleuk_convert.evaluation import baselines, cross_validation
from edgeleuk_convert.evaluation.cross_validation import compare_answers, cross_validate, settings_for
from edgeleuk_convert.evaluation.fold_scores import HARD_AUROC
from edgeleuk_convert.reports.comparison import comparison_text, points_of, write
from edgeleuk_convert.training.augmentation import Augmentation
from edgeleuk_convert.training.out_of_fold import (
    Answers,
    answers_in,
    out_of_fold_output,
    read_answers,
    require_same_settings,
    settings_that_count,
    write_answers,
)
from edgeleuk_convert.training.plan import TrainingSettings

FOLDS = 3
Floats = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "TREES", 20)
    monkeypatch.setattr(cross_validation, "CURVE_DRAWS", 2)


def cohort() -> tuple[CellSet, Floats, dict[str, int]]:
    """Make 18 subjects of 10 cells, a third of them of the hard fold; number 12 tells the class."""
    cells, numbers = [], []
    for subject in range(18):
        rng = np.random.default_rng(subject)
        label: Label = "blast" if subject % 2 else "normal"
        official = "fold_2" if subject % 3 == 0 else "fold_0"
        for n in range(10):
            name = str(subject)
            cells.append(
                LabelledCell(
                    Path(f"UID_{subject}_{n}.bmp"), label, name, name, f"{subject:02d}{n:02d}",
                    20_000 + int(rng.integers(5000)), 450, 450, official,
                )
            )  # fmt: skip
            row = rng.normal(size=14)
            row[12] += 2.0 * (label == "blast")
            numbers.append(row)
    made = CellSet(Path(), tuple(cells))
    return made, np.array(numbers), grouped_folds(cells, FOLDS, 0)


def answer(cells: CellSet, of_group: dict[str, int], fold: int, seed: int, logit: float) -> Answers:
    """Answer as a network would that gives each blast this logit, and each normal cell the opposite."""
    return Answers(
        architecture="resnet", fold=fold, seed=seed, parameters=5, identity="", logits={
            cell.sha256: logit if cell.label == "blast" else -logit
            for cell in cells.labelled if of_group[cell.group or ""] == fold
        },
        # The forest is right about every other cell.
        forest={
            cell.sha256: 3.0 if (cell.label == "blast") == (n % 2 == 0) else -3.0
            for n, cell in enumerate(cells.labelled) if of_group[cell.group or ""] == fold
        },
    )  # fmt: skip


def test_means_over_folds_and_seeds() -> None:
    cells, numbers, of_group = cohort()
    # One seed is right everywhere; the other everywhere but in fold 1.
    answers = [answer(cells, of_group, fold, 0, 3.0) for fold in range(FOLDS)]
    answers += [answer(cells, of_group, fold, 1, -3.0 if fold == 1 else 3.0) for fold in range(FOLDS)]
    compared = compare_answers(cells, of_group, answers, numbers, resamples=50)
    assert list(compared.scores) == [*baselines.TITLES, "resnet", "resnet + forest"]
    one = compared.scores["resnet"]
    assert [fold["auroc"] for fold in one.folds] == [1, 0.5, 1]
    assert [seed["auroc"] for seed in one.seeds] == [1, pytest.approx(2 / 3)]
    assert one.seeds[0]["weighted_f1"] == 1
    # In fold 1 the seeds are all right and all wrong, both by what the other folds have taught.
    assert one.folds[1]["accuracy"] == pytest.approx(0.5)
    assert one.seeds[0]["ece"] < 0.06
    assert one.mean[HARD_AUROC] == pytest.approx(one.mean["auroc"], abs=0.2)
    for metric, (low, high) in one.interval_95.items():
        assert low - 1e-9 <= one.mean[metric] <= high + 1e-9, metric
    assert compared.scores["resnet + forest"].folds[0]["auroc"] > 0.9
    forest = compared.scores["forest"]
    assert forest.parameters is None
    assert forest.mean["auroc"] > compared.scores["colour"].mean["auroc"]
    groups = [point[0] for point in compared.curve]
    assert groups == sorted(groups)
    assert groups[-1] == 12


@pytest.mark.parametrize("wrong", [None, 1])
def test_differences_are_of_the_same_draws(wrong: int | None) -> None:
    cells, numbers, of_group = cohort()
    first = [answer(cells, of_group, fold, 0, 1.0) for fold in range(FOLDS)]
    others = [
        msgspec.structs.replace(
            answer(cells, of_group, fold, 0, -1.0 if fold == wrong else 1.0), architecture="baseline"
        )
        for fold in range(FOLDS)
    ]
    compared = compare_answers(cells, of_group, first + others, numbers, resamples=50)
    (found,) = compared.differences
    assert (found.of, found.against) == ("baseline + forest", "resnet + forest")
    scores = [compared.scores[title] for title in (found.of, found.against)]
    for metric, mean in found.mean.items():
        low, high = found.interval_95[metric]
        assert mean == pytest.approx(scores[0].mean[metric] - scores[1].mean[metric])
        assert low - 1e-9 <= mean <= high + 1e-9
        # What is the same on every draw differs by nothing on every draw.
        assert wrong is not None or (low, mean, high) == (0, 0, 0)
    assert wrong is None or found.mean["auroc"] < -0.1
    text = comparison_text(msgspec.to_builtins(compared.to_json()))
    assert "Difference from resnet + forest, on the same draws of groups (95 %):" in text


def test_a_seed_without_all_folds_is_left_out() -> None:
    cells, numbers, of_group = cohort()
    answers = [answer(cells, of_group, fold, 0, 3.0) for fold in range(FOLDS)]
    part = [answer(cells, of_group, 0, 1, -3.0)]
    compared = compare_answers(cells, of_group, answers + part, numbers, resamples=5)
    assert compared.scores["resnet"].mean["auroc"] == 1
    assert "resnet" not in compare_answers(cells, of_group, part, numbers, resamples=5).scores


def test_files_say_the_same(tmp_path: Path) -> None:
    cells, numbers, of_group = cohort()
    answers = [answer(cells, of_group, fold, 0, 3.0) for fold in range(FOLDS)]
    facts = write(compare_answers(cells, of_group, answers, numbers, resamples=5), tmp_path)
    assert (
        msgspec.json.decode((tmp_path / "comparison.json").read_bytes())["scores"].keys()
        == facts["scores"].keys()
    )
    result = msgspec.convert(facts, PRINTED["cross-validate"])
    assert msgspec.json.decode(msgspec.json.encode(result)) == msgspec.json.decode(msgspec.json.encode(facts))
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert text.strip() == comparison_text(facts)
    assert "| resnet | 1.000 (1.000-1.000) | 1.000 (1.000-1.000) |" in text
    assert "180 cells of 18 subjects in 18 groups, 3 folds by group" in text
    assert (tmp_path / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    # Nobody measured what the network costs.
    assert not (tmp_path / "frontier.png").exists()
    facts["scores"]["resnet"]["cost"] = {"multiply_adds": 72e6}
    (point,) = points_of(facts)
    # With its forest, as it ships.
    assert (point.title, point.multiply_adds) == ("resnet + forest", 72e6)
    assert point.auroc == facts["scores"]["resnet + forest"]["mean"]["auroc"]


MADE = TrainingSettings(architecture="resnet", epochs=4, seed=3, folds=3, fold=1, calibrated=False)


def answered(settings: dict[str, object] | None) -> Answers:
    return Answers(
        architecture="resnet",
        fold=1,
        seed=3,
        parameters=5,
        logits={},
        forest={},
        identity="",
        settings=settings,
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 5}, "got epochs = 4, allowed epochs = 5; train with those settings"),
        ({"learning_rate": 0.001}, "got learning_rate = 0.002, allowed learning_rate = 0.001"),
        (
            {"augmentation": Augmentation(jpeg=0.5)},
            "got augmentation_jpeg = 0.05, allowed augmentation_jpeg = 0.5",
        ),
        (
            {"input": msgspec.structs.replace(MADE.contract, px_per_um=9.0)},
            "got input_px_per_um = 7.4, allowed input_px_per_um = 9.0",
        ),
        ({"architecture": "baseline"}, "got architecture = resnet"),
    ],
)  # fmt: skip
def test_answers_of_networks_trained_otherwise_are_refused_by_the_setting(
    change: dict[str, object], named: str
) -> None:
    settings = replace(MADE, **change)
    with pytest.raises(UsageError, match="fold 1, seed 3 were made with other settings") as caught:
        require_same_settings([answered(settings_that_count(MADE))], settings)
    assert named in str(caught.value)


def test_what_does_not_make_another_network_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "resnet-fold1-seed3.answers.json"
    write_answers(answered(settings_that_count(MADE)), path)
    same = replace(
        MADE, seed=0, folds=5, fold=0, split_seed=9, held_out=("1",), calibrated=True, forest=False,
        sensitivity=0.8,
    )  # fmt: skip
    require_same_settings(answers_in(tmp_path, "resnet"), same)


def test_answers_that_do_not_say_how_they_were_made_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "resnet-fold1-seed3.answers.json"
    older = msgspec.to_builtins(answered(None))
    del older["settings"]
    path.write_bytes(msgspec.json.encode(older))
    require_same_settings(answers_in(tmp_path, "resnet"), replace(MADE, epochs=9))
    assert read_answers(path, "") == answered(None)


def test_answers_of_another_question_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "resnet-fold0-seed0.answers.json"
    assert read_answers(path, "a") is None
    kept = Answers(architecture="resnet", fold=0, seed=0, parameters=1, logits={}, forest={}, identity="a")
    write_answers(kept, path)
    assert answers_in(tmp_path, "resnet") == [kept]
    with pytest.raises(DataRefusedError, match="holds no answers of baseline"):
        answers_in(tmp_path, "baseline")
    assert read_answers(path, "a") == kept
    assert read_answers(path, "b") is None
    path.write_bytes(b"{")
    with pytest.raises(IntegrityError, match=r"answers\.json is damaged.*delete it"):
        read_answers(path, "a")


def test_settings_follow_the_recipes() -> None:
    found = settings_for(("resnet", "efficientnet-lite0-narrow"), seeds=2, folds=3)
    assert [(one.architecture, one.seed, one.calibrated) for one in found] == [
        ("resnet", 0, False), ("resnet", 1, False),
        ("efficientnet-lite0-narrow", 0, False), ("efficientnet-lite0-narrow", 1, False),
    ]  # fmt: skip
    assert found[0].epochs == TrainingSettings().epochs
    assert found[2].epochs < found[0].epochs
    with pytest.raises(UsageError, match="seeds is out of range: got 0"):
        settings_for(("resnet",), seeds=0, folds=3)


@pytest.mark.parametrize(
    "settings",
    [
        [TrainingSettings(folds=3), TrainingSettings(folds=5)],
        [TrainingSettings(split_seed=1), TrainingSettings()],
        [TrainingSettings(held_out=("1",))],
        [],
    ],
)
def test_other_folds_cannot_be_compared(settings: list[TrainingSettings], tmp_path: Path) -> None:
    cells, _, _ = cohort()
    with pytest.raises(UsageError, match="only be compared on the same folds"):
        cross_validate(cells, tmp_path / "out", settings, prints={}, begin=print)
    assert not (tmp_path / "out").exists()


def test_what_a_fold_is_judged_by_is_not_learnt_from_it() -> None:
    cells, _, of_group = cohort()
    answers = [answer(cells, of_group, fold, 0, 3.0) for fold in range(FOLDS)]
    others = [cell for cell in cells.labelled if of_group[cell.group or ""] != 0]
    by_all = out_of_fold_output(answers, others, sensitivity=0.9, forest=False)
    by_others = out_of_fold_output(answers[1:], others, sensitivity=0.9, forest=False)
    assert by_all == by_others
    assert by_all.bias == pytest.approx(0, abs=0.3)
    with pytest.raises(DataRefusedError, match=r"nothing of both classes.*got 0 answers"):
        out_of_fold_output(answers[:1], others, sensitivity=0.9, forest=False)


def test_identity_changes_with_settings_and_cells() -> None:
    cells, _, _ = cohort()
    one = TrainingSettings()
    ids = {
        cross_validation._identity(one, cells.labelled),
        cross_validation._identity(replace(one, epochs=3), cells.labelled),
        cross_validation._identity(one, cells.labelled[1:]),
    }
    assert len(ids) == 3
