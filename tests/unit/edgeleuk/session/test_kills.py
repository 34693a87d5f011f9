"""Killed at fifty steps of a split, of a removal, of a fold of the log: what was acknowledged stays."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import kill_steps
import pytest
from sessions import record

from edgeleuk.session import read_session, resume_session
from edgeleuk.session.series import files_of
from edgeleuk.session.verify import verify_session

KILLS = 50
TESTS = Path(__file__).parents[3]


@pytest.mark.parametrize("what", ["split", "rotation", "checkpoint"])
def test_nothing_acknowledged_is_lost(tmp_path: Path, what: str) -> None:
    done = subprocess.run(
        [sys.executable, str(TESTS / "kill_steps.py"), str(tmp_path), what, str(KILLS)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    by = signal.SIGXFSZ if what == "checkpoint" else signal.SIGKILL
    assert [child["signal"] for child in found] == [by] * KILLS
    # At as many places.
    assert len({child["at"] for child in found}) == KILLS
    for child in found:
        path = Path(child["folder"]) / "s.db"
        before = verify_session(path)
        assert before.broken is None, child
        assert child["acknowledged"] <= before.frames <= child["acknowledged"] + 1, child
        with read_session(path) as reader:
            assert [row["sequence"] for row in reader.rows("frames")] == list(range(before.frames)), child
            assert [row["track"] for row in reader.rows("cells")] == list(range(before.frames)), child
    # One in five goes on: its counts are those of a session that nobody killed.
    for child in found[::5]:
        path = Path(child["folder"]) / "s.db"
        with resume_session(path, {"camera": "test://"}, bounds=kill_steps.BOUNDS[what]) as session:
            for number in range(session.resume_state().next_sequence, kill_steps.FRAMES + 4):
                record(session, number)
            assert session.tallies().counted.total == kill_steps.FRAMES + 4, child
        after = verify_session(path)
        assert (after.broken, after.frames, after.cells) == (
            None,
            kill_steps.FRAMES + 4,
            kill_steps.FRAMES + 4,
        )
        assert not list(path.parent.glob(".*")), child
        if what == "split":
            assert len(files_of(path)) >= 5, child
