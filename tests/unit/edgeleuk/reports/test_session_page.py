"""The page of a session: what stands on it, for whoever files it."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import pytest
from sessions import of_kinds, record, summary

from edgeleuk.bundle.reading import DEFAULT_PATH, read_bundle
from edgeleuk.commands.report import PageOptions, page_of, write_page
from edgeleuk.counting.confusion import Confusion, KnownKinds
from edgeleuk.errors import SessionError, UsageError
from edgeleuk.session import create_session
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from pathlib import Path

    from outcome import Call

SETTINGS = {"camera": "test://", "bundle_sha256": "ab" * 32, "bundle": "b", "edgeleuk": "0.1.0"}
# No output may say what a count means for anybody.
CLINICAL = re.compile(
    r"diagnosis|leuk(a)?emia\b|patient|abnormal|malignan|consistent with|suggest", re.IGNORECASE
)


def make(path: Path, *, cells: int = 40, settings: dict[str, object] | None = None, end: bool = True) -> Path:
    with create_session(path, SETTINGS | (settings or {})) as session:
        for number, prediction in enumerate(of_kinds(cells)):
            record(session, number, prediction)
        session.record_rejected(1000, 1e9 + 1000, "test://", "out of focus")
        session.record_event("gap", "nothing for 2 s", 1e9 + 50)
        if end:
            session.finish(summary(path))
    return path


def text_of(page: str) -> str:
    """Return what a person reads, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


class TestResult:
    def test_the_counts_stand_in_a_table_with_their_intervals(self, tmp_path: Path) -> None:
        text = text_of(page_of(make(tmp_path / "s.db")))
        assert "30 white cells by kind; simultaneous 95 % intervals" in text
        for kind in ("blast", "lymphocyte", "neutrophil"):
            assert f"{kind} 10 33.3% 14.7% to 56.7%" in text
        assert "In no share: 10 uncertain." in text
        assert "of cells called blast or normal 20 50.0%" in text
        assert "of white cells 30 33.3%" in text

    def test_who_and_what_are_the_last_that_were_said(self, tmp_path: Path) -> None:
        path = make(tmp_path / "s.db", end=False)
        assert "Sample not recorded Operator not recorded" in text_of(page_of(path))
        from edgeleuk.session.open import resume_session

        with resume_session(path, SETTINGS) as session:
            for kind, text in (
                ("sample", "S-1"),
                ("sample", "S-2 <b>"),
                ("operator", "ana"),
                ("note", "thick"),
            ):
                session.record_event(kind, text)
        text = text_of(page_of(path))
        assert "Sample S-2 &lt;b&gt; Operator ana" in text
        assert "Notes 1, at the end of the evidence" in text
        assert "Notes thick" in text

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({}, "None was set; the share of blasts is known to +-"),
            ({"until_points": 90.0}, "Asked for +-90 points of the share of blasts: reached"),
            ({"until_points": 5.0}, "Asked for +-5 points of the share of blasts: NOT reached"),
            (
                {"until_points": 90.0, "until_of": "white"},
                "Asked for +-90 points of the share of blasts among white cells: reached",
            ),
            ({"known_kinds": {"asked": ["neutrophil"]}}, "more white cells would give +-5 points"),
            ({"until_cells": 40}, "Asked for 40 cells: reached, there are 40"),
            ({"until_cells": 41}, "Asked for 41 cells: NOT reached, there are 40"),
        ],
    )
    def test_the_stopping_rule(self, tmp_path: Path, settings: dict[str, object], says: str) -> None:
        assert says in text_of(page_of(make(tmp_path / "s.db", settings=settings)))

    def test_the_differential_corrected_or_why_it_is_not(self, tmp_path: Path) -> None:
        kinds = ("blast", "lymphocyte", "neutrophil")
        rows = tuple(tuple(90.0 if a == b else 5.0 for b in kinds) for a in kinds)
        for name, confusion, says in (
            (
                "a.db",
                Confusion(kinds, rows, (40.0,) * 3),
                "95 % interval corrected",
            ),
            ("b.db", "why <not>", "Not corrected for confusions of kinds: why &lt;not&gt;."),
        ):
            known = KnownKinds(("neutrophil",), confusion).to_json()
            text = text_of(page_of(make(tmp_path / name, settings={"known_kinds": known})))
            assert says in text
            assert ("Not corrected" in text) is isinstance(confusion, str)

    def test_nothing_is_interpreted_and_nothing_comes_from_elsewhere(self, tmp_path: Path) -> None:
        page = page_of(make(tmp_path / "s.db"))
        assert page.count(RESEARCH_USE) >= 3
        assert not CLINICAL.search(page.replace(RESEARCH_USE, ""))
        assert not re.search(r"<script|https?://|<link|@import|url\(", page)

    @pytest.mark.parametrize(("cells", "end"), [(0, True), (0, False), (3, False)])
    def test_an_empty_session_and_one_that_was_cut_off(self, tmp_path: Path, cells: int, end: bool) -> None:
        text = text_of(page_of(make(tmp_path / "s.db", cells=cells, end=end)))
        assert ("NOT FINISHED: cut off, or still being recorded" in text) is not end
        if not cells:
            assert "No shares: no cell was counted." in text

    def test_a_changed_session_says_so_at_the_top(self, edgeleuk: Call, tmp_path: Path) -> None:
        path = make(tmp_path / "s.db")
        connection = sqlite3.connect(path)
        connection.execute("UPDATE cells SET decision = 'normal' WHERE track = 0")
        connection.commit()
        connection.close()
        assert edgeleuk("report", path, "--html", "s.html").code == 7
        text = text_of((tmp_path / "s.html").read_text())
        assert "THE RECORD WAS CHANGED Result" in text
        assert "CHANGED after 1 links: frame 0" in text


class TestEvidence:
    def test_what_was_rejected_and_why(self, tmp_path: Path) -> None:
        text = text_of(page_of(make(tmp_path / "s.db")))
        assert "out of focus 1" in text
        assert "probability 10 the network cannot decide" in text
        assert "2001-09-09T01:47:30 gap: nothing for 2 s" in text
        assert "The session keeps no fields" in text

    def test_every_cell_is_shown_where_they_are_few(self, tmp_path: Path) -> None:
        page = page_of(make(tmp_path / "s.db"))
        assert "40 of 40 cells are shown" in page
        assert page.count('src="data:image/jpeg;base64,') == 40
        assert "probability between &lt;0.5 &amp; 0.7&gt;" in page

    def test_the_most_certain_and_the_doubtful_where_they_are_many(self, tmp_path: Path) -> None:
        page = page_of(make(tmp_path / "s.db"), PageOptions(pictures=4))
        assert "16 of 40 cells are shown, at most 4 of each name" in page
        blasts = page[page.index("Called blast: 10") : page.index("Called neutrophil: 10")]
        assert "the 2 most certain of 10" in blasts
        # The most certain first, and the most doubtful first.
        assert re.findall(r"cell (\d+), P", blasts) == ["0", "4", "36", "32"]

    def test_without_pictures(self, tmp_path: Path) -> None:
        path = make(tmp_path / "s.db")
        assert '<h2 class="page">Gallery' not in page_of(path, PageOptions(pictures=0))
        connection = sqlite3.connect(path)
        connection.execute("UPDATE cells SET crop = NULL")
        connection.commit()
        connection.close()
        assert page_of(path).count("<p>no picture</p>") == 40


class TestModel:
    def test_the_shipped_bundle_is_found_by_its_hash(self, tmp_path: Path) -> None:
        sha256 = read_bundle(DEFAULT_PATH).sha256
        page = page_of(make(tmp_path / "s.db", settings={"bundle_sha256": sha256}))
        for words in ("Model card", "Validation on held-out cells", "Line of descent", "Hashes of its files"):
            assert f"<h3>{words}" in page
        assert "weighted F1" in page
        assert sha256 in page

    def test_another_bundle_is_not_at_hand(self, tmp_path: Path) -> None:
        page = page_of(make(tmp_path / "s.db"))
        assert "The bundle&#x27;s file is not at hand" in page
        assert "Model card" not in page
        assert "ab" * 32 in page

    def test_a_bundle_that_is_not_the_sessions(self, tmp_path: Path) -> None:
        with pytest.raises(
            UsageError, match=r"another than the session's: got .*, allowed abababab.*; pass the"
        ):
            page_of(make(tmp_path / "s.db"), PageOptions(bundle="default"))


class TestRefusals:
    @pytest.mark.parametrize(
        ("out", "says"),
        [
            ("nowhere/s.html", "cannot be written"),
            ("s.db", "overwrite the session"),
            (".", "cannot be written: got no plain file"),
        ],
    )
    @pytest.mark.parametrize("flag", ["--html", "--pdf"])
    def test_where_it_cannot_be_written(
        self, edgeleuk: Call, tmp_path: Path, flag: str, out: str, says: str
    ) -> None:
        path = make(tmp_path / "s.db", cells=0)
        outcome = edgeleuk("report", path, flag, tmp_path / out)
        assert outcome.code == 2
        assert re.search(f"{says}.*choose another {flag}", outcome.err)

    def test_a_file_of_somebody_else(self, tmp_path: Path) -> None:
        (tmp_path / "s.html").write_text("mine")
        with pytest.raises(UsageError, match="edgeleuk did not make it"):
            write_page(make(tmp_path / "s.db", cells=0), tmp_path / "s.html")

    def test_a_damaged_session_leaves_nothing(self, tmp_path: Path) -> None:
        path = make(tmp_path / "s.db")
        data = bytearray(path.read_bytes())
        data[4096:40000] = bytes(len(data[4096:40000]))
        path.write_bytes(data)
        with pytest.raises(SessionError, match="is damaged"):
            write_page(path, tmp_path / "s.html")
        assert not (tmp_path / "s.html").exists()

    @pytest.mark.parametrize("pictures", [-1, 501])
    def test_pictures_out_of_range(self, pictures: int) -> None:
        with pytest.raises(UsageError, match=r"pictures is out of range: got .*, allowed 0 to 500"):
            PageOptions(pictures=pictures)

    def test_neither_one_session_nor_two(self, edgeleuk: Call) -> None:
        outcome = edgeleuk("report")
        assert (outcome.code, "one session, or --compare with two" in outcome.err) == (2, True)
