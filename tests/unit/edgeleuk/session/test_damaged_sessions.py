"""Sessions whose records were changed by hand: every reader says so in a sentence, or reads them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sessions import record, summary

from edgeleuk.errors import SessionError
from edgeleuk.session import create_session, read_session

if TYPE_CHECKING:
    from pathlib import Path

    from outcome import Call

SETTINGS = {"camera": "test://", "bundle": "x", "bundle_sha256": "0" * 64}
DAMAGE = {
    "a time that no clock has": "UPDATE frames SET captured_at = 1e300",
    "a time that no calendar has": "UPDATE frames SET captured_at = 1e18",
    "a time that is a text": "UPDATE frames SET captured_at = 'now'",
    "a probability that is a text": "UPDATE cells SET probability = 'high'",
    "a decision that is none": "UPDATE cells SET decision = 'cancer'",
    "an area that is a blob": "UPDATE cells SET area_um2 = x'00'",
    "a picture that is a number": "UPDATE cells SET crop = 5",
    "a summary that is a list": "UPDATE summary SET value = '[]'",
    "a summary of another shape": """UPDATE summary SET value = '{"frames": 1}'""",
    "a summary that is no JSON": "UPDATE summary SET value = '{'",
    "a summary without an end": "UPDATE summary SET value = (SELECT group_concat('[', '') FROM"
    " (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 90000) SELECT i FROM n))",
    "an error that is none": "UPDATE settings SET value = '{\"sensitivity\": []}' WHERE key = 'known_error'",
    "a text that is no UTF-8": "UPDATE frames SET source = CAST(x'ff' AS TEXT)",
    "a view that loops": "DROP TABLE textures; CREATE VIEW textures AS WITH RECURSIVE n(i) AS"
    " (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS frame, i AS picture FROM n",
    "no frames": "DROP TABLE frames",
    "the first schema": "PRAGMA user_version = 1; UPDATE frames SET captured_at = 1e300",
}
READERS = (
    ("verify", "IT"),
    ("report", "IT"),
    ("report", "IT", "--html", "out"),
    ("export", "IT", "--csv"),
    ("export", "IT", "--jsonl"),
    ("export", "IT", "--fhir"),
    ("replay", "IT", "--cell", "0"),
)


def damaged(path: Path, statement: str) -> Path:
    with create_session(path, {**SETTINGS, "known_error": {"reason": "unknown"}}) as session:
        record(session, 0)
        session.finish(summary(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.executescript(statement)
    return path


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_reader_says_it_in_a_sentence(
    edgeleuk: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = damaged(tmp_path / "s.db", DAMAGE[damage])
    for words in READERS:
        outcome = edgeleuk(*(path if word == "IT" else word for word in words))
        assert outcome.code in (0, 2, 7), (words, outcome)
        assert "Traceback" not in outcome.err, words
        if outcome.code:
            assert outcome.err.count("error: ") == 1 or "BROKEN" in outcome.out
    assert edgeleuk("verify", path).code == 7


def test_a_bug_stays_a_bug(tmp_path: Path) -> None:
    """What goes wrong over sound records is not put down to them."""
    path = tmp_path / "s.db"
    with create_session(path, SETTINGS) as session:
        record(session, 0)

    def read() -> None:
        with read_session(path) as reader:
            json.dumps(reader)

    with pytest.raises(TypeError):
        read()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE cells SET x = 4")
    with pytest.raises(SessionError, match="is damaged: got frame 0 is not as it was recorded"):
        read()
