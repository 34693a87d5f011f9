"""Labels of a session's cells: beside the session, which is not touched; nobody's word is lost."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from labelled import crop, entry, file_of, said
from sessions import CROP, record

from edgeleuk.errors import DataRefusedError, IntegrityError, LabelsError, SessionError, UsageError
from edgeleuk.labels import read_labels
from edgeleuk.labels.contents import SessionSource, identity_of
from edgeleuk.labels.file import open_labels
from edgeleuk.labels.merging import merge_labels
from edgeleuk.labels.sessions import Origin, label_cells, labels_beside, session_labels
from edgeleuk.labels.spool import Spool
from edgeleuk.session import create_session
from edgeleuk.session.reader import read_session
from edgeleuk.session.reviewed_series import open_for_review
from edgeleuk.session.reviews import Word

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = Origin()


def recorded(path: Path, cells: int = 3, **settings: object) -> Path:
    writer = create_session(path, {"camera": "test://", "bundle_sha256": "ab" * 32, **settings})
    for number in range(cells):
        record(writer, number)
    writer.close()
    return path


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return recorded(tmp_path / "night.db")


def test_the_label_lies_beside_the_session_with_the_pixels(night: Path) -> None:
    before = night.read_bytes()
    label_cells(night, [(1, said("monocyte"))], Origin("S7", "P1"))
    assert night.read_bytes() == before
    assert labels_beside(night).name == "night.labels"
    (cell,) = read_labels([labels_beside(night)])
    assert (cell.label, cell.slide, cell.subject) == ("monocyte", "S7", "P1")
    assert cell.identity == identity_of(CROP)
    with read_session(night) as reader:
        end = reader.chain_end()
        assert reader.verify().head == end
    assert cell.sources == (
        SessionSource(session="night.db", chain_end=end, cell=1, bundle_sha256="ab" * 32),
    )


def test_corrections_and_second_readers_lose_nothing(night: Path) -> None:
    for word in (said("band"), said("smudge"), said("band", "B")):
        label_cells(night, [(0, word)], NOTHING)
    (kept,) = open_labels(labels_beside(night)).cells
    assert [(each.by, each.label) for each in kept.statements] == [
        ("A", "band"), ("B", "band"), ("A", "smudge")
    ]  # fmt: skip
    # Said at the same moment by the clock, the later word still counts.
    assert kept.newest["A"].label == "smudge"
    assert kept.slide == "night"


def test_a_clock_that_went_back_does_not_undo_a_correction(night: Path) -> None:
    label_cells(night, [(0, said("band", after_min=60))], NOTHING)
    label_cells(night, [(0, said("smudge", after_min=-60))], NOTHING)
    assert open_labels(labels_beside(night)).cells[0].newest["A"].label == "smudge"


def test_slide_and_subject_hold_for_all_cells_of_the_session(tmp_path: Path) -> None:
    night = tmp_path / "night.db"
    writer = create_session(night, {"camera": "test://"})
    record(writer, 0)
    writer.close()
    label_cells(night, [(0, said("band"))], NOTHING)
    label_cells(night, [(0, said("band", "B"))], Origin("S3", "P9"))
    label_cells(night, [(0, said("band", "C"))], NOTHING)
    (kept,) = open_labels(labels_beside(night)).cells
    assert (kept.slide, kept.subject, len(kept.statements)) == ("S3", "P9", 3)


def test_labels_while_the_session_goes_on(tmp_path: Path) -> None:
    night = tmp_path / "night.db"
    writer = create_session(night, {"camera": "test://"})
    record(writer, 0)
    label_cells(night, [(0, said("band"))], NOTHING)
    record(writer, 1)
    label_cells(night, [(1, said("band", "B"))], NOTHING)
    writer.close()
    own = session_labels(night).cells
    assert {source.cell for source in own[0].sources if isinstance(source, SessionSource)} == {0, 1}


def without_crop(session: Path, *cells: int) -> None:
    with sqlite3.connect(session) as connection:
        connection.executemany("UPDATE cells SET crop = NULL WHERE track = ?", [(cell,) for cell in cells])
    connection.close()


def test_cells_without_pixels_are_refused_by_name(night: Path) -> None:
    without_crop(night, 0, 2)
    words = [(cell, said("band")) for cell in (0, 1, 2)]
    with pytest.raises(DataRefusedError, match=r"cells 0, 2 of night.db have no pixels; label cells whose"):
        label_cells(night, words, NOTHING)
    assert not labels_beside(night).exists()
    with pytest.raises(DataRefusedError, match=r"cell 2 of night.db has no pixels"):
        label_cells(night, words[2:], NOTHING)
    with pytest.raises(UsageError, match=r"no such cell: got 9"):
        label_cells(night, [(9, said("band"))], NOTHING)


def test_labels_of_pixels_that_the_session_lacks(night: Path) -> None:
    label_cells(night, [(1, said("band"))], NOTHING)
    without_crop(night, 1)
    with pytest.raises(DataRefusedError, match=r"cell 1 of night.db shows other pixels than those that were"):
        session_labels(night)


def test_another_bundle(night: Path) -> None:
    for ask in (
        lambda: label_cells(night, [(1, said("band"))], NOTHING, bundle="default"),
        lambda: session_labels(night, bundle="default"),
    ):
        with pytest.raises(IntegrityError, match=r"another bundle judged night.db: got default.edgeleuk"):
            ask()
    assert not labels_beside(night).exists()


def test_another_session_of_the_same_name(night: Path, tmp_path: Path) -> None:
    label_cells(night, [(1, said("band"))], NOTHING)
    for file in tmp_path.glob("night.db*"):
        file.unlink()
    recorded(night, camera="other://")
    with pytest.raises(LabelsError, match=r"night.labels is about another session called night.db"):
        label_cells(night, [(1, said("band"))], NOTHING)


def test_a_session_that_nobody_labelled(night: Path) -> None:
    with pytest.raises(DataRefusedError, match=r"nobody labelled a cell of night.db: got no night.labels"):
        session_labels(night)
    with Spool() as spool:
        file_of(labels_beside(night), spool, [entry(spool, 1, of=crop(1))])
    with pytest.raises(DataRefusedError, match=r"got no word on its cells in night.labels"):
        session_labels(night)


def test_what_lies_beside_is_not_written_over(night: Path) -> None:
    labels_beside(night).write_text("my notes")
    with pytest.raises(UsageError, match="edgeleuk did not make it"):
        label_cells(night, [(1, said("band"))], NOTHING)
    assert labels_beside(night).read_text() == "my notes"


class TestReviews:
    """Labels straight from a session: what stands in it, and what was said beside it, each word once."""

    @pytest.fixture
    def reviewed(self, night: Path) -> Path:
        with open_for_review(night) as desk:
            desk.record(
                [
                    Word(1, "band", "A", "a-1"),
                    Word(1, "monocyte", "A", "a-2"),
                    Word(2, "uncertain", "A", "a-3"),
                    Word(2, "band", "A", "a-4"),
                ]
            )
            desk.undo("A", "u-1", "a-4")
        return night

    def test_the_words_that_stand_are_labels(self, reviewed: Path) -> None:
        (entry,) = session_labels(reviewed).cells
        assert [(said.by, said.label) for said in entry.statements] == [("A", "band"), ("A", "monocyte")]
        assert entry.newest["A"].label == "monocyte"
        assert (entry.slide, entry.subject) == ("night", None)
        (cell,) = read_labels([reviewed])
        assert (cell.label, identity_of(cell.crop)) == ("monocyte", entry.identity)

    def test_the_source_names_the_reviews_own_link(self, reviewed: Path) -> None:
        def source() -> object:
            return session_labels(reviewed).cells[0].sources

        before = source()
        with open_for_review(reviewed) as desk:
            desk.record([Word(1, "blast", "B", "b-1")])
        assert source() == before

    def test_words_in_it_and_beside_it_are_one(self, reviewed: Path, tmp_path: Path) -> None:
        once = session_labels(reviewed)
        merge_labels([reviewed], tmp_path / "all.labels")
        label_cells(reviewed, [(1, said("lymphocyte", "B"))], Origin("S8", "P1"))
        both = session_labels(reviewed).cells
        assert [(entry.slide, entry.subject, len(entry.statements)) for entry in both] == [("S8", "P1", 3)]
        # What was handed on before is not doubled where it comes back.
        again = merge_labels([reviewed, tmp_path / "all.labels", reviewed], tmp_path / "more.labels")
        assert sum(len(entry.statements) for entry in again) == 3 + len(once.cells[0].statements)
        assert merge_labels([tmp_path / "all.labels", reviewed], tmp_path / "same.labels") == again

    def test_changed_reviews_are_no_labels(self, reviewed: Path) -> None:
        connection = sqlite3.connect(reviewed)
        connection.execute("UPDATE reviews SET label = 'blast'")
        connection.commit()
        connection.close()
        with pytest.raises(SessionError, match="review 1 is not as it was recorded"):
            session_labels(reviewed)
