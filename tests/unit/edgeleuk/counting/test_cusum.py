"""The self-starting CUSUM: its run lengths, and what it makes of drifts, single bad values and returns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.counting.cusum import (
    ALLOWANCE,
    BACK,
    LEARNED,
    LIMIT,
    Followed,
    Observed,
    average_run_length,
    follow,
)


def followed(values: list[float], error: float = 0.0) -> Followed:
    return follow([Observed(value, error) for value in values])


def normal(seed: int, many: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).standard_normal(many)]


@pytest.mark.parametrize(
    ("limit", "shift", "published"),
    # Two sides: Montgomery, "Introduction to Statistical Quality Control", table 9.3; Siegmund's
    # approximation is of one side.
    [(4.0, 0.0, 168.0), (5.0, 0.0, 465.0), (4.0, 1.0, 8.38), (5.0, 1.0, 10.4), (5.0, 2.0, 4.01)],
)
def test_run_lengths_are_the_published_ones(limit: float, shift: float, published: float) -> None:
    one_side = average_run_length(limit, shift=shift)
    both = 1 / (1 / one_side + 1 / average_run_length(limit, shift=-shift))
    assert both == pytest.approx(published, rel=0.035)


def test_the_limit_keeps_twelve_measures_below_one_alarm_in_a_hundred_sessions() -> None:
    both = average_run_length(LIMIT, ALLOWANCE) / 2
    assert both > 3500
    assert 100 * 12 / both < 0.35


def test_no_more_alarms_are_given_than_the_run_length_promises() -> None:
    seeds, many = 60, 300
    found = sum(len(followed(normal(seed, many)).drifts) for seed in range(seeds))
    # 60 * 300 values: 5.1 by the run length, and three standard deviations of a Poisson number more.
    expected = seeds * many / (average_run_length(LIMIT) / 2)
    assert found < expected + 3 * expected**0.5


def test_what_values_deviate_by_is_normal_from_the_sixth_on() -> None:
    distances = [
        held.distance
        for seed in range(400)
        for held in followed(normal(seed, 12)).held[LEARNED:]
        if held.distance is not None
    ]
    assert np.mean(distances) == pytest.approx(0.0, abs=0.05)
    assert np.std(distances) == pytest.approx(1.0, abs=0.04)
    assert np.mean(np.abs(distances) > 1.96) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_slow_drift_is_named_and_dated(sign: float) -> None:
    drifting = [value + sign * max(0, place - 40) * 0.2 for place, value in enumerate(normal(3, 60))]
    (drift,) = followed(drifting).drifts
    assert 36 <= drift.since <= 50
    assert drift.since < drift.named <= 40 + 15 + 5
    assert (drift.upwards, drift.back) == (sign > 0, None)


def test_one_bad_value_is_no_drift() -> None:
    values = normal(4, 40)
    values[20] = 50.0
    found = followed(values)
    assert found.drifts == []
    # It has not widened what later ones are held against by much.
    assert found.deviation is not None
    assert found.deviation < 2.0


def test_a_drift_is_over_when_the_values_are_back() -> None:
    values = normal(5, 60)
    off = [value + (6.0 if 25 <= place < 40 else 0.0) for place, value in enumerate(values)]
    found = followed(off)
    (drift,) = found.drifts
    assert drift.since in {24, 25}
    assert drift.back is not None
    assert 40 <= drift.back <= 40 + BACK
    assert found.mean == pytest.approx(0.0, abs=0.5)


def test_the_first_values_only_teach() -> None:
    found = followed([1.0, 9.0, 1.0, 9.0])
    assert (found.mean, found.deviation, found.drifts) == (None, None, [])
    assert [held.distance for held in found.held] == [None] * 4


def test_values_that_never_change_have_no_spread_and_any_change_is_seen() -> None:
    assert followed([13.0] * 30).drifts == []
    assert followed([13.0] * 30 + [26.0] * 4).drifts[0].since == 30


def test_what_cannot_be_told_apart_is_no_drift() -> None:
    values = [Observed(100 + 0.1 * value, 0.0) for value in normal(6, 20)]
    moved = values + [Observed(101.0, 0.0)] * 10
    assert follow(moved).drifts != []
    assert follow(moved, lambda mean: 0.05 * mean).drifts == []


def test_a_known_error_excuses_values_of_few() -> None:
    values = [Observed(value, 0.2) for value in normal(7, 30)]
    of_few = [Observed(4.0, 4.0)] * 4
    of_many = [Observed(4.0, 0.2)] * 4
    assert follow(values + of_few).drifts == []
    assert len(follow(values + of_many).drifts) == 1


@given(
    st.lists(st.floats(-1e3, 1e3), max_size=30),
    st.floats(-100, 100),
    st.sampled_from([0.25, 0.5, 2.0, 8.0]),
)
def test_zero_and_unit_of_a_measure_do_not_matter(values: list[float], zero: float, unit: float) -> None:
    rounded = [round(value, 3) for value in values]
    plain, other = followed(rounded), followed([zero + unit * value for value in rounded])
    assert len(plain.held) == len(other.held) == len(values)
    if len(set(rounded[:LEARNED])) > 1:
        for one, two in zip(plain.held, other.held, strict=True):
            assert (one.distance is None) is (two.distance is None)
            if one.distance is not None and two.distance is not None:
                assert two.distance == pytest.approx(one.distance, rel=1e-4, abs=1e-4)
