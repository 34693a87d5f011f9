from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from edgeleuk.frames import Box, Cell, Frame
from edgeleuk.pipeline.scale import ScaleKeeper
from edgeleuk.results import SCALE_IMPLAUSIBLE, SCALE_UNKNOWN
from edgeleuk.vision.picture_scale import PictureScale, estimated_scale


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
    values = iter([7.0, 9.0, 7.2, 3.5])
    keeper = ScaleKeeper(None, lambda _: Estimate(next(values)))
    assert [keeper.of(frame()) for _ in range(3)] == [7.0, 8.0, 7.2]
    assert keeper.of(frame(32, 24)) == 3.5


def test_nothing_tells_the_scale() -> None:
    keeper = ScaleKeeper(None, lambda _: None)
    assert (keeper.of(frame()), keeper.trouble) == (None, SCALE_UNKNOWN)


def cell(diameter: int, *, cut: bool = False) -> Cell:
    return Cell(Box(0, 0, diameter, diameter), np.full((diameter, diameter), 128, np.uint8), cut)


@pytest.mark.parametrize("value", [1.6, 2.99, 40.1])
def test_an_implausible_estimate_is_not_used(value: float) -> None:
    keeper = ScaleKeeper(None, lambda _: Estimate(value))
    assert (keeper.of(frame()), keeper.trouble) == (None, SCALE_IMPLAUSIBLE)
    known = ScaleKeeper(value, lambda _: None)
    assert (known.of(frame()), known.trouble) == (value, None)


def test_a_plausible_estimate_outlasts_an_implausible_one() -> None:
    values = iter([1.6, 7.0, 1.6])
    keeper = ScaleKeeper(None, lambda _: Estimate(next(values)))
    assert [(keeper.of(frame()), keeper.trouble) for _ in range(3)] == [
        (None, SCALE_IMPLAUSIBLE),
        (7.0, None),
        (7.0, None),
    ]


@pytest.mark.parametrize(
    ("diameter", "possible"),
    # At 10 px/um: 16, 36, 400, 900, 1225 um2.
    [(40, False), (60, True), (200, True), (300, True), (350, False)],
)
def test_white_cells_of_an_impossible_size_refuse_an_estimate(diameter: int, *, possible: bool) -> None:
    keeper = ScaleKeeper(None, lambda _: Estimate(10.0))
    assert keeper.confirmed(keeper.of(frame()), [cell(diameter)]) == (10.0 if possible else None)
    assert keeper.trouble == (None if possible else SCALE_IMPLAUSIBLE)
    assert PictureScale(10.0).of_cells([cell(diameter)]) == (
        PictureScale(10.0) if possible else PictureScale(None, SCALE_IMPLAUSIBLE)
    )


def test_one_giant_among_many_cells_refuses_nothing_nor_do_cut_ones() -> None:
    keeper = ScaleKeeper(None, lambda _: Estimate(10.0))
    assert keeper.confirmed(keeper.of(frame()), [cell(120)] * 5) == 10.0
    assert keeper.confirmed(keeper.of(frame()), [cell(400)]) == 10.0
    assert PictureScale(10.0).of_cells([cell(20, cut=True)]).px_per_um == 10.0


def test_a_given_scale_is_never_refused() -> None:
    keeper = ScaleKeeper(10.0, lambda _: None)
    assert keeper.confirmed(keeper.of(frame()), [cell(400)]) == 10.0


def test_red_cells_are_looked_for_in_every_field_only_at_first() -> None:
    looked = []
    keeper = ScaleKeeper(None, looked.append)
    for _ in range(100):
        keeper.of(frame())
    assert len(looked) == 50


def test_a_picture_without_red_cells_has_no_scale() -> None:
    assert estimated_scale(np.full((100, 100, 3), 200, np.uint8)) == (None, SCALE_UNKNOWN)
