from __future__ import annotations

import numpy as np

from edgeleuk.frames import Box, Cell
from edgeleuk.vision.dust import DustWatch
from edgeleuk.vision.tracking import Placed


def cell(x: int, y: int = 50, side: int = 20) -> Cell:
    return Cell(Box(x, y, side, side), np.full((side, side), 255, np.uint8))


def at(left: float, area: int = 1) -> Placed:
    return Placed(area, left, 0.0)


def test_what_stays_while_the_slide_moves_is_dust() -> None:
    watch = DustWatch()
    found = [watch.look([cell(100)], [n], at(30.0 * n)) for n in range(4)]
    assert [sorted(one.now) for one in found] == [[], [], [0], [0]]
    assert [one.exposed for one in found] == [(), (), (0, 1), ()]


def test_areas_that_nothing_connects_are_different_ground() -> None:
    watch = DustWatch()
    found = [watch.look([cell(100)], [n], at(0.0, area=n)) for n in range(3)]
    assert found[-1].now == {0}


def test_a_cell_on_a_resting_stage_is_none() -> None:
    watch = DustWatch()
    assert not any(watch.look([cell(100)], [7], at(0.0)).now for _ in range(50))


def test_a_cell_that_moves_with_the_slide_is_none() -> None:
    watch = DustWatch()
    assert not any(watch.look([cell(200 - 4 * n)], [7], at(4.0 * n)).now for n in range(40))


def test_cells_that_happen_to_lie_alike_are_none() -> None:
    watch = DustWatch()
    for n in range(12):
        # Every third field has a cell just there, the others do not.
        cells, tracks = ([cell(100)], [n]) if n % 3 == 0 else ([cell(300 + 40 * (n % 2))], [n])
        assert not watch.look(cells, tracks, at(30.0 * n)).now


def test_dust_is_known_again_after_a_cell_has_covered_it() -> None:
    watch = DustWatch()
    for n in range(4):
        watch.look([cell(100)], [n], at(30.0 * n))
    assert not watch.look([cell(90, 40, 50)], [9], at(200.0)).now
    assert watch.look([cell(101)], [10], at(230.0)).now == {0}


def test_nothing_is_told_without_a_place() -> None:
    watch = DustWatch()
    assert not any(watch.look([cell(100)], [n], None).now for n in range(9))
