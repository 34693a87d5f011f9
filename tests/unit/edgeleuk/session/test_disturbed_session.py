"""What befalls a session's file while it is recorded: an error at once, that says what is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sessions import record, summary

from edgeleuk.capture import open_source
from edgeleuk.errors import SessionError
from edgeleuk.pipeline.engine import Engine
from edgeleuk.pipeline.run import run
from edgeleuk.results import Decision, Prediction
from edgeleuk.session import create_session, read_session
from edgeleuk.session.verify import verify_session
from edgeleuk.session.writer import DiskGuard
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeleuk.frames import CellCrop

FRAMES = 5
# Holds the session for writing, in a process of its own, until it is killed.
HOLDER = """
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(600)
"""


def alter(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def replace(path: Path) -> None:
    path.rename(path.with_name("moved.db"))
    path.write_bytes(b"another file")


BEFALLS: dict[str, tuple[Callable[[Path], object], str, str | None]] = {
    "deleted": (Path.unlink, r"s\.db was deleted .* its 5 frames with 5 cells are rescued in ", "rescued"),
    "its folder deleted": (
        lambda path: shutil.rmtree(path.parent), r"was deleted .* its 5 frames with 5 cells are lost", None,
    ),
    "its log deleted": (
        lambda path: path.with_name("s.db-wal").unlink(), r"s\.db-wal was deleted .* rescued in ", "rescued",
    ),
    "moved": (lambda path: path.rename(path.with_name("moved.db")), "in the file that was moved", "moved"),
    "replaced": (replace, "another file put in its place", "moved"),
    "cut": (lambda path: os.truncate(path, 100), "was cut by another program .* got 100 bytes", None),
    "a call changed": (lambda path: alter(path, "UPDATE cells SET focus = 9"), "frame 0 is not", None),
    "a frame removed": (lambda path: alter(path, "DELETE FROM events"), "event 1 is not as it was", None),
    "an event added": (
        lambda path: alter(path, "INSERT INTO events (at, kind, text) VALUES (0, 'x', 'y')"),
        "event 2 was added behind the chain", None,
    ),
    "a table dropped": (lambda path: alter(path, "DROP TABLE true_cells"), "the tables are not as", None),
}  # fmt: skip


@pytest.mark.parametrize("befalls", BEFALLS)
def test_the_next_record_says_it(tmp_path: Path, befalls: str) -> None:
    path = tmp_path / "folder" / "s.db"
    path.parent.mkdir()
    do, says, kept = BEFALLS[befalls]
    with create_session(path, {}) as session:
        for number in range(FRAMES):
            record(session, number)
        session.record_event("gap", "none")
        do(path)
        with pytest.raises(SessionError, match=says) as raised:
            record(session, FRAMES)
        assert raised.value.exit_code == 7
        assert "bug" not in str(raised.value)
        # It stays so, and nothing more is recorded: the summary neither.
        for again in (session.check, lambda: session.finish(summary(path))):
            with pytest.raises(SessionError, match=says):
                again()
    if kept is not None:
        (held,) = path.parent.glob(f"*{kept}*.db")
        found = verify_session(held)
        assert (found.broken, found.frames, found.cells, found.events) == (None, 5, 5, 1)
        assert not found.finished


def test_readers_and_checkpoints_of_others_disturb_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with create_session(path, {}) as session:
        for number in range(FRAMES):
            record(session, number)
            with read_session(path) as reader:
                assert reader.counts().processed == number + 1
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        session.finish(summary(path))
    assert verify_session(path).broken is None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeleuk.session.files.PATIENCE_S", 0.2)


@pytest.mark.usefixtures("impatient")
def test_a_lock_that_is_never_released(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with create_session(path, {}) as session:
        record(session, 0)
        with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            with pytest.raises(SessionError, match=r"s\.db is in use by another program"):
                record(session, 1)
            holder.kill()
        # Once it is free, all that was recorded is there, and the summary goes in.
        session.finish(summary(path))
    found = verify_session(path)
    assert (found.broken, found.frames, found.finished) == (None, 1, True)


class Sure:
    """Stands in for the network."""

    def classify(self, crops: Sequence[CellCrop]) -> list[Prediction]:
        return [Prediction(Decision.BLAST, 0.75)] * len(crops)

    def consensus(self, views: Sequence[Prediction]) -> Prediction:
        return views[0]


CAMERA = "virtual://?seed=3&width=480&height=360&px_per_um=9.75&frames=6"


@pytest.mark.parametrize(
    ("pictures_bytes", "stop_bytes"),
    [(10**15, 0), (0, 10**15), (10**15, 10**15)],
    ids=["few", "none", "both"],
)
def test_a_run_on_a_disk_that_is_nearly_full(tmp_path: Path, pictures_bytes: int, stop_bytes: int) -> None:
    """Its summary is that of the rows: an event of the session's own is one of them."""
    path = tmp_path / "s.db"
    guard = DiskGuard(pictures_bytes, stop_bytes)
    with open_source(CAMERA) as source, create_session(path, {}, guard=guard) as session:
        work = (source, Engine(Sure(), FieldTracker()), session)
        if stop_bytes:
            with pytest.raises(SessionError, match="the disk is nearly full"):
                run(*work, stop=threading.Event())
        else:
            run(*work, stop=threading.Event())
        told = session.summary
    assert told is not None
    with read_session(path) as reader:
        rows = reader.counts()
        assert reader.summary is not None
        assert reader.summary["events"] == told.events == rows.events
        assert (told.processed, told.unique) == (rows.processed, rows.cells)
        kinds = [row["kind"] for row in reader.rows("events")]
        assert reader.verify().broken is None
    assert kinds == (["error"] if stop_bytes else ["disk"])
    assert rows.processed == (0 if stop_bytes else 6)


def test_a_run_whose_session_is_deleted_ends_with_what_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "s.db"

    def delete(*_: object) -> None:
        path.unlink(missing_ok=True)

    with open_source(CAMERA) as source, create_session(path, {}) as session:
        with pytest.raises(SessionError, match=r"s\.db was deleted while it was recorded; its 1 frames"):
            run(source, Engine(Sure(), FieldTracker()), session, on_frame=delete, stop=threading.Event())
        told = session.summary
    assert told is not None
    assert told.processed == 1
    assert "was deleted" in told.ended
    (rescued,) = tmp_path.glob("s.rescued-*.db")
    assert verify_session(rescued).frames == 1
