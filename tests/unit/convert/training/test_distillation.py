"""A student is held against what its teacher sees of the same cell, lying the same way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk_convert.dataset.cells import LabelledCell
from edgeleuk_convert.networks.architectures import build, multiply_adds, student_input
from edgeleuk_convert.networks.architectures.student import FRONT_END, WIDTHS
from edgeleuk_convert.networks.architectures.support_vectors import MAP, trunk_of
from edgeleuk_convert.training.distillation import FrontLessons, WholeLessons, front_of, shares
from edgeleuk_convert.training.plan import TrainingSettings
from edgeleuk_convert.training.teacher import (
    STEPS,
    TURNS,
    FurtherCells,
    Scale,
    Teacher,
    teacher_contract,
    turned,
)
from edgeleuk_convert.training.trimming import telling_channels, trim

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

# Keras 3.15 converts its variables in a way that NumPy 2.4 is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STUDENT = TrainingSettings(architecture="student")
SMALL = msgspec.structs.replace(student_input(), height=64, width=64)
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
    [{"px_per_um": 7.4}, {"px_per_um": 18.5}, {"channels": ("red", "green", "blue", "mask")}],
    ids=["scale", "teacher's own scale", "masks"],
)
def test_a_teacher_of_another_contract_is_refused(changed: dict[str, object]) -> None:
    ours = msgspec.structs.replace(student_input(), **changed)
    with pytest.raises(
        UsageError, match=r"is not made for.*enlarged 2 times: got .*px/um, masks.*allowed 18.5"
    ):
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
    assert model.count_params() < 300_000


@given(arrays(np.float32, (2, 3, 3, 4), elements=st.floats(-8, 8, width=32)))
def test_a_kept_map_is_within_half_a_step(maps: npt.NDArray[np.float32]) -> None:
    scale = Scale.of(maps)
    apart = np.abs(scale.decoded(scale.encoded(maps)) - maps)
    beyond = np.abs(maps - scale.level) > 6.3 * scale.spread
    assert (apart[~beyond] <= (scale.spread / STEPS * 0.51 + 1e-5 + 0 * apart)[~beyond]).all()


def test_a_place_is_taken_by_the_share_of_its_pixels() -> None:
    masks = np.zeros((1, 4, 6, 1), np.uint8)
    masks[0, :2, :2] = 255
    masks[0, 2, 4] = 255
    assert shares(masks, [0], (2, 3))[0, ..., 0].tolist() == [[1, 0, 0], [0, 0, 0.25]]


@pytest.mark.parametrize(
    "channels", [("mask", "red", "green", "blue", "nucleus"), ("luminance", "mask", "nucleus")], ids=len
)
def test_the_teacher_sees_colours_wherever_they_stand_and_no_mask(channels: tuple[str, ...]) -> None:
    settings = replace(STUDENT, input=msgspec.structs.replace(SMALL, channels=channels))
    masks = np.array([name in ("mask", "nucleus") for name in channels])
    cell = np.random.default_rng(0).integers(0, 255, (64, 64, len(channels))).astype(np.uint8)
    # Of one teacher, so that all are kept in the same units.
    cells = np.stack([np.where(other, 255 - cell, cell) for other in (masks & False, masks, ~masks)])
    as_it_is, other_masks, other_colours = Teacher(settings, cells).seen(0)[1]
    assert np.array_equal(as_it_is, other_masks)
    assert not np.array_equal(as_it_is, other_colours)


def cells_of(labels: Sequence[str]) -> list[LabelledCell]:
    return [
        LabelledCell(
            Path(f"{number}.png"), label, str(number), str(number), f"{number:064x}", 5000, 450, 450, None
        )
        for number, label in enumerate(labels)
    ]


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    rng = np.random.default_rng(0)
    # Pictures with structure, cells in their middle.
    rough = rng.integers(0, 255, (CELLS, 8, 8, 5)).astype(np.uint8)
    tensors = np.kron(rough, np.ones((1, 8, 8, 1), np.uint8))
    tensors[..., 3:] = 0
    tensors[:, 8:56, 8:56, 3] = 255
    tensors[:, 16:40, 24:48, 4] = 255
    return Teacher(replace(STUDENT, input=SMALL), tensors)


@pytest.fixture(scope="module")
def front(teacher: Teacher) -> FrontLessons:
    return FrontLessons(replace(STUDENT, input=SMALL), teacher, np.arange(CELLS))


@pytest.fixture(scope="module")
def whole(teacher: Teacher) -> WholeLessons:
    cells = cells_of(["blast", "normal"] * (CELLS // 2))
    return WholeLessons(replace(STUDENT, input=SMALL, epochs=2), teacher, np.arange(CELLS), cells)


@pytest.mark.parametrize("epoch", [0, 3, 7, 8, 9])
def test_an_epoch_takes_each_cell_once(front: FrontLessons, epoch: int) -> None:
    assert sorted(front.rows(epoch, CELLS)) == list(range(CELLS))


class TestFront:
    def test_one_that_sees_the_same_has_no_loss(self, front: FrontLessons) -> None:
        _, targets = front.batch(np.arange(CELLS), 1, 0)
        assert float(front.loss(targets[0], targets)) == pytest.approx(0, abs=1e-5)
        assert float(front.loss(np.roll(targets[0], 1, axis=0), targets)) > 0.5

    def test_it_begins_at_the_teachers_level(self, front: FrontLessons) -> None:
        model = build("student", SMALL)
        front.prepare(model)
        inputs, (maps, _) = front.batch(np.arange(CELLS), 0, 0)
        found = np.asarray(front_of(model)(inputs, training=True))
        assert np.allclose(found.mean(axis=(0, 1, 2)), maps.mean(axis=(0, 1, 2)), atol=0.1)

    def test_blocks_behind_a_perfect_front_see_what_the_teacher_sees(
        self, front: FrontLessons, teacher: Teacher
    ) -> None:
        model = build("student", SMALL)
        every = np.arange(CELLS)
        inputs, (near, _) = front.batch(every, 0, 0)
        at = shares(inputs.astype(np.uint8), [3], (8, 8))[..., 0] + 0.05
        trim(model, teacher.model, sorted(WIDTHS), near, near, at)
        import keras

        blocks = keras.Model(model.get_layer(FRONT_END).output, model.get_layer(MAP).input)
        found, true = np.asarray(blocks(near)), teacher.scales[1].decoded(teacher.seen(0)[1])
        apart = ((found - true) ** 2 * at[..., None]).mean() / (true.var(axis=(0, 1, 2))).mean()
        assert apart < 0.2


class TestWhole:
    def test_a_student_that_sees_the_same_has_no_loss(self, whole: WholeLessons) -> None:
        _, targets = whole.batch(whole.rows(1, CELLS), 1, 0)
        assert float(whole.loss(targets[:2], targets)) == pytest.approx(0, abs=1e-5)

    def test_one_that_takes_another_cell_has(self, whole: WholeLessons) -> None:
        _, targets = whole.batch(np.arange(CELLS), 0, 0)
        others = [np.roll(one, 1, axis=0) for one in targets[:2]]
        assert float(whole.loss(others, targets)) > 1

    def test_the_targets_lie_as_the_cell_does(self, whole: WholeLessons, front: FrontLessons) -> None:
        rows = np.arange(4)
        as_it_is, (maps, _) = front.batch(rows, 0, 0)
        # Two epochs were the front's: the whole's first turn is the third.
        lying, (turned_maps, turned_pooled, weights) = whole.batch(rows, 0, 0)
        assert all(np.array_equal(turned(one, 2), two) for one, two in zip(as_it_is, lying, strict=True))
        assert turned_maps.shape[:3] == weights.shape[:3] == (4, 8, 8)
        _, (third, straight, _) = whole.batch(rows, 2, 0)
        # The network is no mirror of itself: its map turns only roughly with the cell.
        assert not np.array_equal(third, turned_maps)
        alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(straight, turned_pooled, strict=True)]
        assert min(alike) > 0.5
        assert maps.shape[:3] == (4, 16, 16)


class TestTrimming:
    def test_channels_that_make_the_answer_are_found(self) -> None:
        rng = np.random.default_rng(0)
        channels = np.concatenate([rng.normal(size=(500, 20)), np.ones((500, 1))], axis=1)
        answer = channels[:, [3, 7, 11]] @ rng.normal(size=(3, 4)) + 5
        gram, towards = channels.T @ channels, channels.T @ answer
        assert telling_channels(gram, towards, 3) == [3, 7, 11]

    def test_one_that_repeats_another_comes_last(self) -> None:
        rng = np.random.default_rng(0)
        channels = np.concatenate([rng.normal(size=(500, 4)), np.ones((500, 1))], axis=1)
        channels[:, 1] = 2 * channels[:, 0]
        answer = channels[:, :4] @ np.array([[4.0], [0], [1], [2]])
        kept = telling_channels(channels.T @ channels, channels.T @ answer, 3)
        assert len({0, 1} & set(kept)) == 1
        assert telling_channels(channels.T @ channels, channels.T @ answer, 4) == [0, 1, 2, 3]
