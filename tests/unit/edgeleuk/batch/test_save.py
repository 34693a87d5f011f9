"""`classify --save`: what was found stands on the picture, and nothing of somebody else's is drawn over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.errors import UsageError
from edgeleuk.io.images import read_image
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision.annotate import COLOURS, EXCLUDED_COLOUR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Outcome


@pytest.fixture
def field(tmp_path: Path) -> Path:
    file = tmp_path / "field.png"
    cv2.imwrite(str(file), VirtualSlide(seed=5).field(0, 0).pixels[:, :, ::-1])
    return file


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    file = tmp_path / "cell.png"
    cv2.imwrite(str(file), golden_crops_of(read_bundle("default"))[0].pixels[:, :, ::-1])
    return file


def test_each_cell_of_a_field_is_outlined(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, field: Path
) -> None:
    outcome = edgeleuk("classify", field, "--save", "out.png", "--json")
    assert outcome.code == 0, outcome.err
    assert "picture   out.png" in outcome.err
    before, after = read_image(field), read_image(tmp_path / "out.png")
    height, width = before.shape[:2]
    assert after.shape[1] == width
    assert after.shape[0] > height
    (entry,) = json.loads(outcome.out)["files"]
    assert entry["cells"]
    colours = [*COLOURS.values(), EXCLUDED_COLOUR]
    for found in entry["cells"]:
        x, y, w, h = found["box"]
        drawn = after[y : y + h, x : x + w].reshape(-1, 3)
        assert any((drawn == colour).all(axis=1).any() for colour in colours)
    # Outlines and words, not a picture of another field.
    assert np.mean((after[:height] == before).all(axis=2)) > 0.8
    # The same command draws over its own picture.
    assert edgeleuk("classify", field, "--save", "out.png").code == 0


def test_several_pictures_go_into_a_folder(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, field: Path, cell: Path
) -> None:
    assert edgeleuk("classify", field, cell, "--save", "drawn").code == 0
    assert sorted(file.name for file in (tmp_path / "drawn").iterdir()) == [
        "cell_annotated.png",
        "field_annotated.png",
    ]
    drawn = read_image(tmp_path / "drawn" / "cell_annotated.png")
    assert drawn.shape[0] > read_image(cell).shape[0]


def test_pictures_of_folders_keep_apart(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, field: Path, cell: Path
) -> None:
    night = tmp_path / "night"
    (night / "b").mkdir(parents=True)
    for name in ("a.png", "b/a.png", "b/two.png", "b/two.bmp"):
        cv2.imwrite(str(night / name), cv2.imread(str(cell)))
    cv2.imwrite(str(night / "grey.png"), np.full((480, 640, 3), 180, np.uint8))
    (night / "broken.png").write_bytes(b"no picture")
    field.rename(night / "field.png")
    outcome = edgeleuk("classify", "night", "--save", "drawn", "--json", "--runtime", "litert")
    assert outcome.code == 0, outcome.err
    drawn = tmp_path / "drawn"
    assert sorted(str(file.relative_to(drawn)) for file in drawn.rglob("*.png")) == [
        "a_annotated.png",
        "b/a_annotated.png",
        "b/two.bmp_annotated.png",
        "b/two.png_annotated.png",
        "field_annotated.png",
    ]
    assert "pictures  5 in drawn" in outcome.err
    assert read_image(drawn / "a_annotated.png").shape[0] > read_image(cell).shape[0]
    # The same numbers as without pictures, by several processes.
    plain = json.loads(edgeleuk("classify", "night", "--json", "--runtime", "litert").out)
    assert json.loads(outcome.out) == plain
    assert plain["pictures"] == {"found": 7, "classified": 7, "resumed": 0, "unreadable": 1}
    # And a single file of the folder is drawn as before.
    edgeleuk("classify", "night/field.png", "--save", "one.png", "--runtime", "litert")
    assert (tmp_path / "one.png").read_bytes() == (drawn / "field_annotated.png").read_bytes()


def test_two_folders_may_not_share_a_name(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, cell: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), cv2.imread(str(cell)))
    outcome = edgeleuk("classify", "one", "two", "--save", "drawn")
    assert (outcome.code, outcome.out) == (2, "")
    assert "two pictures have one name" in outcome.err


def test_a_picture_that_cannot_be_written_ends_the_command(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "night").mkdir()
    cell.rename(tmp_path / "night" / "a.png")

    def fail(*_: object) -> None:
        raise UsageError("drawn/a_annotated.png cannot be written", got="No space left on device")

    monkeypatch.setattr("edgeleuk.batch.save.write_png", fail)
    outcome = edgeleuk("classify", "night", "--save", "drawn", "--runtime", "litert")
    assert (outcome.code, outcome.out) == (2, "")
    assert "No space left on device" in outcome.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("field.png", "cell.png", "--save", "one.png"), "names one file for 2 pictures"),
        (("field.png", "--save", "one.jpg"), "wrong ending of --save: got one.jpg"),
        (("field.png", "other/field.png", "--save", "drawn"), "two pictures have one name"),
        (("field.png", "--save", "field.png"), "field.png exists, and edgeleuk did not make it"),
        (("field.png", "--save", "cell.png/drawn"), "cannot be made"),
        ((".", "--save", "drawn"), "lies in a folder that is classified"),
        ((".", "--save", "../drawn", "--jobs", "2"), "--save draws in one process"),
        ((".", "--save", "../drawn", "--out", "a.jsonl"), "--save draws in one process"),
    ],
)
def test_a_bad_place_is_refused_before_anything_is_judged(
    edgeleuk: Callable[..., Outcome], field: Path, cell: Path, words: tuple[str, ...], sentence: str
) -> None:
    before = field.read_bytes(), cell.read_bytes()
    outcome = edgeleuk("classify", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert sentence in outcome.err
    assert (field.read_bytes(), cell.read_bytes()) == before
