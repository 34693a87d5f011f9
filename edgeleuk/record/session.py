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
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.closing import Closing
from edgeleuk.errors import SessionError, UsageError
from edgeleuk.frames import CellCrop
from edgeleuk.record.chain import append_link
from edgeleuk.record.database import (
    APPLICATION_ID,
    SCHEMA,
    SCHEMA_VERSION,
    Counts,
    Tallies,
    companions,
    count_called,
    count_rows,
    explained,
    tally_rows,
)
from edgeleuk.results import Decision, Prediction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeleuk.counting import Called
    from edgeleuk.frames import Box, RgbImage, TrueCell
    from edgeleuk.results import FrameResult, SessionSummary

THUMBNAIL_PX = 96
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class DiskGuard:
    """What is left undone as the disk fills, so that a session always ends in order.

    Attributes
    ----------
    pictures_bytes : int
        With less than this free, results are recorded without pictures.
    stop_bytes : int
        With less than this free the run ends; it is the room for what a session writes at its end.
    """

    pictures_bytes: int = 500 * MB
    stop_bytes: int = 50 * MB


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
    crop : CellCrop
        What was judged; it is kept as it is, and a reduced JPEG of it.
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
    crop: CellCrop
    truth: str | None = None


class SessionWriter(Closing):
    """A session under way; made by `create_session`. Used from one thread.

    Attributes
    ----------
    path : Path
    summary : SessionSummary or None
        Set when the run has ended, well or not.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, guard: DiskGuard = DiskGuard()) -> None:
        self.path = path
        self.summary: SessionSummary | None = None
        self._connection = connection
        self._guard = guard
        self._pictures = True

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

        Raises
        ------
        SessionError
            The disk is full, or nearly so.
        """
        seen_before = len(result.cells) - len(judged)
        kept = self._has_room()
        # Encoded before the transaction: nobody has to wait for it.
        pictures = [_pictures(cell.crop) if kept else (None, None) for cell in judged]
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
                " nucleus_area_um2, decision, probability, reason, truth, thumbnail, crop)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(cell.track, result.sequence, *cell.box, cell.area_px, cell.nucleus_area_px),
                        *(cell.area_um2, cell.nucleus_area_um2, cell.prediction.decision.value),
                        *(cell.prediction.probability, cell.prediction.reason, cell.truth),
                        *both,
                    )
                    for cell, both in zip(judged, pictures, strict=True)
                ],
            )
            connection.executemany(
                "INSERT OR IGNORE INTO true_cells VALUES (?, ?, ?)",
                [(cell.identity, cell.label, result.sequence) for cell in truth],
            )
            append_link(connection, "frame", result.sequence)

    def record_rejected(self, sequence: int, captured_at: float, source: str, reason: str) -> None:
        """Record that a frame was taken and not used."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO frames (sequence, captured_at, source, rejected) VALUES (?, ?, ?, ?)",
                (sequence, captured_at, source, reason),
            )
            append_link(connection, "frame", sequence)

    def record_event(self, kind: str, text: str, at: float | None = None) -> None:
        """Add a line to the session's log; `at` (s since the Unix epoch) tells when, by default now."""
        with self._transaction() as connection:
            row = connection.execute(
                "INSERT INTO events (at, kind, text) VALUES (?, ?, ?)",
                (time.time() if at is None else at, kind, text),
            )
            append_link(connection, "event", row.lastrowid)

    def prediction(self, track: int) -> Prediction | None:
        """Return the judgement of a track; None when it has none yet."""
        with explained(self.path):
            row = self._connection.execute(
                "SELECT decision, probability, reason FROM cells WHERE track = ?", (track,)
            ).fetchone()
        return None if row is None else _prediction(*row)

    def true_cells(self) -> dict[str, int]:
        """Label -> how many simulated cells lay whole in a frame so far."""
        with explained(self.path):
            rows = self._connection.execute(
                "SELECT label, COUNT(*) FROM true_cells GROUP BY label ORDER BY 1"
            )
            return dict(rows.fetchall())

    def counts(self) -> Counts:
        """Count the rows."""
        with explained(self.path):
            return count_rows(self._connection)

    def tallies(self) -> Tallies:
        """Add up the rows."""
        with explained(self.path):
            return tally_rows(self._connection)

    def called(self, threshold: float) -> Called:
        """Count the cells that a threshold alone calls blasts, of those that have a probability."""
        with explained(self.path):
            return count_called(self._connection, threshold)

    def finish(self, summary: SessionSummary) -> None:
        """Record the summary."""
        self.summary = summary
        with self._transaction() as connection:
            connection.execute("INSERT INTO summary VALUES (1, ?)", (json.dumps(summary.to_json()),))
            append_link(connection, "summary", 1)

    def close(self) -> None:
        """Fold the log into the file and close it; a full disk leaves the log beside it, readable."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def _has_room(self) -> bool:
        """Say whether pictures may be kept, and tell when that changes."""
        disk = os.statvfs(self.path.parent)
        free = disk.f_bavail * disk.f_frsize
        if free < self._guard.stop_bytes:
            raise SessionError(
                "the disk is nearly full, the run ends while its session can still be closed",
                got=f"{free / MB:.0f} MB free",
                allowed=f"{self._guard.stop_bytes / MB:.0f} MB or more",
                cure="free some space and start a new session",
            )
        if self._pictures and free < self._guard.pictures_bytes:
            self.record_event("disk", f"{free / MB:.0f} MB are free: results are recorded without pictures")
        # With some room between, so that the two do not alternate.
        self._pictures = free >= self._guard.pictures_bytes * (1 if self._pictures else 1.1)
        return self._pictures

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk may have rolled back already.
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise


def create_session(
    path: Path, settings: Mapping[str, object], *, guard: DiskGuard = DiskGuard()
) -> SessionWriter:
    """Begin a session in a new file.

    Parameters
    ----------
    path : Path
        Must not exist: a session is never overwritten.
    settings : mapping
        What the run is started with; the values go into JSON.
    guard : DiskGuard

    Raises
    ------
    UsageError
        `path` exists, or lies in a folder that is missing or may not be written.
    SessionError
        The disk is full.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(
            "a session is a file", got=f"the folder {path}", cure="name a file in it with --session"
        )
    for file in (path, *companions(path)):
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
        with explained(path):
            connection = sqlite3.connect(path, isolation_level=None, timeout=5)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            writer = SessionWriter(path, connection, guard)
            with writer._transaction():  # noqa: SLF001 - its own maker
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.executemany(
                    "INSERT INTO settings VALUES (?, ?)",
                    [(key, json.dumps(value)) for key, value in settings.items()],
                )
                append_link(connection, "settings", None)
            _sync_folder(path.parent)
    except BaseException:
        if connection is not None:
            connection.close()
        for file in (path, *companions(path)):
            file.unlink(missing_ok=True)
        raise
    return writer


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


def _pictures(crop: CellCrop) -> tuple[bytes, bytes]:
    return thumbnail(crop.pixels), encode_crop(crop)


def encode_crop(crop: CellCrop) -> bytes:
    """Keep a crop without loss: a PNG whose transparency is the mask."""
    import cv2  # noqa: PLC0415 - reading a session must not cost OpenCV's start

    bgra = np.dstack([crop.pixels[:, :, ::-1], crop.mask])
    # Level 1 takes a fifth of the time of the default for a tenth more bytes.
    return cv2.imencode(".png", bgra, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def decode_crop(data: bytes, px_per_um: float) -> CellCrop:
    """Return the crop that `encode_crop` kept."""
    import cv2  # noqa: PLC0415 - reading a session must not cost OpenCV's start

    bgra = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)
    return CellCrop(np.ascontiguousarray(bgra[:, :, 2::-1]), np.ascontiguousarray(bgra[:, :, 3]), px_per_um)


def _sync_folder(folder: Path) -> None:
    """Make the new file's name survive a power cut, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prediction(decision: str, probability: float | None, reason: str | None) -> Prediction:
    # SQLite keeps NaN as NULL.
    return Prediction(Decision(decision), math.nan if probability is None else probability, reason)
