"""A few landmarks in a few directions answer as all that taught a head."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.bundle.heads import HAND_CRAFTED, decode_head, encode_head
from edgeleuk.bundle.manifest import KIND
from edgeleuk.errors import UsageError
from edgeleuk_convert.teaching.kernels import fitted_by_landmarks, standard_of, with_fewer
from edgeleuk_convert.training.landmarks import reduced, telling_directions
from edgeleuk_convert.training.plan import TrainingSettings
from edgeleuk_convert.training.support_vectors import fit_support

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.heads import KernelHead

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
    def test_they_are_of_length_1_and_at_right_angles(self, seed: int, count: int) -> None:
        rng = np.random.default_rng(seed)
        z, vectors, answers = (rng.normal(size=shape) for shape in ((60, WIDTH), (9, WIDTH), (9, 3)))
        found = telling_directions(z, vectors, answers, np.ones(60), WIDTH, count).astype(np.float64)
        assert found.shape == (WIDTH, count)
        assert found.T @ found == pytest.approx(np.eye(count), abs=2e-3)

    @given(st.integers(0, 1000))
    def test_they_are_where_the_answers_change(self, seed: int) -> None:
        """An answer that two features alone decide is seen in two directions: those features."""
        rng = np.random.default_rng(seed)
        z, vectors = np.zeros((80, WIDTH)), np.zeros((9, WIDTH))
        z[:, :2], vectors[:, :2] = rng.normal(size=(80, 2)), rng.normal(size=(9, 2))
        answers = rng.normal(size=(9, 1))
        found = telling_directions(z, vectors, answers, np.ones(80), WIDTH, 2).astype(np.float64)
        assert np.abs(found[2:]).max() < 1e-3


class TestKinds:
    def test_a_few_landmarks_tell_the_kinds_apart(self) -> None:
        cells, truth, exact, few = kinds()
        width = WIDTH + HAND_CRAFTED
        assert few.vectors.shape == (40, 4)
        assert few.features == WIDTH
        assert few.parameters == 2 * width + 4 * width + 40 * 4 + 40 * 3 + 3 + 1 < exact.parameters / 4
        for head in (exact, few):
            assert np.mean(head.answer(cells[200:]).scores.argmax(axis=1) == truth[200:]) > 0.9

    def test_what_lies_beside_the_directions_is_far_away(self) -> None:
        """A foreign cell that differs where the head does not look must not pass for a near one."""
        cells, _, _, few = kinds()
        assert few.projection is not None
        basis = np.linalg.qr(few.projection.astype(np.float64), mode="complete")[0]
        moved = cells[200:] + 30 * basis[:, -1] * few.deviation
        (own, foreign) = (few.answer(of) for of in (cells[200:], moved))
        assert foreign.scores == pytest.approx(own.scores, abs=0.2)
        assert foreign.distances.min() > 2 * own.distances.max()

    def test_a_projection_onto_all_features_changes_nothing(self) -> None:
        cells, _, exact, _ = kinds()
        same = replace(exact, projection=np.eye(WIDTH + HAND_CRAFTED, dtype=np.float16))
        for one, other in zip(same.answer(cells), exact.answer(cells), strict=True):
            assert np.array_equal(one, other)

    def test_it_is_read_as_it_was_written(self) -> None:
        cells, _, _, few = kinds()
        read = decode_head(encode_head(few), KIND)
        assert encode_head(read) == encode_head(few)
        assert np.array_equal(read.answer(cells).distances, few.answer(cells).distances)


def kinds() -> tuple[Floats, npt.NDArray[np.int64], KernelHead, KernelHead]:
    """Return cells of three kinds, which each is, and a head of 200 of them: as it is, and with fewer."""
    rng = np.random.default_rng(2)
    truth = np.arange(300) % 3
    cells = rng.normal(size=(300, WIDTH + HAND_CRAFTED)) + 4 * np.eye(WIDTH + HAND_CRAFTED)[truth]
    standard, weights, targets = standard_of(cells[:200]), np.ones(200), np.eye(3)[truth[:200]]
    z = standard.of(cells[:200])
    exact = fitted_by_landmarks(z, targets, weights, standard, np.arange(200), gamma=0.5, ridge=0.1)
    return cells, truth, exact, with_fewer(exact, z, targets, weights, np.arange(40), ridge=0.1, directions=4)


def test_only_a_network_that_is_taken_as_it_is_has_landmarks() -> None:
    assert TrainingSettings(FROZEN, landmarks=256).flat()["landmarks"] == 256
    with pytest.raises(UsageError, match="landmarks is out of range"):
        TrainingSettings("resnet", landmarks=256)
