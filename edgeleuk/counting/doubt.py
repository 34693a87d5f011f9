"""Which cells are worth a second look: the doubtful ones, and a random sample of the others.

The random numbers are permanent (Ohlsson, in "Business Survey Methods", Wiley 1995): whoever knows the seed
and the number of a cell knows its draw. The cells with the smallest draws are a random sample.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from typing import TYPE_CHECKING

from edgeleuk.results import Decision

if TYPE_CHECKING:
    from edgeleuk.results import Prediction

# A called cell is near the threshold where the odds of another call are at most so many to one against it.
NEAR_ODDS = 4.0
# So many of the cells that nothing is wrong with are asked for: of none that is called wrongly among them,
# the exact 95 % limit of the error is 3.6 %.
SAMPLE = 100


def is_near(
    decision: Decision, probability: float | None, kind_probability: float | None, threshold: float
) -> bool:
    """Whether a cell that was called might as well have been called otherwise.

    Parameters
    ----------
    decision : Decision
    probability : float or None
        Of a blast.
    kind_probability : float or None
    threshold : float
        Probability at and above which a cell is called a blast.

    Examples
    --------
    >>> is_near(Decision.BLAST, 0.99, None, 0.5), is_near(Decision.BLAST, 0.6, None, 0.5)
    (False, True)
    """
    if kind_probability is not None and _odds(kind_probability) <= NEAR_ODDS:
        return True
    asked = decision is not Decision.OTHER and probability is not None
    return asked and abs(math.log(_odds(probability or 0.0) / _odds(threshold))) <= math.log(NEAR_ODDS)


def is_doubtful(prediction: Prediction, threshold: float) -> bool:
    """Whether a cell is uncertain, unlike those of the training, not judged, or near the threshold."""
    probability = None if math.isnan(prediction.probability) else prediction.probability
    return prediction.decision is Decision.UNCERTAIN or is_near(
        prediction.decision, probability, prediction.kind_probability, threshold
    )


def _odds(probability: float) -> float:
    kept = min(max(probability, 1e-12), 1 - 1e-12)
    return kept / (1 - kept)


def draw(seed: str, track: int) -> int:
    """Return the permanent random number of a cell.

    Examples
    --------
    >>> draw("ab", 1) == draw("ab", 1) != draw("ab", 2)
    True
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {track}".encode()).digest()[:8], "big")


class RunningSample:
    """Takes cells as they come, so that those of a random sample of each name are among the taken ones.

    It takes a cell whose draw is among the `size` smallest of its name until now. Of n cells these are about
    ``size * (1 + ln(n / size))``: a thousand in a night.

    Parameters
    ----------
    seed : str
        Of the draws.
    size : int
        How many of each name the sample has.

    Examples
    --------
    >>> sample = RunningSample("ab", 2)
    >>> taken = [track for track in range(1000) if sample.takes("blast", track)]
    >>> smallest = sorted(range(1000), key=lambda track: draw("ab", track))[:2]
    >>> set(smallest) <= set(taken), len(taken) < 30
    (True, True)
    """

    def __init__(self, seed: str, size: int = SAMPLE) -> None:
        self._seed = seed
        self._size = size
        # Of each name the smallest draws, negated: the largest of them comes first.
        self._smallest: dict[str, list[int]] = {}

    def takes(self, name: str, track: int) -> bool:
        """Whether a cell of a name is taken; of one that was asked for before, whether it still is."""
        drawn, smallest = -draw(self._seed, track), self._smallest.setdefault(name, [])
        if drawn in smallest:
            return True
        if len(smallest) < self._size:
            heapq.heappush(smallest, drawn)
            return True
        return heapq.heappushpop(smallest, drawn) != drawn
