"""Choose among ways to make a head by slides that none of them has seen, and say what the choice is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.heads import kind_probabilities
from edgeleuk_convert.teaching.choices import parts_by_group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edgeleuk_convert.teaching.choices import Choice, Task
    from edgeleuk_convert.teaching.kernels import Floats, Ints

OUTER, INNER = 5, 4
SHARPNESSES = tuple(float(x) for x in np.round(np.geomspace(1, 32, 21), 3))
RESAMPLES = 1000
_LEAST_P = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Validated:
    """What nested validation found.

    Attributes
    ----------
    choice : Choice
        The one that is best on all outer parts.
    sharpness : float
        Of its softmax, from scores of cells that had not taught it.
    scores : (n, K) float64
        Of `choice`, each cell's by a fit without its slide.
    nested : (n, K) float64
        Probabilities where the choice itself was made without the cell's slide: what is reported.
    losses : dict of str to float
        Balanced log loss of each way, on cells it had not seen.
    """

    choice: Choice
    sharpness: float
    scores: Floats
    nested: Floats
    losses: dict[str, float]


def validate(
    task: Task,
    choices: Sequence[Choice],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Validated:
    """Choose by nested validation over slides.

    Within each outer part's training cells, inner parts choose the way and its sharpness; the outer part's
    cells are then judged by it. The way that is taken in the end is the best over all outer parts.
    """
    outer = parts_by_group(task.slide, task.truth, OUTER, seed)
    parts = np.unique(outer)
    nested = np.zeros((len(task.truth), len(task.classes)))
    scores = [np.zeros_like(nested) for _ in choices]
    for done, part in enumerate(parts):
        taught, asked = np.flatnonzero(outer != part), np.flatnonzero(outer == part)
        best, sharpness = _best(task, choices, taught, seed)
        for choice, of_choice in zip(choices, scores, strict=True):
            of_choice[asked] = scores_of(task, choice, taught, asked)
        nested[asked] = kind_probabilities(scores[best][asked], sharpness)
        if progress is not None:
            progress(done + 1, len(parts))
    rows = np.arange(len(task.truth))
    fitted = [_sharpness(task, choice, of, rows) for choice, of in zip(choices, scores, strict=True)]
    losses = [
        log_loss(task, kind_probabilities(of, sharpness), rows)
        for of, sharpness in zip(scores, fitted, strict=True)
    ]
    best = int(np.argmin(losses))
    named = {
        f"{choice.name}" + ("" if choice.ridge is None else f", ridge {choice.ridge:g}"): loss
        for choice, loss in zip(choices, losses, strict=True)
    }
    return Validated(choices[best], fitted[best], scores[best], nested, named)


def scores_of(task: Task, choice: Choice, taught: Ints, asked: Ints) -> Floats:
    """Score cells by a choice that others taught."""
    if choice.ridge is None:
        return choice.prior.mean[asked]
    return choice.prior.scores(taught, asked, task.targets, choice.ridge / task.weights)


def log_loss(task: Task, probabilities: Floats, rows: Ints) -> float:
    """Return the mean over classes of ``-log p(true class)``."""
    p = np.maximum(probabilities[np.arange(len(rows)), task.truth[rows]], _LEAST_P)
    weights = task.weights[rows]
    return float(-(weights * np.log(p)).sum() / weights.sum())


def _best(task: Task, choices: Sequence[Choice], rows: Ints, seed: int) -> tuple[int, float]:
    """Choose among ways by parts of the cells `rows`."""
    inner = parts_by_group(task.slide[rows], task.truth[rows], INNER, seed + 1)
    losses, fitted = [], []
    for choice in choices:
        found = np.zeros((len(rows), len(task.classes)))
        for part in np.unique(inner):
            asked = inner == part
            found[asked] = scores_of(task, choice, rows[~asked], rows[asked])
        sharpness = _sharpness(task, choice, found, rows)
        fitted.append(sharpness)
        losses.append(log_loss(task, kind_probabilities(found, sharpness), rows))
    best = int(np.argmin(losses))
    return best, fitted[best]


def _sharpness(task: Task, choice: Choice, scores: Floats, rows: Ints) -> float:
    if choice.sharpness is not None:
        return choice.sharpness
    losses = [log_loss(task, kind_probabilities(scores, one), rows) for one in SHARPNESSES]
    return SHARPNESSES[int(np.argmin(losses))]


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def balanced_accuracy(truth: Ints, called: Ints, weights: Floats | None = None) -> float:
    """Return the mean over classes of the share that is called right."""
    weights = np.ones(len(truth)) if weights is None else weights
    shares = []
    for label in np.unique(truth):
        of = weights * (truth == label)
        if of.sum():
            shares.append(float((of * (called == truth)).sum() / of.sum()))
    return float(np.mean(shares)) if shares else float("nan")


def resampled(
    truth: Ints,
    slide: npt.NDArray[np.str_],
    figures: Callable[[Floats], tuple[float, ...]],
    *,
    seed: int = 0,
) -> Floats:
    """Compute figures on draws of slides, and of cells within each slide that was drawn.

    Slides are few, and cells of one are alike: both are drawn. A draw without all classes is left out.

    Parameters
    ----------
    truth : (n,) int64
    slide : (n,) str
    figures : callable
        Of (n,) weights: how often each cell was drawn.

    Returns
    -------
    (draws, figures) float64
    """
    rng = np.random.default_rng(seed)
    names, index = np.unique(slide, return_inverse=True)
    rows_of = [np.flatnonzero(index == number) for number in range(len(names))]
    classes, found = len(np.unique(truth)), []
    for _ in range(RESAMPLES):
        weights = np.zeros(len(truth))
        for number in rng.integers(len(names), size=len(names)):
            rows = rows_of[number]
            np.add.at(weights, rng.choice(rows, len(rows)), 1.0)
        if len(np.unique(truth[weights > 0])) == classes:
            found.append(figures(weights))
    return np.array(found)


def measured(value: float, draws: Floats) -> Measured:
    """Put a figure's 95 % interval beside it."""
    low, high = np.percentile(draws, (2.5, 97.5)) if len(draws) else (float("nan"), float("nan"))
    return Measured(value, float(low), float(high))
