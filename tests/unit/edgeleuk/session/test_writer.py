"""The session file: what is acknowledged stays, what is not ours is refused, and exports."""

from __future__ import annotations

import csv
import json
import math
import resource
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import BLAST, WRITER, record, summary

from edgeleuk.counting.consensus import View
from edgeleuk.errors import EdgeleukError, SessionError, UsageError
from edgeleuk.frames import TrueCell
from edgeleuk.results import (
    Counted,
    Decision,
    FrameResult,
    Prediction,
    Proportion,
    incomplete_beta,
)
from edgeleuk.session import SessionWriter, create_session, export_csv, read_session
from edgeleuk.session.export import COLUMNS, export_jsonl
from edgeleuk.session.pictures import THUMBNAIL_PX, thumbnail, thumbnail_of
from edgeleuk.session.schema import SCHEMA_VERSION
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    import numpy.typing as npt


def decode(jpeg: bytes) -> npt.NDArray[Any]:
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(pixels)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    uncertain = Prediction(Decision.UNCERTAIN, math.nan, "scale unknown")
    with create_session(path, {"threads": 2, "camera": "test://", "px_per_um": None}) as session:
        record(session, 0)
        record(session, 4, uncertain)
        session.record_rejected(5, 1e9, "test://", "truncated JPEG")
        session.record_event("gap", "nothing for 2 s")
        assert session.views(0) == ([View(0.0, BLAST)], None)
        assert session.views(3) == ([], None)
        ((_, read),) = session.views(4)[0]
        assert (read.decision, math.isnan(read.probability), read.reason) == (
            Decision.UNCERTAIN, True, "scale unknown",
        )  # fmt: skip
        assert tuple(session.counts()) == (2, 1, 2, 1)
        session.finish(summary(path))
    with read_session(path) as reader:
        assert reader.settings == {"threads": 2, "camera": "test://", "px_per_um": None}
        assert reader.summary == summary(path).to_json()
        frames = list(reader.rows("frames"))
        cells = list(reader.rows("cells", thumbnails=True))
        assert [event["text"] for event in reader.rows("events")] == ["nothing for 2 s"]
        assert tuple(reader.counts()) == (2, 1, 2, 1)
    assert [(row["sequence"], row["judged"], row["rejected"]) for row in frames] == [
        (0, 1, None), (4, 1, None), (5, 0, "truncated JPEG"),
    ]  # fmt: skip
    assert [cells[0][name] for name in ("track", "frame", "x", "y", "w", "h", "area_um2", "decision")] == [
        0, 0, 3, 4, 120, 90, 100.5, "blast",
    ]  # fmt: skip
    assert cells[1]["probability"] is None
    picture = thumbnail_of(cells[0])
    assert isinstance(picture, bytes)
    assert decode(picture).shape == (72, 96, 3)


def test_the_log_is_written_ahead_and_synced(tmp_path: Path) -> None:
    with create_session(tmp_path / "s.db", {}) as session:
        pragmas = [
            session._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "application_id", "user_version")
        ]
    assert pragmas == ["wal", 2, 0x45444C4B, SCHEMA_VERSION]
    assert [file.name for file in tmp_path.iterdir()] == ["s.db"]


def test_an_acknowledged_frame_is_visible_to_others_at_once(tmp_path: Path) -> None:
    with create_session(tmp_path / "s.db", {}) as session:
        for number in range(3):
            record(session, number)
            with read_session(tmp_path / "s.db") as reader:
                assert reader.counts().processed == number + 1
                assert reader.summary is None


def test_true_cells_are_counted_once(tmp_path: Path) -> None:
    with create_session(tmp_path / "s.db", {}) as session:
        result = FrameResult(0, 0.0, "virtual://", 9, 9, 1.0, (), (), (), 1.0)
        for number, identities in enumerate(([1, 2], [2, 3])):
            truth = [TrueCell(i, "blast" if i == 2 else "normal", 1, 1, 1) for i in identities]
            session.record_frame(replace(result, sequence=number), [], truth)
        assert session.true_cells() == {"blast": 1, "normal": 2}


@pytest.mark.parametrize("shape", [(1, 1, 3), (96, 96, 3), (97, 20, 3), (3, 2000, 3), (500, 400, 3)])
def test_a_thumbnail_is_small_and_red_stays_red(shape: tuple[int, ...]) -> None:
    picture = np.zeros(shape, np.uint8)
    picture[...] = (200, 40, 90)
    bgr = decode(thumbnail(picture))
    assert max(bgr.shape[:2]) == min(THUMBNAIL_PX, max(shape[:2]))
    assert np.abs(bgr.mean(axis=(0, 1)) - (90, 40, 200)).max() < 4


class TestRefusals:
    def test_a_session_is_never_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        create_session(path, {"a": 1}).close()
        before = path.read_bytes()
        with pytest.raises(UsageError, match="never overwritten"):
            create_session(path, {})
        assert path.read_bytes() == before

    def test_nor_is_what_a_lost_session_left_behind(self, tmp_path: Path) -> None:
        (tmp_path / "s.db-wal").write_bytes(b"rows of a file that was deleted")
        with pytest.raises(UsageError, match=r"s\.db-wal exists"):
            create_session(tmp_path / "s.db", {})

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no such folder"):
            create_session(tmp_path / "nowhere" / "s.db", {})

    def test_a_folder_that_cannot_be_written(self) -> None:
        # Not even root may make files here.
        with pytest.raises(UsageError, match="cannot be made"):
            create_session(Path("/sys/edgeleuk-session.db"), {})

    def test_a_missing_session(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no such session"):
            read_session(tmp_path / "s.db")

    @pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + bytes(200)])
    def test_a_file_that_is_no_database(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "s.db").write_bytes(content)
        with pytest.raises(SessionError, match=r"no session of edgeleuk|damaged"):
            read_session(tmp_path / "s.db")

    def test_another_programs_database(self, tmp_path: Path) -> None:
        connection = sqlite3.connect(tmp_path / "s.db")
        connection.execute("CREATE TABLE cells (track)")
        connection.close()
        with pytest.raises(SessionError, match="no session of edgeleuk"):
            read_session(tmp_path / "s.db")

    def test_a_newer_version(self, tmp_path: Path) -> None:
        create_session(tmp_path / "s.db", {}).close()
        connection = sqlite3.connect(tmp_path / "s.db")
        connection.execute("PRAGMA user_version = 9")
        connection.close()
        with pytest.raises(SessionError, match=r"newer edgeleuk: got schema 9, allowed up to \d; update"):
            read_session(tmp_path / "s.db")

    def test_a_damaged_session(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        with create_session(path, {}) as session:
            for number in range(20):
                record(session, number)
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        path.write_bytes(content)
        with pytest.raises(SessionError, match="damaged"):
            export_csv(path, tmp_path / "out.csv")

    def test_a_cell_judged_twice_is_a_bug(self, tmp_path: Path) -> None:
        with create_session(tmp_path / "s.db", {}) as session:
            record(session, 0)
            with pytest.raises(EdgeleukError, match="a bug"):
                record(session, 1, cells=(), sequence=0)
            assert session.counts().processed == 1

    def test_an_unknown_table(self, tmp_path: Path) -> None:
        create_session(tmp_path / "s.db", {}).close()
        with read_session(tmp_path / "s.db") as reader, pytest.raises(ValueError, match="expected one of"):
            next(reader.rows("users"))

    @pytest.mark.parametrize(
        ("sqlite_says", "sentence"),
        [
            ("database or disk is full", "the disk is full"),
            ("attempt to write a readonly database", "cannot be opened: .*; copy it"),
            ("unable to open database file", "cannot be opened: .*; copy it"),
            ("disk I/O error", "cannot be read or written: .*; see whether the disk is full"),
            ("database is locked", "in use by another program"),
            ("file is not a database", "no session of edgeleuk"),
            ("database disk image is malformed", "is damaged: .*; restore it"),
        ],
    )
    def test_each_complaint_of_sqlite_has_its_sentence(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_says: str, sentence: str
    ) -> None:
        (tmp_path / "s.db").touch()

        def complain(*_: object, **__: object) -> None:
            raise sqlite3.OperationalError(sqlite_says)

        monkeypatch.setattr("edgeleuk.session.file_reader._connect", complain)
        with pytest.raises(SessionError, match=sentence) as caught:
            read_session(tmp_path / "s.db")
        assert caught.value.exit_code == 7


class TestFullDisk:
    def fill(self, session: SessionWriter) -> int:
        for number in range(10_000):
            try:
                record(session, number)
            except SessionError as error:
                assert error.exit_code == 7  # noqa: PT017 - how many came before matters, too
                assert "readable" in str(error)  # noqa: PT017
                return number
        raise AssertionError

    def test_a_full_database_keeps_what_it_has(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        with create_session(path, {}) as session:
            session._connection.execute("PRAGMA max_page_count = 240")
            recorded = self.fill(session)
        with read_session(path) as reader:
            assert reader.counts().processed == reader.counts().cells == recorded > 3

    def test_a_file_that_may_not_grow_keeps_what_it_has(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        session = create_session(path, {})
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
        try:
            recorded = self.fill(session)
            session.close()
            with read_session(path) as reader:
                assert reader.counts().processed == recorded > 3
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        with read_session(path) as reader:
            assert len(list(reader.rows("cells"))) == recorded


@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.11, 0.23, 0.4])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "s.db"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parents[3])],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        lines = process.stdout.read().split("\n")
    # A line may be cut in the middle by the kill; whole lines were acknowledged.
    acknowledged = int(lines[-2]) + 1 if len(lines) > 1 else 1
    with read_session(path) as reader:
        counts = reader.counts()
        assert reader.summary is None
        assert reader.settings == {"camera": "test://"}
        assert acknowledged <= counts.processed <= acknowledged + 1
        assert counts.cells == counts.processed
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


class TestCsv:
    def rows(self, path: Path) -> list[dict[str, str]]:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def test_one_row_for_each_cell(self, tmp_path: Path) -> None:
        path, out = tmp_path / "s.db", tmp_path / "cells.csv"
        with create_session(path, {"camera": "test://", "bundle_sha256": "ab12"}) as session:
            record(session, 0)
            record(session, 1, Prediction(Decision.UNCERTAIN, math.nan, "scale, unknown"), px_per_um=None)
            record(session, 2, source="=cmd|' /C calc'!A0")
        assert export_csv(path, out) == 3
        assert out.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)
        rows = self.rows(out)
        assert rows[0] == {
            "track": "0", "frame": "0", "captured_at": "2001-09-09T01:46:40.000+00:00", "source": "test://",
            "x": "3", "y": "4", "w": "120", "h": "90", "area_px": "10800", "nucleus_area_px": "10800",
            "area_um2": "100.500", "nucleus_area_um2": "60.250", "px_per_um": "13.0000", "views": "1",
            "decision": "blast", "kind": "", "kind_probability": "",
            "probability": "0.750000", "reason": "", "simulated": "0", "truth": "",
            "bundle_sha256": "ab12", "research_use_only": RESEARCH_USE,
        }  # fmt: skip
        assert [rows[1][name] for name in ("probability", "reason", "px_per_um")] == [
            "",
            "scale, unknown",
            "",
        ]
        assert rows[2]["source"].startswith("'=")
        assert [file.name for file in tmp_path.iterdir() if "part" in file.name] == []

    def test_json_lines_say_the_same(self, tmp_path: Path) -> None:
        path, out = tmp_path / "s.db", tmp_path / "cells.jsonl"
        with create_session(path, {"camera": "virtual://"}) as session:
            record(session, 0)
            record(session, 1, Prediction(Decision.UNCERTAIN, math.nan, "scale unknown"), px_per_um=None)
        assert export_jsonl(path, out) == 2
        first, second = (json.loads(line) for line in out.read_text(encoding="utf-8").splitlines())
        assert list(first) == list(second) == list(COLUMNS)
        assert [first[name] for name in ("track", "decision", "probability", "simulated", "area_um2")] == [
            0, "blast", 0.75, True, 100.5,
        ]  # fmt: skip
        assert first["captured_at"] == "2001-09-09T01:46:40.000+00:00"
        assert [second[name] for name in ("probability", "px_per_um", "reason")] == [
            None, None, "scale unknown",
        ]  # fmt: skip

    def test_standard_output(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        create_session(tmp_path / "s.db", {}).close()
        assert export_csv(tmp_path / "s.db") == 0
        assert capsys.readouterr().out == ",".join(COLUMNS) + "\n"

    def test_a_session_that_was_cut_off(self, tmp_path: Path) -> None:
        session = create_session(tmp_path / "s.db", {})
        record(session, 0)
        assert export_csv(tmp_path / "s.db", tmp_path / "out.csv") == 1
        session.close()

    def test_the_session_is_not_overwritten(self, tmp_path: Path) -> None:
        create_session(tmp_path / "s.db", {}).close()
        with pytest.raises(UsageError, match="overwrite the session"):
            export_csv(tmp_path / "s.db", tmp_path / "s.db")

    def test_an_output_that_cannot_be_written(self, tmp_path: Path) -> None:
        create_session(tmp_path / "s.db", {}).close()
        with pytest.raises(UsageError, match="cannot be written"):
            export_csv(tmp_path / "s.db", tmp_path / "nowhere" / "out.csv")

    def test_a_refused_session_leaves_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "s.db").write_bytes(b"hello")
        with pytest.raises(SessionError):
            export_csv(tmp_path / "s.db", tmp_path / "out.csv")
        assert [file.name for file in tmp_path.iterdir()] == ["s.db"]


class TestSummary:
    def test_the_json_that_others_rely_on(self) -> None:
        value = json.loads(json.dumps(summary(Path("s.db")).to_json(), allow_nan=False))
        assert {name: value["frames"][name] for name in ("captured", "processed", "dropped", "rejected")} == {
            "captured": 10, "processed": 8, "dropped": 1, "rejected": 1,
        }  # fmt: skip
        assert [value["cells"][name] for name in ("detected", "unique", "blast", "normal", "uncertain")] == [
            7, 4, 1, 2, 1,
        ]  # fmt: skip
        assert value["latency_ms"] == {"p50": 1.0, "p95": 2.0, "p99": 3.0}
        assert (value["fps"], value["session"]) == (4.0, "s.db")
        assert value["blast_share"]["n"] == 3
        assert value["research_use"] == RESEARCH_USE

    def test_nothing_seen(self) -> None:
        empty = replace(summary(Path("s.db")), processed=0, counted=Counted(), duration_s=0.0, latency_ms={})
        value = empty.to_json()
        assert value["latency_ms"] == {"p50": None, "p95": None, "p99": None}
        reason = "no cell was called blast or normal"
        assert value["blast_share"] == {"share": None, "low": None, "high": None, "n": 0, "reason": reason}
        assert value["fps"] == 0.0

    # Field notes, "Counting"; and the textbook's rule of three.
    @pytest.mark.parametrize(
        ("count", "total", "low", "high"),
        [
            (20, 100, 0.127, 0.292),
            (40, 200, 0.147, 0.262),
            (100, 500, 0.166, 0.238),
            (0, 10, 0.0, 0.308),
            (10, 10, 0.692, 1.0),
        ],
    )
    def test_the_exact_interval(self, count: int, total: int, low: float, high: float) -> None:
        share = Proportion(count, total)
        assert (round(share.low, 3), round(share.high, 3)) == (low, high)

    @given(total=st.integers(1, 60), data=st.data())
    def test_the_interval_leaves_a_fortieth_on_each_side(self, total: int, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, total))
        share = Proportion(count, total)

        def at_most(k: int, p: float) -> float:
            return sum(math.comb(total, i) * p**i * (1 - p) ** (total - i) for i in range(k + 1))

        assert share.low <= count / total <= share.high
        if count:
            assert 1 - at_most(count - 1, share.low) == pytest.approx(0.025, abs=1e-9)
        if count < total:
            assert at_most(count, share.high) == pytest.approx(0.025, abs=1e-9)

    @given(a=st.floats(0.5, 1e5), b=st.floats(0.5, 1e5), part=st.integers(0, 2**20))
    def test_the_incomplete_beta_function_is_symmetric(self, a: float, b: float, part: int) -> None:
        # 1 - x is exact for these.
        x = part / 2**20
        assert incomplete_beta(a, b, x) == pytest.approx(1 - incomplete_beta(b, a, 1 - x), abs=1e-6)

    def test_an_impossible_share(self) -> None:
        with pytest.raises(ValueError, match="count <= total"):
            Proportion(3, 2)
