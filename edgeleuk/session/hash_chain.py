"""The hash chain over a session's records: each link hashes the link before and what was recorded.

Whoever changes, removes, adds or exchanges a record breaks every link from there on. Records cut off at the
end take their links with them: compare the last link with the one that was noted when the run ended. Source:
Haber and Stornetta, "How to Time-Stamp a Digital Document", Journal of Cryptology 3, 1991.

From schema 4 on a value is hashed with its type and its length, and rows with the names of their columns, so
that no two different rows are hashed alike. Before, rows were hashed as JSON, in which a picture stood as its
digest: `_link_before_4` verifies such sessions, and a value of another type than its column's breaks them.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from edgeleuk.errors import SessionError
from edgeleuk.session.schema import REVIEWS, SCHEMA, has_reviews

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Rows = tuple[list[str], list[tuple[object, ...]]]

# What a link of each kind covers: queries by the key of the link.
_COVERED = {
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
}
# What tells the rows apart of tables that no index finds by their frame, in the order of the queries above.
_KEYS = {"cells": ("track",), "true_cells": ("identity",), "views": ("track", "frame"), "moves": ("id",)}
# So many of a frame's had sessions of the second schema.
_FRAME_TABLES_BEFORE_3 = 3
TABLES_BROKEN = "the tables are not as they were made"
SETTINGS_BROKEN = "the settings are not as they were recorded"
# From this schema on values are hashed with their types.
_TYPED = 4
# From this schema on reviews have their table from the beginning.
_WITH_REVIEWS = 6
# SHA-256 over the tables of earlier schemas, so that theirs are compared, too.
_TABLES_BEFORE = {
    2: "d052c91a16ea5811ae6343026115f2ec2f1bf512f8a44762c448e23fd3b391e0",
    # The fourth has the tables of the third.
    3: "c3e1dfb656354c6b526441bd62c1d5790fb01429747787d22c5e5629993fabfc",
    4: "c3e1dfb656354c6b526441bd62c1d5790fb01429747787d22c5e5629993fabfc",
    5: "bfb86f87f4ce1660de7a0f788f33e373c6ee79383a61027c8e28d486516f5f16",
    6: "20da7639f8ef96bb0b97f0138b8bc36ea9ba96fe67c8c5faac9b8928adfba154",
}
_TABLES_QUERY = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
# What a column of a declared type may hold, as SQLite's typeof() names it.
_HELD = {"INTEGER": ("integer",), "REAL": ("real",), "TEXT": ("text",), "BLOB": ("blob",)}
# Tables by whose rows the links are counted, so that no record stands beside the chain.
_TABLES = {"frame": "frames", "event": "events", "summary": "summary", "review": "reviews"}
# What a review adds to the tables of an earlier schema, whose links are hashed as those of today.
_REVIEWS = ("reviews", REVIEWS)


@dataclass(frozen=True, slots=True)
class ChainResult:
    """What `verify_chain` found.

    Attributes
    ----------
    links : int
    head : str
        The last link, hexadecimal.
    broken : str or None
        The first record that is not as it was written, in words; None where all are.
    run_head : str
        The last link that is of the run itself: later reviews leave it as it is.
    """

    links: int
    head: str
    broken: str | None = None
    run_head: str = ""


def append_link(connection: sqlite3.Connection, kind: str, key: int | None) -> None:
    """Add the link over what was recorded in the transaction under way.

    Parameters
    ----------
    connection : sqlite3.Connection
    kind : str
        ``settings``, ``frame``, ``event``, ``summary`` or ``review``.
    key : int or None
        Of the frame, the event, the summary or the review.
    """
    row = connection.execute("SELECT link FROM chain ORDER BY id DESC LIMIT 1").fetchone()
    link = _link(connection, b"" if row is None else row[0], kind, key)
    connection.execute("INSERT INTO chain (kind, key, link) VALUES (?, ?, ?)", (kind, key, link))


def verify_chain(connection: sqlite3.Connection) -> ChainResult:
    """Compute every link again.

    Raises
    ------
    SessionError
        The session has no chain: it was recorded by an earlier version.
    """
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'chain'").fetchone() is None:
        raise SessionError(
            "the session has no hash chain", cure="record it with this version; an earlier one made none"
        )
    version = _version(connection)
    if not has_its_tables(connection, version):
        return ChainResult(0, "", TABLES_BROKEN)
    if version < _TYPED and (strange := _strange_value(connection)) is not None:
        return ChainResult(0, "", strange)
    found = _followed(connection, version)
    return found if found.broken else replace(found, broken=_beside_the_chain(connection, version))


def head_of(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """Return the number of the last link, and the link."""
    row = connection.execute("SELECT id, link FROM chain ORDER BY id DESC LIMIT 1").fetchone()
    return (0, b"") if row is None else (int(row[0]), bytes(row[1]))


def are_sound_after(connection: sqlite3.Connection, known: tuple[int, bytes]) -> bool:
    """Whether the links after a known one follow from it, and reviews are among them.

    It tells in a moment what others may do to a session while it is recorded. Earlier records are not looked
    at again: `verify_chain` does.

    Parameters
    ----------
    connection : sqlite3.Connection
        Of a session of a schema whose values are hashed with their types.
    known : (int, bytes)
        As of `head_of`.
    """
    number, before = known
    kinds = _kinds_of_links(connection)
    there = connection.execute("SELECT link FROM chain WHERE id = ?", (number,)).fetchone()
    if there is None or there[0] != before:
        return False
    new = connection.execute("SELECT kind, key, link FROM chain WHERE id > ? ORDER BY id", (number,))
    reviews = 0
    for kind, key, link in new.fetchall():
        if not _is_of_a_link(kind, key, kinds) or _link(connection, before, kind, key) != link:
            return False
        before = link
        reviews += kind == "review"
    return reviews > 0


def _followed(connection: sqlite3.Connection, version: int) -> ChainResult:
    """Compute the links in their order, up to the first that is another."""
    link_of = _RowsOfFrames().link if version >= _TYPED else _link_before_4
    kinds = _kinds_of_links(connection)
    before, of_run, number = b"", b"", 0
    for number, (kind, key, link) in enumerate(_links(connection), start=1):
        if not _is_of_a_link(kind, key, kinds) or link_of(connection, before, kind, key) != link:
            what = SETTINGS_BROKEN if kind == "settings" else f"{_named(kind, key)} is not as it was recorded"
            return ChainResult(number - 1, before.hex(), what, of_run.hex())
        before = link
        of_run = of_run if kind == "review" else link
    if number == 0:
        return ChainResult(0, "", SETTINGS_BROKEN)
    return ChainResult(number, before.hex(), run_head=of_run.hex())


def _beside_the_chain(connection: sqlite3.Connection, version: int) -> str | None:
    """Name a record that no link covers; None where there is none."""
    kinds = _kinds_of_links(connection)
    for kind, table in _TABLES.items():
        if kind not in kinds:
            continue
        missing = connection.execute(
            f"SELECT COUNT(*), MIN({_key_of(table)}) FROM {table} WHERE {_key_of(table)} NOT IN"  # noqa: S608 - names from the table above
            " (SELECT key FROM chain WHERE kind = ?)",
            (kind,),
        ).fetchone()
        if missing[0]:
            return f"{_named(kind, missing[1])} was added behind the chain"
    for query in _covered(version, "frame")[1:]:
        table = query.split()[3]
        if connection.execute(
            f"SELECT 1 FROM {table} WHERE frame NOT IN (SELECT key FROM chain WHERE kind = 'frame')"  # noqa: S608 - names from the table above
        ).fetchone():
            return f"a row of {table} belongs to no recorded frame"
    return None


def _links(connection: sqlite3.Connection) -> Iterator[tuple[str, int | None, bytes]]:
    yield from connection.execute("SELECT kind, key, link FROM chain ORDER BY id")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _kinds_of_links(connection: sqlite3.Connection) -> frozenset[str]:
    """Return of what there may be links: of reviews only where there is a table of them."""
    return frozenset(_COVERED) if has_reviews(connection) else frozenset(_COVERED) - {"review"}


def _is_of_a_link(kind: object, key: object, kinds: frozenset[str]) -> bool:
    """Whether a link can be of that: a table takes values of any type."""
    if kind == "settings":
        return key is None
    return isinstance(kind, str) and kind in kinds and isinstance(key, int)


def has_its_tables(connection: sqlite3.Connection, version: int) -> bool:
    """Compare the tables with those of a new session: whoever renames a column hides it.

    Of the first schema, which has no chain, it is only asked that there are tables and nothing that computes.
    """
    if version < min(_TABLES_BEFORE):
        strange = (
            "SELECT 1 FROM sqlite_schema WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'"
        )
        return connection.execute(strange).fetchone() is None
    found = connection.execute(_TABLES_QUERY).fetchall()
    if version in _TABLES_BEFORE:
        if _TYPED <= version < _WITH_REVIEWS:
            found = [row for row in found if row != _REVIEWS]
        return hashlib.sha256(repr(found).encode()).hexdigest() == _TABLES_BEFORE[version]
    return found == _tables_of_a_new_one()


@cache
def _tables_of_a_new_one() -> list[tuple[str, str]]:
    new = sqlite3.connect(":memory:")
    try:
        new.executescript(SCHEMA)
        return new.execute(_TABLES_QUERY).fetchall()
    finally:
        new.close()


def _strange_value(connection: sqlite3.Connection) -> str | None:
    """Say in which column a value has another type than is recorded there; None where all have theirs."""
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    for (table,) in tables.fetchall():
        for row in connection.execute(f"PRAGMA table_info({table})").fetchall():
            name, held = row[1], _HELD[row[2]]
            query = f"SELECT 1 FROM {table} WHERE typeof({name}) NOT IN ('null', {_quoted(held)}) LIMIT 1"  # noqa: S608 - names of tables that are as they were made
            if connection.execute(query).fetchone():
                return f"{name} in {table} holds what is never recorded there"
    return None


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _covered(version: int, kind: str) -> tuple[str, ...]:
    """Return the queries that a link of that kind covers, in a session of that schema."""
    return _COVERED[kind][:_FRAME_TABLES_BEFORE_3] if version < 3 else _COVERED[kind]


def _read(connection: sqlite3.Connection, query: str, key: int | None) -> _Rows:
    """Return the names of the columns, and the rows that a link covers."""
    cursor = connection.execute(query, (key,))
    rows = cursor.fetchall()
    return [column[0] for column in cursor.description], rows


class _RowsOfFrames:
    """Reads rows by their frame, which no index tells: their keys are looked up once for all links."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[object, list[tuple[object, ...]]]] = {}
        self._names: dict[str, list[str]] = {}

    def link(self, connection: sqlite3.Connection, before: bytes, kind: str, key: int | None) -> bytes:
        """Return the link, as `_link`."""
        return _link(connection, before, kind, key, self._read)

    def _read(self, connection: sqlite3.Connection, query: str, key: int | None) -> _Rows:
        table = query.split()[3]
        of_row = _KEYS.get(table)
        if of_row is None:
            return _read(connection, query, key)
        if query not in self._keys:
            # Only now: what a run records meanwhile is not seen as long as the links are being read.
            self._look_up(connection, query, table, ", ".join(of_row))
        one = f"SELECT * FROM {table} WHERE " + " AND ".join(f"{name} = ?" for name in of_row)  # noqa: S608 - names from the table above
        rows: list[tuple[object, ...]] = []
        for keys in self._keys[query].get(key, ()):
            rows += connection.execute(one, keys).fetchall()
        return self._names[query], rows

    def _look_up(self, connection: sqlite3.Connection, query: str, table: str, names: str) -> None:
        of_frames: dict[object, list[tuple[object, ...]]] = {}
        for frame, *keys in connection.execute(f"SELECT frame, {names} FROM {table} ORDER BY {names}"):  # noqa: S608 - as above
            of_frames.setdefault(frame, []).append(tuple(keys))
        self._keys[query] = of_frames
        # The columns' names stand there without a row as well.
        self._names[query] = _read(connection, query, None)[0]


def _link(
    connection: sqlite3.Connection,
    before: bytes,
    kind: str,
    key: int | None,
    read: Callable[[sqlite3.Connection, str, int | None], _Rows] = _read,
) -> bytes:
    """Hash the link before, the kind and the rows, as they read back from the file."""
    whole = hashlib.sha256(b"edgeleuk session, link of schema 4\0")
    for of_link in (before, kind, key):
        _hash_value(whole, of_link)
    for query in _COVERED[kind]:
        names, rows = read(connection, query, key)
        for count_or_name in (len(rows), len(names), *names):
            _hash_value(whole, count_or_name)
        for row in rows:
            for value in row:
                _hash_value(whole, value)
    return whole.digest()


def _hash_value(whole: hashlib._Hash, value: object) -> None:
    """Hash a value after its type and its length: no two sequences of values are hashed alike."""
    if isinstance(value, bytes):
        kind, data = b"b", value
    elif isinstance(value, str):
        kind, data = b"t", value.encode()
    elif isinstance(value, int):
        kind, data = b"i", b"%d" % value
    elif isinstance(value, float):
        kind, data = b"f", struct.pack(">d", value)
    else:
        kind, data = b"n", b""
    whole.update(kind + struct.pack(">Q", len(data)))
    whole.update(data)


def _link_before_4(connection: sqlite3.Connection, before: bytes, kind: str, key: int | None) -> bytes:
    """Hash as the schemas before the fourth did."""
    whole = hashlib.sha256(before)
    whole.update(json.dumps([kind, key]).encode())
    for query in _covered(_version(connection), kind):
        for row in connection.execute(query, (key,)):
            # repr of a float is exact; of pictures the hash sufficed, as no other type may stand there.
            values = [
                hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value for value in row
            ]
            whole.update(json.dumps(values).encode() + b"\n")
        whole.update(b"\0")
    return whole.digest()


def _key_of(table: str) -> str:
    return "sequence" if table == "frames" else "id"


def _named(kind: str, key: int | None) -> str:
    return f"the {kind}" if kind == "settings" or (kind, key) == ("summary", 1) else f"{kind} {key}"
