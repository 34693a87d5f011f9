"""What a training on every subject is worth: a cross-validation stands in for held-out subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.errors import DataRefusedError
from edgeleuk_convert.evaluation.fold_scores import HARD_AUROC, judged_folds, mean_of_known, scores_of
from edgeleuk_convert.metrics.classification import METRICS, RESAMPLES, Judged, metrics_of_resamples
from edgeleuk_convert.training.record import CrossValidated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.training.out_of_fold import Answers

    Floats = npt.NDArray[np.float64]

AT_SENSITIVITY = 0.9


def cross_validated(
    cells: Sequence[LabelledCell],
    answers: Sequence[Answers],
    *,
    forest: bool,
    resamples: int = RESAMPLES,
) -> CrossValidated:
    """Sum up what a cross-validation's networks said of cells that they had not seen.

    Parameters
    ----------
    cells : sequence of LabelledCell
        All that the network learns from.
    answers : sequence of Answers
        Of one architecture.
    forest : bool
        Whether the forest's answers join the network's.
    resamples : int
        Of the bootstrap.

    Raises
    ------
    DataRefusedError
        See `folds_of`.
    """
    runs, tests = folds_of(cells, answers)
    judged = [judged_folds(run, tests, forest=forest) for run in runs]
    scores = scores_of("", None, judged, tests, resamples)
    pooled = [metrics_of_resamples(_joined(run), resamples=resamples) for run in judged]
    inner = {one.inner.folds if one.inner is not None else None for run in runs for one in run}
    known = [name for name in (*METRICS, HARD_AUROC) if np.isfinite(scores.mean[name])]
    return CrossValidated(
        folds=len(tests),
        seeds=tuple(run[0].seed for run in runs),
        inner_folds=inner.pop() if len(inner) == 1 else None,
        cells=len(cells),
        subjects=len({cell.subject for cell in cells}),
        groups=len({cell.group for cell in cells}),
        mean={name: scores.mean[name] for name in known},
        interval_95={name: scores.interval_95[name] for name in known},
        pooled={name: float(np.mean([one[name][0] for one in pooled])) for name in METRICS},
        pooled_interval_95={name: _interval(pooled, name) for name in METRICS},
        specificity_at_90=mean_of_known([_specificity(one) for run in judged for one in run]),
    )


def folds_of(
    cells: Sequence[LabelledCell], answers: Sequence[Answers]
) -> tuple[list[list[Answers]], list[list[LabelledCell]]]:
    """Find the folds that a cross-validation's answers are of.

    Parameters
    ----------
    cells : sequence of LabelledCell
    answers : sequence of Answers
        Of one architecture.

    Returns
    -------
    runs : list of list of Answers
        For each seed, one of each fold, in order.
    tests : list of list of LabelledCell
        The cells of each fold.

    Raises
    ------
    DataRefusedError
        A cell was not answered for, or a group stands in two folds.
    """
    by_seed: dict[int, dict[int, Answers]] = {}
    for one in answers:
        by_seed.setdefault(one.seed, {})[one.fold] = one
    most = max(len(run) for run in by_seed.values())
    runs = [[run[fold] for fold in sorted(run)] for _, run in sorted(by_seed.items()) if len(run) == most]
    fold_of = {sha256: number for number, one in enumerate(runs[0]) for sha256 in one.logits}
    answered = set.intersection(*({sha256 for one in run for sha256 in one.logits} for run in runs))
    missing = [cell for cell in cells if cell.sha256 not in answered]
    if missing:
        raise DataRefusedError(
            "the answers do not tell of every cell to learn from",
            got=f"{len(missing)} of {len(cells)} without an answer, such as {missing[0].path.name}",
            cure="cross-validate on the same images, or hold subjects out",
        )
    tests: list[list[LabelledCell]] = [[] for _ in runs[0]]
    for cell in cells:
        tests[fold_of[cell.sha256]].append(cell)
    _require_whole_groups(tests)
    _require_same_folds(runs, fold_of)
    return runs, tests


def _require_whole_groups(tests: Sequence[Sequence[LabelledCell]]) -> None:
    fold_of: dict[str, int] = {}
    for number, test in enumerate(tests):
        for cell in test:
            if fold_of.setdefault(cell.group or "", number) != number:
                raise DataRefusedError(
                    "a group of subjects stands in two folds of the cross-validation",
                    got=f"group {cell.group}",
                    cure="cross-validate again, on the images as they are now",
                )


def _require_same_folds(runs: Sequence[Sequence[Answers]], fold_of: Mapping[str, int]) -> None:
    for run in runs[1:]:
        for number, one in enumerate(run):
            if any(fold_of.get(sha256) != number for sha256 in one.logits):
                raise DataRefusedError(
                    "the seeds of the cross-validation do not have the same folds",
                    got=f"seeds {runs[0][0].seed} and {one.seed}",
                    cure="cross-validate into an empty folder",
                )


def _joined(run: Sequence[Judged]) -> Judged:
    return Judged(
        *(np.concatenate([getattr(one, name) for one in run]) for name in Judged.__dataclass_fields__)
    )


def _interval(drawn: Sequence[Mapping[str, Floats]], name: str) -> tuple[float, float]:
    low, high = np.nanpercentile(np.concatenate([one[name][1:] for one in drawn]), (2.5, 97.5))
    return float(low), float(high)


def _specificity(judged: Judged) -> float:
    """Mean over subjects, at the highest threshold that has `AT_SENSITIVITY` as mean over subjects."""
    sides = []
    for side in (judged.truth, ~judged.truth):
        subject, probability = judged.subject[side], judged.probability[side]
        sides.append([probability[subject == name] for name in np.unique(subject)])
    blasts, normals = sides
    for threshold in np.unique(judged.probability)[::-1]:
        if np.mean([(of >= threshold).mean() for of in blasts]) >= AT_SENSITIVITY:
            return float(np.mean([(of < threshold).mean() for of in normals]))
    return float("nan")
