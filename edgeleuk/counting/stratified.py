"""Counts after a review: cells that people looked at are known, the others are estimated, stratum by stratum.

A stratum is what the queue of a review draws from at random: cells of one machine's call and of one reason to
look. Of its N cells some were chosen by a reader and say nothing of the others; the cells drawn in their
turn are a simple random sample of the rest. The estimate for the cells that nobody looked at is the share of
that sample (Cochran, "Sampling Techniques", 3rd edition, 1977, chapter 5). Where no cell of a stratum was
drawn there is no estimate.

The 95 % interval of one stratum is exact for a finite population: the hypergeometric tails, inverted
(Buonaccorsi, "A Note on Confidence Intervals for Proportions in Finite Populations", The American
Statistician 41, 1987). Those of all strata are joined by their distances from the estimates, squared and
added (Zou, Huang and Zhang, "A note on confidence interval estimation for a linear function of binomial
proportions", Computational Statistics and Data Analysis 53, 2009): no sample without a find is taken for
certainty. All cells looked at leave no width. The coverage is tested by simulation.

The counts are those of this session's cells. What they say of the slide has the binomial interval of any
count on top; see `edgeleuk.counting.differential`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

LEVEL = 0.95
KeyT = TypeVar("KeyT")


@dataclass(frozen=True, slots=True)
class Looks:
    """One stratum, and what people called those of its cells that they looked at.

    Attributes
    ----------
    cells : int
        All of the stratum.
    drawn : Counter of str
        By name, cells that were looked at in the random order of the queue, none before them left out.
    chosen : Counter of str
        By name, the others that were looked at.
    """

    cells: int
    drawn: Counter[str] = field(default_factory=Counter)
    chosen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.looked > self.cells or min([0, *self.drawn.values(), *self.chosen.values()]) < 0:
            msg = f"expected at most {self.cells} looks and none below 0, got {self.looked}"
            raise ValueError(msg)

    @property
    def looked(self) -> int:
        """Cells that somebody looked at."""
        return self.drawn.total() + self.chosen.total()

    @property
    def left(self) -> int:
        """Cells that nobody looked at."""
        return self.cells - self.looked

    @property
    def inclusion(self) -> float:
        """Probability with which a cell that nobody chose was drawn."""
        others = self.cells - self.chosen.total()
        return self.drawn.total() / others if others else 1.0


class CountEstimate(Printed, frozen=True, kw_only=True):
    """How many cells are called something after a review.

    Attributes
    ----------
    seen : int
        Cells that were looked at and called so.
    estimate : float or None
        Of all cells; None where some stratum has no random look.
    low, high : float
        The 95 % interval. Where there is no estimate, it reckons with any name for the cells of the strata
        without a random look.
    reason : str or None
        Why there is no estimate.
    """

    seen: int
    estimate: float | None
    low: float
    high: float
    reason: str | None


class ShareEstimate(Printed, frozen=True, kw_only=True):
    """A share of the cells after a review, with its 95 % interval; None of what there is no estimate of."""

    share: float | None
    low: float | None
    high: float | None
    reason: str | None


class _Part(NamedTuple):
    """What is estimated of the cells of one stratum that nobody looked at."""

    estimate: float
    low: float
    high: float


class Reviewed(Generic[KeyT]):
    """All strata of a session.

    Parameters
    ----------
    strata : mapping
        By a key that says which stratum it is.
    named : callable
        Names a stratum, by its key, in a sentence.
    """

    def __init__(self, strata: Mapping[KeyT, Looks], named: Callable[[KeyT], str] = str) -> None:
        self.strata = dict(strata)
        self._named = named

    def count(self, belongs: Callable[[KeyT, str], bool], *, level: float = LEVEL) -> CountEstimate:
        """Estimate how many cells belong to something.

        Parameters
        ----------
        belongs : callable
            Told the key of the stratum and what people called the cell.
        level : float
            Of the interval.

        Examples
        --------
        >>> looks = Looks(100, drawn=Counter(blast=2, normal=18), chosen=Counter(blast=1))
        >>> found = Reviewed({"rest": looks}).count(lambda _, name: name == "blast")
        >>> found.seen, round(found.estimate, 1), found.low, found.high
        (3, 10.9, 3.0, 30.0)
        """
        seen, parts = 0, []
        without = [key for key, looks in self.strata.items() if looks.left and not looks.drawn.total()]
        for key, looks in self.strata.items():
            drawn = sum(number for name, number in looks.drawn.items() if belongs(key, name))
            seen += drawn + sum(number for name, number in looks.chosen.items() if belongs(key, name))
            if looks.left and key not in without:
                parts.append(_part(looks, drawn, level))
        middle = seen + sum(part.estimate for part in parts)
        below = math.sqrt(sum((part.estimate - part.low) ** 2 for part in parts))
        above = math.sqrt(sum((part.high - part.estimate) ** 2 for part in parts))
        most = seen + sum(looks.left for looks in self.strata.values())
        # Cells are whole, and those that were seen are there.
        low = min(math.floor(middle), max(seen, math.ceil(middle - below - _ROUNDING)))
        high = max(math.ceil(middle), min(most, math.floor(middle + above + _ROUNDING)))
        if without:
            # Whatever those cells are, the count lies between these.
            high = min(most, high + sum(self.strata[key].left for key in without))
            return CountEstimate(
                seen=seen, estimate=None, low=float(low), high=float(high), reason=self._reason(without)
            )
        return CountEstimate(seen=seen, estimate=middle, low=float(low), high=float(high), reason=None)

    def share(self, of: Callable[[KeyT, str], bool], among: Callable[[KeyT, str], bool]) -> ShareEstimate:
        """Estimate a share of this session's cells.

        It grows with the cells that belong and falls with the others, so that its limits are those of both
        counts. Each of these has half the error, and the interval is rather too wide than too narrow
        (Bonferroni's inequality).

        Parameters
        ----------
        of, among : callable
            See `count`; `of` is told of cells that are `among` only.
        """
        level = 1 - (1 - LEVEL) / 2
        own = self.count(lambda key, name: among(key, name) and of(key, name), level=level)
        others = self.count(lambda key, name: among(key, name) and not of(key, name), level=level)
        if own.estimate is None or others.estimate is None:
            return ShareEstimate(share=None, low=None, high=None, reason=own.reason)
        if own.estimate + others.estimate == 0:
            return ShareEstimate(share=None, low=None, high=None, reason="no cell is known to belong there")
        return ShareEstimate(
            share=own.estimate / (own.estimate + others.estimate),
            low=_ratio(own.low, others.high),
            high=_ratio(own.high, others.low),
            reason=None,
        )

    def _reason(self, without: list[KeyT]) -> str:
        cells = sum(self.strata[key].left for key in without)
        named = [self._named(key) for key in without[:_NAMED_AT_MOST]]
        more = f" and {len(without) - len(named)} more" if len(without) > len(named) else ""
        return f"nobody looked at a random cell of: {', '.join(named)}{more} ({cells} cells)"


_NAMED_AT_MOST = 3
# Less than any cell, and more than sums of fractions are off.
_ROUNDING = 1e-6


def _ratio(own: float, others: float) -> float:
    return own / (own + others) if own + others else 0.0


def _part(looks: Looks, found: int, level: float) -> _Part:
    drawn = looks.drawn.total()
    low, high = hypergeometric_limits(found, drawn, looks.cells - looks.chosen.total(), level=level)
    return _Part(looks.left * found / drawn, low - found, high - found)


@lru_cache(maxsize=4096)
def hypergeometric_limits(found: int, drawn: int, cells: int, *, level: float = LEVEL) -> tuple[int, int]:
    """Return the exact limits of how many of some cells are of a kind, of which a random sample tells.

    Parameters
    ----------
    found : int
        Of the sample, that are.
    drawn : int
        Cells in the sample, without replacement.
    cells : int
        All, those of the sample among them.
    level : float

    Examples
    --------
    >>> hypergeometric_limits(0, 20, 100), hypergeometric_limits(3, 10, 10)
    ((0, 15), (3, 3))
    """
    if not 0 <= found <= drawn <= cells:
        msg = f"expected 0 <= found <= drawn <= cells, got {found}, {drawn} and {cells}"
        raise ValueError(msg)
    tail = (1 - level) / 2
    least, most = found, cells - (drawn - found)
    # The more there are, the likelier are so many: the first that is not too unlikely.
    low = _first(least, most, lambda there: _at_least(found, drawn, cells, there) > tail)
    high = -_first(-most, -least, lambda there: 1 - _at_least(found + 1, drawn, cells, -there) > tail)
    return low, high


def _first(least: int, most: int, holds: Callable[[int], bool]) -> int:
    """Return the least number for which something holds that goes on to hold; `most` is one."""
    while least < most:
        middle = (least + most) // 2
        if holds(middle):
            most = middle
        else:
            least = middle + 1
    return least


def _at_least(found: int, drawn: int, cells: int, there: int) -> float:
    """Return the probability of at least so many in the sample, where so many are there."""
    logs = _log_factorials(cells)
    numbers = np.arange(max(found, drawn - (cells - there)), min(drawn, there) + 1)
    if numbers.size == 0:
        return 0.0
    others = cells - there
    of_them = logs[there] - logs[numbers] - logs[there - numbers]
    of_others = logs[others] - logs[drawn - numbers] - logs[others - drawn + numbers]
    every = logs[cells] - logs[drawn] - logs[cells - drawn]
    return min(1.0, float(np.exp(of_them + of_others - every).sum()))


@lru_cache(maxsize=8)
def _log_factorials(most: int) -> npt.NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])
