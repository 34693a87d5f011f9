"""The page's routes on a real socket: 500 cells, two readers, a server that ends and begins, bad input."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from reviewing import OF_FRAME, many_cells, review_served

from edgeleuk.session.reader import read_session
from edgeleuk.session.reviews import reviews_of
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reviewing import Page

CELLS = 500
TRUE = ("blast", "normal", "smudge", "band")


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return many_cells(tmp_path / "night.db", 2 * OF_FRAME)


@pytest.fixture
def page(session: Path) -> Iterator[Page]:
    with review_served(session) as served:
        yield served


def said(track: int, label: str, token: str, reader: str = "A", **more: object) -> dict[str, object]:
    return {"reader": reader, "words": [{"track": track, "label": label, "token": token, **more}]}


def test_500_cells_are_reviewed(tmp_path: Path) -> None:
    session = many_cells(tmp_path / "night.db", CELLS)
    number = 0
    with review_served(session) as page:
        while cells := page.json("/api/review/queue?reader=A&limit=50")["cells"]:
            assert page.get(f"/api/review/cells/{cells[0]['track']}/picture")[0] == 200
            for cell in cells:
                number += 1
                word = said(cell["track"], TRUE[cell["track"] % 4], f"t{number}", is_drawn=True)
                status, recorded = page.post("/api/review/labels", word)
                assert (status, recorded[0]["track"]) == (200, cell["track"])
        state = page.json("/api/review/state?reader=A")
    assert (state["cells"], state["reviewed"], state["left"]) == (CELLS, CELLS, 0)
    counts = {one["name"]: one for one in state["counts"]["names"]}
    assert counts["blast"]["machine"] == 125
    reviewed = {name: (one["reviewed"]["low"], one["reviewed"]["high"]) for name, one in counts.items()}
    quarter = (125, 125)
    assert reviewed == {
        "blast": quarter,
        "lymphocyte": quarter,
        "smudge": quarter,
        "band": quarter,
        "uncertain": (0, 0),
    }
    found = verify_session(session)
    assert (found.broken, found.links) == (None, 1 + CELLS // OF_FRAME + CELLS)


def test_a_server_that_ends_and_begins_doubles_nothing(session: Path) -> None:
    words = [said(track, "band", f"t{track}") for track in range(6)]
    with review_served(session) as page:
        for word in words[:4]:
            page.post("/api/review/labels", word)
    # The page had no answer to the last two of these, and sends all that it kept again.
    with review_served(session) as page:
        answers = [page.post("/api/review/labels", word) for word in words[2:]]
        assert [status for status, _ in answers] == [200] * 4
        assert len(page.json("/api/review/own?reader=A")) == 6
    with read_session(session) as reader:
        assert [review.token for review, _ in reviews_of(reader)] == [f"t{track}" for track in range(6)]


def test_a_second_reader_is_blind_until_the_own_word(page: Page) -> None:
    page.post("/api/review/labels", said(3, "blast", "a1"))
    before = page.json("/api/review/cells/3?reader=B")
    assert (before["own"], before["others"], before["machine"]) == (None, {}, None)
    assert page.json("/api/review/state?reader=B")["conflicts"] == []
    page.post("/api/review/labels", said(3, "normal", "b1", "B"))
    after = page.json("/api/review/cells/3?reader=B")
    assert (after["own"], after["others"], after["machine"]["called"]) == (
        "normal",
        {"A": "blast"},
        "uncertain",
    )
    (conflict,) = page.json("/api/review/state?reader=B")["conflicts"]
    assert conflict["labels"] == {"A": "blast", "B": "normal"}
    assert page.json("/api/review/state")["conflicts"] == []


def test_a_word_is_taken_back(page: Page) -> None:
    page.post("/api/review/labels", said(3, "IG", "a1"))
    assert page.json("/api/review/own?reader=A")[0]["label"] == "immature granulocyte"
    for _ in range(2):
        status, undone = page.post("/api/review/undo", {"reader": "A", "token": "u1", "of": "a1"})
        assert (status, undone["label"], undone["track"]) == (200, None, 3)
    assert page.json("/api/review/own?reader=A") == []


def test_pictures(page: Page) -> None:
    status, png = page.get("/api/review/cells/7/picture")
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (status, pixels.shape) == (200, (32, 32, 4))
    assert page.get("/api/review/cells/7/context") == (
        404,
        b'{"detail":"nothing of the field around the cell was kept"}',
    )
    assert page.json("/api/review/cells/7/neighbours")["reason"] == "none"
    assert page.get("/review")[1].startswith(b"<!DOCTYPE html>")
    assert page.get("/")[0] == 307
    about = page.json("/api/review/about")
    assert ("uncertain" in about["words"], about["has_live"]) == (True, False)


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (said(999, "band", "t"), 409, "night.db has no such cell: got 999"),
        (said(1, "zebra", "t"), 409, "the label is unknown: got 'zebra'"),
        (said(1, "band", "t", "   "), 409, "the name of the reader cannot be kept"),
        (said(1, "band", "../t"), 409, "the token of a review is none"),
        (said(1, "band", "used"), 409, "the token stands for another review already"),
        ({"reader": "A", "words": []}, 422, "List should have at least 1 item"),
        ({"reader": "A" * 300, "words": []}, 422, "String should have at most 200 characters"),
        ({"reader": "A"}, 422, "Field required"),
    ],
)
def test_bad_words(page: Page, body: object, status: int, sentence: str) -> None:
    page.post("/api/review/labels", said(0, "smudge", "used"))
    found, answer = page.post("/api/review/labels", body)
    assert found == status
    assert sentence in str(answer["detail"])
    assert len(page.json("/api/review/own?reader=A")) == 1


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/api/review/cells/999", b"night.db has no such cell: got 999"),
        ("/api/review/cells/999/picture", b"night.db has no such cell"),
        ("/api/review/cells/999/context", b"night.db has no such cell"),
        ("/api/review/cells/999/neighbours", b"night.db has no such cell"),
        ("/api/review/queue?reader=A&limit=1000", b"that part of the queue cannot be told"),
        ("/api/review/queue?reader=%20", b"the name of the reader cannot be kept"),
    ],
)
def test_bad_questions(page: Page, path: str, sentence: bytes) -> None:
    status, answer = page.get(path)
    assert status == 409
    assert sentence in answer


def test_a_session_that_is_locked_takes_the_word_later(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeleuk.session.reviews.PATIENCE_S", 0.01)
    with review_served(session) as page:
        holder = sqlite3.connect(session, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        status, answer = page.post("/api/review/labels", said(1, "band", "t1"))
        assert (status, "is in use by another program" in answer["detail"]) == (503, True)
        holder.execute("ROLLBACK")
        holder.close()
        assert page.post("/api/review/labels", said(1, "band", "t1"))[0] == 200


def test_a_session_that_is_gone_takes_none(session: Path) -> None:
    with review_served(session) as page:
        session.rename(session.with_name("away.db"))
        status, answer = page.post("/api/review/labels", said(1, "band", "t1"))
        assert (status, "was deleted, moved" in answer["detail"]) == (503, True)
