"""A network is on the line where none that is cheaper is as good."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeleuk_convert.reports.frontier import Point, frontier, unbeaten


def point(title: str, cost: float, auroc: float) -> Point:
    return Point(title, cost, auroc, auroc - 0.05, auroc + 0.04)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(50, 99)), min_size=1, max_size=8))
def test_none_on_the_line_is_beaten_and_every_other_is(found: list[tuple[int, int]]) -> None:
    points = [point(str(at), cost * 1e6, auroc / 100) for at, (cost, auroc) in enumerate(found)]
    line = unbeaten(points)
    for one in points:
        beaten = any(
            other.multiply_adds <= one.multiply_adds and other.auroc >= one.auroc
            for other in points
            if other is not one
        )
        assert beaten or one in line
    assert [one.auroc for one in line] == sorted({one.auroc for one in line})


@pytest.mark.parametrize("count", [1, 4])
def test_it_is_drawn(count: int) -> None:
    points = [point(f"network {at}", 10e6 * 3**at, 0.8 + at / 50) for at in range(count)]
    pixels = np.asarray(Image.open(io.BytesIO(frontier(points))).convert("RGB"))
    blue = (pixels == (31, 119, 180)).all(axis=-1)
    # One dot for each, in the line's colour.
    assert blue.sum() > 20 * count
