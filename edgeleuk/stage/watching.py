"""Keeping a camera in focus while it is watched: pictures are taken out of its stream, the rest goes on."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from edgeleuk.capture import FrameRejectedError, decoded, open_reader
from edgeleuk.capture.base import SourceEvent
from edgeleuk.errors import CameraError, HardwareError
from edgeleuk.io.closing import Closing
from edgeleuk.stage.autofocus import FocusPlane, NoFocusError, autofocus, refocus
from edgeleuk.stage.synchronous_camera import NewestFrameCamera
from edgeleuk.vision.quality import BLURS, fault_of, measure_quality

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from edgeleuk.capture import EncodedFrame, FrameSource
    from edgeleuk.capture.newest import FrameReader
    from edgeleuk.frames import Frame
    from edgeleuk.stage.autofocus import Focus
    from edgeleuk.stage.base import Mover

LOOK_EVERY_S = 1.0
# Two looks in a row: a single blurred picture may be somebody's hand on the table.
_BLURRED_LOOKS = 2
# After a focus that was not found the next is looked for so much later, twice as late each time.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 300.0
# What the stage must have moved to be elsewhere; and how far the plane may be off to be followed.
_ELSEWHERE_UM, _OFF_UM = 5.0, 0.3
_PLANE_KNOWN = 3
# Steps of a tenth of a micrometre, as most boards have, are found so.
_MOST_WIDENED = 9


class FocusingReader(Closing):
    """Hands out a camera's frames, and brings them into focus again when they are not; a `FrameReader`.

    At first it looks for the focus; then it looks at a frame a second. When two of them are out of focus it
    corrects the height; when the stage has been moved elsewhere it goes to the height that the places before
    let expect. Pictures that it takes for itself count as dropped. A stage that fails is told, and the camera
    watched without it.

    Parameters
    ----------
    source : FrameSource
    waiting : int
        As `open_reader` takes it.
    stage : Mover
    stop : threading.Event
        Ends a search for the focus.
    clock : callable
        Steady seconds.
    step_known : bool
        Whether somebody told the length of a step. If not, the focus is looked for up to nine times as far
        as it would be with steps of 1 um.
    unasked : bool
        Whether it looks for the focus by itself; else only when `look_for_focus` is called.
    """

    def __init__(
        self,
        source: FrameSource,
        waiting: int,
        stage: Mover,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        *,
        step_known: bool = True,
        unasked: bool = True,
    ) -> None:
        self._reader: FrameReader = open_reader(source, waiting)
        self._eye = NewestFrameCamera(source, stop, self._reader)
        self._stage: Mover | None = stage
        self._stop = stop
        self._clock = clock
        self._plane = FocusPlane()
        self._events: deque[SourceEvent] = deque()
        self._taken = 0
        self._blurred = 0
        self._corrected = False
        self._most_widened = 1 if step_known else _MOST_WIDENED
        self._widened = 1
        self._begun = not unasked
        self._unasked = unasked
        self._next_look_s = self._not_before_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._place_um: tuple[float, float] | None = None

    @property
    def captured(self) -> int:
        """Frames that arrived."""
        return self._reader.captured

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced, and those that served the focus."""
        return self._reader.dropped + self._eye.taken + self._taken

    def take(
        self, stop: threading.Event, meanwhile: Callable[[], object] = lambda: None
    ) -> Frame | EncodedFrame | None:
        """Wait for the next frame, in focus if the stage can do that; see `FrameReader.take`."""
        if not self._begun:
            self._begun = True
            self._bring_into_focus(self._search)
        item = self._reader.take(stop, meanwhile)
        idle = self._stage is None or not self._unasked or self._clock() < self._next_look_s
        if item is None or idle:
            return item
        self._next_look_s = self._clock() + LOOK_EVERY_S
        try:
            frame = decoded(item)
        except FrameRejectedError:
            return item
        if not self._look_at(frame):
            return frame
        # It was taken before the stage moved.
        self._taken += 1
        return self._reader.take(stop, meanwhile)

    def look_for_focus(self) -> None:
        """Look for the focus now; on the thread that takes the frames, between two of them.

        Raises
        ------
        HardwareError
            The stage has failed before.
        """
        if self._stage is None:
            raise HardwareError("the stage has failed before", cure="start the run again")
        self._bring_into_focus(self._search)

    def events(self) -> list[SourceEvent]:
        """Take what handle_event the camera and the focus since the last call."""
        own = list(self._events)
        self._events.clear()
        return [*self._reader.events(), *own]

    def close(self) -> None:
        """Stop reading; the stage is the caller's to close."""
        self._reader.close()

    def _look_at(self, frame: Frame) -> bool:
        """Do what the focus needs; return whether the stage has moved."""
        fault = fault_of(measure_quality(frame.pixels))
        self._blurred = self._blurred + 1 if fault in BLURS else 0
        self._corrected = self._corrected and fault in BLURS
        assert self._stage is not None
        try:
            if (place := self._elsewhere()) is not None:
                expected = self._plane.at(*place) if len(self._plane.found) >= _PLANE_KNOWN else None
                if expected is None:
                    return self._bring_into_focus(self._correct)
                if abs(expected - self._stage.position().z_um) > _OFF_UM:
                    self._stage.move(z_um=expected)
                    return True
        except HardwareError as error:
            self._lose_stage(error)
            return False
        if self._blurred < _BLURRED_LOOKS or self._clock() < self._not_before_s:
            return False
        # Where a correction was of no use, what it found was none.
        return self._bring_into_focus(self._search if self._corrected else self._correct)

    def _search(self, camera: NewestFrameCamera, stage: Mover) -> Focus:
        self._corrected = False
        return autofocus(camera, stage, most_widened=self._most_widened)

    def _correct(self, camera: NewestFrameCamera, stage: Mover) -> Focus:
        self._corrected = True
        return refocus(camera, stage, widened=self._widened)

    def _elsewhere(self) -> tuple[float, float] | None:
        """Return where the stage is, if it has been moved since the last look."""
        assert self._stage is not None
        before, here = self._place_um, self._stage.position()
        if before is not None and max(abs(here.x_um - before[0]), abs(here.y_um - before[1])) < _ELSEWHERE_UM:
            return None
        self._place_um = here.x_um, here.y_um
        return None if before is None else self._place_um

    def _bring_into_focus(self, way: Callable[[NewestFrameCamera, Mover], Focus]) -> bool:
        """Look for the focus; return whether the stage has moved."""
        assert self._stage is not None
        self._blurred = 0
        try:
            start = self._stage.position()
            self._place_um = start.x_um, start.y_um
            try:
                found = way(self._eye, self._stage)
            except NoFocusError as error:
                self._stage.move(z_um=start.z_um)
                self._not_before_s = self._clock() + self._pause_s
                self._say(f"{error.what}, got {error.got}; looked for again in {self._pause_s:.0f} s")
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            else:
                self._plane.add(start.x_um, start.y_um, found.z_um)
                self._pause_s = _FIRST_PAUSE_S
                self._widened = found.widened
                far = f", {found.widened} times as far: pass --um-per-step" if found.widened > 1 else ""
                self._say(f"found at {found.z_um:.1f} um, from {found.frames} pictures{far}")
        except CameraError:
            if not self._stop.is_set():
                raise
        except HardwareError as error:
            self._lose_stage(error)
        return True

    def _lose_stage(self, error: HardwareError) -> None:
        self._stage = None
        self._say(f"kept no more: {error.what}")

    def _say(self, text: str) -> None:
        self._events.append(SourceEvent("focus", text))
