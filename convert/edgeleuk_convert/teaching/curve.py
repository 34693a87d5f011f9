"""What more labels would be worth: balanced accuracy with fewer of those that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.bundle.heads import kind_probabilities
from edgeleuk_convert.teaching.choices import parts_by_group
from edgeleuk_convert.teaching.validating import OUTER, balanced_accuracy, scores_of

if TYPE_CHECKING:
    from edgeleuk_convert.teaching.choices import Task
    from edgeleuk_convert.teaching.kernels import Ints
    from edgeleuk_convert.teaching.validating import Validated

SHARES, DRAWS = (0.25, 0.5, 0.75, 1.0), 4
MORE = 50


class CurvePoint(NamedTuple):
    """Balanced accuracy with so many labels of other slides, the mean of some draws of them."""

    labels: int
    balanced_accuracy: float


class LearningCurve(NamedTuple):
    """What labels are worth.

    Attributes
    ----------
    points : tuple of CurvePoint
    weakest : str
        Class that is called right least often.
    worth : float or None
        What `MORE` labels more may add; None where the points tell nothing.
    """

    points: tuple[CurvePoint, ...]
    weakest: str
    worth: float | None


def learning_curve(task: Task, validated: Validated, *, seed: int = 0) -> LearningCurve:
    """Teach the choice with fewer labels, and judge the slides that it has not seen.

    What more labels may add is read from ``error = a + b / sqrt(labels)``, fitted to the points.
    """
    rng = np.random.default_rng(seed)
    outer = parts_by_group(task.slide, task.truth, OUTER, seed)
    points = []
    for share in SHARES:
        found, taught_by = [], []
        for _ in range(DRAWS if share < 1 else 1):
            scores = np.zeros((len(task.truth), len(task.classes)))
            for part in np.unique(outer):
                asked, taught = np.flatnonzero(outer == part), np.flatnonzero(outer != part)
                some = _some(task, taught, share, rng)
                taught_by.append(len(some))
                scores[asked] = scores_of(task, validated.choice, some, asked)
            shares = kind_probabilities(scores, validated.sharpness)
            found.append(balanced_accuracy(task.truth, shares.argmax(axis=1)))
        points.append(CurvePoint(round(float(np.mean(taught_by))), float(np.mean(found))))
    called = validated.nested.argmax(axis=1)
    present = np.unique(task.truth)
    right = [float((called == task.truth)[task.truth == label].mean()) for label in present]
    return LearningCurve(tuple(points), task.classes[present[int(np.argmin(right))]], _worth(points))


def _some(task: Task, rows: Ints, share: float, rng: np.random.Generator) -> Ints:
    """Draw a share of the cells of each class, at least one."""
    kept = []
    for label in np.unique(task.truth[rows]):
        of = rows[task.truth[rows] == label]
        kept.append(rng.choice(of, max(1, round(share * len(of))), replace=False))
    return np.sort(np.concatenate(kept))


def _worth(points: list[CurvePoint]) -> float | None:
    labels = np.array([point.labels for point in points], np.float64)
    if len(np.unique(labels)) < 3:
        return None
    design = np.column_stack([np.ones(len(labels)), 1 / np.sqrt(labels)])
    error = np.array([1 - point.balanced_accuracy for point in points])
    slope = float(np.linalg.lstsq(design, error, rcond=None)[0][1])
    return max(0.0, slope * float(labels[-1] ** -0.5 - (labels[-1] + MORE) ** -0.5))
