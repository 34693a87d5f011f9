"""What a link of the hash chain covers, and how that is hashed; see `edgeleuk.session.hash_chain`.

A value is hashed after its type and its length, and rows with the names of their columns, so that no two
different rows are hashed alike. From schema 7 on a picture is hashed as its own SHA-256: one that a rule
removed leaves its digest in the table ``removed``, and the link over its frame can still be computed.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from bisect import bisect_left, bisect_right
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

# From this schema on a link covers a picture by its digest.
WITH_DIGESTS = 7
# What a link of each kind covers: queries by the key of the link.
COVERED = {
    "settings": ("SELECT * FROM settings WHERE ? IS NULL ORDER BY key",),
    "frame": (
        "SELECT * FROM frames WHERE sequence = ?",
        "SELECT * FROM cells WHERE frame = ? ORDER BY track",
        "SELECT * FROM true_cells WHERE frame = ? ORDER BY identity",
        "SELECT * FROM views WHERE frame = ? ORDER BY track",
        "SELECT * FROM textures WHERE frame = ?",
        "SELECT * FROM moves WHERE frame = ? ORDER BY id",
    ),
    "event": ("SELECT * FROM events WHERE id = ?",),
    "summary": ("SELECT * FROM summary WHERE id = ?",),
    "review": ("SELECT * FROM reviews WHERE id = ?",),
    "removal": (
        "SELECT * FROM removals WHERE id = ?",
        "SELECT removed.* FROM removed JOIN removals ON removals.id = removal WHERE removals.id = ?"
        " AND frame BETWEEN first_frame AND last_frame ORDER BY frame, track, picture",
    ),
}
# Table -> its columns that hold pictures, which a rule may remove: of a texture the whole row goes.
PICTURES = {"cells": ("crop",), "views": ("crop",), "textures": ("picture",)}
TEXTURE = "textures.picture"
# What tells the rows of a frame apart, in the order of the queries above; of others the frame alone does.
_KEYS = {"cells": "track", "true_cells": "identity", "views": "track", "moves": "id"}
# So many links are read at once: few enough for their pictures to fit into memory.
_AT_ONCE = 64

Row = tuple[object, ...]
Link = tuple[str, int | None, bytes]
# (table and column, frame, track) -> digest of a picture that was removed.
Digests = dict[tuple[str, int, int], bytes]


class StrangeRowError(Exception):
    """A row has a key that is none: no link covers it."""


class Rows(NamedTuple):
    """What a link covers of one table."""

    names: tuple[str, ...]
    rows: Sequence[Row]


def table_of(query: str) -> str:
    """Return the table of one of the queries in `COVERED`."""
    return query.split()[3]


def read_rows(connection: sqlite3.Connection, query: str, key: int | None) -> Rows:
    """Read what a link covers of one table."""
    cursor = connection.execute(query, (key,))
    rows = cursor.fetchall()
    return Rows(tuple(column[0] for column in cursor.description), rows)


def hash_link(before: bytes, kind: str, key: int | None, tables: Iterable[Rows], schema: int) -> bytes:
    """Hash the link before, the kind, and what is covered, as it reads back from the file.

    Parameters
    ----------
    before : bytes
        The link before, empty for the first.
    kind : str
    key : int or None
    tables : iterable of Rows
        Pictures stand there as `Digest` where the schema has them so.
    schema : int
        Of the session.
    """
    parts = [_HEAD_OF_7 if schema >= WITH_DIGESTS else _HEAD]
    parts += map(encoded, (before, kind, key))
    for names, rows in tables:
        parts += (encoded(len(rows)), _encoded_names(names))
        for row in rows:
            parts += [_ENCODED[type(value)](value) for value in row]
    return hashlib.sha256(b"".join(parts)).digest()


class Digest(bytes):
    """The SHA-256 of a picture, in its place."""

    __slots__ = ()


def digested(table: str, rows: Rows, removed: Mapping[tuple[str, int, int], bytes]) -> Rows:
    """Put the digests of pictures into their place; of those that were removed, what `removed` holds."""
    pictures = PICTURES.get(table)
    if pictures is None:
        return rows
    places = [(rows.names.index(name), f"{table}.{name}") for name in pictures]
    frame_at = rows.names.index("frame")
    track_at = rows.names.index("track") if "track" in rows.names else None
    found = []
    for row in rows.rows:
        values = list(row)
        for place, name in places:
            value = values[place]
            if isinstance(value, bytes):
                values[place] = Digest(hashlib.sha256(value).digest())
            elif value is None and removed:
                track = 0 if track_at is None else values[track_at]
                known = removed.get((name, values[frame_at], track))  # type: ignore[arg-type]
                values[place] = None if known is None else Digest(known)
        found.append(tuple(values))
    if table == "textures" and removed:
        there = {row[frame_at] for row in found}
        found += [
            (frame, Digest(digest))
            for (name, frame, _), digest in removed.items()
            if name == TEXTURE and frame not in there
        ]
    return Rows(rows.names, found)


def removed_from(connection: sqlite3.Connection, first: int, last: int) -> Digests:
    """Return the digests of pictures that were removed from these frames, of a session of schema 7."""
    query = "SELECT picture, frame, track, sha256 FROM removed WHERE frame BETWEEN ? AND ?"
    return {
        (picture, frame, track): digest
        for picture, frame, track, digest in connection.execute(query, (first, last))
        if isinstance(digest, bytes)
    }


class RowsOfFrames:
    """Reads what links cover, for many links at once; use it within one transaction.

    Parameters
    ----------
    connection : sqlite3.Connection
    schema : int
        Of the session.
    """

    def __init__(self, connection: sqlite3.Connection, schema: int) -> None:
        self._connection = connection
        self._schema = schema
        self._keys: dict[str, tuple[array[int], array[int]]] = {}
        self._names: dict[str, tuple[str, ...]] = {}

    def computed(
        self, links: Iterable[Link], is_sound: Callable[[object, object], bool]
    ) -> Iterator[tuple[str, int | None, bytes, bytes]]:
        """Yield kind, key and link as they are recorded, and what the link should be behind the one before.

        Parameters
        ----------
        links : iterable of (str, int or None, bytes)
            Kind, key and recorded link, in order, as the table holds them.
        is_sound : callable
            Whether there can be a link of that kind and key; what one of others should be is empty.

        Raises
        ------
        StrangeRowError
        """
        before = b""
        waiting: list[Link] = []
        for link in links:
            waiting.append(link)
            if len(waiting) == _AT_ONCE:
                yield from self._of_batch(waiting, before, is_sound)
                before = waiting[-1][2]
                waiting = []
        yield from self._of_batch(waiting, before, is_sound)

    def _of_batch(
        self, links: Sequence[Link], before: bytes, is_sound: Callable[[object, object], bool]
    ) -> Iterator[tuple[str, int | None, bytes, bytes]]:
        sound = [is_sound(kind, key) for kind, key, _ in links]
        frames = sorted(
            {
                key
                for (kind, key, _), is_one in zip(links, sound, strict=True)
                if is_one and kind == "frame" and key is not None
            }
        )
        tables = [self._of_frames(query, frames) for query in COVERED["frame"]] if frames else []
        for (kind, key, link), is_one in zip(links, sound, strict=True):
            # What follows a link that is none is not looked at any more.
            if not is_one or not isinstance(before, bytes):
                yield kind, key, link, b""
            elif kind == "frame":
                rows = [Rows(names, found.get(key, ())) for names, found in tables]  # type: ignore[arg-type]
                yield kind, key, link, hash_link(before, kind, key, rows, self._schema)
            else:
                of_kind = [read_rows(self._connection, query, key) for query in COVERED[kind]]
                yield kind, key, link, hash_link(before, kind, key, of_kind, self._schema)
            before = link

    def _of_frames(
        self, query: str, frames: Sequence[int]
    ) -> tuple[tuple[str, ...], Mapping[int, Sequence[Row]]]:
        """Read the rows of one table that belong to these frames, which are sorted."""
        table = table_of(query)
        names = self._names_of(query, table)
        key = _KEYS.get(table)
        if key is None:
            of_frame = "sequence" if table == "frames" else "frame"
            found = self._rows(f"SELECT * FROM {table} WHERE {of_frame} IN {_GIVEN}", frames)  # noqa: S608 - names from the tables above
        else:
            found = self._rows_by_key(table, key, frames)
        rows = Rows(names, found)
        if self._schema >= WITH_DIGESTS and table in PICTURES:
            rows = digested(table, rows, removed_from(self._connection, frames[0], frames[-1]))
        place = names.index("sequence" if table == "frames" else "frame")
        of_frames: dict[int, list[Row]] = {}
        for row in rows.rows:
            of_frames.setdefault(row[place], []).append(row)  # type: ignore[arg-type]
        return names, of_frames

    def _rows_by_key(self, table: str, key: str, frames: Sequence[int]) -> list[Row]:
        of_frames, keys = self._keys_of(table, key)
        wanted: list[tuple[int, int]] = []
        for frame in frames:
            first = bisect_left(of_frames, frame)
            wanted += [
                (frame, keys[place]) for place in range(first, bisect_right(of_frames, frame, lo=first))
            ]
        if not wanted:
            return []
        if table == "views":
            one = "SELECT * FROM views WHERE track = ? AND frame = ?"
            return [
                row
                for frame, track in wanted
                for row in self._connection.execute(one, (track, frame)).fetchall()
            ]
        many = f"SELECT * FROM {table} WHERE {key} IN {_GIVEN} ORDER BY {key}"  # noqa: S608 - as above
        return self._rows(many, [of_key for _, of_key in wanted])

    def _rows(self, query: str, given: Sequence[int]) -> list[Row]:
        return self._connection.execute(query, (json.dumps(given),)).fetchall()

    def _keys_of(self, table: str, key: str) -> tuple[array[int], array[int]]:
        """Return the frames of a table's rows, sorted, and the key of each row."""
        if table not in self._keys:
            frames, keys = array("q"), array("q")
            query = f"SELECT frame, {key} FROM {table} ORDER BY frame, {key}"  # noqa: S608 - as above
            try:
                for frame, of_row in self._connection.execute(query):
                    frames.append(frame)
                    keys.append(of_row)
            except TypeError as error:
                raise StrangeRowError(table) from error
            self._keys[table] = frames, keys
        return self._keys[table]

    def _names_of(self, query: str, table: str) -> tuple[str, ...]:
        if table not in self._names:
            # The columns' names stand there without a row as well.
            self._names[table] = read_rows(self._connection, query, None).names
        return self._names[table]


# A list of numbers as one parameter, however long.
_GIVEN = "(SELECT value FROM json_each(?))"
_HEAD = b"edgeleuk session, link of schema 4\0"
_HEAD_OF_7 = b"edgeleuk session, link of schema 7\0"
_LENGTH, _REAL = Struct(">cQ"), Struct(">cQd")
_NONE = _LENGTH.pack(b"n", 0)


def _of_bytes(value: bytes) -> bytes:
    return _LENGTH.pack(b"b", len(value)) + value


def _of_digest(value: Digest) -> bytes:
    return _LENGTH.pack(b"p", len(value)) + value


def _of_text(value: str) -> bytes:
    data = value.encode()
    return _LENGTH.pack(b"t", len(data)) + data


def _of_int(value: int) -> bytes:
    data = b"%d" % value
    return _LENGTH.pack(b"i", len(data)) + data


def _of_float(value: float) -> bytes:
    return _REAL.pack(b"f", 8, value)


def _of_none(_: None) -> bytes:
    return _NONE


_ENCODED: dict[type, Callable[..., bytes]] = {
    bytes: _of_bytes,
    Digest: _of_digest,
    str: _of_text,
    int: _of_int,
    float: _of_float,
    type(None): _of_none,
}


@lru_cache(64)
def _encoded_names(names: tuple[str, ...]) -> bytes:
    """Return how many names there are, and each: they are the same for all links."""
    return b"".join(map(encoded, (len(names), *names)))


def encoded(value: object) -> bytes:
    """Return a value after its type and its length: no two sequences of values are encoded alike."""
    return _ENCODED[type(value)](value)
