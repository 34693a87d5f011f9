"""What plain numbers reach on the same cells: no score of a network means anything without them.

Each baseline is fitted on the groups that the network was trained on and judged on the same cells, with
the same metrics and intervals. Where the folder holds no training cells, the baselines are fitted on the
other groups of the judged cells, fold by fold, and say so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeleuk.classifier.cell_features import COLOUR, NAMES
from edgeleuk_convert.dataset.cnmc import LABELS
from edgeleuk_convert.dataset.splits import grouped_folds
from edgeleuk_convert.environment import scikit_learn
from edgeleuk_convert.evaluation.evaluate import area_baseline, judge
from edgeleuk_convert.metrics.classification import (
    RESAMPLES,
    balanced_weights,
    interval_95,
    paired_drop,
    point_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.metrics.classification import Judged

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Name = Literal["area", "colour", "logistic", "forest"]

# Each baseline, and what it is called in a report.
TITLES: dict[Name, str] = {
    "area": "area alone",
    "colour": "mean colour alone",
    "logistic": "14 numbers, logistic regression",
    "forest": "14 numbers, random forest",
}
THRESHOLD = 0.5
TREES = 300
LEAST_IN_LEAF = 5
# Of the split by group and by image, and of baselines fitted on the judged cells' other groups.
MOST_FOLDS = 5

TRAINING_GROUPS = "the model's training groups"
OTHER_GROUPS = "the other judged groups"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one baseline reached.

    Attributes
    ----------
    name : str
        A key of `TITLES`.
    fitted_on : str
        `TRAINING_GROUPS` or `OTHER_GROUPS`.
    training_cells, training_groups : int
        What it was fitted on; with `OTHER_GROUPS`, what all folds together had.
    judged : Judged
    metrics : dict
        Each of `metrics.METRICS`; called a blast from `THRESHOLD` on.
    interval_95 : dict
    """

    name: Name
    fitted_on: str
    training_cells: int
    training_groups: int
    judged: Judged
    metrics: dict[str, float]
    interval_95: dict[str, tuple[float, float]]

    @property
    def title(self) -> str:
        """What it is called in a report."""
        return TITLES[self.name]


@dataclass(frozen=True, slots=True)
class SplitGap:
    """One method judged under an honest split and under a random split of the images.

    Attributes
    ----------
    title : str
        The method, and what was done.
    grouped, random : dict
        Metrics; each says how many cells it is from.
    grouped_cells, random_cells : int
    interval_95 : dict of str to (low, high) or None
        Of random minus grouped, over groups, where both were judged on the same cells.
    """

    title: str
    grouped: dict[str, float]
    random: dict[str, float]
    grouped_cells: int
    random_cells: int
    interval_95: dict[str, tuple[float, float]] | None = None


def judge_baselines(
    train: Sequence[LabelledCell],
    test: Sequence[LabelledCell],
    train_numbers: Floats,
    test_numbers: Floats,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[Baseline, ...]:
    """Fit and judge every baseline.

    Parameters
    ----------
    train, test : sequence of LabelledCell
        Labelled cells; `train` may be empty.
    train_numbers, test_numbers : (n, 14) float64
        Rows of `morphology_numbers`.
    seed : int
        Of the forest, of the folds and of the bootstrap.
    resamples : int

    Returns
    -------
    tuple of Baseline
        In the order of `TITLES`; empty where there are too few groups to fit on.
    """
    if {cell.label for cell in train} == set(LABELS):
        fitted_on, on = TRAINING_GROUPS, train
        answers = _answers(train, train_numbers, test, test_numbers, seed)
    else:
        fitted_on, on = OTHER_GROUPS, test
        folds = most_folds(test)
        if folds < 2:
            return ()
        of_group = grouped_folds(test, folds, seed)
        fold = np.array([of_group[cell.group or ""] for cell in test])
        answers = {name: np.empty(len(test)) for name in TITLES}
        for number in range(folds):
            out = fold == number
            parts = _answers(_rows(test, ~out), test_numbers[~out], _rows(test, out), test_numbers[out], seed)
            for name, part in parts.items():
                answers[name][out] = part
    groups = len({cell.group for cell in on})
    judged = {name: judge(test, answer, THRESHOLD) for name, answer in answers.items()}
    return tuple(
        Baseline(
            name,
            fitted_on,
            len(on),
            groups,
            one,
            point_metrics(one),
            interval_95(one, resamples=resamples, seed=seed),
        )
        for name, one in judged.items()
    )


def forest_split_gap(
    cells: Sequence[LabelledCell], numbers: Floats, *, seed: int = 0, resamples: int = RESAMPLES
) -> SplitGap | None:
    """Judge the forest on all cells twice: folds by group, and folds by random image.

    Parameters
    ----------
    cells : sequence of LabelledCell
        Labelled.
    numbers : (n, 14) float64

    Returns
    -------
    SplitGap or None
        Same forest, same cells, same number of folds: only who stands on both sides differs. None
        where there are too few groups.
    """
    folds = most_folds(cells)
    if folds < 2:
        return None
    of_group = grouped_folds(cells, folds, seed)
    by_group = np.array([of_group[cell.group or ""] for cell in cells])
    by_image = np.random.default_rng(seed).permutation(len(cells)) % folds
    grouped, random = (
        judge(cells, _forest_out_of_fold(cells, numbers, fold, seed), THRESHOLD)
        for fold in (by_group, by_image)
    )
    metrics = point_metrics(grouped)
    interval = {}
    for name in metrics:
        _, drops = paired_drop(random, grouped, name, resamples=resamples, seed=seed)
        low, high = np.nanpercentile(drops, (2.5, 97.5))
        interval[name] = (float(low), float(high))
    title = f"{TITLES['forest']}, {folds} folds"
    return SplitGap(title, metrics, point_metrics(random), len(cells), len(cells), interval)


def most_folds(cells: Sequence[LabelledCell]) -> int:
    """Return how many folds by group these cells allow, at most `MOST_FOLDS`; 0 or 1 is too few."""
    blasts: Counter[str] = Counter()
    for cell in cells:
        blasts[cell.group or ""] += 1 if cell.label == "blast" else -1
    of_class = (sum(n > 0 for n in blasts.values()), sum(n <= 0 for n in blasts.values()))
    return min(MOST_FOLDS, *of_class)


def fit(
    name: Name, cells: Sequence[LabelledCell], numbers: Floats, *, seed: int = 0
) -> Callable[[Floats], Floats]:
    """Fit one baseline that lives on `numbers`; classes weigh the same, and so do groups up to 40 cells.

    Returns
    -------
    callable
        (n, 14) numbers to (n,) probability of blast.
    """
    with scikit_learn():
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    columns = list(COLOUR) if name == "colour" else list(range(len(NAMES)))
    truth = np.array([cell.label == "blast" for cell in cells])
    weights = balanced_weights(truth, np.array([cell.group or "" for cell in cells])) * len(cells)
    model: Any
    if name == "forest":
        model = RandomForestClassifier(TREES, min_samples_leaf=LEAST_IN_LEAF, random_state=seed)
        model.fit(numbers[:, columns], truth, sample_weight=weights)
    else:
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(numbers[:, columns], truth, logisticregression__sample_weight=weights)

    def probability(rows: Floats) -> Floats:
        return np.asarray(model.predict_proba(rows[:, columns])[:, 1], np.float64)

    return probability


def _answers(
    train: Sequence[LabelledCell],
    train_numbers: Floats,
    test: Sequence[LabelledCell],
    test_numbers: Floats,
    seed: int,
) -> dict[Name, Floats]:
    """Return the probability that each baseline gives to each cell of `test`."""
    # The one that stands in every evaluation: the same number here as there.
    area = area_baseline(train, judge(test, np.zeros(len(test)), THRESHOLD))
    answers: dict[Name, Floats] = {}
    if area is not None:
        answers["area"] = area.probability
    for name in TITLES:
        if name != "area":
            answers[name] = fit(name, train, train_numbers, seed=seed)(test_numbers)
    return answers


def _forest_out_of_fold(
    cells: Sequence[LabelledCell], numbers: Floats, fold: npt.NDArray[np.integer[Any]], seed: int
) -> Floats:
    answer = np.empty(len(cells))
    for number in np.unique(fold):
        out = fold == number
        answer[out] = fit("forest", _rows(cells, ~out), numbers[~out], seed=seed)(numbers[out])
    return answer


def _rows(cells: Sequence[LabelledCell], chosen: npt.NDArray[np.bool_]) -> list[LabelledCell]:
    return [cell for cell, wanted in zip(cells, chosen, strict=True) if wanted]
