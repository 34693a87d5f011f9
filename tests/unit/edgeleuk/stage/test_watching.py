"""A camera that is kept in focus while it is watched: a virtual stand whose focus goes away."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from virtual_stage import VirtualStage

from edgeleuk.errors import CameraError, HardwareError
from edgeleuk.frames import Frame
from edgeleuk.stage.watching import FocusingReader
from edgeleuk.virtual.microscope import DEPTH_OF_FIELD_UM, Stand, VirtualMicroscope
from edgeleuk.virtual.render import VirtualSlide

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARP_UM = DEPTH_OF_FIELD_UM / 2


class Camera:
    """What the stand shows, on demand; it ends after so many pictures."""

    uri = "virtual-stand"
    live = False

    def __init__(self, stage: VirtualStage, most: int = 10_000) -> None:
        self.stage = stage
        self.most = most
        self.blank = False

    def frames(self) -> Iterator[Frame]:
        for _ in range(self.most):
            frame = self.stage()
            yield replace(frame, pixels=np.full_like(frame.pixels, 230)) if self.blank else frame

    def close(self) -> None:
        pass


class Watched:
    """A reader over a stand, by a clock that the test winds."""

    def __init__(self, most: int = 10_000, seed: int = 4, **stand: float) -> None:
        microscope = VirtualMicroscope(VirtualSlide(seed), Stand(**stand), 640, 480)
        self.stage = VirtualStage(microscope, take_out_um=6.0)
        self.camera = Camera(self.stage, most)
        self.stop = threading.Event()
        self.now_s = 0.0
        self.reader = FocusingReader(self.camera, 1, self.stage, self.stop, lambda: self.now_s)
        self.taken = 0

    def take(self, seconds: float = 1.1) -> Frame:
        self.now_s += seconds
        item = self.reader.take(self.stop)
        assert isinstance(item, Frame)
        self.taken += 1
        return item

    def texts(self) -> list[str]:
        return [event.text for event in self.reader.events()]

    def focus_to(self, z_um: float) -> None:
        self.stage.microscope.stand = replace(self.stage.microscope.stand, focus_um=z_um)


def test_it_begins_in_focus_and_every_picture_is_accounted_for() -> None:
    watched = Watched(focus_um=9.0)
    for _ in range(4):
        watched.take()
        assert abs(watched.stage.defocus_um) < SHARP_UM
    (text,) = watched.texts()
    assert text.startswith("found at ")
    watched.reader.close()
    reader = watched.reader
    assert reader.captured == watched.stage.pictures == watched.taken + reader.dropped


def test_a_focus_that_is_lost_is_found_again_but_not_for_one_blurred_picture() -> None:
    watched = Watched(focus_um=2.0)
    watched.take()
    before = watched.stage.position()
    watched.focus_to(6.0)
    watched.take()
    assert watched.stage.position() == before
    watched.take()
    assert abs(watched.stage.defocus_um) < SHARP_UM
    assert len(watched.texts()) == 2


def test_between_two_looks_it_only_hands_on() -> None:
    watched = Watched(focus_um=2.0)
    watched.take()
    watched.focus_to(6.0)
    for _ in range(8):
        watched.take(0.1)
    assert watched.stage.position().z_um == pytest.approx(2.0, abs=SHARP_UM)


def test_a_stage_that_was_moved_elsewhere_goes_where_the_slide_will_be_in_focus() -> None:
    watched = Watched(focus_um=2.0, tilt_x=0.02)
    for x in (0.0, 60.0, 120.0):
        watched.stage.move(x_um=x)
        watched.take()
    watched.texts()
    pictures = watched.stage.pictures
    watched.stage.move(x_um=180.0)
    watched.take()
    # Two pictures: the one that told, and the one after the move.
    assert watched.stage.pictures == pictures + 2
    assert abs(watched.stage.defocus_um) < SHARP_UM
    assert watched.texts() == []


def test_no_focus_is_told_and_looked_for_later_and_later() -> None:
    watched = Watched(focus_um=2.0)
    watched.camera.blank = True
    watched.take()
    (text,) = watched.texts()
    assert text == "no focus was found, got pictures that are all alike; looked for again in 10 s"
    assert watched.stage.position().z_um == 0.0
    watched.camera.blank = False
    watched.focus_to(4.0)
    watched.take()
    watched.take()
    assert watched.texts() == []
    watched.take(10.0)
    assert watched.texts()[0].startswith("found at ")


def test_a_stage_that_fails_is_told_and_the_camera_watched_without_it() -> None:
    watched = Watched(focus_um=2.0)

    def lost(*_: object, **__: object) -> None:
        raise HardwareError("the stage does not answer")

    watched.stage.move = lost  # type: ignore[method-assign]
    for _ in range(5):
        watched.take()
    assert watched.texts() == ["kept no more: the stage does not answer"]


def test_a_camera_that_ends_in_a_search_is_an_error_but_a_stop_is_none() -> None:
    watched = Watched(most=3)
    with pytest.raises(CameraError, match="virtual-stand sends no more pictures"):
        watched.take()
    stopped = Watched()
    stopped.stop.set()
    assert stopped.reader.take(stopped.stop) is None


def test_unasked_it_leaves_the_stage_alone_until_somebody_asks() -> None:
    stage = VirtualStage(VirtualMicroscope(VirtualSlide(1), Stand(focus_um=6.0), 640, 480))
    stop = threading.Event()
    with FocusingReader(Camera(stage), 1, stage, stop, unasked=False) as reader:
        for _ in range(5):
            assert reader.take(stop) is not None
        assert stage.position() == (0.0, 0.0, 0.0)
        reader.look_for_focus()
        assert abs(stage.defocus_um) < SHARP_UM
        assert [event.kind for event in reader.events()] == ["focus"]
        taken = reader.captured - reader.dropped
        assert taken == 5
