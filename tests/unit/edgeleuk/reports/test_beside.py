"""What stands beside a session on its page: control sessions, and a person's review."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import pytest
from control_sessions import GOOD, entry
from sessions import record, summary

from edgeleuk.commands.report import PageOptions, page_of
from edgeleuk.control.entries import Measured
from edgeleuk.control.measures import measure_session
from edgeleuk.control.optics import optics_text
from edgeleuk.control.store import change_control
from edgeleuk.counting.intervals import KnownError, Rate
from edgeleuk.errors import IntegrityError
from edgeleuk.results.structs import ControlOfRun, OutOfRange
from edgeleuk.review.desk import ReviewDesk, word
from edgeleuk.session import create_session
from edgeleuk.session.reader import read_session

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {
    "camera": "test://", "bundle": "default", "bundle_sha256": "ab" * 32, "simulated": True,
    "known_error": KnownError(0.6, Rate(0.95, 200, 100), Rate(0.9, 200, 100)).to_json(),
}  # fmt: skip


def make(path: Path, light: float = 210.0) -> Path:
    with create_session(path, SETTINGS) as session:
        for number in range(25):
            record(session, number)
        optics = {"light": light, "evenness": 0.96, "sharpness": 0.58}
        spread = {name: Measured(value=value, spread=0.01 * value, n=5) for name, value in optics.items()}
        session.note("optics", optics_text(spread))
    return path


def laboratory(tmp_path: Path, session: Path, sessions: int = 8) -> Path:
    """Keep control sessions, whose cells are as those of the session, and its light as ever."""
    with read_session(session) as reader:
        found = measure_session(reader).measures
    add = {name: found[name].value - GOOD[name] for name in GOOD if name in found and name != "light"}
    file = tmp_path / "control.json"
    for number in range(sessions):
        new = entry(number, add={**add, "light": 0.2 * (number % 3)})
        change_control(file, lambda before, one=new: (*before, one))
    return file


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


@pytest.mark.parametrize(
    ("light", "verdict", "row"),
    [
        (210.0, "Light, focus, stain and scale: within the laboratory's range;", "within range"),
        (
            90.0,
            "Light, focus, stain and scale: OUT OF the laboratory's range: light 1-3s (",
            "OUT OF RANGE, -",
        ),
    ],
)
def test_held_against_the_control_sessions(tmp_path: Path, light: float, verdict: str, row: str) -> None:
    session = make(tmp_path / "s.db", light)
    options = PageOptions(control=laboratory(tmp_path, session), pictures=0)
    text = text_of(page_of(session, options)).replace("&#x27;", "'")
    assert verdict in text
    assert "the last control session of slide lot by Westgard's rules: in control" in text
    assert f"light, 0 to 255 {light:.1f} 210.2, SD " in text
    assert row in text


def test_too_few_control_sessions(tmp_path: Path) -> None:
    session = make(tmp_path / "s.db")
    options = PageOptions(control=laboratory(tmp_path, session, sessions=3), pictures=0)
    assert "Control: 3 of 5 control sessions: no limits yet" in text_of(page_of(session, options))


def test_what_the_run_found_itself(tmp_path: Path) -> None:
    from dataclasses import replace

    path = tmp_path / "s.db"
    light = OutOfRange(measure="light", subject="light", mean=210.0, distance=-7.25)
    control = ControlOfRun(
        file="c.json",
        slide="lot",
        sessions=9,
        last_session="in control",
        state="out of range",
        out_of_range=[light],
    )
    with create_session(path, SETTINGS) as session:
        record(session, 0)
        session.finish(replace(summary(path), control=control))
    text = text_of(page_of(path)).replace("&#x27;", "'")
    assert "When it was recorded: OUT OF the laboratory's RANGE: light -7.2 SD." in text


def test_a_damaged_control_file(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"c\.json"):
        page_of(make(tmp_path / "s.db"), PageOptions(control=tmp_path / "c.json"))


def test_a_review_stands_beside_the_machine_s_counts(tmp_path: Path) -> None:
    path = make(tmp_path / "s.db")
    assert "the session holds no person's review" in text_of(page_of(path)).replace("&#x27;", "'")
    with ReviewDesk(path) as desk:
        for turn, cell in enumerate(desk.queue("ana", limit=25)):
            # Of 25 that the machine calls blasts.
            label = "monocyte" if turn < 2 else "blast"
            desk.record([word(cell.track, label, "ana", f"a-{turn}", is_drawn=True)])
        first = desk.queue("ben", limit=1)[0]
        desk.record([word(first.track, "blast", "ben", "b-0", is_drawn=True)])
    text = text_of(page_of(path))
    assert "machine share 95 % interval after review 95 % interval" in text
    assert "Reviewed: 25 of 25 cells, by ana, ben." in text
    assert "On 1 cells readers contradict one another" in text
    # All cells were looked at, so that nothing is left to an interval.
    assert re.search(r"blast 25 [\d.% to]+ 23 23 to 23 ", text)
    assert "monocyte 0 1 1 to 1" in text


def test_a_review_that_cannot_be_told(tmp_path: Path) -> None:
    path = make(tmp_path / "s.db")
    with ReviewDesk(path) as desk:
        desk.record([word(0, "blast", "ana", "a-0", is_drawn=True)])
        desk.record([word(1, "blast", "ana", "a-1", is_drawn=False)])
    assert "after review" in text_of(page_of(path))
    connection = sqlite3.connect(path)
    connection.execute("UPDATE reviews SET label = 'normal' WHERE track = 0")
    connection.commit()
    connection.close()
    text = text_of(page_of(path)).replace("&#x27;", "'")
    assert "the session's reviews cannot be told" in text
    assert "THE RECORD WAS CHANGED" in text


def test_what_nobody_looked_at_has_a_reason(tmp_path: Path) -> None:
    path = make(tmp_path / "s.db")
    with ReviewDesk(path) as desk:
        desk.record([word(0, "blast", "ana", "a-0", is_drawn=False)])
    assert "No number for some: nobody looked at a random cell of" in text_of(page_of(path))
