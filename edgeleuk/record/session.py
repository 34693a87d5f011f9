"""One SQLite file for each session: written a frame at a time, readable after any end.

A frame and its cells are one transaction in a write-ahead log with ``synchronous=FULL``: what was
acknowledged survives a pulled plug, what was not leaves no trace.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.errors import EdgeleukError, SessionError, UsageError
from edgeleuk.results import Decision, Prediction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from edgeleuk.frames import Box, RgbImage, TrueCell
    from edgeleuk.results import FrameResult, SessionSummary

# "EDLK" in the file's header tells `file` and us whose database it is.
APPLICATION_ID = 0x45444C4B
SCHEMA_VERSION = 1
THUMBNAIL_PX = 96

_SCHEMA = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE frames (
    sequence INTEGER PRIMARY KEY,
    captured_at REAL NOT NULL,
    source TEXT NOT NULL,
    width INTEGER, height INTEGER,
    px_per_um REAL,
    detected INTEGER NOT NULL DEFAULT 0,
    judged INTEGER NOT NULL DEFAULT 0,
    seen_before INTEGER NOT NULL DEFAULT 0,
    excluded INTEGER NOT NULL DEFAULT 0,
    latency_ms REAL,
    rejected TEXT
);
CREATE TABLE cells (
    track INTEGER PRIMARY KEY,
    frame INTEGER NOT NULL REFERENCES frames (sequence),
    x INTEGER NOT NULL, y INTEGER NOT NULL, w INTEGER NOT NULL, h INTEGER NOT NULL,
    area_px INTEGER NOT NULL, nucleus_area_px INTEGER NOT NULL,
    area_um2 REAL, nucleus_area_um2 REAL,
    decision TEXT NOT NULL CHECK (decision IN ('blast', 'normal', 'uncertain')),
    probability REAL,
    reason TEXT,
    truth TEXT,
    thumbnail BLOB
);
CREATE TABLE events (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL
);
CREATE TABLE true_cells (identity INTEGER PRIMARY KEY, label TEXT NOT NULL);
CREATE TABLE summary (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class JudgedCell:
    """A cell's one judgement, with what it was made from.

    Attributes
    ----------
    track : int
    box : Box
        In pixels of the frame.
    area_px, nucleus_area_px : int
    area_um2, nucleus_area_um2 : float
        NaN where the scale is unknown.
    prediction : Prediction
    crop : (h, w, 3) uint8, RGB
        The cell on black; a reduced JPEG of it is kept.
    truth : str or None
        Its real label where the source is simulated.
    """

    track: int
    box: Box
    area_px: int
    nucleus_area_px: int
    area_um2: float
    nucleus_area_um2: float
    prediction: Prediction
    crop: RgbImage
    truth: str | None = None


class Counts(NamedTuple):
    """How many rows are on the disk."""

    processed: int
    rejected: int
    cells: int
    events: int


class SessionWriter:
    """A session under way; made by `create_session`. Used from one thread.

    Attributes
    ----------
    path : Path
    summary : SessionSummary or None
        Set when the run has ended, well or not.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.summary: SessionSummary | None = None
        self._connection = connection

    def record_frame(
        self, result: FrameResult, judged: Sequence[JudgedCell], truth: Sequence[TrueCell] = ()
    ) -> None:
        """Record one processed frame with the cells judged in it; on the disk when this returns.

        Parameters
        ----------
        result : FrameResult
            Its ``latency_ms`` is the time until now: the commit itself is not in it.
        judged : sequence of JudgedCell
            Cells judged for the first time, and so for good.
        truth : sequence of TrueCell
            Simulated cells that lie whole in the frame.
        """
        seen_before = len(result.cells) - len(judged)
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO frames (sequence, captured_at, source, width, height, px_per_um, detected,"
                " judged, seen_before, excluded, latency_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(result.sequence, result.captured_at, result.source, result.width, result.height),
                    *(result.px_per_um, len(result.found), len(judged), seen_before),
                    *(len(result.excluded), result.latency_ms),
                ),
            )
            connection.executemany(
                "INSERT INTO cells (track, frame, x, y, w, h, area_px, nucleus_area_px, area_um2,"
                " nucleus_area_um2, decision, probability, reason, truth, thumbnail)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(cell.track, result.sequence, *cell.box, cell.area_px, cell.nucleus_area_px),
                        *(cell.area_um2, cell.nucleus_area_um2, cell.prediction.decision.value),
                        *(cell.prediction.probability, cell.prediction.reason, cell.truth),
                        thumbnail(cell.crop),
                    )
                    for cell in judged
                ],
            )
            connection.executemany(
                "INSERT OR IGNORE INTO true_cells VALUES (?, ?)",
                [(cell.identity, cell.label) for cell in truth],
            )

    def record_rejected(self, sequence: int, captured_at: float, source: str, reason: str) -> None:
        """Record that a frame was taken and not used."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO frames (sequence, captured_at, source, rejected) VALUES (?, ?, ?, ?)",
                (sequence, captured_at, source, reason),
            )

    def record_event(self, kind: str, text: str) -> None:
        """Add a line to the session's log."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO events (at, kind, text) VALUES (?, ?, ?)", (time.time(), kind, text)
            )

    def prediction(self, track: int) -> Prediction | None:
        """Return the judgement of a track; None when it has none yet."""
        with _explained(self.path):
            row = self._connection.execute(
                "SELECT decision, probability, reason FROM cells WHERE track = ?", (track,)
            ).fetchone()
        return None if row is None else _prediction(*row)

    def true_cells(self) -> dict[str, int]:
        """Label -> how many simulated cells lay whole in a frame so far."""
        with _explained(self.path):
            rows = self._connection.execute(
                "SELECT label, COUNT(*) FROM true_cells GROUP BY label ORDER BY 1"
            )
            return dict(rows.fetchall())

    def counts(self) -> Counts:
        """Count the rows."""
        with _explained(self.path):
            return _counts(self._connection)

    def finish(self, summary: SessionSummary) -> None:
        """Record the summary."""
        self.summary = summary
        with self._transaction() as connection:
            connection.execute("INSERT INTO summary VALUES (1, ?)", (json.dumps(summary.to_json()),))

    def close(self) -> None:
        """Fold the log into the file and close it; a full disk leaves the log beside it, readable."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def __enter__(self) -> SessionWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk may have rolled back already.
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise


class SessionReader:
    """A session for reading; made by `read_session`.

    Attributes
    ----------
    path : Path
    settings : dict
        What the run was started with.
    summary : dict or None
        As `SessionSummary.to_json` made it; None when the run was cut off.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        with _explained(path):
            self.settings: dict[str, object] = {
                key: json.loads(value)
                for key, value in connection.execute("SELECT key, value FROM settings ORDER BY key")
            }
            row = connection.execute("SELECT value FROM summary").fetchone()
            self.summary: dict[str, object] | None = None if row is None else json.loads(row[0])

    def counts(self) -> Counts:
        """Count the rows."""
        with _explained(self.path):
            return _counts(self._connection)

    def rows(self, table: str, *, thumbnails: bool = False) -> Iterator[dict[str, object]]:
        """Yield the rows of ``frames``, ``cells``, ``events`` or ``true_cells`` in the order of their keys.

        Rows of ``cells`` carry ``captured_at``, ``source`` and ``px_per_um`` of their frame; the pictures
        are left out unless `thumbnails` are asked for.
        """
        if table not in _QUERIES:
            msg = f"expected one of {', '.join(_QUERIES)}, got {table}"
            raise ValueError(msg)
        with _explained(self.path):
            cursor = self._connection.execute(_QUERIES[table])
            names = [column[0] for column in cursor.description]
            for row in cursor:
                record = dict(zip(names, row, strict=True))
                if not thumbnails:
                    record.pop("thumbnail", None)
                yield record

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> SessionReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


_QUERIES = {
    "frames": "SELECT * FROM frames ORDER BY sequence",
    "cells": "SELECT cells.*, frames.captured_at, frames.source, frames.px_per_um"
    " FROM cells JOIN frames ON frames.sequence = cells.frame ORDER BY track",
    "events": "SELECT * FROM events ORDER BY id",
    "true_cells": "SELECT * FROM true_cells ORDER BY identity",
}


def create_session(path: Path, settings: Mapping[str, object]) -> SessionWriter:
    """Begin a session in a new file.

    Parameters
    ----------
    path : Path
        Must not exist: a session is never overwritten.
    settings : mapping
        What the run is started with; the values go into JSON.

    Raises
    ------
    UsageError
        `path` exists, or lies in a folder that is missing or may not be written.
    SessionError
        The disk is full.
    """
    path = Path(path)
    for file in (path, *_companions(path)):
        if file.exists() or file.is_symlink():
            raise UsageError(
                f"{file} exists and is never overwritten",
                cure="choose another name with --session, or move the old file away",
            )
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.parent.is_dir():
            raise UsageError(
                "there is no such folder", got=path.parent, cure="make it, or choose another --session"
            ) from error
        raise UsageError(
            f"the session file {path} cannot be made",
            got=error.strerror,
            cure="choose a folder that may be written and has room, with --session",
        ) from error
    connection = None
    try:
        with _explained(path):
            connection = sqlite3.connect(path, isolation_level=None, timeout=5)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            writer = SessionWriter(path, connection)
            with writer._transaction():  # noqa: SLF001 - its own maker
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.executemany(
                    "INSERT INTO settings VALUES (?, ?)",
                    [(key, json.dumps(value)) for key, value in settings.items()],
                )
            _sync_folder(path.parent)
    except BaseException:
        if connection is not None:
            connection.close()
        for file in (path, *_companions(path)):
            file.unlink(missing_ok=True)
        raise
    return writer


def read_session(path: Path) -> SessionReader:
    """Open a session, finished, cut off, or still being recorded.

    Raises
    ------
    UsageError
        There is no such file.
    SessionError
        It is another program's, from a newer version, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError("there is no such session file", got=path)
    with _explained(path):
        connection = _opened(path)
        try:
            found = [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("application_id", "user_version")
            ]
            _require_ours(path, *found)
            return SessionReader(path, connection)
        except BaseException:
            connection.close()
            raise


def thumbnail(crop: RgbImage) -> bytes:
    """Encode a crop as a JPEG whose longer side has at most `THUMBNAIL_PX` pixels."""
    import cv2  # noqa: PLC0415 - reading a session must not cost OpenCV's start

    height, width = crop.shape[:2]
    factor = THUMBNAIL_PX / max(height, width)
    small: object = crop
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(np.asarray(small, np.uint8), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def _require_ours(path: Path, application: int, version: int) -> None:
    if application != APPLICATION_ID:
        raise SessionError(
            f"{path} is no session of edgeleuk", cure="pass a file that `edgeleuk run` recorded"
        )
    if version > SCHEMA_VERSION:
        raise SessionError(
            f"{path} was recorded by a newer edgeleuk",
            got=f"schema {version}",
            allowed=f"up to {SCHEMA_VERSION}",
            cure="update edgeleuk to read it",
        )


def _opened(path: Path) -> sqlite3.Connection:
    """Open for reading, also where no file may be written beside the session."""
    log = _companions(path)[0]
    if not log.exists() or log.stat().st_size == 0:
        # Nobody writes and nothing is left to fold in: no lock and no shared memory are needed.
        return _connect(path, "mode=ro&immutable=1")
    connection = _connect(path, "mode=rw")
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        # No room for the log's shared index: without sharing it lives in memory.
        connection = _connect(path, "mode=rw")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None, timeout=5)


def _companions(path: Path) -> tuple[Path, Path]:
    """SQLite's log and its index."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _sync_folder(folder: Path) -> None:
    """Make the new file's name survive a power cut, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _counts(connection: sqlite3.Connection) -> Counts:
    row = connection.execute(
        "SELECT (SELECT COUNT(*) FROM frames WHERE rejected IS NULL),"
        " (SELECT COUNT(*) FROM frames WHERE rejected IS NOT NULL),"
        " (SELECT COUNT(*) FROM cells), (SELECT COUNT(*) FROM events)"
    ).fetchone()
    return Counts(*row)


def _prediction(decision: str, probability: float | None, reason: str | None) -> Prediction:
    # SQLite keeps NaN as NULL.
    return Prediction(Decision(decision), math.nan if probability is None else probability, reason)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into sentences with a cure."""
    try:
        yield
    except EdgeleukError:
        raise
    except sqlite3.IntegrityError as error:
        raise EdgeleukError(f"a record breaks the session's rules ({error}): this is a bug") from error
    except sqlite3.Error as error:
        text = str(error)
        if "full" in text or _is_full(path):
            raise SessionError(
                f"the disk is full, {path} takes no more records",
                cure="free some space and start a new session; what was recorded before is readable",
            ) from error
        if "readonly" in text or "unable to open" in text:
            raise SessionError(
                f"{path} cannot be opened",
                got=text,
                cure="copy it, with the -wal file beside it, to a folder that may be written",
            ) from error
        if "I/O" in text:
            raise SessionError(
                f"{path} cannot be read or written",
                got=text,
                cure="see whether the disk is full, failing or gone; what was recorded before is readable",
            ) from error
        if "locked" in text:
            raise SessionError(
                f"{path} is in use by another program", cure="wait until it is done"
            ) from error
        if "not a database" in text:
            raise SessionError(
                f"{path} is no session of edgeleuk", cure="pass a file that `edgeleuk run` recorded"
            ) from error
        raise SessionError(f"{path} is damaged", got=text, cure="restore it from a copy") from error


def _is_full(path: Path) -> bool:
    """Whether the disk has no room for one more page."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 65536
