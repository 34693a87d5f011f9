"""A scan that goes on: what is left of it, and how it comes into focus again."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from virtual_stage import VirtualStage

from edgeleuk.commands.scan import StoppableStage
from edgeleuk.errors import HardwareError
from edgeleuk.results import Decision
from edgeleuk.stage.autofocus import FocusPlane, NoFocusError
from edgeleuk.stage.base import ScanField
from edgeleuk.stage.mosaic import Mosaic
from edgeleuk.stage.resuming import (
    Begun,
    EarlierScan,
    field_of,
    field_source,
    focus_again,
    focus_text,
    read_earlier_scan,
)
from edgeleuk.virtual.microscope import Stand, VirtualMicroscope
from edgeleuk.virtual.render import VirtualSlide

BEGUN = Begun((1.5, -2.0), ((13.0, 0.1), (-0.1, 13.0)), (100.0, 80.0, 0.3))
FIELDS = [ScanField(n, 0, n, 30.0 * n, 0.0) for n in range(5)]
CAMERA = "http://127.0.0.1:8080/stream?field=3"


def stage_on(focus_um: float, seed: int = 4) -> VirtualStage:
    microscope = VirtualMicroscope(VirtualSlide(seed), Stand(focus_um=focus_um), 640, 480)
    return VirtualStage(microscope, take_out_um=5.0)


def past_of(*outcomes: tuple[int, str | None]) -> EarlierScan:
    return read_earlier_scan(
        BEGUN, [(field_source(CAMERA, number), reason) for number, reason in outcomes], []
    )


class TestWhatIsLeft:
    def test_how_it_began_is_read_as_it_was_written(self) -> None:
        assert Begun.from_text(BEGUN.to_text()) == BEGUN

    def test_a_frame_tells_its_field(self) -> None:
        assert field_of(field_source(CAMERA, 12)) == 12
        assert field_of(CAMERA) is None

    @pytest.mark.parametrize(
        ("outcomes", "left", "rejected"),
        [
            ([], [0, 1, 2, 3, 4], []),
            ([(0, None), (1, None)], [2, 3, 4], []),
            ([(0, None), (1, "out of focus"), (2, None)], [1, 3, 4], [1]),
            # Taken again, it is used; or not, and is taken once more.
            ([(0, None), (1, "out of focus"), (1, None)], [2, 3, 4], []),
            ([(0, None), (1, "out of focus"), (1, "empty field")], [1, 2, 3, 4], [1]),
            ([(n, None) for n in range(5)], [], []),
        ],
    )
    def test_of_a_scan(
        self, outcomes: list[tuple[int, str | None]], left: list[int], rejected: list[int]
    ) -> None:
        past = past_of(*outcomes)
        assert [field.number for field in past.left(FIELDS)] == left
        assert sorted(past.rejected) == rejected

    def test_where_the_focus_was_is_learned_from_its_events(self) -> None:
        texts = [
            focus_text(0, 4.0),
            "the run goes on",
            focus_text(1, 4.25),
            focus_text(1, 4.3),
            focus_text(99, 1.0),
        ]
        past = read_earlier_scan(BEGUN, [], texts)
        assert past.plane(FIELDS).found == [(0.0, 0.0, 4.0), (30.0, 0.0, 4.3)]


class TestFocusAgain:
    @pytest.mark.parametrize("left_at_um", [3.0, -6.0, 14.0, -40.0, 120.0])
    def test_it_is_found_wherever_the_lens_was_left(self, left_at_um: float) -> None:
        stage = stage_on(3.0)
        stage.move(z_um=left_at_um)
        plane = FocusPlane([(0.0, 0.0, 3.4), (30.0, 0.0, 3.4)])
        found = focus_again(stage, stage, plane, [(60.0, 0.0), (0.0, 0.0)])
        assert found.z_um == pytest.approx(3.0, abs=0.45)
        assert stage.position().z_um == found.z_um
        # What was known is as far off as the focus has drifted.
        assert plane.found[0][2] == pytest.approx(found.z_um, abs=0.01)

    def test_a_lens_that_is_too_far_away_is_not_moved_there(self) -> None:
        stage = stage_on(3.0)
        stage.move(z_um=-900.0)
        with pytest.raises(
            NoFocusError, match=r"cannot go on.*at -900\.0 um, where 3\.0 um was right; bring"
        ):
            focus_again(stage, stage, FocusPlane([(0.0, 0.0, 3.0)]), [(0.0, 0.0)])
        assert stage.position().z_um == -900.0

    def test_without_any_knowledge_it_is_looked_for_where_the_stage_stands(self) -> None:
        stage = stage_on(3.0)
        assert focus_again(stage, stage, FocusPlane(), [(0.0, 0.0)]).z_um == pytest.approx(3.0, abs=0.45)


class TestStopping:
    class Stage(VirtualStage):
        def __init__(self) -> None:
            super().__init__(VirtualMicroscope(VirtualSlide(1)))
            self.stopped = threading.Event()

        def stop(self) -> None:
            self.stopped.set()
            raise HardwareError("the link is lost")

    def test_a_stage_is_stopped_at_once_and_moves_no_more(self) -> None:
        stop, stage = threading.Event(), self.Stage()
        with StoppableStage(stage, stop) as halted:
            halted.move(x_um=5.0)
            assert halted.position().x_um == 5.0
            stop.set()
            assert stage.stopped.wait(5)
            with pytest.raises(HardwareError, match="the scan was stopped"):
                halted.move(x_um=9.0)
        assert stage.position().x_um == 5.0

    def test_one_that_is_not_to_end_is_left_alone(self) -> None:
        stage = self.Stage()
        with StoppableStage(stage, threading.Event()) as halted:
            halted.move(x_um=5.0)
        assert not stage.stopped.is_set()


def test_cells_of_an_earlier_part_are_marked_where_they_lie() -> None:
    mosaic = Mosaic(FIELDS, (200, 150), (140.0, 0.0))
    assert mosaic.is_empty
    plain = mosaic.drawn(13.0, simulated=False)
    mosaic.mark(2, (100.0, 75.0), Decision.NORMAL)
    rows, columns = np.nonzero((mosaic.drawn(13.0, simulated=False) != plain).any(axis=2))
    assert (columns.min() + columns.max()) / 2 == pytest.approx(2 * 140 + 100, abs=2)
    assert rows.max() < 150 + 110
