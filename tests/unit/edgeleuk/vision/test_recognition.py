from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.vision import recognition
from edgeleuk.vision.recognition import FieldIndex, Spots
from edgeleuk.vision.registration import Texture

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]


def plane(seed: int, side: int = 480) -> Bytes:
    noise = np.random.default_rng(seed).normal(0, 1, (side, side)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def spots(picture: Bytes, x: int = 60, y: int = 60, noise: float = 0.0) -> Spots:
    fine = picture[y : y + 240, x : x + 320].astype(np.float32)
    fine += np.random.default_rng(x + y).normal(0, noise, fine.shape)
    return Spots.of(Texture(np.clip(fine, 0, 255).astype(np.uint8), (960, 1280)))


def test_the_same_field_is_proposed_first() -> None:
    index = FieldIndex(100)
    for number in range(50):
        index.add(number, spots(plane(number)))
    for number in (0, 17, 49):
        best, *others = index.proposals(spots(plane(number), noise=4.0), 5)
        assert best.number == number
        assert best.shift == pytest.approx((0, 0), abs=1)
        assert all(other.votes < best.votes / 3 for other in others)


@pytest.mark.parametrize(("x", "y"), [(100, 60), (20, 90), (140, 120)])
def test_a_moved_field_is_proposed_with_its_shift(x: int, y: int) -> None:
    index = FieldIndex(100)
    for number in range(20):
        index.add(number, spots(plane(number)))
    best = index.proposals(spots(plane(7), x, y, noise=3.0), 5)[0]
    assert best.number == 7
    # What lies at a place of the new field lay so much further before.
    assert best.shift == pytest.approx((x - 60, y - 60), abs=2)


def test_nothing_is_proposed_that_was_never_seen() -> None:
    index = FieldIndex(100)
    assert index.proposals(spots(plane(1)), 5) == []
    for number in range(20):
        index.add(number, spots(plane(number)))
    assert index.proposals(spots(plane(77)), 5) == []


def test_the_oldest_fields_are_forgotten_first() -> None:
    index = FieldIndex(10)
    for number in range(35):
        index.add(number, spots(plane(number)))
    assert index.proposals(spots(plane(34)), 1)[0].number == 34
    assert index.proposals(spots(plane(28)), 1)[0].number == 28
    assert index.proposals(spots(plane(3)), 1) == []


def test_spots_that_are_everywhere_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "_LONGEST_CHAIN", 5)
    index = FieldIndex(100)
    for number in range(40):
        index.add(number, spots(plane(1)))
    slots, own = index._like(spots(plane(1)))
    assert len(slots) == len(own) <= 5 * 3 * len(spots(plane(1)).places)


@pytest.mark.parametrize("shape", [(1, 1), (5, 320), (30, 40), (240, 320)])
def test_textures_of_any_size_are_taken(shape: tuple[int, int]) -> None:
    found = Spots.of(Texture(np.full(shape, 128, np.uint8), (960, 1280)))
    assert len(found.places) == len(found.codes) == 0
    index = FieldIndex(3)
    index.add(0, found)
    assert index.proposals(found, 3) == []
