"""What the workstation's commands do, and how they say it."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.errors import (
    DataRefusedError,
    InterruptedBeforeRecordError,
    UsageError,
)
from edgeleuk.io.atomic import require_replaceable
from edgeleuk.io.console import STAGES, progress_bar, say, training_progress
from edgeleuk_convert.commands.read_cells import CNMC, read_with_prints
from edgeleuk_convert.commands.results import CrossValidationResult, EvaluationResult, TrainingResult
from edgeleuk_convert.environment import quiet_tensorflow, require_writable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

    from edgeleuk_convert.commands.read_cells import DataOptions
    from edgeleuk_convert.commands.teach import Labels
    from edgeleuk_convert.dataset.cells import CellSet
    from edgeleuk_convert.dataset.leakage import Prints
    from edgeleuk_convert.evaluation.evaluate import Evaluation, Predict
    from edgeleuk_convert.training.plan import TrainingProgress, TrainingSettings
    from edgeleuk_convert.training.record import CrossValidated, TrainingRecord
    from edgeleuk_convert.training.teacher import FurtherCells
    from edgeleuk_convert.training.trainer import AlreadyMade

# The network that --random-split trains, beside the report while it is needed.
RANDOM_SPLIT = "random-split.keras"
METRIC_TITLES = {
    "weighted_f1": "weighted F1",
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "sensitivity": "sensitivity (blasts)",
    "specificity": "specificity (normal cells)",
    "subject_sensitivity_mean": "sensitivity, mean of subjects",
    "subject_specificity_mean": "specificity, mean of subjects",
    "ece": "expected calibration error",
    "baseline_area_auroc": "AUROC of the area alone",
}


@dataclass(frozen=True, slots=True)
class Cohort:
    """Whose cells a network learns from, and whose it is judged by.

    Attributes
    ----------
    held_out : Path or None
        Names of subjects to hold out, one a line; otherwise a fold is.
    all_subjects : bool
        Hold nobody out.
    unlabelled : Labels or None
        Cells that a student looks at, too; what they are called is not used.
    allow_leakage : bool
        Train on a split that leaks, and stamp whatever is said of it.
    """

    held_out: Path | None = None
    all_subjects: bool = False
    unlabelled: Labels | None = None
    allow_leakage: bool = False


A_FOLD_HELD_OUT = Cohort()


def train(
    data: Path,
    out: Path,
    cohort: Cohort = A_FOLD_HELD_OUT,
    *,
    config: Path | None = None,
    flags: Mapping[str, object] | None = None,
    answers: Path | None = None,
) -> TrainingResult:
    """Train, then judge the network on what was held out, or by a cross-validation where nobody is.

    Parameters
    ----------
    data, out : Path
    cohort : Cohort
    config : Path, optional
        ``training.toml``.
    flags : mapping, optional
        Settings that win over it; None means that the flag was not given.
    answers : Path, optional
        Folder of a cross-validation, to calibrate by. Where nobody is held out they tell what the network is
        worth.
    """
    from edgeleuk_convert.dataset.splits import every_subject
    from edgeleuk_convert.evaluation.every_subject import cross_validated
    from edgeleuk_convert.networks.architectures import memory_warning
    from edgeleuk_convert.training.checkpoint import settings_path
    from edgeleuk_convert.training.out_of_fold import answers_in, require_same_settings
    from edgeleuk_convert.training.record import record_path
    from edgeleuk_convert.training.settings import load_training_settings, read_subjects
    from edgeleuk_convert.training.trainer import AlreadyMade

    if cohort.all_subjects:
        _require_nobody_held_out(cohort.held_out, flags or {}, answers)
    subjects = read_subjects(cohort.held_out) if cohort.held_out is not None else None
    settings = load_training_settings(config, {**(flags or {}), "held_out": subjects})
    if out.suffix != ".keras":
        raise UsageError("the network's file has the wrong ending", got=out.name, allowed="NAME.keras")
    require_writable(out)
    # A network that was trained here has a record beside it.
    require_replaceable(out, lambda path: record_path(path).exists())
    if warning := memory_warning(settings.architecture):
        say(f"warning: {warning}")
    further = _further(cohort, settings)
    known = answers_in(answers, settings.architecture) if answers is not None else ()
    require_same_settings(known, settings)
    with quiet_tensorflow():
        cells, prints = read_with_prints(data)
        made = AlreadyMade(prints=prints, answers=known, further=further)
        if cohort.all_subjects:
            judged = cross_validated(cells.labelled, known, forest=settings.forest)
            made = replace(made, split=every_subject(cells.cells), cross_validated=judged)
        record = _train(cells, out, settings, made, allow_leakage=cohort.allow_leakage)
        evaluation = None if cohort.all_subjects else _on_held_out(cells, out, record)
    return TrainingResult(
        model=str(out),
        settings=str(settings_path(out)),
        stamp=record.stamp,
        architecture=record.architecture,
        parameters=record.parameters,
        training_subjects=len(record.training_subjects),
        held_out_subjects=tuple(record.held_out_subjects),
        held_out=None if evaluation is None else _evaluated(evaluation),
        cross_validated=record.cross_validated,
    )


def _on_held_out(cells: CellSet, out: Path, record: TrainingRecord) -> Evaluation:
    """Judge a network on what was held out; of a split that was allowed to leak, on all of it."""
    from edgeleuk_convert.evaluation.evaluate import evaluate_cells, keras_predictor

    tested = set(record.held_out_subjects)
    return evaluate_cells(
        keras_predictor(out, record),
        [cell for cell in cells.labelled if cell.subject in tested],
        [cell for cell in cells.labelled if cell.subject not in tested],
        cells.folder,
        threshold=record.output.threshold,
    )


def _require_nobody_held_out(
    held_out: Path | None, flags: Mapping[str, object], answers: Path | None
) -> None:
    """Refuse options that hold somebody out, where nobody shall be."""
    given = [f"--{name}" for name in ("folds", "fold") if flags.get(name) is not None]
    given += ["--held-out"] if held_out is not None else []
    if given:
        raise UsageError(
            "--all-subjects holds nobody out", got=" and ".join(given), cure="leave out the one or the other"
        )
    if answers is None:
        raise UsageError(
            "--all-subjects leaves nobody to calibrate and judge the network by",
            cure="run `edgeleuk cross-validate` first, and pass its folder as --answers",
        )


def _further(cohort: Cohort, settings: TrainingSettings) -> FurtherCells | None:
    """Return the cells that a student looks at besides."""
    from edgeleuk_convert.training.teacher import FurtherCells

    labels = cohort.unlabelled
    if labels is None:
        return None
    if not settings.teacher:
        raise UsageError(
            f"{settings.architecture} learns from labels alone",
            got="--unlabelled",
            cure="leave it out, or train with --architecture student",
        )
    cells = tuple(labels)
    return FurtherCells(cells, frozenset(cell.subject for cell in cells if cell.subject), labels.sha256)


def _evaluated(evaluation: Evaluation, **more: Any) -> EvaluationResult:
    return msgspec.convert(evaluation.to_json() | more, EvaluationResult)


def _train(
    cells: CellSet,
    out: Path,
    settings: TrainingSettings,
    made: AlreadyMade,
    *,
    allow_leakage: bool,
) -> TrainingRecord:
    """Train and show where it stands; where that is interrupted, say where it goes on from."""
    from edgeleuk_convert.training.trainer import train as train_network

    place = ["before the first epoch"]
    with training_progress() as report, _interrupts() as interrupts:

        def tell(at: TrainingProgress) -> None:
            interrupts.now()
            report(at)
            interrupts.wait = at.stage in STAGES
            if at.stage in STAGES:
                place[0] = f"in epoch {at.epoch} of {at.epochs} ({STAGES[at.stage]})"

        try:
            return train_network(cells, out, settings, progress=tell, made=made, allow_leakage=allow_leakage)
        except KeyboardInterrupt:
            folders = (
                out.with_suffix(ending)
                for ending in (".trunk.checkpoint", ".inner.checkpoint", ".checkpoint")
            )
            kept = [folder.name for folder in folders if folder.exists()]
            raise InterruptedBeforeRecordError(
                f"interrupted {place[0]}",
                cure=f"give the same command again to go on from {' and '.join(kept)}"
                if kept
                else "no epoch was done, so nothing is kept",
            ) from None


@dataclass
class _Interrupts:
    """What ends a training: Ctrl-C or SIGTERM, held back while TensorFlow is at work.

    An exception that a signal raises within TensorFlow may be swallowed by a finalizer, come out as another
    error of the C code that called Python (7 of 336 did, when steps were interrupted at random), or end in an
    abort.

    Attributes
    ----------
    wait : bool
        The first one waits for `now`, which every step of a training calls; the second never waits.
    """

    wait: bool = False
    asked: bool = False

    def now(self) -> None:
        """End the training where that was asked for."""
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def _interrupts() -> Iterator[_Interrupts]:
    """Hold back within this what else would interrupt at once; see `_Interrupts`."""
    interrupts = _Interrupts()
    before: dict[int, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        first, interrupts.asked = not interrupts.asked, True
        if not (first and interrupts.wait):
            before[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(handler := signal.getsignal(number)):
                before[number] = handler
                signal.signal(number, ask)
    try:
        yield interrupts
    finally:
        for known, kept in before.items():
            signal.signal(known, kept)


def cross_validate(
    data: Path,
    out: Path,
    architectures: Sequence[str],
    *,
    folds: int,
    seeds: int,
    epochs: int | None,
) -> CrossValidationResult:
    """Train and judge architectures on every fold, and write how they compare."""
    from edgeleuk_convert.evaluation.cross_validation import cross_validate as validate_all
    from edgeleuk_convert.evaluation.cross_validation import settings_for
    from edgeleuk_convert.reports import comparison

    settings = settings_for(architectures, seeds=seeds, folds=folds, epochs=epochs)
    require_writable(out)
    with quiet_tensorflow():
        cells, prints = read_with_prints(data)
        with training_progress() as report:
            compared = validate_all(cells, out, settings, prints=prints, begin=say, progress=report)
    return msgspec.convert(comparison.write(compared, out), CrossValidationResult)


def comparison_text(result: CrossValidationResult) -> str:
    """Say how networks compare."""
    from edgeleuk_convert.reports import comparison

    return comparison.comparison_text(result.to_json())


def training_text(result: TrainingResult) -> str:
    """Say what a training gave."""
    stamp = f"{result.stamp}\n" if result.stamp else ""
    told = (
        f"{stamp}{result.model}: {result.architecture}, {result.parameters:,} parameters,"
        f" trained on {result.training_subjects} subjects; every setting stands in {result.settings}\n"
    )
    if result.held_out is not None:
        held_out = f"on the {len(result.held_out_subjects)} subjects held out:"
        told += f"{held_out}\n{evaluation_text(result.held_out)}"
    if result.cross_validated is not None:
        told += cross_validated_text(result.cross_validated)
    return told


def cross_validated_text(of: CrossValidated) -> str:
    """Say what a network that has seen every subject is worth."""
    folds = f"{of.folds} folds by group" + (f", {of.inner_folds} folds within each" * bool(of.inner_folds))
    lines = [
        f"no subject is held out; by cross-validation ({folds}), on {of.cells} cells of {of.subjects}"
        f" subjects in {of.groups} groups, mean of the folds:"
    ]
    for key, title in (METRIC_TITLES | {"hard_auroc": "AUROC on the hard subjects"}).items():
        if key in of.mean:
            low, high = of.interval_95[key]
            lines.append(f"  {title:<30} {of.mean[key]:.3f}   95 % {low:.3f} to {high:.3f}")
    lines.append(f"  {'specificity at sensitivity .90':<30} {of.specificity_at_90:.3f}")
    low, high = of.pooled_interval_95["ece"]
    lines.append(f"  {'ECE of all cells together':<30} {of.pooled['ece']:.3f}   95 % {low:.3f} to {high:.3f}")
    return "\n".join(lines)


def evaluate(
    model: str,
    data: Path,
    *,
    runtime: str,
    precision: str,
    report: Path | None = None,
    allow_leakage: bool = False,
    random_split: bool = False,
    options: DataOptions = CNMC,
) -> EvaluationResult:
    """Judge a Keras file, or one network of a bundle, on what it has not seen.

    With `report`, a page with everything beside the baselines is written into that folder; with
    `random_split`, the page also says what the same training would have claimed under a random split.
    `options` say how the user's own pictures are read.
    """
    from edgeleuk_convert.dataset.leakage import joined_stamps, refuse_or_stamp, with_training_stamp
    from edgeleuk_convert.evaluation.evaluate import evaluate_with, unseen
    from edgeleuk_convert.reports.report import JudgedModel, make_folder, report_on

    if random_split and report is None:
        raise UsageError("--random-split is told in a report", cure="pass --report DIR as well")
    if random_split and allow_leakage:
        raise UsageError(
            "--random-split is compared with cells that were never seen", cure="leave out --allow-leakage"
        )
    with _predictor(model, runtime, precision) as (predict, record, threshold, title):
        cells, prints = read_with_prints(data, options.with_contract(record.input, record.output))
        if report is not None:
            make_folder(report)
            claimed = _under_random_split(cells, prints, record, report) if random_split else None
            with progress_bar("evaluating") as bar:
                done = report_on(
                    JudgedModel(predict, title, record, threshold),
                    cells,
                    report,
                    allow_leakage=allow_leakage,
                    random_split=claimed,
                    progress=bar,
                )
            gaps = {"split_gaps": done.facts["split_gaps"]} if random_split else {}
            return _evaluated(done.evaluation, stamp=done.stamp, report=str(done.html), **gaps)
        stamp = None
        if allow_leakage:
            _, seen = unseen(cells.cells, record)
            stamp = refuse_or_stamp(seen, cells.labelled, prints, allow_leakage=True)
        with progress_bar("evaluating") as bar:
            judged = evaluate_with(
                predict, cells, record=None if allow_leakage else record, threshold=threshold, progress=bar
            )
    stamp = joined_stamps(cells.stamp, stamp)
    return _evaluated(judged, stamp=with_training_stamp(stamp, record.stamp))


def _under_random_split(cells: CellSet, prints: Prints, record: TrainingRecord, folder: Path) -> Evaluation:
    """Train with the same settings under a random split of the images, and judge on what that held out."""
    from edgeleuk_convert.dataset.cnmc import require_both_classes
    from edgeleuk_convert.dataset.splits import random_split
    from edgeleuk_convert.evaluation.evaluate import evaluate_cells, keras_predictor, unseen
    from edgeleuk_convert.training.checkpoint import history_path, log_path, settings_path
    from edgeleuk_convert.training.forest import forest_path
    from edgeleuk_convert.training.record import record_path
    from edgeleuk_convert.training.settings import settings_of

    if not record.training_known:
        raise UsageError("--random-split trains anew, and nobody knows how this network was trained")
    settings = settings_of(record)
    fresh, seen = unseen(cells.cells, record)
    # Before an hour's training, what the report would refuse after it.
    require_both_classes(fresh, "evaluation")
    here = {cell.sha256[:16] for cell in seen}
    missing = len(set(record.training_hashes) - here)
    if 2 * missing > len(record.training_hashes):
        raise DataRefusedError(
            "--random-split trains anew, on the images that the network was trained on",
            got=f"{len(record.training_hashes) - missing} of {len(record.training_hashes)} of them",
            cure="point --data at the folder that it was trained on",
        )
    if missing:
        say(f"warning: {missing} of {len(record.training_hashes)} images of the training are not there")
    split = random_split(cells.cells, share=len(fresh) / len(cells.labelled), seed=settings.split_seed)
    say("training the same network under a random split of the images")
    from edgeleuk_convert.training.trainer import AlreadyMade

    out = folder / RANDOM_SPLIT
    with quiet_tensorflow():
        again = _train(cells, out, settings, AlreadyMade(split, prints), allow_leakage=True)
        with progress_bar("evaluating") as bar:
            evaluation = evaluate_cells(
                keras_predictor(out, again),
                split.test,
                (*split.train, *split.validation),
                cells.folder,
                threshold=again.output.threshold,
                progress=bar,
            )
    # It has seen every subject: nobody shall take it for a network to use.
    of_network = (record_path, forest_path, settings_path, log_path, history_path)
    for path in (out, *(place(out) for place in of_network)):
        path.unlink(missing_ok=True)
    return evaluation


@contextmanager
def _predictor(
    model: str, runtime: str, precision: str
) -> Iterator[tuple[Predict, TrainingRecord, float, str]]:
    """Open a Keras file or a bundle: what predicts, its record, its threshold, and its title."""
    from edgeleuk.bundle.reading import read_bundle
    from edgeleuk.classifier.classifier import Classifier, bundle_rules, open_network
    from edgeleuk_convert.evaluation.evaluate import keras_predictor
    from edgeleuk_convert.training.record import bundle_record, read_record

    if model.endswith(".keras"):
        with quiet_tensorflow():
            record = read_record(Path(model))
            yield keras_predictor(Path(model), record), record, record.output.threshold, model
        return
    bundle = read_bundle(model)
    manifest = bundle.manifest
    name = bundle.model_name(runtime, precision)
    # Not `open_classifier`, which refuses a rejected bundle: here it is judged, not used.
    network = open_network(bundle.members, name, manifest.input, runtime=runtime, threads=os.cpu_count() or 1)
    with network, Classifier(network, manifest, bundle_rules(bundle)) as classifier:
        title = f"{bundle.path.name} ({precision}, {runtime})"
        yield classifier.probabilities, bundle_record(bundle), bundle.manifest.output.threshold, title


def evaluation_text(result: EvaluationResult) -> str:
    """Say what a network is worth, the baseline beside it."""
    lines = [result.stamp] if result.stamp else []
    lines += [
        f"{result.cells} cells of {result.subjects} subjects in {result.groups} groups"
        + (
            f"; {result.left_out} cells left out, for the network has seen their group"
            * bool(result.left_out)
        )
    ]
    for key, title in METRIC_TITLES.items():
        low, high = result.interval_95[key]
        lines.append(f"  {title:<30} {getattr(result, key):.3f}   95 % {low:.3f} to {high:.3f}")
    if result.baseline_area_weighted_f1 is not None:
        lines.append(f"  {'weighted F1 of the area alone':<30} {result.baseline_area_weighted_f1:.3f}")
    if result.report:
        lines.append(f"report    {result.report}")
    return "\n".join(lines)
