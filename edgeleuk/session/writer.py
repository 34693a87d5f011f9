"""One SQLite file for each session, readable after any end.

A frame and its cells are written together into a write-ahead log with ``synchronous=FULL``, each frame by
itself or those of a second at once. What is committed survives a pulled plug; what is not leaves no trace.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from edgeleuk.counting.consensus import View
from edgeleuk.errors import SessionError
from edgeleuk.io.clock import now
from edgeleuk.io.console import recordable
from edgeleuk.session.commits import Committer, by_second
from edgeleuk.session.counting_rows import CountingRows
from edgeleuk.session.hash_chain import append_link
from edgeleuk.session.intact import FileWatch
from edgeleuk.session.kept_pictures import ALL, KeptPictures
from edgeleuk.session.log_bound import DEFAULT_BOUND, FOLD_BYTES, MB, held_up_text, size_of_log, too_long
from edgeleuk.session.records import KINDS, FrameRecord, JudgedCell, RejectedRecord, prediction_of
from edgeleuk.session.resume_state import earlier_fields, last_record_at, read_resume_state
from edgeleuk.session.schema import explained, has_kinds, has_webp, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeleuk.counting.intervals import Called
    from edgeleuk.frames import TrueCell
    from edgeleuk.results import FrameResult, SessionSummary
    from edgeleuk.session.log_bound import LogBound
    from edgeleuk.session.records import Record
    from edgeleuk.session.resume_state import ResumeState
    from edgeleuk.session.schema import Counts, Tallies
    from edgeleuk.vision.tracking import EarlierField, Placed

T = TypeVar("T")

__all__ = ["DEFAULT_GUARD", "MB", "DiskGuard", "JudgedCell", "SessionWriter"]


def _all_views(*, kinds: bool) -> str:
    names = ", ".join(KINDS) if kinds else "NULL AS kind, NULL AS kind_probability"
    said = f"decision, probability, reason, is_foreign, {names}, frame"
    return (
        f"SELECT focus, truth, {said} FROM cells WHERE track = ?"  # noqa: S608 - names from the lines above
        f" UNION ALL SELECT focus, NULL, {said} FROM views WHERE track = ? ORDER BY frame"
    )


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


class SessionWriter(CountingRows):
    """A session under way; made by `edgeleuk.session.open`. Used from one thread.

    Parameters
    ----------
    path : Path
    connection : sqlite3.Connection
        For any thread, where commits are made by the second.
    lock : int
        Descriptor of the file, held as long as it is recorded.
    settings : mapping
        What the run is started with: which ``pictures`` of cells are kept, and the ``durability``.
    guard : DiskGuard
    bound : LogBound

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
    taken, recorded : int
        Frames that were handed over, and those of them that are on the disk.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        lock: int,
        settings: Mapping[str, object],
        *,
        guard: DiskGuard = DEFAULT_GUARD,
        bound: LogBound = DEFAULT_BOUND,
    ) -> None:
        self.path = path
        self._lock = lock
        self.summary: SessionSummary | None = None
        self._connection = connection
        self._guard = guard
        self._bound = bound
        self._pictures = self._short_log = True
        self._file = FileWatch(path, connection, lock)
        self._kept = KeptPictures(settings, connection)
        self.noted = self.taken = self.recorded = 0
        self.heard: Callable[[int, float, str, str], object] | None = None
        self._waiting: deque[Record] = deque()
        # One commit at a time; and the connection for one thread at a time, no longer than the disk takes.
        self._committing, self._using = threading.RLock(), threading.RLock()
        self._committer = Committer(self._commit) if by_second(settings) else None

    def record_frame(
        self,
        result: FrameResult,
        judged: Sequence[JudgedCell],
        truth: Sequence[TrueCell] = (),
        placed: Placed | None = None,
    ) -> None:
        """Record one processed frame with the cells judged in it.

        It is on the disk when this returns; with the durability of a second, within a second.

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
            The disk is full, or nearly so; also where a frame before could not be written.
        """
        truth = self._ready_for(result.captured_at, truth)
        kept = self._with_pictures(judged) if self._has_room() else frozenset()
        self._take(FrameRecord(result, judged, kept, truth, placed))
        self._after_frame()

    def record_rejected(self, sequence: int, captured_at: float, source: str, reason: str) -> None:
        """Record that a frame was taken and not used; on the disk as of `record_frame`."""
        self._ready_for(captured_at, ())
        self._log_is_short()
        self._take(RejectedRecord(sequence, captured_at, source, reason))
        self._after_frame()

    def _ready_for(self, captured_at: float, truth: Sequence[TrueCell]) -> Sequence[TrueCell]:  # noqa: ARG002 - for a series
        """Get ready for a frame of that time; return which of its simulated cells are new."""
        return truth

    def _after_frame(self) -> None:
        """See to what is due after a frame."""

    def record_event(self, kind: str, text: str, at: float | None = None) -> None:
        """Add a line to the session's log, on the disk when this returns, and all frames before it.

        `at` tells when on the session's clock, by default now.
        """
        at, text = now() if at is None else at, recordable(text)

        def insert(connection: sqlite3.Connection) -> int:
            row = connection.execute("INSERT INTO events (at, kind, text) VALUES (?, ?, ?)", (at, kind, text))
            append_link(connection, "event", row.lastrowid)
            return int(row.lastrowid or 0)

        number = self._commit_with(insert)
        if self.heard is not None:
            self.heard(number, at, kind, text)

    def note(self, kind: str, text: str) -> None:
        """Add a line to the log that is not the run's own, as `record_event`."""
        self.record_event(kind, text)
        self.noted += 1

    def flush(self) -> None:
        """Put on the disk what waits.

        Raises
        ------
        SessionError
            As of `record_frame`.
        """
        self._raise_unwritten()
        self._commit()

    def check(self) -> None:
        """See that the file is still there, whole, and changed by nobody else; and that all was written.

        Raises
        ------
        SessionError
            It says what is lost, and what is not.
        """
        self._raise_unwritten()
        # Who is just committing looks himself.
        if self._using.acquire(blocking=False):
            try:
                with explained(self.path):
                    self._file.check()
            finally:
                self._using.release()

    def views(self, track: int) -> tuple[list[View], str | None]:
        """Return all judged views of a cell in their order, and its truth; none of a cell not judged yet."""
        with self._using, explained(self.path):
            views, truth = recorded_views(self._connection, track)
            waiting = [cell for record in self._waiting for cell in record.judged if cell.track == track]
        if waiting and not views:
            truth = waiting[0].truth
        return views + [View(cell.focus, cell.prediction) for cell in waiting], truth

    def true_cells(self) -> dict[str, int]:
        """Label -> how many simulated cells lay whole in a frame so far, of those on the disk."""
        with self._using, explained(self.path):
            rows = self._connection.execute(
                "SELECT label, COUNT(*) FROM true_cells GROUP BY label ORDER BY 1"
            )
            return dict(rows.fetchall())

    def finish(self, summary: SessionSummary) -> None:
        """Record the summary, and all that waits."""
        self.summary = summary

        def insert(connection: sqlite3.Connection) -> None:
            row = connection.execute(
                "INSERT INTO summary (value) VALUES (?)", (json.dumps(summary.to_json()),)
            )
            append_link(connection, "summary", row.lastrowid)

        self._commit_with(insert)

    def counts(self) -> Counts:
        """Count the rows, of all that was recorded."""
        self.flush()
        with self._using:
            return super().counts()

    def tallies(self) -> Tallies:
        """Add up the rows, of all that was recorded."""
        self.flush()
        with self._using:
            return super().tallies()

    def called(self, threshold: float) -> Called:
        """Count the cells that a threshold alone calls blasts, of those that have a probability."""
        self.flush()
        with self._using:
            return super().called(threshold)

    def resume_state(self) -> ResumeState:
        """Add up what is recorded, for a run that goes on."""
        with self._using, explained(self.path):
            return read_resume_state(self._connection)

    def last_at(self) -> float | None:
        """Return when the latest record was made."""
        with self._using, explained(self.path):
            return last_record_at(self._connection)

    def earlier_fields(self) -> Iterator[EarlierField]:
        """Yield the fields that a tracker is to remember."""
        with explained(self.path):
            yield from earlier_fields(self._connection)

    def close(self) -> None:
        """Write what waits, fold the log into the file, and close it.

        A full disk leaves the log beside the file, readable.

        Raises
        ------
        SessionError
            What waited cannot be written.
        """
        committer, self._committer = self._committer, None
        try:
            if committer is not None:
                committer.end()
                if committer.error is not None:
                    raise committer.error
                self._commit()
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()
            # Only now: to close the file earlier would take SQLite's own locks away.
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _with_pictures(self, judged: Sequence[JudgedCell]) -> frozenset[int]:
        """Return the tracks of the cells whose pictures are kept."""
        cells = [cell for cell in judged if cell.crop is not None]
        if self._kept.which == ALL:
            return frozenset(cell.track for cell in cells)
        with self._using, explained(self.path):
            return frozenset(cell.track for cell in cells if self._kept.keeps(cell))

    def _take(self, record: Record) -> None:
        """Have a record committed: now, or by the thread."""
        self._raise_unwritten()
        self._waiting.append(record)
        self.taken += 1
        if self._committer is None:
            self._commit()
            return
        late = self._committer.is_late
        self._committer.expect()
        if late:
            # The disk does not keep up: what was promised goes before the next frame.
            self._commit()

    def _commit(self) -> None:
        if self._waiting:
            self._commit_with(lambda _: None)

    def _commit_with(self, insert: Callable[[sqlite3.Connection], T]) -> T:
        """Commit what waits, and something more behind it."""
        with self._committing:
            records = tuple(self._waiting)
            # Encoded before the transaction: nobody has to wait for it.
            webp = bool(records) and self._keeps_webp()
            encoded = [record.encoded(webp=webp) for record in records]
            with self._using, explained(self.path, give_up=self._file.give_up):
                try:
                    self._file.check()
                    with transaction(self._connection) as connection:
                        for record, pictures in zip(records, encoded, strict=True):
                            record.insert(connection, pictures)
                        done = insert(connection)
                except BaseException:
                    if self._committer is None:
                        # Who recorded it is told, and it does not count.
                        self._waiting.clear()
                        self.taken -= len(records)
                    raise
                for _ in records:
                    self._waiting.popleft()
                self.recorded += len(records)
                self._fold()
            return done

    def _keeps_webp(self) -> bool:
        with self._using, explained(self.path):
            return has_webp(self._connection)

    def _fold(self) -> None:
        """Begin the log anew where it has become long, unless somebody reads what was before."""
        if size_of_log(self.path) > 2 * FOLD_BYTES:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._file.be_patient()

    def _raise_unwritten(self) -> None:
        """Raise what the thread met that commits; then whoever records commits himself."""
        if self._committer is not None and self._committer.error is not None:
            error, self._committer = self._committer.error, None
            raise error

    def _has_room(self) -> bool:
        """Say whether pictures may be kept, and tell when that changes."""
        if self._committer is None:
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
        return self._log_is_short() and self._pictures

    def _log_is_short(self) -> bool:
        """Say whether the log leaves room for pictures, and tell when that changes."""
        size = size_of_log(self.path)
        if size >= self._bound.stop_bytes:
            raise too_long(self.path, size, self._bound)
        if self._short_log and size >= self._bound.pictures_bytes:
            self._short_log = False
            self.note("log", f"{held_up_text(self.path, size)}: results are recorded without pictures")
        elif not self._short_log and size < self._bound.pictures_bytes / 2:
            self._short_log = True
            self.note("log", "the session's log is short again: pictures are kept")
        return self._short_log


def recorded_views(connection: sqlite3.Connection, track: int) -> tuple[list[View], str | None]:
    """Return the judged views of a cell in one file, in their order, and its truth."""
    rows = connection.execute(_all_views(kinds=has_kinds(connection)), (track, track)).fetchall()
    return [View(row[0], prediction_of(*row[2:8])) for row in rows], rows[0][1] if rows else None
