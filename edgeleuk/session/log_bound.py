"""The bound of a session's log, which SQLite cannot fold into the file past what somebody still reads.

Written pages go into the log first. They are folded in, and the log begins anew, as soon as nobody reads a
state from before. A reader who never ends holds that up, and nothing in SQLite takes its read away: the log
grows as long as there is something to write. So it is given less to write, and in the end nothing.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from edgeleuk.errors import SessionError
from edgeleuk.session.schema import companions

MB = 1_000_000
# As much is folded in at a time; readers that end in time leave the log at that.
FOLD_BYTES = 4 * MB
# Locks of readers in the index of the log, see "WAL-Index File Format" of SQLite's documentation.
_READ_LOCKS = range(123, 128)
_LOCK = re.compile(r"POSIX\s+\S+\s+\S+\s+(\d+)\s+\S+:(\d+)\s+(\d+)\s+(\d+|EOF)")


class LogBound(NamedTuple):
    """What is left undone as the log grows.

    Attributes
    ----------
    pictures_bytes : int
        From there on results are recorded without pictures, until the log begins anew.
    stop_bytes : int
        From there on nothing is recorded: the run ends in order. It is the size that the log never exceeds
        by more than what was recorded in one second.
    """

    pictures_bytes: int = 64 * MB
    stop_bytes: int = 256 * MB


DEFAULT_BOUND = LogBound()


def size_of_log(path: Path) -> int:
    """Return the bytes of a session's log; 0 where there is none."""
    try:
        return companions(path)[0].stat().st_size
    except OSError:
        return 0


def held_up_text(path: Path, size: int) -> str:
    """Say how large the log is, and who reads."""
    return f"the session's log has {size / MB:.0f} MB, as {readers_text(path)} has read from it all the time"


def too_long(path: Path, size: int, bound: LogBound) -> SessionError:
    """Return the error that ends a run whose log may not grow any further."""
    return SessionError(
        f"{readers_text(path)} reads {path} without an end, and its log would grow without one",
        got=f"{size / MB:.0f} MB",
        allowed=f"{bound.stop_bytes / MB:.0f} MB",
        cure="end that program and go on with --resume; all that was recorded is there",
    )


def readers_text(path: Path) -> str:
    """Name the programs that read a session's log now, as far as the system tells."""
    found = sorted(_readers(companions(path)[1]))
    if not found:
        return "a program"
    return " and ".join(f"process {pid}{_name(pid)}" for pid in found)


def _readers(index: Path) -> set[int]:
    """Return who holds a lock of a reader in the log's index.

    The system's own list is read: whoever opens the index and closes it would lose the locks of its process.
    """
    found: set[int] = set()
    with suppress(OSError):
        inode = index.stat().st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines():
            lock = _LOCK.search(line)
            if lock is None or int(lock[2]) != inode:
                continue
            first, last = int(lock[3]), int(lock[4]) if lock[4] != "EOF" else _READ_LOCKS.stop
            if first < _READ_LOCKS.stop and last >= _READ_LOCKS.start and int(lock[1]) != os.getpid():
                found.add(int(lock[1]))
    return found


def _name(pid: int) -> str:
    try:
        return f" ({Path(f'/proc/{pid}/comm').read_text(encoding='utf-8', errors='replace').strip()})"
    except OSError:
        return ""
