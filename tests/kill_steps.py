"""A program that records sessions in children, each of which is killed at another step.

It is started as ``python kill_steps.py FOLDER WHAT KILLS`` and prints, as JSON, a list of what became of each
child: its folder, the step, the signal that ended it, and the frames that it had acknowledged. What a child
does is counted in steps: each statement of SQL, and each so many instructions of SQLite's machine. A fold of
the log is cut by the kernel instead, at another page of the file each time. No clock decides.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import cv2
from sessions import record

from edgeleuk.io.storage_bounds import StorageBounds
from edgeleuk.session import create_session
from edgeleuk.session.series_writer import SeriesWriter

FRAMES = 10
PAGE = 6 * 1024
# Instructions of SQLite's machine between two steps.
GRAIN = 25
BOUNDS = {
    "split": StorageBounds.of("3", None, None),
    "rotation": StorageBounds.of("4", "0.15MB", None),
    "checkpoint": StorageBounds(),
}
# What is counted: as long as this is under way.
COUNTED = {"split": "_go_on_in_a_new_file", "rotation": "_rotate"}


class Steps:
    """Counts, and kills the process at one of them."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0
        self.armed = False

    def __call__(self, *_: object) -> None:
        if self.armed:
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

    def during(self, owner: type, name: str) -> None:
        """Count from now on what happens as long as that is under way."""
        whole = getattr(owner, name)

        def counted(*words: Any, **named: Any) -> Any:
            self.armed = True
            self()
            try:
                return whole(*words, **named)
            finally:
                self()
                self.armed = False

        setattr(owner, name, counted)

    def watch_sqlite(self) -> None:
        """Count what connections do that are opened from now on."""
        connect, steps = sqlite3.connect, self

        class Watched(sqlite3.Connection):
            def __init__(self, *words: Any, **named: Any) -> None:
                super().__init__(*words, **named)
                self.set_progress_handler(steps, GRAIN)
                self.set_trace_callback(steps)

        sqlite3.connect = lambda *words, **named: connect(*words, **{"factory": Watched, **named})


def write(folder: Path, what: str, at: int) -> int:
    """Record a session, a line in ``said`` for each frame that is acknowledged; return the steps."""
    steps = Steps(at)
    if what in COUNTED:
        steps.watch_sqlite()
        steps.during(SeriesWriter, COUNTED[what])
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT)
    with create_session(folder / "s.db", {"camera": "test://"}, bounds=BOUNDS[what]) as session:
        if isinstance(session, SeriesWriter) and session._rotation is not None:
            session._rotation._every_s = 0.0
        for number in range(FRAMES):
            record(session, number)
            os.write(said, b"%d\n" % number)
        if what == "checkpoint":
            fold(session._connection, at)
    return steps.count


def fold(connection: sqlite3.Connection, at: int) -> None:
    """Fold the log into the file; the kernel ends the process as it writes behind so many pages."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if at:
        resource.setrlimit(resource.RLIMIT_FSIZE, (at * PAGE, resource.RLIM_INFINITY))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def killed(folder: Path, what: str, at: int) -> dict[str, Any]:
    """Let a child be killed at that step; 0 is none."""
    folder.mkdir()
    child = os.fork()
    if child == 0:
        try:
            steps = write(folder, what, at)
            (folder / "steps").write_text(str(steps), encoding="ascii")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return {
        "folder": str(folder),
        "at": at,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "acknowledged": (folder / "said").read_bytes().count(b"\n"),
    }


def main(folder: Path, what: str, kills: int) -> None:
    # A thread would not outlive the fork.
    cv2.setNumThreads(1)
    killed(folder / "whole", what, 0)
    if what == "checkpoint":
        places = list(range(1, kills + 1))
    else:
        steps = int((folder / "whole" / "steps").read_text(encoding="ascii"))
        assert steps > kills, steps
        places = [1 + number * (steps - 1) // (kills - 1) for number in range(kills)]
    found = [killed(folder / str(number), what, at) for number, at in enumerate(places)]
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
