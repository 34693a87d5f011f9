"""A run that is killed and goes on: nothing that was recorded is lost, and nothing is counted twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from sessions import record, summary

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.session import create_session, read_session
from edgeleuk.session.open import SAME_SETTINGS, resume_session
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    from pathlib import Path

CAMERA = "virtual://?seed=11&width=640&height=480&fps=0"
FRAMES = "40"


def command(session: Path, *flags: str) -> list[str]:
    return [
        *(sys.executable, "-m", "edgeleuk", "run", "--camera", CAMERA, "--frames", FRAMES),
        *("--session", str(session), "--json", *flags),
    ]


def cells(path: Path) -> list[Any]:
    """What is said of each cell; cells are numbered anew, for those that were never judged are forgotten."""
    keys = ("frame", "x", "y", "area_px", "decision", "probability", "views")
    with read_session(path) as reader:
        assert reader.verify().broken is None
        return sorted([row[key] for key in keys] for row in reader.rows("cells"))


def test_killed_and_resumed_is_as_never_killed(tmp_path: Path) -> None:
    whole = json.loads(subprocess.run(command(tmp_path / "a.db"), check=True, capture_output=True).stdout)
    parts = 0
    for frames in (8, 20):
        running = subprocess.Popen(
            command(tmp_path / "b.db", "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while running.poll() is None and recorded(tmp_path / "b.db") < frames:
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
        parts += running.wait() == -signal.SIGKILL
    assert parts, "every part had ended before it was killed"
    last = subprocess.run(command(tmp_path / "b.db", "--resume"), check=True, capture_output=True)
    resumed = json.loads(last.stdout)
    for key in ("unique", "blast", "normal", "uncertain", "detected", "seen_before", "excluded"):
        assert resumed["cells"][key] == whole["cells"][key], key
    for key in ("captured", "processed", "dropped", "rejected"):
        assert resumed["frames"][key] == whole["frames"][key], key
    assert resumed["truth"] == whole["truth"]
    assert cells(tmp_path / "b.db") == cells(tmp_path / "a.db")


def recorded(path: Path) -> int:
    if not path.exists():
        return 0
    connection = sqlite3.connect(path, timeout=1)
    try:
        return int(connection.execute("SELECT COUNT(*) FROM frames").fetchone()[0])
    except sqlite3.Error:
        return 0
    finally:
        connection.close()


def test_a_session_that_is_not_there_is_begun(tmp_path: Path) -> None:
    with resume_session(tmp_path / "s.db", {"camera": "test://"}) as session:
        record(session, 0)
    with resume_session(tmp_path / "s.db", {"camera": "test://"}) as session:
        past = session.resume_state()
        assert (past.next_sequence, past.processed, past.counted.total, past.events) == (1, 1, 1, 1)
        record(session, 1)
    with read_session(tmp_path / "s.db") as reader:
        assert tuple(reader.counts()) == (2, 0, 2, 1)
        assert reader.verify().broken is None


def test_a_finished_session_goes_on_and_has_one_summary(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with create_session(path, {}) as session:
        record(session, 0)
        session.finish(summary(path))
    with resume_session(path, {}) as session:
        with read_session(path) as reader:
            assert reader.summary is None
        record(session, 1)
        session.finish(summary(path))
    with read_session(path) as reader:
        assert reader.summary is not None
        assert reader.verify().broken is None


def test_a_tracker_remembers_nothing_of_an_empty_session(tmp_path: Path) -> None:
    with create_session(tmp_path / "s.db", {}) as session:
        tracker = FieldTracker()
        tracker.recall(session.earlier_fields())
        assert tracker.unique == 0


class TestRefusals:
    @pytest.mark.parametrize("key", SAME_SETTINGS)
    def test_other_settings(self, tmp_path: Path, key: str) -> None:
        create_session(tmp_path / "s.db", {key: "a"}).close()
        with pytest.raises(
            UsageError, match=rf"recorded with another {key}: got b, allowed a; pass the same"
        ):
            resume_session(tmp_path / "s.db", {key: "b"})

    def test_another_run_that_writes(self, tmp_path: Path) -> None:
        with create_session(tmp_path / "s.db", {}) as session:
            record(session, 0)
            with pytest.raises(SessionError, match="being recorded by another run"):
                resume_session(tmp_path / "s.db", {})
            record(session, 1)
        resume_session(tmp_path / "s.db", {}).close()

    def test_an_earlier_schema(self, tmp_path: Path) -> None:
        create_session(tmp_path / "s.db", {}).close()
        connection = sqlite3.connect(tmp_path / "s.db")
        connection.execute("PRAGMA user_version = 3")
        connection.close()
        with pytest.raises(
            SessionError,
            match="the tables are not as they were made",
        ):
            resume_session(tmp_path / "s.db", {})

    def test_a_broken_chain(self, tmp_path: Path) -> None:
        with create_session(tmp_path / "s.db", {}) as session:
            record(session, 0)
        connection = sqlite3.connect(tmp_path / "s.db")
        with connection:
            connection.execute("UPDATE cells SET probability = 0.1")
        connection.close()
        with pytest.raises(SessionError, match="not as it was recorded and cannot be continued: got frame 0"):
            resume_session(tmp_path / "s.db", {})

    def test_a_file_that_may_not_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        create_session(tmp_path / "s.db", {}).close()

        def refuse(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(UsageError, match=r"s\.db cannot be written: got Permission denied"):
            resume_session(tmp_path / "s.db", {})


def test_frames_that_a_rule_removed_are_not_dropped(tmp_path: Path) -> None:
    """What stood in files that are gone is in no count: neither captured nor dropped."""

    def run(*flags: str) -> dict[str, int]:
        words = command(tmp_path / "s.db", "--split", "4", *flags)
        words[words.index("--frames") + 1] = "12"
        return json.loads(subprocess.run(words, check=True, capture_output=True).stdout)["frames"]

    whole = run()
    resumed = run("--resume", "--keep-results", "0.000001MB")
    assert not (tmp_path / "s.db").exists()
    for key in ("captured", "processed", "dropped", "rejected"):
        assert resumed[key] == whole[key], key
