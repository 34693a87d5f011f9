"""Removing the oldest pictures of a session by a rule, so that its chain still holds and says so.

The SHA-256 of a picture stays in the table ``removed``, and each removal is a link of the chain. Files are
removed as a whole only by ``--keep-results``; then the file behind says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeleuk.errors import EdgeleukError, SessionError
from edgeleuk.io.clock import CLOCK_SET_S, now
from edgeleuk.io.durable import sync_folder
from edgeleuk.session.file_reader import read_file
from edgeleuk.session.files import OpenFile, locked_file, open_file, remove_file
from edgeleuk.session.hash_chain import append_link
from edgeleuk.session.links import TEXTURE, WITH_DIGESTS
from edgeleuk.session.schema import companions, explained, transaction
from edgeleuk.session.series import read_place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.io.storage_bounds import Keep

# Frames whose pictures are removed at once: one transaction, one link.
AT_ONCE = 200
# Of a size, so much more is removed at once, so that a rule does not work at each frame.
_SLACK = 0.005
# A file is written anew when so great a part of it is free: one in so many pages.
_LEAST_FREE = 20
# Kind of pictures, its table, its column, and what tells its cell; see `edgeleuk.session.links.PICTURES`.
_PICTURES = (
    ("cells.crop", "cells", "crop", "track"),
    ("views.crop", "views", "crop", "track"),
    (TEXTURE, "textures", "picture", "0"),
)
_SIZES = " UNION ALL ".join(
    f"SELECT frame, LENGTH({column}) AS size FROM {table} WHERE frame BETWEEN ?1 AND ?2"  # noqa: S608 - names from above
    f" AND {column} IS NOT NULL"
    for _, table, column, _ in _PICTURES
)


class InUseError(SessionError):
    """A file cannot be removed now, as somebody has it open."""


class Removed(NamedTuple):
    """What one step removed."""

    pictures: int
    size: int


def remove_pictures(
    connection: sqlite3.Connection, rule: str, last_frame: int | None = None, size: int | None = None
) -> Removed | None:
    """Remove the oldest pictures of a file, of `AT_ONCE` frames at most; on the disk when this returns.

    Parameters
    ----------
    connection : sqlite3.Connection
        Of a session of schema 7 or later, in no transaction.
    rule : str
        As it was asked for.
    last_frame : int, optional
        Pictures of later frames stay.
    size : int, optional
        Enough is removed with so many bytes.

    Returns
    -------
    Removed or None
        None where no picture is left up to that frame.
    """
    with transaction(connection):
        span = _span(connection, last_frame, size)
        if span is None:
            return None
        digests: list[tuple[int, int, str, bytes]] = []
        removed = 0
        for name, table, column, track in _PICTURES:
            rows = connection.execute(
                f"SELECT frame, {track}, {column} FROM {table} WHERE frame BETWEEN ? AND ?"  # noqa: S608 - names from above
                f" AND {column} IS NOT NULL",
                span,
            )
            for frame, of_track, picture in rows:
                digests.append((frame, of_track, name, hashlib.sha256(picture).digest()))
                removed += len(picture)
        what = json.dumps({"pictures": len(digests), "bytes": removed})
        number = _add_removal(connection, rule, span, what)
        connection.executemany(
            "INSERT INTO removed (frame, track, picture, removal, sha256) VALUES (?, ?, ?, ?, ?)",
            [(*digest[:3], number, digest[3]) for digest in digests],
        )
        connection.execute("UPDATE cells SET crop = NULL WHERE frame BETWEEN ? AND ?", span)
        connection.execute("UPDATE views SET crop = NULL WHERE frame BETWEEN ? AND ?", span)
        connection.execute("DELETE FROM textures WHERE frame BETWEEN ? AND ?", span)
        append_link(connection, "removal", number)
    return Removed(len(digests), removed)


def _add_removal(
    connection: sqlite3.Connection, rule: str, span: tuple[int | None, int | None], what: str
) -> int:
    row = connection.execute(
        "INSERT INTO removals (at, rule, first_frame, last_frame, what) VALUES (?, ?, ?, ?, ?)",
        (now(), rule, *span, what),
    )
    return int(row.lastrowid or 0)


def _span(connection: sqlite3.Connection, last_frame: int | None, size: int | None) -> tuple[int, int] | None:
    """Return the first and the last frame of the oldest pictures that are still there."""
    start = _first_left(connection)
    while start is not None:
        row = connection.execute(
            "SELECT MAX(sequence) FROM"
            " (SELECT sequence FROM frames WHERE sequence >= ? AND sequence <= ? ORDER BY sequence LIMIT ?)",
            (start, 2**62 if last_frame is None else last_frame, AT_ONCE),
        ).fetchone()
        if row[0] is None:
            return None
        found, end = 0, None
        for frame, of_frame in connection.execute(
            f"SELECT frame, SUM(size) FROM ({_SIZES}) GROUP BY frame ORDER BY frame",  # noqa: S608 - a query of ours
            (start, row[0]),
        ).fetchall():
            found, end = found + of_frame, frame
            if size is not None and found >= size:
                break
        if end is not None:
            return start, end
        start = row[0] + 1
    return None


def _first_left(connection: sqlite3.Connection) -> int | None:
    """Return the first frame behind those whose pictures were removed; None of a file without frames."""
    (removed,) = connection.execute("SELECT MAX(last_frame) FROM removals").fetchone()
    if removed is not None:
        return int(removed) + 1
    (first,) = connection.execute("SELECT MIN(sequence) FROM frames").fetchone()
    return None if first is None else int(first)


def last_frame_before(connection: sqlite3.Connection, at: float) -> int | None:
    """Return the last frame that was taken before that time, by a clock that was set; None where none was."""
    (frame,) = connection.execute(
        "SELECT MAX(sequence) FROM frames WHERE captured_at < ? AND captured_at >= ?", (at, CLOCK_SET_S)
    ).fetchone()
    return None if frame is None else int(frame)


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return how many bytes of a file hold something: the room of what was removed is used again."""
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def size_on_disk(path: Path) -> int:
    """Return the bytes of a file, with SQLite's log beside it."""
    found = 0
    for file in (path, companions(path)[0]):
        # Whoever reads the file may be done with its log just now.
        with suppress(FileNotFoundError):
            found += file.stat().st_size
    return found


class Rotation:
    """Holds the pictures of a session to a rule, a step at a time.

    Parameters
    ----------
    keep : Keep
    whole_files : bool
        Of a file that is written no more, remove all pictures once it is begun: it is written anew once.
    every_s : float
        So long after there was nothing to do, nothing is looked at.

    Attributes
    ----------
    left : list of str
        Why files were passed over.
    """

    def __init__(self, keep: Keep, *, whole_files: bool = True, every_s: float = 10.0) -> None:
        self._keep = keep
        self._rule = f"keep {keep.text}"
        self._whole_files = whole_files
        self._every_s = every_s
        self._due_at = 0.0
        # A file that is written no more, while its pictures are being removed.
        self._open: OpenFile | None = None
        # Files without a picture that a rule could remove.
        self._done: set[Path] = set()
        self.left: list[str] = []
        self._not_before: dict[Path, float] = {}
        self._sizes: dict[Path, int] = {}

    def step(self, files: Sequence[Path], current: sqlite3.Connection | None = None) -> bool:
        """Remove what is too old, or too much, of one file at most.

        Parameters
        ----------
        files : sequence of Path
            The oldest first.
        current : sqlite3.Connection, optional
            Of the last of them, where it is being recorded.

        Returns
        -------
        bool
            Whether there was something to do: then there may be more.
        """
        if now() < self._due_at:
            return False
        for place, file in enumerate(files):
            excess = self._excess(files, current)
            if excess is not None and excess <= 0:
                break
            if file in self._done or now() < self._not_before.get(file, 0.0):
                continue
            is_current = current is not None and place == len(files) - 1
            if self._of_current(current, excess) if is_current and current else self._of_closed(file, excess):
                return True
        self.close()
        self._due_at = now() + self._every_s
        return False

    def close(self) -> None:
        """Give the room back of the file that was being gone through."""
        if self._open is not None:
            file, self._open = self._open, None
            try:
                with explained(file.path):
                    _give_back(file.connection)
            finally:
                file.close()
                self._sizes.pop(file.path, None)

    def _excess(self, files: Sequence[Path], current: sqlite3.Connection | None) -> int | None:
        """Return how many bytes there are too many; None where a time is the rule."""
        if self._keep.size is None:
            return None
        if self._open is not None and self._whole_files:
            # What was begun is brought to its end.
            return self._keep.size
        closed = files if current is None else files[:-1]
        for file in closed:
            if file not in self._sizes:
                self._sizes[file] = size_on_disk(file)
        there = sum(self._sizes[file] for file in closed) + (0 if current is None else used_bytes(current))
        # Once it is too much, a little more is removed, so that the rule does not work at each frame.
        most = self._keep.size * (1 - (_SLACK if self._open is not None else 0))
        return int(there - most)

    def _of_current(self, connection: sqlite3.Connection, excess: int | None) -> bool:
        if _schema(connection) < WITH_DIGESTS:
            # Its links cover the pictures themselves: without them its chain would be broken.
            return False
        last = None
        if self._keep.seconds is not None:
            last = last_frame_before(connection, now() - self._keep.seconds)
            if last is None:
                return False
        size = None if excess is None else excess + int((self._keep.size or 0) * _SLACK)
        return remove_pictures(connection, self._rule, last, size) is not None

    def _of_closed(self, path: Path, excess: int | None) -> bool:
        """Remove pictures of a file that is written no more; whether there were any."""
        if self._open is None or self._open.path != path:
            self.close()
            try:
                self._open = open_file(path)
            except EdgeleukError as error:
                # Another run records it, or it lies where nothing may be written.
                self._leave(path, str(error))
                return False
        connection = self._open.connection
        with explained(path):
            if _schema(connection) < WITH_DIGESTS:
                # Its links cover the pictures themselves: without them its chain would be broken.
                self._leave(path, f"{path} was begun by an earlier edgeleuk, and its pictures stay")
                return False
            last = self._last_of_closed(path, connection)
            if last is None:
                self.close()
                return False
            removed = remove_pictures(connection, self._rule, last, None if self._whole_files else excess)
            self._sizes[path] = used_bytes(connection)
        if removed is None:
            self._done.add(path)
            self.close()
        return removed is not None

    def _leave(self, path: Path, why: str) -> None:
        self._done.add(path)
        self.left.append(why)

    def _last_of_closed(self, path: Path, connection: sqlite3.Connection) -> int | None:
        """Return the frame up to which pictures may go; None where none may, or not yet."""
        newest, newest_at = connection.execute(
            "SELECT MAX(sequence), MAX(captured_at) FROM frames"
        ).fetchone()
        if newest is None:
            self._done.add(path)
            return None
        if self._keep.seconds is None:
            return int(newest)
        last = last_frame_before(connection, now() - self._keep.seconds)
        if last is None or (self._whole_files and last < newest):
            self._not_before[path] = float(newest_at) + self._keep.seconds
            return None
        return last


def _schema(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _give_back(connection: sqlite3.Connection) -> None:
    """Write a file anew without the room of what was removed, where that is worth it."""
    pages, free = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count")
    )
    if free * _LEAST_FREE >= pages:
        connection.execute("VACUUM")
        # Who reads the file gives the rest back when he ends: a run does not wait for that.
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def remove_results(files: Sequence[Path], keep: Keep, stays: list[str] | None = None) -> list[Path]:
    """Remove the oldest files as a whole, results and all; the last one always stays.

    The file behind says so in its chain before the file goes, and names its last link.

    Parameters
    ----------
    files : sequence of Path
        The oldest first; none of them is being recorded.
    keep : Keep
    stays : list of str, optional
        Takes why a file stays that would have to go: somebody reads it. Those behind it stay with it.

    Returns
    -------
    list of Path
        The files that are left.
    """
    left = list(files)
    while len(left) > 1 and _is_due(left, keep):
        try:
            _remove_whole(left[0], _heir_of(left), f"keep-results {keep.text}")
        except InUseError as error:
            if stays is not None:
                stays.append(str(error))
            break
        del left[0]
    return left


def _is_due(files: Sequence[Path], keep: Keep) -> bool:
    if keep.size is not None:
        return sum(map(size_on_disk, files)) > keep.size
    assert keep.seconds is not None
    with read_file(files[0]) as oldest, explained(files[0]):
        (newest,) = oldest.connection.execute("SELECT MAX(sequence) FROM frames").fetchone()
        return newest is not None and last_frame_before(oldest.connection, now() - keep.seconds) == newest


def _heir_of(files: Sequence[Path]) -> Path:
    """Return the file that is to say that the first was removed: the next of its series, else the next."""
    oldest = read_place(files[0])
    for file in files[1:]:
        place = read_place(file)
        if oldest is not None and place is not None and place.first == oldest.first and place.part > 1:
            return file
    return files[1]


def _remove_whole(path: Path, heir: Path, rule: str) -> None:
    # Nobody records it as long as it is held.
    lock = locked_file(path)
    try:
        what = _what_stands_in(path)
        with explained(path), closing(_alone_with(path)):
            _tell_heir(path, heir, rule, what)
            remove_file(path)
    finally:
        os.close(lock)
    # What SQLite made beside it once more, as it was closed.
    remove_file(path)
    sync_folder(path.parent)


def _alone_with(path: Path) -> sqlite3.Connection:
    """Open a file so that nobody else does.

    Raises
    ------
    InUseError
        Somebody has it open.
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        connection.close()
        if "locked" not in str(error):
            raise
        raise InUseError(
            f"{path} is being read, and stays for now", cure="run `edgeleuk session keep` when that has ended"
        ) from error
    return connection


def _what_stands_in(path: Path) -> dict[str, Any]:
    """Return what is told of a file that is removed."""
    place = read_place(path)
    with read_file(path) as oldest:
        counts, end = oldest.counts(), oldest.chain_end()
    # What was told of still earlier files goes with this one.
    before = () if place is None else place.removed
    return {
        "session": path.name,
        "first": None if place is None else place.first,
        "part": None if place is None else place.part,
        "end": end,
        "files": 1 + sum(int(one["files"]) for one in before),
        "frames": counts.processed + counts.rejected + sum(int(one["frames"]) for one in before),
        "cells": counts.cells + sum(int(one["cells"]) for one in before),
    }


def _tell_heir(path: Path, heir: Path, rule: str, what: dict[str, Any]) -> None:
    """Record in the file behind that this one is removed, and what stood in it."""
    told = read_place(heir)
    # Whoever was killed between the two only has to remove the file.
    if told is not None and all(one.get("session") != path.name for one in told.removed):
        file = open_file(heir)
        try:
            with explained(heir), transaction(file.connection):
                number = _add_removal(file.connection, rule, (None, None), json.dumps(what))
                append_link(file.connection, "removal", number)
        finally:
            file.close()
