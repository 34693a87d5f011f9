"""Judge a model on cells of subjects it has never seen, beside a baseline that only knows the size.

Anything that turns crops into probabilities can be judged: a Keras network here, a bundle's int8 models
through the device's own code. What has been seen in training is left out in one place, `unseen`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.contracts import Answer
from edgeleuk.classifier.decision import Rules, probabilities_of
from edgeleuk.errors import DataRefusedError, IntegrityError
from edgeleuk_calibration.probability import sigmoid
from edgeleuk_convert.dataset.cells import CellSet
from edgeleuk_convert.dataset.cnmc import load_cells, read_crop, require_both_classes
from edgeleuk_convert.dataset.cnmc_layouts import natural_key
from edgeleuk_convert.metrics.classification import (
    RESAMPLES,
    Judged,
    balanced_weights,
    interval_95,
    point_metrics,
)
from edgeleuk_convert.quantization.calibration_data import keras_outputs
from edgeleuk_convert.training.forest import read_forest
from edgeleuk_convert.training.record import TrainingRecord, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.frames import CellCrop
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import LabelledCell

    Floats = npt.NDArray[np.float64]
    # Crops of cells -> (n,) probability of being a blast, calibrated.
    Predict = Callable[[Sequence[CellCrop]], Floats]

SCHEMA_VERSION = 1
CHUNK = 128


@dataclass(frozen=True, slots=True)
class SubjectResult:
    """How the cells of one subject were called."""

    subject: str
    group: str
    label: str
    cells: int
    called_blast: int

    @property
    def right(self) -> float:
        """Share of cells that were called what they are."""
        share = self.called_blast / self.cells
        return share if self.label == "blast" else 1 - share


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model is worth on these cells.

    Attributes
    ----------
    cells, subjects, groups : int
        That were judged.
    left_out : int
        Labelled cells that share a subject, a group or an image with the training.
    threshold : float
        Probability at and above which a cell was called a blast.
    metrics : dict
        Each of `metrics.METRICS`.
    interval_95 : dict
        Metric to (low, high), bootstrap over groups.
    baseline_area_weighted_f1 : float or None
        Of a logistic regression on the area alone, fitted on the training cells that are in the same
        folder; None where there are none.
    by_subject : tuple of SubjectResult
    probabilities : dict of str to float
        File, relative to the data folder, to probability of blast.
    """

    cells: int
    subjects: int
    groups: int
    left_out: int
    threshold: float
    metrics: dict[str, float]
    interval_95: dict[str, tuple[float, float]]
    baseline_area_weighted_f1: float | None
    by_subject: tuple[SubjectResult, ...]
    probabilities: dict[str, float]

    def to_json(self) -> dict[str, object]:
        """Return the object that ``evaluate --json`` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "cells": self.cells,
            "subjects": self.subjects,
            "groups": self.groups,
            **self.metrics,
            "interval_95": {name: list(ends) for name, ends in self.interval_95.items()},
            "baseline_area_weighted_f1": self.baseline_area_weighted_f1,
            "threshold": self.threshold,
            "left_out": self.left_out,
        }


def unseen(
    cells: Sequence[LabelledCell], record: TrainingRecord | None
) -> tuple[tuple[LabelledCell, ...], tuple[LabelledCell, ...]]:
    """Divide labelled cells into those a network may be judged on and those it has seen.

    Parameters
    ----------
    cells : sequence of LabelledCell
        Unlabelled ones are dropped.
    record : TrainingRecord or None
        None: nothing was seen.

    Returns
    -------
    fresh, seen : tuple of LabelledCell
        A whole group counts as seen when one of its subjects or images was.
    """
    labelled = tuple(cell for cell in cells if cell.label is not None)
    if record is None:
        return labelled, ()
    subjects = {subject.casefold() for subject in record.training_subjects}
    hashes = set(record.training_hashes)

    def touched(cell: LabelledCell) -> bool:
        return (cell.subject or "").casefold() in subjects or cell.sha256[:16] in hashes

    groups = {cell.group for cell in labelled if touched(cell)}
    fresh = tuple(cell for cell in labelled if cell.group not in groups)
    return fresh, tuple(cell for cell in labelled if cell.group in groups)


def require_unseen(
    fresh: Sequence[LabelledCell],
    seen: Sequence[LabelledCell],
    record: TrainingRecord | None,
    *,
    cure: str | None = None,
) -> None:
    """Refuse to judge a network on nothing but what it has seen.

    Parameters
    ----------
    fresh, seen : sequence of LabelledCell
        From `unseen`.
    record : TrainingRecord or None
    cure : str, optional
        Otherwise what helps whoever wants to judge it.

    Raises
    ------
    DataRefusedError
        There are cells, and the network has seen them all.
    """
    if fresh or not seen:
        return
    if record is not None and record.cross_validated is not None:
        folds = record.cross_validated.folds
        raise DataRefusedError(
            f"the network has learned from all {len(record.training_subjects)} subjects, so none is held out",
            got=f"{len(seen)} cells that it has seen, such as {seen[0].path.name}",
            allowed="cells of other subjects",
            cure=cure
            or f"read what {folds} folds of a cross-validation found, with `edgeleuk inspect`, or judge the"
            " bundle with subjects held out that `make models` leaves in runs/models/held-out.edgeleuk",
        )
    raise DataRefusedError(
        "every labelled cell shares a subject, a group or an image with the training",
        got=f"{len(seen)} cells, such as {seen[0].path.name}",
        cure=cure or "evaluate on subjects the network has not seen",
    )


def evaluate(
    model: Path,
    data: Path | CellSet,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge a Keras network by what its training record says of it.

    Parameters
    ----------
    model : Path
        ``NAME.keras`` with ``NAME.training.json`` beside it.
    data : Path or CellSet
    resamples, seed : int
        Of the bootstrap.
    progress : callable, optional
        Told (cells done, cells in all).

    Raises
    ------
    DataRefusedError
        No record; every cell was seen in training; one class is left.
    """
    record = read_record(model)
    cell_set = data if isinstance(data, CellSet) else load_cells(data)
    return evaluate_with(
        keras_predictor(model, record),
        cell_set,
        record=record,
        threshold=record.output.threshold,
        resamples=resamples,
        seed=seed,
        progress=progress,
    )


def evaluate_with(
    predict: Predict,
    data: CellSet,
    *,
    record: TrainingRecord | None,
    threshold: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge anything that turns crops into probabilities.

    Parameters
    ----------
    predict : callable
        Crops -> (n,) probability of being a blast; called with up to `CHUNK` crops at a time.
    data : CellSet
    record : TrainingRecord or None
        Tells what was seen in training and is left out.
    threshold : float
        Probability at and above which a cell is called a blast.
    """
    fresh, seen = unseen(data.cells, record)
    require_unseen(fresh, seen, record)
    require_both_classes(
        fresh, "evaluation" + (f" (after leaving out {len(seen)} seen cells)" if seen else "")
    )
    return evaluate_cells(
        predict,
        fresh,
        seen,
        data.folder,
        threshold=threshold,
        resamples=resamples,
        seed=seed,
        progress=progress,
    )


def evaluate_cells(
    predict: Predict,
    cells: Sequence[LabelledCell],
    seen: Sequence[LabelledCell],
    folder: Path,
    *,
    threshold: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge on exactly these cells, whoever else has seen them.

    Parameters
    ----------
    predict : callable
        As for `evaluate_with`.
    cells, seen : sequence of LabelledCell
        To judge on, and what the baseline learns from.
    folder : Path
        Above all of them.
    threshold : float
        Probability at and above which a cell is called a blast.
    """
    probability = predict_cells(predict, cells, progress=progress)
    judged = judge(cells, probability, threshold)
    return Evaluation(
        cells=len(cells),
        subjects=len(np.unique(judged.subject)),
        groups=len(np.unique(judged.group)),
        left_out=len(seen),
        threshold=threshold,
        metrics=point_metrics(judged),
        interval_95=interval_95(judged, resamples=resamples, seed=seed),
        baseline_area_weighted_f1=area_baseline_weighted_f1(seen, judged),
        by_subject=_by_subject(judged),
        probabilities={
            cell.path.relative_to(folder).as_posix(): float(p)
            for cell, p in zip(cells, probability, strict=True)
        },
    )


def predict_cells(
    predict: Predict, cells: Sequence[LabelledCell], *, progress: Progress | None = None
) -> Floats:
    """Read cells in threads, a chunk ahead of the model; return (n,) probabilities.

    Raises
    ------
    IntegrityError
        The model answered with something that is no probability.
    """
    parts: list[Floats] = []
    chunks = [cells[start : start + CHUNK] for start in range(0, len(cells), CHUNK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead = [pool.submit(read_crop, cell) for cell in chunks[0]] if chunks else []
        for index, chunk in enumerate(chunks):
            crops = [future.result() for future in ahead]
            if index + 1 < len(chunks):
                ahead = [pool.submit(read_crop, cell) for cell in chunks[index + 1]]
            part = np.asarray(predict(crops), np.float64).reshape(-1)
            if part.shape != (len(chunk),) or not ((part >= 0) & (part <= 1)).all():
                raise IntegrityError(
                    "the model's answer is no list of probabilities",
                    got=f"{part.shape}, {np.min(part)} to {np.max(part)}",
                    allowed=f"({len(chunk)},) from 0 to 1",
                )
            parts.append(part)
            if progress is not None:
                progress(sum(map(len, parts)), len(cells))
    return np.concatenate(parts) if parts else np.empty(0)


def judge(cells: Sequence[LabelledCell], probability: Floats, threshold: float) -> Judged:
    """Put the truth beside what a model said."""
    return Judged(
        truth=np.array([cell.label == "blast" for cell in cells]),
        probability=probability,
        called=probability >= threshold,
        area=np.array([cell.foreground_px for cell in cells], np.float64),
        subject=np.array([cell.subject or "" for cell in cells]),
        group=np.array([cell.group or "" for cell in cells]),
    )


def keras_predictor(model: Path, record: TrainingRecord) -> Predict:
    """Return what runs a ``.keras`` file on crops, calibrated."""
    import keras

    from edgeleuk.classifier.cell_features import numbers_of
    from edgeleuk.inference.preprocessing import cell_and_tensor

    if not model.is_file():
        raise DataRefusedError("the network does not exist", got=model, cure="train it with `edgeleuk train`")
    try:
        network = keras.models.load_model(model, compile=False)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise IntegrityError(f"{model.name} cannot be read", got=reason, cure="train it again") from error

    forest = read_forest(model, record.output.forest_weight)
    rules = Rules(record.output, record.envelope, forest=forest)

    def predict(crops: Sequence[CellCrop]) -> Floats:
        scaled, tensors = zip(*(cell_and_tensor(crop, record.input) for crop in crops), strict=True)
        numbers = [numbers_of(cell, record.input.px_per_um) for cell in scaled] if forest else None
        return probabilities_of(Answer(keras_outputs(network, np.array(tensors))), rules, numbers)

    return predict


def area_baseline_weighted_f1(train: Sequence[LabelledCell], judged: Judged) -> float | None:
    """Weighted F1 of `area_baseline`; None where `train` lacks a class."""
    baseline = area_baseline(train, judged)
    return None if baseline is None else point_metrics(baseline)["weighted_f1"]


def area_baseline(train: Sequence[LabelledCell], judged: Judged) -> Judged | None:
    """Judge the same cells by a logistic regression on the logarithm of the area, classes balanced.

    None where `train` lacks a class.
    """
    truth = np.array([cell.label == "blast" for cell in train], bool)
    if not truth.any() or truth.all():
        return None
    area = np.log(np.array([cell.foreground_px for cell in train], np.float64))
    group = np.array([cell.group or "" for cell in train])
    slope, intercept = _logistic(area, truth, balanced_weights(truth, group))
    called = slope * np.log(judged.area) + intercept >= 0
    probability = sigmoid(slope * np.log(judged.area) + intercept)
    return Judged(judged.truth, probability, called, judged.area, judged.subject, judged.group)


def _logistic(x: Floats, truth: npt.NDArray[np.bool_], weights: Floats) -> tuple[float, float]:
    """Fit slope and intercept by Newton's method, with a breath of ridge so that it always ends."""
    mean, spread = float(x.mean()), float(x.std()) or 1.0
    design = np.column_stack([(x - mean) / spread, np.ones(len(x))])
    beta = np.zeros(2)
    for _ in range(50):
        p = sigmoid(design @ beta)
        gradient = design.T @ (weights * (truth - p)) - 1e-6 * beta
        hessian = (design * (weights * p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
        step = np.clip(np.linalg.solve(hessian, gradient), -4, 4)
        beta += step
        if np.abs(step).max() < 1e-9:
            break
    return float(beta[0] / spread), float(beta[1] - beta[0] * mean / spread)


def _by_subject(judged: Judged) -> tuple[SubjectResult, ...]:
    results = []
    for subject in sorted(np.unique(judged.subject).tolist(), key=natural_key):
        for label, side in (("normal", ~judged.truth), ("blast", judged.truth)):
            rows = (judged.subject == subject) & side
            if rows.any():
                group = str(judged.group[rows][0])
                results.append(
                    SubjectResult(subject, group, label, int(rows.sum()), int(judged.called[rows].sum()))
                )
    return tuple(results)
