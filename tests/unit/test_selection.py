"""The calibration set: balanced, seeded, independent of order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.errors import DataRefusedError
from edgeleuk_calibration.selection import select_balanced


@dataclass(frozen=True)
class Image:
    path: Path
    label: str | None
    subject: str | None
    group: str | None
    sha256: str


def images(per_subject: dict[str, int], label: str) -> list[Image]:
    return [
        Image(Path(f"{subject}_{n}.bmp"), label, subject, subject, f"{label}{subject}{n}")
        for subject, count in per_subject.items()
        for n in range(count)
    ]


MANY = images({"1": 200, "2": 10, "3": 3}, "blast") + images({"H1": 50, "H2": 50}, "normal")


@given(st.randoms(use_true_random=False), st.integers(0, 5))
def test_the_order_of_the_files_does_not_matter(random: object, seed: int) -> None:
    shuffled = list(MANY)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert select_balanced(shuffled, 60, seed=seed) == select_balanced(MANY, 60, seed=seed)


def test_classes_are_alike_and_small_subjects_are_not_drowned() -> None:
    chosen = select_balanced(MANY, 60, seed=1).images
    assert Counter(image.label for image in chosen) == {"blast": 30, "normal": 30}
    assert Counter(image.subject for image in chosen) == {"1": 17, "2": 10, "3": 3, "H1": 15, "H2": 15}


def test_another_seed_chooses_others() -> None:
    assert select_balanced(MANY, 60, seed=1).images != select_balanced(MANY, 60, seed=2).images


def test_an_image_is_taken_once_however_often_it_is_there() -> None:
    chosen = select_balanced(MANY + MANY, 400, seed=0).images
    assert len({image.sha256 for image in chosen}) == len(chosen)


def test_the_card_names_every_image() -> None:
    chosen = select_balanced(MANY, 20, seed=3)
    assert [entry.sha256 for entry in chosen.card.images] == [image.sha256 for image in chosen.images]
    assert (chosen.card.seed, chosen.card.strategy) == (3, "balanced")


def test_one_class_is_refused() -> None:
    with pytest.raises(DataRefusedError, match="must show both classes: got blast"):
        select_balanced(images({"1": 50}, "blast"), 20)


def test_too_few_are_refused() -> None:
    with pytest.raises(DataRefusedError, match="too few images to calibrate with: got 4, allowed 10 or more"):
        select_balanced(images({"1": 2}, "blast") + images({"H": 2}, "normal"), 20)
