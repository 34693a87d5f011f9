"""Reading one file of a session, finished, cut off, or still being recorded."""

from __future__ import annotations

import contextlib
import errno
import json
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.errors import EdgeleukError, SessionError, UsageError
from edgeleuk.session.counting_rows import CountingRows
from edgeleuk.session.hash_chain import TABLES_BROKEN, ChainResult, has_its_tables, verify_chain
from edgeleuk.session.links import TEXTURE, WITH_DIGESTS
from edgeleuk.session.schema import (
    APPLICATION_ID,
    RESTORE,
    SCHEMA_VERSION,
    companions,
    explained,
    has_reviews,
    picture_of_texture,
    said,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


_VIEWS = (
    "SELECT {0}.*, frames.px_per_um FROM {0} JOIN frames ON frames.sequence = {0}.frame WHERE track = ?"
    " ORDER BY frame"
)
_LAST_SUMMARY = (
    "SELECT value FROM summary JOIN chain ON chain.kind = 'summary' AND chain.key = summary.id"
    # Whoever reviews a session that came to its end, or removes pictures, does not go on with the run.
    " WHERE chain.id ="
    " (SELECT id FROM chain WHERE kind NOT IN ('review', 'removal') ORDER BY id DESC LIMIT 1)"
)
_QUERIES = {
    "frames": "SELECT * FROM frames ORDER BY sequence",
    "cells": "SELECT cells.*, captured_at, source, px_per_um, said.* FROM cells JOIN ({said}) AS said"
    " ON said.track = cells.track JOIN frames ON frames.sequence = cells.frame ORDER BY cells.track",
    "events": "SELECT * FROM events ORDER BY id",
    "true_cells": "SELECT * FROM true_cells ORDER BY identity",
    "removals": "SELECT * FROM removals ORDER BY id",
    "reviews": "SELECT reviews.*, link FROM reviews JOIN chain ON chain.kind = 'review'"
    " AND chain.key = reviews.id ORDER BY reviews.id",
}

_KEYS = {
    "frames": "sequence",
    "cells": "cells.track",
    "events": "id",
    "true_cells": "identity",
    "reviews": "reviews.id",
    "removals": "id",
}
# How often a file is opened before it is taken for one that cannot be locked, and what is waited between.
_TRIES, _WAIT_S = 3, 0.02
# Rows that are read at once: of cells with their pictures some megabytes.
_PAGE = 200
_LATER_CROP = "SELECT crop FROM views WHERE track = ? AND crop IS NOT NULL ORDER BY frame LIMIT 1"
# The texture of a field has no cell.
_RULE = (
    "SELECT rule FROM removed JOIN removals ON removals.id = removal"  # noqa: S608 - a name of ours
    f" WHERE frame = ? AND track = ? AND picture <> '{TEXTURE}'"
)
# Columns that are left out unless they are asked for.
_PICTURES = ("thumbnail", "crop", "contours")
# Earlier sessions did not keep where a field lies.
_WITH_TEXTURES = 3
_ONE_CELL = _QUERIES["cells"].replace("ORDER BY cells.track", "WHERE cells.track = ?")


def read_file(path: Path, *, shared: bool = False) -> SessionReader:
    """Open one file of a session, finished, cut off, or still being recorded.

    Parameters
    ----------
    path : Path
    shared : bool
        Whether others may write it as long as it is open.

    Raises
    ------
    UsageError
        There is no such file.
    SessionError
        It is another program's, from a newer version, or damaged.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError("a session is a file", got=f"the folder {path}")
    if not path.is_file():
        raise UsageError("there is no such session file", got=path)
    with explained(path):
        before = _state(path)
        connection, is_locked = (_connect(path, "mode=rw"), True) if shared else _locked(path)
        try:
            found = [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("application_id", "user_version")
            ]
            _require_ours(path, *found)
            _require_tables(path, connection, found[1])
            return SessionReader(path, connection, None if is_locked else before)
        except BaseException:
            connection.close()
            raise


class SessionReader(CountingRows):
    """A session for reading; made by `edgeleuk.session.reader.read_session`.

    Attributes
    ----------
    path : Path
    settings : dict
        What the run was started with.
    schema : int
        Version of the tables.
    summary : dict or None
        As `SessionSummary.to_json` made it; None when the run was cut off.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, unlocked: tuple[int, ...] | None = None
    ) -> None:
        self.path = path
        self._connection = connection
        # What the file was, where others may change it as long as it is read.
        self._unlocked = unlocked
        self.schema = 0
        with explained(path), _decoded(path):
            self.settings: dict[str, object] = {
                key: json.loads(value)
                for key, value in connection.execute("SELECT key, value FROM settings ORDER BY key")
            }
            (self.schema,) = connection.execute("PRAGMA user_version").fetchone()
            # A run that was resumed and cut off again has the summary of its first part only.
            row = connection.execute(
                _LAST_SUMMARY if self.schema >= 2 else "SELECT value FROM summary"
            ).fetchone()
            self.summary: dict[str, object] | None = None if row is None else json.loads(row[0])
            if not isinstance(self.summary, dict | None):
                msg = "the summary is none"
                raise TypeError(msg)

    @property
    def connection(self) -> sqlite3.Connection:
        """The open file, for whoever joins several of them."""
        return self._connection

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the session in their order."""
        return (self.path,)

    def rows(self, table: str, *, thumbnails: bool = False) -> Iterator[dict[str, object]]:
        """Yield the rows of a table in the order of their keys.

        It is ``frames``, ``cells``, ``events``, ``true_cells``, ``reviews`` or ``removals``. Rows of
        ``cells`` carry ``captured_at``, ``source`` and ``px_per_um`` of their frame; pictures and outlines
        are left out unless `thumbnails` are asked for. Rows of ``reviews`` carry their ``link``; a session of
        an earlier schema that nobody reviewed has none.
        """
        if table not in _QUERIES:
            msg = f"expected one of {', '.join(_QUERIES)}, got {table}"
            raise ValueError(msg)
        with explained(self.path):
            if table == "reviews" and not has_reviews(self._connection):
                return
            if table == "removals" and self.schema < WITH_DIGESTS:
                return
            query = _QUERIES[table].format(said=said(self._connection))
            for record in self._in_pages(query, _KEYS[table]):
                if not thumbnails:
                    for picture in _PICTURES:
                        record.pop(picture, None)
                yield record

    def columns(self, table: str) -> list[str]:
        """Return the keys of the rows of a table, whether it has any or not; see `rows`."""
        with explained(self.path):
            cursor = self._connection.execute(_QUERIES[table].format(said=said(self._connection)))
            return [name for name in dict.fromkeys(_names(cursor)) if name not in _PICTURES]

    def kept_fields(self) -> Iterator[dict[str, object]]:
        """Yield the fields whose place and texture are kept, in order; none of an early schema.

        Each has ``sequence``, ``width``, ``height``, ``area``, ``left_px``, ``top_px`` and ``picture``.
        """
        if self.schema < _WITH_TEXTURES:
            return
        with explained(self.path):
            query = (
                f"SELECT sequence, width, height, area, left_px, top_px,"  # noqa: S608 - a name of ours
                f" {picture_of_texture(self._connection)} AS picture FROM frames JOIN textures"
                " ON textures.frame = sequence AND area IS NOT NULL ORDER BY sequence"
            )
            yield from self._in_pages(query, "sequence")

    def _in_pages(self, query: str, key: str) -> Iterator[dict[str, object]]:
        """Yield rows by their key, some in a transaction: who takes them slowly holds up no run's log.

        The key is their first column.
        """
        head, _, order = query.rpartition(" ORDER BY ")
        after: tuple[object, ...] = ()
        while True:
            where = f" WHERE {key} > ?" if after else ""
            cursor = self._connection.execute(f"{head}{where} ORDER BY {order} LIMIT {_PAGE}", after)
            names, rows = _names(cursor), cursor.fetchall()
            for row in rows:
                yield dict(zip(names, row, strict=True))
            if len(rows) < _PAGE:
                return
            after = (rows[-1][0],)

    def verify(self) -> ChainResult:
        """Compute the hash chain again; see `verify_chain`."""
        with explained(self.path):
            return verify_chain(self._connection)

    def chain_end(self) -> str | None:
        """Return the last link of the hash chain, as it stands there; None where there is no chain."""
        if self.schema < 2:
            return None
        with explained(self.path):
            row = self._connection.execute("SELECT link FROM chain ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else bytes(row[0]).hex()

    def has_link(self, link: str) -> bool:
        """Whether that was once the end of the hash chain, as it stands there."""
        if self.schema < 2:
            return False
        with explained(self.path):
            found = self._connection.execute("SELECT 1 FROM chain WHERE link = ?", (bytes.fromhex(link),))
            return found.fetchone() is not None

    def later_crop(self, track: int) -> bytes | None:
        """Return the picture of the first further view that has one."""
        with explained(self.path):
            later = self._connection.execute(_LATER_CROP, (track,)).fetchone()
        return None if later is None else later[0]

    def removed_by(self, frame: int, track: int) -> str | None:
        """Return the rule that removed the picture of a cell in a frame; None where none did."""
        if self.schema < WITH_DIGESTS:
            return None
        with explained(self.path):
            row = self._connection.execute(_RULE, (frame, track)).fetchone()
        return None if row is None else str(row[0])

    def first_track(self) -> int | None:
        """Return the least number of a cell; None where there is none."""
        with explained(self.path):
            (track,) = self._connection.execute("SELECT MIN(track) FROM cells").fetchone()
        return None if track is None else int(track)

    def has_cell(self, track: int) -> bool:
        """Whether the cell of that number was judged first in this file."""
        with explained(self.path):
            found = self._connection.execute("SELECT 1 FROM cells WHERE track = ?", (track,))
            return found.fetchone() is not None

    def cell(self, track: int) -> dict[str, object]:
        """Return the row of one cell, its pictures with it: of the first view that has one.

        Raises
        ------
        UsageError
            There is no such cell.
        """
        with explained(self.path):
            cursor = self._connection.execute(_ONE_CELL.format(said=said(self._connection)), (track,))
            row = cursor.fetchone()
            if row is not None:
                found = dict(zip(_names(cursor), row, strict=True))
                if self.schema >= _WITH_TEXTURES and found["crop"] is None:
                    # Some sessions keep pictures from the first doubtful view on.
                    found["crop"] = self.later_crop(track)
                return found
        raise no_such_cell(self.path, track, self.counts().cells)

    def views(self, track: int) -> list[dict[str, object]]:
        """Return every judged view of a cell in order, its crop with it: what was said of that view alone."""
        found: list[dict[str, object]] = []
        with explained(self.path):
            for table in ("cells", "views") if self.schema >= 3 else ("cells",):
                cursor = self._connection.execute(_VIEWS.format(table), (track,))
                names = [column[0] for column in cursor.description]
                found += [dict(zip(names, row, strict=True)) for row in cursor]
        return found

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _close_after(self, error: BaseException | None) -> None:
        """Close the file; what could not be read because records were changed is told from a bug."""
        try:
            if self._unlocked is not None and _state(self.path) != self._unlocked:
                raise SessionError(
                    f"{self.path} changed while it was read, and may not be written from here",
                    got="half of the change",
                    cure="run the command again",
                ) from error
            if _may_be_of_the_records(error):
                fault = self._fault()
                if fault is not None:
                    raise SessionError(f"{self.path} is damaged", got=fault, cure=RESTORE) from error
        finally:
            self.close()

    def _fault(self) -> str | None:
        """Name the first record that is not as it was written; None where all are."""
        try:
            if self.schema >= 2:
                return self.verify().broken
            with explained(self.path):
                (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        except SessionError as error:
            return str(error)
        # Without a chain a value that makes no sense cannot be told from one that was recorded.
        return str(found) if found != "ok" else "a value makes no sense"


def no_such_cell(path: Path, track: int, cells: int) -> UsageError:
    """Say that a session of so many cells has none of that number."""
    return UsageError(
        f"{path.name} has no such cell",
        got=track,
        allowed=f"one of its {cells}",
        cure="see `edgeleuk export SESSION --csv`",
    )


def _may_be_of_the_records(error: BaseException | None) -> bool:
    """Whether changed records may have brought that about: no full disk does, nor a pipe that broke."""
    if isinstance(error, OSError):
        # A time that no clock has.
        return error.errno == errno.EOVERFLOW
    return isinstance(error, Exception) and not isinstance(error, EdgeleukError)


@contextlib.contextmanager
def _decoded(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, RecursionError) as error:
        raise SessionError(f"{path} is damaged", got=error, cure=RESTORE) from error


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


def _names(cursor: sqlite3.Cursor) -> list[str]:
    return [column[0] for column in cursor.description]


def _require_tables(path: Path, connection: sqlite3.Connection, version: int) -> None:
    if not has_its_tables(connection, version):
        raise SessionError(f"{path} is damaged", got=TABLES_BROKEN, cure=RESTORE)


def held(path: Path) -> sqlite3.Connection:
    """Open a file as `_locked` does, for any thread: it is not removed as long as this is open."""
    return _locked(path, any_thread=True)[0]


def _locked(path: Path, *, any_thread: bool = False) -> tuple[sqlite3.Connection, bool]:
    """Open a file so that a rule neither removes it meanwhile nor changes what is read; whether that holds.

    SQLite's locks do it. They take two files beside the session, and where none may be made there are none.
    """
    # A journal is of another program, which is not to be made good here.
    if not path.with_name(f"{path.name}-journal").exists():
        for tries_left in reversed(range(_TRIES)):
            connection = _connect(path, "mode=rw", any_thread=any_thread)
            try:
                connection.execute("PRAGMA query_only = ON")
                connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
            except sqlite3.OperationalError:
                connection.close()
                if tries_left:
                    # Another may just be closing it.
                    time.sleep(_WAIT_S)
            except BaseException:
                connection.close()
                raise
            else:
                return connection, True
    if not _has_log(path):
        # Nobody writes and nothing is left to fold in: it can be read without locks.
        return _connect(path, "mode=ro&immutable=1", any_thread=any_thread), False
    # No room for the log's shared index: without sharing it lives in memory.
    connection = _connect(path, "mode=rw", any_thread=any_thread)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection, True


def _has_log(path: Path) -> bool:
    try:
        return companions(path)[0].stat().st_size > 0
    except FileNotFoundError:
        return False


def _state(path: Path) -> tuple[int, ...]:
    """Return what is another once a file was changed; nothing of one that is gone."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _connect(path: Path, mode: str, *, any_thread: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        isolation_level=None,
        timeout=5,
        check_same_thread=not any_thread,
    )
