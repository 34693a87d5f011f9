"""Judge folds by what they taught nothing, and average over folds and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.classifier.decision import calibrated
from edgeleuk_convert.dataset.splits import HARD_FOLD
from edgeleuk_convert.evaluation.costs import Cost  # noqa: TC001 - msgspec looks at it
from edgeleuk_convert.evaluation.evaluate import judge
from edgeleuk_convert.metrics.classification import METRICS, Judged, metrics_of_resamples
from edgeleuk_convert.training.out_of_fold import Answers, out_of_fold_output
from edgeleuk_convert.training.plan import TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import OutputContract
    from edgeleuk_convert.dataset.cells import LabelledCell

    Floats = npt.NDArray[np.float64]


# Behind the name of an architecture whose logit a forest on plain numbers joins.
WITH_FOREST = " + forest"
# The AUROC on the cells of the hard official fold alone.
HARD_AUROC = "hard_auroc"


@dataclass(frozen=True, slots=True)
class Scores:
    """A method on all folds.

    Attributes
    ----------
    title : str
    parameters : int or None
        None for what is no network.
    folds : tuple of dict
        For each fold, each of `METRICS` and `HARD_AUROC`, the mean over the seeds.
    mean : dict
        The mean over the folds.
    interval_95 : dict
        Of the mean: bootstrap over the groups of every fold.
    seeds : tuple of dict
        The mean over the folds, for each seed.
    cost : Cost or None
        None for what is no network.
    """

    title: str
    parameters: int | None
    folds: tuple[dict[str, float], ...]
    mean: dict[str, float]
    interval_95: dict[str, tuple[float, float]]
    seeds: tuple[dict[str, float], ...]
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A network less the first one, on the same draws of the same groups.

    Attributes
    ----------
    of, against : str
        Titles.
    mean : dict
        For each of `METRICS` and `HARD_AUROC`, the mean over folds and seeds.
    interval_95 : dict
    """

    of: str
    against: str
    mean: dict[str, float]
    interval_95: dict[str, tuple[float, float]]


def fold_output(
    run: Sequence[Answers], fold: int, tests: Sequence[Sequence[LabelledCell]], *, forest: bool
) -> OutputContract:
    """Fit what makes decisions of a fold's answers, to none of its cells.

    Parameters
    ----------
    run : sequence of Answers
        One of each fold, in order, of one architecture and seed.
    fold : int
    tests : sequence of sequence of LabelledCell
        The cells of each fold.
    forest : bool
        Whether the forest's answers join the network's.
    """
    inner = run[fold].inner
    return out_of_fold_output(
        [one for one in run if one.fold != fold] if inner is None else [inner],
        [cell for number, cells in enumerate(tests) if number != fold for cell in cells],
        sensitivity=TrainingSettings().sensitivity,
        forest=forest,
    )


def judged_folds(
    run: Sequence[Answers], tests: Sequence[Sequence[LabelledCell]], *, forest: bool
) -> list[Judged]:
    """Judge each fold by what it taught nothing; parameters as for `fold_output`."""
    judged = []
    for fold, test in enumerate(tests):
        output = fold_output(run, fold, tests, forest=forest)
        logits = np.array([run[fold].logits[cell.sha256] for cell in test])
        log_odds = np.array([run[fold].forest[cell.sha256] for cell in test])
        judged.append(judge(test, calibrated(logits, output, log_odds), output.threshold))
    return judged


def scores_of(
    title: str,
    parameters: int | None,
    judged: Sequence[Sequence[Judged]],
    tests: Sequence[Sequence[LabelledCell]],
    resamples: int,
) -> Scores:
    """Average over seeds and folds; `judged` holds, for each seed, one of each fold."""
    points, drawn = _points_and_draws(judged, tests, resamples)

    def mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {name: mean_of_known([row[name] for row in rows]) for name in drawn}

    folds = tuple(mean([run[fold] for run in points]) for fold in range(len(tests)))
    interval = {name: _interval(values) for name, values in drawn.items()}
    return Scores(title, parameters, folds, mean(folds), interval, tuple(mean(run) for run in points))


def difference_of(
    titles: tuple[str, str],
    judged: Sequence[Sequence[Judged]],
    against: Sequence[Sequence[Judged]],
    tests: Sequence[Sequence[LabelledCell]],
    resamples: int,
) -> Difference:
    """Compare two networks, draw by draw; parameters as for `scores_of`."""
    (points, drawn), (before, drawn_before) = (
        _points_and_draws(one, tests, resamples) for one in (judged, against)
    )

    def mean(of: Sequence[Sequence[Mapping[str, float]]], name: str) -> float:
        return mean_of_known([fold[name] for run in of for fold in run])

    return Difference(
        *titles,
        {name: mean(points, name) - mean(before, name) for name in drawn},
        {name: _interval(drawn[name] - drawn_before[name]) for name in drawn},
    )


def _points_and_draws(
    judged: Sequence[Sequence[Judged]], tests: Sequence[Sequence[LabelledCell]], resamples: int
) -> tuple[list[list[dict[str, float]]], dict[str, Floats]]:
    """Return the metrics of each seed's folds, and of each draw of groups the mean over seeds and folds."""
    hard = [np.array([cell.fold == HARD_FOLD for cell in test]) for test in tests]
    points, spreads = [], []
    for run in judged:
        of_folds, of_resamples = [], []
        for one, of_hard in zip(run, hard, strict=True):
            drawn = metrics_of_resamples(one, resamples=resamples)
            drawn[HARD_AUROC] = _hard_auroc(one, of_hard, resamples)
            # The first row is the cells as they are.
            of_folds.append({name: float(values[0]) for name, values in drawn.items()})
            of_resamples.append({name: values[1:] for name, values in drawn.items()})
        points.append(of_folds)
        spreads.append(of_resamples)
    means = {
        name: np.array([mean_of_known(of_draw) for of_draw in zip(*of_folds, strict=True)])
        for name in (*METRICS, HARD_AUROC)
        for of_folds in [[fold[name] for run in spreads for fold in run]]
    }
    return points, means


def _interval(drawn: Floats) -> tuple[float, float]:
    """Return the middle 95 % of what is known."""
    known = drawn[np.isfinite(drawn)]
    low, high = np.percentile(known, (2.5, 97.5)) if known.size else (np.nan, np.nan)
    return float(low), float(high)


def _hard_auroc(judged: Judged, hard: npt.NDArray[np.bool_], resamples: int) -> npt.NDArray[np.float64]:
    rows = Judged(*(getattr(judged, name)[hard] for name in judged.__dataclass_fields__))
    if len(np.unique(rows.truth)) < 2:
        return np.full(resamples + 1, np.nan)
    return metrics_of_resamples(rows, resamples=resamples)["auroc"]


def mean_of_known(values: Sequence[float]) -> float:
    """Average over what is known; NaN where nothing is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
