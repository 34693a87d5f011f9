"""Setups, order and shares of quality over weeks; how soon and how often: see test_trend_simulation.py."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trend_stand import LAMP, RECORDED, START, Fault, stand

from edgeleuk.control.entries import Measured
from edgeleuk.control.order import in_order
from edgeleuk.control.outlook import rejected_from
from edgeleuk.control.session_quality import joined
from edgeleuk.control.trends import FOLLOWED, judge_trends, observed, shown, usable

if TYPE_CHECKING:
    from edgeleuk.control.session_quality import SessionQuality
    from edgeleuk.results.trends import TrendResult

DAY_S = 86400.0


def sound(many: int = 12, seed: int = 0) -> list[SessionQuality]:
    return stand(np.random.default_rng(seed), many)


def began(result: TrendResult) -> list[str]:
    return [setup.began for setup in result.setups]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"camera": "http://other/stream"}, "another camera"),
        ({"bundle_sha256": "cd" * 32}, "another bundle"),
        ({"px_per_um": 13.0}, "another scale was given"),
        ({"size": "640x480"}, "fields of another size"),
        ({"adjusted": ("gain 2.0",)}, "other settings"),
        ({"camera": "b", "bundle_sha256": "e"}, "another camera and another bundle"),
    ],
)
def test_another_setup_begins_a_baseline_and_says_why(change: dict[str, object], said: str) -> None:
    sessions = sound()
    changed = [one._replace(recorded=RECORDED._replace(**change)) for one in sessions[6:]]  # type: ignore[arg-type]
    result = judge_trends([*sessions[:6], *changed])
    assert began(result) == ["the first session", said]
    assert [setup.sessions for setup in result.setups] == [6, 6]
    assert [one.setup for one in result.sessions] == [1] * 6 + [2] * 6


def test_another_objective_is_told_from_the_scale_that_is_measured() -> None:
    sessions = sound()
    other = [with_measure(one, "scale", value=32.5) for one in sessions[6:9]]
    result = judge_trends([*sessions[:6], *other, *sessions[9:]])
    assert began(result) == ["the first session", "another objective"]
    # Whoever turns the first one in again goes on with its baseline.
    assert [one.setup for one in result.sessions] == [1] * 6 + [2] * 3 + [1] * 3
    assert [setup.px_per_um for setup in result.setups] == [
        pytest.approx(13.0, rel=0.03),
        pytest.approx(32.5),
    ]


def with_measure(one: SessionQuality, name: str, **changes: float) -> SessionQuality:
    old = one.measures[name]
    facts = {"value": old.value, "spread": old.spread, "n": old.n} | changes
    return one._replace(measures={**one.measures, name: Measured(**facts)})  # type: ignore[arg-type]


def test_what_was_mended_begins_a_baseline() -> None:
    sessions = sound(20)
    dim = [with_measure(one, "light", value=one.measures["light"].value - 40) for one in sessions[12:]]
    assert judge_trends([*sessions[:12], *dim]).drifting
    result = judge_trends([*sessions[:12], *dim], mended=[START + 12 * 7200.0])
    assert not result.drifting
    assert began(result) == ["the first session", "something was mended"]


def test_control_slides_are_followed_by_themselves() -> None:
    sessions = [
        one._replace(links=frozenset({f"link{place}"} if place % 2 else ()))
        for place, one in enumerate(sound(24))
    ]
    slides = {f"link{place}": "lot-7" for place in range(24)}
    result = judge_trends(sessions, slides=slides)
    assert [setup.slide for setup in result.setups] == [None, "lot-7"]
    assert began(result) == ["the first session", "the first session of the control slide"]
    assert [setup.sessions for setup in result.setups] == [12, 12]


def test_a_drift_names_its_sessions_and_when_fields_are_rejected() -> None:
    fault = Fault(LAMP, 20, 0.5)
    sessions = stand(np.random.default_rng(1), 40, fault)
    result = judge_trends(sessions)
    (light,) = [one for one in result.setups[0].measures if one.measure == "light"]
    (drift,) = light.drifts
    assert light.state == "drifting"
    assert result.drifting
    assert result.verdict.startswith("light DOWN since 2026-01-0")
    assert drift.now < drift.before
    assert drift.distance < -3
    assert drift.since in {f"session{number}.db" for number in range(17, 27)}
    assert drift.rejected_from is not None
    assert drift.rejected_from > "2026-01-04"
    drifting = [one.session for one in result.sessions if one.values["light"].drifts]
    assert drifting[0] == drift.named


def test_sessions_that_are_too_short_say_so() -> None:
    sessions = sound(8)
    none = sessions[6]._replace(fields=2, cells=3, measures={"light": Measured(value=1.0, spread=0.0, n=2)})
    few = sessions[7]._replace(cells=3)
    few = few._replace(
        measures={
            name: Measured(
                value=of.value, spread=of.spread, n=3 if "cell" in name or "green" in name else of.n
            )
            for name, of in few.measures.items()
            if not name.endswith("_share") or name == "rejected_share"
        }
    )
    found = judge_trends([*sessions[:6], none, few]).sessions
    assert found[6].not_judged == "2 fields with 3 cells, and 5 fields or 20 cells are needed"
    assert found[6].values == {}
    assert found[7].not_judged == "its cells: 3, and 20 are needed"
    assert "light" in found[7].values
    assert "cell_focus" not in found[7].values
    assert set(usable(few)) <= set(FOLLOWED)


def test_few_sessions_have_no_verdict() -> None:
    result = judge_trends(sound(4))
    assert result.verdict == "too few sessions: the first 5 of a setup only teach"
    assert {one.state for one in result.setups[0].measures} == {"too few sessions"}
    assert judge_trends(sound(12)).verdict == "steady"


def test_chance_weighs_less_in_larger_numbers() -> None:
    """The same share of twenty cells and of two thousand: only the second is a drift."""
    base = sound(30, seed=3)
    even = [
        with_measure(one, "blast_share", value=25.0 + place % 3, n=2000) for place, one in enumerate(base)
    ]
    for n, drifts in ((20, False), (2000, True)):
        more = [with_measure(one, "blast_share", value=50.0, n=n) for one in sound(3)]
        result = judge_trends([*even, *more])
        (share,) = [one for one in result.setups[0].measures if one.measure == "blast_share"]
        assert (share.state == "drifting") is drifts, n


@given(st.integers(20, 5000), st.floats(0.0, 1.0))
def test_a_share_is_followed_with_the_noise_of_its_number(n: int, share: float) -> None:
    count = round(n * share)
    found = observed("blast_share", Measured(value=100 * count / n, spread=0.0, n=n))
    assert found.error == pytest.approx(1 / math.sqrt(4 * n + 2))
    assert shown("blast_share", found.value, n) == pytest.approx(100 * count / n, abs=1e-6)


ALL_BY_NAME = "without a clock that was set: all are in the order of their names"
NO_ORDER = (
    "without a clock that was set, and names tell no order here: they come first, in the order of their names"
)


# In order, and what is said of it.
@pytest.mark.parametrize(
    ("names", "times", "ordered", "said"),
    [
        (("b", "a"), (1, 2), ("b", "a"), None),
        (("n1", "n2", "n10"), (1, None, 2), ("n1", "n2", "n10"), f"1 session was recorded {ALL_BY_NAME}"),
        (("n2", "n1", "n3"), (1, 2, None), ("n3", "n2", "n1"), f"1 session was recorded {NO_ORDER}"),
        (("n10", "n9"), (None, None), ("n9", "n10"), f"2 sessions were recorded {ALL_BY_NAME}"),
    ],
)
def test_sessions_stand_in_their_order(
    names: tuple[str, ...], times: tuple[int | None, ...], ordered: tuple[str, ...], said: str | None
) -> None:
    base = sound(len(names))
    sessions = [
        # A clock that was never set shows the seventies.
        one._replace(path=Path(f"{name}.db"), first_at=7.0 if day is None else START + DAY_S * day)
        for one, name, day in zip(base, names, times, strict=True)
    ]
    found, note = in_order(sessions)
    assert tuple(one.path.stem for one in found) == ordered
    assert note == said


def test_the_files_of_a_series_count_as_one() -> None:
    parts = sound(3)
    whole = joined(parts)
    assert (whole.files, whole.path) == (3, parts[0].path)
    assert whole.cells == sum(one.cells for one in parts)
    assert whole.first_at == START
    for name, of in whole.measures.items():
        values = [one.measures[name].value for one in parts]
        assert min(values) - 1e-9 <= of.value <= max(values) + 1e-9
        assert of.n == sum(one.measures[name].n for one in parts)


@pytest.mark.parametrize(
    ("name", "values", "day"),
    [
        ("light", [150.0, 149.0, 148.0, 147.0, 146.0], 40.0),
        ("light", [150.0, 151.0, 152.0, 153.0, 154.0], None),
        ("light", [150.0, 149.0], None),
        ("light", [100.0, 99.0, 98.0, 97.0, 96.0], None),
        ("light", [200.0, 199.99, 199.98, 199.97, 199.96], None),
        ("scale", [13.0, 14.0, 15.0, 16.0, 17.0], None),
        ("glass_red", [1.00, 1.01, 1.02, 1.03, 1.04], 20.9),
    ],
)
def test_the_day_of_rejection_follows_the_pace(name: str, values: list[float], day: float | None) -> None:
    found = rejected_from(name, [DAY_S * place for place in range(len(values))], values)
    assert found is None if day is None else found == pytest.approx(day * DAY_S, rel=0.01)
