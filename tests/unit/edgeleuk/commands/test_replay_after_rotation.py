"""A session whose oldest pictures went by a rule: what is left is judged again to the last bit."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest

from edgeleuk.session import read_session
from edgeleuk.session.rotation import size_on_disk
from edgeleuk.session.series import files_of

if TYPE_CHECKING:
    from pathlib import Path

    from outcome import Call

CAMERA = "virtual://?seed=3"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Views(NamedTuple):
    """How many views of each cell were recorded with a picture, and how many have one."""

    before: dict[int, int]
    after: dict[int, int]

    def cells(self, *, whole: bool, any_left: bool) -> list[int]:
        """Return the cells of which all or not all, and some or no pictures are left."""
        return [
            track
            for track, count in self.before.items()
            if (self.after[track] == count) is whole and (self.after[track] > 0) is any_left
        ]


def pictures(path: Path) -> dict[int, int]:
    """Count the pictures of each cell."""
    with read_session(path) as reader:
        tracks = [int(str(row["track"])) for row in reader.rows("cells")]
        return {track: sum(view["crop"] is not None for view in reader.views(track)) for track in tracks}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames in three files."""
    path = tmp_path_factory.mktemp("recorded") / "s.db"
    words = ["run", "--camera", CAMERA, "--frames", "12", "--split", "4", "--session", str(path), "--json"]
    environ = {**os.environ, **ONE_THREAD}
    subprocess.run([sys.executable, "-m", "edgeleuk", *words], check=True, capture_output=True, env=environ)
    assert len(files_of(path)) == 3
    return path


@pytest.fixture
def series(recorded: Path, tmp_path: Path) -> Path:
    for file in files_of(recorded):
        shutil.copyfile(file, tmp_path / file.name)
    return tmp_path / recorded.name


def remove(edgeleuk: Call, path: Path, part: float) -> Views:
    """Keep that part of the bytes, by the command; return the pictures before and after."""
    before = pictures(path)
    size = sum(map(size_on_disk, files_of(path)))
    done = edgeleuk("session", "keep", path, "--keep", f"{part * size / 1e6:.6f}MB")
    assert done.code == 0, done.err
    return Views(before, pictures(path))


@pytest.fixture(params=[1.0, 0.85, 0.6, 0.35])
def rotated(request: pytest.FixtureRequest, edgeleuk: Call, series: Path) -> Views:
    """The series after rules of several sizes: in the first nothing has to go."""
    return remove(edgeleuk, series, request.param)


def test_what_is_kept_is_equal_and_what_is_gone_is_counted(
    edgeleuk: Call, series: Path, rotated: Views
) -> None:
    outcome = edgeleuk("replay", series, "--json")
    found = json.loads(outcome.out)
    whole = rotated.cells(whole=True, any_left=True)
    assert (outcome.code, found["different"], found["not_kept"]) == (0, [], 0)
    assert (found["cells"], found["equal"]) == (len(rotated.before), len(whole))
    assert found["removed"] == len(rotated.before) - len(whole)
    assert found["views"] == sum(rotated.after.values())
    assert found["removed_views"] == sum(rotated.before.values()) - sum(rotated.after.values())
    said = edgeleuk("replay", series)
    assert said.code == 0
    assert ("pictures removed by rule: keep " in said.out) is (found["removed"] > 0)


def test_each_cell_says_what_is_left_of_it(edgeleuk: Call, series: Path) -> None:
    views = remove(edgeleuk, series, 0.5)
    kept = views.cells(whole=True, any_left=True)
    partly = views.cells(whole=False, any_left=True)
    gone = views.cells(whole=False, any_left=False)
    assert kept
    assert partly
    assert gone
    for track in kept[:2]:
        found = json.loads(edgeleuk("replay", series, "--cell", track, "--json").out)
        assert (found["equal"], found["removed_views"]) == (True, 0)
        assert found["recorded"] == found["replayed"]
    for track in partly[:2]:
        outcome = edgeleuk("replay", series, "--cell", track)
        assert outcome.code == 0
        lost = views.before[track] - views.after[track]
        assert f"removed by rule: the pictures of {lost} views, keep " in outcome.out
    for track in gone[:2]:
        outcome = edgeleuk("replay", series, "--cell", track)
        assert (outcome.code, outcome.out) == (2, "")
        assert "got a picture that the rule keep " in outcome.err


@pytest.mark.parametrize("name", ["s.db", "s.002.db", "s.003.db", "."])
def test_any_file_of_a_series_stands_for_all(edgeleuk: Call, series: Path, name: str) -> None:
    found = json.loads(edgeleuk("replay", series.parent / name, "--json").out)
    assert found["cells"] == found["equal"] == len(pictures(series))


def test_another_answer_is_told_with_its_cell(edgeleuk: Call, series: Path) -> None:
    views = remove(edgeleuk, series, 0.6)
    track = views.cells(whole=True, any_left=True)[0]
    for file in files_of(series):
        with closing(sqlite3.connect(file)) as connection, connection:
            for table in ("cells", "views"):
                connection.execute(f"UPDATE {table} SET probability = 0.123 WHERE track = ?", (track,))
    outcome = edgeleuk("replay", series)
    assert outcome.code == 3
    assert f"NOT EQUAL 1 cells: {track}" in outcome.out
