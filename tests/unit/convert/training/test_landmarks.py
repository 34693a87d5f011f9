"""A few landmarks in a few directions answer as all that taught a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.bundle.heads import HAND_CRAFTED
from edgeleuk.errors import UsageError
from edgeleuk_convert.teaching.kernels import fitted_by_landmarks, standard_of
from edgeleuk_convert.training.landmarks import principal_directions, reduced, telling_directions
from edgeleuk_convert.training.plan import TrainingSettings
from edgeleuk_convert.training.support_vectors import fit_support

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

WIDTH, CELLS = 12, 240
FROZEN = "efficientnet-lite0-frozen"


def drawn(seed: int, cells: int = CELLS, classes: int = 2) -> tuple[npt.NDArray[np.float32], Floats]:
    """Return features, most of them in a few directions, and the class of each cell as 0 and 1."""
    rng = np.random.default_rng(seed)
    truth = np.arange(cells) % classes
    spread = (
        np.geomspace(3, 0.3, WIDTH) * np.linalg.qr(np.random.default_rng(9).normal(size=(WIDTH, WIDTH)))[0]
    )
    features = rng.normal(size=(cells, WIDTH)) @ spread.T + truth[:, None]
    return features.astype(np.float32), np.eye(classes)[truth]


def error(landmarks: int, directions: int) -> float:
    """Return how far, on cells that nobody saw, landmarks are from the support vectors they stand for."""
    features, targets = drawn(0)
    support = fit_support(features, targets[:, 1] > 0, np.ones(CELLS))
    other, _ = drawn(1)
    found = reduced(support, features, landmarks, directions=directions, ridge=1e-9).log_odds(other)
    return float(np.sqrt(np.mean((found - support.log_odds(other)) ** 2)))


class TestReduced:
    def test_all_landmarks_in_all_directions_answer_as_the_support_vectors(self) -> None:
        features, targets = drawn(0)
        spread = fit_support(features, targets[:, 1] > 0, np.ones(CELLS)).log_odds(drawn(1)[0]).std()
        assert error(CELLS, WIDTH) < 0.03 * spread

    def test_the_more_landmarks_and_directions_the_nearer(self) -> None:
        assert error(CELLS, WIDTH) < error(60, WIDTH) < error(10, WIDTH)
        assert error(CELLS, WIDTH) < error(CELLS, 8) < error(CELLS, 2)

    def test_it_holds_as_few_numbers_as_it_says(self) -> None:
        features, targets = drawn(0)
        found = fit_support(features, targets[:, 1] > 0, np.ones(CELLS), landmarks=30)
        assert found.projection is not None
        assert (found.projection.shape, found.vectors.shape) == ((WIDTH, WIDTH), (30, WIDTH))

    def test_there_are_no_more_landmarks_than_cells(self) -> None:
        features, targets = drawn(0, 20)
        found = fit_support(features, targets[:, 1] > 0, np.ones(20), landmarks=1000)
        assert len(found.vectors) == 20

    def test_the_same_cells_give_the_same_landmarks(self) -> None:
        features, targets = drawn(0)
        one, two = (fit_support(features, targets[:, 1] > 0, np.ones(CELLS), landmarks=30) for _ in range(2))
        assert np.array_equal(one.vectors, two.vectors)
        assert np.array_equal(one.weights, two.weights)


class TestDirections:
    @given(st.integers(0, 1000), st.integers(1, WIDTH))
    def test_principal_ones_are_of_length_1_and_hold_the_most(self, seed: int, count: int) -> None:
        z = drawn(seed)[0].astype(np.float64)
        found = principal_directions(z, np.ones(CELLS), count)
        assert found.shape == (WIDTH, count)
        assert found.T @ found == pytest.approx(np.eye(count), abs=1e-9)
        any_other = np.linalg.qr(np.random.default_rng(seed).normal(size=(WIDTH, count)))[0]
        assert ((z @ found) ** 2).sum() >= ((z @ any_other) ** 2).sum() - 1e-6

    @given(st.integers(0, 1000), st.integers(2, WIDTH))
    def test_telling_ones_keep_the_mean_square(self, seed: int, count: int) -> None:
        features, targets = drawn(seed, classes=3)
        z = features.astype(np.float64)
        along = z @ telling_directions(z, targets, np.ones(CELLS), count)
        assert (along**2).sum() == pytest.approx((z**2).sum())

    def test_telling_ones_see_what_parts_the_classes_and_spreads_little(self) -> None:
        rng = np.random.default_rng(0)
        truth = np.arange(CELLS) % 2
        z = rng.normal(size=(CELLS, WIDTH)) * np.append(np.full(WIDTH - 1, 3.0), 0.1)
        z[:, -1] += truth - 0.5
        weights, targets = np.ones(CELLS), np.eye(2)[truth]
        told = {
            name: abs(np.corrcoef(z @ found[:, 0], truth)[0, 1])
            for name, found in (
                ("principal", principal_directions(z, weights, 1)),
                ("telling", telling_directions(z, targets, weights, 1)),
            )
        }
        assert told["telling"] > 2 * told["principal"]


def test_a_head_of_a_few_landmarks_tells_the_kinds_apart() -> None:
    rng = np.random.default_rng(2)
    truth = np.arange(300) % 3
    cells = rng.normal(size=(300, WIDTH + HAND_CRAFTED)) + 4 * np.eye(WIDTH + HAND_CRAFTED)[truth]
    standard, weights = standard_of(cells[:200]), np.ones(200)
    head = fitted_by_landmarks(
        standard.of(cells[:200]), np.eye(3)[truth[:200]], weights, standard, np.arange(20),
        gamma=0.5, ridge=0.1, directions=4,
    )  # fmt: skip
    assert head.vectors.shape == (20, 4)
    features = WIDTH + HAND_CRAFTED
    assert head.parameters == 2 * features + 4 * features + 20 * 4 + 20 * 3 + 3 + 1
    assert head.features == WIDTH
    assert np.mean(head.answer(cells[200:]).scores.argmax(axis=1) == truth[200:]) > 0.9


def test_only_a_network_that_is_taken_as_it_is_has_landmarks() -> None:
    assert TrainingSettings(FROZEN, landmarks=256).flat()["landmarks"] == 256
    with pytest.raises(UsageError, match="landmarks is out of range"):
        TrainingSettings("resnet", landmarks=256)
