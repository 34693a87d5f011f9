"""Train a network on labelled cells, honestly: nobody in the test fold is ever looked at.

The folds are by group. Within the training folds some groups are held out once more; early stopping,
temperature and decision threshold come from those. What is written: ``NAME.keras``, its record
``NAME.training.json``, its settings ``NAME.training.toml``, ``NAME.log.csv``, ``NAME.history.png``. While
it runs there is ``NAME.checkpoint/``, from which the same command goes on after a kill.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from edgeleuk.bundle.manifest import OutputContract
from edgeleuk.errors import CheckFailedError, UsageError
from edgeleuk.io.atomic import part_of
from edgeleuk.io.settings_file import to_toml
from edgeleuk_calibration.fit_output import fit_output
from edgeleuk_convert.dataset.cells import CellSet
from edgeleuk_convert.dataset.cnmc import load_cells, require_both_classes
from edgeleuk_convert.dataset.leakage import check_split, refuse_or_stamp
from edgeleuk_convert.dataset.splits import Split, halves, holdout, split_by_subjects
from edgeleuk_convert.dataset.tensors import CellReader, _FileReader
from edgeleuk_convert.environment import out_errors_of, replace_file
from edgeleuk_convert.metrics.classification import auroc, balanced_weights, log_loss, prior_weights
from edgeleuk_convert.networks.architectures import (
    Keras,
    architecture,
    build,
)
from edgeleuk_convert.networks.architectures.fine_tuning import FineTuning, Optimizers
from edgeleuk_convert.quantization.calibration_data import keras_outputs
from edgeleuk_convert.training.augmentation import augmented_batch, epoch_rows, sampling_weights
from edgeleuk_convert.training.checkpoint import (
    Checkpoint,
    Row,
    fingerprint,
    settings_path,
    write_history,
    write_log,
)
from edgeleuk_convert.training.envelope import envelope_of
from edgeleuk_convert.training.forest import fit_forest, write_forest
from edgeleuk_convert.training.out_of_fold import Answers, out_of_fold_output
from edgeleuk_convert.training.plan import TrainingProgress, TrainingSettings
from edgeleuk_convert.training.record import TrainingRecord, write_record
from edgeleuk_convert.training.support_vectors import FrozenNetwork, SupportRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.bundle.forest import Forest
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.dataset.leakage import Prints
    from edgeleuk_convert.training.record import CalibratedBy, CrossValidated

    Tensors = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float64]
    Begin = Callable[[Sequence[LabelledCell], Sequence[LabelledCell], Checkpoint], "_Run | SupportRun"]

# Of the AUROC on a few inner groups; a later average, at a lower rate, is the better one at a draw.
AUROC_NOISE = 0.02


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
    cross_validated : CrossValidated or None
        What the same training is worth on subjects it has not seen, for a record that holds nobody out.
    """

    split: Split | None = None
    prints: Prints | None = None
    reader: CellReader | None = None
    answers: Sequence[Answers] = ()
    features: Callable[[Sequence[LabelledCell]], npt.NDArray[np.float32]] | None = None
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
    out.parent.mkdir(parents=True, exist_ok=True)
    training = _Training(split, settings, out, tell, made)
    output, calibrated_by = training.output(made.answers)
    network = training.network(calibrated_by)
    record = msgspec.structs.replace(
        _record(network, output, split, settings),
        stamp=stamp,
        calibrated_by=calibrated_by,
        cross_validated=made.cross_validated,
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
        self._inner = Checkpoint(out.with_stem(f"{out.stem}.inner"), identity)
        self._checkpoint = Checkpoint(out, identity)
        if made.features is None:
            tensors = reader.tensors(self._seen, settings.contract, progress=tell.of("prepare"))
            self._begin = _beginner(settings, tensors, tell.of("look"))
        else:
            known = FrozenNetwork(settings, None, features=made.features(self._seen))
            self._begin = _support_beginner(known, settings)

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

    def _keep_log(self, rows: list[Row]) -> None:
        write_log(rows, self._out)
        write_history(rows, self._out, kept_epoch(rows))


def _beginner(settings: TrainingSettings, tensors: Tensors, progress: Progress) -> Begin:
    """Return what begins a training on cells to learn from and to judge by, whose tensors are `tensors`."""
    if not architecture(settings.architecture).support_vectors:
        return lambda cells, validation, checkpoint: _Run(settings, cells, validation, tensors, checkpoint)
    return _support_beginner(FrozenNetwork(settings, tensors, progress=progress), settings)


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


def predict_logits(model: Keras, tensors: Tensors) -> Floats:
    """Run a Keras network over tensors, batch by batch: (n,) float64 logits."""
    return keras_outputs(model, tensors)[:, 0].astype(np.float64)


def kept_epoch(rows: Sequence[Row]) -> int:
    """Return the epoch whose average is kept: the latest that is as good as the best, within the noise.

    Examples
    --------
    >>> kept_epoch([Row(1, 0, 0, 0, 0.70, 0), Row(2, 0, 0, 0, 0.69, 0), Row(3, 0, 0, 0, 0.60, 0)])
    2
    """
    judged = [(row.validation_auroc, row.epoch) for row in rows if row.validation_auroc is not None]
    if not judged:
        return rows[-1].epoch
    best = max(auroc for auroc, _ in judged)
    return max(epoch for auroc, epoch in judged if auroc >= best - AUROC_NOISE)


class _Run:
    """One training in progress: the network, its running average, the optimizer, and where it stands."""

    def __init__(
        self,
        settings: TrainingSettings,
        cells: Sequence[LabelledCell],
        validation: Sequence[LabelledCell],
        tensors: Tensors,
        checkpoint: Checkpoint,
    ) -> None:
        import keras

        self.settings = settings
        self.checkpoint = checkpoint
        self.train_tensors, self.validation_tensors = np.split(tensors, [len(cells)])
        self.truth = np.array([cell.label == "blast" for cell in cells])
        self.validation_truth = np.array([cell.label == "blast" for cell in validation], bool)
        subjects = np.array([cell.subject or "" for cell in validation])
        self.validation_weights = balanced_weights(self.validation_truth, subjects)
        self.weights = sampling_weights(
            cells, subject_cap=settings.subject_cap, size_balanced=settings.size_balanced
        )
        keras.utils.set_random_seed(settings.seed)
        dtype = "mixed_bfloat16" if settings.mixed_precision else "float32"
        self.model = build(settings.architecture, settings.contract, dtype=dtype, dropout=settings.dropout)
        self.averaged = build(settings.architecture, settings.contract, dropout=settings.dropout)
        self.averaged.set_weights(self.model.get_weights())
        self.optimizers = Optimizers(
            self.model,
            architecture(settings.architecture).backbone,
            FineTuning(settings.freeze_epochs, settings.backbone_learning_rate_factor),
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.steps = max(1, round(len(cells) / settings.batch))
        self._step = self._compiled_step()

    @property
    def state(self) -> list[Any]:
        """Every variable that a checkpoint has to keep."""
        return [*self.model.variables, *self.averaged.variables, *self.optimizers.variables]

    @property
    def validation_logits(self) -> Floats:
        """(n,) float64, of the cells to judge by."""
        return predict_logits(self.averaged, self.validation_tensors)

    def fit(self, tell: Callable[[TrainingProgress], None], *, further_epochs: float = 0) -> list[Row]:
        """Train to the end or to the early stop; leave the kept average in `averaged`.

        The time left covers `further_epochs`, as long as these, that somebody else will train.
        Without cells to validate with there is nothing to stop by, and the last average is kept.
        """
        rows, best = self.checkpoint.restore(self.state)
        if self._is_stopped(rows):
            return self._kept(rows, best)
        started, first = time.monotonic(), len(rows)
        for epoch in range(len(rows), self.settings.epochs):
            begun = time.monotonic()
            loss = 0.0
            for step, batch_loss in enumerate(self._epoch(epoch), start=1):
                loss += (batch_loss - loss) / step
                share = epoch - first + step / self.steps
                ahead = self.settings.epochs - first - share + further_epochs
                left = (time.monotonic() - started) * ahead / share
                auroc_so_far = rows[-1].validation_auroc if rows else None
                tell(TrainingProgress(
                    "train", epoch + 1, self.settings.epochs, step, self.steps, loss, auroc_so_far, left
                ))  # fmt: skip
            row = self._judge(epoch + 1, loss, time.monotonic() - begun)
            rows.append(row)
            if kept_epoch(rows) == row.epoch:
                best = [np.asarray(variable) for variable in self.averaged.variables]
            self.checkpoint.save(self.state, rows, best)
            if self._is_stopped(rows):
                break
        return self._kept(rows, best)

    def _is_stopped(self, rows: Sequence[Row]) -> bool:
        return bool(rows) and rows[-1].epoch - kept_epoch(rows) >= self.settings.patience

    def _kept(self, rows: list[Row], best: Sequence[Any]) -> list[Row]:
        for variable, value in zip(self.averaged.variables, best, strict=True):
            variable.assign(value)
        return rows

    def _epoch(self, epoch: int) -> Iterator[float]:
        """Run one epoch; batches are prepared one ahead in a thread."""
        settings = self.settings
        if self.optimizers.begin_epoch(epoch):
            self._step = self._compiled_step()
        rows = epoch_rows(self.weights, self.steps * settings.batch, (settings.seed, epoch))
        batches = np.split(rows, self.steps)

        def prepare(step: int) -> npt.NDArray[np.float32]:
            seed = (settings.seed, epoch, step)
            return augmented_batch(
                self.train_tensors, batches[step], settings.contract, settings.augmentation, seed
            )

        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(prepare, 0)
            for step, chosen in enumerate(batches):
                tensors = ahead.result()
                if step + 1 < self.steps:
                    ahead = pool.submit(prepare, step + 1)
                moment = epoch + step / self.steps
                self.optimizers.set_learning_rate(self.learning_rate(moment), moment)
                targets = (
                    self.truth[chosen, None] * (1 - settings.label_smoothing) + settings.label_smoothing / 2
                )
                decay = min(
                    settings.average_decay, (1 + epoch * self.steps + step) / (10 + epoch * self.steps + step)
                )
                loss = float(self._step(tensors, targets.astype(np.float32), np.float32(decay)))
                if not np.isfinite(loss):
                    raise CheckFailedError(
                        f"the loss became {loss} in epoch {epoch + 1}, step {step + 1}",
                        allowed="a finite number",
                        cure=f"train with a learning rate below {settings.learning_rate}",
                    )
                yield loss

    def learning_rate(self, epoch: float) -> float:
        """Rise linearly, then fall along a cosine to a hundredth."""
        settings = self.settings
        rise = min(1.0, (epoch + 0.05) / settings.warmup_epochs) if settings.warmup_epochs else 1.0
        fall = 0.01 + 0.99 * (1 + np.cos(np.pi * min(1.0, epoch / settings.epochs))) / 2
        return float(settings.learning_rate * rise * fall)

    def _judge(self, epoch: int, loss: float, seconds: float) -> Row:
        if not len(self.validation_tensors):
            return Row(epoch, self.learning_rate(epoch), loss, None, None, seconds)
        logits = self.validation_logits
        truth, weights = self.validation_truth, self.validation_weights
        nll = log_loss(truth, logits, weights)
        return Row(epoch, self.learning_rate(epoch), loss, nll, auroc(truth, logits, weights), seconds)

    def _compiled_step(self) -> Keras:
        import tensorflow as tf

        model, averaged, optimizers = self.model, self.averaged, self.optimizers

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def step(tensors: Keras, targets: Keras, decay: Keras) -> Keras:
            with tf.GradientTape() as tape:
                logits = tf.cast(model(tensors, training=True), tf.float32)
                loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizers.apply(gradients, model.trainable_variables)
            # The statistics of the batch norms are averaged along with the weights they belong to.
            for mean, variable in zip(averaged.weights, model.weights, strict=True):
                mean.assign(mean * decay + tf.cast(variable, mean.dtype) * (1 - decay))
            return loss

        return step


def _output(
    trial: _Run | SupportRun, numbers: Floats | None, split: Split, settings: TrainingSettings
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
