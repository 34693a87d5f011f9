"""Session commands given what they cannot use: one sentence, the right code, and nothing is touched."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sessions import WRITER, record, summary

from edgeleuk.cli.app import main
from edgeleuk.session import create_session, read_session

if TYPE_CHECKING:
    from collections.abc import Iterator

READERS = (
    ("verify", "IT"),
    ("report", "IT"),
    ("replay", "IT", "--cell", "0"),
    ("export", "IT", "--csv", "--out", "out"),
    ("export", "IT", "--jsonl", "--out", "out"),
    ("export", "IT", "--fhir", "--out", "out"),
)
WRITERS = (
    ("export", "IT", "--csv", "--out"),
    ("export", "IT", "--jsonl", "--out"),
    ("export", "IT", "--fhir", "--out"),
    ("report", "IT", "--html"),
)


RUN = ("run", "--camera", "virtual://", "--frames", 1, "--session")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session") / "whole.db"
    with create_session(path, {"camera": "test://"}) as session:
        for number in range(12):
            record(session, number)
        session.finish(summary(path))
    return path


@pytest.fixture(scope="module")
def folder(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that is no session to be read."""
    folder = tmp_path_factory.mktemp("bad")
    data = whole.read_bytes()
    for name, content in {
        "empty": b"",
        "text": b"no database at all",
        "header": data[:60],
        "page": data[:4096],
        "half": data[: len(data) // 2],
        "last page": data[:-4096],
        "zeros": data[:4096] + bytes(len(data) - 4096),
    }.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    for name, statement in {
        "theirs": "CREATE TABLE cells (track)",
        "newer": "PRAGMA user_version = 99",
    }.items():
        if name == "newer":
            shutil.copyfile(whole, folder / name)
        connection = sqlite3.connect(folder / name)
        connection.execute(statement)
        connection.close()
    return folder


def call(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["edgeleuk", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0), *capfd.readouterr()
    return 0, *capfd.readouterr()


@pytest.mark.parametrize("words", READERS, ids=lambda words: " ".join(words[:3]))
@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("theirs", 7, "is no session of edgeleuk"),
        ("newer", 7, "was recorded by a newer edgeleuk: got schema 99, allowed up to"),
        ("empty", 7, "no session of edgeleuk|no bundle"),
        ("text", 7, "no session of edgeleuk|no bundle"),
        ("header", 7, "damaged|no session of edgeleuk"),
        ("page", 7, "damaged"),
        ("half", 7, "damaged"),
        ("last page", 7, "damaged"),
        ("zeros", 7, "damaged"),
        ("folder", 2, "a session is a file: got the folder|a bundle is a file: got the folder"),
        ("missing", 2, "there is no such session file|there is no such bundle"),
    ],
)
def test_what_is_no_session_is_refused(
    folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    name: str,
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = folder / name
    before = path.read_bytes() if path.is_file() else None
    found, out, err = call(capfd, monkeypatch, *(path if word == "IT" else word for word in words))
    assert (found, out) == (code, ""), err
    assert any(sentence in err for sentence in says.split("|")), err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    # Neither the file is touched, nor is half an export left.
    assert before == (path.read_bytes() if path.is_file() else None)
    assert list(tmp_path.iterdir()) == []
    assert not list(folder.glob("*-wal"))


@pytest.mark.parametrize("words", WRITERS, ids=lambda words: " ".join(words[:3]))
@pytest.mark.parametrize(
    ("out", "says"),
    [
        # Not even root may make files there.
        ("/sys/out", "cannot be written"),
        ("nowhere/out", "cannot be written: got No such file or directory"),
        (".", "cannot be written: got no plain file"),
        ("/dev/null", "cannot be written: got no plain file"),
        ("s.db", "would overwrite the session"),
        ("link.db", "would overwrite the session"),
        ("SMALL", "cannot be written: got File too large"),
    ],
)
def test_where_nothing_can_be_written(
    whole: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    out: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(whole, "s.db")
    Path("link.db").symlink_to("s.db")
    before = sorted(tmp_path.iterdir())
    with small_disk(100 if out == "SMALL" else None):
        given = ("s.db" if word == "IT" else word for word in words)
        code, printed, err = call(capfd, monkeypatch, *given, out)
    assert (code, printed) == (2, ""), err
    assert says in err
    assert "choose another --" in err
    # Without room for its index SQLite leaves what it began; the next reader takes it away.
    read_session(Path("s.db")).close()
    assert sorted(tmp_path.iterdir()) == before
    assert Path("s.db").read_bytes() == whole.read_bytes()


@contextmanager
def small_disk(most_bytes: int | None) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits[0] if most_bytes is None else most_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("session", "says"),
    [
        ("/sys/s.db", "cannot be made"),
        ("nowhere/s.db", "there is no such folder"),
        (".", "a session is a file: got the folder ."),
        ("IT", "exists and is never overwritten"),
    ],
)
def test_where_no_session_can_begin(
    whole: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    session: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = whole if session == "IT" else session
    code, out, err = call(capfd, monkeypatch, *RUN, path)
    assert (code, out) == (2, "")
    assert says in err
    assert "--session" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("report",), ("export", "--csv"), ("export", "--fhir")])
def test_a_full_disk_behind_standard_output(whole: Path, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgeleuk", words[0], whole, *words[1:]],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "error: the disk is full, or standard output takes no more\n"


def test_a_session_that_is_being_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be read by all, and written by no second run."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "s.db"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parents[1])],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        second = call(capfd, monkeypatch, *RUN, path)
        report, verified = (call(capfd, monkeypatch, command, path) for command in ("report", "verify"))
        before = int(process.stdout.readline())
        # The first one goes on undisturbed.
        assert int(process.stdout.readline()) == before + 1
        process.kill()
    assert (second[0], "exists and is never overwritten" in second[2]) == (2, True)
    assert (report[0], "still being recorded" in report[1]) == (0, True)
    assert (verified[0], "all sound" in verified[1]) == (0, True)
    assert call(capfd, monkeypatch, "verify", path)[0] == 0
