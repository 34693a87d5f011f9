"""``export SESSION --coco DIR`` and ``labels import``: whole folders, refusals, and what is printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from exchanged import record_cells, round_cell, say

from edgeleuk.io.atomic import overwrite, whole_folder
from edgeleuk.labels.file import open_labels
from edgeleuk.labels.formats.exporting import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from outcome import Call

UNEXPECTED = "a cell that nobody can write"


@pytest.fixture
def night(tmp_path: Path) -> Path:
    session = record_cells(tmp_path / "night.db", [round_cell()] * 2)
    say(session, (0, "band", "A"))
    return session


@pytest.fixture
def forced() -> Iterator[None]:
    overwrite(force=True)
    yield
    overwrite(force=False)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_out_and_in_again(edgeleuk: Call, night: Path, tmp_path: Path, kind: str) -> None:
    out, back = tmp_path / "out", tmp_path / "back.labels"
    said = edgeleuk("export", night, f"--{kind}", out)
    assert (said.code, said.err) == (0, "")
    cells = 1 if kind == "labels" else 2
    assert f"{cells}, of which people called 1 something" in said.out
    assert "the crop of one cell each, as it was judged" in said.out
    # The folder says itself what it is.
    assert edgeleuk("labels", "import", out, "--out", back).code == 0
    assert open_labels(back).cells == open_labels(night.with_suffix(".labels")).cells
    assert names(tmp_path) == {"night.db", "night.labels", "out", "back.labels"}


def test_what_is_printed(edgeleuk: Call, night: Path, tmp_path: Path) -> None:
    facts = json.loads(edgeleuk("export", night, "--coco", tmp_path / "out", "--json").out)
    assert (facts["format"], facts["cells"], facts["labelled"], facts["without_picture"]) == ("coco", 2, 1, 0)
    assert "no pictures of whole fields" in facts["pictures"]
    found = json.loads(
        edgeleuk("labels", "import", tmp_path / "out", "--coco", "--out", tmp_path / "b.labels", "--json").out
    )
    assert found["labels"] == {"band": 1}
    assert found["left_out"] == {"only the machine called it something": ["annotation 2 of annotations.json"]}


def test_what_is_there_stays_there(edgeleuk: Call, night: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert edgeleuk("export", night, "--coco", out).code == 0
    before = names(out)
    again = edgeleuk("export", night, "--yolo", out)
    assert again.code == 2
    assert f"{out} holds an export already; choose another folder, or pass --force" in again.err
    assert names(out) == before
    assert edgeleuk("export", night, "--yolo", out, "--force").code == 0
    assert "data.yaml" in names(out)
    assert "annotations.json" not in names(out)
    # What others made is not even replaced by force.
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    for place, sentence in (
        (mine, "exists, and edgeleuk did not make it"),
        (mine / "thesis.txt", "is there, and no folder"),
        (tmp_path / "no" / "folder", "cannot be written: got No such file"),
    ):
        refused = edgeleuk("export", night, "--coco", place, "--force")
        assert refused.code == 2
        assert sentence in refused.err
    assert (mine / "thesis.txt").read_text() == "mine"
    assert names(tmp_path) == {"night.db", "night.labels", "out", "mine"}


def test_a_session_without_pictures(edgeleuk: Call, tmp_path: Path) -> None:
    session = record_cells(tmp_path / "bare.db", [round_cell()] * 3, kept=False)
    said = edgeleuk("export", session, "--coco", tmp_path / "out")
    assert said.code == 4
    assert "bare.db has no cell with a picture: got 3 cells without" in said.err
    nobody = edgeleuk("export", session, "--labels", tmp_path / "out")
    assert nobody.code == 4
    assert "nobody labelled a cell of bare.db" in nobody.err
    assert names(tmp_path) == {"bare.db"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--coco", "a", "--yolo", "b"), "one format has to be asked for"),
        (("--csv", "--yolo", "b"), "one format has to be asked for"),
        (("--yolo", "b", "--out", "c"), "--out belongs to --csv, --jsonl and --fhir"),
    ],
)
def test_one_format_at_a_time(edgeleuk: Call, night: Path, words: tuple[str, ...], sentence: str) -> None:
    said = edgeleuk("export", night, *words)
    assert said.code == 2
    assert sentence in said.err


def test_two_formats_of_one_file(edgeleuk: Call, night: Path) -> None:
    said = edgeleuk("labels", "import", night.parent, "--coco", "--yolo", "--out", night.parent / "b.labels")
    assert said.code == 2
    assert "a file has one format: got --coco, --yolo" in said.err


def test_an_import_that_fails_leaves_nothing(edgeleuk: Call, night: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    edgeleuk("export", night, "--coco", out)
    next((out / "images").iterdir()).unlink()
    said = edgeleuk("labels", "import", out, "--out", tmp_path / "b.labels")
    assert said.code == 4
    assert "1 picture is missing" in said.err
    assert not (tmp_path / "b.labels").exists()


@pytest.mark.usefixtures("forced")
def test_what_fails_halfway_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "before").write_text("before")

    def fail() -> None:
        with whole_folder(place, lambda _: True) as folder:
            (folder / "half").write_text("half")
            raise RuntimeError(UNEXPECTED)

    with pytest.raises(RuntimeError, match=UNEXPECTED):
        fail()
    assert names(tmp_path) == {"place"}
    assert names(place) == {"before"}
    with whole_folder(place, lambda _: True) as folder:
        (folder / "whole").write_text("whole")
    assert names(tmp_path) == {"place"}
    assert names(place) == {"whole"}
