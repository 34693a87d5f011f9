"""Pictures that go by a rule: their digests stay, the chain holds and says so, and results stay."""

from __future__ import annotations

import json
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from earlier_sessions import of_schema_6
from sessions import CROP, record, summary

from edgeleuk.errors import UsageError
from edgeleuk.io.clock import now
from edgeleuk.io.storage_bounds import StorageBounds, keep_of
from edgeleuk.session import create_session, read_session, resume_session
from edgeleuk.session.pictures import decode_crop
from edgeleuk.session.rotation import AT_ONCE, Rotation, remove_results, size_on_disk
from edgeleuk.session.series import files_of
from edgeleuk.session.series_writer import SeriesWriter
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from pathlib import Path

    from outcome import Call


SETTINGS = {"camera": "test://", "threads": 1}
DAY_S = 86400.0


def bounds(split: str | None = None, keep: str | None = None, results: str | None = None) -> StorageBounds:
    return StorageBounds.of(split, keep, results)


def recorded(path: Path, frames: int, of: StorageBounds, *, first_at: float | None = None) -> None:
    """Record so many frames, a minute apart, up to now."""
    at = now() - 60 * frames if first_at is None else first_at
    with create_session(path, SETTINGS, bounds=of) as session:
        if isinstance(session, SeriesWriter) and session._rotation is not None:
            session._rotation._every_s = 0.0
        for number in range(frames):
            record(session, number, captured_at=at + 60 * number)
        session.finish(summary(path))


def pictures(path: Path) -> list[int]:
    """Return the cells that have a picture."""
    with read_session(path) as reader:
        rows = reader.rows("cells", thumbnails=True)
        return [int(str(row["track"])) for row in rows if row["crop"] is not None]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of one file, whose pictures go before the last four minutes."""
    path = tmp_path_factory.mktemp("kept") / "s.db"
    recorded(path, 12, bounds())
    files = files_of(path)
    rotation = Rotation(keep_of("4.5m"), whole_files=False, every_s=0.0)
    while rotation.step(files):
        pass
    rotation.close()
    return path


@pytest.fixture
def copy(session: Path, tmp_path: Path) -> Path:
    path = tmp_path / "s.db"
    shutil.copyfile(session, path)
    return path


def test_the_oldest_go_and_results_stay(session: Path) -> None:
    assert pictures(session) == [8, 9, 10, 11]
    found = verify_session(session)
    assert (found.broken, found.frames, found.cells, found.finished) == (None, 12, 12, True)
    (removed,) = found.removed
    assert (removed.rule, removed.pictures, removed.files) == ("keep 4.5m", 8, 0)
    assert removed.bytes > 8 * 1000


def test_what_is_kept_is_kept_to_the_last_bit(session: Path) -> None:
    with read_session(session) as reader:
        crop = reader.cell(9)["crop"]
        assert isinstance(crop, bytes)
        assert (decode_crop(crop, 13.0).pixels == CROP.pixels).all()
        assert reader.removed_by(3, 3) == "keep 4.5m"
        assert reader.removed_by(9, 9) is None


def test_the_room_is_given_back(session: Path, tmp_path: Path) -> None:
    recorded(tmp_path / "whole.db", 12, bounds())
    assert size_on_disk(session) < 0.6 * size_on_disk(tmp_path / "whole.db")


def test_commands_say_what_is_gone(edgeleuk: Call, session: Path) -> None:
    said = "removed   8 pictures of 0."
    assert said in edgeleuk("verify", session).out
    assert said in edgeleuk("report", session).out
    exported = edgeleuk("export", session, "--csv")
    assert said in exported.err
    assert exported.out.count("\n") == 13
    report = json.loads(edgeleuk("report", session, "--json").out)
    assert report["removed"][0]["rule"] == "keep 4.5m"


TOUCHED = {
    "a picture removed behind the chain": ("UPDATE cells SET crop = NULL WHERE track = 9", "frame 9"),
    "a picture removed as if by the rule": (
        "INSERT INTO removed SELECT 9, 9, 'cells.crop', 1, digest(crop) FROM cells WHERE track = 9;"
        "UPDATE cells SET crop = NULL WHERE track = 9",
        "a picture is told to be removed by a rule, and is not",
    ),
    "within the frames of a rule": (
        "INSERT INTO removed SELECT 9, 9, 'cells.crop', 1, digest(crop) FROM cells WHERE track = 9;"
        "UPDATE cells SET crop = NULL WHERE track = 9; UPDATE removals SET last_frame = 9",
        "removal 1",
    ),
    "another digest": ("UPDATE removed SET sha256 = digest('x') WHERE frame = 2", "frame 2"),
    "a digest that is lost": ("DELETE FROM removed WHERE frame = 2", "frame 2"),
    "another rule": ("UPDATE removals SET rule = 'keep 1m'", "removal 1"),
    "a removal that is lost": ("DELETE FROM removals", "removal 1"),
    "a picture put back": ("UPDATE cells SET crop = x'00' WHERE track = 2", "frame 2"),
    "an added removal": (
        "INSERT INTO removals (at, rule, what) VALUES (0, 'x', '{}')", "removal 2 was added",
    ),
    "a result": ("UPDATE cells SET decision = 'normal' WHERE track = 2", "frame 2"),
}  # fmt: skip


@pytest.mark.parametrize("touch", TOUCHED)
def test_what_was_tampered_is_told_from_the_rule(copy: Path, touch: str) -> None:
    import hashlib

    statement, named = TOUCHED[touch]
    connection = sqlite3.connect(copy)
    connection.create_function(
        "digest", 1, lambda of: hashlib.sha256(of if isinstance(of, bytes) else of.encode()).digest()
    )
    connection.executescript(statement)
    connection.close()
    assert named in str(verify_session(copy).broken)


def test_replay_says_which_rule(edgeleuk: Call, copy: Path) -> None:
    connection = sqlite3.connect(copy)
    assert connection.execute("SELECT COUNT(*) FROM removed").fetchone() == (8,)
    connection.close()
    with read_session(copy) as reader:
        assert reader.removed_by(2, 2) == "keep 4.5m"


def test_a_session_goes_on_after_a_removal(copy: Path) -> None:
    with resume_session(copy, SETTINGS) as session:
        assert session.resume_state().processed == 12
        record(session, 12)
    assert verify_session(copy).broken is None


class TestWhileItIsRecorded:
    def test_one_file_holds_to_a_size(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        recorded(path, 60, bounds(keep="1.2MB"))
        kept = pictures(path)
        assert kept == list(range(kept[0], 60))
        assert 10 < len(kept) < 45
        assert size_on_disk(path) < 1_300_000
        found = verify_session(path)
        assert found.broken is None
        assert found.removed[0].pictures == 60 - len(kept)
        assert found.finished

    def test_a_series_holds_to_a_size_file_by_file(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        recorded(path, 60, bounds("10", "2MB"))
        kept = pictures(path)
        assert kept == list(range(kept[0], 60))
        assert kept[0] in (10, 20, 30)
        assert sum(map(size_on_disk, files_of(path))) < 2_100_000
        assert verify_session(path).broken is None

    def test_it_holds_to_an_age(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        recorded(path, 30, bounds("10", "12.5m"))
        assert pictures(path) == list(range(18, 30))
        assert verify_session(path).broken is None

    def test_more_frames_than_one_step_takes(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        with create_session(path, SETTINGS) as session:
            for number in range(AT_ONCE + 2):
                session.record_rejected(number, now() - DAY_S, "test://", "dark")
            record(session, AT_ONCE + 2, captured_at=now() - DAY_S)
            record(session, AT_ONCE + 3)
        rotation = Rotation(keep_of("1h"), whole_files=False, every_s=0.0)
        assert rotation.step([path])
        rotation.close()
        assert pictures(path) == [AT_ONCE + 3]
        assert verify_session(path).broken is None


def test_a_clock_that_was_not_set_removes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    recorded(path, 3, bounds(), first_at=1000.0)
    rotation = Rotation(keep_of("1h"), whole_files=False, every_s=0.0)
    assert not rotation.step([path])
    assert pictures(path) == [0, 1, 2]


def test_a_session_of_an_earlier_schema_keeps_its_pictures(edgeleuk: Call, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    of_schema_6(path, 3)
    done = edgeleuk("session", "keep", tmp_path, "--keep", "0.01MB")
    assert done.code == 0
    assert "was begun by an earlier edgeleuk, and its pictures stay" in done.out
    assert verify_session(path).broken is None


class TestResults:
    @pytest.fixture
    def series(self, tmp_path: Path) -> Path:
        path = tmp_path / "s.db"
        recorded(path, 30, bounds("10"))
        return path

    def test_old_files_go_and_the_next_says_so(self, edgeleuk: Call, series: Path) -> None:
        left = remove_results(files_of(series), keep_of("15m"))
        assert [file.name for file in left] == ["s.002.db", "s.003.db"]
        left = remove_results(left, keep_of("0.000001MB"))
        assert [file.name for file in left] == ["s.003.db"]
        found = verify_session(left[0])
        assert (found.broken, found.frames) == (None, 10)
        # What was told of the first file went on to the last.
        (removed,) = found.removed
        assert (removed.files, removed.frames, removed.cells) == (2, 20, 20)
        done = edgeleuk("report", series.parent)
        assert "files with 20 frames and 20 cells, by the rule keep-results 0.000001MB" in done.out

    def test_a_kill_between_the_two_is_made_good(self, series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from edgeleuk.session import rotation

        files = files_of(series)
        with monkeypatch.context() as patch:
            patch.setattr(rotation, "remove_file", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                remove_results(files, keep_of("15m"))
        assert files[0].exists()
        assert verify_session(series).broken is None
        remove_results(files, keep_of("15m"))
        assert not files[0].exists()
        assert verify_session(files[1]).removed[0].files == 1

    def test_a_resume_removes_them_first(self, series: Path) -> None:
        with resume_session(series, SETTINGS, bounds=bounds("10", None, "15m")) as session:
            state = session.resume_state()
            assert (state.next_sequence, state.processed) == (30, 20)
            record(session, 30)
        assert not series.exists()

    def test_the_command_says_what_it_did(self, edgeleuk: Call, series: Path) -> None:
        done = edgeleuk("session", "keep", series.parent, "--keep", "5m", "--keep-results", "15m", "--json")
        found = json.loads(done.out)
        assert (found["sessions"], found["files"], found["removed_files"]) == (1, 3, ["s.db"])
        assert found["bytes_after"] < found["bytes_before"]
        assert pictures(series.parent) == list(range(26, 30))

    def test_a_session_under_way_keeps_its_results(self, edgeleuk: Call, series: Path) -> None:
        with resume_session(series, SETTINGS) as session:
            done = edgeleuk("session", "keep", series.parent, "--keep-results", "15m")
            assert done.code == 0
            assert "is being recorded by another run" in done.out
            record(session, 30)
        assert series.exists()


REFUSED = {
    "no rule": ((), "no rule is given"),
    "no size": (("--keep", "many"), "expected keep as a time (12h, 30d) or a size (500MB, 20GB), got 'many'"),
    "no time": (("--keep-results", "3"), "expected keep_results as a time (12h, 30d) or a size"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_a_rule_that_is_none(edgeleuk: Call, session: Path, refused: str) -> None:
    words, sentence = REFUSED[refused]
    done = edgeleuk("session", "keep", session.parent, *words)
    assert done.code == 2
    assert sentence in done.err


def test_a_folder_without_sessions(edgeleuk: Call, tmp_path: Path) -> None:
    assert "there is no session: got" in edgeleuk("session", "keep", tmp_path, "--keep", "1d").err
    assert "no such folder" in edgeleuk("session", "keep", tmp_path / "x", "--keep", "1d").err
    with pytest.raises(UsageError, match="a session is a file"):
        read_session(tmp_path)


def test_a_session_is_still_called_by_its_first_file(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    recorded(path, 30, bounds("10"))
    remove_results(files_of(path), keep_of("15m"))
    assert not path.exists()
    with resume_session(path, SETTINGS, bounds=bounds("10")) as session:
        assert session.resume_state().next_sequence == 30
        record(session, 30)
    assert verify_session(path).frames == 21
