"""The desk: what a review of a session says, beside a run that goes on, for two readers, and of bad input."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest
from sessions import record, summary

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.results import Decision, Prediction
from edgeleuk.review import ReviewDesk
from edgeleuk.review.desk import word
from edgeleuk.review.state import state_text
from edgeleuk.session import create_session
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from pathlib import Path

    from outcome import Call

DOUBT = Prediction(Decision.UNCERTAIN, 0.5, "probability between 0.4 and 0.6")
SURE, NORMAL = Prediction(Decision.BLAST, 0.99), Prediction(Decision.NORMAL, 0.01)
CELLS = (SURE, SURE, NORMAL, NORMAL, NORMAL, NORMAL, DOUBT, DOUBT)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "night.db"
    with create_session(path, {"camera": "test://"}) as writer:
        for number, prediction in enumerate(CELLS, start=1):
            record(writer, number, prediction)
        writer.finish(summary(path))
    return path


def say(desk: ReviewDesk, reader: str, labels: dict[int, str], *, is_drawn: bool = True) -> None:
    taken = len(desk.own(reader))
    desk.record(
        [
            word(track, label, reader, f"{reader}-{taken + turn}", is_drawn=is_drawn)
            for turn, (track, label) in enumerate(labels.items())
        ]
    )


def test_nothing_is_known_before_anybody_looked(session: Path) -> None:
    with ReviewDesk(session) as desk:
        state = desk.state()
        assert [cell.track for cell in desk.queue("A")][:2] in ([7, 8], [8, 7])
    assert (state.cells, state.reviewed, state.asked, state.left, state.readers) == (8, 0, 8, 8, ())
    machine = {one.name: one.machine for one in state.counts.names}
    assert machine == {"blast": 2, "lymphocyte": 4, "uncertain": 2}
    assert all(one.reviewed.estimate is None for one in state.counts.names)
    assert "no number nobody looked at a random cell of: " in state_text(state)


def test_all_cells_looked_at(session: Path) -> None:
    truth = {1: "blast", 2: "normal", 3: "normal", 4: "normal", 5: "blast", 6: "IG", 7: "blast", 8: "smudge"}
    with ReviewDesk(session) as desk:
        say(desk, "A", {cell.track: truth[cell.track] for cell in desk.queue("A")})
        state = desk.state()
        assert desk.queue("A") == []
        assert len(desk.queue("B")) == 8
    found = {
        one.name: (one.reviewed.estimate, one.reviewed.low, one.reviewed.high) for one in state.counts.names
    }
    assert found == {
        "blast": (3, 3, 3), "lymphocyte": (3, 3, 3), "immature granulocyte": (1, 1, 1), "smudge": (1, 1, 1),
        "uncertain": (0, 0, 0),
    }  # fmt: skip
    assert state.counts.blasts_of_white_cells.machine == pytest.approx(2 / 6)
    share = state.counts.blasts_of_white_cells.reviewed
    assert share.share == share.low == share.high == pytest.approx(3 / 7)
    assert state.counts.called_otherwise.reviewed.share == pytest.approx(3 / 6)
    assert (state.reviewed, state.left) == (8, 0)


def test_some_drawn_cells_tell_of_the_others(session: Path) -> None:
    with ReviewDesk(session) as desk:
        tracks = [cell.track for cell in desk.queue("A")]
        say(desk, "A", dict.fromkeys(tracks[:5], "normal"))
        state = desk.state()
    assert state.counts.names[0].reviewed.estimate == 0
    assert state.counts.names[0].reviewed.high == 2
    assert {(one.why.value, one.called): one.drawn for one in state.strata} == {
        ("uncertain", "uncertain"): 2, ("sample", "blast"): 1, ("sample", "lymphocyte"): 2,
    }  # fmt: skip


def test_two_readers_contradict_one_another(session: Path) -> None:
    with ReviewDesk(session) as one, ReviewDesk(session) as other:
        say(one, "A", {7: "blast", 8: "band", 1: "blast"})
        say(other, "B", {7: "normal", 8: "uncertain", 1: "blast"})
        state = one.state()
        assert state == other.state()
    (conflict,) = state.conflicts
    assert (conflict.cell, conflict.labels) == ("7", {"A": "blast", "B": "normal"})
    (agreement,) = state.agreements
    assert (agreement.people, agreement.cells, agreement.observed) == (("A", "B"), 2, 0.5)
    text = state_text(state)
    assert "differ    cell 7: blast (A), normal (B)" in text
    assert "reader    B: 3 cells" in text
    assert verify_session(session).broken is None


def test_an_undone_word_comes_again(session: Path) -> None:
    with ReviewDesk(session) as desk:
        first = desk.queue("A")[0].track
        say(desk, "A", {first: "blast"})
        assert desk.queue("A", limit=1)[0].track != first
        desk.undo("A", "u-1", desk.own("A")[-1].token)
        assert desk.queue("A", limit=1)[0].track == first
        assert desk.state().reviewed == 0


def test_a_run_adds_cells(tmp_path: Path) -> None:
    path = tmp_path / "night.db"
    with create_session(path, {"camera": "test://"}) as writer:
        record(writer, 1, SURE)
        with ReviewDesk(path) as desk:
            assert desk.state().cells == 1
            say(desk, "A", {1: "blast"})
            for number in range(2, 5):
                record(writer, number, NORMAL)
            assert {cell.track for cell in desk.queue("A")} == {2, 3, 4}
            assert desk.state().counts.names[1].machine == 3
    assert verify_session(path).broken is None


@pytest.mark.parametrize(
    ("track", "label", "reader", "sentence"),
    [
        (99, "band", "A", "night.db has no such cell: got 99"),
        (1, "zebra", "A", "the label is unknown: got 'zebra'"),
        (1, "band", "  ", "the name of the reader cannot be kept"),
    ],
)
def test_words_that_cannot_be(session: Path, track: int, label: str, reader: str, sentence: str) -> None:
    with ReviewDesk(session) as desk, pytest.raises(UsageError, match=sentence):
        desk.record([word(track, label, reader, "t-1", is_drawn=True)])


def test_a_cell_that_is_not_there(session: Path) -> None:
    with ReviewDesk(session) as desk, pytest.raises(UsageError, match="has no such cell: got 99"):
        desk.call(99)


def test_a_damaged_session(session: Path) -> None:
    with sqlite3.connect(session) as connection:
        connection.execute("UPDATE cells SET probability = 0.1 WHERE track = 3")
    connection.close()
    with pytest.raises(SessionError, match="frame 3 is not as it was recorded"):
        ReviewDesk(session)


def test_a_cell_without_a_picture_is_not_shown_and_not_forgotten(session: Path, tmp_path: Path) -> None:
    path = tmp_path / "full.db"
    with create_session(path, {"camera": "test://"}) as writer:
        record(writer, 1, SURE)
        writer._pictures = False
        writer._guard = type(writer._guard)(pictures_bytes=1 << 62, stop_bytes=0)
        record(writer, 2, SURE)
    with ReviewDesk(path) as desk:
        assert [cell.track for cell in desk.queue("A")] == [1]
        say(desk, "A", {1: "blast"})
        found = desk.state().counts.names[0].reviewed
        assert found.reason == "nobody looked at a random cell of: blast (no picture) (1 cells)"
        say(desk, "A", {2: "blast"}, is_drawn=False)
        assert desk.state().counts.names[0].reviewed.estimate == 2


def test_the_command_says_it(edgeleuk: Call, session: Path) -> None:
    with ReviewDesk(session) as desk:
        say(desk, "A", {7: "blast"})
    told = edgeleuk("review", session)
    assert (told.code, told.out.splitlines()[1]) == (0, "reviewed  1; 7 of the 8 that are asked for are left")
    facts = json.loads(edgeleuk("review", session, "--json").out)
    assert (facts["reviewed"], facts["readers"]) == (1, [{"reader": "A", "cells": 1}])


def test_a_state_is_read_where_nothing_may_be_written(session: Path) -> None:
    with ReviewDesk(session) as desk:
        say(desk, "A", {7: "blast"})
    before = session.read_bytes()
    with ReviewDesk(session, writes=False) as desk:
        assert desk.state().reviewed == 1
        with pytest.raises(SessionError, match="cannot be opened: got attempt to write a readonly database"):
            say(desk, "B", {7: "band"})
    assert session.read_bytes() == before
    assert list(session.parent.iterdir()) == [session]
