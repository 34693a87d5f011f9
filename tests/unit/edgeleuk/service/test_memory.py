"""Which session a start goes on with, and how long it waits before it begins."""

from __future__ import annotations

import stat
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from served import summary_of

from edgeleuk.commands import service_run
from edgeleuk.commands.service_run import SOUND_AFTER_S, Once, ServiceAttendant, run_service
from edgeleuk.errors import (
    CameraError,
    EdgeleukError,
    InterruptedBeforeRecordError,
    SessionError,
    UsageError,
)
from edgeleuk.service.memory import FILE, Memory, read_memory, session_for, wait_before_s, write_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeleuk.results import SessionSummary

EVENING = time.struct_time((2026, 11, 30, 22, 15, 0, 0, 334, 0))
MORNING = time.struct_time((2026, 12, 1, 6, 30, 0, 1, 335, 0))


def test_what_is_remembered_comes_back_and_is_nobody_elses(tmp_path: Path) -> None:
    first = read_memory(tmp_path)
    assert len(first.token) > 20
    memory = msgspec.structs.replace(first, session="a.db", failures=3)
    write_memory(tmp_path, memory)
    assert read_memory(tmp_path) == memory
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("data", [b"", b"{", b'{"failures": "many"}', b"{}"])
def test_what_cannot_be_read_is_forgotten(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    found = read_memory(tmp_path)
    assert (found.session, found.failures) == (None, 0)
    assert found.token


def test_a_place_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_memory(tmp_path / "gone", Memory(token="t"))
    assert "cannot be written (No such file or directory)" in caplog.text


def test_it_waits_longer_and_longer_but_no_minute() -> None:
    waits = [wait_before_s(failures) for failures in range(200)]
    assert waits[:2] == [0, 0]
    assert waits == sorted(waits)
    assert waits[-1] + 2 == 60


@pytest.mark.parametrize(
    ("memory", "session_per", "now", "name"),
    [
        (Memory(), "start", EVENING, "session-20261130-221500.db"),
        (Memory(session="cut.db"), "start", EVENING, "cut.db"),
        (Memory(), "day", EVENING, "session-20261130.db"),
        (Memory(session="session-20261130.db", day="20261130"), "day", EVENING, "session-20261130.db"),
        # Cut off before midnight: the new day has its own.
        (Memory(session="session-20261130.db", day="20261130"), "day", MORNING, "session-20261201.db"),
        # Of a time when the settings were others.
        (Memory(session="cut.db"), "day", EVENING, "session-20261130.db"),
        (
            Memory(session="session-20261130.db", day="20261130"),
            "start",
            MORNING,
            "session-20261201-063000.db",
        ),
    ],
)
def test_the_session_of_a_start(
    tmp_path: Path, memory: Memory, session_per: Any, now: time.struct_time, name: str
) -> None:
    path, after = session_for(tmp_path, memory, session_per, now=now)
    assert path == tmp_path / name
    assert after.session == name
    # It stays that one until it ends in order.
    assert session_for(tmp_path, after, session_per, now=now)[0] == path


def test_no_session_is_taken_for_a_new_one(tmp_path: Path) -> None:
    """Without a clock, every start has the same time."""
    names = []
    for _ in range(3):
        path, _ = session_for(tmp_path, Memory(), "start", now=EVENING)
        path.touch()
        names.append(path.name)
    assert names == [f"session-20261130-221500{end}.db" for end in ("", "-2", "-3")]


class Runs:
    """Runs that end as they are told to, and what they were given."""

    def __init__(self, *ends: EdgeleukError | Callable[[Once], None] | None) -> None:
        self.given: list[Once] = []
        self._ends = iter(ends)

    def __call__(self, once: Once) -> tuple[SessionSummary, EdgeleukError | None]:
        self.given.append(once)
        end = next(self._ends)
        if isinstance(end, (UsageError, SessionError)):
            raise end
        once.session.touch()
        if callable(end):
            end(once)
            end = None
        return summary_of(3), end


def test_a_failure_is_gone_on_with_and_an_end_in_order_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    died = CameraError("no frame came for 34 s")
    runs = Runs(died, died, died, None, None)
    for _ in range(3):
        assert run_service(runs, folder=tmp_path)[1] is died
    failures = read_memory(tmp_path).failures
    assert run_service(runs, folder=tmp_path)[1] is None
    run_service(runs, folder=tmp_path)
    sessions = [once.session for once in runs.given]
    assert len(set(sessions[:4])) == 1
    assert sessions[4] != sessions[3]
    assert (failures, slept) == (3, [4.0, 8.0])
    # A tablet finds the page again.
    assert len({once.token for once in runs.given}) == 1


def test_who_is_stopped_has_not_failed(tmp_path: Path) -> None:
    def stopped(_: Once) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_service(Runs(stopped), folder=tmp_path)
    run_service(Runs(InterruptedBeforeRecordError("stopped before anything was recorded")), folder=tmp_path)
    assert read_memory(tmp_path).failures == 0
    # But for that, the session at hand is gone on with.
    assert read_memory(tmp_path).session is not None


@pytest.mark.parametrize(
    "refusal", [UsageError("another bundle"), SessionError("its hash chain is broken")], ids=type
)
def test_a_session_that_cannot_be_gone_on_with_gives_way(tmp_path: Path, refusal: EdgeleukError) -> None:
    (tmp_path / "cut.db").touch()
    write_memory(tmp_path, Memory(session="cut.db", token="t"))
    runs = Runs(refusal, None)
    run_service(runs, folder=tmp_path)
    assert [once.session.name for once in runs.given] == ["cut.db", "cut-2.db"]


def test_a_session_that_the_settings_name_does_not(tmp_path: Path) -> None:
    (tmp_path / "mine.db").touch()
    with pytest.raises(SessionError):
        run_service(Runs(SessionError("broken")), folder=tmp_path, session=tmp_path / "mine.db")
    with pytest.raises(UsageError):
        run_service(Runs(UsageError("no such bundle")), folder=tmp_path)
    assert read_memory(tmp_path).failures == 2


def test_a_new_day_begins_a_new_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = iter([EVENING, MORNING])
    monkeypatch.setattr(time, "localtime", lambda: next(days))

    def over_midnight(once: Once) -> None:
        once.attendant.is_over = True

    runs = Runs(over_midnight, None)
    run_service(runs, folder=tmp_path, session_per="day")
    assert [once.session.name for once in runs.given] == ["session-20261130.db", "session-20261201.db"]
    # Stopped and started again on that day, it goes on.
    assert read_memory(tmp_path).session == "session-20261201.db"


def test_the_attendant_sees_midnight_and_a_sound_run() -> None:
    stop, told, now_s, day, frames = threading.Event(), [], [0.0], ["20261130"], [7]
    attendant = ServiceAttendant(
        lambda: told.append("sound"), stop, "20261130", clock=lambda: now_s[0], today=lambda: day[0]
    )

    def tick(seconds: float, count: int) -> None:
        now_s[0] += seconds
        frames[0] += count
        attendant.tick(lambda: summary_of(frames[0]))

    # What the session had before is no sign that this run is sound.
    for seconds, count in ((1, 0), (SOUND_AFTER_S + 1, 0), (1, 1), (SOUND_AFTER_S - 1, 1)):
        tick(seconds, count)
    assert told == []
    tick(2, 1)
    tick(2, 1)
    assert told == ["sound"]
    # A clock that is set back begins no day.
    day[0] = "19700101"
    tick(2, 1)
    assert not stop.is_set()
    day[0] = "20261201"
    tick(2, 1)
    assert stop.is_set()
    assert attendant.is_over


def test_it_waits_for_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([1e6, 2e6, 1e9])
    slept: list[float] = []
    monkeypatch.setattr(service_run, "_free_bytes", lambda _: next(free))
    monkeypatch.setattr(time, "sleep", slept.append)
    runs = Runs(None)
    run_service(runs, folder=tmp_path)
    assert len(slept) == 2
    assert len(runs.given) == 1
