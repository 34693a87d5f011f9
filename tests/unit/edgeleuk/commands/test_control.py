"""A control slide over time, on sessions of the virtual microscope: good days and bad days, named right."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from edgeleuk.cli.schemas import PRINTED
from edgeleuk.commands.run import RunOptions, run
from edgeleuk.control.store import read_control
from edgeleuk.control.watch import IN_RANGE
from edgeleuk.io.images import read_image
from edgeleuk.io.settings import RunSettings
from edgeleuk.session import read_session

if TYPE_CHECKING:
    from outcome import Call

    from edgeleuk.errors import EdgeleukError
    from edgeleuk.results import SessionSummary

ROOT = Path(__file__).resolve().parents[4]
SLIDE = "virtual://?seed=7&frames=6&white_cells_per_field=12&width=640&height=480&px_per_um=8"
# Where a stage begins differs by the day.
OVERLAPS = (0.0, 0.04, 0.08, 0.12, 0.16, 0.2)
# A scenario for each bad day, by the measure that it points to. A lamp that dims does so in the course of its
# fault: one for each frame after the first, at half of its course, makes 80 % of the light.
FAULT = '[[fault]]\nkind = "{}"\nat_s = {:.2f}\nfor_s = {}\nstrength = {}\n'
BAD_DAYS = {
    "light": "".join(FAULT.format("lamp", 0.1 * frame - 0.05, 0.1, 0.6) for frame in range(1, 60)),
    "sharpness": FAULT.format("defocus", 0.0, 100.0, 1.5),
    "red_to_green": FAULT.format("stain", 0.0, 100.0, 0.3),
}
SUBJECTS = {"light": "light", "sharpness": "focus", "red_to_green": "stain"}
RUNTIME = RunSettings(runtime="litert", precision="int8")


def camera(folder: Path, measure: str | None = None, overlap: float = 0.1) -> str:
    """Return the address of a day's slide."""
    address = f"{SLIDE}&overlap={overlap}"
    if measure is None:
        return address
    scenario = folder / f"{measure}.toml"
    scenario.write_text(BAD_DAYS[measure])
    return f"{address}&scenario={scenario}"


def recorded(uri: str, path: Path, **options: Any) -> tuple[SessionSummary, EdgeleukError | None]:
    return run(uri, "default", RUNTIME, RunOptions(path, draw=False, **options))


@dataclass(frozen=True)
class Week:
    """Sessions of good and bad days, and the file of the first five."""

    folder: Path

    def good(self, day: int) -> Path:
        return self.folder / f"good{day}.db"

    def bad(self, measure: str) -> Path:
        return self.folder / f"{measure}.db"

    def file(self, to: Path, days: int = 5) -> Path:
        """Return a file of so many good days, made here."""
        from edgeleuk.commands.control import add_control

        path = to / "control.json"
        add_control([self.good(day) for day in range(days)], path, "lot 7")
        return path


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Week:
    folder = tmp_path_factory.mktemp("week")
    found = Week(folder)
    for day, overlap in enumerate(OVERLAPS):
        recorded(camera(folder, overlap=overlap), found.good(day))
    for measure in BAD_DAYS:
        recorded(camera(folder, measure), found.bad(measure))
    return found


def test_five_good_days_make_limits_and_a_sixth_passes(edgeleuk: Call, week: Week) -> None:
    for day in range(5):
        done = edgeleuk("control", "add", week.good(day), "--slide", "lot 7", "--control", "c.json")
        assert done.code == 0
        assert f"{day + 1} of 5 control sessions: no limits yet" in done.out
    done = edgeleuk("control", "add", week.good(5), "--slide", "lot 7", "--control", "c.json", "--json")
    assert done.code == 0
    assert msgspec.json.decode(done.out, type=PRINTED["control"]).to_json() == json.loads(done.out)
    (verdict,) = json.loads(done.out)["verdicts"]
    assert (verdict["state"], verdict["number"], verdict["simulated"]) == ("in control", 6, True)
    assert {"light", "evenness", "sharpness", "red_to_green", "cell_area"} <= set(verdict["measures"])
    scale, area = verdict["measures"]["scale"], verdict["measures"]["cell_area"]
    assert (scale["value"], scale["spread"], scale["n"], scale["distance"]) == (8.0, 0.0, 6, 0.0)
    assert (area["limits"], area["distance"], area["rules"]) == (None, None, [])


@pytest.mark.parametrize("measure", BAD_DAYS)
def test_a_bad_day_is_refused_and_named(edgeleuk: Call, week: Week, tmp_path: Path, measure: str) -> None:
    file = week.file(tmp_path)
    checked = edgeleuk("control", "check", week.bad(measure), "--control", file, "--json")
    assert checked.code == 3
    assert len(read_control(file)) == 5
    added = edgeleuk("control", "add", week.bad(measure), "--slide", "lot 7", "--control", file)
    assert added.code == 3
    title = "red/green of cells" if measure == "red_to_green" else measure
    # What changes the others is named first.
    assert f"verdict   REFUSED: {title} 1-3s" in added.out
    (verdict,) = json.loads(checked.out)["verdicts"]
    assert (verdict["state"], verdict["kept"]) == ("refused", False)
    assert verdict["measures"][measure]["rules"] == ["1-3s"]
    newest = edgeleuk("control", "check", "--control", file)
    assert newest.code == 3
    assert edgeleuk("control", "add", week.good(5), "--slide", "lot 7", "--control", file).code == 0
    assert edgeleuk("control", "check", "--control", file).code == 0


def test_a_session_counts_once(edgeleuk: Call, week: Week, tmp_path: Path) -> None:
    file = week.file(tmp_path)
    before = file.read_bytes()
    copy = tmp_path / "copy.db"
    shutil.copy(week.good(3), copy)
    again = edgeleuk("control", "add", week.good(5), copy, "--slide", "lot 7", "--control", file)
    assert again.code == 2
    assert "copy.db is in" in again.err
    # All or none.
    assert file.read_bytes() == before


def test_sessions_are_listed_drawn_and_removed(edgeleuk: Call, week: Week, tmp_path: Path) -> None:
    file = week.file(tmp_path)
    edgeleuk("control", "add", week.bad("sharpness"), "--slide", "lot 7", "--control", file)
    listed = edgeleuk("control", "list", "--control", file, "--plot", "c.png")
    lines = [line for line in listed.out.splitlines() if ".db" in line]
    assert len(lines) == 6
    assert "REFUSED: sharpness 1-3s" in lines[-1]
    of_program = edgeleuk("control", "list", "--control", file, "--json").out
    assert msgspec.json.decode(of_program, type=PRINTED["control-list"]).to_json() == json.loads(of_program)
    assert msgspec.json.decode(file.read_bytes(), type=PRINTED["control-file"])
    picture = read_image(Path("c.png"))
    assert picture.shape[1] == 1200
    # The square of the refused session, in its colour.
    assert np.count_nonzero((picture == (213, 94, 0)).all(axis=2)) > 100
    by_name = edgeleuk("control", "remove", "sharpness.db", "--control", file, "--json")
    assert json.loads(by_name.out)["left"] == 5
    sha256 = read_control(file)[0].sha256
    assert "which has 4 left" in edgeleuk("control", "remove", sha256[:10], "--control", file).out
    gone = edgeleuk("control", "remove", "sharpness.db", "--control", file)
    assert (gone.code, "there is no such control session" in gone.err) == (2, True)
    assert week.bad("sharpness").is_file()


def test_a_picture_of_somebody_else_is_not_drawn_over(edgeleuk: Call, week: Week, tmp_path: Path) -> None:
    file = week.file(tmp_path)
    cv2.imwrite("c.png", np.zeros((8, 8), np.uint8))
    refused = edgeleuk("control", "list", "--control", file, "--plot", "c.png")
    assert (refused.code, "edgeleuk did not make it" in refused.err) == (2, True)
    assert edgeleuk("control", "list", "--control", file, "--plot", "c.png", "--force").code == 0


def cut_off(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM summary")
        connection.execute("DELETE FROM chain WHERE kind = 'summary'")


def altered(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE cells SET area_um2 = 50 WHERE track = 1")


WRONG = {
    "altered": (altered, 7, "is not as it was recorded"),
    "cut off": (cut_off, 2, "was cut off"),
    "no session": (lambda path: path.write_text("no"), 7, "is no session of edgeleuk"),
    "gone": (os.unlink, 2, "there is no such session file"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_whole_session_is_refused(edgeleuk: Call, week: Week, tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "wrong.db"
    shutil.copy(week.good(0), path)
    change, code, said = WRONG[wrong]
    change(path)
    done = edgeleuk("control", "add", path, "--control", "c.json")
    assert (done.code, said in done.err) == (code, True), done.err
    assert not Path("c.json").exists()


def test_too_little_makes_no_control_session(edgeleuk: Call, tmp_path: Path) -> None:
    recorded(camera(tmp_path), tmp_path / "short.db", frames=2)
    done = edgeleuk("control", "add", "short.db", "--control", "c.json")
    assert (done.code, "shows too little" in done.err) == (4, True)


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "x" * 61])
def test_a_slide_needs_a_name(edgeleuk: Call, week: Week, name: str) -> None:
    done = edgeleuk("control", "add", week.good(0), "--slide", name, "--control", "c.json")
    assert done.code == 2
    assert not Path("c.json").exists()


def test_without_sessions_nothing_is_checked(edgeleuk: Call) -> None:
    done = edgeleuk("control", "check", "--control", "c.json")
    assert (done.code, "there are no control sessions" in done.err) == (2, True)
    assert "no control sessions" in edgeleuk("control", "list", "--control", "c.json").out
    drawn = edgeleuk("control", "list", "--control", "c.json", "--plot", "c.png")
    assert (drawn.code, Path("c.png").exists()) == (2, False)


def events(path: Path, kind: str) -> list[str]:
    with read_session(path) as reader:
        return [str(row["text"]) for row in reader.rows("events") if row["kind"] == kind]


def test_a_run_in_range_says_so(week: Week, tmp_path: Path, edgeleuk: Call) -> None:
    file = week.file(tmp_path)
    Path("edgeleuk.toml").write_text(f'control = "{file}"\nruntime = "litert"\n')
    done = edgeleuk("run", "--camera", camera(tmp_path, overlap=0.05), "--session", "s.db", "--json")
    assert done.code == 0
    told = json.loads(done.out)
    assert told["control"]["state"] == "in range"
    assert (told["control"]["slide"], told["control"]["sessions"]) == ("lot 7", 5)
    assert events(Path("s.db"), "control") == [IN_RANGE]
    assert len(events(Path("s.db"), "optics")) == 1
    assert told["events"] == 2


@pytest.mark.parametrize("measure", BAD_DAYS)
def test_a_run_out_of_range_warns_at_once_and_goes_on(
    week: Week, tmp_path: Path, edgeleuk: Call, measure: str
) -> None:
    words = ("--session", "s.db", "--control", week.file(tmp_path), "--runtime", "litert")
    done = edgeleuk("run", "--camera", camera(tmp_path, measure), *words)
    assert done.code == 0
    (text,) = events(Path("s.db"), "control")
    assert text.startswith(SUBJECTS[measure])
    assert f"warning: control: {text}" in done.err
    assert "control   OUT OF the laboratory's RANGE" in done.out
    with read_session(Path("s.db")) as reader:
        assert reader.counts().processed == 6


def test_a_run_that_has_to_be_in_range_ends(week: Week, tmp_path: Path, edgeleuk: Call) -> None:
    file = week.file(tmp_path)
    words = ("--session", "s.db", "--control", file, "--control-required", "--runtime", "litert")
    long = camera(tmp_path, "sharpness").replace("frames=6", "frames=60")
    done = edgeleuk("run", "--camera", long, *words, "--json")
    assert done.code == 3
    assert "focus left the laboratory's range" in done.err
    told = json.loads(done.out)
    assert told["control"]["state"] == "out of range"
    assert "focus left the laboratory's range" in told["ended"]
    frames = told["frames"]
    assert frames["processed"] < 10
    assert frames["captured"] == frames["processed"] + frames["dropped"] + frames["rejected"]
    assert edgeleuk("verify", "s.db").code == 0


REQUIRED = {
    "no limits": (3, None, "3 of 5 control sessions: no limits yet"),
    "refused": (5, "sharpness", "the last control session, sharpness.db"),
}


@pytest.mark.parametrize("case", REQUIRED)
def test_a_run_that_cannot_be_controlled_does_not_begin(
    week: Week, tmp_path: Path, edgeleuk: Call, case: str
) -> None:
    days, bad, said = REQUIRED[case]
    file = week.file(tmp_path, days)
    if bad is not None:
        edgeleuk("control", "add", week.bad(bad), "--slide", "lot 7", "--control", file)
    words = ("run", "--camera", camera(tmp_path), "--session", "s.db", "--control", file)
    done = edgeleuk(*words, "--runtime", "litert", "--control-required")
    assert (done.code, said in done.err) == (3, True), done.err
    assert not Path("s.db").exists()
    advised = edgeleuk(*words, "--runtime", "litert", "--frames", 1)
    assert (advised.code, said in advised.err) == (0, True)


def test_a_run_too_short_to_be_controlled(week: Week, tmp_path: Path, edgeleuk: Call) -> None:
    file = week.file(tmp_path)
    words = ("--session", "s.db", "--control", file, "--control-required", "--runtime", "litert")
    done = edgeleuk("run", "--camera", camera(tmp_path), *words, "--frames", 2)
    assert (done.code, "ended before it was" in done.err) == (3, True)
    assert "control   not reached" in done.out


def test_what_has_to_be_controlled_needs_a_file(edgeleuk: Call) -> None:
    done = edgeleuk("run", "--camera", SLIDE, "--control-required")
    assert (done.code, "pass their file with --control" in done.err) == (2, True)


def test_every_command_of_the_page_runs(
    week: Week, tmp_path: Path, edgeleuk: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    page = (ROOT / "docs" / "control.md").read_text()
    shown = [line for line in page.splitlines() if line.startswith("edgeleuk ")]
    for day in range(5):
        edgeleuk("control", "add", week.good(day), "--slide", "lot-7")
    shutil.copy(week.good(5), "today.db")
    assert len(shown) == 7
    for line in shown:
        words = [camera(tmp_path) if word == "URI" else word for word in shlex.split(line)[1:]]
        # The camera has fewer frames than the page asks for.
        done = edgeleuk(*words, *(("--runtime", "litert") if words[0] == "run" else ()))
        assert done.code == 0, f"{line}: {done.err}"
    assert Path("control.png").is_file()
    assert len(read_control(tmp_path / "data" / "edgeleuk" / "control.json")) == 5
