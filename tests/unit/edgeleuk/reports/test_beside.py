"""What stands beside a session on its page: control sessions, and a person's review."""

from __future__ import annotations

import re
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
from edgeleuk.reports.beside import Estimate, Quality, Reviewed
from edgeleuk.reports.facts import session_facts
from edgeleuk.reports.result_section import result
from edgeleuk.results.structs import ControlOfRun, OutOfRange
from edgeleuk.session import create_session
from edgeleuk.session.reader import read_session

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {
    "camera": "test://", "bundle": "default", "bundle_sha256": "ab" * 32, "simulated": True,
    "known_error": KnownError(0.6, Rate(0.95, 200, 100), Rate(0.9, 200, 100)).to_json(),
}  # fmt: skip
EMPTY = Quality((), "Nothing is known.")


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
    reviewed = Reviewed(
        looked_at=12,
        cells=25,
        readers=("ana", "ben"),
        counts={"blast": Estimate(19.6, 15.0, 22.0), "monocyte": Estimate(2.0, 1.0, 4.0)},
        of_white=Estimate(0.8, 0.6, 0.9),
        of_lymphoid=Estimate(None, None, None),
        notes=("Two readers agree.",),
    )
    with read_session(make(tmp_path / "s.db")) as reader:
        facts = session_facts(reader)
    text = text_of(result(facts, EMPTY, reviewed))
    assert "machine share 95 % interval after review 95 % interval" in text
    assert "20 15 to 22" in text
    # The machine called none.
    assert "monocyte 0 2 1 to 4" in text
    assert "Reviewed: 12 of 25 cells, by ana, ben. Two readers agree." in text
    assert "after review" not in text_of(result(facts, EMPTY, None))
