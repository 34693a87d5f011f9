"""A scan over a slide as a source of frames: the stage walks a serpentine, and focus is kept on the way."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.capture.base import SourceEvent
from edgeleuk.errors import HardwareError, UsageError
from edgeleuk.io.closing import Closing
from edgeleuk.stage.autofocus import FocusPlane, autofocus, refocus
from edgeleuk.stage.base import ScanField
from edgeleuk.stage.resuming import field_source, focus_text
from edgeleuk.stage.stacking import take_planes
from edgeleuk.vision.quality import BLURS, QualityFault, fault_of, measure_quality

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.frames import Frame
    from edgeleuk.stage.base import Mover, SynchronousCamera
    from edgeleuk.stage.mapping import Mapping
    from edgeleuk.stage.stacking import FocusStack, Planes

# Where nothing can be focused on, the focus of the fields around serves.
_NOTHING_TO_FOCUS = (QualityFault.EMPTY, QualityFault.TOO_THICK)
# The plane is trusted once it rests on so many places.
_PLANE_KNOWN = 6


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """An area and how it is walked over.

    Attributes
    ----------
    width_um, height_um : float
        Of the area, along the picture's axes; it begins with the first field, at its upper left.
    overlap : float
        Share of a field that its neighbour shows again.
    refocus_every : int
        Fields between two corrections of the focus, once the slide's plane is known.
    """

    width_um: float
    height_um: float
    overlap: float = 0.3
    refocus_every: int = 8

    def __post_init__(self) -> None:
        if not (0 < self.width_um < 100_000 and 0 < self.height_um < 100_000):
            raise UsageError(
                "the area to scan is out of range",
                got=f"{self.width_um / 1000:g}x{self.height_um / 1000:g} mm",
                allowed="above 0 and below 100 mm",
            )
        if not 0.1 <= self.overlap <= 0.8:
            raise UsageError("the overlap is out of range", got=self.overlap, allowed="0.1 to 0.8")
        if self.refocus_every < 1:
            raise UsageError("refocus_every is out of range", got=self.refocus_every, allowed="1 or more")

    def fields(
        self, mapping: Mapping, size_px: tuple[int, int], start_um: tuple[float, float]
    ) -> list[ScanField]:
        """Return the fields in the order of the walk: a serpentine, rows from left to right and back.

        Parameters
        ----------
        mapping : Mapping
        size_px : (W, H)
            Of a field.
        start_um : (x, y)
            Where the stage is in the first field.
        """
        counts, steps = zip(*self._walk(mapping, size_px), strict=True)
        fields: list[ScanField] = []
        for row in range(counts[1]):
            columns = range(counts[0]) if row % 2 == 0 else range(counts[0] - 1, -1, -1)
            for column in columns:
                x, y = mapping.to_um(column * steps[0], row * steps[1])
                fields.append(ScanField(len(fields), row, column, start_um[0] + x, start_um[1] + y))
        return fields

    def steps_px(self, mapping: Mapping, size_px: tuple[int, int]) -> tuple[float, float]:
        """Return the way from one column, and from one row, to the next, in pixels of a field."""
        (_, x), (_, y) = self._walk(mapping, size_px)
        return x, y

    def _walk(self, mapping: Mapping, size_px: tuple[int, int]) -> list[tuple[int, float]]:
        """Count the fields along both axes, and the steps between them in pixels."""
        found = []
        for extent_um, side_px in zip((self.width_um, self.height_um), size_px, strict=True):
            side_um = side_px / mapping.px_per_um
            most_um = side_um * (1 - self.overlap)
            count = max(1, math.ceil((extent_um - side_um) / most_um - 1e-9) + 1)
            step_um = min(most_um, (extent_um - side_um) / (count - 1)) if count > 1 else 0.0
            found.append((count, step_um * mapping.px_per_um))
        return found


class Taken(NamedTuple):
    """A field's picture, what is to be said of it, and the focus where it was looked for and found.

    Of a stack the picture is the sharpest plane.
    """

    frame: Frame
    remark: str | None = None
    focus_um: float | None = None
    planes: Planes | None = None


@dataclass
class FocusKeeper:
    """Keeps a scan in focus: at first by a sweep, then by the slide's plane, corrected now and then.

    Attributes
    ----------
    every : int
        Fields between two corrections, once the plane is known.
    stack : FocusStack, optional
        Planes that are taken of each field.
    frames : int
        Pictures that finding the focus took.
    """

    camera: SynchronousCamera
    stage: Mover
    every: int = 8
    plane: FocusPlane = field(default_factory=FocusPlane)
    stack: FocusStack | None = None
    frames: int = 0
    _since: int = 0
    _left_at_um: float | None = None

    def go(self, x_um: float, y_um: float) -> Taken:
        """Go to a field, bring it into focus, and take it with its planes."""
        taken = self._in_focus(x_um, y_um)
        if self.stack is None:
            return taken
        frame, planes = take_planes(self.camera, self.stage, self.stack, taken.frame)
        self._left_at_um = planes.z_um
        return taken._replace(frame=frame, planes=planes)

    def _in_focus(self, x_um: float, y_um: float) -> Taken:
        z_um = self.plane.at(x_um, y_um)
        # A stack leaves the stage above the focus.
        self.stage.move(x_um=x_um, y_um=y_um, z_um=self._left_at_um if z_um is None else z_um)
        frame = self.camera()
        fault = fault_of(measure_quality(frame.pixels))
        self._since += 1
        due = len(self.plane.found) < _PLANE_KNOWN or self._since >= self.every
        if fault in _NOTHING_TO_FOCUS or not (due or fault in BLURS):
            return Taken(frame)
        try:
            found = autofocus(self.camera, self.stage) if z_um is None else refocus(self.camera, self.stage)
        except HardwareError as error:
            if z_um is not None:
                self.stage.move(z_um=z_um)
            return Taken(self.camera(), f"the focus stays as it was: {error.what}")
        self.frames += found.frames
        self.plane.add(x_um, y_um, found.z_um)
        self._since = 0
        return Taken(self.camera(), focus_um=found.z_um)


class ScanSource(Closing):
    """The frames of a scan; a `FrameSource` of which every frame is processed.

    Parameters
    ----------
    uri : str
        Of the camera.
    fields : list of ScanField
        That are to be taken.
    focus : FocusKeeper
    mapping : Mapping
    first : int
        Number of the first frame; a frame's source tells which field it shows.
    stop : threading.Event, optional
        Ends the walk: what fails from then on is no failure.

    Attributes
    ----------
    uri : str
    live : bool
        False: the stage waits until a frame is done.
    planes : Planes or None
        Of the field whose frame was yielded last, where a stack is taken.
    """

    live = False

    def __init__(
        self,
        uri: str,
        fields: list[ScanField],
        focus: FocusKeeper,
        mapping: Mapping,
        *,
        first: int = 0,
        stop: threading.Event | None = None,
    ) -> None:
        self.uri = uri
        self._fields = fields
        self._focus = focus
        self._mapping = mapping
        self._first = first
        self._stop = stop or threading.Event()
        self._closed = False
        self._focused: list[SourceEvent] = []
        self.planes: Planes | None = None

    def events(self) -> list[SourceEvent]:
        """Take what was learned of the focus since the last call, for a scan that has to go on."""
        focused, self._focused = self._focused, []
        return focused

    def frames(self) -> Iterator[Frame | SourceEvent]:
        """Yield a frame for each field, in the order of the walk."""
        for sequence, place in enumerate(self._fields, self._first):
            if self._closed or self._stop.is_set():
                return
            try:
                taken = self._focus.go(place.x_um, place.y_um)
            except HardwareError:
                if self._stop.is_set():
                    return
                raise
            if taken.remark is not None:
                yield SourceEvent("focus", f"field {place.number}: {taken.remark}")
            if taken.focus_um is not None:
                self._focused.append(SourceEvent("focused", focus_text(place.number, taken.focus_um)))
            self.planes = taken.planes
            yield replace(
                taken.frame,
                sequence=sequence,
                px_per_um=self._mapping.px_per_um,
                source=field_source(self.uri, place.number),
            )

    def close(self) -> None:
        """End with the field at hand."""
        self._closed = True
