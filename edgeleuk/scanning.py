"""``edgeleuk scan``: an area of a slide, field by field, into one session, and a picture of it all."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeleuk.cameras import find_camera
from edgeleuk.capture import is_simulated, open_camera
from edgeleuk.capture.base import SourceEvent
from edgeleuk.closing import Closing
from edgeleuk.console import say
from edgeleuk.errors import SessionError, UsageError
from edgeleuk.images import read_image, write_png
from edgeleuk.record.reading import read_session
from edgeleuk.running import run
from edgeleuk.scaling import SCALE_UNKNOWN, estimated_scale
from edgeleuk.stage.autofocus import autofocus
from edgeleuk.stage.eye import CameraEye
from edgeleuk.stage.mapping import Mapping, calibrate
from edgeleuk.stage.mosaic import Mosaic
from edgeleuk.stage.scanning import FocusKeeper, ScanPlan, ScanSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.capture import FrameSource
    from edgeleuk.config import RunSettings
    from edgeleuk.errors import EdgeleukError
    from edgeleuk.frames import Frame, RgbImage
    from edgeleuk.results import FrameResult, SessionSummary
    from edgeleuk.stage.base import Mover

_EVENT = "scan"


@dataclass(frozen=True, slots=True)
class _Begun:
    """What a scan that goes on has to take up: where it began, and how the camera lies on the stage."""

    start_um: tuple[float, float]
    matrix: tuple[tuple[float, float], tuple[float, float]]
    plan: tuple[float, float, float]

    def to_text(self) -> str:
        return json.dumps({"start_um": self.start_um, "matrix": self.matrix, "plan": self.plan})


class SlideScan:
    """Walks over a slide; what `edgeleuk.running.run` is given to move the stage.

    Parameters
    ----------
    stage : Mover
    plan : ScanPlan
    px_per_um : float, optional
        Roughly; without it the red cells tell.
    begun : optional
        Of a scan that goes on; see `begun_in`.
    """

    def __init__(
        self, stage: Mover, plan: ScanPlan, px_per_um: float | None = None, begun: _Begun | None = None
    ) -> None:
        self._stage = stage
        self._plan = plan
        self._px_per_um = px_per_um
        self._begun = begun
        self._mosaic: Mosaic | None = None
        self._scale = 1.0
        self._simulated = False

    def over(self, source: FrameSource, stop: threading.Event, first: int) -> FrameSource:
        """Find the focus, learn how the camera lies, and make a source of the fields that are left."""
        self._simulated = is_simulated(source.uri)
        eye = CameraEye(source, stop)
        try:
            return self._with(eye, first)
        except BaseException:
            eye.close()
            raise

    def _with(self, eye: CameraEye, first: int) -> FrameSource:
        if self._begun is None:
            say(f"  focus at {autofocus(eye, self._stage).z_um:.1f} um")
            here = self._stage.position()
            mapping = calibrate(eye, self._stage, self._px_per_um or _estimated(eye()))
            say(f"  {mapping.px_per_um:.2f} px/um, camera turned by {mapping.angle_degrees:.1f} degrees")
            plan = (self._plan.width_um, self._plan.height_um, self._plan.overlap)
            begun = _Begun((here.x_um, here.y_um), mapping.matrix, plan)
        else:
            begun, mapping = self._begun, Mapping(self._begun.matrix)
        pixels = eye().pixels
        size = (pixels.shape[1], pixels.shape[0])
        fields = self._plan.fields(mapping, size, begun.start_um)
        self._scale = mapping.px_per_um
        self._mosaic = Mosaic(fields, size, self._plan.steps_px(mapping, size))
        say(f"  {len(fields)} fields, {first} of them recorded")
        keeper = FocusKeeper(eye, self._stage, self._plan.refocus_every)
        events = [] if first else [SourceEvent(_EVENT, begun.to_text())]
        return _Scanned(ScanSource(eye.uri, fields, keeper, mapping, first=first), eye, events)

    def seen(self, result: FrameResult, pixels: RgbImage) -> None:
        """Put a field into the picture of the slide."""
        if self._mosaic is not None:
            self._mosaic.add(result, pixels)

    def save(self, path: Path) -> None:
        """Write the picture of the slide."""
        if self._mosaic is not None:
            if self._begun is not None and path.is_file():
                self._mosaic.begin_with(read_image(path))
            write_png(path, self._mosaic.drawn(self._scale, simulated=self._simulated))
            say(f"picture   {path}")


class _Scanned(Closing):
    """A scan's frames, and what befalls its camera; a `FrameSource`."""

    live = False

    def __init__(self, scan: ScanSource, eye: CameraEye, events: list[SourceEvent]) -> None:
        self.uri = scan.uri
        self._scan = scan
        self._eye = eye
        self._events = events

    def frames(self) -> Iterator[Frame | SourceEvent]:
        yield from self._events
        for item in self._scan.frames():
            yield from self._eye.events()
            yield item

    def close(self) -> None:
        self._scan.close()
        self._eye.close()


def scan(
    camera: str | None,
    bundle: str,
    settings: RunSettings,
    stage: Mover,
    plan: ScanPlan,
    *,
    session: Path | None,
    picture: Path | None,
    show: bool,
    resume: bool = False,
) -> tuple[SessionSummary, EdgeleukError | None]:
    """Scan a slide; see `edgeleuk.running.run` for what is returned.

    Raises
    ------
    UsageError
        A scan that goes on has another area or overlap than it began with.
    HardwareError
        The stage, or the focus, or the way between them.
    """
    begun = begun_in(session) if resume and session is not None and session.exists() else None
    if begun is not None and begun.plan != (plan.width_um, plan.height_um, plan.overlap):
        raise UsageError(
            "the scan was begun over another area",
            got=f"{plan.width_um / 1000:g}x{plan.height_um / 1000:g} mm, overlap {plan.overlap:g}",
            allowed=f"{begun.plan[0] / 1000:g}x{begun.plan[1] / 1000:g} mm, overlap {begun.plan[2]:g}",
            cure="pass the same, or start a new session",
        )
    walk = SlideScan(stage, plan, settings.px_per_um, begun)
    return run(
        camera,
        bundle,
        settings,
        session=session,
        frames=None,
        picture=picture,
        show=show,
        resume=resume,
        walk=walk,
    )


def calibrate_stage(camera: str | None, settings: RunSettings, stage: Mover) -> Mapping:
    """Find the focus and learn how a camera lies on a stage; see `edgeleuk.stage.mapping.calibrate`."""
    with open_camera(find_camera(camera)) as source, CameraEye(source, threading.Event()) as eye:
        autofocus(eye, stage)
        return calibrate(eye, stage, settings.px_per_um or _estimated(eye()))


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


def begun_in(session: Path) -> _Begun | None:
    """Read how a scan began; None where it had not come to its first field.

    Raises
    ------
    SessionError
        The session is no scan.
    """
    with read_session(session) as reader:
        texts = [str(row["text"]) for row in reader.rows("events") if row["kind"] == _EVENT]
        counts = reader.counts()
    if not texts and counts.processed + counts.rejected == 0:
        return None
    if not texts:
        raise SessionError(
            f"{session} is no session of a scan", cure="go on with it by `edgeleuk run --resume`"
        )
    facts: dict[str, Any] = json.loads(texts[0])
    (a, b), (c, d) = facts["matrix"]
    x, y = facts["start_um"]
    width, height, overlap = facts["plan"]
    return _Begun((x, y), ((a, b), (c, d)), (width, height, overlap))


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
