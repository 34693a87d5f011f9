"""Beginning a session, and going on with one: one writer at a time."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.io.clock import LEAST_JUMP_S, behind_text, go_on_from
from edgeleuk.io.uris import public_uri
from edgeleuk.session.commits import by_second
from edgeleuk.session.hash_chain import append_link
from edgeleuk.session.intact import PATIENCE_S
from edgeleuk.session.kept_pictures import goes_on_text
from edgeleuk.session.log_bound import FOLD_BYTES
from edgeleuk.session.reader import read_session
from edgeleuk.session.schema import (
    APPLICATION_ID,
    CONTINUED,
    SCHEMA,
    SCHEMA_VERSION,
    companions,
    explained,
    transaction,
)
from edgeleuk.session.writer import DEFAULT_GUARD, DiskGuard, SessionWriter

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE_BYTES = 1024
# What a cell is called must not depend on which part of a run saw it.
SAME_SETTINGS = ("camera", "simulated", "bundle_sha256", "runtime", "precision", "px_per_um", "abstain")


def create_session(
    path: Path, settings: Mapping[str, object], *, guard: DiskGuard = DEFAULT_GUARD
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
    require_no_folder(path)
    for file in (path, *companions(path)):
        if file.exists() or file.is_symlink():
            raise UsageError(
                f"{file} exists and is never overwritten",
                cure="choose another name with --session, or move the old file away",
            )
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
            _hold(path, lock)
            connection = connected(path, any_thread=by_second(settings))
            go_on_from(0.0)
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
            _sync_folder(path.parent)
            return SessionWriter(path, connection, lock, settings, guard=guard)
    except BaseException:
        if connection is not None:
            connection.close()
        os.close(lock)
        for file in (path, *companions(path)):
            file.unlink(missing_ok=True)
        raise


def require_no_folder(path: Path) -> None:
    """Refuse a folder where a session is to be recorded.

    Raises
    ------
    UsageError
    """
    if path.is_dir():
        raise UsageError(
            "a session is a file", got=f"the folder {path}", cure="name a file in it with --session"
        )


def resume_session(
    path: Path, settings: Mapping[str, object], *, guard: DiskGuard = DEFAULT_GUARD
) -> SessionWriter:
    """Go on with a session that was ended or cut off; begin it where there is none.

    Parameters
    ----------
    path : Path
    settings : mapping
        What the run is started with. Those in `SAME_SETTINGS` must be the ones that are recorded.
    guard : DiskGuard

    Raises
    ------
    UsageError
        The settings differ, or as in `create_session`.
    SessionError
        Another run writes it, it is of another schema or no session, or its hash chain is broken.
    """
    path = Path(path)
    if not path.exists():
        return create_session(path, settings, guard=guard)
    with read_session(path) as reader:
        if reader.schema not in CONTINUED:
            raise SessionError(
                f"{path} was recorded by an earlier edgeleuk and cannot be continued",
                got=f"schema {reader.schema}",
                allowed=" or ".join(map(str, CONTINUED)),
                cure="start a new session",
            )
        for key in SAME_SETTINGS:
            before, now = reader.settings.get(key), settings.get(key)
            if key == "camera" and isinstance(before, str):
                # Earlier versions hid less of an address.
                before = public_uri(before)
            # Sessions of earlier versions do not say whether they are simulated.
            if before != now and (key != "simulated" or before is not None):
                raise UsageError(
                    f"{path} was recorded with another {key}",
                    got=now,
                    allowed=before,
                    cure="pass the same, or start a new session",
                )
        goes_on = goes_on_text(reader.settings, settings)
        broken = reader.verify().broken
    if broken is not None:
        raise SessionError(
            f"{path} is not as it was recorded and cannot be continued",
            got=broken,
            cure="start a new session",
        )
    try:
        lock = os.open(path, os.O_RDWR)
    except OSError as error:
        raise UsageError(f"the session {path} cannot be written", got=error.strerror) from error
    try:
        with explained(path):
            _hold(path, lock)
            connection = connected(path, any_thread=by_second(settings))
            writer = SessionWriter(path, connection, lock, settings, guard=guard)
    except BaseException:
        os.close(lock)
        raise
    # The wall clock may stand before what is recorded, as a Raspberry Pi's does after its start.
    behind_s = go_on_from(writer.last_at() or 0.0)
    writer.record_event("resumed", goes_on)
    if behind_s >= LEAST_JUMP_S:
        writer.record_event("clock", behind_text(behind_s))
    return writer


def _hold(path: Path, lock: int) -> None:
    """Let nobody else write the session as long as this process does, however it ends."""
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


def _sync_folder(folder: Path) -> None:
    """Make the new file's name survive a power cut, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
