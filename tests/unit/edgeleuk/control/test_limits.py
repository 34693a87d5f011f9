"""Limits come from the first sessions, and each later one is judged by what was known before it."""

from __future__ import annotations

import numpy as np
import pytest
from control_sessions import GOOD, entry
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.control.entries import Measured
from edgeleuk.control.limits import (
    LEAST_SESSIONS,
    MOST_SESSIONS,
    by_group,
    judge,
    limits_now,
    limits_of,
    out_of_range,
)
from edgeleuk.control.measures import ALL_MEASURES, MEASURES, SHARES

RNG = np.random.default_rng(3)
# Sharpness of ten sessions of one slide.
DAYS = [entry(number, add={"sharpness": float(RNG.normal(0, 0.01))}) for number in range(MOST_SESSIONS)]


def after(*moved: dict[str, float]) -> list[str]:
    """Return the states of further sessions, moved by so much."""
    entries = [*DAYS, *(entry(20 + place, add=add) for place, add in enumerate(moved))]
    return [one.state for one in judge(entries)[len(DAYS) :]]


def test_without_enough_sessions_there_are_no_limits() -> None:
    judged = judge(DAYS[: LEAST_SESSIONS + 1])
    assert [one.state for one in judged[:LEAST_SESSIONS]] == ["no limits yet"] * LEAST_SESSIONS
    assert all(not one.limits for one in judged[:LEAST_SESSIONS])
    assert judged[-1].state == "in control"
    assert judged[-1].limits["sharpness"].sessions == LEAST_SESSIONS
    assert limits_now(judged[: LEAST_SESSIONS - 1]) == {}


def test_limits_are_those_of_the_first_ten() -> None:
    limits = limits_of([*DAYS, entry(30, add={"sharpness": 0.5})])["sharpness"]
    values = [one.measures["sharpness"].value for one in DAYS]
    assert limits.mean == pytest.approx(np.mean(values))
    assert limits.deviation == pytest.approx(1.4314 * np.std(values, ddof=1))


@pytest.mark.parametrize("sessions", range(LEAST_SESSIONS, MOST_SESSIONS + 1))
def test_the_deviation_is_widened_by_students_distribution(sessions: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    values = [one.measures["sharpness"].value for one in DAYS[:sessions]]
    widening = stats.t.ppf(stats.norm.cdf(3), sessions - 1) * np.sqrt(1 + 1 / sessions) / 3
    least = 0.02 * np.mean(values)
    expected = max(float(np.std(values, ddof=1)), least) * widening
    assert limits_of(DAYS[:sessions])["sharpness"].deviation == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", MEASURES)
def test_sessions_that_agree_too_well_get_the_measures_resolution(name: str) -> None:
    limits = limits_of([entry(number) for number in range(MOST_SESSIONS)])[name]
    resolution = MEASURES[name].resolution * (1 if name in SHARES else GOOD[name])
    assert limits.deviation == pytest.approx(1.4314 * resolution)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("sds", [-3.2, 3.2])
def test_beyond_three_deviations_is_refused_and_named(name: str, sds: float) -> None:
    limit = limits_of(DAYS)[name]
    add = {name: limit.mean + sds * limit.deviation - GOOD[name]}
    (*_, last) = judge([*DAYS, entry(20, add=add)])
    assert last.state == "refused"
    assert [(each.measure, each.rule) for each in last.findings if each.refuses] == [(name, "1-3s")]
    assert last.findings[0].distance == pytest.approx(sds)


def test_two_deviations_warn_once_and_are_refused_twice() -> None:
    limit = limits_of(DAYS)["sharpness"]
    high, low = ({"sharpness": limit.mean + sds * limit.deviation - GOOD["sharpness"]} for sds in (2.3, -2.3))
    assert after(high) == ["warning"]
    assert after(high, high) == ["warning", "refused"]
    assert after(high, low) == ["warning", "refused"]
    assert after(high, {}, high) == ["warning", "in control", "warning"]


def test_what_is_refused_neither_makes_limits_nor_burdens_the_next() -> None:
    bad = entry(5, add={"light": -60.0})
    judged = judge([*DAYS[:5], bad, *DAYS[5:], entry(20)])
    assert [one.state for one in judged] == ["no limits yet"] * 5 + ["refused"] + ["in control"] * 6
    assert judged[-1].limits["light"].mean == pytest.approx(GOOD["light"])
    assert limits_now(judged)["light"].sessions == MOST_SESSIONS


def test_a_measure_that_few_sessions_have_gets_no_limits_and_one_that_is_gone_is_named() -> None:
    poor = {name: value for name, value in entry(0).measures.items() if name != "blast_share"}
    lacking = [entry(number, measures=poor) for number in range(LEAST_SESSIONS)]
    assert "blast_share" not in limits_of(lacking)
    (*_, last) = judge([*DAYS, entry(20, measures=poor)])
    assert (last.state, last.missing) == ("in control", ("blast_share",))


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=30))
def test_groups_do_not_know_of_each_other(slides: list[str]) -> None:
    entries = [entry(number, slide=slide) for number, slide in enumerate(slides)]
    groups = by_group(entries)
    assert sum(map(len, groups.values())) == len(entries)
    for group, of_group in groups.items():
        assert {one.slide for one in of_group} == {group.slide}
        assert of_group == [one for one in entries if one.slide == group.slide]


@pytest.mark.parametrize(
    "change", [{"slide": "other"}, {"bundle_sha256": "cd" * 32}, {"px_per_um": 13.0}, {"simulated": False}]
)
def test_what_may_not_be_compared_is_of_another_group(change: dict[str, object]) -> None:
    assert entry(0, **change).group != entry(0).group  # type: ignore[arg-type]  # a table of fields


def test_a_running_session_is_asked_for_what_any_slide_shows() -> None:
    limits = limits_of(DAYS)
    same = {name: Measured(value=value, spread=0.0, n=5) for name, value in GOOD.items()}
    assert out_of_range(same, limits) == []
    other_patient = same | {"uncertain_share": Measured(value=90.0, spread=1.0, n=20)}
    assert out_of_range(other_patient, limits) == []
    dim = same | {"light": Measured(value=120.0, spread=1.0, n=5)}
    assert [found.measure for found in out_of_range(dim, limits)] == ["light"]


@pytest.mark.parametrize("name", [name for name in MEASURES if MEASURES[name].between_slides])
def test_what_patients_differ_by_is_within_the_range(name: str) -> None:
    limits, between = limits_of(DAYS), MEASURES[name].between_slides
    assert between is not None
    for sds, found in ((2.9, []), (-2.9, []), (9.0, [name]), (-9.0, [name])):
        value = limits[name].mean * (1 + sds * between)
        measures = {name: Measured(value=value, spread=0.0, n=20)}
        assert [each.measure for each in out_of_range(measures, limits)] == found


def test_few_cells_that_vary_have_a_wider_range() -> None:
    limits = limits_of(DAYS)
    value = GOOD["red_to_green"] * 1.16
    few = {"red_to_green": Measured(value=value, spread=0.3, n=4)}
    many = {"red_to_green": Measured(value=value, spread=0.3, n=4000)}
    assert out_of_range(few, limits) == []
    assert [found.measure for found in out_of_range(many, limits)] == ["red_to_green"]


def test_few_measures_are_controlled() -> None:
    # Where the scale is given it does not vary, and raises no alarm.
    assert len(MEASURES) <= 9
    assert set(MEASURES) < set(ALL_MEASURES)
