"""Reading a session while it is recorded: what is new since last time, in short transactions.

Each call reads a bounded number of rows and ends its transaction, so that SQLite's log can be folded into the
file whenever the run likes: a reader never makes it grow.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.io.closing import Closing
from edgeleuk.session.reader import read_session
from edgeleuk.session.schema import CONTINUED, explained

# The run waits for nobody; who follows it does, for a moment.
_PATIENCE_S = 2.0
# The first link covers the settings, which two runs may share. The second covers a record with its time.
_LINK_OF_IDENTITY = 2
_IDENTITY_DIGITS = 16
RESUMED = "resumed"


class EventRow(NamedTuple):
    """A line of the session's log."""

    number: int
    at: float
    kind: str
    text: str


class FrameRow(NamedTuple):
    """What a session says of a frame; of one that was rejected, why, and nothing but its time."""

    sequence: int
    captured_at: float
    px_per_um: float | None
    detected: int
    judged: int
    seen_before: int
    excluded: int
    latency_ms: float | None
    rejected: str | None


class SummaryRow(NamedTuple):
    """The summary of one part of a session, as JSON."""

    number: int
    value: str


class SessionFollower(Closing):
    """A session, finished or being recorded, for whoever wants to know what is new.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    settings : dict
        What the run was started with.

    Raises
    ------
    UsageError
        There is no such file.
    SessionError
        It is no session, it is damaged, or an earlier edgeleuk recorded it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        with read_session(self.path) as reader:
            self.settings = reader.settings
            schema = reader.schema
        if schema < min(CONTINUED):
            raise SessionError(
                f"{path} was recorded by an earlier edgeleuk and cannot be followed",
                got=f"schema {schema}",
                allowed=f"{min(CONTINUED)} or later",
            )
        with explained(self.path):
            self._connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,
                timeout=_PATIENCE_S,
                check_same_thread=False,
            )
            self._connection.execute("PRAGMA query_only = ON")
        self._file = _file_of(self.path)
        self._identity: str | None = None

    def identity(self) -> str | None:
        """Return what tells this session from every other; None before its first record."""
        if self._identity is None:
            rows = self._rows("SELECT link FROM chain WHERE id = ?", _LINK_OF_IDENTITY)
            self._identity = bytes(rows[0][0]).hex()[:_IDENTITY_DIGITS] if rows else None
        return self._identity

    def events(self, after: int, most: int) -> list[EventRow]:
        """Return the next events behind the one of that number."""
        query = "SELECT id, at, kind, text FROM events WHERE id > ? ORDER BY id LIMIT ?"
        return [EventRow(*row) for row in self._rows(query, after, most)]

    def frames(self, after: int, most: int) -> list[FrameRow]:
        """Return the next frames behind the one of that number."""
        query = (
            "SELECT sequence, captured_at, px_per_um, detected, judged, seen_before, excluded, latency_ms,"
            " rejected FROM frames WHERE sequence > ? ORDER BY sequence LIMIT ?"
        )
        return [FrameRow(*row) for row in self._rows(query, after, most)]

    def summaries(self, after: int, most: int) -> list[SummaryRow]:
        """Return the next summaries behind the one of that number: each part of a session has one."""
        query = "SELECT id, value FROM summary WHERE id > ? ORDER BY id LIMIT ?"
        return [SummaryRow(*row) for row in self._rows(query, after, most)]

    def resumed_at(self) -> list[float]:
        """Return when the session was gone on with, in order."""
        return [row[0] for row in self._rows("SELECT at FROM events WHERE kind = ? ORDER BY id", RESUMED)]

    def ends(self) -> tuple[int, int, int]:
        """Return the numbers of the last event, the last frame (-1 of none) and the last summary."""
        rows = self._rows(
            "SELECT (SELECT COALESCE(MAX(id), 0) FROM events),"
            " (SELECT COALESCE(MAX(sequence), -1) FROM frames),"
            " (SELECT COALESCE(MAX(id), 0) FROM summary)"
        )
        return rows[0][0], rows[0][1], rows[0][2]

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with explained(self.path):
            if _file_of(self.path) != self._file:
                # SQLite goes on reading a file that has no name any more.
                raise SessionError(f"{self.path} was moved or deleted while it was read")
            # All rows at once: the transaction ends here.
            return self._connection.execute(query, values).fetchall()


def _file_of(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UsageError("there is no such session file", got=path) from None
    return status.st_dev, status.st_ino
