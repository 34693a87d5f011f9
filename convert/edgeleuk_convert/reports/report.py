"""A report that cannot mislead: ``report.html`` for people and ``report.json`` with the same numbers.

Beside the model always stand the baselines; beside every number stand how many cells or subjects it is
from and, where it makes sense, an interval. A run that was allowed to leak says so at the top of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.classifier.cell_features import morphology_numbers
from edgeleuk.errors import UsageError
from edgeleuk.vision.fingerprints import Fingerprint, fingerprint
from edgeleuk_convert.dataset import leakage
from edgeleuk_convert.dataset.measuring import measure
from edgeleuk_convert.environment import replace_file
from edgeleuk_convert.evaluation.baselines import SplitGap, forest_split_gap, judge_baselines
from edgeleuk_convert.evaluation.evaluate import Evaluation, evaluate_with, require_unseen, unseen
from edgeleuk_convert.reports.report_facts import BOOTSTRAP, Bootstrap, Comparisons, JudgedCells, gather

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.frames import CellCrop
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import CellSet, LabelledCell
    from edgeleuk_convert.evaluation.evaluate import Predict
    from edgeleuk_convert.training.record import TrainingRecord

    Floats = npt.NDArray[np.float64]
    Facts = dict[str, Any]

HTML, JSON = "report.html", "report.json"


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and from what.

    Attributes
    ----------
    html, json : Path
    evaluation : Evaluation
    stamp : str or None
        Of a run or a training with `allow_leakage`: every other output has to carry it too.
    facts : dict
        The content of ``report.json``.
    """

    html: Path
    json: Path
    evaluation: Evaluation
    stamp: str | None
    facts: Facts


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """What a report is about: a network, a bundle, or anything else that says how likely a blast is.

    Attributes
    ----------
    predict : callable
        As for `evaluate_with`: crops -> (n,) probability of being a blast.
    name : str
        What the model is called.
    record : TrainingRecord or None
        Tells what was seen in training. Those groups are left out, and the baselines fitted on them.
    threshold : float
    """

    predict: Predict
    name: str
    record: TrainingRecord | None
    threshold: float


def report_on(
    model: JudgedModel,
    data: CellSet,
    folder: Path,
    *,
    allow_leakage: bool = False,
    random_split: Evaluation | None = None,
    bootstrap: Bootstrap = BOOTSTRAP,
    progress: Progress | None = None,
) -> Report:
    """Judge a model, a network and a bundle alike, beside the baselines, and write the report.

    Parameters
    ----------
    model : JudgedModel
    data : CellSet
    folder : Path
        Where ``report.html`` and ``report.json`` go; made where it is missing.
    allow_leakage : bool
        Judge every labelled cell, seen ones too, and stamp the report. A network whose training was
        stamped stamps it too.
    random_split : Evaluation, optional
        The same architecture and settings trained and judged under a split of images at random, on
        request: it needs a training of its own. The forest's gap is always there.
    bootstrap : Bootstrap
        Its seed is also the forest's.
    progress : callable, optional
        Told (cells done, cells in all): measuring first, then judging.

    Raises
    ------
    DataRefusedError
        A cell stands in training and among the judged ones, as itself or photographed twice.
    UsageError
        The folder cannot be written.
    """
    make_folder(folder)
    record, seed, resamples = model.record, bootstrap.seed, bootstrap.resamples
    fresh, seen = unseen(data.cells, record)
    if not allow_leakage:
        require_unseen(fresh, seen, record)
    judged_cells = data.labelled if allow_leakage else fresh
    measured = _measured((*seen, *fresh), progress)
    found = leakage.refuse_or_stamp(seen, judged_cells, measured.prints, allow_leakage=allow_leakage)
    stamp = leakage.with_training_stamp(
        leakage.joined_stamps(data.stamp, found), None if record is None else record.stamp
    )
    evaluation = evaluate_with(
        model.predict,
        data,
        record=None if allow_leakage else record,
        threshold=model.threshold,
        resamples=resamples,
        seed=seed,
        progress=progress,
    )
    probability = np.array(
        [evaluation.probabilities[cell.path.relative_to(data.folder).as_posix()] for cell in judged_cells]
    )
    baselines = judge_baselines(
        seen, judged_cells, measured.of(seen), measured.of(judged_cells), seed=seed, resamples=resamples
    )
    gaps = [forest_split_gap(measured.cells, measured.numbers, seed=seed, resamples=resamples)]
    if random_split is not None:
        gaps.append(model_split_gap(model.name, evaluation, random_split))
    facts = gather(
        JudgedCells(evaluation, judged_cells, probability, data.folder),
        Comparisons(baselines, [gap for gap in gaps if gap is not None]),
        bootstrap,
        model=model.name,
        left_out=() if allow_leakage else seen,
        stamp=stamp,
        leakage_allowed=allow_leakage,
        record_known=record is not None,
    )
    html, json = write_report(folder, facts, data.folder)
    return Report(html, json, evaluation, stamp, facts)


@dataclass(frozen=True, slots=True)
class _Measured:
    """Cells, their (n, 14) float64 numbers, and by path where each stands and its fingerprint."""

    cells: tuple[LabelledCell, ...]
    numbers: Floats
    rows: dict[Path, int]
    prints: dict[Path, Fingerprint]

    def of(self, cells: Sequence[LabelledCell]) -> Floats:
        """Return the numbers of some of the cells, in their order."""
        return np.asarray(self.numbers[[self.rows[cell.path] for cell in cells]])


def _measured(cells: tuple[LabelledCell, ...], progress: Progress | None) -> _Measured:
    measured = measure(cells, _numbers_and_print, progress=progress)
    return _Measured(
        cells,
        np.array([of_cell for of_cell, _ in measured]).reshape(len(cells), -1),
        {cell.path: n for n, cell in enumerate(cells)},
        {cell.path: one for cell, (_, one) in zip(cells, measured, strict=True)},
    )


def write_report(folder: Path, facts: Facts, data: Path) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.json``, each beside first, then renamed.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    facts : dict
        From `gather`.
    data : Path
        Folder of the cells, for the pictures of the worst.

    Returns
    -------
    html, json : Path
    """
    from edgeleuk_convert.reports.report_html import render
    from edgeleuk_convert.reports.report_plots import figures, thumbnails

    make_folder(folder)
    # As the file will have it: what is not a number becomes null in both.
    encoded = msgspec.json.encode(facts)
    decoded = msgspec.json.decode(encoded)
    page = render(decoded, figures(decoded), thumbnails(decoded, data))
    html, json = folder / HTML, folder / JSON
    replace_file(html, page.encode())
    replace_file(json, msgspec.json.format(encoded, indent=1))
    return html, json


def model_split_gap(model: str, grouped: Evaluation, random: Evaluation) -> SplitGap:
    """Put a model under an honest split beside the same one trained under a random split of images."""
    return SplitGap(f"{model}, trained again", grouped.metrics, random.metrics, grouped.cells, random.cells)


def _numbers_and_print(crop: CellCrop) -> tuple[Floats, Fingerprint]:
    return morphology_numbers(crop), fingerprint(crop.pixels)


def make_folder(folder: Path) -> None:
    """Make the folder of a report, with a `UsageError` where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            "the report's folder cannot be made", got=f"{folder} ({error.strerror})", cure="give another"
        ) from error
