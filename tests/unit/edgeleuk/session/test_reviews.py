"""Reviews in a session: words that stand, are corrected and taken back, each with its link in the chain."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from earlier_tables import TABLES_OF
from sessions import record, summary

from edgeleuk.errors import EdgeleukError, SessionError, UsageError
from edgeleuk.session import create_session, read_session, resume_session
from edgeleuk.session.reviewed_series import open_for_review
from edgeleuk.session.reviews import Word, reviews_of, standing
from edgeleuk.session.verify import verification_text, verify_session

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {"camera": "test://"}


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "night.db"
    with create_session(path, SETTINGS) as writer:
        for number in range(1, 6):
            record(writer, number)
        writer.finish(summary(path))
    return path


def word(track: int, label: str, token: str, reader: str = "A", **more: object) -> Word:
    return Word(track, label, reader, token, **more)  # type: ignore[arg-type]


def test_words_stand_beside_the_machines_call(session: Path) -> None:
    with read_session(session) as reader:
        before = list(reader.rows("cells"))
    with open_for_review(session) as desk:
        first, second = desk.record([word(1, "monocyte", "a-1", note="vacuoles"), word(2, "blast", "a-2")])
        (corrected,) = desk.record([word(1, "blast", "a-3", is_drawn=True)])
        undone = desk.undo("A", "a-4", "a-2")
    assert (first.label, first.note) == ("monocyte", "vacuoles")
    assert (second.is_drawn, corrected.is_drawn) == (False, True)
    assert (undone.label, undone.undoes, corrected.at > first.at) == (None, second.number, True)
    with read_session(session) as reader:
        said = [review for review, _ in reviews_of(reader)]
        assert list(reader.rows("cells")) == before
        assert reader.summary is not None
    assert [(review.track, review.label) for review in standing(said)] == [(1, "monocyte"), (1, "blast")]
    found = verify_session(session)
    assert (found.broken, found.links, found.finished) == (None, 1 + 5 + 1 + 4, True)


def test_the_runs_own_end_stays(session: Path) -> None:
    before = verify_session(session)
    assert before.run_head == before.head
    with open_for_review(session) as desk:
        desk.record([word(1, "band", "a-1")])
    after = verify_session(session)
    assert (after.run_head, after.head == before.head) == (before.head, False)
    assert f"reviewed  after the run, whose own last link is {before.head}" in verification_text(after)
    assert "reviewed" not in verification_text(before)


def test_a_word_sent_twice_is_one(session: Path) -> None:
    with open_for_review(session) as desk:
        once = desk.record([word(1, "band", "a-1")])
        assert desk.record([word(1, "band", "a-1"), word(2, "band", "a-2")])[0] == once[0]
        undone = desk.undo("A", "u-1", "a-1")
        assert desk.undo("A", "u-1", "a-1") == desk.undo("A", "u-2", "a-1") == undone
        assert len(desk.reviews()) == 3
        assert [review.token for review in desk.reviews(after=1)] == ["a-2", "u-1"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"track": 99}, "no such cell: got 99"),
        ({"label": "zebra"}, "the label is unknown: got 'zebra', allowed neutrophil"),
        ({"reader": ""}, "the reader's name cannot be kept"),
        ({"reader": "A\nB"}, "the reader's name cannot be kept"),
        ({"token": "a/../b"}, "the token of a review is none"),
        ({"token": "x" * 65}, "the token of a review is none"),
        ({"note": "x" * 1001}, "the note is too long"),
        ({"token": "a-1"}, "the token stands for another review already"),
    ],
)
def test_what_cannot_be_recorded_changes_nothing(
    session: Path, said: dict[str, object], sentence: str
) -> None:
    fits: dict[str, object] = {"track": 2, "label": "band", "reader": "B", "token": "b-1"}
    with open_for_review(session) as desk:
        desk.record([word(1, "band", "a-1")])
        with pytest.raises(UsageError, match=sentence):
            desk.record([Word(**fits | {"token": "b-0"}), Word(**fits | said)])  # type: ignore[arg-type]
        assert len(desk.reviews()) == 1
    assert verify_session(session).broken is None


def test_only_ones_own_word_is_taken_back(session: Path) -> None:
    with open_for_review(session) as desk:
        desk.record([word(1, "band", "a-1")])
        for of in ("a-1", "a-9"):
            with pytest.raises(UsageError, match="there is no such review of B"):
                desk.undo("B", "b-1", of)
        with pytest.raises(UsageError, match="the token stands for another review"):
            desk.undo("A", "a-1", "a-1")


def test_a_session_that_is_gone_takes_nothing(session: Path) -> None:
    with open_for_review(session) as desk:
        session.rename(session.with_name("away.db"))
        with pytest.raises(SessionError, match="was deleted, moved, or another file put in its place"):
            desk.record([word(1, "band", "a-1")])


def test_a_session_that_another_program_holds(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeleuk.session.reviews.PATIENCE_S", 0.01)
    holder = sqlite3.connect(session, isolation_level=None)
    with open_for_review(session) as desk:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(SessionError, match="is in use by another program"):
            desk.record([word(1, "band", "a-1")])
        holder.execute("ROLLBACK")
        assert desk.record([word(1, "band", "a-1")])
    holder.close()


@pytest.mark.parametrize(
    ("touch", "named"),
    [
        ("UPDATE reviews SET label = 'blast' WHERE id = 1", "review 1 is not as it was recorded"),
        ("UPDATE reviews SET reader = 'B' WHERE id = 2", "review 2 is not as it was recorded"),
        ("DELETE FROM reviews WHERE id = 1", "review 1 is not as it was recorded"),
        (
            "INSERT INTO reviews VALUES (9, 1, 'blast', 'A', 0.0, NULL, 0, 'x', NULL)",
            "review 9 was added behind",
        ),
    ],
)
def test_a_changed_review_is_found(session: Path, touch: str, named: str) -> None:
    with open_for_review(session) as desk:
        desk.record([word(1, "band", "a-1"), word(2, "band", "a-2")])
    connection = sqlite3.connect(session)
    connection.execute(touch)
    connection.commit()
    connection.close()
    assert named in (verify_session(session).broken or "")
    with pytest.raises(SessionError, match="is not as it was recorded and cannot be reviewed"):
        open_for_review(session)


class TestARunThatGoesOn:
    """Reviews come between the records of a run, which reads the chain's end in its own transaction."""

    def test_reviews_come_in_between(self, tmp_path: Path) -> None:
        path = tmp_path / "night.db"
        with create_session(path, SETTINGS) as writer:
            record(writer, 1)
            with open_for_review(path) as desk, open_for_review(path) as other:
                for number in range(2, 6):
                    desk.record([word(number - 1, "band", f"a-{number}")])
                    other.record([word(number - 1, "blast", f"b-{number}", "B")])
                    record(writer, number)
            writer.finish(summary(path))
        found = verify_session(path)
        assert (found.broken, found.links, found.finished) == (None, 1 + 5 + 8 + 1, True)

    def test_a_run_that_is_resumed_keeps_them(self, session: Path) -> None:
        with open_for_review(session) as desk:
            desk.record([word(1, "band", "a-1")])
        with resume_session(session, SETTINGS) as writer:
            record(writer, 6)
        with read_session(session) as reader:
            assert (reader.summary, len(list(reader.rows("reviews")))) == (None, 1)
        assert verify_session(session).broken is None

    def test_a_false_review_ends_it(self, tmp_path: Path) -> None:
        path = tmp_path / "night.db"
        with create_session(path, SETTINGS) as writer:
            record(writer, 1)
            forger = sqlite3.connect(path)
            forger.execute("INSERT INTO reviews VALUES (1, 1, 'band', 'A', 0.0, NULL, 0, 'x', NULL)")
            forger.execute("INSERT INTO chain (kind, key, link) VALUES ('review', 1, x'00')")
            forger.commit()
            forger.close()
            with pytest.raises(EdgeleukError, match=r"another program changed .* review 1 is not as it was"):
                record(writer, 2)


@pytest.mark.parametrize("version", [4, 5, 6])
def test_earlier_sessions_take_reviews(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.db"
    with monkeypatch.context() as patch:
        patch.setattr("edgeleuk.session.files.SCHEMA", TABLES_OF[version])
        patch.setattr("edgeleuk.session.files.SCHEMA_VERSION", version)
        with create_session(path, SETTINGS) as writer:
            record(writer, 1)
    with read_session(path) as reader:
        assert (reader.schema, list(reader.rows("reviews"))) == (version, [])
    with open_for_review(path) as desk:
        assert desk.reviews() == []
        desk.record([word(1, "band", "a-1")])
    with resume_session(path, SETTINGS) as writer:
        record(writer, 2)
    with read_session(path) as reader:
        assert (reader.schema, [row["label"] for row in reader.rows("reviews")]) == (version, ["band"])
    found = verify_session(path)
    assert (found.broken, found.links) == (None, 5)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE reviews RENAME note TO remark")
    connection.close()
    with pytest.raises(SessionError, match="the tables are not as they were made"):
        open_for_review(path)


def test_a_session_without_typed_links_takes_none(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeleuk.session.reviewed_series.CONTINUED", (8,))
    with pytest.raises(
        SessionError, match=r"takes no reviews: got schema 7, .* label its cells with `edgeleuk"
    ):
        open_for_review(session)
