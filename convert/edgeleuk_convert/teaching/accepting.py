"""Whether taught heads are better than what was before, on slides that had not taught them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk_convert.teaching.validating import Measured, measured, resampled

if TYPE_CHECKING:
    from edgeleuk_convert.teaching.choices import Task
    from edgeleuk_convert.teaching.kernels import Floats, Ints

LEAST_CELLS, LEAST_SLIDES = 20, 2
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What was, what is, and whether that is better.

    A cell that is not called counts as a guess: one right in as many as there are classes.

    Attributes
    ----------
    before, after, gain : Measured
        Balanced accuracy, and how much it grew, cell for cell on the same draws.
    reasons : tuple of str
        Why the heads are refused; empty where they are not.
    """

    before: Measured
    after: Measured
    gain: Measured
    reasons: tuple[str, ...]


def accept(task: Task, before: Ints, nested: Floats, *, seed: int = 0) -> Acceptance:
    """Hold what nested validation called against what the bundle called before.

    Heads are refused that are not better by the whole of the gain's 95 % interval, or not better than
    guessing, or that too few cells or slides of a class taught.

    Parameters
    ----------
    task : Task
    before : (n,) int64
        Class that each cell was called, or `NOBODY`.
    nested : (n, K) float64
    seed : int
        Of the draws of slides and cells.
    """
    guess = 1 / len(np.unique(task.truth))
    right_before = np.where(before == NOBODY, guess, before == task.truth)
    right_after = (nested.argmax(axis=1) == task.truth).astype(np.float64)

    def balanced(right: Floats, weights: Floats) -> float:
        return float(
            np.mean(
                [
                    (weights * right)[task.truth == label].sum() / weights[task.truth == label].sum()
                    for label in np.unique(task.truth)
                ]
            )
        )

    draws = resampled(
        task.truth, task.slide, lambda w: (balanced(right_before, w), balanced(right_after, w)), seed=seed
    )
    even = np.ones(len(task.truth))
    was, now = balanced(right_before, even), balanced(right_after, even)
    columns = draws.reshape(-1, 2)
    before_, after, gain = (
        measured(was, columns[:, 0]),
        measured(now, columns[:, 1]),
        measured(now - was, columns[:, 1] - columns[:, 0]),
    )
    return Acceptance(before_, after, gain, (*_too_few(task), *_no_better(gain, after, guess)))


def _too_few(task: Task) -> list[str]:
    found = []
    for number in np.unique(task.truth).tolist():
        rows, name = task.truth == number, task.classes[number]
        cells, slides = int(rows.sum()), len(np.unique(task.slide[rows]))
        if cells < LEAST_CELLS or slides < LEAST_SLIDES:
            found.append(
                f"{cells} {name} cells of {slides} slide{'s' * (slides != 1)}: {LEAST_CELLS} cells of"
                f" {LEAST_SLIDES} slides of each class are the least"
            )
    return found


def _no_better(gain: Measured, after: Measured, guess: float) -> list[str]:
    if not gain.low > 0:
        return [
            f"not shown to be better than before: balanced accuracy {after.value - gain.value:.3f} before,"
            f" {after.value:.3f} after, the gain's 95 % interval {gain.low:+.3f} to {gain.high:+.3f}"
        ]
    if not after.low > guess:
        return [f"not shown to be better than guessing: balanced accuracy {after.low:.3f} at least"]
    return []
