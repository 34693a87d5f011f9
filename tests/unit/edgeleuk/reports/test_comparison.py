"""Two sessions of one slide, side by side."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from sessions import record

from edgeleuk.commands.compare_sessions import compare_sessions
from edgeleuk.counting.difference import share_difference
from edgeleuk.errors import DataRefusedError, SessionError, UsageError
from edgeleuk.reports.comparison import comparison_page, comparison_text
from edgeleuk.results import Decision, Prediction
from edgeleuk.results.kinds import Kind
from edgeleuk.session import create_session
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from pathlib import Path

    from outcome import Call

BLAST, NORMAL = Prediction(Decision.BLAST, 0.9), Prediction(Decision.NORMAL, 0.1)
NEUTROPHIL = Prediction(Decision.OTHER, 0.5, None, False, Kind.NEUTROPHIL, 0.9)
FOREIGN = Prediction(Decision.UNCERTAIN, 0.9, "colour: red/blue 1.3 is outside", foreign=True)


def make(path: Path, *cells: tuple[Prediction, int], sample: str | None = None, **settings: object) -> Path:
    facts = {"camera": "test://", "bundle": "b", "bundle_sha256": "ab" * 32, "simulated": False}
    with create_session(path, facts | settings) as session:
        number = 0
        for prediction, many in cells:
            for _ in range(many):
                record(session, number, prediction)
                number += 1
        if sample is not None:
            session.record_event("sample", sample)
    return path


def test_the_shares_and_their_difference(tmp_path: Path) -> None:
    a = make(tmp_path / "a.db", (BLAST, 12), (NORMAL, 8), (NEUTROPHIL, 20), sample="S-1")
    b = make(tmp_path / "b.db", (BLAST, 4), (NORMAL, 16), (NEUTROPHIL, 20), sample=" S-1")
    found = compare_sessions(a, b)
    assert list(found.kinds) == ["blast", "neutrophil", "lymphocyte"]
    blast = found.kinds["blast"]
    assert (blast.a.count, blast.n_a, blast.b.count, blast.n_b) == (12, 40, 4, 40)
    assert (blast.difference, blast.low, blast.high) == share_difference(12, 40, 4, 40)
    lymphoid = found.blasts_of_lymphoid_cells
    assert (lymphoid.a.share, lymphoid.b.share, lymphoid.differs) == (0.6, 0.2, True)
    # The other way round nothing but the sign changes.
    back = compare_sessions(b, a).kinds["blast"]
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-blast.difference, -blast.high, -blast.low)
    )
    assert found.notes == []


def test_it_is_said_in_lines_as_json_and_on_a_page(edgeleuk: Call, tmp_path: Path) -> None:
    a = make(tmp_path / "a.db", (BLAST, 12), (NORMAL, 8))
    b = make(tmp_path / "b.db", (BLAST, 4), (NORMAL, 16), bundle_sha256="cd" * 32)
    outcome = edgeleuk("report", "--compare", a, b, "--html", "ab.html")
    assert outcome.code == 0
    assert re.search(r"blast +12 +60.0% +4 +20.0% +-40.0 +-\d+\.\d to -\d+\.\d \*", outcome.out)
    for words in ("taken on trust", "two bundles", "nothing pairs a cell", RESEARCH_USE):
        assert words in outcome.out
    page = (tmp_path / "ab.html").read_text()
    assert not re.search(r"<script|https?://", page)
    for words in ("Two sessions side by side", "-40.0", "What is assumed", "two bundles"):
        assert words in page
    facts = json.loads(edgeleuk("report", "--compare", a, b, "--json").out)
    assert facts["kinds"]["blast"]["difference"] == pytest.approx(-0.4)
    assert facts["of"] == "all cells"


def test_without_shares_there_is_no_difference(tmp_path: Path) -> None:
    a = make(tmp_path / "a.db", (BLAST, 12), (FOREIGN, 12))
    b = make(tmp_path / "b.db", (BLAST, 4), (NORMAL, 16))
    found = compare_sessions(a, b)
    assert {of.difference for of in found.kinds.values()} == {None}
    text = comparison_text(found)
    assert "no shares: 12 of 24 cells are unlike the training cells" in text
    assert re.search(r"blast +12 +12 of 24 +4 +4 of 20\n", text)
    assert "<svg" not in comparison_page(found)


@pytest.mark.parametrize(
    ("settings_a", "settings_b", "says"),
    [
        ({"sample": "S-1"}, {"sample": "S-2"}, "of two slides: got S-1 and S-2; compare two sessions of one"),
        ({}, {"simulated": True}, "one session is simulated and the other is not; compare two sessions"),
    ],
)
def test_two_slides(
    tmp_path: Path, settings_a: dict[str, object], settings_b: dict[str, object], says: str
) -> None:
    a = make(tmp_path / "a.db", (BLAST, 2), **settings_a)
    b = make(tmp_path / "b.db", (BLAST, 2), **settings_b)
    with pytest.raises(DataRefusedError, match=says):
        compare_sessions(a, b)


def test_an_empty_session(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a.db", (BLAST, 2)), make(tmp_path / "b.db")
    with pytest.raises(DataRefusedError, match=r"b\.db has no cells to compare; record more of the slide"):
        compare_sessions(a, b)


def test_one_session_twice(tmp_path: Path) -> None:
    a = make(tmp_path / "a.db", (BLAST, 2))
    (tmp_path / "copy.db").write_bytes(a.read_bytes())
    with pytest.raises(UsageError, match=r"both sessions are one: got .*copy\.db; name two sessions"):
        compare_sessions(a, tmp_path / "copy.db")


def test_no_session(tmp_path: Path) -> None:
    (tmp_path / "b.db").write_text("mine")
    with pytest.raises(SessionError, match="is no session of edgeleuk"):
        compare_sessions(make(tmp_path / "a.db", (BLAST, 2)), tmp_path / "b.db")


@pytest.mark.parametrize("flag", ["--bundle", "--control", "--pictures"])
def test_what_is_of_one_session_s_page(edgeleuk: Call, flag: str) -> None:
    outcome = edgeleuk("report", "--compare", "a.db", "b.db", flag, "1")
    assert (outcome.code, "are of one session's page" in outcome.err) == (2, True)
