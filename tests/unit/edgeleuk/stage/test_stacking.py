from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_stage import VirtualStage

from edgeleuk.errors import UsageError
from edgeleuk.stage.scanning import FocusKeeper
from edgeleuk.stage.stacking import FocusStack, parse_stack, require_focus_axis, take_planes
from edgeleuk.virtual.microscope import Stand, VirtualMicroscope
from edgeleuk.virtual.render import VirtualSlide

if TYPE_CHECKING:
    from edgeleuk.stage.base import Mover


class Noting(VirtualStage):
    """Notes where it was told to go."""

    def __init__(self, stand: Stand, *, take_out_um: float = 0.0) -> None:
        slide = VirtualSlide(4, white_cells_per_field=8.0)
        super().__init__(VirtualMicroscope(slide, stand, 320, 240), take_out_um=take_out_um)
        self.heights: list[float] = []

    def move(self, x_um: float | None = None, y_um: float | None = None, z_um: float | None = None) -> None:
        if z_um is not None:
            self.heights.append(z_um)
        super().move(x_um, y_um, z_um)


@given(st.integers(2, 31), st.floats(0.01, 100))
def test_planes_lie_around_the_focus_and_as_far_apart_as_asked(planes: int, step_um: float) -> None:
    offsets = FocusStack(planes, step_um).offsets_um
    assert len(offsets) == planes
    assert sum(offsets) == pytest.approx(0, abs=1e-6)
    assert np.diff(offsets) == pytest.approx(step_um)


@given(st.integers(2, 31), st.integers(1, 999))
def test_a_stack_is_read_as_it_is_written(planes: int, hundredths: int) -> None:
    stack = FocusStack(planes, hundredths / 100)
    assert parse_stack(str(stack)) == stack


@pytest.mark.parametrize("text", ["", "5", "5@", "@0.8", "5x0.8", "5@-1", "5@0.8mm", "-5@0.8"])
def test_a_stack_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError, match=r"the stack cannot be read: got .*allowed PLANES@UM, 5@0\.8"):
        parse_stack(text)


@pytest.mark.parametrize("text", ["1@0.8", "32@0.8", "5@0", "5@101", "0@1"])
def test_a_stack_that_is_out_of_range(text: str) -> None:
    with pytest.raises(UsageError, match=r"the stack is out of range: got .*, allowed 2 to 31 planes"):
        parse_stack(text)


@pytest.mark.parametrize("planes", [2, 5, 6])
def test_planes_are_taken_from_below_to_above_and_the_sharpest_is_the_frame(planes: int) -> None:
    stage = Noting(Stand(focus_um=3.6))
    stage.move(z_um=3.0)
    stack = FocusStack(planes, 0.8)
    before = stage()
    stage.heights.clear()
    frame, taken = take_planes(stage, stage, stack, before)
    assert stage.heights == [3.0 + offset for offset in stack.offsets_um if offset]
    assert taken.z_um == 3.0
    assert len(taken.pixels) == planes
    nearest = min(range(planes), key=lambda n: abs(3.0 + stack.offsets_um[n] - 3.6))
    assert np.array_equal(frame.pixels, taken.pixels[nearest])
    assert (frame.sequence, frame.truth) == (before.sequence, before.truth)


def test_each_field_is_in_focus_in_the_middle_of_its_stack_also_where_none_was_found() -> None:
    stage = Noting(Stand(focus_um=3.0, tilt_x=0.01, backlash_um=2.0), take_out_um=5.0)
    keeper = FocusKeeper(stage, stage, stack=FocusStack(3, 0.8))
    for x in range(0, 200, 20):
        planes = keeper.go(float(x), 0.0).planes
        assert planes is not None
        assert len(planes.pixels) == 3
        true_um = stage.microscope.focus_um(float(x), 0.0)
        # Play that is taken out leaves half of it.
        assert planes.z_um - stage.microscope.stand.backlash_um / 2 == pytest.approx(true_um, abs=0.45)


def test_fields_without_anything_to_focus_on_do_not_climb() -> None:
    stage = Noting(Stand())

    class Glass(Noting):
        def __call__(self):  # type: ignore[no-untyped-def] # noqa: ANN204 - as its parent's
            frame = super().__call__()
            frame.pixels[:] = 230
            return frame

    stage = Glass(Stand())
    keeper = FocusKeeper(stage, stage, stack=FocusStack(5, 0.8))
    heights = [keeper.go(20.0 * n, 0.0).planes for n in range(4)]
    assert [planes.z_um for planes in heights if planes is not None] == [0.0] * 4


def test_a_stage_without_a_focus_axis() -> None:
    class Flat(VirtualStage):
        has_focus_axis = False
        focuses_itself = False

        def focus(self, reach_um: float) -> None:
            raise AssertionError(reach_um)

    stage: Mover = Flat(VirtualMicroscope(VirtualSlide(1)))
    with pytest.raises(UsageError, match="this stage has no focus axis, so that no stack can be taken; scan"):
        require_focus_axis(stage)
    require_focus_axis(VirtualStage(VirtualMicroscope(VirtualSlide(1))))
