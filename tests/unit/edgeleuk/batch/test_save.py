"""`classify --save`: what was found stands on the picture, and nothing of somebody else's is drawn over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.reading import read_bundle
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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("field.png", "cell.png", "--save", "one.png"), "names one file for 2 pictures"),
        (("field.png", "--save", "one.jpg"), "wrong ending of --save: got one.jpg"),
        (("field.png", "other/field.png", "--save", "drawn"), "two pictures have one name"),
        (("field.png", "--save", "field.png"), "field.png exists, and edgeleuk did not make it"),
        (("field.png", "--save", "cell.png/drawn"), "cannot be made"),
        ((".", "--save", "drawn"), "--save draws single files"),
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
