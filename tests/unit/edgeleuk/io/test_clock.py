"""The time of a session never goes back, whatever the wall clock does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.io.clock import LEAST_JUMP_S, SteadyClock, behind_text, jump_text, now
from edgeleuk.session import create_session, read_session
from edgeleuk.session.open import resume_session

if TYPE_CHECKING:
    from pathlib import Path

# As large as the steps of a clock that learns the time: years, and a second.
STEPS = st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e5)), max_size=20)


@given(STEPS)
def test_time_goes_on_by_the_steady_clock_alone(steps: list[tuple[float, float]]) -> None:
    wall, steady = 1.8e9, 50.0
    clock = SteadyClock(lambda: wall, lambda: steady)
    begun = clock.now()
    for jump_s, passed_s in steps:
        wall, steady = wall + jump_s + passed_s, steady + passed_s
        assert clock.moment() == (clock.now(), steady)
        assert clock.now() - begun == pytest.approx(steady - 50.0, abs=1e-3)


@given(STEPS)
def test_the_jumps_that_are_told_add_up_to_what_was_set(steps: list[tuple[float, float]]) -> None:
    wall, steady, told = 1.8e9, 50.0, 0.0
    clock = SteadyClock(lambda: wall, lambda: steady)
    for jump_s, passed_s in steps:
        wall, steady = wall + jump_s + passed_s, steady + passed_s
        told += clock.jump_s() or 0.0
        assert clock.jump_s() is None
    assert abs(told - sum(jump for jump, _ in steps)) <= LEAST_JUMP_S + 1e-3


@pytest.mark.parametrize(("at", "behind_s"), [(900.0, 0.0), (1000.0, 0.0), (5000.0, 4000.0)])
def test_a_record_is_continued_from_its_end_or_from_now(at: float, behind_s: float) -> None:
    clock = SteadyClock(lambda: 1000.0, lambda: 7.0)
    assert clock.go_on_from(at) == behind_s
    assert clock.now() == max(at, 1000.0)
    assert clock.jump_s() is None


def test_what_is_said_of_a_jump() -> None:
    assert jump_text(3661.2).startswith("the clock was set forward by 1:01:01; ")
    assert behind_text(86400.0).startswith("the clock stands 1 day, 0:00:00 before the last record")


def test_a_session_that_ends_in_the_future_goes_on_from_there(tmp_path: Path) -> None:
    path, ahead = tmp_path / "a.db", now() + 86400
    with create_session(path, {}) as session:
        session.record_rejected(0, ahead - 10, "a", "blurred")
        session.record_rejected(1, ahead, "a", "blurred")
    with resume_session(path, {}) as session:
        session.record_rejected(2, now(), "a", "blurred")
        assert session.resume_state().duration_s == pytest.approx(10, abs=1)
    with read_session(path) as reader:
        times = [frame["captured_at"] for frame in reader.rows("frames")]
        events = [(event["kind"], event["at"]) for event in reader.rows("events")]
    assert times == sorted(times)
    assert [kind for kind, _ in events] == ["resumed", "clock"]
    assert all(ahead <= at <= times[-1] for _, at in events)  # type: ignore[operator]  # REAL in the schema


def test_the_time_between_two_runs_is_not_counted(tmp_path: Path) -> None:
    path, begun = tmp_path / "a.db", now() - 10_000
    with create_session(path, {}) as session:
        session.record_rejected(0, begun, "a", "blurred")
        session.record_rejected(1, begun + 20, "a", "blurred")
    with resume_session(path, {}) as session:
        session.record_rejected(2, now() + 5, "a", "blurred")
        assert session.resume_state().duration_s == pytest.approx(25, abs=1)
        assert session.resume_state().started_at == begun
