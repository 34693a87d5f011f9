"""Autofocus, mapping and scanning on the virtual stand: a real picture of a real fault in every case."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_stage import VirtualStage

from edgeleuk.errors import HardwareError, UsageError
from edgeleuk.frames import Frame
from edgeleuk.stage.autofocus import MOST_FRAMES, FocusPlane, autofocus, refocus, vertex
from edgeleuk.stage.base import ScanField
from edgeleuk.stage.mapping import Mapping, calibrate
from edgeleuk.stage.scanning import FocusKeeper, ScanPlan, ScanSource
from edgeleuk.virtual.microscope import DEPTH_OF_FIELD_UM, Stand, VirtualMicroscope
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk_firmware_bridge.stage.protocols import Position

WIDTH, HEIGHT = 640, 480
THIRD = DEPTH_OF_FIELD_UM / 3


def stage_on(seed: int = 1, *, take_out_um: float = 0.0, **stand: float) -> VirtualStage:
    microscope = VirtualMicroscope(VirtualSlide(seed), Stand(**stand), WIDTH, HEIGHT)
    return VirtualStage(microscope, take_out_um=take_out_um)


class Blank(VirtualStage):
    def __call__(self) -> Frame:
        self.pictures += 1
        return Frame(np.full((HEIGHT, WIDTH, 3), 200, np.uint8), 0, 0.0, 0.0, "blank")


@given(st.floats(-20, 20), st.floats(0.001, 1), st.floats(0.001, 1), st.lists(st.floats(-8, 8), min_size=3))
def test_the_vertex_of_a_parabola_is_found(focus: float, rise: float, least: float, at: list[float]) -> None:
    heights = sorted({round(focus + z, 2) for z in at})
    if len(heights) < 3 or heights[-1] - heights[0] < 1:
        return
    powers = [(least + rise * (z - focus) ** 2) ** -1.5 for z in heights]
    found = vertex(heights, powers)
    if found is not None:
        assert found == pytest.approx(focus, abs=0.2)


def test_no_vertex_where_it_only_falls_inward() -> None:
    assert vertex([-1, 0, 1], [9.0, 1.0, 9.0]) is None


class TenthsOfSteps(VirtualStage):
    """A stage whose micrometre is a tenth of one, and whose play nobody told."""

    def position(self) -> Position:
        return Position(*(10 * um for um in self.at))

    def move(self, x_um: float | None = None, y_um: float | None = None, z_um: float | None = None) -> None:
        super().move(*(None if um is None else um / 10 for um in (x_um, y_um, z_um)))


@pytest.mark.parametrize("focus", [-14.0, -3.3, 0.0, 7.7, 15.0])
def test_a_dozen_pictures_find_the_focus(focus: float) -> None:
    stage = stage_on(3, focus_um=focus, backlash_um=3.0, take_out_um=6.0)
    found = autofocus(stage, stage)
    assert found.frames == stage.pictures <= MOST_FRAMES
    assert abs(stage.defocus_um) < THIRD


def test_three_pictures_correct_a_focus() -> None:
    stage = stage_on(4, focus_um=1.2, take_out_um=6.0)
    assert refocus(stage, stage).frames == 3
    assert abs(stage.defocus_um) < THIRD


def test_a_focus_that_is_far_off_is_swept_for() -> None:
    stage = stage_on(4, focus_um=11.0, take_out_um=6.0)
    refocus(stage, stage)
    assert abs(stage.defocus_um) < THIRD


@pytest.mark.parametrize("focus", [-100.0, -40.0, 30.0, 80.0])
def test_what_is_further_away_is_found_where_steps_are_not_known(focus: float) -> None:
    stage = TenthsOfSteps(stage_on(3, focus_um=focus / 10, backlash_um=3.0).microscope)
    found = autofocus(stage, stage, most_widened=9)
    assert found.widened in {3, 9}
    assert found.frames == stage.pictures
    assert abs(stage.defocus_um) < THIRD
    stage.microscope.stand = replace(stage.microscope.stand, focus_um=focus / 10 + 1.0)
    assert refocus(stage, stage, widened=found.widened).widened in {3, 9}
    assert abs(stage.defocus_um) < THIRD


@pytest.mark.parametrize("stage", [stage_on(focus_um=60.0), Blank(VirtualMicroscope(VirtualSlide(1)))])
def test_no_focus_is_said_so(stage: VirtualStage) -> None:
    with pytest.raises(
        HardwareError, match=r"no focus was found: .*allowed -18\.0 to 18\.0 um; bring the slide"
    ):
        autofocus(stage, stage)


def test_the_plane_knows_a_tilted_slide() -> None:
    plane = FocusPlane()
    assert plane.at(0, 0) is None
    plane.add(0, 0, 5.0)
    assert plane.at(900, 900) == 5.0
    for x, y in [(100, 0), (200, 0), (200, 100), (100, 100), (0, 100)]:
        plane.add(x, y, 5 + 0.01 * x - 0.02 * y)
    assert plane.at(300, 200) == pytest.approx(5 + 3 - 4, abs=0.2)


@pytest.mark.parametrize(("turned", "backlash"), [(0.0, 0.0), (3.0, 2.0), (-12.0, 4.0), (92.0, 1.0)])
def test_six_moves_tell_how_the_camera_lies(turned: float, backlash: float) -> None:
    stage = stage_on(2, turned_degrees=turned, backlash_um=backlash)
    stage.microscope.width, stage.microscope.height = 1280, 960
    mapping = calibrate(stage, stage, 12.0)
    assert mapping.moves == 6
    assert mapping.px_per_um == pytest.approx(13.0, rel=0.01)
    assert mapping.angle_degrees == pytest.approx(turned, abs=0.5)
    assert mapping.backlash_um == pytest.approx((backlash, backlash), abs=0.3)
    assert np.array(mapping.matrix) @ mapping.to_um(30.0, -40.0) == pytest.approx([30.0, -40.0])
    assert stage.position().x_um == 0.0


def test_a_stage_that_does_not_move_is_no_mapping() -> None:
    class Stuck(VirtualStage):
        def _drive(self, axis: int, goal: float) -> None:
            self.at[axis] = goal

        def __call__(self) -> Frame:
            field = self.microscope.look(0, 0, 0)
            return Frame(field.pixels, 0, 0.0, 0.0, "stuck")

    stage = Stuck(VirtualMicroscope(VirtualSlide(1)))
    with pytest.raises(HardwareError, match="do not fit together: got"):
        calibrate(stage, stage, 12.0)


def test_a_slide_without_cells_is_no_mapping() -> None:
    stage = Blank(VirtualMicroscope(VirtualSlide(1)))
    with pytest.raises(HardwareError, match="does not follow the stage"):
        calibrate(stage, stage, 12.0)


TWO = Mapping(((2.0, 0.0), (0.0, 2.0)))


@given(st.floats(50, 3000), st.floats(50, 3000), st.floats(0.1, 0.8))
def test_a_scan_covers_its_area(width: float, height: float, overlap: float) -> None:
    fields = ScanPlan(width, height, overlap).fields(TWO, (200, 160), (10.0, 20.0))
    xs, ys = sorted({f.x_um for f in fields}), sorted({f.y_um for f in fields})
    assert (xs[0], ys[0]) == (10.0, 20.0)
    assert xs[-1] - xs[0] + 100 >= width - 1e-6
    assert ys[-1] - ys[0] + 80 >= height - 1e-6
    for places, side in ((xs, 100.0), (ys, 80.0)):
        assert all(b - a <= side * (1 - overlap) + 1e-6 for a, b in itertools.pairwise(places))
    # A serpentine: each field is beside the one before.
    for a, b in itertools.pairwise(fields):
        assert abs(a.row - b.row) + abs(a.column - b.column) == 1
    assert [f.number for f in fields] == list(range(len(fields)))


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ({"width_um": 0.0, "height_um": 10.0}, "the area to scan is out of range: got 0x0.01 mm"),
        ({"width_um": 10.0, "height_um": 1e6}, "the area to scan is out of range"),
        ({"width_um": 10.0, "height_um": 10.0, "overlap": 0.9}, "the overlap is out of range: got 0.9"),
        ({"width_um": 10.0, "height_um": 10.0, "refocus_every": 0}, "refocus_every is out of range"),
    ],
)
def test_a_plan_that_cannot_be(plan: dict[str, float], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        ScanPlan(**plan)  # type: ignore[arg-type]


def test_a_scan_keeps_the_focus_on_a_slide_that_is_tilted_and_drifts() -> None:
    stage = stage_on(
        5, focus_um=4.0, tilt_x=0.01, tilt_y=-0.008, drift_um_per_s=0.01, backlash_um=2.0, take_out_um=6.0
    )
    mapping = Mapping(((13.0, 0.0), (0.0, 13.0)))
    fields = ScanPlan(160.0, 110.0).fields(mapping, (WIDTH, HEIGHT), (0.0, 0.0))
    source = ScanSource("virtual", fields, FocusKeeper(stage, stage), mapping)
    numbers, defocus = [], []
    for frame in source.frames():
        assert isinstance(frame, Frame)
        numbers.append(frame.sequence)
        defocus.append(abs(stage.defocus_um))
    assert numbers == list(range(len(fields)))
    assert max(defocus) < THIRD
    assert frame.px_per_um == pytest.approx(13.0)


def test_a_scan_that_goes_on_numbers_its_frames_on() -> None:
    stage = stage_on(take_out_um=6.0)
    fields = [ScanField(n, 0, n, 30.0 * n, 0.0) for n in range(5)]
    source = ScanSource("virtual", [fields[1], fields[4]], FocusKeeper(stage, stage), TWO, first=7)
    frames = [item for item in source.frames() if isinstance(item, Frame)]
    assert [(frame.sequence, frame.source) for frame in frames] == [
        (7, "virtual field 1"),
        (8, "virtual field 4"),
    ]


def test_over_glass_the_focus_stays() -> None:
    stage = Blank(VirtualMicroscope(VirtualSlide(1)))
    keeper = FocusKeeper(stage, stage)
    keeper.plane.add(0, 0, 2.5)
    keeper.go(10.0, 0.0)
    assert stage.position().z_um == 2.5
    assert stage.pictures == 1


def test_a_scan_ends_when_it_is_closed() -> None:
    stage = stage_on(take_out_um=6.0)
    fields = [ScanField(n, 0, n, 30.0 * n, 0.0) for n in range(5)]
    source = ScanSource("virtual", fields, FocusKeeper(stage, stage), TWO)
    frames = source.frames()
    next(frames)
    source.close()
    assert list(frames) == []
