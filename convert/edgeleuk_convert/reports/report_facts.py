"""Every number of a report, as one object that JSON can hold: `report.json`, and what the page is made of."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk import RESEARCH_USE, __version__
from edgeleuk_convert.dataset.cnmc_layouts import natural_key
from edgeleuk_convert.dataset.splits import HARD_FOLD
from edgeleuk_convert.evaluation.evaluate import judge
from edgeleuk_convert.metrics.classification import ECE_BINS, RESAMPLES, auroc, paired_drop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.evaluation.baselines import Baseline, SplitGap
    from edgeleuk_convert.evaluation.evaluate import Evaluation
    from edgeleuk_convert.metrics.classification import Judged

    Floats = npt.NDArray[np.float64]
    Facts = dict[str, Any]

SCHEMA_VERSION = 1
WORST_OF_CLASS = 12
MODEL = "model"
# The metrics in which the model is compared with the forest, on the same cells.
PAIRED = ("weighted_f1", "auroc")


@dataclass(frozen=True, slots=True)
class JudgedCells:
    """What a model said of cells.

    Attributes
    ----------
    evaluation : Evaluation
    cells : sequence of LabelledCell
    probability : (n,) float64
        Of each of them.
    folder : Path
        Where they lie.
    """

    evaluation: Evaluation
    cells: Sequence[LabelledCell]
    probability: Floats
    folder: Path


@dataclass(frozen=True, slots=True)
class Comparisons:
    """What stands beside a model: plain baselines, and the gap to a random split of images."""

    baselines: Sequence[Baseline]
    gaps: Sequence[SplitGap]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are drawn."""

    seed: int = 0
    resamples: int = RESAMPLES


BOOTSTRAP = Bootstrap()


def gather(
    judged_cells: JudgedCells,
    beside: Comparisons,
    bootstrap: Bootstrap,
    *,
    model: str,
    left_out: Sequence[LabelledCell],
    stamp: str | None,
    leakage_allowed: bool,
    record_known: bool,
) -> Facts:
    """Collect every number of the report: what `evaluate --json` prints, and more keys."""
    evaluation, cells = judged_cells.evaluation, judged_cells.cells
    probability, folder = judged_cells.probability, judged_cells.folder
    baselines, seed, resamples = beside.baselines, bootstrap.seed, bootstrap.resamples
    judged = judge(cells, probability, evaluation.threshold)
    entries = [_entry(MODEL, model, evaluation.metrics, evaluation.interval_95)]
    entries += [_entry(one.name, one.title, one.metrics, one.interval_95) for one in baselines]
    curves = [(MODEL, model, judged), *((one.name, one.title, one.judged) for one in baselines)]
    forest = next((one for one in baselines if one.name == "forest"), None)
    return {
        **evaluation.to_json(),
        "schema_version": SCHEMA_VERSION,
        "stamp": stamp,
        "leakage_allowed": leakage_allowed,
        "research_use": RESEARCH_USE,
        "edgeleuk": __version__,
        "model": model,
        "record_known": record_known,
        "data": str(folder),
        "resamples": resamples,
        "n": _counts(cells),
        "left_out_groups": _groups(left_out),
        "subjects_table": _subjects(evaluation),
        "confusion": _confusion(judged),
        "compared": entries,
        "baselines_fitted_on": None
        if not baselines
        else {
            "what": baselines[0].fitted_on,
            "cells": baselines[0].training_cells,
            "groups": baselines[0].training_groups,
        },
        "against_forest": None if forest is None else _against(judged, forest.judged, seed, resamples),
        "roc": [_roc(name, title, one) for name, title, one in curves],
        "reliability": _reliability(judged),
        "hard_fold": _hard_fold(cells, curves),
        "split_gaps": [_gap(gap) for gap in beside.gaps],
        "worst": _worst(cells, probability, judged, folder),
    }


def wilson_95(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, `n` at least 1 (J. Am. Stat. Assoc. 22:209, 1927).

    Examples
    --------
    >>> [round(end, 3) for end in wilson_95(8, 10)]
    [0.49, 0.943]
    """
    z = 1.959964
    share, spread = right / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def _entry(
    name: str, title: str, metrics: dict[str, float], interval: dict[str, tuple[float, float]]
) -> Facts:
    ends = {key: list(pair) for key, pair in interval.items()}
    return {"name": name, "title": title, **metrics, "interval_95": ends}


def _counts(cells: Sequence[LabelledCell]) -> dict[str, int]:
    counts = {"cells": len(cells), "groups": len({cell.group for cell in cells})}
    counts["subjects"] = len({cell.subject for cell in cells})
    for label in ("blast", "normal"):
        of_label = [cell for cell in cells if cell.label == label]
        counts[f"{label}_cells"] = len(of_label)
        counts[f"{label}_subjects"] = len({cell.subject for cell in of_label})
    return counts


def _groups(cells: Sequence[LabelledCell]) -> list[Facts]:
    members: dict[str, list[LabelledCell]] = {}
    for cell in cells:
        members.setdefault(cell.group or "", []).append(cell)
    return [
        {
            "group": name,
            "subjects": sorted({cell.subject or "" for cell in members[name]}, key=natural_key),
            "cells": len(members[name]),
        }
        for name in sorted(members, key=natural_key)
    ]


def _subjects(evaluation: Evaluation) -> list[Facts]:
    table = []
    for one in evaluation.by_subject:
        right = one.called_blast if one.label == "blast" else one.cells - one.called_blast
        table.append({
            "subject": one.subject,
            "group": one.group,
            "label": one.label,
            "cells": one.cells,
            "right": right,
            "share": right / one.cells,
            "wilson_95": list(wilson_95(right, one.cells)),
        })  # fmt: skip
    return sorted(table, key=lambda entry: (entry["label"] == "blast", entry["share"]))


def _confusion(judged: Judged) -> dict[str, int]:
    truth, called = judged.truth, judged.called
    return {
        "blast_called_blast": int((truth & called).sum()),
        "blast_called_normal": int((truth & ~called).sum()),
        "normal_called_blast": int((~truth & called).sum()),
        "normal_called_normal": int((~truth & ~called).sum()),
    }


def _against(model: Judged, forest: Judged, seed: int, resamples: int) -> Facts:
    """Model minus forest on the same cells, with what may be said of it."""
    facts: Facts = {}
    for metric in PAIRED:
        difference, draws = paired_drop(model, forest, metric, resamples=resamples, seed=seed)
        low, high = (float(end) for end in np.nanpercentile(draws, (2.5, 97.5)))
        verdict = "better" if low > 0 else "worse" if high < 0 else "undecided"
        facts[metric] = {"difference": difference, "interval_95": [low, high], "verdict": verdict}
    return facts


def _roc(name: str, title: str, judged: Judged) -> Facts:
    order = np.argsort(-judged.probability, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(judged.probability[order]) != 0, True))
    true = np.concatenate([[0], np.cumsum(judged.truth[order])[ends]]) / judged.truth.sum()
    false = np.concatenate([[0], np.cumsum(~judged.truth[order])[ends]]) / (~judged.truth).sum()
    return {
        "name": name,
        "title": title,
        "auroc": auroc(judged.truth, judged.probability),
        "false_positive_rate": np.round(false, 5).tolist(),
        "true_positive_rate": np.round(true, 5).tolist(),
    }


def _reliability(judged: Judged) -> list[Facts]:
    """Return, for each bin of probability that has cells, what was said and what was true."""
    which = np.minimum((judged.probability * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    return [
        {
            "from": number / ECE_BINS,
            "to": (number + 1) / ECE_BINS,
            "cells": int((which == number).sum()),
            "mean_probability": float(judged.probability[which == number].mean()),
            "blasts": float(judged.truth[which == number].mean()),
        }
        for number in np.unique(which).tolist()
    ]


def _hard_fold(cells: Sequence[LabelledCell], curves: Sequence[tuple[str, str, Judged]]) -> Facts | None:
    """AUROC on the cells of the official fold whose healthy cells are as large as blasts."""
    hard = np.array([cell.fold == HARD_FOLD for cell in cells])
    truth = curves[0][2].truth[hard]
    if not truth.any() or truth.all():
        return None
    return {
        "fold": HARD_FOLD,
        "blast_cells": int(truth.sum()),
        "normal_cells": int((~truth).sum()),
        "subjects": len({cell.subject for cell, is_hard in zip(cells, hard, strict=True) if is_hard}),
        "auroc": [
            {"title": title, "auroc": auroc(truth, judged.probability[hard])} for _, title, judged in curves
        ],
    }


def _gap(gap: SplitGap) -> Facts:
    return {
        "title": gap.title,
        "grouped_cells": gap.grouped_cells,
        "random_cells": gap.random_cells,
        "metrics": {
            name: {
                "grouped": gap.grouped[name],
                "random": gap.random[name],
                "gap": gap.random[name] - gap.grouped[name],
                "interval_95": None if gap.interval_95 is None else list(gap.interval_95[name]),
            }
            for name in ("weighted_f1", "accuracy", "auroc", "sensitivity", "specificity")
        },
    }


def _worst(
    cells: Sequence[LabelledCell], probability: Floats, judged: Judged, folder: Path
) -> dict[str, list[Facts]]:
    """Return, for each class, the cells whose probability is farthest from the truth."""
    worst = {}
    for label, side in (("normal", ~judged.truth), ("blast", judged.truth)):
        rows = np.flatnonzero(side)
        order = rows[np.argsort(-np.abs(probability - judged.truth)[rows], kind="stable")]
        worst[label] = [
            {
                "file": cells[row].path.relative_to(folder).as_posix(),
                "subject": cells[row].subject,
                "probability": float(probability[row]),
                "wrong": bool(judged.called[row] != judged.truth[row]),
            }
            for row in order[:WORST_OF_CLASS].tolist()
        ]
    return worst
