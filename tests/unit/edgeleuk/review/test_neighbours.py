"""Neighbours: the nearest by features, as far as they are made, and never twice the work."""

from __future__ import annotations

from concurrent.futures import wait
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.reference import decode_reference
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk.errors import UsageError
from edgeleuk.frames import CellCrop
from edgeleuk.review.neighbours import Neighbours, bundle_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.review.neighbours import Found


def crop(track: int) -> CellCrop | None:
    """Return a cell whose grey level is its number; none of the last."""
    if track == 99:
        return None
    return CellCrop(np.full((8, 8, 3), track, np.uint8), np.full((8, 8), 255, np.uint8), 10.0)


class Made:
    """Features that are a cell's number twice, and how often they were asked for."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, of: CellCrop) -> np.ndarray:
        self.times += 1
        return np.full(2, float(of.pixels[0, 0, 0]))


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.fixture
def neighbours(made: Made) -> Iterator[Neighbours]:
    known = np.array([[10.0, 10.0], [30.0, 30.0], [50.0, 50.0]])
    with Neighbours(made, crop, known, [("band", "one"), ("blast", "two"), ("normal", "one")]) as found:
        yield found


def settled(neighbours: Neighbours, track: int, said: dict[int, str]) -> Found:
    """Ask, wait until what was asked for is made, and ask again."""
    neighbours.of(track, said)
    wait([neighbours._aside.submit(int)])
    return neighbours.of(track, said)


def test_the_nearest_come_first(neighbours: Neighbours, made: Made) -> None:
    found = settled(neighbours, 12, {11: "monocyte", 29: "smudge", 12: "band"})
    assert [(one.label, one.track, one.source) for one in found.neighbours] == [
        ("monocyte", 11, None), ("band", None, "one"), ("smudge", 29, None), ("blast", None, "two"),
        ("normal", None, "one"),
    ]  # fmt: skip
    spread = np.std([10, 30, 50])
    assert found.neighbours[0].distance == pytest.approx(1 / spread)
    assert (found.pending, found.reason) == (0, None)
    settled(neighbours, 12, {11: "monocyte", 29: "smudge"})
    assert made.times == 3


def test_what_is_not_made_yet_is_waited_for(made: Made) -> None:
    with Neighbours(made, crop) as neighbours:
        assert neighbours.of(5, {6: "band"})[:2] == ([], 2)
        assert [one.track for one in settled(neighbours, 5, {6: "band"}).neighbours] == [6]


def test_a_cell_without_a_picture(neighbours: Neighbours) -> None:
    found = settled(neighbours, 99, {11: "band"})
    assert found.neighbours == []
    assert found.reason == "the cell has no picture that features could be made of"
    assert settled(neighbours, 12, {99: "band", 11: "band"}).neighbours[0].track == 11


def test_the_shipped_bundle_tells_of_its_own_cells() -> None:
    bundle = read_bundle("default")
    with Neighbours.of_bundle(bundle, crop_of_cell) as neighbours:
        found = settled(neighbours, 1, {2: "smudge"})
    labels = set(decode_reference(bundle.members["reference.npz"]).label_texts)
    assert {one.label for one in found.neighbours} <= labels | {"smudge"}
    assert any(one.source is not None for one in found.neighbours)


def crop_of_cell(track: int) -> CellCrop:
    pixels = np.random.default_rng(track).integers(60, 200, (90, 90, 3), np.uint8)
    return CellCrop(pixels, np.full((90, 90), 255, np.uint8), 10.0)


def test_features_are_what_heads_judge() -> None:
    bundle = read_bundle("default")
    with open_classifier(bundle) as classifier:
        rows = classifier.features([crop_of_cell(1), crop_of_cell(2)])
        head = classifier.rules.kind_head or classifier.rules.blast_head
    assert head is not None
    assert rows.shape == (2, head.mean.size)
    assert np.isfinite(rows).all()


def test_another_bundle() -> None:
    with pytest.raises(UsageError, match="another bundle judged the session"):
        bundle_of({"bundle": "other.edgeleuk", "bundle_sha256": "ab" * 32}, "default")
