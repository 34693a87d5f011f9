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
# About 95 %. Chosen on BCISC: see docs/models.md.
STANDARD_ERRORS = 2.0
_LEAST_P = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Validated:
    """What nested validation found.

    Attributes
    ----------
    choice : Choice
        The one that is chosen by all outer parts; see `chosen`.
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
    of_cells = np.array(
        [
            cell_losses(task, kind_probabilities(of, sharpness), rows)
            for of, sharpness in zip(scores, fitted, strict=True)
        ]
    )
    best, losses = chosen(choices, of_cells), of_cells.mean(axis=1).tolist()
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
    return float(cell_losses(task, probabilities, rows).mean())


def cell_losses(task: Task, probabilities: Floats, rows: Ints) -> Floats:
    """Return ``-log p(true class)`` of each cell, weighted so that their mean is that over classes."""
    p = np.maximum(probabilities[np.arange(len(rows)), task.truth[rows]], _LEAST_P)
    weights = task.weights[rows]
    found: Floats = -weights * np.log(p) / weights.mean()
    return found


def chosen(choices: Sequence[Choice], losses: Floats) -> int:
    """Choose the way of the least loss, or the usual one where that is not shown to be better.

    With few labels the least of many losses is luck. So the usual way is left only for one whose loss is less
    by more than `STANDARD_ERRORS` of the difference, cell for cell.

    Parameters
    ----------
    choices : sequence of Choice
    losses : (C, n) float64
        Of each cell by each choice; see `cell_losses`.
    """
    best = int(np.argmin(losses.mean(axis=1)))
    for usual in (number for number, choice in enumerate(choices) if choice.usual):
        more = losses[usual] - losses[best]
        if more.mean() <= STANDARD_ERRORS * more.std() / np.sqrt(len(more)):
            return usual
    return best


def _best(task: Task, choices: Sequence[Choice], rows: Ints, seed: int) -> tuple[int, float]:
    """Choose among ways by parts of the cells `rows`."""
    inner = parts_by_group(task.slide[rows], task.truth[rows], INNER, seed + 1)
    losses, fitted = np.empty((len(choices), len(rows))), []
    for number, choice in enumerate(choices):
        found = np.zeros((len(rows), len(task.classes)))
        for part in np.unique(inner):
            asked = inner == part
            found[asked] = scores_of(task, choice, rows[~asked], rows[asked])
        sharpness = _sharpness(task, choice, found, rows)
        fitted.append(sharpness)
        losses[number] = cell_losses(task, kind_probabilities(found, sharpness), rows)
    best = chosen(choices, losses)
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
