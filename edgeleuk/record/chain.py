"""The hash chain over a session's records: each link hashes the link before and what was recorded.

Whoever changes, removes, adds or exchanges a record breaks every link from there on. Records cut off at the
end take their links with them: compare the last link with the one that was noted when the run ended. Source:
Haber and Stornetta, "How to Time-Stamp a Digital Document", Journal of Cryptology 3, 1991.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeleuk.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = "CREATE TABLE chain (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key INTEGER, link BLOB NOT NULL);"
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
}
# So many of a frame's had sessions of the second schema.
_FRAME_TABLES_BEFORE_3 = 3
# Tables by whose rows the links are counted, so that no record stands beside the chain.
_TABLES = {"frame": "frames", "event": "events", "summary": "summary"}


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
    """

    links: int
    head: str
    broken: str | None = None


def append_link(connection: sqlite3.Connection, kind: str, key: int | None) -> None:
    """Add the link over what was recorded in the transaction under way.

    Parameters
    ----------
    connection : sqlite3.Connection
    kind : str
        ``settings``, ``frame``, ``event`` or ``summary``.
    key : int or None
        Of the frame, the event or the summary.
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
    if not _has_its_tables(connection):
        return ChainResult(0, "", "the tables are not as they were made")
    before, number = b"", 0
    for number, (kind, key, link) in enumerate(_links(connection), start=1):
        if kind not in _COVERED or _link(connection, before, kind, key) != link:
            return ChainResult(number - 1, before.hex(), f"{_named(kind, key)} is not as it was recorded")
        before = link
    for kind, table in _TABLES.items():
        missing = connection.execute(
            f"SELECT COUNT(*), MIN({_key_of(table)}) FROM {table} WHERE {_key_of(table)} NOT IN"  # noqa: S608 - names from the table above
            " (SELECT key FROM chain WHERE kind = ?)",
            (kind,),
        ).fetchone()
        if missing[0]:
            return ChainResult(number, before.hex(), f"{_named(kind, missing[1])} was added behind the chain")
    for query in _covered(connection, "frame")[1:]:
        table = query.split()[3]
        if connection.execute(
            f"SELECT 1 FROM {table} WHERE frame NOT IN (SELECT key FROM chain WHERE kind = 'frame')"  # noqa: S608 - names from the table above
        ).fetchone():
            return ChainResult(number, before.hex(), f"a row of {table} belongs to no recorded frame")
    if number == 0:
        return ChainResult(0, "", "the settings are not as they were recorded")
    return ChainResult(number, before.hex())


def _links(connection: sqlite3.Connection) -> Iterator[tuple[str, int | None, bytes]]:
    yield from connection.execute("SELECT kind, key, link FROM chain ORDER BY id")


def _has_its_tables(connection: sqlite3.Connection) -> bool:
    """Compare the tables with those of a new session: whoever renames a column hides it."""
    from edgeleuk.record.database import SCHEMA as WHOLE  # noqa: PLC0415 - it needs this one's table
    from edgeleuk.record.database import SCHEMA_VERSION  # noqa: PLC0415

    if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
        return True
    new = sqlite3.connect(":memory:")
    try:
        new.executescript(WHOLE)
        query = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
        return new.execute(query).fetchall() == connection.execute(query).fetchall()
    finally:
        new.close()


def _covered(connection: sqlite3.Connection, kind: str) -> tuple[str, ...]:
    """Return the queries that a link of that kind covers, in a session of this one's schema."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return _COVERED[kind][:_FRAME_TABLES_BEFORE_3] if version < 3 else _COVERED[kind]


def _link(connection: sqlite3.Connection, before: bytes, kind: str, key: int | None) -> bytes:
    """Hash the link before, the kind and the rows, as they read back from the file."""
    whole = hashlib.sha256(before)
    whole.update(json.dumps([kind, key]).encode())
    for query in _covered(connection, kind):
        for row in connection.execute(query, (key,)):
            # repr of a float is exact; of pictures the hash suffices.
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
