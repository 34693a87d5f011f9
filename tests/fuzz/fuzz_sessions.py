"""Fuzz what reads a session: damaged files and changed records end in a sentence, or are read; never else.

The bytes or the records of a sound session are changed, then one of what reads sessions is tried: verify,
report, page, exports, replay's lookup, and going on with it. By hand:

    python tests/fuzz/fuzz_sessions.py -max_total_time=600
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))

from common import damaged, folder_in_memory, fuzz, is_deliberate, silenced

with atheris.instrument_imports(include=["edgeleuk.session", "edgeleuk.reports"]):
    from sessions import record, summary

    from edgeleuk.commands.report import write_page
    from edgeleuk.session import create_session, export_csv, read_session
    from edgeleuk.session.export import export_jsonl
    from edgeleuk.session.fhir import export_fhir
    from edgeleuk.session.open import resume_session
    from edgeleuk.session.report import report_text, session_report
    from edgeleuk.session.verify import verification_text, verify_session

SETTINGS = {"camera": "test://", "bundle": "x", "bundle_sha256": "0" * 64, "edgeleuk": "0", "threads": 1}
# Table -> its columns.
TABLES = {
    "settings": ("key", "value"),
    "frames": ("sequence", "captured_at", "source", "px_per_um", "detected", "rejected", "area", "left_px"),
    "cells": (
        "track",
        "frame",
        "x",
        "w",
        "area_um2",
        "decision",
        "probability",
        "reason",
        "crop",
    ),
    "views": ("track", "frame", "decision", "agreed_decision", "agreed_probability", "crop"),
    "events": ("id", "at", "kind", "text"),
    "summary": ("id", "value"),
    "chain": ("id", "kind", "key", "link"),
}


def made(folder: Path) -> bytes:
    """Record a small sound session."""
    path = folder / "whole.db"
    with create_session(path, SETTINGS) as session:
        for number in range(3):
            record(session, number)
        session.record_rejected(3, 1e9, "test://", "out of focus")
        session.record_event("gap", "nothing for 2 s")
        session.finish(summary(path))
    return path.read_bytes()


def value(provider: atheris.FuzzedDataProvider) -> object:
    """Take a value of any of SQLite's types."""
    kind = provider.ConsumeIntInRange(0, 5)
    if kind == 0:
        return None
    if kind == 1:
        return provider.ConsumeInt(8)
    if kind == 2:
        return provider.ConsumeFloat()
    if kind == 3:
        return provider.ConsumeUnicodeNoSurrogates(20)
    if kind == 4:
        return provider.PickValueInList(["{}", "[]", "null", '{"frames": 1}', "[" * 5000, "blast", "summary"])
    return provider.ConsumeBytes(20)


def change_records(path: Path, provider: atheris.FuzzedDataProvider) -> None:
    """Change records as somebody who holds a pen may, its rules set aside."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for _ in range(provider.ConsumeIntInRange(1, 4)):
            table = provider.PickValueInList(list(TABLES))
            column = provider.PickValueInList(list(TABLES[table]))
            nth = provider.ConsumeIntInRange(0, 3)
            try:
                key = connection.execute(f"SELECT {column} FROM {table} LIMIT 1 OFFSET {nth}").fetchone()
                if key is not None:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? WHERE {column} IS ?", (value(provider), key[0])
                    )
                if provider.ConsumeIntInRange(0, 15) == 0:
                    connection.execute(f"PRAGMA user_version = {provider.ConsumeIntInRange(0, 5)}")
            except (sqlite3.Error, OverflowError, UnicodeError):
                # A key that is there already, or a value that a column does not take.
                continue


def look_at(path: Path, which: int) -> None:
    """Let one of what reads a session read this one."""
    out = path.with_name("out")
    reads = (
        lambda: verification_text(verify_session(path)),
        lambda: report_text(session_report(path)),
        lambda: write_page(path, out),
        lambda: export_csv(path, out),
        lambda: export_jsonl(path, out),
        lambda: export_fhir(path, out),
        lambda: lookup(path),
        lambda: resume_session(path, SETTINGS).close(),
    )
    out.unlink(missing_ok=True)
    try:
        silenced(reads[which % len(reads)])
    except Exception as error:
        if not is_deliberate(error):
            raise


def lookup(path: Path) -> None:
    """Look for cells and all their views, as replay does."""
    with read_session(path) as reader:
        for track in (0, 1, 99):
            reader.views(track)
            reader.cell(track)


def main() -> None:
    """Fuzz."""
    with folder_in_memory() as folder:
        whole = made(folder)
        path = folder / "s.db"

        def one_input(data: bytes) -> None:
            provider = atheris.FuzzedDataProvider(data)
            for left in folder.glob("s.db*"):
                left.unlink()
            which = provider.ConsumeIntInRange(0, 255)
            if provider.ConsumeBool():
                path.write_bytes(damaged(whole, provider))
            else:
                path.write_bytes(whole)
                change_records(path, provider)
            look_at(path, which)

        fuzz(one_input)


if __name__ == "__main__":
    main()
