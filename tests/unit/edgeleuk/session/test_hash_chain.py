"""The hash chain of a session: what is untouched is sound, whatever is touched is named."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from earlier_tables import TABLES_OF
from hypothesis import given
from hypothesis import strategies as st
from sessions import CROP, WRITER, record, summary

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.frames import CellCrop
from edgeleuk.session import create_session, read_session
from edgeleuk.session.links import RowsOfFrames, encoded
from edgeleuk.session.pictures import decode_crop, encode_crop, pack_crop, thumbnail_of
from edgeleuk.session.schema import APPLICATION_ID
from edgeleuk.session.verify import is_database, verify_session
from edgeleuk.session.writer import MB, DiskGuard

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcome import Call

KILLS = 50


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session that ended well: settings, 4 frames with cells, 1 rejected, 1 event, a summary."""
    path = tmp_path_factory.mktemp("chain") / "s.db"
    with create_session(path, {"camera": "test://", "threads": 1}) as session:
        for number in range(4):
            record(session, number)
        session.record_rejected(4, 1e9, "test://", "out of focus")
        session.record_event("gap", "nothing for 2 s")
        session.finish(summary(path))
    return path


def test_an_untouched_session_is_sound(whole: Path) -> None:
    found = verify_session(whole)
    assert (found.broken, found.finished) == (None, True)
    # Settings, five frames, the event, the summary.
    assert (found.links, found.frames, found.cells, found.events) == (8, 5, 4, 1)
    assert len(bytes.fromhex(found.head)) == 32


TOUCHED = {
    "a changed call": ("UPDATE cells SET decision = 'normal' WHERE track = 2", "frame 2"),
    "a changed probability": (
        "UPDATE cells SET probability = probability + 1e-15 WHERE track = 1", "frame 1",
    ),
    "a changed picture": ("UPDATE cells SET crop = zeroblob(9) WHERE track = 3", "frame 3"),
    "a picture as the digest of it": ("UPDATE cells SET crop = digest(crop) WHERE track = 3", "frame 3"),
    "a picture as a text": ("UPDATE cells SET crop = hex(crop) WHERE track = 3", "frame 3"),
    "a text as its bytes": ("UPDATE cells SET decision = CAST('blast' AS BLOB) WHERE track = 0", "frame 0"),
    "a picture that is empty, not none": ("UPDATE cells SET crop = x'' WHERE track = 3", "frame 3"),
    "a reason that is empty, not none": ("UPDATE cells SET reason = '' WHERE track = 3", "frame 3"),
    "a number as a text": ("UPDATE cells SET area_px = '10800 px' WHERE track = 3", "frame 3"),
    "a whole number as a fraction": ("UPDATE cells SET area_px = 10800.5 WHERE track = 3", "frame 3"),
    "columns exchanged": ("ALTER TABLE cells RENAME x TO z; ALTER TABLE cells RENAME y TO x;"
                          "ALTER TABLE cells RENAME z TO y", "the tables"),
    "a link that is no link": ("UPDATE chain SET link = 'x' WHERE id = 3", "frame 1"),
    "a link of nothing": ("UPDATE chain SET key = x'00' WHERE id = 3", "frame"),
    "a link of an unknown kind": ("UPDATE chain SET kind = x'00' WHERE id = 3", "is not as it was recorded"),
    "a schema before": ("PRAGMA user_version = 3", "the tables"),
    "a lost cell": ("DELETE FROM cells WHERE track = 0", "frame 0"),
    "a lost frame": ("DELETE FROM frames WHERE sequence = 4", "frame 4"),
    "a lost link": ("DELETE FROM chain WHERE kind = 'frame' AND key = 1", "frame 2"),
    "a frame and its link lost": (
        "DELETE FROM frames WHERE sequence = 4; DELETE FROM chain WHERE kind = 'frame' AND key = 4",
        "event 1",
    ),
    "another time": ("UPDATE frames SET captured_at = captured_at + 1 WHERE sequence = 0", "frame 0"),
    "another reason": ("UPDATE frames SET rejected = 'dust' WHERE sequence = 4", "frame 4"),
    "another event": ("UPDATE events SET text = 'nothing' WHERE id = 1", "event 1"),
    "another setting": ("UPDATE settings SET value = '4' WHERE key = 'threads'", "the settings"),
    "another summary": ("UPDATE summary SET value = '{}'", "the summary"),
    "an added event": ("INSERT INTO events (at, kind, text) VALUES (0, 'x', 'y')", "event 2 was added"),
    "an added frame": (
        "INSERT INTO frames (sequence, captured_at, source) VALUES (9, 0, 'x')", "frame 9 was added",
    ),
    "an added true cell": ("INSERT INTO true_cells VALUES (1, 'blast', 3)", "frame 3"),
    "links exchanged": ("UPDATE chain SET key = 5 - key WHERE kind = 'frame' AND key IN (2, 3)", "frame 3"),
    "no links at all": ("DELETE FROM chain; DELETE FROM frames; DELETE FROM cells;"
                        "DELETE FROM events; DELETE FROM summary", "the settings"),
}  # fmt: skip


@pytest.mark.parametrize("touch", TOUCHED)
def test_what_was_touched_is_named(edgeleuk: Call, whole: Path, tmp_path: Path, touch: str) -> None:
    path = tmp_path / "touched.db"
    shutil.copyfile(whole, path)
    statement, named = TOUCHED[touch]
    alter(path, statement)
    outcome = edgeleuk("verify", path)
    assert outcome.code == 7
    assert "BROKEN" in outcome.out or outcome.err.startswith("error: ")
    assert named in outcome.out + outcome.err


def alter(path: Path, statement: str) -> None:
    """Change a session behind its back, as one does who knows how digests are made."""
    connection = sqlite3.connect(path)
    # A text in a column of numbers, and a blob in one of texts, pass SQLite, but not the rules.
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.create_function("digest", 1, lambda value: hashlib.sha256(value).hexdigest())
    connection.executescript(statement)
    connection.close()


# What columns of before are called now; a thumbnail is made when it is wanted.
NAMES_NOW = {"jpeg": "picture", "thumbnail": "NULL"}


def without_kinds(path: Path) -> None:
    """Give a session the tables that it had before the fifth schema, with its rows."""
    new = path.with_suffix(".old")
    connection = sqlite3.connect(new)
    connection.executescript(TABLES_OF[4])
    connection.execute("ATTACH ? AS five", (str(path),))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for (table,) in connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall():
        columns = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")]
        names = ", ".join(NAMES_NOW.get(name, name) for name in columns)
        connection.execute(f"INSERT INTO main.{table} SELECT {names} FROM five.{table}")
    connection.commit()
    connection.close()
    new.replace(path)


def as_of_schema_3(path: Path) -> None:
    """Chain a session as the third schema did: its tables, rows hashed as JSON."""
    without_kinds(path)
    connection = sqlite3.connect(path)
    links = connection.execute("SELECT id, kind, key FROM chain ORDER BY id").fetchall()
    keys = {"frames": "sequence", "events": "id", "summary": "id"}
    tables = {
        "settings": {"settings": "key"}, "event": {"events": "id"}, "summary": {"summary": "id"},
        "frame": {
            "frames": "sequence", "cells": "track", "true_cells": "identity", "views": "track",
            "textures": "frame", "moves": "id",
        },
    }  # fmt: skip
    link = b""
    for number, kind, key in links:
        link = link + json.dumps([kind, key]).encode()
        for table, order in tables[kind].items():
            where = "" if key is None else f"WHERE {keys.get(table, 'frame')} = {key}"
            for row in connection.execute(f"SELECT * FROM {table} {where} ORDER BY {order}"):
                hashed = [
                    hashlib.sha256(each).hexdigest() if isinstance(each, bytes) else each for each in row
                ]
                link += json.dumps(hashed).encode() + b"\n"
            link += b"\0"
        link = hashlib.sha256(link).digest()
        connection.execute("UPDATE chain SET link = ? WHERE id = ?", (link, number))
    connection.execute("PRAGMA user_version = 3")
    connection.commit()
    connection.close()


class TestAnEarlierSchema:
    """Sessions of the third schema are verified by their own rule, and are no easier to change."""

    @pytest.fixture
    def old(self, whole: Path, tmp_path: Path) -> Path:
        path = tmp_path / "old.db"
        shutil.copyfile(whole, path)
        as_of_schema_3(path)
        return path

    def test_it_is_sound(self, old: Path) -> None:
        found = verify_session(old)
        assert (found.broken, found.links) == (None, 8)
        with read_session(old) as reader:
            assert reader.schema == 3
            assert len(list(reader.rows("cells"))) == 4

    @pytest.mark.parametrize(
        ("statement", "named"),
        [
            ("UPDATE cells SET crop = digest(crop)", "crop in cells holds what is never recorded there"),
            ("UPDATE cells SET probability = 0.5 WHERE track = 1", "frame 1 is not as it was recorded"),
            ("PRAGMA user_version = 4", "the settings are not as they were recorded"),
        ],
    )
    def test_what_was_touched_is_named(self, old: Path, statement: str, named: str) -> None:
        alter(old, statement)
        assert verify_session(old).broken == named

    def test_other_tables_are_not_even_read(self, old: Path) -> None:
        alter(old, "ALTER TABLE cells RENAME x TO z")
        with pytest.raises(SessionError, match="is damaged: got the tables are not as they were made"):
            verify_session(old)


VALUES = st.lists(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text("ab1.", max_size=4)
    | st.binary(max_size=4),
    max_size=3,
)  # fmt: skip


@given(one=VALUES, other=VALUES)
def test_no_two_rows_are_hashed_alike(one: list[object], other: list[object]) -> None:
    given = [b"".join(map(encoded, row)) for row in (one, other)]
    # repr tells 1 from 1.0 and from '1', and 0.0 from -0.0.
    assert (given[0] == given[1]) == (repr(one) == repr(other))


@given(bit=st.integers(0, 7), place=st.floats(0, 1, exclude_max=True))
def test_no_flipped_bit_of_the_file_goes_unseen_where_it_is_a_record(
    whole: Path, bit: int, place: float
) -> None:
    """A flipped bit breaks the file, breaks the chain, or lies where nothing is recorded."""
    data = bytearray(whole.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path = whole.with_name("flipped.db")
    path.write_bytes(data)
    try:
        found = verify_session(path)
    except SessionError:
        return
    if found.broken is None:
        with read_session(whole) as before, read_session(path) as after:
            for table in ("frames", "cells", "events"):
                assert list(before.rows(table, thumbnails=True)) == list(after.rows(table, thumbnails=True))


def test_the_command_says_where_the_chain_ends(edgeleuk: Call, whole: Path) -> None:
    text, facts = edgeleuk("verify", whole), edgeleuk("verify", whole, "--json")
    found = json.loads(facts.out)
    assert (text.code, facts.code) == (0, 0)
    assert f"8 links, all sound; the last is {found['head']}" in text.out
    assert "finished" in text.out


def test_a_session_of_the_first_schema_has_no_chain(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    shutil.copyfile(whole, path)
    connection = sqlite3.connect(path)
    connection.executescript("DROP TABLE chain; PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(SessionError, match="no hash chain"):
        verify_session(path)


def test_another_programs_database_is_refused(edgeleuk: Call, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    assert is_database(path)
    outcome = edgeleuk("verify", path)
    assert (outcome.code, outcome.out) == (7, "")
    assert "is no session of edgeleuk" in outcome.err


def test_true_cells_are_covered(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with create_session(path, {}) as session:
        record(session, 0)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO true_cells VALUES (7, 'blast', 99)")
    connection.commit()
    connection.close()
    found = verify_session(path)
    assert found.broken == "a row of true_cells belongs to no recorded frame"


def test_fifty_kills_leave_fifty_sound_chains(tmp_path: Path) -> None:
    for kill in range(KILLS):
        path = tmp_path / f"{kill}.db"
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parents[3])],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            # At another place of another commit each time.
            for _ in range(1 + kill % 5):
                process.stdout.readline()
            process.kill()
            lines = process.stdout.read().split("\n")
        acknowledged = kill % 5 + len(lines)
        found = verify_session(path)
        assert found.broken is None
        assert acknowledged <= found.frames <= acknowledged + 1
        assert not found.finished


class TestDisk:
    def test_pictures_are_left_out_first(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        with create_session(path, {}, guard=DiskGuard(10**15, 0)) as session:
            record(session, 0)
            record(session, 1)
        with read_session(path) as reader:
            cells = list(reader.rows("cells", thumbnails=True))
            assert [(thumbnail_of(cell), cell["crop"], cell["decision"]) for cell in cells] == [
                (None, None, "blast")
            ] * 2
            (event,) = reader.rows("events")
            assert event["kind"] == "disk"
            assert "without pictures" in str(event["text"])
        assert verify_session(path).broken is None

    def test_then_the_run_ends_in_order(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        with create_session(path, {}, guard=DiskGuard(10**15, 10**15)) as session:
            with pytest.raises(SessionError, match=r"disk is nearly full.* MB free.* start a new session"):
                record(session, 0)
            session.finish(summary(path))
        found = verify_session(path)
        assert (found.broken, found.finished, found.frames) == (None, True, 0)

    def test_with_room_pictures_are_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        with create_session(path, {}, guard=DiskGuard(MB, MB)) as session:
            record(session, 0)
        with read_session(path) as reader:
            crop = reader.cell(0)["crop"]
            assert isinstance(crop, bytes)
            found = decode_crop(crop, 13.0)
            assert (found.pixels == CROP.pixels).all()
            with pytest.raises(UsageError, match="has no such cell: got 5, allowed one of its 1"):
                reader.cell(5)


@pytest.mark.parametrize("encode", [encode_crop, pack_crop])
def test_a_crop_keeps_its_black_pixels_apart_from_its_mask(encode: Callable[[CellCrop], bytes]) -> None:
    pixels, mask = CROP.pixels.copy(), CROP.mask.copy()
    pixels[:10] = 0
    mask[-5:] = 0
    pixels[mask == 0] = 0
    found = decode_crop(encode(CellCrop(pixels, mask, 8.5)), 8.5)
    assert (found.pixels == pixels).all()
    assert (found.mask == mask).all()
    assert found.px_per_um == 8.5


def test_what_is_recorded_meanwhile_does_not_break_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, keys_of, numbers = tmp_path / "s.db", RowsOfFrames._keys_of, iter(range(100, 200))
    with create_session(path, {"camera": "test://"}) as session:
        for number in range(3):
            record(session, number)

        def meanwhile(rows: RowsOfFrames, *of: Any) -> Any:
            record(session, next(numbers))
            return keys_of(rows, *of)

        with read_session(path) as reader:
            monkeypatch.setattr(RowsOfFrames, "_keys_of", meanwhile)
            found = reader.verify()
            assert (found.broken, found.links) == (None, 4)
            # Of every table one more.
            assert (reader.verify().broken, next(numbers)) == (None, 108)
