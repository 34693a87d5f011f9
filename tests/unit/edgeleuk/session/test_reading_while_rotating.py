"""Whoever reads a session sees whole records, whatever a rule removes of it meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from sessions import record, summary

from edgeleuk.commands.keep import keep_sessions
from edgeleuk.errors import SessionError
from edgeleuk.io.clock import now
from edgeleuk.io.storage_bounds import StorageBounds, keep_of
from edgeleuk.session import create_session, read_session, reader, resume_session
from edgeleuk.session.reviewed_series import open_for_review
from edgeleuk.session.rotation import Rotation, remove_results, size_on_disk
from edgeleuk.session.series import files_of
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Call

SETTINGS = {"camera": "test://", "threads": 1}
FRAMES = 60
ALL = "0.000001MB"


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Sixty frames, a minute apart, in three files."""
    path = tmp_path / "s.db"
    with create_session(path, SETTINGS, bounds=StorageBounds.of("20", None, None)) as session:
        for number in range(FRAMES):
            record(session, number, captured_at=now() - 60 * (FRAMES - number))
        session.finish(summary(path))
    return path


def remove_pictures(path: Path) -> None:
    """Remove all pictures, and give their room back."""
    rotation = Rotation(keep_of(ALL), whole_files=False, every_s=0.0)
    while rotation.step(files_of(path)):
        pass
    rotation.close()


@pytest.mark.parametrize("read_before", [0, 1, 25, 59])
def test_rows_that_are_being_read_stay_whole(series: Path, read_before: int) -> None:
    with read_session(series) as whole:
        expected = list(whole.rows("cells"))
    with read_session(series) as reading:
        rows = reading.rows("cells", thumbnails=True)
        found = [next(rows) for _ in range(read_before)]
        remove_pictures(series)
        found += rows
        assert reading.verify().broken is None
    crops = [row.pop("crop") for row in found]
    assert [{name: row[name] for name in expected[0]} for row in found] == expected
    # A picture is there as it was, or it is gone.
    assert len({crop for crop in crops if crop is not None}) <= 1
    assert all(crop is not None for crop in crops[:read_before])
    with read_session(series) as after:
        assert all(row["crop"] is None for row in after.rows("cells", thumbnails=True))


def test_the_room_is_given_back_when_the_reader_ends(series: Path) -> None:
    before = sum(map(size_on_disk, files_of(series)))
    with read_session(series) as reading:
        next(reading.rows("cells"))
        remove_pictures(series)
    assert verify_session(series).broken is None
    assert sum(map(size_on_disk, files_of(series))) < 0.5 * before


READERS: dict[str, Callable[[Path], object]] = {
    "a reader": read_session,
    "a review": open_for_review,
    "a review that writes nothing": lambda path: open_for_review(path, writes=False),
}


@pytest.mark.parametrize("opened", READERS)
def test_no_file_goes_that_is_being_read(series: Path, opened: str) -> None:
    files = files_of(series)
    stays: list[str] = []
    with READERS[opened](series) as reading:  # type: ignore[attr-defined]
        assert remove_results(files, keep_of(ALL), stays) == list(files)
        assert reading.counts().processed == FRAMES
    assert stays == [
        f"{series} is being read, and stays for now; run `edgeleuk session keep` when that has ended"
    ]
    assert verify_session(series).removed == ()
    assert remove_results(files, keep_of(ALL)) == [files[-1]]


def test_a_resume_leaves_it_and_says_so(series: Path) -> None:
    bounds = StorageBounds.of("20", None, "15m")
    with read_session(series) as reading, resume_session(series, SETTINGS, bounds=bounds) as session:
        record(session, FRAMES)
        assert reading.counts().processed == FRAMES
    with read_session(series) as after:
        assert any("is being read, and stays for now" in str(row["text"]) for row in after.rows("events"))
        assert after.counts().processed == FRAMES + 1


def test_the_command_says_why_it_stays(edgeleuk: Call, series: Path) -> None:
    with read_session(series):
        done = edgeleuk("session", "keep", series, "--keep-results", "15m")
    assert done.code == 0
    assert f"left      {series} is being read, and stays for now" in done.out


def test_a_file_that_goes_as_a_session_is_opened(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[tuple[Path, ...]] = []

    def files(path: Path) -> tuple[Path, ...]:
        looked.append(files_of(path))
        if len(looked) == 1:
            remove_results(looked[0], keep_of("30m"))
        return looked[-1]

    monkeypatch.setattr(reader, "files_of", files)
    with read_session(series.parent) as reading:
        assert reading.counts().processed == FRAMES - 20
    assert [len(found) for found in looked] == [3, 2]


def test_where_nothing_may_be_written_half_a_change_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with create_session(path, SETTINGS) as session:
        for number in range(20):
            record(session, number)
    # As in a folder that is another's: SQLite can make no index for its locks.
    hindrance = path.with_name(f"{path.name}-shm")
    hindrance.symlink_to(tmp_path / "nowhere" / "index")
    with read_session(path) as reading:
        assert reading.counts().processed == 20
    reading = read_session(path)
    hindrance.unlink()
    words = ["session", "keep", str(path), "--keep", ALL]
    subprocess.run([sys.executable, "-m", "edgeleuk", *words], check=True, capture_output=True)
    with pytest.raises(SessionError, match="changed while it was read"), reading:
        pass
    assert verify_session(path).removed[0].pictures == 20


COMMANDS = {
    "report": ("report", "{}"),
    "report --html": ("report", "{}", "--html", "report.html", "--force"),
    "export --csv": ("export", "{}", "--csv", "--out", "cells.csv"),
    "export --fhir": ("export", "{}", "--fhir", "--out", "cells.fhir.json"),
    "trend": ("trend", "{}"),
    "verify": ("verify", "{}"),
    "review": ("review", "{}", "--json"),
    "labels list": ("labels", "list", "{}", "--json"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_read_on_while_pictures_go(
    edgeleuk: Call, series: Path, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A rule removes a little at a time, again and again, as long as the command reads."""
    monkeypatch.chdir(tmp_path)
    words = [word.format(series) for word in COMMANDS[command]]
    expected = edgeleuk(*words)
    size = sum(map(size_on_disk, files_of(series)))
    begun, errors = threading.Event(), []

    def rotate() -> None:
        try:
            for part in range(19, 0, -1):
                keep_sessions(series, f"{size * part / 20 / 1e6:.6f}MB", None)
                begun.set()
        except BaseException as error:  # noqa: BLE001 - the test tells it
            errors.append(error)
            begun.set()

    thread = threading.Thread(target=rotate)
    thread.start()
    begun.wait()
    try:
        done = [edgeleuk(*words)]
        while thread.is_alive():
            done.append(edgeleuk(*words))
    finally:
        thread.join()
    assert errors == []
    assert {(one.code, one.err if one.code != expected.code else "") for one in done} == {(expected.code, "")}
    assert verify_session(series).broken is None
