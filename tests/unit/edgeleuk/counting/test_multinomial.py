"""Simultaneous intervals: published examples, laws, and how often all shares are inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk.counting.multinomial import (
    exact_intervals,
    goodman_intervals,
    simultaneous_intervals,
    sison_glaz_intervals,
)
from edgeleuk.results import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeleuk.counting.multinomial import Intervals

WAYS = (simultaneous_intervals, exact_intervals, goodman_intervals, sison_glaz_intervals)
COUNTS = st.lists(st.integers(0, 60), min_size=1, max_size=8)
# Of a smear's kinds, and of what is hard: rare kinds, kinds that are not there, one dominant kind.
SHARES = {
    "three equal kinds": [1 / 3] * 3,
    "eight equal kinds": [1 / 8] * 8,
    "a healthy smear": [0.55, 0.03, 0.025, 0.005, 0.06, 0.32, 0.005, 0.005],
    "mostly blasts": [0.9, 0.08, 0.01, 0.01, 0, 0],
    "kinds that are not there": [0.7, 0.3, 0, 0, 0],
    "one dominant kind": [0.97, 0.01, 0.01, 0.01],
}
SIZES = (20, 60, 150, 500)
SIMULATED = 3000
# The samples of Sison and Glaz's paper, and the limits printed there and by R's MultinomialCI.
DICE = [56, 72, 73, 59, 62, 87, 58]
FIFTY = [1] * 10 + [12] * 10 + [5] * 10 + [3] * 10 + [4] * 10


@pytest.mark.parametrize(
    ("counts", "limits"),
    [
        (
            DICE,
            [
                (0.0792291, 0.1643361),
                (0.1134904, 0.1985973),
                (0.1156317, 0.2007386),
                (0.0856531, 0.1707601),
                (0.0920771, 0.1771840),
                (0.1456103, 0.2307172),
                (0.0835118, 0.1686187),
            ],
        ),
        ([5] * 50, [(0, 0.0530403)] * 50),
        (
            FIFTY,
            [(0, 0.0412012)] * 10
            + [(0.012, 0.0852012)] * 10
            + [(0, 0.0572012)] * 10
            + [(0, 0.0492012)] * 10
            + [(0, 0.0532012)] * 10,
        ),
    ],
)
def test_sison_and_glazs_own_examples(counts: list[int], limits: list[tuple[float, float]]) -> None:
    # They approximate a probability that is computed here, hence the fourth digit.
    assert np.allclose(sison_glaz_intervals(counts), limits, atol=1.5e-4)


@pytest.mark.parametrize(
    ("counts", "limits"),
    [
        (
            DICE,
            [
                (0.085, 0.166),
                (0.115, 0.204),
                (0.116, 0.207),
                (0.091, 0.173),
                (0.096, 0.181),
                (0.143, 0.239),
                (0.089, 0.171),
            ],
        ),
        ([5] * 50, [(0.005, 0.075)] * 50),
        (
            FIFTY,
            [(0, 0.049)] * 10
            + [(0.019, 0.114)] * 10
            + [(0.005, 0.075)] * 10
            + [(0.002, 0.062)] * 10
            + [(0.004, 0.069)] * 10,
        ),
    ],
)
def test_goodmans_limits_for_the_same_samples(counts: list[int], limits: list[tuple[float, float]]) -> None:
    assert np.allclose(goodman_intervals(counts), limits, atol=6e-4)


def test_goodmans_limits_as_a_package_of_r_prints_them() -> None:
    """CoinMinD's example."""
    lows = [0.09468368, 0.12376893, 0.09208527, 0.06412671, 0.15637944, 0.18692732]
    highs = [0.1966413, 0.2350489, 0.1931040, 0.1535697, 0.2760670, 0.3130119]
    found = goodman_intervals([44, 55, 43, 32, 67, 78])
    assert np.allclose(found, list(zip(lows, highs, strict=True)), atol=1e-7)


def test_of_one_kind_the_exact_interval_is_the_binomial_one() -> None:
    assert exact_intervals([7]) == [clopper_pearson(7, 7)]
    # Of nothing among n cells, the upper end is where n misses have the probability that is left.
    high = exact_intervals([0, 100])[0][1]
    assert (1 - high) ** 100 == pytest.approx(0.05 / 4)


@pytest.mark.parametrize("way", WAYS)
class TestLaws:
    @given(counts=COUNTS)
    @settings(max_examples=40, deadline=None)
    def test_the_share_is_inside_and_nothing_leaves_0_to_1(
        self, way: Callable[[Sequence[int]], Intervals], counts: list[int]
    ) -> None:
        total = sum(counts)
        for count, (low, high) in zip(counts, way(counts), strict=True):
            assert 0 <= low <= high <= 1
            # No cell of a kind does not show that there are none.
            assert high > 0
            if total:
                assert low - 1e-12 <= count / total <= high + 1e-12
            else:
                assert (low, high) == (0, 1)

    @given(counts=COUNTS, data=st.data())
    @settings(max_examples=25, deadline=None)
    def test_the_order_does_not_matter(
        self, way: Callable[[Sequence[int]], Intervals], counts: list[int], data: st.DataObject
    ) -> None:
        order = data.draw(st.permutations(range(len(counts))))
        found = way(counts)
        again = way([counts[index] for index in order])
        assert np.allclose(again, [found[index] for index in order], atol=1e-9)

    def test_more_cells_make_shorter_intervals(self, way: Callable[[Sequence[int]], Intervals]) -> None:
        widths = [sum(high - low for low, high in way([6 * n, 3 * n, n])) for n in (5, 50, 500)]
        assert widths == sorted(widths, reverse=True)

    @pytest.mark.parametrize("counts", [[], [3, -1]])
    def test_what_are_no_counts(self, way: Callable[[Sequence[int]], Intervals], counts: list[int]) -> None:
        with pytest.raises(ValueError, match="counts of 0 or more"):
            way(counts)


def simulate(shares: list[float], size: int) -> NDArray[np.int64]:
    return np.random.default_rng(size).multinomial(size, shares, SIMULATED)


def table_of(
    way: Callable[[Sequence[int]], Intervals], kinds: int, counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Intervals by count, of the ways where a kind's own count and the total decide."""
    size = int(counts[0].sum())
    table = np.full((size + 1, 2), np.nan)
    for count in np.unique(counts):
        table[count] = way([int(count), size - int(count)] + [0] * (kinds - 2))[0]
    return table


def coverage(intervals: NDArray[np.float64], shares: list[float]) -> float:
    inside = (intervals[..., 0] <= shares) & (shares <= intervals[..., 1])
    return float(inside.all(axis=1).mean())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SHARES)
def test_the_coverage_of_what_is_used_holds(name: str, size: int) -> None:
    shares = SHARES[name]
    counts = simulate(shares, size)
    found = coverage(table_of(simultaneous_intervals, len(shares), counts)[counts], shares)
    # Three standard errors of the simulation.
    assert found >= 0.95 - 3 * (0.95 * 0.05 / SIMULATED) ** 0.5


def test_goodmans_does_not_hold_for_rare_kinds() -> None:
    """Why it is not used: one cell of a rare kind is enough to miss its share."""
    shares = SHARES["a healthy smear"]
    for size, most in ((20, 0.75), (60, 0.88), (500, 0.94)):
        counts = simulate(shares, size)
        assert coverage(table_of(goodman_intervals, len(shares), counts)[counts], shares) < most


def test_sison_and_glazs_does_not_hold_for_few_cells() -> None:
    """Why it is not used: it takes the shares that were counted for the true ones."""
    shares = SHARES["one dominant kind"]
    counts = simulate(shares, 100)[:1000]
    distinct, which = np.unique(np.sort(counts, axis=1), axis=0, return_inverse=True)
    sorted_intervals = np.array([sison_glaz_intervals(row.tolist()) for row in distinct])[which.ravel()]
    ranks = np.argsort(np.argsort(counts, axis=1, kind="stable"), axis=1, kind="stable")
    intervals = np.take_along_axis(sorted_intervals, ranks[..., None], axis=1)
    assert coverage(intervals, shares) < 0.88


@pytest.mark.parametrize("name", SHARES)
def test_the_price_in_length_is_small(name: str) -> None:
    """Of 200 cells the intervals that hold are at most 5 % longer than Goodman's."""
    shares = SHARES[name]
    counts = simulate(shares, 200)
    exact, goodman = (
        np.diff(table_of(way, len(shares), counts)[counts]).mean()
        for way in (exact_intervals, goodman_intervals)
    )
    assert exact < 1.05 * goodman
