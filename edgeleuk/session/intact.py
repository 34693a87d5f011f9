"""Whether a session that is being recorded is still the file that it was: there, in its place, and whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from typing import TYPE_CHECKING

from edgeleuk.errors import SessionError
from edgeleuk.session.hash_chain import are_sound_after, head_of, verify_chain
from edgeleuk.session.schema import companions, count_rows

if TYPE_CHECKING:
    from pathlib import Path

# How long others may hold the file before a record that cannot be written ends the run.
PATIENCE_S = 30
# After that nothing is waited for any more.
_IMPATIENT_MS = 500


class FileWatch:
    """Looks before each record whether the file was deleted, moved, cut, or written by others.

    SQLite goes on writing into a file that has no name any more, and everything would be lost at the end.

    Parameters
    ----------
    path : Path
    connection : sqlite3.Connection
    lock : int
        Descriptor of the file, open as long as it is recorded.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock
        self._size = 0
        self._others = self._writes_of_others()
        self._head = self._end_of_chain()
        self.broken: SessionError | None = None

    def check(self) -> None:
        """Refuse to record into what is no longer the session; from then on every time.

        Raises
        ------
        SessionError
            It says what is lost, and what is not.
        """
        if self.broken is None:
            self.broken = self._fault()
            if self.broken is not None:
                self.give_up()
        if self.broken is not None:
            raise self.broken

    def give_up(self) -> None:
        """Wait for nobody any more: what could be recorded is recorded."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute(f"PRAGMA busy_timeout = {_IMPATIENT_MS}")

    def be_patient(self) -> None:
        """Wait for others again as at the beginning, unless the session is broken."""
        if self.broken is None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute(f"PRAGMA busy_timeout = {1000 * PATIENCE_S}")

    def _fault(self) -> SessionError | None:
        held = os.fstat(self._lock)
        try:
            there = self._path.stat()
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino):
            return self._deleted() if held.st_nlink == 0 else self._moved()
        log = companions(self._path)[0]
        if not log.exists():
            return SessionError(
                f"{log} was deleted or moved while the session was recorded",
                cure=f"{self._rescued()}; start a new session",
            )
        if held.st_size < self._size:
            return SessionError(
                f"{self._path} was cut by another program while it was recorded",
                got=f"{held.st_size} bytes",
                allowed=f"{self._size} bytes or more",
                cure="see which program writes there, and start a new session",
            )
        self._size = held.st_size
        return self._written_by_others()

    def _deleted(self) -> SessionError:
        return SessionError(
            f"{self._path} was deleted while it was recorded", cure=f"{self._rescued()}; start a new session"
        )

    def _moved(self) -> SessionError:
        with contextlib.suppress(sqlite3.Error):
            # Whoever moved the file left its log behind.
            self._connection.execute("PRAGMA wal_checkpoint(FULL)")
        return SessionError(
            f"{self._path} was moved, or another file put in its place, while it was recorded",
            cure="what was recorded until then is in the file that was moved; start a new session",
        )

    def _rescued(self) -> str:
        """Copy what the open file still holds to a new one; say where it is, or what is lost."""
        try:
            counts = count_rows(self._connection)
        except sqlite3.Error:
            return "its records are lost"
        held = f"its {counts.processed + counts.rejected} frames with {counts.cells} cells"
        copy = self._path.with_name(f"{self._path.stem}.rescued-{secrets.token_hex(3)}{self._path.suffix}")
        try:
            # With O_EXCL, as everything that is made here.
            os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))
        except OSError:
            return f"{held} are lost"
        try:
            with contextlib.closing(sqlite3.connect(copy)) as target:
                self._connection.backup(target)
        except sqlite3.Error:
            with contextlib.suppress(OSError):
                copy.unlink()
            return f"{held} are lost"
        if not self._path.exists():
            # What stays of the old one would only be in the way of a session of its name.
            for left in companions(self._path):
                with contextlib.suppress(OSError):
                    left.unlink()
        return f"{held} are rescued in {copy}"

    def _written_by_others(self) -> SessionError | None:
        # One look at the file, or a review that comes in between would be taken for another change.
        self._connection.execute("BEGIN")
        try:
            before, self._head = self._head, self._end_of_chain()
            now = self._writes_of_others()
            if now == self._others:
                return None
            self._others = now
            # People may review the cells meanwhile. Of all else only the whole chain tells whether the
            # records stand: reading and folding the log in look alike to it.
            if are_sound_after(self._connection, before):
                return None
            broken = verify_chain(self._connection).broken
        finally:
            self._connection.execute("COMMIT")
        if broken is None:
            return None
        return SessionError(
            f"another program changed {self._path} while it was recorded",
            got=broken,
            cure="see which program writes there, and start a new session",
        )

    def _end_of_chain(self) -> tuple[int, bytes]:
        try:
            return head_of(self._connection)
        except sqlite3.OperationalError:
            # A new session has no tables yet.
            return 0, b""

    def _writes_of_others(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
