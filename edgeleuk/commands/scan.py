"""``edgeleuk scan``: an area of a slide, field by field, into one session, and a picture of it all."""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeleuk.capture import is_simulated_source, open_camera
from edgeleuk.capture.base import SourceEvent
from edgeleuk.capture.discovery import find_camera
from edgeleuk.commands.run import run
from edgeleuk.commands.slide_fields import FieldKeeper
from edgeleuk.errors import HardwareError, SessionError, UsageError
from edgeleuk.frames import Box, Frame
from edgeleuk.io.closing import Closing
from edgeleuk.io.console import say
from edgeleuk.io.images import read_image, write_png
from edgeleuk.results import SCALE_UNKNOWN, Decision
from edgeleuk.session.open import begun
from edgeleuk.session.reader import read_session
from edgeleuk.stage.autofocus import REACH_UM, autofocus, refocus
from edgeleuk.stage.base import FocusDrive, Stoppable
from edgeleuk.stage.mapping import Mapping, calibrate
from edgeleuk.stage.mosaic import Mosaic
from edgeleuk.stage.resuming import (
    SCAN_EVENT,
    Begun,
    EarlierCell,
    EarlierScan,
    begun_in,
    field_of,
    focus_again,
    read_earlier_scan,
)
from edgeleuk.stage.scanning import FocusKeeper, ScanPlan, ScanSource
from edgeleuk.stage.stacking import require_focus_axis
from edgeleuk.stage.synchronous_camera import NewestFrameCamera
from edgeleuk.vision.picture_scale import estimated_scale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.capture import FrameSource
    from edgeleuk.commands.run import RunOptions
    from edgeleuk.commands.slide import SlideOptions
    from edgeleuk.errors import EdgeleukError
    from edgeleuk.frames import RgbImage
    from edgeleuk.io.settings import RunSettings
    from edgeleuk.results import FrameResult, SessionSummary
    from edgeleuk.stage.base import Mover, Place

_STOP_WITHIN_S = 0.05


class SlideScan:
    """Walks over a slide; what `edgeleuk.commands.run.run` is given to move the stage.

    Parameters
    ----------
    stage : Mover
    plan : ScanPlan
    px_per_um : float, optional
        Roughly; without it the red cells tell.
    past : EarlierScan, optional
        Of a scan that goes on; see `earlier_scan_in`.
    keeper : FieldKeeper, optional
        Keeps the fields for the slide.
    """

    def __init__(
        self,
        stage: Mover,
        plan: ScanPlan,
        px_per_um: float | None = None,
        past: EarlierScan | None = None,
        keeper: FieldKeeper | None = None,
    ) -> None:
        self._stage = stage
        self._plan = plan
        self._px_per_um = px_per_um
        self._past = past
        self._keeper = keeper
        self._mosaic: Mosaic | None = None
        self._scale = 1.0
        self._simulated = False

    def over(self, source: FrameSource, stop: threading.Event, first: int) -> FrameSource:
        """Find the focus, learn how the camera lies, and make a source of the fields that are left.

        A scan that is stopped meanwhile has none left.
        """
        self._simulated = is_simulated_source(source)
        still = NewestFrameCamera(source, stop)
        halted = StoppableStage(self._stage, stop)
        try:
            walk = self._walk(still, halted, first, stop)
        except BaseException as error:
            if not (isinstance(error, HardwareError) and stop.is_set()):
                halted.close()
                still.close()
                raise
            walk = _Walk(None, [])
        return _Scanned(source.uri, walk, (still, halted), self._keeper, simulated=self._simulated)

    def _walk(
        self, still: NewestFrameCamera, stage: StoppableStage, first: int, stop: threading.Event
    ) -> _Walk:
        past, events = self._past, []
        if past is None:
            found = refocus(still, stage) if stage.focus_by_itself() else autofocus(still, stage)
            say(f"  focus at {found.z_um:.1f} um")
            here = stage.position()
            mapping = calibrate(still, stage, self._px_per_um or _estimated(still()))
            say(f"  {mapping.px_per_um:.2f} px/um, camera turned by {mapping.angle_degrees:.1f} degrees")
            plan = (self._plan.width_um, self._plan.height_um, self._plan.overlap)
            past = EarlierScan(Begun((here.x_um, here.y_um), mapping.matrix, plan))
            events = [SourceEvent(SCAN_EVENT, past.begun.to_text())]
        mapping = Mapping(past.begun.matrix)
        frame = still()
        pixels = frame.pixels
        size = (pixels.shape[1], pixels.shape[0])
        fields = self._plan.fields(mapping, size, past.begun.start_um)
        if self._keeper is not None:
            self._keeper.begin(fields, past.begun, frame, simulated=self._simulated)
        self._scale = mapping.px_per_um
        self._mosaic = Mosaic(fields, size, self._plan.steps_px(mapping, size))
        for cell in past.cells:
            self._mosaic.mark(*cell)
        missing = frozenset[int]() if self._keeper is None else self._keeper.missing()
        left, plane = past.left(fields, missing), past.plane(fields)
        again = f", {len(past.rejected)} of them rejected and taken again" if past.rejected else ""
        say(f"  {len(fields)} fields, {len(past.used) + len(past.rejected)} of them recorded{again}")
        if self._past is not None and left:
            places = [(left[0].x_um, left[0].y_um), past.begun.start_um]
            say(f"  focus at {focus_again(still, stage, plane, places).z_um:.1f} um")
        stack = None if self._keeper is None else self._keeper.stack
        keeper = FocusKeeper(still, stage, self._plan.refocus_every, plane, stack)
        return _Walk(ScanSource(still.uri, left, keeper, mapping, first=first, stop=stop), events)

    def seen(self, result: FrameResult, pixels: RgbImage) -> None:
        """Put a field into the picture of the slide."""
        if self._mosaic is not None:
            self._mosaic.add(result, pixels)

    def save(self, path: Path) -> None:
        """Write the picture of the slide, if there is anything on it."""
        if self._mosaic is None:
            return
        if self._past is not None and path.is_file():
            self._mosaic.begin_with(read_image(path))
        if not self._mosaic.is_empty:
            write_png(path, self._mosaic.drawn(self._scale, simulated=self._simulated), "--picture")
            say(f"picture   {path}")


class StoppableStage(Closing):
    """A stage that stops, also in mid-move, as soon as the run is to end, and moves no more.

    Parameters
    ----------
    stage : Mover
    stop : threading.Event
    """

    def __init__(self, stage: Mover, stop: threading.Event) -> None:
        self._stage = stage
        self._stop = stop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stage-stop", daemon=True)
        self._thread.start()

    def position(self) -> Place:
        """See `Mover.position`."""
        return self._stage.position()

    def move(self, x_um: float | None = None, y_um: float | None = None, z_um: float | None = None) -> None:
        """See `Mover.move`."""
        if self._stop.is_set():
            raise HardwareError("the scan was stopped")
        self._stage.move(x_um, y_um, z_um)

    def focus_by_itself(self) -> bool:
        """Let a microscope that has an autofocus of its own run it; False where it has none."""
        if not (isinstance(self._stage, FocusDrive) and self._stage.focuses_itself):
            return False
        self._stage.focus(REACH_UM)
        return True

    def close(self) -> None:
        """Watch no more; the stage is the caller's to close."""
        self._ended.set()
        self._thread.join(5)

    def _watch(self) -> None:
        while not self._ended.wait(_STOP_WITHIN_S):
            if self._stop.is_set():
                if isinstance(self._stage, Stoppable):
                    # Firmware that cannot stop ends its move, which is short.
                    with contextlib.suppress(HardwareError):
                        self._stage.stop()
                return


class _Walk(NamedTuple):
    """The fields that are left, if any, and what is to be told before them."""

    scan: ScanSource | None
    events: list[SourceEvent]


class _Scanned(Closing):
    """A scan's frames, and what befalls its camera; a `FrameSource`."""

    live = False
    # What to do where not one field could be used.
    cure_of_none = "bring the slide into focus and the lamp to its level, over cells, then resume the scan"

    def __init__(
        self,
        uri: str,
        walk: _Walk,
        stand: tuple[NewestFrameCamera, StoppableStage],
        keeper: FieldKeeper | None,
        *,
        simulated: bool,
    ) -> None:
        self.uri = uri
        self.simulated = simulated
        self._walk = walk
        self._still, self._stage = stand
        self._keeper = keeper

    def frames(self) -> Iterator[Frame | SourceEvent]:
        yield from self._walk.events
        if self._walk.scan is None:
            return
        for item in self._walk.scan.frames():
            yield from self._still.events()
            yield from self._walk.scan.events()
            # Kept before it is recorded: a field that is recorded is not taken again.
            if self._keeper is not None and isinstance(item, Frame):
                yield self._keeper.keep(item, self._walk.scan.planes)
            else:
                yield item

    def close(self) -> None:
        if self._walk.scan is not None:
            self._walk.scan.close()
        self._stage.close()
        self._still.close()


def scan(
    camera: str | None,
    bundle: str,
    settings: RunSettings,
    stage: Mover,
    plan: ScanPlan,
    options: RunOptions,
    slide: SlideOptions | None = None,
) -> tuple[SessionSummary, EdgeleukError | None]:
    """Scan a slide; see `edgeleuk.commands.run.run` for what is returned.

    Parameters
    ----------
    camera, bundle, settings
        As of `edgeleuk.commands.run.run`.
    stage : Mover
    plan : ScanPlan
    options : RunOptions
        Its ``walk`` is this scan's.
    slide : SlideOptions, optional
        Where the slide is wanted as a picture; see `edgeleuk.commands.slide`.

    Raises
    ------
    UsageError
        A scan that goes on has another area, overlap or stack than it began with, the slide cannot be
        written, or a stack is wanted of a stage without a focus axis.
    HardwareError
        The stage, or the focus, or the way between them.
    """
    session = options.session
    if slide is not None and slide.stack is not None:
        require_focus_axis(stage)
    going_on = options.resume and session is not None and begun(session)
    past = earlier_scan_in(session) if going_on and session is not None else None
    began = None if past is None else past.begun
    if began is not None and began.plan != (plan.width_um, plan.height_um, plan.overlap):
        raise UsageError(
            "the scan was begun over another area",
            got=f"{plan.width_um / 1000:g}x{plan.height_um / 1000:g} mm, overlap {plan.overlap:g}",
            allowed=f"{began.plan[0] / 1000:g}x{began.plan[1] / 1000:g} mm, overlap {began.plan[2]:g}",
            cure="pass the same, or start a new session",
        )
    if slide is None:
        walk = SlideScan(stage, plan, settings.px_per_um, past)
        return run(camera, bundle, settings, replace(options, walk=walk))
    with FieldKeeper(slide, settings, going_on=past is not None) as keeper:
        walk = SlideScan(stage, plan, settings.px_per_um, past, keeper)
        summary, error = run(camera, bundle, settings, replace(options, walk=walk))
        if error is not None:
            return summary, error
        written, error = keeper.write(Path(summary.session), summary.ended)
        return replace(summary, slide=written), error


def calibrate_stage(camera: str | None, settings: RunSettings, stage: Mover) -> Mapping:
    """Find the focus and learn how a camera lies on a stage; see `edgeleuk.stage.mapping.calibrate`."""
    with open_camera(find_camera(camera)) as source, NewestFrameCamera(source, threading.Event()) as still:
        autofocus(still, stage)
        return calibrate(still, stage, settings.px_per_um or _estimated(still()))


def mapping_text(mapping: Mapping) -> str:
    """Say how the camera lies."""
    (a, b), (c, d) = mapping.matrix
    x, y = mapping.backlash_um
    return (
        f"scale     {mapping.px_per_um:.4f} px/um, from {mapping.moves} moves,"
        f" {mapping.residual_px:.2f} px left over\n"
        f"camera    turned by {mapping.angle_degrees:.2f} degrees;"
        f" matrix {a:.4f} {b:.4f} / {c:.4f} {d:.4f} px/um\n"
        f"backlash  x {x:.2f} um, y {y:.2f} um"
    )


def earlier_scan_in(session: Path) -> EarlierScan | None:
    """Read how far a scan had come; None where it had not come to its first field.

    Raises
    ------
    SessionError
        The session is no scan, or is damaged.
    """
    with read_session(session) as reader:
        events = [(str(row["kind"]), str(row["text"])) for row in reader.rows("events")]
        frames = [(str(row["source"]), row["rejected"]) for row in reader.rows("frames")]
        cells = [_earlier_cell(row) for row in reader.rows("cells")]
    earlier = begun_in(events, session)
    if earlier is None and not frames:
        return None
    if earlier is None:
        raise SessionError(
            f"{session} is no session of a scan", cure="go on with it by `edgeleuk run --resume`"
        )
    reasons = ((source, None if reason is None else str(reason)) for source, reason in frames)
    return read_earlier_scan(earlier, reasons, [text for _, text in events], cells)


def _earlier_cell(row: dict[str, Any]) -> EarlierCell:
    box = Box(*(int(row[name]) for name in "xywh"))
    return EarlierCell(field_of(str(row["source"])) or 0, box.centre, Decision(row["decision"]))


def parse_area(text: str) -> tuple[float, float]:
    """Read ``5x5`` (millimetres) as micrometres.

    Examples
    --------
    >>> parse_area("2x1.5")
    (2000.0, 1500.0)
    """
    try:
        width, height = (1000 * float(part) for part in text.lower().removesuffix("mm").split("x"))
    except ValueError:
        width = height = math.nan
    if math.isnan(width) or math.isnan(height):
        raise UsageError("the area to scan cannot be read", got=text, allowed="WxH in millimetres, 5x5")
    return width, height


def _estimated(frame: Frame) -> float:
    scale, trouble = estimated_scale(frame.pixels)
    if scale is None:
        what = (
            "the scale is unknown: no red cells are seen" if trouble == SCALE_UNKNOWN else "implausible scale"
        )
        raise UsageError(what, cure="pass it with --px-per-um")
    return scale
