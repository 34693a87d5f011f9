"""What support vectors and forest say of a fold's own training cells, each cell unseen: nested folds.

A network of support vectors takes its features as they come, so that folds within the folds cost seconds.
What makes decisions of a fold's answers is then fitted to cells that neither network nor forest has learned
from, and the fold that judges them taught none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk_convert.dataset.cnmc import LABELS
from edgeleuk_convert.dataset.splits import grouped_folds
from edgeleuk_convert.training.augmentation import sampling_weights
from edgeleuk_convert.training.forest import fit_forest
from edgeleuk_convert.training.out_of_fold import InnerAnswers
from edgeleuk_convert.training.support_vectors import fit_support

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.training.plan import TrainingSettings

    Features = npt.NDArray[np.float32]
    Floats = npt.NDArray[np.float64]

# A quarter of the groups answers, so that what is fitted is close to what all of them teach.
INNER_FOLDS = 4


def inner_answers(
    cells: Sequence[LabelledCell], features: Features, numbers: Floats, settings: TrainingSettings
) -> InnerAnswers | None:
    """Fit support vectors and forest on all inner folds but one, and ask them for that one, in turn.

    Parameters
    ----------
    cells : sequence of LabelledCell
        Those to learn from, each image once.
    features : (n, F) float32
    numbers : (n, 14) float64
    settings : TrainingSettings

    Returns
    -------
    InnerAnswers or None
        Of `INNER_FOLDS`, or of as many as a class has groups; None where that is one.
    """
    folds = min(INNER_FOLDS, *(len({c.group for c in cells if c.label == label}) for label in LABELS))
    if folds < 2:
        return None
    # Another seed than the outer folds', lest the deals resemble each other.
    of_group = grouped_folds(cells, folds, settings.split_seed + 1)
    fold = np.array([of_group[cell.group or ""] for cell in cells])
    truth = np.array([cell.label == "blast" for cell in cells])
    logits, odds = np.zeros(len(cells)), np.zeros(len(cells))
    for number in range(folds):
        known, asked = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        of = [cells[row] for row in known.tolist()]
        weights = sampling_weights(
            of, subject_cap=settings.subject_cap, size_balanced=settings.size_balanced
        ) * len(of)
        support = fit_support(features[known], truth[known], weights, landmarks=settings.landmarks)
        logits[asked] = support.log_odds(features[asked])
        odds[asked] = fit_forest(of, numbers[known], seed=settings.seed).log_odds(numbers[asked])
    hashes = [cell.sha256 for cell in cells]
    return InnerAnswers(
        folds=folds,
        logits=dict(zip(hashes, logits.tolist(), strict=True)),
        forest=dict(zip(hashes, odds.tolist(), strict=True)),
    )
