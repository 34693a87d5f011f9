"""The hash chain over a session's records: each link hashes the link before and what was recorded.

Whoever changes, removes, adds or exchanges a record breaks every link from there on. Records cut off at the
end take their links with them: compare the last link with the one that was noted when the run ended. Source:
Haber and Stornetta, "How to Time-Stamp a Digital Document", Journal of Cryptology 3, 1991.

From schema 4 on a value is hashed with its type and its length, and rows with the names of their columns, so
that no two different rows are hashed alike. Before, rows were hashed as JSON, in which a picture stood as its
digest: `_link_before_4` verifies such sessions, and a value of another type than its column's breaks them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from edgeleuk.errors import SessionError
from edgeleuk.session.links import (
    COVERED,
    WITH_DIGESTS,
    RowsOfFrames,
    StrangeRowError,
    digested,
    hash_link,
    read_rows,
    removed_from,
    table_of,
)
from edgeleuk.session.schema import REVIEWS, SCHEMA, has_reviews

if TYPE_CHECKING:
    from collections.abc import Iterator

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
_TABLES = {
    "frame": "frames",
    "event": "events",
    "summary": "summary",
    "review": "reviews",
    "removal": "removals",
}
# Kinds of links that may follow when a run has ended.
AFTERWARDS = ("review", "removal")
# A digest that no removal covers: its removal is not there, or is of other frames.
_NO_REMOVAL = (
    "SELECT 1 FROM removed LEFT JOIN removals ON removals.id = removal"
    " WHERE removals.id IS NULL OR frame NOT BETWEEN first_frame AND last_frame"
    " OR first_frame IS NULL OR last_frame IS NULL"
)
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
        ``settings``, ``frame``, ``event``, ``summary``, ``review`` or ``removal``.
    key : int or None
        Of the frame, the event, the summary, the review or the removal.
    """
    row = connection.execute("SELECT link FROM chain ORDER BY id DESC LIMIT 1").fetchone()
    link = _link(connection, b"" if row is None else row[0], kind, key, _version(connection))
    connection.execute("INSERT INTO chain (kind, key, link) VALUES (?, ?, ?)", (kind, key, link))


def verify_chain(connection: sqlite3.Connection) -> ChainResult:
    """Compute every link again, in a stream: so many links at a time, in one look at the file.

    Raises
    ------
    SessionError
        The session has no chain: it was recorded by an earlier version.
    """
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'chain'").fetchone() is None:
        raise SessionError(
            "the session has no hash chain", cure="record it with this version; an earlier one made none"
        )
    with _one_look(connection):
        version = _version(connection)
        if not has_its_tables(connection, version):
            return ChainResult(0, "", TABLES_BROKEN)
        if version < _TYPED and (strange := _strange_value(connection)) is not None:
            return ChainResult(0, "", strange)
        try:
            found = _followed(connection, version)
        except StrangeRowError as error:
            return ChainResult(0, "", f"a row of {error} belongs to no recorded frame")
        return found if found.broken else replace(found, broken=_beside_the_chain(connection, version))


@contextlib.contextmanager
def _one_look(connection: sqlite3.Connection) -> Iterator[None]:
    """See nothing of what a run records meanwhile."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


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
    kinds, version = _kinds_of_links(connection), _version(connection)
    there = connection.execute("SELECT link FROM chain WHERE id = ?", (number,)).fetchone()
    if there is None or there[0] != before:
        return False
    new = connection.execute("SELECT kind, key, link FROM chain WHERE id > ? ORDER BY id", (number,))
    reviews = 0
    for kind, key, link in new.fetchall():
        if not _is_of_a_link(kind, key, kinds) or _link(connection, before, kind, key, version) != link:
            return False
        before = link
        reviews += kind == "review"
    return reviews > 0


def _followed(connection: sqlite3.Connection, version: int) -> ChainResult:
    """Compute the links in their order, up to the first that is another."""
    kinds = _kinds_of_links(connection)
    before, of_run, number = b"", b"", 0
    for number, (kind, key, link, computed) in enumerate(_computed(connection, version, kinds), start=1):
        if computed != link:
            what = SETTINGS_BROKEN if kind == "settings" else f"{_named(kind, key)} is not as it was recorded"
            return ChainResult(number - 1, before.hex(), what, of_run.hex())
        before = link
        of_run = of_run if kind in AFTERWARDS else link
    if number == 0:
        return ChainResult(0, "", SETTINGS_BROKEN)
    return ChainResult(number, before.hex(), run_head=of_run.hex())


def _computed(
    connection: sqlite3.Connection, version: int, kinds: frozenset[str]
) -> Iterator[tuple[str, int | None, bytes, bytes]]:
    """Yield kind, key and link as they are recorded, and the link that it should be."""
    links = connection.execute("SELECT kind, key, link FROM chain ORDER BY id")
    if version >= _TYPED:
        yield from RowsOfFrames(connection, version).computed(
            links, lambda kind, key: _is_of_a_link(kind, key, kinds)
        )
        return
    before = b""
    for kind, key, link in links:
        sound = _is_of_a_link(kind, key, kinds)
        yield kind, key, link, _link_before_4(connection, before, kind, key) if sound else b""
        before = link


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
        table = table_of(query)
        if connection.execute(
            f"SELECT 1 FROM {table} WHERE frame NOT IN (SELECT key FROM chain WHERE kind = 'frame')"  # noqa: S608 - names from the table above
        ).fetchone():
            return f"a row of {table} belongs to no recorded frame"
    if "removal" in kinds and connection.execute(_NO_REMOVAL).fetchone():
        return "a picture is told to be removed by a rule, and is not"
    return None


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _kinds_of_links(connection: sqlite3.Connection) -> frozenset[str]:
    """Return of what there may be links: of reviews and removals only where there is a table of them."""
    kinds = frozenset(COVERED) if has_reviews(connection) else frozenset(COVERED) - {"review"}
    return kinds if _version(connection) >= WITH_DIGESTS else kinds - {"removal"}


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
    return COVERED[kind][:_FRAME_TABLES_BEFORE_3] if version < 3 else COVERED[kind]


def _link(connection: sqlite3.Connection, before: bytes, kind: str, key: int | None, version: int) -> bytes:
    """Hash the link before, the kind and the rows, as they read back from the file."""
    tables = [(table_of(query), read_rows(connection, query, key)) for query in COVERED[kind]]
    if version >= WITH_DIGESTS and kind == "frame" and key is not None:
        removed = removed_from(connection, key, key)
        tables = [(table, digested(table, rows, removed)) for table, rows in tables]
    return hash_link(before, kind, key, [rows for _, rows in tables], version)


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
