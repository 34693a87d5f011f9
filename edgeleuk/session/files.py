"""The file of a session on the disk: made as a whole, held by one writer at a time, opened for writing."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.io.durable import sync_folder
from edgeleuk.session.commits import by_second
from edgeleuk.session.hash_chain import append_link
from edgeleuk.session.intact import PATIENCE_S
from edgeleuk.session.log_bound import FOLD_BYTES
from edgeleuk.session.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION, companions, explained, transaction

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


PAGE_BYTES = 1024


class OpenFile(NamedTuple):
    """A file that is written: its path, SQLite's connection, and the lock that keeps others away."""

    path: Path
    connection: sqlite3.Connection
    lock: int

    def close(self) -> None:
        """Close it; to close the lock first would take SQLite's own locks away."""
        self.connection.close()
        os.close(self.lock)


def begin_file(
    path: Path, settings: Mapping[str, object], event: tuple[int, float, str, str] | None = None
) -> OpenFile:
    """Make a new file with the tables and the settings of a session; none is left where that fails.

    Parameters
    ----------
    path : Path
    settings : mapping
        The values go into JSON.
    event : (int, float, str, str), optional
        Number, time, kind and text of an event to begin with.

    Raises
    ------
    UsageError, SessionError
        As `edgeleuk.session.open.create_session` says.
    """
    try:
        lock = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
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
            hold(path, lock)
            connection = connected(path, any_thread=by_second(settings))
            with transaction(connection):
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.executemany(
                    "INSERT INTO settings VALUES (?, ?)",
                    [(key, json.dumps(value)) for key, value in settings.items()],
                )
                append_link(connection, "settings", None)
                if event is not None:
                    connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", event)
                    append_link(connection, "event", event[0])
            sync_folder(path.parent)
    except BaseException:
        if connection is not None:
            connection.close()
        os.close(lock)
        remove_file(path)
        raise
    return OpenFile(path, connection, lock)


def begin_next_file(
    path: Path, settings: Mapping[str, object], event: tuple[int, float, str, str]
) -> OpenFile:
    """Make a file as `begin_file`, that appears under its name only once it is whole on the disk.

    Whoever is killed meanwhile leaves a file whose name begins with a dot; the next one takes it away.
    """
    part = path.with_name(f".{path.name}.part")
    remove_file(part)
    begin_file(part, settings, event).close()
    log = companions(part)[0]
    if log.exists():
        raise SessionError(
            f"the disk is full, {path} cannot be begun",
            cure="free some space and go on with --resume; what was recorded before is readable",
        )
    with explained(path):
        part.rename(path)
        sync_folder(path.parent)
        return open_file(path, settings)


def open_file(path: Path, settings: Mapping[str, object] | None = None) -> OpenFile:
    """Open a file to go on with it.

    Parameters
    ----------
    path : Path
    settings : mapping, optional
        Of the run: whether its commits are made by a thread.

    Raises
    ------
    SessionError
        Another run writes it.
    UsageError
        It may not be written.
    """
    lock = locked_file(path)
    try:
        with explained(path):
            return OpenFile(path, connected(path, any_thread=by_second(settings or {})), lock)
    except BaseException:
        os.close(lock)
        raise


def locked_file(path: Path) -> int:
    """Hold a file, so that nobody else writes it; return its descriptor.

    Raises
    ------
    SessionError, UsageError
        As of `open_file`.
    """
    try:
        lock = os.open(path, os.O_RDWR)
    except OSError as error:
        raise UsageError(f"the session {path} cannot be written", got=error.strerror) from error
    try:
        with explained(path):
            hold(path, lock)
    except BaseException:
        os.close(lock)
        raise
    return lock


def require_new(path: Path, cure: str) -> None:
    """Refuse a name that is taken, be it by what SQLite left there.

    Raises
    ------
    UsageError
    """
    for file in (path, *companions(path)):
        if file.exists() or file.is_symlink():
            raise UsageError(f"{file} exists and is never overwritten", cure=cure)


def remove_file(path: Path) -> None:
    """Take a session's file away, and what SQLite keeps beside it."""
    for file in (path, *companions(path)):
        file.unlink(missing_ok=True)


def hold(path: Path, lock: int) -> None:
    """Let nobody else write the session as long as this process does, however it ends.

    Raises
    ------
    SessionError
        Another run writes it.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SessionError(
            f"{path} is being recorded by another run", cure="wait until it ends, or choose another --session"
        ) from None


def connected(path: Path, *, patience_s: float = PATIENCE_S, any_thread: bool = False) -> sqlite3.Connection:
    """Open a session's file for writing.

    Parameters
    ----------
    path : Path
    patience_s : float
        How long is waited while others write.
    any_thread : bool
        Whoever uses it sees to it that only one thread does at a time.
    """
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=patience_s, check_same_thread=not any_thread
    )
    # Only a new file takes it: a picture leaves half a page empty, and most pictures are small.
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA wal_autocheckpoint = {FOLD_BYTES // page}")
    # What a reader held up does not stay so long behind him.
    connection.execute(f"PRAGMA journal_size_limit = {FOLD_BYTES}")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
