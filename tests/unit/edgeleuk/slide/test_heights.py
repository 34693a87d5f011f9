from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.errors import SessionError
from edgeleuk.slide.heights import HeightMap
from edgeleuk.slide.placement import Placed, Placement
from edgeleuk.slide.pyramid import TILE_PX
from edgeleuk.slide.spool import FieldSpool, ScanFacts
from edgeleuk.stage.base import ScanField
from edgeleuk.stage.resuming import Begun
from edgeleuk.stage.stacking import FocusStack
from edgeleuk.vision.extended_focus import MAP_PX, map_size

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (96, 80)


def placement_at(corners: list[tuple[int, int]]) -> Placement:
    fields = [
        Placed(ScanField(n, 0, n, 0.0, 0.0), x, y, is_registered=True) for n, (x, y) in enumerate(corners)
    ]
    width = max(x for x, _ in corners) + SIZE[0]
    height = max(y for _, y in corners) + SIZE[1]
    return Placement(tuple(fields), width, height, 1, 0, 0, 0.0, 13.0)


def whole(heights: HeightMap) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Put the tiles together."""
    columns, rows = -(-heights.width // TILE_PX), -(-heights.height // TILE_PX)
    tiles = list(heights.tiles())
    assert len(tiles) == columns * rows
    lines = [np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)]
    return np.vstack(lines)[: heights.height, : heights.width]


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 300)), min_size=1, max_size=6))
def test_each_place_is_from_the_field_whose_border_is_farthest(corners: list[tuple[int, int]]) -> None:
    placement = placement_at(corners)
    width, height = map_size(*SIZE)

    def told(number: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return np.full((height, width), number, np.float32)

    found = HeightMap(placement, SIZE, told)
    assert (found.width, found.height) == map_size(placement.width, placement.height)
    drawn = whole(found)
    rng = np.random.default_rng(1)
    for _ in range(50):
        row, column = int(rng.integers(found.height)), int(rng.integers(found.width))
        x, y = column * MAP_PX + MAP_PX // 2, row * MAP_PX + MAP_PX // 2
        inside = {
            n: min(x - left + 1, left + SIZE[0] - x, y - top + 1, top + SIZE[1] - y)
            for n, (left, top) in enumerate(corners)
            if left <= x < left + SIZE[0] and top <= y < top + SIZE[1]
        }
        if inside:
            assert inside[int(drawn[row, column])] == max(inside.values())
        else:
            assert np.isnan(drawn[row, column])


def test_a_place_keeps_its_height_wherever_its_field_lies() -> None:
    width, height = map_size(*SIZE)
    ramp = np.arange(width * height, dtype=np.float32).reshape(height, width)
    drawn = whole(HeightMap(placement_at([(0, 0)]), SIZE, lambda _: ramp))
    assert np.array_equal(drawn, ramp)


def test_planes_and_maps_are_read_as_they_were_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    planes = [rng.integers(0, 255, (*SIZE[::-1], 3), np.uint8) for _ in range(3)]
    heights = np.where(rng.random((10, 12)) < 0.2, np.nan, rng.random((10, 12))).astype(np.float32)
    fields = [ScanField(n, 0, n, 0.0, 0.0) for n in range(2)]
    facts = ScanFacts(
        Begun((0.0, 0.0), ((0.1, 0.0), (0.0, 0.1)), (1.0, 1.0, 0.3)),
        SIZE,
        "lossless",
        "",
        simulated=True,
        stack=FocusStack(3, 0.8),
        extended_focus=True,
    )
    with FieldSpool.create(tmp_path / "s", fields, facts) as spool:
        for _ in range(2):
            # A field that is taken again takes the place of the earlier one.
            spool.add(1, planes[1], is_lossless=True, others={0: planes[0], 2: planes[2]}, heights=heights)
        assert [kept.is_there for kept in spool.fields()] == [False, True]
        assert np.array_equal(spool.picture(1), planes[1])
        assert np.array_equal(spool.picture(1, 0), planes[0])
        assert np.array_equal(spool.picture(1, 2), planes[2])
        assert np.array_equal(spool.heights(1, (12, 10)), heights, equal_nan=True)
        with pytest.raises(SessionError, match="is damaged: got no picture of field 0"):
            spool.picture(0, 2)
        assert spool.facts() == facts
        with pytest.raises(SessionError, match="is damaged: got map of field 1"):
            spool.heights(1, (7, 7))
