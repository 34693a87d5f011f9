"""Westgard's rules: which values fire which, and how often they alarm without a cause."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.counting.westgard import RULES, Violation, westgard

# Values on a limit divide evenly, so that rounding decides nothing.
UNITS = st.lists(st.integers(-20, 20).map(lambda quarter: quarter / 4), max_size=12)


@pytest.mark.parametrize(
    ("units", "fired"),
    [
        ([], []),
        ([0.0, 1.9, -1.9], []),
        ([2.0, -2.0, 2.0], []),
        ([2.5], [("1-2s", 0)]),
        ([0.0, -2.5, 0.0], [("1-2s", 1)]),
        ([3.0], [("1-2s", 0)]),
        ([-3.5], [("1-2s", 0), ("1-3s", 0)]),
        ([2.5, 2.5], [("1-2s", 0), ("1-2s", 1), ("2-2s", 1)]),
        ([2.5, 0.0, 2.5], [("1-2s", 0), ("1-2s", 2)]),
        ([2.5, -2.5], [("1-2s", 0), ("1-2s", 1), ("R-4s", 1)]),
        # A range of 4.25 deviations, yet one of them is within 2.
        ([2.5, -1.75], [("1-2s", 0)]),
        ([-3.5, -2.5], [("1-2s", 0), ("1-3s", 0), ("1-2s", 1), ("2-2s", 1)]),
        ([-2.5, 3.5], [("1-2s", 0), ("1-2s", 1), ("1-3s", 1), ("R-4s", 1)]),
        ([2.5] * 3, [("1-2s", 0), ("1-2s", 1), ("2-2s", 1), ("1-2s", 2), ("2-2s", 2)]),
    ],
)
def test_what_fires(units: list[float], fired: list[tuple[str, int]]) -> None:
    found = westgard([100 + 8 * unit for unit in units], 100.0, 8.0)
    assert found == [Violation(rule, index, refuses=rule != "1-2s") for rule, index in fired]
    assert all(one.rule in RULES for one in found)


@given(UNITS, st.sampled_from([0.25, 1.0, 64.0]), st.integers(-100, 100))
def test_neither_unit_nor_sign_matters(units: list[float], deviation: float, mean: int) -> None:
    found = westgard(units, 0.0, 1.0)
    assert westgard([mean - deviation * unit for unit in units], mean, deviation) == found
    assert [one.index for one in found] == sorted(one.index for one in found)
    # Nothing is refused without a warning of the same value.
    warned = {one.index for one in found if not one.refuses}
    assert {one.index for one in found} == warned == {i for i, unit in enumerate(units) if abs(unit) > 2}


@given(UNITS, UNITS)
def test_later_values_change_nothing_of_earlier_ones(before: list[float], after: list[float]) -> None:
    found = westgard(before + after, 0.0, 1.0)
    assert [one for one in found if one.index < len(before)] == westgard(before, 0.0, 1.0)


def test_false_alarms_are_as_rare_as_the_normal_distribution_says() -> None:
    """Of 200,000 values without a fault: 4.55 % warn, .27 % pass 3 deviations, .05 % each of the pairs."""
    values = np.random.default_rng(20).normal(7.0, 0.5, 200_000)
    found = westgard(values.tolist(), 7.0, 0.5)
    tail = math.erfc(2 / math.sqrt(2))
    expected = {
        "1-2s": tail,
        "1-3s": math.erfc(3 / math.sqrt(2)),
        "2-2s": tail**2 / 2,
        "R-4s": tail**2 / 2,
    }
    for rule, rate in expected.items():
        fired = sum(one.rule == rule for one in found)
        assert abs(fired - rate * len(values)) < 4 * math.sqrt(rate * len(values)), rule
    refused = len({one.index for one in found if one.refuses}) / len(values)
    assert 0.004 < refused < 0.0056


def test_a_shift_of_three_deviations_is_found() -> None:
    values = np.random.default_rng(21).normal(3.0, 1.0, (2000, 2))
    refused = np.mean([any(one.refuses for one in westgard(pair.tolist(), 0.0, 1.0)) for pair in values])
    # Of two values: .75 pass 3 deviations at least once, the rest mostly 2 twice.
    assert 0.84 < refused < 0.93


@pytest.mark.parametrize(
    ("values", "mean", "deviation"),
    [([1.0], 0.0, 0.0), ([1.0], 0.0, -1.0), ([1.0], math.nan, 1.0), ([1.0], 0.0, math.inf)],
)
def test_a_range_that_is_none(values: list[float], mean: float, deviation: float) -> None:
    with pytest.raises(ValueError, match="deviation above 0"):
        westgard(values, mean, deviation)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_none(value: float) -> None:
    with pytest.raises(ValueError, match="finite values"):
        westgard([0.0, value], 0.0, 1.0)
