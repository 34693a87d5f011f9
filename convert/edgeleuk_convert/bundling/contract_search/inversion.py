"""Networks that say the opposite of the labels are not converted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.errors import CheckFailedError
from edgeleuk.inference.log_odds import log_odds
from edgeleuk_calibration.probability import sigmoid
from edgeleuk_calibration.selection import select_balanced
from edgeleuk_convert.dataset.cnmc import LABELS
from edgeleuk_convert.evaluation.evaluate import judge
from edgeleuk_convert.metrics.classification import metrics_of_resamples
from edgeleuk_convert.quantization.calibration_data import RealInput, keras_answers

if TYPE_CHECKING:
    from edgeleuk_convert.dataset.seen_cells import SeenCells
    from edgeleuk_convert.training.record import TrainingRecord

# Enough to tell an AUROC of .15 from one of .85.
CELLS = 240
# Of each class; an interval over fewer says nothing.
LEAST_GROUPS = 3


def refuse_inverted(model: Any, name: str, record: TrainingRecord, held_out: SeenCells) -> None:
    """Refuse a float network whose answers rise where the labels say normal.

    Parameters
    ----------
    model : keras.Model
    name : str
        Of its file.
    record : TrainingRecord
        How it is fed, and what its answers mean.
    held_out : SeenCells
        Cells that it is judged by.

    Raises
    ------
    CheckFailedError
        Its AUROC is below .5 by its 99 % interval over groups, of which there are at least three of each
        class.
    """
    groups = {(cell.label, cell.group) for cell in held_out.cells}
    if min(sum(label == side for label, _ in groups) for side in LABELS) < LEAST_GROUPS:
        return
    chosen = select_balanced(held_out.cells, min(CELLS, len(held_out.cells))).images
    rows = [row for row, cell in enumerate(held_out.cells) if cell in set(chosen)]
    outputs = keras_answers(model, RealInput(held_out.tensors[rows], record.input))
    if not np.isfinite(outputs).all():
        return
    probability = sigmoid(log_odds(outputs, record.output))
    judged = judge([held_out.cells[row] for row in rows], probability, record.output.threshold)
    area, *resampled = metrics_of_resamples(judged)["auroc"]
    low, high = (float(end) for end in np.nanpercentile(resampled, (0.5, 99.5)))
    if high < 0.5:
        raise CheckFailedError(
            f"the classes of {name} are the other way round",
            got=f"AUROC {area:.2f} ({low:.2f} to {high:.2f}, 99 %) on {len(rows)} held-out cells,"
            f" {record.output.positive_label} being positive",
            allowed="an interval that reaches .5",
            cure="give output.labels of the contract in the other order, or let `edgeleuk contract` find out"
            " which is which",
        )
