"""The training from folder to judged network, on a few real cells and two epochs."""

from __future__ import annotations

import csv
import errno
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeleuk.errors import DataRefusedError, GateFailedError, IntegrityError, UsageError
from edgeleuk_convert.architectures import default_input
from edgeleuk_convert.checkpoint import Checkpoint
from edgeleuk_convert.cnmc import CellSet, load_cells
from edgeleuk_convert.evaluation import evaluate, evaluate_with, keras_predictor, predict_cells, unseen
from edgeleuk_convert.metrics import METRICS
from edgeleuk_convert.record import read_record, record_path
from edgeleuk_convert.splits import holdout
from edgeleuk_convert.training import TrainingProgress, TrainingSettings, train

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk_convert.record import TrainingRecord

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
    assert {where.stage for where in told} == {"read", "prepare", "train", "final"}
    last = told[-1]
    assert (last.epoch, last.step) == (last.epochs, last.steps)
    assert last.seconds_left == pytest.approx(0, abs=1e-6)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "resnet.history.png", "resnet.keras", "resnet.log.csv", "resnet.training.json",
    ]  # fmt: skip


@pytest.mark.parametrize(("stage", "checkpoint"), [("train", "resnet.inner"), ("final", "resnet")])
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
    assert stage == "train" or not [where for where in told if where.stage == "train"]
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


def test_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path / "resnet.keras", "identity")
    checkpoint.save([np.zeros(3)], [], [])
    before = checkpoint.file.read_bytes()

    def full(path: Path, content: bytes) -> int:
        path.open("wb").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(UsageError, match=r"state.npz cannot be written: got No space left on device; free"):
        checkpoint.save([np.ones(3)], [], [])
    assert checkpoint.file.read_bytes() == before
    assert [path.name for path in checkpoint.folder.iterdir()] == ["state.npz"]


def test_a_loss_that_is_no_number_ends_the_training(cells: CellSet, tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=9.0, weight_decay=1e30, warmup_epochs=0.0)
    with pytest.raises(GateFailedError, match=r"the loss became .* in epoch 1.*learning rate below"):
        train(cells, tmp_path / "resnet.keras", settings)
    assert not (tmp_path / "resnet.keras").exists()


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
