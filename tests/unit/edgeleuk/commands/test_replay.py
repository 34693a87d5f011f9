"""A recorded cell is judged again, from the file alone, to the same bit."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edgeleuk.bundle.reading import DEFAULT_PATH
from edgeleuk.session import read_session

if TYPE_CHECKING:
    from pathlib import Path

    from outcome import Call


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the virtual slide."""
    path = tmp_path_factory.mktemp("replay") / "s.db"
    words = ["run", "--camera", "virtual://?seed=3", "--frames", "6", "--session", str(path), "--json"]
    # What is replayed elsewhere has other numbers of threads to add up with.
    environ = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")}
    subprocess.run([sys.executable, "-m", "edgeleuk", *words], check=True, capture_output=True, env=environ)
    return path


@pytest.fixture(scope="module")
def track(recorded: Path) -> int:
    """The first cell that was judged."""
    with read_session(recorded) as reader:
        return int(str(next(reader.rows("cells"))["track"]))


def test_every_cell_comes_out_the_same(edgeleuk: Call, recorded: Path) -> None:
    with read_session(recorded) as reader:
        tracks = [int(str(row["track"])) for row in reader.rows("cells")]
    assert len(tracks) >= 4
    for track in tracks[:6]:
        outcome = edgeleuk("replay", recorded, "--cell", track, "--json")
        found = json.loads(outcome.out)
        assert (outcome.code, found["equal"]) == (0, True)
        assert found["recorded"] == found["replayed"]


def test_it_is_said_in_words(edgeleuk: Call, recorded: Path, track: int) -> None:
    outcome = edgeleuk("replay", recorded, "--cell", track)
    assert "equal, bit for bit" in outcome.out
    assert "For research use only" in outcome.out


def test_a_run_leaves_a_sound_chain(edgeleuk: Call, recorded: Path) -> None:
    outcome = edgeleuk("verify", recorded)
    assert outcome.code == 0
    assert "all sound" in outcome.out


@pytest.mark.parametrize(
    ("statement", "code", "said"),
    [
        ("UPDATE cells SET probability = 0.123 WHERE track = {}", 3, "NOT EQUAL"),
        ("UPDATE cells SET crop = NULL WHERE track = {}", 2, "cannot be judged again: got no picture"),
        ("UPDATE frames SET px_per_um = NULL", 2, "cannot be judged again: got no scale"),
        ("DELETE FROM cells WHERE track = {}", 2, "has no such cell: got"),
    ],
)
def test_what_cannot_be_repeated_is_said(
    edgeleuk: Call, recorded: Path, track: int, tmp_path: Path, statement: str, code: int, said: str
) -> None:
    path = tmp_path / "s.db"
    shutil.copyfile(recorded, path)
    connection = sqlite3.connect(path)
    connection.executescript(statement.format(track))
    connection.close()
    outcome = edgeleuk("replay", path, "--cell", track)
    assert outcome.code == code
    assert said in outcome.out + outcome.err


def test_another_bundle_is_refused(edgeleuk: Call, recorded: Path, track: int, tmp_path: Path) -> None:
    other = tmp_path / "other.edgeleuk"
    other.write_bytes(DEFAULT_PATH.read_bytes())
    path = tmp_path / "s.db"
    shutil.copyfile(recorded, path)
    connection = sqlite3.connect(path)
    connection.executescript("UPDATE settings SET value = '\"0000\"' WHERE key = 'bundle_sha256'")
    connection.close()
    outcome = edgeleuk("replay", path, "--cell", track, "--bundle", other)
    assert (outcome.code, outcome.out) == (7, "")
    assert "another bundle judged the cell" in outcome.err
