"""The queue of cells to label: doubtful, unlike known ones, unlike one another, and from several slides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.labels.queue import CANDIDATES, doubts, queue
from edgeleuk.results.kinds import Kind

WIDTH = 8
NOBODY = np.empty((0, WIDTH))
KINDS = (Kind.NEUTROPHIL, Kind.MONOCYTE, Kind.LYMPHOCYTE, Kind.BLAST_LIKE)


def group(number: int, cells: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Draw cells that are almost the same; those of another number are far away."""
    rng = np.random.default_rng(seed + number)
    place = np.zeros(WIDTH)
    place[number] = 6.0
    return place + 0.05 * rng.normal(size=(cells, WIDTH))


class TestDoubts:
    @pytest.mark.parametrize(
        ("kinds", "blast", "doubt"),
        [
            ([1.0, 0.0, 0.0, 0.0], 0.5, 0.0),
            ([0.5, 0.5, 0.0, 0.0], 0.99, 1.0),
            ([0.7, 0.2, 0.1, 0.0], 0.0, 0.5),
            # Two lymphoid kinds are one: nothing is in doubt but whether it is a blast.
            ([0.0, 0.0, 0.5, 0.5], 1.0, 0.0),
            ([0.0, 0.0, 0.5, 0.5], 0.5, 1.0),
            ([0.0, 0.0, 1.0, 0.0], 0.9, 0.2),
            ([0.0, 0.0, 1.0, 0.0], float("nan"), 1.0),
        ],
    )
    def test_table(self, kinds: list[float], blast: float, doubt: float) -> None:
        assert doubts(np.array([kinds]), KINDS, np.array([blast])) == pytest.approx([doubt])

    def test_without_kinds_only_blasts_are_in_doubt(self) -> None:
        assert doubts(None, (), np.array([0.0, 0.5, 0.75])) == pytest.approx([0.0, 1.0, 0.5])


class TestQueue:
    def test_twins_are_not_asked_for_twice(self) -> None:
        z = np.vstack([group(number, 20) for number in range(4)])
        taken = queue(z, np.ones(80), ["s"] * 80, NOBODY, 4, 0.5)
        assert sorted(row // 20 for row in taken) == [0, 1, 2, 3]

    def test_what_is_known_comes_last(self) -> None:
        z = np.vstack([group(number, 20) for number in range(3)])
        taken = queue(z, np.ones(60), ["s"] * 60, group(1, 30, seed=9), 3, 0.5)
        assert {row // 20 for row in taken} == {0, 2}

    def test_what_is_sure_comes_last(self) -> None:
        z = np.vstack([group(number, 20) for number in range(3)])
        doubt = np.repeat([1.0, 0.0, 1.0], 20)
        assert {row // 20 for row in queue(z, doubt, ["s"] * 60, NOBODY, 2, 0.5)} == {0, 2}

    def test_many_alike_come_before_one_alone(self) -> None:
        z = np.vstack([group(0, 1), group(1, 6)])
        first, second = queue(z, np.ones(7), ["s"] * 7, NOBODY, 2, 0.5)
        assert first > 0
        assert second == 0

    @given(st.integers(0, 200), st.integers(1, 5), st.integers(1, 30))
    def test_each_slide_gets_half_of_an_equal_share(self, seed: int, slides: int, count: int) -> None:
        rng = np.random.default_rng(seed)
        z, doubt = rng.normal(size=(60, WIDTH)), rng.uniform(size=60)
        slide = [f"s{number % slides}" for number in range(60)]
        # All but one slide are known and sure.
        doubt[np.array(slide) != "s0"] *= 0.01
        taken = queue(z, doubt, slide, NOBODY, count, 0.5)
        assert len(set(taken)) == len(taken) == count
        shares = [sum(slide[row] == f"s{number}" for row in taken) for number in range(slides)]
        assert min(shares) >= count // (2 * slides)

    @given(st.integers(0, 100))
    def test_the_order_of_the_cells_does_not_matter(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        z, doubt = rng.normal(size=(40, WIDTH)), rng.uniform(size=40)
        turned = rng.permutation(40)
        first = queue(z, doubt, ["s"] * 40, NOBODY, 10, 0.5)
        again = queue(z[turned], doubt[turned], ["s"] * 40, NOBODY, 10, 0.5)
        assert [int(turned[row]) for row in again] == first

    def test_of_very_many_the_most_doubtful_are_compared(self) -> None:
        rng = np.random.default_rng(0)
        doubt = np.linspace(0.001, 1, CANDIDATES + 500)
        taken = queue(rng.normal(size=(len(doubt), WIDTH)), doubt, ["s"] * len(doubt), NOBODY, 5, 0.5)
        assert min(taken) >= 500

    def test_no_more_than_there_are(self) -> None:
        assert sorted(queue(group(0, 3), np.zeros(3), ["a", "b", "b"], NOBODY, 10, 0.5)) == [0, 1, 2]
