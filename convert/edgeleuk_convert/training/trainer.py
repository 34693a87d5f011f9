"""Train a network on labelled cells, honestly: nobody in the test fold is ever looked at.

The folds are by group. Within the training folds some groups are held out once more; early stopping,
temperature and decision threshold come from those. What is written: ``NAME.keras``, its record
``NAME.training.json``, its settings ``NAME.training.toml``, ``NAME.log.csv``, ``NAME.history.png``. While
it runs there is ``NAME.checkpoint/``, from which the same command goes on after a kill.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from edgeleuk.bundle.manifest import OutputContract
from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import part_of
from edgeleuk.io.settings_file import to_toml
from edgeleuk_calibration.fit_output import fit_output
from edgeleuk_convert.dataset.cells import CellSet
from edgeleuk_convert.dataset.cnmc import load_cells, require_both_classes
from edgeleuk_convert.dataset.leakage import check_split, refuse_or_stamp
from edgeleuk_convert.dataset.splits import Split, halves, holdout, split_by_subjects
from edgeleuk_convert.dataset.tensors import CellReader, _FileReader
from edgeleuk_convert.environment import out_errors_of, replace_file
from edgeleuk_convert.metrics.classification import prior_weights
from edgeleuk_convert.networks.architectures import (
    Keras,
    architecture,
)
from edgeleuk_convert.training.checkpoint import (
    Checkpoint,
    Row,
    fingerprint,
    settings_path,
    write_history,
    write_log,
)
from edgeleuk_convert.training.distillation import distilled
from edgeleuk_convert.training.envelope import envelope_of
from edgeleuk_convert.training.forest import fit_forest, write_forest
from edgeleuk_convert.training.gradient import kept_epoch
from edgeleuk_convert.training.labels_run import LabelLessons, LabelRun
from edgeleuk_convert.training.out_of_fold import Answers, out_of_fold_output
from edgeleuk_convert.training.plan import TrainingProgress, TrainingSettings
from edgeleuk_convert.training.record import TrainingRecord, write_record
from edgeleuk_convert.training.support_vectors import FrozenNetwork, SupportRun
from edgeleuk_convert.training.teacher import Teacher, teacher_contract

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.bundle.forest import Forest
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.dataset.leakage import Prints
    from edgeleuk_convert.training.record import CalibratedBy, CrossValidated
    from edgeleuk_convert.training.teacher import FurtherCells

    Tensors = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float64]
    Begin = Callable[[Sequence[LabelledCell], Sequence[LabelledCell], Checkpoint], "LabelRun | SupportRun"]


@dataclass(frozen=True, slots=True)
class AlreadyMade:
    """What a training need not make anew.

    Attributes
    ----------
    split : Split or None
        Otherwise the one that the settings name: a fold, or subjects to hold out.
    prints : mapping of path to Fingerprint, or None
        From `fingerprints`, to find cells that stand on both sides, photographed twice; otherwise taken
        anew.
    reader : CellReader or None
        Where tensors and numbers are at hand already; otherwise they are read from the files.
    answers : sequence of Answers
        Of a cross-validation of the same settings: temperature, bias, threshold and band then come from
        those on the cells to learn from, and no first training is needed for them.
    features : callable, optional
        Of a network that is taken as it is: returns what it sees of some cells, (n, F) float32.
    teacher : callable, optional
        Of a student: returns a teacher, and which of its cells some cells are: (n,) int64.
    further : FurtherCells or None
        Of a student: cells without labels that it looks at, too.
    cross_validated : CrossValidated or None
        What the same training is worth on subjects it has not seen, for a record that holds nobody out.
    """

    split: Split | None = None
    prints: Prints | None = None
    reader: CellReader | None = None
    answers: Sequence[Answers] = ()
    features: Callable[[Sequence[LabelledCell]], npt.NDArray[np.float32]] | None = None
    teacher: Callable[[Sequence[LabelledCell]], tuple[Teacher, npt.NDArray[np.int64]]] | None = None
    further: FurtherCells | None = None
    cross_validated: CrossValidated | None = None


NOTHING_MADE = AlreadyMade()


def train(
    data: Path | CellSet,
    out: Path,
    settings: TrainingSettings,
    *,
    progress: Callable[[TrainingProgress], None] | None = None,
    made: AlreadyMade = NOTHING_MADE,
    allow_leakage: bool = False,
) -> TrainingRecord:
    """Train a network and write it with its record, settings, log and history plot.

    Parameters
    ----------
    data : Path or CellSet
        A folder for `load_cells`, or what it returned.
    out : Path
        ``NAME.keras``. Appears only when the training is done.
    settings : TrainingSettings
    progress : callable, optional
        Told where it stands, a few times a second.
    made : AlreadyMade
        Parts of the training that are there already.
    allow_leakage : bool
        Train although test cells are among those to learn from, and stamp the record.

    Returns
    -------
    TrainingRecord

    Raises
    ------
    DataRefusedError
        Too few groups, one class, unreadable images; cells in both training and test.
    CheckFailedError
        The loss is no longer finite.
    """
    if out.suffix != ".keras":
        raise UsageError("the network's file has the wrong ending", got=out.name, allowed="NAME.keras")
    tell = _Teller(progress or (lambda _: None), settings.epochs)
    cells = data if isinstance(data, CellSet) else load_cells(data, progress=tell.of("read"))
    require_both_classes(cells.cells, "training")
    split = made.split or _split(cells, settings)
    seen = (*split.train, *split.validation)
    stamp = (
        check_split(seen, split.test, allow_leakage=allow_leakage, progress=tell.of("read"))
        if made.prints is None
        else refuse_or_stamp(seen, split.test, made.prints, allow_leakage=allow_leakage)
    )
    # Before anything is read for long.
    if settings.teacher:
        teacher_contract(settings)
    if made.further is not None:
        made.further.require_apart({cell.subject or "" for cell in split.test})
    out.parent.mkdir(parents=True, exist_ok=True)
    training = _Training(split, settings, out, tell, made)
    output, calibrated_by = training.output(made.answers)
    network = training.network(calibrated_by)
    record = msgspec.structs.replace(
        _record(network, output, split, settings),
        stamp=stamp,
        calibrated_by=calibrated_by,
        cross_validated=made.cross_validated,
        unlabelled_cells=len(made.further.cells) if made.further else 0,
        unlabelled_sha256=made.further.sha256 if made.further else None,
    )
    numbers = training.numbers
    forest = None if numbers is None else fit_forest(seen, numbers, seed=settings.seed)
    _write(network, forest, record, settings, out)
    training.remove_checkpoints()
    return record


class _Teller:
    """Tells where a training stands."""

    def __init__(self, tell: Callable[[TrainingProgress], None], epochs: int) -> None:
        self.tell = tell
        self._epochs = epochs

    def of(self, stage: Literal["read", "prepare", "look"]) -> Progress:
        """Return what counts the cells of a stage before the first epoch."""
        return lambda done, n: self.tell(TrainingProgress(stage, 0, self._epochs, done, n))


class _Training:
    """A training's cells and checkpoints, and its two parts: what the output means, and the network."""

    def __init__(
        self, split: Split, settings: TrainingSettings, out: Path, tell: _Teller, made: AlreadyMade
    ) -> None:
        self._split, self._settings, self._out, self._tell = split, settings, out, tell
        self._seen = (*split.train, *split.validation)
        reader = made.reader or _FileReader()
        self.numbers: Floats | None = None
        if settings.forest and (settings.calibrated or made.answers):
            self.numbers = reader.numbers(self._seen, settings.contract, progress=tell.of("prepare"))
        identity = fingerprint(settings.flat(), settings.contract, split)
        if made.further is not None:
            identity += made.further.sha256
        self._inner = Checkpoint(out.with_stem(f"{out.stem}.inner"), identity)
        self._checkpoint = Checkpoint(out, identity)
        self._front = Checkpoint(out.with_stem(f"{out.stem}.front"), identity)
        self._trunk = Checkpoint(out.with_stem(f"{out.stem}.trunk"), identity)
        self._begin = self._beginner(reader, made)

    def _beginner(self, reader: CellReader, made: AlreadyMade) -> Begin:
        """Return what begins a training on cells to learn from and cells to judge by."""
        settings, tell = self._settings, self._tell
        entry = architecture(settings.architecture)
        if made.features is not None:
            known = FrozenNetwork(settings, None, features=made.features(self._seen))
            return _support_beginner(known, settings)
        tensors = reader.tensors(self._seen, settings.contract, progress=tell.of("prepare"))
        if not entry.support_vectors:
            return lambda cells, validation, at: LabelRun(
                settings, LabelLessons(settings, cells, validation, tensors), at
            )
        model = self._taught(tensors, made) if entry.teacher else None
        frozen = FrozenNetwork(settings, tensors, model=model, progress=tell.of("look"))
        return _support_beginner(frozen, settings)

    def _taught(self, tensors: Tensors, made: AlreadyMade) -> Keras:
        """Return a student whose trunk sees what its teacher sees; its logs lie beside the network."""
        settings, tell = self._settings, self._tell
        if made.teacher is not None:
            teacher, rows = made.teacher(self._seen)
        else:
            if (further := made.further) is not None:
                tensors = np.concatenate([tensors, further.tensors(settings.contract)])
            teacher, rows = Teacher(settings, tensors, tell.of("look")), np.arange(len(tensors))
        checkpoints = self._front, self._trunk
        model, logs = distilled(settings, teacher, rows, self._seen, checkpoints, tell=tell.tell)
        for log, checkpoint in zip(logs, checkpoints, strict=True):
            write_log(log, checkpoint.out)
            write_history(log, checkpoint.out, log[-1].epoch, loss="distance from the teacher")
        return model

    def output(self, answers: Sequence[Answers]) -> tuple[OutputContract, CalibratedBy]:
        """Find temperature, threshold and band, by answers at hand or by a first training; say by which."""
        settings, split = self._settings, self._split
        if answers:
            contract = out_of_fold_output(
                answers, self._seen, sensitivity=settings.sensitivity, forest=self.numbers is not None
            )
            return contract, "cross-validation"
        if not settings.calibrated:
            return OutputContract(kind="logit"), "nothing"
        trial = self._begin(split.train, split.validation, self._inner)
        # What the second training will take: as long for each cell, but it has more of them.
        rows = trial.fit(
            lambda at: self._tell.tell(replace(at, stage="inner")),
            further_epochs=settings.epochs * len(self._seen) / len(split.train),
        )
        self._keep_log(rows)
        return _output(trial, self.numbers, split, settings), "inner groups"

    def network(self, calibrated_by: CalibratedBy) -> Keras:
        """Train on all cells to learn from, those of the inner groups too; return the kept average."""
        # What was held out for the temperature and the threshold is too precious not to be learnt from.
        run = self._begin(self._seen, (), self._checkpoint)
        if calibrated_by == "inner groups":
            run.fit(lambda at: self._tell.tell(replace(at, stage="final")))
        else:
            self._keep_log(run.fit(self._tell.tell))
        return run.averaged

    def remove_checkpoints(self) -> None:
        """Leave nothing to go on from: the training is done."""
        self._inner.remove()
        self._checkpoint.remove()
        self._front.remove()
        self._trunk.remove()

    def _keep_log(self, rows: list[Row]) -> None:
        write_log(rows, self._out)
        write_history(rows, self._out, kept_epoch(rows))


def _support_beginner(frozen: FrozenNetwork, settings: TrainingSettings) -> Begin:
    return lambda cells, validation, _: SupportRun(frozen, settings, cells, validation)


def _write(
    model: Keras, forest: Forest | None, record: TrainingRecord, settings: TrainingSettings, out: Path
) -> None:
    with out_errors_of(out), part_of(out, ".keras") as (part, _):
        model.save(part)
        replace_file(settings_path(out), to_toml(replace(settings, input=settings.contract)).encode())
        if forest is not None:
            write_forest(forest, out)
        # The record first: a network without one could be judged on cells it has seen.
        write_record(record, out)


def _split(cells: CellSet, settings: TrainingSettings) -> Split:
    if settings.held_out:
        return split_by_subjects(cells.cells, settings.held_out, seed=settings.split_seed)
    return holdout(cells.cells, folds=settings.folds, fold=settings.fold, seed=settings.split_seed)


def _output(
    trial: LabelRun | SupportRun, numbers: Floats | None, split: Split, settings: TrainingSettings
) -> OutputContract:
    truth = np.array([cell.label == "blast" for cell in split.validation])
    subjects = np.array([cell.subject or "" for cell in split.validation])
    log_odds = None
    if numbers is not None:
        known, asked = np.split(numbers, [len(split.train)])
        log_odds = fit_forest(split.train, known, seed=settings.seed).log_odds(asked)
    return fit_output(
        trial.validation_logits,
        log_odds,
        truth,
        np.array([cell.group or "" for cell in split.validation]),
        prior_weights(truth, subjects, cap=settings.subject_cap),
        half=halves(split.validation, seed=settings.split_seed),
        sensitivity=settings.sensitivity,
    )


def _record(
    network: Keras, output: OutputContract, split: Split, settings: TrainingSettings
) -> TrainingRecord:
    seen = (*split.train, *split.validation)
    return TrainingRecord(
        architecture=settings.architecture,
        parameters=network.count_params(),
        input=settings.contract,
        output=output,
        envelope=envelope_of(seen),
        settings=settings.flat(),
        training_subjects=tuple(sorted({cell.subject or "" for cell in seen})),
        held_out_subjects=tuple(sorted({cell.subject or "" for cell in split.test})),
        training_hashes=tuple(sorted({cell.sha256[:16] for cell in seen})),
        tools={name: version(name) for name in ("keras", "numpy", "opencv-python-headless")}
        | {"tensorflow": _tensorflow_version()},
    )


def _tensorflow_version() -> str:
    import tensorflow as tf

    return str(tf.__version__)
