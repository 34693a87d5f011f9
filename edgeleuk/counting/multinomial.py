"""Simultaneous 95 % intervals for the shares of several kinds.

In 95 of 100 counts all of the shares are inside their intervals, not only each alone. There are three ways:

- `exact_intervals`: exact binomial (Clopper-Pearson) intervals, with the error of 5 % divided by the number
  of kinds (Bonferroni). Its coverage is at least 95 % whatever the shares are.
- `goodman_intervals`: Goodman, "On simultaneous confidence intervals for multinomial proportions",
  Technometrics 7 (1965), 247-254, with the division by the number of kinds that he proposes there.
- `sison_glaz_intervals`: Sison and Glaz, "Simultaneous confidence intervals and sample size determination
  for multinomial proportions", Journal of the American Statistical Association 90 (1995), 366-369.

`simultaneous_intervals`, which the differential uses, is the first. Only it holds where kinds are rare. By
simulation with 20 to 500 cells and 3 to 8 kinds its coverage is .958 or more. Goodman's falls to .71 (20
cells, three kinds of half a per cent each), and is still .93 with 500 cells of that smear. Sison and Glaz's
falls to .81 (20 cells of eight equal kinds), and to .83 with 100 cells of one dominant kind. The exact
intervals are up to 13 % longer than Goodman's with 20 cells and 4 % with 200; where kinds are rare they are
as long or shorter.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgeleuk.results import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Of 100 counts so many may miss a share.
ALPHA = 0.05
Intervals: TypeAlias = list[tuple[float, float]]


def simultaneous_intervals(counts: Sequence[int]) -> Intervals:
    """Return the interval of each kind's share, such that all hold at once in 95 % of counts.

    Parameters
    ----------
    counts : sequence of int
        Of each kind that was asked for, those without a cell included. At least one kind.

    Returns
    -------
    list of (low, high)
        0 to 1, in the order of the counts; (0, 1) of no cells.

    Raises
    ------
    ValueError
        If there is no kind, or a count below 0.

    Examples
    --------
    >>> [(round(low, 3), round(high, 3)) for low, high in simultaneous_intervals([60, 40, 0])]
    [(0.476, 0.716), (0.284, 0.524), (0.0, 0.047)]
    """
    return exact_intervals(counts)


def exact_intervals(counts: Sequence[int]) -> Intervals:
    """Return exact binomial intervals, each with its part of the error; see `simultaneous_intervals`."""
    total = _total(counts)
    return [clopper_pearson(count, total, ALPHA / len(counts)) for count in counts]


def goodman_intervals(counts: Sequence[int]) -> Intervals:
    """Return Goodman's intervals; see `simultaneous_intervals`.

    Examples
    --------
    >>> [(round(low, 3), round(high, 3)) for low, high in goodman_intervals([60, 40, 0])]
    [(0.48, 0.709), (0.291, 0.52), (0.0, 0.054)]
    """
    total = _total(counts)
    if total == 0:
        return [(0.0, 1.0)] * len(counts)
    # Of one degree of freedom, chi squared is a normal variable's square.
    squared = NormalDist().inv_cdf(1 - ALPHA / (2 * len(counts))) ** 2
    found = []
    for count in counts:
        half = math.sqrt(squared * (squared + 4 * count * (total - count) / total))
        low, high = ((squared + 2 * count + sign * half) / (2 * (total + squared)) for sign in (-1, 1))
        # Rounding must not leave the ends just inside.
        found.append((low if count else 0.0, high if count < total else 1.0))
    return found


def sison_glaz_intervals(counts: Sequence[int]) -> Intervals:
    """Return Sison and Glaz's intervals, all of the same width before they are cut at 0 and 1.

    The probability that all counts are near their means is computed by Levin's formula, "A representation for
    multinomial cumulative distribution functions", Annals of Statistics 9 (1981); they approximate it. Where
    all cells are of one kind that tells nothing, and the intervals are Goodman's. See
    `simultaneous_intervals`.

    Examples
    --------
    >>> [(round(low, 3), round(high, 3)) for low, high in sison_glaz_intervals([60, 40, 0])]
    [(0.51, 0.692), (0.31, 0.492), (0.0, 0.092)]
    """
    total = _total(counts)
    if max(counts) == total:
        return goodman_intervals(counts)
    # At 10 standard deviations the probability is 1.
    few, enough = 0, 5 * math.isqrt(total) + 5
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if _probability_within(middle, counts) >= 1 - ALPHA else (middle, enough)
    below, above = (_probability_within(distance, counts) for distance in (few, enough))
    further = 2 * max(0.0, 1 - ALPHA - below) / (above - below)
    return [(max(0.0, (count - few) / total), min(1.0, (count + few + further) / total)) for count in counts]


def _probability_within(distance: int, counts: Sequence[int]) -> float:
    """Probability that new counts with these means differ by at most a distance each."""
    total, start = sum(counts), 0
    together: NDArray[np.float64] = np.ones(1)
    for count in counts:
        if count:
            least = max(0, count - distance)
            terms = [_poisson(value, count) for value in range(least, count + distance + 1)]
            together = np.convolve(together, terms)
            start += least
    return float(together[total - start]) / _poisson(total, total)


def _poisson(value: int, mean: float) -> float:
    return math.exp(value * math.log(mean) - mean - math.lgamma(value + 1))


def _total(counts: Sequence[int]) -> int:
    if not counts or min(counts) < 0:
        msg = f"expected counts of 0 or more, of one kind at least, got {list(counts)}"
        raise ValueError(msg)
    return sum(counts)
