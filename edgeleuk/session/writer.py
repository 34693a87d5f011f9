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
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeleuk.counting.consensus import View
from edgeleuk.errors import SessionError
from edgeleuk.io.clock import now
from edgeleuk.io.console import recordable
from edgeleuk.results import Decision, Prediction
from edgeleuk.results.kinds import Kind
from edgeleuk.session.contours import encode_contours
from edgeleuk.session.counting_rows import CountingRows
from edgeleuk.session.hash_chain import append_link
from edgeleuk.session.intact import FileWatch
from edgeleuk.session.pictures import encode_crop, encode_texture, pack_crop
from edgeleuk.session.resume_state import earlier_fields, last_record_at, read_resume_state
from edgeleuk.session.schema import explained, has_contours, has_kinds, has_webp, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeleuk.frames import Box, CellCrop, Mask, TrueCell
    from edgeleuk.results import FrameResult, SessionSummary
    from edgeleuk.session.resume_state import ResumeState
    from edgeleuk.vision.tracking import EarlierField, Placed

_KINDS = ("kind", "kind_probability")
_AGREED_KINDS = ("agreed_kind", "agreed_kind_probability")


def _all_views(*, kinds: bool) -> str:
    names = ", ".join(_KINDS) if kinds else "NULL AS kind, NULL AS kind_probability"
    said = f"decision, probability, reason, is_foreign, {names}, frame"
    return (
        f"SELECT focus, truth, {said} FROM cells WHERE track = ?"  # noqa: S608 - names from the lines above
        f" UNION ALL SELECT focus, NULL, {said} FROM views WHERE track = ? ORDER BY frame"
    )


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


DEFAULT_GUARD = DiskGuard()


@dataclass(frozen=True, slots=True)
class JudgedCell:
    """One view of a cell that was judged, with what it was made from.

    Attributes
    ----------
    track : int
    box : Box
        In pixels of the frame.
    area_px, nucleus_area_px : int
    area_um2, nucleus_area_um2 : float
        NaN where the scale is unknown.
    prediction : Prediction
    crop : CellCrop or None
        What was judged; it is kept as it is. None where the cell turned out to be none.
    truth : str or None
        Its real label where the source is simulated.
    focus : float
        See `edgeleuk.vision.focus.focus_of`.
    agreed : Prediction or None
        What is said of the cell from now on; None for its first view, whose own prediction stands alone.
    mask : (h, w) uint8, optional
        Of the box's size, as of `Cell`: of the first view its outlines are kept.
    """

    track: int
    box: Box
    area_px: int
    nucleus_area_px: int
    area_um2: float
    nucleus_area_um2: float
    prediction: Prediction
    crop: CellCrop | None
    truth: str | None = None
    focus: float = 0.0
    agreed: Prediction | None = None
    mask: Mask | None = None


class SessionWriter(CountingRows):
    """A session under way; made by `edgeleuk.session.open`. Used from one thread.

    Attributes
    ----------
    path : Path
    summary : SessionSummary or None
        Set when the run has ended, well or not.
    noted : int
        Events beside the run's own: as the disk filled, and what listeners noted.
    heard : callable, optional
        Told of each event once it is recorded: its number in the session, its time,
        its kind and its text.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, lock: int, guard: DiskGuard = DEFAULT_GUARD
    ) -> None:
        self.path = path
        self._lock = lock
        self.summary: SessionSummary | None = None
        self._connection = connection
        self._guard = guard
        self._pictures = True
        self._file = FileWatch(path, connection, lock)
        self.noted = 0
        self.heard: Callable[[int, float, str, str], object] | None = None

    def record_frame(
        self,
        result: FrameResult,
        judged: Sequence[JudgedCell],
        truth: Sequence[TrueCell] = (),
        placed: Placed | None = None,
    ) -> None:
        """Record one processed frame with the cells judged in it; on the disk when this returns.

        Parameters
        ----------
        result : FrameResult
            Its ``latency_ms`` is the time until now: the commit itself is not in it.
        judged : sequence of JudgedCell
            Cells judged for the first time, and further views of others.
        truth : sequence of TrueCell
            Simulated cells that lie whole in the frame.
        placed : Placed, optional
            Where the frame lies on the slide, for a run that is resumed.

        Raises
        ------
        SessionError
            The disk is full, or nearly so.
        """
        first = [cell for cell in judged if cell.agreed is None]
        kept = self._has_room()
        # Encoded before the transaction: nobody has to wait for it.
        # A session of before stays what its edgeleuk reads.
        webp = has_webp(self._connection)
        pack = pack_crop if webp else encode_crop
        crops = {cell.track: pack(cell.crop) if kept and cell.crop else None for cell in judged}
        contours = [None if cell.mask is None else encode_contours(cell.mask) for cell in first]
        seen = None if placed is None else placed.texture
        texture = None if seen is None else encode_texture(seen, webp=webp)
        with self._transaction() as connection:
            _insert_frame(connection, result, len(first), placed)
            _insert_first_views(connection, result.sequence, first, contours, crops)
            _insert_further_views(connection, result.sequence, judged, crops)
            if texture is not None:
                connection.execute("INSERT INTO textures VALUES (?, ?)", (result.sequence, texture))
            if placed is not None:
                connection.executemany(
                    "INSERT INTO moves (frame, area, into_area, x_px, y_px) VALUES (?, ?, ?, ?, ?)",
                    [(result.sequence, *move) for move in placed.moves],
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
                (sequence, captured_at, recordable(source), recordable(reason)),
            )
            append_link(connection, "frame", sequence)

    def record_event(self, kind: str, text: str, at: float | None = None) -> None:
        """Add a line to the session's log; `at` tells when on the session's clock, by default now."""
        at, text = now() if at is None else at, recordable(text)
        with self._transaction() as connection:
            row = connection.execute("INSERT INTO events (at, kind, text) VALUES (?, ?, ?)", (at, kind, text))
            append_link(connection, "event", row.lastrowid)
        if self.heard is not None:
            self.heard(int(row.lastrowid or 0), at, kind, text)

    def note(self, kind: str, text: str) -> None:
        """Add a line to the log that is not the run's own, as `record_event`."""
        self.record_event(kind, text)
        self.noted += 1

    def check(self) -> None:
        """See that the file is still there, whole, and changed by nobody else.

        Raises
        ------
        SessionError
            It says what is lost, and what is not.
        """
        with explained(self.path):
            self._file.check()

    def views(self, track: int) -> tuple[list[View], str | None]:
        """Return all judged views of a cell in their order, and its truth; none of a cell not judged yet."""
        with explained(self.path):
            return recorded_views(self._connection, track)

    def true_cells(self) -> dict[str, int]:
        """Label -> how many simulated cells lay whole in a frame so far."""
        with explained(self.path):
            rows = self._connection.execute(
                "SELECT label, COUNT(*) FROM true_cells GROUP BY label ORDER BY 1"
            )
            return dict(rows.fetchall())

    def finish(self, summary: SessionSummary) -> None:
        """Record the summary."""
        self.summary = summary
        with self._transaction() as connection:
            row = connection.execute(
                "INSERT INTO summary (value) VALUES (?)", (json.dumps(summary.to_json()),)
            )
            append_link(connection, "summary", row.lastrowid)

    def resume_state(self) -> ResumeState:
        """Add up what is recorded, for a run that goes on."""
        with explained(self.path):
            return read_resume_state(self._connection)

    def last_at(self) -> float | None:
        """Return when the latest record was made."""
        with explained(self.path):
            return last_record_at(self._connection)

    def earlier_fields(self) -> Iterator[EarlierField]:
        """Yield the fields that a tracker is to remember."""
        with explained(self.path):
            yield from earlier_fields(self._connection)

    def close(self) -> None:
        """Fold the log into the file and close it; a full disk leaves the log beside it, readable."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        # Only now: to close the file earlier would take SQLite's own locks away.
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _has_room(self) -> bool:
        """Say whether pictures may be kept, and tell when that changes."""
        self._file.check()
        with explained(self.path):
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
            self.note("disk", f"{free / MB:.0f} MB are free: results are recorded without pictures")
        # With some room between, so that the two do not alternate.
        self._pictures = free >= self._guard.pictures_bytes * (1 if self._pictures else 1.1)
        return self._pictures

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path, give_up=self._file.give_up):
            self._file.check()
            with transaction(self._connection) as connection:
                yield connection


def recorded_views(connection: sqlite3.Connection, track: int) -> tuple[list[View], str | None]:
    """Return the judged views of a cell in one file, in their order, and its truth."""
    rows = connection.execute(_all_views(kinds=has_kinds(connection)), (track, track)).fetchall()
    return [View(row[0], prediction_of(*row[2:8])) for row in rows], rows[0][1] if rows else None


def _insert_frame(
    connection: sqlite3.Connection, result: FrameResult, judged: int, placed: Placed | None
) -> None:
    place = (None, None, None) if placed is None else (placed.area, placed.left, placed.top)
    connection.execute(
        "INSERT INTO frames (sequence, captured_at, source, width, height, px_per_um, detected,"
        " judged, seen_before, excluded, latency_ms, area, left_px, top_px)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(result.sequence, result.captured_at, recordable(result.source), result.width, result.height),
            *(result.px_per_um, len(result.found), judged, len(result.cells) - judged),
            *(len(result.excluded), result.latency_ms, *place),
        ),
    )


def _insert_first_views(
    connection: sqlite3.Connection,
    sequence: int,
    cells: Sequence[JudgedCell],
    contours: Sequence[bytes | None],
    crops: Mapping[int, bytes | None],
) -> None:
    """Insert the cells that were judged for the first time."""
    names: tuple[str, ...] = (
        *("track", "frame", "x", "y", "w", "h", "area_px", "nucleus_area_px", "area_um2", "nucleus_area_um2"),
        *("decision", "probability", "reason", "truth", "crop", "focus", "is_foreign"),
    )
    rows: list[tuple[object, ...]] = [
        (
            *(cell.track, sequence, *cell.box, cell.area_px, cell.nucleus_area_px),
            *(cell.area_um2, cell.nucleus_area_um2, *_columns(cell.prediction)),
            *(cell.truth, crops[cell.track], cell.focus, cell.prediction.foreign),
        )
        for cell in cells
    ]
    if has_contours(connection):
        names = (*names, "contours")
        rows = [(*row, outlines) for row, outlines in zip(rows, contours, strict=True)]
    _insert(connection, "cells", (names, rows), (_KINDS, [_kinds(cell.prediction) for cell in cells]))


def _insert_further_views(
    connection: sqlite3.Connection,
    sequence: int,
    judged: Sequence[JudgedCell],
    crops: Mapping[int, bytes | None],
) -> None:
    """Insert the views of cells that had been judged before."""
    names = (
        *("track", "frame", "x", "y", "w", "h", "focus", "decision", "probability", "reason", "is_foreign"),
        *("crop", "agreed_decision", "agreed_probability", "agreed_reason"),
    )
    further = [(cell, cell.agreed) for cell in judged if cell.agreed is not None]
    rows = [
        (
            *(cell.track, sequence, *cell.box, cell.focus, *_columns(cell.prediction)),
            *(cell.prediction.foreign, crops[cell.track], *_columns(agreed)),
        )
        for cell, agreed in further
    ]
    kinds = [(*_kinds(cell.prediction), *_kinds(agreed)) for cell, agreed in further]
    _insert(connection, "views", (names, rows), ((*_KINDS, *_AGREED_KINDS), kinds))


def _insert(
    connection: sqlite3.Connection,
    table: str,
    columns: tuple[tuple[str, ...], Sequence[tuple[object, ...]]],
    of_kinds: tuple[tuple[str, ...], Sequence[tuple[object, ...]]],
) -> None:
    """Insert rows, with the kinds of cells where the session has columns for them.

    Raises
    ------
    SessionError
        It has none, and a kind is known.
    """
    names, rows = columns
    if has_kinds(connection):
        names = (*names, *of_kinds[0])
        rows = [(*row, *kinds) for row, kinds in zip(rows, of_kinds[1], strict=True)]
    elif any(value is not None for kinds in of_kinds[1] for value in kinds):
        raise SessionError(
            "an earlier edgeleuk began the session, and it has no place for the kinds of cells",
            cure="start a new session",
        )
    marks = ", ".join("?" * len(names))
    connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)  # noqa: S608 - names from above


def _columns(prediction: Prediction) -> tuple[str, float, str | None]:
    return prediction.decision.value, prediction.probability, prediction.reason


def _kinds(prediction: Prediction) -> tuple[str | None, float | None]:
    return prediction.kind and prediction.kind.value, prediction.kind_probability


def prediction_of(
    decision: str,
    probability: float | None,
    reason: str | None,
    foreign: int = 0,
    kind: str | None = None,
    kind_probability: float | None = None,
) -> Prediction:
    """Return the prediction of a row; SQLite keeps NaN as NULL."""
    return Prediction(
        Decision(decision),
        math.nan if probability is None else probability,
        reason,
        bool(foreign),
        None if kind is None else Kind(kind),
        kind_probability,
    )
