"""No name, reason or reply rules the terminal, a spreadsheet or a page; and none is lost."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sqlite3
import sys
import zipfile
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.writing import write_bundle
from edgeleuk.errors import UsageError
from edgeleuk.io import console
from edgeleuk.io.console import printable, recordable
from edgeleuk.io.images import write_png
from edgeleuk.session.export import cell_of

if TYPE_CHECKING:
    from pathlib import Path

    from outcome import Call

ESCAPES = "\x1b]0;PWNED\x07\x1b[31m\x9b2J\r\u202e\nerror: a line of its own"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
NAMES = st.text(st.characters(codec=None, categories=("L", "N", "P", "S", "Z", "C")), max_size=30)


@given(NAMES)
def test_what_is_printed_is_one_line_without_anything_that_is_obeyed(name: str) -> None:
    shown = printable(name)
    assert OBEYED.search(shown) is None
    assert "\n" not in shown
    assert "\t" not in shown
    shown.encode()


@pytest.mark.parametrize("name", ["plain.jpg", "Präparat 3 (1).jpg", "血液.png", "a\\b.jpg", "100%.png"])
def test_ordinary_names_are_shown_and_recorded_as_they_are(name: str) -> None:
    assert printable(name) == recordable(name) == name


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_no_two_names_are_recorded_alike(names: list[str]) -> None:
    one, other = map(recordable, names)
    assert one != other


@pytest.mark.parametrize(
    ("one", "other"), [("\udce4", "\\xe4"), ("\\xe4", "\\\\xe4"), ("\\\udce4", "\udce4")]
)
def test_names_that_look_like_recorded_ones(one: str, other: str) -> None:
    assert recordable(one) != recordable(other)


@given(st.dictionaries(NAMES, st.one_of(NAMES, st.floats(), st.lists(NAMES)), max_size=4))
def test_json_is_lossless_and_obeyed_by_nobody(value: dict[str, object]) -> None:
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        with console.escaped_output():
            console.print_json(value)
        text = sys.stdout.getvalue()
    finally:
        sys.stdout = before
    assert OBEYED.search(text) is None
    found = json.loads(text)
    for name, one in value.items():
        if isinstance(one, float):
            assert found[name] == one if np.isfinite(one) else found[name] is None
        else:
            assert found[name] == one


def test_lines_and_tabs_stay_where_text_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with console.escaped_output():
        sys.stdout.write("one\n\ttwo \x1b[31m\x9b\udce4\n")
        console.data_output().write("three,\x1b\n")
    console.set_voice()
    try:
        console.say("four \x1b[2J")
    finally:
        console.lose_voice()
    assert capsys.readouterr() == ("one\n\ttwo \\x1b[31m\\x9b\\xe4\nthree,\x1b\n", "four \\x1b[2J\n")


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "\r=1", " =1", "\uff1d1", "\x00=1", " \t\n@x")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_cell_is_no_formula(text: str) -> None:
    assert cell_of(text) == f"'{text}"


@given(st.text(max_size=20))
def test_taking_the_apostrophe_away_gives_a_cell_back(text: str) -> None:
    cell = cell_of(text)
    assert (cell[1:] if cell[:1] == "'" else cell) == text
    assert cell.lstrip()[:1] not in tuple("=+-@")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A picture of nothing, with a name that no terminal should see, of bytes that are no UTF-8."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    path = folder / (os.fsdecode(b"Pr\xe4parat") + ESCAPES.replace("/", "") + ".png")
    write_png(tmp_path / "plain.png", np.full((120, 160, 3), (235, 225, 230), np.uint8))
    (tmp_path / "plain.png").rename(path)
    return path


def test_commands_on_a_hostile_name(edgeleuk: Call, hostile: Path) -> None:
    calls = (
        ("segment", hostile, "--out", "masks"),
        ("classify", hostile),
        ("classify", hostile.parent, "--out", "o.jsonl"),
        ("classify", hostile.with_name("none" + ESCAPES)),
        ("inspect", hostile),
    )
    for words in calls:
        outcome = edgeleuk(*words)
        assert OBEYED.search(outcome.out + outcome.err) is None, outcome
        assert "\nerror: a line of its own" not in outcome.out + outcome.err
        assert "Traceback" not in outcome.err
    found = json.loads(edgeleuk("segment", hostile, "--out", "masks", "--json").out)
    assert found["files"][0]["file"] == str(hostile)
    found = json.loads(edgeleuk("classify", hostile, "--json").out)
    assert found["files"][0]["file"] == str(hostile)


def test_a_session_of_hostile_names(edgeleuk: Call, hostile: Path) -> None:
    session = hostile.parent / f"{ESCAPES.replace('/', '')}.db"
    ran = edgeleuk("run", "--camera", f"dir://{hostile.parent}", "--session", session, "--no-quality-check")
    written = edgeleuk("report", session, "--html", "page.html"), edgeleuk("verify", session)
    for outcome in (
        ran,
        *written,
        edgeleuk("export", session, "--csv"),
        edgeleuk("export", session, "--jsonl"),
    ):
        assert (outcome.code, "Traceback" in outcome.err) == (0, False), outcome
        if outcome.out[:5] != "track":
            assert OBEYED.search(outcome.out + outcome.err) is None, outcome
        assert "\nerror: a line of its own" not in outcome.out + outcome.err
    assert OBEYED.search((hostile.parents[1] / "page.html").read_text()) is None
    with contextlib.closing(sqlite3.connect(session)) as connection:
        (source,) = connection.execute("SELECT source FROM frames").fetchone()
    assert source == f"dir://{recordable(str(hostile))}"


def test_a_bundle_of_a_hostile_name_and_hostile_words(edgeleuk: Call, tmp_path: Path) -> None:
    shipped = read_bundle("default")
    provenance = msgspec.structs.replace(shipped.manifest.provenance, architecture=ESCAPES)
    manifest = msgspec.structs.replace(
        shipped.manifest,
        name=ESCAPES,
        licence=ESCAPES,
        data_citation=ESCAPES,
        intended_use=ESCAPES,
        provenance=provenance,
    )
    path = tmp_path / f"{ESCAPES}.edgeleuk"
    write_bundle(path, manifest, shipped.members)
    outcome = edgeleuk("inspect", path)
    assert outcome.code == 0
    assert OBEYED.search(outcome.out) is None
    assert "\nerror: a line of its own" not in outcome.out
    assert json.loads(edgeleuk("inspect", path, "--json").out)["manifest"]["name"] == ESCAPES
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(ESCAPES, b"")
    refused = edgeleuk("inspect", path)
    assert (refused.code, len(refused.err.splitlines())) == (7, 1)
    assert OBEYED.search(refused.err) is None


@pytest.mark.parametrize("words", [(), ("camera",), ("stage",), ("mcu",)])
def test_without_a_command_there_is_help(edgeleuk: Call, words: tuple[str, ...]) -> None:
    outcome = edgeleuk(*words)
    assert outcome.code == 2
    assert "Usage:" in outcome.out + outcome.err
    assert "Traceback" not in outcome.err


def test_an_error_is_one_line(edgeleuk: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise UsageError(f"no such thing as {ESCAPES}")

    monkeypatch.setattr("edgeleuk.bundle.reading.read_bundle", fail)
    outcome = edgeleuk("inspect")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert OBEYED.search(outcome.err) is None
