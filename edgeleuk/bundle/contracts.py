"""What a network answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Answer:
    """What a network says of n cells, in real numbers.

    Attributes
    ----------
    outputs : (n, K) float32
        As the output contract says; the last column is the positive class.
    features : (n, F) float32 or None
        The pooled features that the last layer sees; None where the network does not give them.
    """

    outputs: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32] | None = None

    @staticmethod
    def stacked(answers: Sequence[Answer]) -> Answer:
        """Put one or more answers of one network together, in their order."""
        features = [answer.features for answer in answers if answer.features is not None]
        outputs = np.concatenate([answer.outputs for answer in answers])
        return Answer(outputs, np.concatenate(features) if features else None)
