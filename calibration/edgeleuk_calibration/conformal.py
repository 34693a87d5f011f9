"""Prediction sets that hold the truth for a new subject's cell with a stated probability, class by class.

Cells of one subject resemble each other, so what is exchangeable are subjects, not cells. Each subject's
cells share one weight, and so does the subject to come, whose scores may be anything: at infinity.
Sources: Vovk, "Conditional validity of inductive conformal predictors", 2012 (Mondrian: a limit for each
class); Dunn, Wasserman and Ramdas, "Distribution-Free Prediction Sets for Two-Layer Hierarchical Models",
JASA 2023 (pooled distribution functions); Lee, Barber and Willett, "Distribution-free inference with
hierarchical data", 2023 (with the mass at infinity the coverage holds for finitely many subjects).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.manifest import Conformal
from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from edgeleuk_calibration.probability import Bools, Floats, Names

# No score lies above: a class of this limit is in every set.
LARGEST_SCORE = 1.0
_DIGITS = 4


def fit_conformal(probability: Floats, truth: Bools, subject: Names, *, alpha: float = 0.1) -> Conformal:
    """Find the limit of each class.

    Parameters
    ----------
    probability : (n,) float64
        Calibrated, of the positive class, of cells that taught neither the network nor the calibration.
    truth : (n,) bool
    subject : (n,) str
        Subjects that share cells are one: pass groups.
    alpha : float
        Share of new subjects' cells whose set may lack their class. A class needs ``1 / alpha - 1`` subjects;
        with fewer its limit is 1 and it stays in every set.

    Raises
    ------
    UsageError
        `alpha` is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise UsageError("alpha is out of range", got=alpha, allowed="above 0, below 1")
    sides = ((~truth, probability), (truth, 1 - probability))
    limits = tuple(subject_limit(score[side], subject[side], alpha=alpha) for side, score in sides)
    subjects = tuple(len(np.unique(subject[side])) for side, _ in sides)
    return Conformal(alpha=alpha, limits=(limits[0], limits[1]), subjects=(subjects[0], subjects[1]))


def subject_limit(scores: Floats, subject: Names, *, alpha: float) -> float:
    """Return the ``1 - alpha`` quantile of scores, k subjects and the one to come weighing the same.

    Each of a subject's n cells weighs ``1 / ((k + 1) n)``; the remaining ``1 / (k + 1)`` lies at infinity.

    Parameters
    ----------
    scores : (n,) float64
        How ill a cell fits its class, 0 to 1.
    subject : (n,) str
    alpha : float

    Returns
    -------
    float
        Rounded up; 1 where the quantile is at infinity.

    Examples
    --------
    >>> subject_limit(np.array([0.1, 0.2, 0.9]), np.array(["a", "a", "b"]), alpha=0.5)
    0.9
    >>> subject_limit(np.array([0.1, 0.2, 0.9]), np.array(["a", "a", "b"]), alpha=0.3)
    1.0
    """
    names, index, counts = np.unique(subject, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1 / counts[index][order]) / (len(names) + 1)
    # Sums of many parts fall short of the whole by rounding.
    at = int(np.searchsorted(reached, 1 - alpha - 1e-12))
    if at >= len(scores):
        return LARGEST_SCORE
    step = 10.0**_DIGITS
    return min(LARGEST_SCORE, math.ceil(float(scores[order[at]]) * step - 1e-9) / step)
