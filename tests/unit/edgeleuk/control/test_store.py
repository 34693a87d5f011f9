"""The file of control sessions holds all of before or all of now, whatever happens to who writes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from control_sessions import ADDER, entry

from edgeleuk.control.store import change_control, control_path, read_control
from edgeleuk.errors import EdgeleukError, IntegrityError, UsageError
from edgeleuk.io import alone

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).resolve().parents[3]


def added(path: Path, *numbers: int) -> None:
    change_control(path, lambda before: (*before, *map(entry, numbers)))


def adder(path: Path, first: int, many: int) -> subprocess.Popen[str]:
    words = (sys.executable, "-c", ADDER, path, TESTS, first, many)
    return subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True)


def test_what_is_added_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    assert read_control(path) == ()
    added(path, 1)
    added(path, 2, 3)
    assert read_control(path) == tuple(map(entry, (1, 2, 3)))
    assert json.loads(path.read_text())["schema_version"] == 1
    change_control(path, lambda before: before[1:])
    assert read_control(path) == tuple(map(entry, (2, 3)))


def test_a_change_that_fails_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    added(path, 1)
    before = path.read_bytes()

    def refuse(_: object) -> tuple[()]:
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        change_control(path, refuse)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["c.json"]


def test_killed_at_any_moment_it_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    done = 0
    for stop_after in (1, 3, 2, 5):
        with adder(path, done, 10_000) as process:
            assert process.stdout is not None
            for _ in range(stop_after):
                done = int(process.stdout.readline()) + 1
            # Another one is under way now.
            process.send_signal(signal.SIGKILL)
            done += len(process.stdout.read().split())
        kept = read_control(path)
        assert done <= len(kept) <= done + 1
        assert kept == tuple(map(entry, range(len(kept))))
        done = len(kept)


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    programs = [adder(path, first, 60) for first in (0, 100)]
    assert [program.wait() for program in programs] == [0, 0]
    for program in programs:
        assert program.stdout is not None
        program.stdout.close()
    kept = {one.session for one in read_control(path)}
    assert kept == {entry(first + number).session for first in (0, 100) for number in range(60)}


def test_who_holds_it_for_too_long_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "PATIENCE_S", 0.0)
    path = tmp_path / "c.json"
    with (
        alone.alone_in(path.parent, path, "choose another"),
        pytest.raises(UsageError, match="in use by another program"),
    ):
        added(path, 1)


def altered(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


HEAD = '{"format": "edgeleuk control", "x": '
FOREIGN = "no file of control sessions"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-400]), "is damaged"),
    "emptied": (lambda path: path.write_bytes(b""), "an empty file"),
    "zeros": (lambda path: path.write_bytes(bytes(500)), "an empty file"),
    "a figure changed": (
        lambda path: path.write_text(path.read_text().replace("0.58", "0.59", 1)),
        "not as they were written",
    ),
    "sessions gone": (lambda path: altered(path, sessions=[]), "not as they were written"),
    "an unknown key": (lambda path: altered(path, x=1), "unknown field"),
    "no number": (lambda path: altered(path, schema_version="1"), "is damaged"),
    "a newer version": (lambda path: altered(path, schema_version=2), "newer"),
    "another program's": (lambda path: path.write_text('{"sessions": []}'), FOREIGN),
    "no text": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9)), FOREIGN),
    "half a letter": (lambda path: path.write_bytes(path.read_bytes() + b"\xff"), "is damaged"),
    "deep": (lambda path: path.write_text(HEAD + "[" * 100_000), "is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_file_is_refused_and_left_alone(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "c.json"
    added(path, 1, 2)
    change, said = DAMAGES[damage]
    change(path)
    before = path.read_bytes()
    with pytest.raises(IntegrityError, match=said) as raised:
        read_control(path)
    assert raised.value.cure
    with pytest.raises(IntegrityError, match=said):
        added(path, 3)
    assert path.read_bytes() == before


def database(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(100))


PLACES: dict[str, Callable[[Path], object]] = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a database": database,
    "a link to nowhere": lambda path: path.symlink_to("elsewhere"),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_plain_file_is_refused(tmp_path: Path, place: str) -> None:
    path = tmp_path / "c.json"
    PLACES[place](path)
    with pytest.raises(EdgeleukError) as raised:
        added(path, 1)
    assert raised.value.exit_code in (2, 7)
    assert [file.name for file in tmp_path.iterdir()] == ["c.json"]


def test_without_its_folder_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        added(tmp_path / "none" / "c.json", 1)


def test_the_users_own_file_is_made_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    path = control_path("default")
    assert path == control_path(None) == tmp_path / "data" / "edgeleuk" / "control.json"
    added(path, 1)
    assert read_control(path) == (entry(1),)
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert control_path(None) == tmp_path / ".local" / "share" / "edgeleuk" / "control.json"
    assert control_path("lab.json") == Path("lab.json")
