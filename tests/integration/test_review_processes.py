"""A run and two readers on one session, each a process of its own, one of them killed: nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.session.reader import read_session
from edgeleuk.session.reviews import reviews_of
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from pathlib import Path

READER = """
import sys
import time
from pathlib import Path
from edgeleuk.review import ReviewDesk
from edgeleuk.review.desk import word
path, reader, most = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
done = 0
with ReviewDesk(path) as desk:
    while done < most:
        for cell in desk.queue(reader, limit=1):
            token = f"{reader}-{done}"
            desk.record([word(cell.track, "band", reader, token, is_drawn=True)])
            done += 1
            print(token, flush=True)
        time.sleep(0.05)
"""
FRAMES = 10


def started(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True)


def test_a_run_and_two_readers(tmp_path: Path) -> None:
    session = tmp_path / "night.db"
    run = started(
        *("-m", "edgeleuk", "run", "--camera", "virtual://", "--frames", FRAMES, "--session", session)
    )
    while _cells(session) < 2:
        assert run.poll() is None
    readers = [started("-c", READER, session, name, 60) for name in ("A", "B")]
    told: list[list[str]] = [[], []]
    for reader, lines in zip(readers, told, strict=True):
        assert reader.stdout is not None
        lines.extend(reader.stdout.readline().strip() for _ in range(2))
    readers[0].send_signal(signal.SIGKILL)
    run.communicate()
    readers[1].send_signal(signal.SIGKILL)
    for reader, lines in zip(readers, told, strict=True):
        lines.extend(reader.communicate()[0].split())
    assert run.returncode == 0
    found = verify_session(session)
    assert (found.broken, found.frames) == (None, FRAMES)
    with read_session(session) as reader_of:
        assert reader_of.summary is not None
        recorded = [review.token for review, _ in reviews_of(reader_of)]
    assert len(set(recorded)) == len(recorded)
    for lines, name in zip(told, "AB", strict=True):
        # What was acknowledged is there; of what was under way when it was killed, at most one more.
        assert set(lines) <= set(recorded)
        assert sum(token.startswith(name) for token in recorded) - len(lines) in (0, 1)


def _cells(session: Path) -> int:
    """Count the cells of a session that may be just beginning."""
    try:
        with read_session(session) as reader:
            return reader.counts().cells
    except (SessionError, UsageError):
        return 0
