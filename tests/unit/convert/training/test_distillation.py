"""A student is held against what its teacher sees of the same cell, lying the same way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk_convert.networks.architectures import build, multiply_adds, student_input
from edgeleuk_convert.networks.architectures.support_vectors import trunk_of
from edgeleuk_convert.training.distillation import (
    TURNS,
    FurtherCells,
    Teacher,
    TeacherLessons,
    teacher_contract,
    turned,
)
from edgeleuk_convert.training.plan import TrainingSettings

if TYPE_CHECKING:
    import numpy.typing as npt

# Keras 3.15 converts its variables in a way that NumPy 2.4 is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STUDENT = TrainingSettings(architecture="student")
SMALL = msgspec.structs.replace(student_input(), height=64, width=64, px_per_um=18.5 * 64 / 304)
CELLS = 12


@given(arrays(np.uint8, (6, 6, 2)), st.integers(0, TURNS - 1))
def test_a_turn_moves_pixels_and_changes_none(tensor: npt.NDArray[np.uint8], turn: int) -> None:
    found = turned(tensor, turn)
    assert found.shape == tensor.shape
    assert sorted(map(tuple, found.reshape(-1, 2))) == sorted(map(tuple, tensor.reshape(-1, 2)))


def test_no_two_turns_are_alike() -> None:
    picture = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    assert len({turned(picture, turn).tobytes() for turn in range(TURNS)}) == TURNS


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"architecture": "resnet", "teacher": "efficientnet-lite0-frozen"}, "is not taught by another"),
        ({"architecture": "student", "teacher": "resnet"}, "cannot teach.*efficientnet-lite0-frozen"),
        ({"architecture": "student", "teacher": "nobody"}, "cannot teach"),
        ({"architecture": "student", "freeze_epochs": 1}, "freeze_epochs"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        msgspec.convert(settings, TrainingSettings)


@pytest.mark.parametrize(
    "changed",
    [{"px_per_um": 7.4}, {"height": 128}, {"channels": ("red", "green", "blue", "mask")}],
    ids=["scale", "size", "masks"],
)
def test_a_teacher_of_another_contract_is_refused(changed: dict[str, object]) -> None:
    ours = msgspec.structs.replace(student_input(), **changed)
    with pytest.raises(UsageError, match=r"does not see what student sees: got .*um, masks.*allowed"):
        teacher_contract(replace(STUDENT, input=ours))


def test_cells_of_subjects_held_out_are_refused() -> None:
    further = FurtherCells((), frozenset({"a", "b"}), "")
    further.require_apart({"c"})
    with pytest.raises(DataRefusedError, match="of subjects that are held out: got 1, b"):
        further.require_apart({"b", "c"})


def test_records_without_a_teacher_stay_as_they_were() -> None:
    assert "teacher" not in TrainingSettings().flat()
    assert STUDENT.flat()["teacher"] == "efficientnet-lite0-frozen"


def test_what_the_student_costs() -> None:
    model = build("student", STUDENT.contract)
    assert multiply_adds(trunk_of(model)) < 150e6
    assert model.count_params() < 450_000


@pytest.fixture(scope="module")
def lessons() -> TeacherLessons:
    rng = np.random.default_rng(0)
    settings = replace(STUDENT, input=SMALL)
    teachers = np.kron(rng.integers(0, 255, (CELLS, 38, 38, 5), np.uint8), np.ones((1, 8, 8, 1), np.uint8))
    teacher = Teacher(settings, teachers)
    return TeacherLessons(settings, rng.integers(0, 255, (CELLS, 64, 64, 5), np.uint8), teacher.seen)


class TestLessons:
    @pytest.mark.parametrize("epoch", [0, 3, 4, 9])
    def test_an_epoch_takes_each_cell_once(self, lessons: TeacherLessons, epoch: int) -> None:
        assert sorted(lessons.rows(epoch, CELLS)) == list(range(CELLS))

    def test_a_student_that_sees_the_same_has_no_loss(self, lessons: TeacherLessons) -> None:
        _, targets = lessons.batch(lessons.rows(1, CELLS), 1, 0)
        assert float(lessons.loss(targets[:2], targets)) == pytest.approx(0, abs=1e-5)

    def test_one_that_takes_another_cell_has(self, lessons: TeacherLessons) -> None:
        _, targets = lessons.batch(np.arange(CELLS), 0, 0)
        others = [np.roll(one, 1, axis=0) for one in targets[:2]]
        assert float(lessons.loss(others, targets)) > 1

    def test_the_targets_lie_as_the_cell_does(self, lessons: TeacherLessons) -> None:
        rows = np.arange(4)
        as_it_is, (maps, pooled, _) = lessons.batch(rows, 0, 0)
        lying, (turned_maps, turned_pooled, weights) = lessons.batch(rows, 2, 0)
        assert all(np.array_equal(turned(one, 2), two) for one, two in zip(as_it_is, lying, strict=True))
        # The network is no mirror of itself: its map turns only roughly with the cell.
        assert not np.array_equal(maps, turned_maps)
        alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(pooled, turned_pooled, strict=True)]
        assert min(alike) > 0.5
        assert weights.shape == (4, 4, 4, 1)

    def test_the_map_begins_at_the_teachers_level(self, lessons: TeacherLessons) -> None:
        model = build("student", SMALL)
        lessons.prepare(model)
        inputs, (maps, _, _) = lessons.batch(np.arange(CELLS), 0, 0)
        found = np.asarray(trunk_of(model)(inputs, training=True))
        assert np.allclose(found.mean(axis=(0, 1, 2)), maps.mean(axis=(0, 1, 2)), atol=0.05)
