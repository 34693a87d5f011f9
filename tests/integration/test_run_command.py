"""``edgeleuk run`` when things go wrong in the middle: what was recorded stays, and the exit code tells."""

from __future__ import annotations

import json
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

from mjpeg_server import Faults, serve

from edgeleuk.session import read_session

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

EDGELEUK = (sys.executable, "-m", "edgeleuk")
LARGEST_FILE_BYTES = 300_000


def run(*words: object, small_disk: bool = False) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE_BYTES, LARGEST_FILE_BYTES))

    return subprocess.run(
        [*EDGELEUK, "run", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit if small_disk else None,
    )


def rows(session: Path) -> int:
    with closing(sqlite3.connect(session)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with read_session(session) as reader:
        return reader.counts().processed


def test_a_camera_that_dies_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = tmp_path / "s.db"
    with serve(640, 480, 20, Faults(close_after=15)) as address:
        monkeypatch.setenv("EDGELEUK_RECONNECTS", "0")
        done = run("--camera", f"{address}/stream", "--session", session, "--json")
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr
    frames = json.loads(done.stdout)["frames"]
    assert (
        frames["captured"]
        == frames["processed"] + frames["dropped"] + frames["rejected"] + frames["in_flight"]
    )
    assert 0 < frames["processed"] == rows(session)


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    session = tmp_path / "s.db"
    camera = "virtual://?seed=1&width=640&height=480"
    done = run("--camera", camera, "--session", session, "--frames", 2000, "--json", small_disk=True)
    assert done.returncode == 7, done.stderr
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    processed = json.loads(done.stdout)["frames"]["processed"]
    assert 0 < processed == rows(session)


def test_it_ends_when_enough_cells_are_counted(tmp_path: Path) -> None:
    camera = "virtual://?seed=1&width=640&height=480&white_cells_per_field=6"
    done = run("--camera", camera, "--session", tmp_path / "s.db", "--until-cells", 5, "--json")
    told = json.loads(done.stdout)
    assert 5 <= told["cells"]["unique"] < 12
    assert told["ended"] == "5 cells are counted"
    refused = run("--camera", camera, "--session", tmp_path / "t.db", "--until-cells", 0)
    assert refused.returncode == 2
    assert "expected until_cells of 1 or more, got 0" in refused.stderr


def test_sigterm_ends_a_run_cleanly(tmp_path: Path) -> None:
    session = tmp_path / "s.db"
    words = [
        *EDGELEUK,
        "run",
        "--camera",
        "virtual://?width=640&height=480",
        "--session",
        str(session),
        "--json",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not session.exists() or not session.with_name("s.db-wal").exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["frames"]["processed"] == rows(session) > 0


def test_a_picture_that_cannot_be_written_does_not_hide_the_summary(tmp_path: Path) -> None:
    words = (
        "--camera",
        "virtual://?width=320&height=240",
        "--frames",
        2,
        "--session",
        tmp_path / "s.db",
        "--json",
    )
    done = run(*words, "--picture", tmp_path / "no" / "such" / "folder.png")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert json.loads(done.stdout)["frames"]["processed"] == 2
