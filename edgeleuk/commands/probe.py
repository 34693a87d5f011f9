"""``edgeleuk camera probe``: what a source really sends, how fast, how late, and a picture of it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.capture import (
    FrameRejectedError,
    SourceEvent,
    decoded,
    is_simulated_source,
    open_reader,
    open_source,
)
from edgeleuk.capture.controls import Controllable, value_text
from edgeleuk.capture.discovery import find_camera
from edgeleuk.errors import CameraError, UsageError
from edgeleuk.io.closing import Closing
from edgeleuk.io.images import require_picture, write_png
from edgeleuk.results.structs import Printed
from edgeleuk.vision.quality import quality_check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.capture import FrameReader, FrameSource
    from edgeleuk.capture.base import SourceItem
    from edgeleuk.frames import RgbImage

SECONDS = 3.0
# A folder of thousands of pictures need not be read to its end.
_MOST_FRAMES = 1000


class ProbedControl(Printed, frozen=True, kw_only=True):
    """A control of a camera: its value, whether the camera sets it itself, and what may be set."""

    value: tuple[float, ...]
    automatic: bool
    least: float
    greatest: float
    step: float
    unit: str


class ProbeLatency(Printed, frozen=True, kw_only=True):
    """Percentiles of the milliseconds from a picture's arrival until its pixels were there."""

    p50: float
    p95: float


class ProbeResult(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk camera probe --json`` prints.

    Attributes
    ----------
    camera : str
        Its URI.
    simulated, live : bool
    format : str or None
        Of the pictures as they come, where the source knows it.
    width, height : int
        Of the last picture.
    frames, rejected : int
        That came, and that were taken but could not be decoded.
    first_picture_ms : float
        From opening.
    fps, jitter_ms : float or None
        Rate, and the 95th percentile of how far a gap is from the median; None where it is not live.
    latency_ms : ProbeLatency
    quality_check : str or None
        Why the last picture would not be judged.
    controls : dict of str to ProbedControl
    picture : str or None
        The file that was written.
    """

    schema_version: int = 1
    camera: str
    simulated: bool
    live: bool
    format: str | None
    width: int
    height: int
    frames: int
    rejected: int
    first_picture_ms: float
    fps: float | None
    jitter_ms: float | None
    latency_ms: ProbeLatency
    quality_check: str | None
    controls: dict[str, ProbedControl]
    picture: str | None


class _Timed(Closing):
    """A source that notes when each frame passes, whether anybody takes it or not."""

    def __init__(self, source: FrameSource) -> None:
        self.uri = source.uri
        self.live = source.live
        self.arrivals: list[float] = []
        self._source = source

    def frames(self) -> Iterator[SourceItem]:
        for item in self._source.frames():
            if not isinstance(item, SourceEvent):
                self.arrivals.append(time.monotonic())
            yield item

    def close(self) -> None:
        self._source.close()


def probe(camera: str | None, out: Path | None, seconds: float = SECONDS) -> ProbeResult:
    """Open a source, watch it for a few seconds, and say what it does.

    Parameters
    ----------
    camera : str or None
        URI of a source; None takes the only camera there is.
    out : Path or None
        PNG of its last picture.
    seconds : float

    Returns
    -------
    ProbeResult
        Rate and jitter of live sources alone: a folder comes as fast as it is asked for.

    Raises
    ------
    CameraError
        It cannot be opened, or sent no picture that can be decoded.
    UsageError
        A number of seconds out of range, or a file that cannot be written.
    """
    if not 0.1 <= seconds <= 3600:
        raise UsageError("the number of seconds is out of range", got=seconds, allowed="0.1 to 3600")
    if out is not None:
        require_picture(out, "--out")
    if out is not None and out.suffix.lower() != ".png":
        raise UsageError("a picture is stored as PNG", got=out.name, allowed="FILE.png")
    began = time.monotonic()
    with open_source(find_camera(camera)) as source:
        timed = _Timed(source)
        with open_reader(timed) as reader:
            pixels, latencies_ms, rejected = _watch(timed, reader, seconds)
        controls = _controls(source)
        arrivals = np.array(timed.arrivals)
        height, width = pixels.shape[:2]
        fps, jitter_ms = _rate(arrivals) if source.live else (None, None)
        p50, p95 = (round(float(np.percentile(latencies_ms, share)), 1) for share in (50, 95))
        result = ProbeResult(
            camera=source.uri,
            simulated=is_simulated_source(source),
            live=source.live,
            format=getattr(source, "format", None),
            width=width,
            height=height,
            frames=len(arrivals),
            rejected=rejected,
            first_picture_ms=round((timed.arrivals[0] - began) * 1000, 1),
            fps=fps,
            jitter_ms=jitter_ms,
            latency_ms=ProbeLatency(p50=p50, p95=p95),
            quality_check=quality_check(pixels),
            controls=controls,
            picture=None if out is None else str(out),
        )
    if out is not None:
        write_png(out, pixels)
    return result


def probe_text(result: ProbeResult) -> str:
    """Say what a source does."""
    latency = result.latency_ms
    lines = [
        f"camera    {result.camera}" + ("   SIMULATED" if result.simulated else ""),
        f"pictures  {result.width}x{result.height}" + (f", {result.format}" * bool(result.format)),
        f"frames    {result.frames}, {result.rejected} of those taken were unreadable",
    ]
    if result.fps is not None:
        lines.append(f"rate      {result.fps:g} a second, jitter {result.jitter_ms:g} ms (p95)")
    lines.append(f"latency   from arrival to pixels p50 {latency.p50:g} ms, p95 {latency.p95:g} ms")
    lines.append(f"quality   {result.quality_check or 'passes'}")
    for name, each in result.controls.items():
        allowed = f"{each.least:g} to {each.greatest:g} {each.unit}"
        state = ", automatic" if each.automatic else ""
        lines.append(f"control   {name} {value_text(each.value)}{state} (settable: {allowed})")
    if not result.controls:
        lines.append("control   none")
    if result.picture:
        lines.append(f"picture   {result.picture}")
    return "\n".join(lines)


def _watch(source: _Timed, reader: FrameReader, seconds: float) -> tuple[RgbImage, list[float], int]:
    """Decode what can be decoded in time; the time runs from the first picture on."""
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set)
    latencies_ms: list[float] = []
    rejected = 0
    pixels: RgbImage | None = None
    reason = None
    try:
        while (item := reader.take(stop)) is not None and len(latencies_ms) + rejected < _MOST_FRAMES:
            if timer.ident is None:
                timer.start()
            try:
                frame = decoded(item)
            except FrameRejectedError as error:
                rejected, reason = rejected + 1, error.reason
                continue
            pixels = frame.pixels
            latencies_ms.append((time.monotonic() - frame.captured_monotonic) * 1000)
    finally:
        timer.cancel()
    if pixels is None:
        raise CameraError(
            f"{source.uri} sent no picture that can be decoded", got=reason or "none", cure="check the camera"
        )
    return pixels, latencies_ms, rejected


def _rate(arrivals: np.ndarray[Any, np.dtype[Any]]) -> tuple[float | None, float | None]:
    """Return pictures a second, and the jitter in milliseconds."""
    gaps_ms = np.diff(arrivals) * 1000
    if len(gaps_ms) == 0:
        return None, None
    jitter_ms = np.percentile(np.abs(gaps_ms - np.median(gaps_ms)), 95)
    return round(1000 / float(gaps_ms.mean()), 2), round(float(jitter_ms), 1)


def _controls(source: FrameSource) -> dict[str, ProbedControl]:
    if not isinstance(source, Controllable):
        return {}
    ranges = source.controls.ranges()
    return {
        control.value: ProbedControl(
            value=tuple(reading.value),
            automatic=reading.automatic,
            least=ranges[control].least,
            greatest=ranges[control].greatest,
            step=ranges[control].step,
            unit=ranges[control].unit,
        )
        for control, reading in source.controls.read().items()
    }
