"""Whole sessions of an earlier schema, with the links that such a session has."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from earlier_tables import TABLES_OF
from sessions import record

from edgeleuk.session import create_session
from edgeleuk.session.hash_chain import append_link
from edgeleuk.session.schema import APPLICATION_ID

if TYPE_CHECKING:
    from pathlib import Path


def of_schema_6(path: Path, frames: int) -> None:
    """Record a session of the sixth schema, a cell a frame."""
    new = path.with_suffix(".new")
    with create_session(new, {"camera": "test://"}) as session:
        for number in range(frames):
            record(session, number)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(TABLES_OF[6])
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 6")
    connection.execute("ATTACH ? AS new", (str(new),))
    tables = connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall()
    for (table,) in tables:
        own, others = (
            [row[1] for row in connection.execute(f"PRAGMA {of}.table_info({table})")]
            for of in ("main", "new")
        )
        if table == "chain":
            continue
        names = ", ".join(name for name in own if name in others or name == "jpeg")
        given = names.replace("jpeg", "picture AS jpeg")
        connection.execute(f"INSERT INTO main.{table} ({names}) SELECT {given} FROM new.{table}")
    links = connection.execute("SELECT kind, key FROM new.chain ORDER BY id").fetchall()
    connection.execute("DETACH new")
    for kind, key in links:
        append_link(connection, kind, key)
    connection.close()
    new.unlink()
