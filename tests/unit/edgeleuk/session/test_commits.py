"""Frames of a second committed together: the same session in the end, and what was promised before it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sessions import BLAST, WRITER, record, summary

from edgeleuk.errors import SessionError
from edgeleuk.session import create_session, read_session, resume_session
from edgeleuk.session.log_bound import LogBound, readers_text
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from edgeleuk.session import SessionWriter

BY_SECOND = {"camera": "test://", "durability": "second"}
BY_FRAME = {"camera": "test://", "durability": "frame"}
TESTS = Path(__file__).parents[3]
READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT COUNT(*) FROM frames").fetchall()
print("reads", flush=True)
sys.stdin.read()
"""


def rows_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows but the settings and the chain, which differ by the durability."""
    with closing(sqlite3.connect(path)) as connection:
        tables = ("frames", "cells", "views", "events", "summary", "true_cells", "textures", "moves")
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("commits")


STEPS = st.lists(st.sampled_from(["frame", "rejected", "event", "flush", "views", "counts"]), max_size=12)


@settings(max_examples=15)
@given(steps=STEPS)
def test_in_the_end_it_is_the_session_that_each_frame_would_have_made(folder: Path, steps: list[str]) -> None:
    found = []
    for durability in (BY_FRAME, BY_SECOND):
        path = folder / f"{durability['durability']}.db"
        path.unlink(missing_ok=True)
        seen: list[object] = []
        with create_session(path, durability) as session:
            for number, step in enumerate(steps):
                seen.append(_done(session, number, step))
            session.finish(summary(Path("s.db")))
            assert session.taken == session.recorded
        assert verify_session(path).broken is None
        found.append((rows_of(path), seen))
    assert found[0] == found[1]


def _done(session: SessionWriter, number: int, step: str) -> object:
    """Do a step, and return what is to be seen of the session then."""
    if step == "frame":
        record(session, number)
        return session.views(number)
    if step == "rejected":
        session.record_rejected(number, 1e9, "test://", "out of focus")
    if step == "event":
        session.record_event("gap", "none", at=1e9)
    if step == "flush":
        session.flush()
        return session.recorded == session.taken
    if step == "views":
        return [session.views(track) for track in range(number)]
    return tuple(session.counts()) if step == "counts" else None


def test_what_waits_is_not_on_the_disk_until_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with create_session(path, BY_SECOND) as session:
        for number in range(3):
            record(session, number)
        # A slow machine may have committed some of them by now.
        with read_session(path) as reader:
            assert reader.counts().processed <= session.taken == 3
        session.record_event("gap", "none")
        with read_session(path) as reader:
            assert (reader.counts().processed, session.recorded) == (3, 3)
        record(session, 3)
        session.flush()
        with read_session(path) as reader:
            assert reader.counts().processed == 4


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    with create_session(tmp_path / "s.db", BY_SECOND) as session:
        record(session, 0)
    found = verify_session(tmp_path / "s.db")
    assert (found.broken, found.frames, found.finished) == (None, 1, False)


@pytest.mark.parametrize("durability", ["frame", "second"])
def test_a_full_disk_is_told_and_what_was_counted_is_there(tmp_path: Path, durability: str) -> None:
    path = tmp_path / "s.db"
    session = create_session(path, {"durability": durability})
    (pages,) = session._connection.execute("PRAGMA page_count").fetchone()
    session._connection.execute(f"PRAGMA max_page_count = {pages + 500}")
    with pytest.raises(SessionError, match="the disk is full"):
        fill(session, 60, 4)
    # It is tried once more: perhaps there is room by now.
    with suppress(SessionError):
        session.close()
    with read_session(path) as reader:
        assert 0 < reader.counts().processed == session.recorded < 60
    assert verify_session(path).broken is None


def fill(session: SessionWriter, frames: int, at_once: int = 1) -> None:
    """Record so many frames, so many at once."""
    for number in range(1, frames):
        record(session, number)
        if number % at_once == 0:
            session.flush()


def test_what_a_commit_meets_is_raised_by_the_next_record(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    session = create_session(path, BY_SECOND)
    record(session, 0)
    path.unlink()
    committer = session._committer
    assert committer is not None
    committer._thread.join(30)
    assert isinstance(committer.error, SessionError)
    for again in (lambda: record(session, 1), lambda: session.finish(summary(path))):
        with pytest.raises(SessionError, match=r"s\.db was deleted"):
            again()
    session.close()


def test_a_run_goes_on_by_another_durability(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    for number, durability in enumerate((BY_FRAME, BY_SECOND, BY_FRAME)):
        with resume_session(path, durability) as session:
            record(session, number)
    found = verify_session(path)
    assert (found.broken, found.frames, found.events) == (None, 3, 2)


def test_fifty_kills_lose_nothing_that_was_said_to_be_on_the_disk(tmp_path: Path) -> None:
    program = WRITER.replace(
        '{"camera": "test://"}', '{"camera": "test://", "durability": "second"}'
    ).replace("print(number,", "number % 7 or session.flush()\n    print(number, session.recorded,")
    for kill in range(50):
        path = tmp_path / f"{kill}.db"
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(TESTS)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            # At another place each time, from before the first commit to behind some of them.
            lines = [process.stdout.readline() for _ in range(1 + kill % 25)]
            process.kill()
            lines += process.stdout.read().split("\n")[:-1]
        taken, recorded = map(int, lines[-1].split())
        found = verify_session(path)
        assert found.broken is None
        assert recorded <= found.frames <= taken + 2
        assert not found.finished


class TestLog:
    """However long somebody reads, the log has a bound."""

    BOUND = LogBound(pictures_bytes=400_000, stop_bytes=900_000)

    @pytest.fixture(params=["frame", "second"])
    def session(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        with create_session(tmp_path / "s.db", {"durability": request.param}) as session:
            session._bound = self.BOUND
            session._connection.execute("PRAGMA wal_autocheckpoint = 100")
            record(session, 0)
            session.flush()
            yield session

    @staticmethod
    def reader(path: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", READER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def test_a_reader_that_never_ends(self, session: SessionWriter) -> None:
        path, log = session.path, session.path.with_name("s.db-wal")
        with self.reader(path) as process:
            assert f"process {process.pid}" in readers_text(path)
            with pytest.raises(SessionError, match=rf"process {process.pid} .*reads .*s\.db without an end"):
                fill(session, 10_000)
            assert log.stat().st_size < self.BOUND.stop_bytes + 100_000
            process.communicate()
        session.finish(summary(path))
        with read_session(path) as reader:
            events = [str(row["text"]) for row in reader.rows("events") if row["kind"] == "log"]
            kept = [row["crop"] is not None for row in reader.rows("cells", thumbnails=True)]
        assert len(events) == 1
        assert f"process {process.pid}" in events[0]
        assert "results are recorded without pictures" in events[0]
        # Pictures first, results to the end.
        assert kept == sorted(kept, reverse=True)
        assert 5 < kept.count(True) < len(kept) == session.recorded

    def test_pictures_are_kept_again_once_he_is_gone(self, session: SessionWriter) -> None:
        path = session.path
        with self.reader(path) as process:
            fill(session, 20)
            process.communicate()
        # SQLite begins the log anew with the first record that finds nobody reading.
        session._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(20, 23):
            record(session, number)
            session.flush()
        with read_session(path) as reader:
            texts = [str(row["text"]) for row in reader.rows("events")]
            assert reader.cell(22)["crop"] is not None
            assert reader.cell(19)["crop"] is None
        assert [text.rpartition(": ")[2] for text in texts] == [
            "results are recorded without pictures",
            "pictures are kept",
        ]

    def test_readers_that_end_leave_it_short(self, session: SessionWriter) -> None:
        for number in range(1, 40):
            record(session, number, BLAST)
            with read_session(session.path) as reader:
                assert reader.counts().processed <= number + 1
        session.flush()
        with read_session(session.path) as reader:
            assert list(reader.rows("events")) == []
