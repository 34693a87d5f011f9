from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from edgeleuk.frames import Frame
from edgeleuk.scaling import ScaleKeeper


class Estimate(NamedTuple):
    px_per_um: float


def frame(width: int = 64, height: int = 48, px_per_um: float | None = None) -> Frame:
    return Frame(np.zeros((height, width, 3), np.uint8), 0, 0.0, 0.0, "test://", px_per_um)


@pytest.mark.parametrize(
    ("given", "own", "expected"), [(10.0, 12.0, 10.0), (None, 12.0, 12.0), (None, None, 7.0)]
)
def test_given_wins_over_the_sources_own_over_an_estimate(
    given: float | None, own: float | None, expected: float
) -> None:
    assert ScaleKeeper(given, lambda _: Estimate(7.0)).of(frame(px_per_um=own)) == expected


def test_a_given_scale_follows_the_resolution() -> None:
    keeper = ScaleKeeper(10.0, lambda _: Estimate(7.0))
    assert [keeper.of(frame(w, h)) for w, h in [(64, 48), (32, 24), (128, 96), (64, 48)]] == [10, 5, 20, 10]


def test_other_proportions_leave_it_to_the_red_cells() -> None:
    keeper = ScaleKeeper(10.0, lambda _: Estimate(7.0))
    assert [keeper.of(frame(w, h)) for w, h in [(64, 48), (64, 36)]] == [10, 7]


def test_estimates_are_smoothed_and_begin_anew_with_another_size() -> None:
    values = iter([7.0, 9.0, 7.2, 3.0])
    keeper = ScaleKeeper(None, lambda _: Estimate(next(values)))
    assert [keeper.of(frame()) for _ in range(3)] == [7.0, 8.0, 7.2]
    assert keeper.of(frame(32, 24)) == 3.0


def test_nothing_tells_the_scale() -> None:
    assert ScaleKeeper(None, lambda _: None).of(frame()) is None
