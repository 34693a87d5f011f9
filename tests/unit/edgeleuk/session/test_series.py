"""A session in several files: written on across splits, read as one, and missed where a file is."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from sessions import BLAST, BOX, CROP, record, summary

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.frames import TrueCell
from edgeleuk.io.storage_bounds import StorageBounds
from edgeleuk.results import Decision, FrameResult, Prediction
from edgeleuk.session import JudgedCell, create_session, read_session, resume_session
from edgeleuk.session.file_reader import read_file
from edgeleuk.session.reviewed_series import open_for_review
from edgeleuk.session.reviews import Word, standing
from edgeleuk.session.series import files_of, sessions_in
from edgeleuk.session.series_writer import SeriesWriter
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Call

    from edgeleuk.session import SessionWriter

SETTINGS = {"camera": "test://", "threads": 1}
BY_THREE = StorageBounds.of("3", None, None)
NORMAL = Prediction(Decision.NORMAL, 0.25)


def view(session: SessionWriter, number: int, track: int, agreed: Prediction) -> None:
    """Record frame `number` with a further view of a cell."""
    result = FrameResult(number, 1e9 + number, "test://", 640, 480, 13.0, (), (), (), 12.5)
    judged = JudgedCell(track, BOX, 10800, 10800, 100.5, 60.25, agreed, CROP, agreed=agreed)
    session.record_frame(result, [judged])


def write_all(session: SessionWriter) -> None:
    """Record ten frames: a cell each, but for a view of the first cell, and a frame that is rejected."""
    for number in range(10):
        if number == 7:
            view(session, number, 0, NORMAL)
        elif number == 8:
            session.record_rejected(number, 1e9 + number, "test://", "out of focus")
        else:
            record(session, number)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same session twice: in one file, and in four."""
    paths = []
    for name, bounds in (("one", StorageBounds()), ("four", BY_THREE)):
        path = tmp_path_factory.mktemp(name) / "night.db"
        with create_session(path, SETTINGS, bounds=bounds) as session:
            write_all(session)
            session.finish(summary(path))
        paths.append(path)
    return paths[0], paths[1]


@pytest.fixture
def series(pair: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the session in four files."""
    folder = tmp_path / "series"
    shutil.copytree(pair[1].parent, folder)
    return folder / "night.db"


NAMES = ["night.002.db", "night.003.db", "night.004.db", "night.db"]


def without(row: dict[str, object], *keys: str) -> dict[str, object]:
    return {key: value for key, value in row.items() if key not in keys}


def test_it_is_split_by_frames(pair: tuple[Path, Path]) -> None:
    assert sorted(file.name for file in pair[1].parent.iterdir()) == NAMES
    assert [file.name for file in files_of(pair[1])] == ["night.db", *NAMES[:3]]


@pytest.mark.parametrize("named", ["night.db", "night.002.db", "night.004.db", ""])
def test_any_file_and_the_folder_name_the_whole(pair: tuple[Path, Path], named: str) -> None:
    one, four = pair
    with read_session(one) as alone, read_session(four.parent / named) as joined:
        for table in ("frames", "cells"):
            rows = list(joined.rows(table, thumbnails=True))
            assert rows == list(alone.rows(table, thumbnails=True))
        assert joined.tallies() == alone.tallies()
        assert joined.tallies().counted.normal == 1
        assert joined.called(0.5) == alone.called(0.5)
        assert joined.counts() == alone.counts()._replace(events=6)
        assert joined.settings == alone.settings
        assert joined.summary is not None
        assert joined.cell(0) == alone.cell(0)
        assert joined.views(0) == alone.views(0)
        with pytest.raises(UsageError, match="has no such cell: got 99, allowed one of its 8"):
            joined.cell(99)


def test_the_numbers_of_events_go_on(pair: tuple[Path, Path]) -> None:
    with read_session(pair[1]) as joined:
        events = list(joined.rows("events"))
    assert [event["id"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event["text"] for event in events[:2]] == [
        "the session goes on in night.002.db", "the session goes on from night.db",
    ]  # fmt: skip


def test_export_is_the_same_for_both(edgeleuk: Call, pair: tuple[Path, Path]) -> None:
    one, four = (edgeleuk("export", path, "--jsonl").out for path in pair)
    assert one == four
    assert one.count("\n") == 8


def test_report_and_verify_say_how_many_files(edgeleuk: Call, pair: tuple[Path, Path]) -> None:
    report, verified = edgeleuk("report", pair[1]), edgeleuk("verify", pair[1].parent / "night.003.db")
    assert "files     4, read as one" in report.out
    assert "files     4, each goes on from the one before" in verified.out
    found = json.loads(edgeleuk("verify", pair[1], "--json").out)
    assert (found["files"], found["frames"], found["cells"], found["broken"]) == (4, 10, 8, None)


def test_it_is_split_by_time(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with create_session(path, SETTINGS, bounds=StorageBounds.of("1m", None, None)) as session:
        for number in range(5):
            record(session, number, captured_at=1e9 + 25 * number)
    frames = []
    for file in files_of(path):
        with read_file(file) as part:
            frames.append(part.counts().processed)
    assert frames == [3, 2]
    assert verify_session(path).frames == 5


def resumed(path: Path, upto: int) -> tuple[Any, ...]:
    """Go on to that many frames; return what the run would be told, and the counts after."""
    with resume_session(path, SETTINGS, bounds=BY_THREE) as session:
        state = session.resume_state()
        fields = len(list(session.earlier_fields()))
        views = session.views(0)
        for number in range(state.next_sequence, upto):
            record(session, number)
        return state, fields, views, session.counts(), session.tallies()


def test_a_resume_knows_all_files(pair: tuple[Path, Path], series: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.db"
    shutil.copyfile(pair[0], alone)
    with resume_session(alone, SETTINGS) as session:
        state, views = session.resume_state(), session.views(0)
    found, _, found_views, counts, tallies = resumed(series.parent / "night.002.db", 16)
    for name in ("next_sequence", "processed", "detected", "rejected_by_reason", "counted", "called"):
        assert getattr(found, name) == getattr(state, name), name
    assert sorted(found.latencies_ms) == sorted(state.latencies_ms)
    assert found_views == views
    assert len(found_views[0]) == 2
    assert (counts.processed, counts.rejected, counts.cells) == (15, 1, 14)
    assert tallies.counted.total == 14
    assert verify_session(series).broken is None


def test_a_true_cell_is_recorded_once(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with create_session(path, SETTINGS, bounds=BY_THREE) as session:
        for number in range(8):
            result = FrameResult(number, 1e9 + number, "t", 640, 480, 13.0, (), (), (), 1.0)
            session.record_frame(result, [], [TrueCell(7, "blast", 50.0, 50.0, 9.0)])
        assert session.true_cells() == {"blast": 1}
    with resume_session(path, SETTINGS) as session, read_session(path) as reader:
        assert session.true_cells() == {"blast": 1}
        assert len(list(reader.rows("true_cells"))) == 1


def test_listeners_hear_of_a_split_with_numbers_that_go_on(tmp_path: Path) -> None:
    heard: list[int] = []
    with create_session(tmp_path / "s.db", SETTINGS, bounds=BY_THREE) as session:
        session.heard = lambda number, *_: heard.append(number)
        write_all(session)
        session.note("a", "b")
        assert session.noted == 7
    assert heard == [1, 2, 3, 4, 5, 6, 7]


TOUCHED: dict[str, tuple[Callable[[Path], object], str]] = {
    "the first is missing": (
        lambda folder: (folder / "night.db").unlink(),
        "night.002.db goes on from night.db, which is not beside it; put night.db back into",
    ),
    "one is missing": (
        lambda folder: (folder / "night.003.db").unlink(),
        "night.004.db goes on from night.003.db, which is not beside it; put night.003.db back into",
    ),
    "the last is missing": (
        lambda folder: (folder / "night.004.db").unlink(),
        "night.003.db goes on in night.004.db, which is not beside it; put night.004.db back into",
    ),
}


@pytest.mark.parametrize("touch", TOUCHED)
def test_a_missing_file_is_named(edgeleuk: Call, series: Path, touch: str) -> None:
    change, sentence = TOUCHED[touch]
    change(series.parent)
    for named in (series.parent, *series.parent.glob("night.0*.db")):
        done = edgeleuk("verify", named)
        assert done.code == 7, done
        assert sentence in done.err


def test_an_exchanged_file_is_named(edgeleuk: Call, series: Path) -> None:
    other = series.with_name("other.db")
    with create_session(other, SETTINGS, bounds=BY_THREE) as session:
        for number in range(10):
            record(session, number, captured_at=2e9 + number)
    # With the same settings: only their records tell the two apart.
    assert [file.name for file in files_of(series)] == ["night.db", *NAMES[:3]]
    files = files_of(other)
    shutil.move(files[1], series.with_name("night.002.db"))
    done = edgeleuk("report", series.with_name("night.003.db"))
    assert done.code == 7
    assert (
        "night.003.db goes on from night.002.db, and the file of that name beside it is of another"
        in done.err
    )


def test_a_file_that_lost_its_end_is_named(edgeleuk: Call, series: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(series.with_name("night.002.db"))
    connection.executescript(
        "DELETE FROM cells WHERE frame = 5; DELETE FROM textures WHERE frame = 5;"
        "DELETE FROM frames WHERE sequence = 5; DELETE FROM events WHERE id > 2;"
        "DELETE FROM chain WHERE id > (SELECT MAX(id) FROM chain WHERE kind = 'frame' AND key = 4)"
    )
    connection.close()
    done = edgeleuk("verify", series)
    assert done.code == 7
    assert "night.002.db is not the file that night.003.db goes on from" in done.err


def test_a_changed_record_is_named_with_its_file(edgeleuk: Call, series: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(series.with_name("night.003.db"))
    connection.executescript("UPDATE frames SET rejected = 'dust' WHERE sequence = 8")
    connection.close()
    done = edgeleuk("verify", series)
    assert done.code == 7
    assert "night.003.db: frame 8 is not as it was recorded" in done.out
    with pytest.raises(SessionError, match=r"cannot be continued: got night.003.db: frame 8"):
        resume_session(series, SETTINGS)


def test_copies_of_a_session_stand_alone(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("night.db", "night.001.db", "copy.db"):
        shutil.copyfile(pair[0], tmp_path / name)
    assert files_of(tmp_path / "night.db") == (tmp_path / "night.db",)
    assert len(sessions_in(tmp_path)) == 3
    with pytest.raises(UsageError, match=r"holds more than one session: got copy\.db, night"):
        read_session(tmp_path)


def test_a_copy_beside_a_series_does_no_harm(series: Path) -> None:
    shutil.copyfile(series.with_name("night.002.db"), series.with_name("night.002 (copy).db"))
    assert [file.name for file in files_of(series)] == ["night.db", *NAMES[:3]]


def test_what_a_killed_split_left_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    (tmp_path / ".s.002.db.part").write_bytes(b"half")
    with create_session(path, SETTINGS, bounds=BY_THREE) as session:
        write_all(session)
    assert not list(tmp_path.glob(".*"))


def test_a_name_that_is_taken_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    (tmp_path / "s.002.db").write_text("mine", encoding="ascii")
    with create_session(path, SETTINGS, bounds=BY_THREE) as session:
        write_all(session)
    assert [file.name for file in files_of(path)] == ["s.db", "s.003.db", "s.004.db", "s.005.db"]
    assert verify_session(path).broken is None


def test_cells_are_reviewed_across_files(series: Path) -> None:
    with open_for_review(series) as desk:
        words = [Word(track, "blast", "ada", f"t{track}") for track in (9, 0, 4)]
        said = desk.record(words)
        assert [review.track for review in said] == [9, 0, 4]
        assert desk.record(words[:1]) == [said[0]]
        desk.undo("ada", "u0", "t0")
        assert [review.track for review in standing(desk.reviews())] == [4, 9]
        assert desk.undo("ada", "u0", "t0").undoes == said[1].number
        calls = {call[0]: call for call in desk.calls()}
        assert (len(calls), calls[0][2], calls[1][2]) == (8, "normal", "blast")
        assert desk.field(5)[1]
        with pytest.raises(UsageError, match="has no such cell"):
            desk.record([Word(99, "blast", "ada", "x")])
        with pytest.raises(UsageError, match="stands for another review"):
            desk.record([Word(4, "blast", "ada", "t9")])
    assert verify_session(series).broken is None
    with read_session(series) as reader:
        reviews = list(reader.rows("reviews"))
        assert [(review["id"], review["undoes"]) for review in reviews] == [
            (1, None),
            (2, 1),
            (3, None),
            (4, None),
        ]
    with resume_session(series, SETTINGS, bounds=BY_THREE) as session:
        assert isinstance(session, SeriesWriter)
        record(session, 10)
    assert verify_session(series).broken is None


@pytest.mark.parametrize("opened_after", [1, 3, 4])
def test_a_review_goes_on_with_a_new_file(tmp_path: Path, opened_after: int) -> None:
    """Also one that was opened before the first split."""
    path = tmp_path / "s.db"
    with create_session(path, SETTINGS, bounds=BY_THREE) as session:
        for number in range(opened_after):
            record(session, number)
        with open_for_review(path) as desk:
            assert len(desk.files) == len(files_of(path))
            before = desk.recorded()
            for number in range(opened_after, 8):
                record(session, number)
            assert desk.recorded() != before
            assert len(desk.calls()) == 8
            desk.record([Word(7, "normal", "ada", "t")])


@pytest.mark.parametrize("text", ["0", "x", "1.5", "-1h", "1y", "", "1 GB"])
def test_a_split_that_is_none(edgeleuk: Call, tmp_path: Path, text: str) -> None:
    done = edgeleuk("run", "--camera", "virtual://", "--session", tmp_path / "s.db", f"--split={text}")
    assert done.code == 2
    assert "expected split as a time (30m, 1h, 1d) or a number of frames (10000)" in done.err


def test_settings_hold_the_last_word_of_a_cell(pair: tuple[Path, Path]) -> None:
    with read_session(pair[1]) as joined:
        cells = {row["track"]: row for row in joined.rows("cells")}
    assert (cells[0]["decision"], cells[0]["probability"], cells[0]["views"]) == ("normal", 0.25, 2)
    assert (cells[1]["decision"], cells[1]["probability"], cells[1]["views"]) == (
        "blast", BLAST.probability, 1,
    )  # fmt: skip
