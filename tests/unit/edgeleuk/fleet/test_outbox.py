"""The session is the queue: what is sent of it, with which keys, and from where on it goes on."""

from __future__ import annotations

import json
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from sessions import of_kinds, record, summary

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.fleet.cursor import SUFFIX
from edgeleuk.fleet.outbox import AGAIN_S, Outbox
from edgeleuk.fleet.windows import WINDOW_S
from edgeleuk.io.clock import now
from edgeleuk.session import create_session, read_session, resume_session
from edgeleuk.session.following import SessionFollower

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.fleet.outbox import Message
    from edgeleuk.session import SessionWriter

TARGET = "mqtt://h:1883/x"
SETTINGS = {"camera": "test://", "bundle": "default", "bundle_sha256": "ab" * 32}


def taken(outbox: Outbox, *, complete: bool = True, ends: bool = True) -> list[Message]:
    """Take everything that is to be sent, acknowledged where it `ends` well."""
    found = []
    while True:
        outbox.fill(complete=complete)
        some = outbox.take(50)
        if not some:
            return found
        found += some
        if ends:
            for message in some:
                outbox.acknowledged(message.key)


def all_of(path: Path, **facts: Any) -> list[Message]:
    with Outbox(path, TARGET, **facts) as outbox:
        return taken(outbox)


def said(messages: list[Message], name: str) -> list[dict[str, Any]]:
    return [json.loads(message.payload) for message in messages if message.name == name]


def night(session: SessionWriter, first: int, frames: int) -> None:
    predictions = of_kinds(max(frames, 1))
    for number in range(first, first + frames):
        if number % 7 == 3:
            session.record_rejected(number, 1e9 + number, "test://", "blurred")
        else:
            record(session, number, predictions[number - first])
        if number % 10 == 0:
            session.record_event("test", f"frame {number}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A finished session of 200 frames."""
    path = tmp_path / "night.db"
    with create_session(path, SETTINGS) as session:
        night(session, 0, 200)
        session.finish(summary(path))
    return path


def test_every_record_stands_in_exactly_one_message(path: Path) -> None:
    messages = all_of(path)
    assert len({message.key for message in messages}) == len(messages)
    events = said(messages, "events")
    assert [event["number"] for event in events] == list(range(1, 21))
    assert [event["text"] for event in events] == [f"frame {number}" for number in range(0, 200, 10)]
    windows = said(messages, "quality")
    covered = [n for one in windows for n in range(one["first_frame"], one["last_frame"] + 1)]
    assert covered == list(range(200))
    for one in windows:
        assert one["processed"] + one["rejected"] == one["last_frame"] - one["first_frame"] + 1
        assert one["until_at"] - one["from_at"] < WINDOW_S
        assert one["detected"] == one["new_cells"] + one["seen_before"] + one["excluded"]
        assert one["rejected_by_reason"] == {"blurred": one["rejected"]}
        assert one["latency_ms"] == {"p50": 12.5, "p95": 12.5, "p99": 12.5}
        assert one["px_per_um"] == 13.0
    assert sum(one["new_cells"] for one in windows) == sum(one["processed"] for one in windows) == 171
    (last,) = said(messages, "summary")
    assert last["phase"] == "ended"
    assert last["ended"] == "test"
    assert last["cells"]["blast"] == 1
    assert last["blast_share"]["n"] == 3
    assert last["blast_share"]["low"] < last["blast_share"]["share"] < last["blast_share"]["high"]
    assert last["differential"]["blasts_of_lymphoid_cells"]["n"] == 3
    assert last["research_use"]


def test_only_the_last_summary_is_kept_by_the_broker(path: Path) -> None:
    assert [message.retain for message in all_of(path) if message.name != "summary"] == [False] * 24
    with resume_session(path, SETTINGS) as session:
        session.finish(summary(path))
    kept = [message.retain for message in all_of(path, again=True) if message.name == "summary"]
    assert kept == [False, True]


def test_what_is_acknowledged_is_not_sent_again(path: Path) -> None:
    first = all_of(path)
    assert all_of(path) == []
    assert path.with_name(path.name + SUFFIX).stat().st_size < 512
    assert [message.key for message in all_of(path, again=True)] == [message.key for message in first]


def test_without_its_file_everything_is_sent_with_the_keys_it_had(path: Path) -> None:
    first = all_of(path)
    path.with_name(path.name + SUFFIX).unlink()
    assert all_of(path) == first
    with Outbox(path, "mqtt://other:1883/x") as outbox:
        assert taken(outbox) == first


@pytest.mark.parametrize("content", [b'{"edgeleuk_mqtt":1,"tar', b'{"edgeleuk_mqtt":"x"}', b""])
def test_a_torn_file_means_that_everything_is_sent(path: Path, content: bytes) -> None:
    first = all_of(path)
    path.with_name(path.name + SUFFIX).write_bytes(content)
    assert all_of(path) == first


def test_keys_do_not_hang_on_when_it_is_read(tmp_path: Path) -> None:
    path, copy = tmp_path / "night.db", tmp_path / "copy.db"
    keys: list[str] = []
    with create_session(path, SETTINGS) as session, Outbox(path, TARGET) as outbox:
        for number in range(0, 200, 17):
            night(session, number, 17)
            keys += [message.key for message in taken(outbox, complete=False)]
        session.finish(summary(path))
        keys += [message.key for message in taken(outbox)]
    shutil.copy(path, copy)
    assert sorted(keys) == sorted(message.key for message in all_of(copy))


def test_a_session_that_was_cut_off_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "night.db"
    at = now()

    def frames(session: SessionWriter, first: int) -> None:
        for number in range(first, first + 5):
            record(session, number, captured_at=max(at, now()))

    with create_session(path, SETTINGS) as session:
        frames(session, 0)
    before = all_of(path)
    # What was sent of the minute that was cut off is not sent with the rest of that minute.
    with resume_session(path, SETTINGS) as session:
        frames(session, 5)
        session.finish(summary(path))
    after = all_of(path)
    windows = said(before + after, "quality")
    assert (windows[0]["first_frame"], windows[-1]["last_frame"]) == (0, 9)
    assert 4 in [one["last_frame"] for one in windows]
    assert sum(one["processed"] for one in windows) == 10
    again = all_of(path, again=True)
    assert sorted(one.key for one in again) == sorted(one.key for one in before + after)


def test_what_was_lost_in_an_outage_is_sent_again_and_counted_once(path: Path) -> None:
    seconds = [100.0]
    with Outbox(path, TARGET, clock=lambda: seconds[0]) as outbox:
        outbox.fill(complete=True)
        early = outbox.take(3)
        for message in early:
            outbox.acknowledged(message.key)
        seconds[0] += AGAIN_S + 1
        late = outbox.take(4)
        # The broker acknowledged these, and may have forgotten them when it was killed.
        for message in late[:2]:
            outbox.acknowledged(message.key)
        outbox.lost()
        rest = taken(outbox)
        assert rest[:4] == late
        assert not {message.key for message in early} & {message.key for message in rest}
        assert outbox.sent.total() == len({message.key for message in early + late + rest})
        assert outbox.waiting == 0
    assert all_of(path) == []


def test_what_comes_back_out_of_order_is_not_forgotten(path: Path) -> None:
    with Outbox(path, TARGET) as outbox:
        outbox.fill(complete=True)
        first, *others = outbox.take(20)
        for message in others:
            outbox.acknowledged(message.key)
    assert first.key in {message.key for message in all_of(path)}


def test_records_that_a_power_cut_took_are_noticed(path: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier.db"
    with create_session(earlier, SETTINGS) as session:
        night(session, 0, 50)
        with Outbox(earlier, TARGET) as outbox:
            assert len(said(taken(outbox, complete=False), "events")) == 5
    # The last event is gone, and another has its number.
    with sqlite3.connect(earlier) as connection:
        connection.execute("UPDATE events SET text = 'another' WHERE id = 5")
    events = said(all_of(earlier), "events")
    assert [event["number"] for event in events] == [1, 2, 3, 4, 5]
    assert events[-1]["key"].startswith(f"{events[0]['session']}-event-5-")


def test_what_people_write_stays_in_the_session(tmp_path: Path) -> None:
    path = tmp_path / "night.db"
    with create_session(path, SETTINGS) as session:
        for kind in ("note", "sample", "operator", "lost"):
            session.record_event(kind, "Jane Doe, born 1970")
        messages = all_of(path)
    assert [event["text"] is None for event in said(messages, "events")] == [True, True, True, False]
    assert sum(b"Jane Doe" in message.payload for message in messages) == 1


def test_two_sessions_with_the_same_settings_are_two(tmp_path: Path) -> None:
    names = set()
    for name in "ab":
        with create_session(tmp_path / f"{name}.db", SETTINGS) as session:
            record(session, 0, captured_at=now())
        with SessionFollower(tmp_path / f"{name}.db") as follower:
            names.add(follower.identity())
    assert len(names) == 2


def test_a_session_without_a_record_has_nothing_to_say(tmp_path: Path) -> None:
    with create_session(tmp_path / "new.db", SETTINGS), Outbox(tmp_path / "new.db", TARGET) as outbox:
        assert outbox.about is None
        assert outbox.fill(complete=True)
        assert outbox.waiting == 0


def test_simulated_sessions_say_so(tmp_path: Path) -> None:
    path = tmp_path / "drawn.db"
    with create_session(path, {**SETTINGS, "camera": "virtual://", "simulated": True}) as session:
        night(session, 0, 70)
        session.finish(summary(path))
    assert all(json.loads(message.payload)["simulated"] for message in all_of(path))


def test_memory_and_the_log_of_sqlite_stay_small(tmp_path: Path) -> None:
    path = tmp_path / "night.db"
    with create_session(path, SETTINGS) as session, Outbox(path, TARGET) as outbox:
        largest = 0
        for number in range(1500):
            session.record_event("test", "x" * 2000)
            # It goes on reading, while nothing is ever acknowledged.
            if number % 10 == 0:
                outbox.fill(complete=False)
                outbox.take(50)
                largest = max(largest, path.with_name(path.name + "-wal").stat().st_size)
        assert len(outbox._unsent) + len(outbox._unacknowledged) <= 200
        assert outbox.waiting == 1500
        assert largest < 8_000_000


def test_the_run_does_not_see_that_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "night.db"
    with create_session(path, SETTINGS) as session, Outbox(path, TARGET) as outbox:
        night(session, 0, 20)
        taken(outbox, complete=False)
        session.check()
        with pytest.raises(SessionError):
            outbox._follower._rows("DELETE FROM events")
        night(session, 20, 20)
    with read_session(path) as reader:
        assert reader.verify().broken is None
    assert not path.with_name(path.name + "-wal").exists()


def test_who_else_sends_it_is_refused(path: Path) -> None:
    with (
        Outbox(path, TARGET),
        pytest.raises(UsageError, match="another process sends this session's messages"),
    ):
        Outbox(path, TARGET)
    assert all_of(path)


def test_a_file_of_others_is_not_touched(path: Path) -> None:
    beside = path.with_name(path.name + SUFFIX)
    beside.write_text("a letter")
    with pytest.raises(UsageError, match="edgeleuk did not make it"):
        Outbox(path, TARGET)
    assert beside.read_text() == "a letter"
    beside.unlink()
    beside.symlink_to(path)
    with pytest.raises(UsageError, match="cannot be made, which tells what the broker has"):
        Outbox(path, TARGET)


def test_a_session_that_is_moved_away_is_told(path: Path) -> None:
    with Outbox(path, TARGET) as outbox:
        path.rename(path.with_name("elsewhere.db"))
        with pytest.raises(UsageError, match="there is no such session file"):
            outbox.fill(complete=True)
        shutil.copy(path.with_name("elsewhere.db"), path)
        with pytest.raises(SessionError, match="was moved or deleted while it was read"):
            outbox.fill(complete=True)


def test_what_is_no_session(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear all, " * 100)
    with pytest.raises(SessionError, match="is no session of edgeleuk"):
        Outbox(tmp_path / "letter.db", TARGET)
    with pytest.raises(UsageError, match="there is no such session file"):
        Outbox(tmp_path / "none.db", TARGET)
