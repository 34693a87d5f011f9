"""The page as a PDF, printed by the system's own Chromium."""

from __future__ import annotations

import os
import shutil
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pypdf import PdfReader
from sessions import of_kinds, record, summary

from edgeleuk.bundle.reading import DEFAULT_PATH, read_bundle
from edgeleuk.errors import CheckFailedError, MissingDependencyError
from edgeleuk.reports.pdf import NAMES, is_our_pdf, print_page
from edgeleuk.results.kinds import Kind
from edgeleuk.review.desk import ReviewDesk, word
from edgeleuk.session import create_session
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from pathlib import Path

    from outcome import Call

OPTICS = "glass 212.27 +- 1.30 of 255, evenness 0.96 +- 0.01, sharpness 0.61 +- 0.01, 5 fields"
OTHER_KINDS = (
    Kind.NEUTROPHIL, Kind.BAND, Kind.EOSINOPHIL, Kind.BASOPHIL, Kind.MONOCYTE, Kind.IMMATURE_GRANULOCYTE,
    Kind.ERYTHROBLAST, Kind.PLATELETS, Kind.SMUDGE,
)  # fmt: skip
CHROMIUM = any(shutil.which(name) for name in NAMES)
printed_here = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")


@printed_here
def test_a_page_of_result_and_at_most_six_without_the_gallery(edgeleuk: Call, tmp_path: Path) -> None:
    path, out = tmp_path / "s.db", tmp_path / "s.pdf"
    bundle = read_bundle(DEFAULT_PATH)
    settings: dict[str, object] = {
        "camera": "test://",
        "bundle_sha256": bundle.sha256,
        "bundle": "default",
        "edgeleuk": "0",
    }
    settings |= {"until_points": 5.0, "until_cells": 500, "runtime": "litert", "precision": "int8"}
    with create_session(path, settings) as session:
        for number, prediction in enumerate(of_kinds(40)):
            kind = OTHER_KINDS[number // 4 % len(OTHER_KINDS)] if prediction.kind else None
            record(session, number, replace(prediction, kind=kind))
        for kind, text in (("sample", "S-17"), ("operator", "ana"), *[("note", "said of it " * 20)] * 9):
            session.record_event(kind, text)
        session.note("optics", OPTICS)
        session.record_event("gap", "nothing for 2 s")
        session.finish(summary(path))
    with ReviewDesk(path) as desk:
        for turn, cell in enumerate(desk.queue("ana", limit=40)):
            desk.record([word(cell.track, "blast", "ana", f"a-{turn}", is_drawn=True)])
    assert edgeleuk("report", path, "--pdf", out, "--pictures", "0").code == 0
    assert is_our_pdf(out)
    # Where two letters share one form, as ff, they are taken apart.
    pages = [unicodedata.normalize("NFKC", page.extract_text()) for page in PdfReader(out).pages]
    assert 3 <= len(pages) <= 6
    # On each page, with its number.
    assert all(RESEARCH_USE in text and f"{n} / {len(pages)}" in text for n, text in enumerate(pages, 1))
    for words in ("S-17", "Differential", "Stopping rule", "Quality"):
        assert words in pages[0]
    assert "Evidence" not in pages[0]
    assert "Evidence" in pages[1]
    # A4, to half a millimetre.
    box = PdfReader(out).pages[0].mediabox
    assert (float(box.width), float(box.height)) == pytest.approx((595.3, 841.9), abs=1.5)
    # Ours is replaced, another's is not.
    assert edgeleuk("report", path, "--pdf", out, "--pictures", "0").code == 0
    out.write_bytes(b"%PDF-1.4 mine")
    outcome = edgeleuk("report", path, "--pdf", out)
    assert (outcome.code, "edgeleuk did not make it" in outcome.err) == (2, True)


def test_without_chromium(edgeleuk: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "s.db"
    create_session(path, {"camera": "test://"}).close()
    outcome = edgeleuk("report", path, "--pdf", tmp_path / "s.pdf")
    assert outcome.code == MissingDependencyError.exit_code == 5
    assert "a PDF needs Chromium, which is not installed; install it" in outcome.err
    assert not (tmp_path / "s.pdf").exists()


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("sleep 600 & wait", "did not print the page in time: got 0.5 s"),
        ("echo 'no display' >&2; exit 1", "Chromium printed no PDF: got no display"),
        ("exit 0", "Chromium printed no PDF: got not a word"),
    ],
)
def test_a_chromium_that_does_not_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, says: str
) -> None:
    browser = tmp_path / "chromium"
    browser.write_text(f"#!/bin/sh\n{program}\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(CheckFailedError, match=says):
        print_page("<p>1</p>", timeout_s=0.5)
