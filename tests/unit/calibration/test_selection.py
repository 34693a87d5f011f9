"""The calibration set: seeded, independent of order, by three strategies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk_calibration.selection import STRATEGIES, k_centre, select, select_balanced

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


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


def numbers(of: Sequence[Image]) -> npt.NDArray[np.float64]:
    """Return a feature that files differ in, one on another scale, and one that says nothing."""
    last = np.array([int(image.path.stem.split("_")[1]) for image in of], np.float64)
    return np.column_stack([last, 1e4 * np.sin(last), np.full(len(of), 7.0)])


@given(st.randoms(use_true_random=False), st.integers(0, 5), st.sampled_from(STRATEGIES))
def test_the_order_of_the_files_does_not_matter(random: object, seed: int, strategy: str) -> None:
    shuffled = list(MANY)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (select(of, 60, strategy=strategy, seed=seed, features=numbers) for of in (shuffled, MANY))
    assert one == other
    assert len(one.images) == 60
    assert len({image.sha256 for image in one.images}) == 60


def test_classes_are_alike_and_small_subjects_are_not_drowned() -> None:
    chosen = select_balanced(MANY, 60, seed=1).images
    assert Counter(image.label for image in chosen) == {"blast": 30, "normal": 30}
    assert Counter(image.subject for image in chosen) == {"1": 17, "2": 10, "3": 3, "H1": 15, "H2": 15}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_another_seed_chooses_others(strategy: str) -> None:
    one, other = (select(MANY, 60, strategy=strategy, seed=seed, features=numbers) for seed in (1, 2))
    assert one.images != other.images


def test_random_images_come_as_they_are_there() -> None:
    chosen = select(MANY, 150, strategy="random", seed=0).images
    blasts = sum(image.label == "blast" for image in chosen)
    # 213 of 313; four standard deviations of a draw without putting back.
    assert abs(blasts - 150 * 213 / 313) < 4 * 4.1


def test_diverse_images_reach_the_ends_that_balanced_ones_miss() -> None:
    chosen = select(MANY, 20, strategy="diverse", seed=3, features=numbers).images
    assert Counter(image.label for image in chosen) == {"blast": 10, "normal": 10}
    blasts = numbers([image for image in chosen if image.label == "blast"])[:, 0]
    assert blasts.min() < 10
    assert blasts.max() > 190


@given(st.integers(4, 9), st.integers(2, 3), st.integers(0, 200))
def test_k_centre_is_within_twice_of_the_best(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 6, (n, 2)).astype(np.float64)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)

    def radius(centres: Sequence[int]) -> float:
        return float(distances[:, list(centres)].min(axis=1).max())

    chosen = k_centre(points, k, int(rng.integers(n)))
    assert len(set(chosen)) == k
    assert radius(chosen) <= 2 * min(radius(of) for of in combinations(range(n), k)) + 1e-9


def test_an_image_is_taken_once_however_often_it_is_there() -> None:
    chosen = select_balanced(MANY + MANY, 400, seed=0).images
    assert len({image.sha256 for image in chosen}) == len(chosen)


def test_the_card_names_every_image() -> None:
    chosen = select(MANY, 20, seed=3, folder=Path())
    assert [entry.sha256 for entry in chosen.card.images] == [image.sha256 for image in chosen.images]
    assert [entry.name for entry in chosen.card.images] == [image.path.name for image in chosen.images]
    assert [entry.subject for entry in chosen.card.images] == [image.subject for image in chosen.images]
    assert (chosen.card.seed, chosen.card.strategy, chosen.card.count) == (3, "balanced", 20)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_class_is_refused(strategy: str) -> None:
    with pytest.raises(DataRefusedError, match="must show both classes: got blast"):
        select(images({"1": 50}, "blast"), 20, strategy=strategy, features=numbers)


def test_too_few_are_refused() -> None:
    with pytest.raises(DataRefusedError, match="too few images to calibrate with: got 4, allowed 10 or more"):
        select_balanced(images({"1": 2}, "blast") + images({"H": 2}, "normal"), 20)


def test_unknown_strategies_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown calibration strategy: got best, allowed balanced, random"):
        select(MANY, 20, strategy="best")
    with pytest.raises(UsageError, match="needs features"):
        select(MANY, 20, strategy="diverse")
