"""The real pipeline on a stream, timed part by part: its parts are wrapped, none is copied."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np

from edgeleuk.capture import ReconnectPolicy, SourceEvent, decoded, is_simulated, open_camera, open_reader
from edgeleuk.capture.base import JpegFrame
from edgeleuk.errors import CameraError, InterruptedBeforeRecordError
from edgeleuk.frames import Frame
from edgeleuk.io.clock import moment
from edgeleuk.io.closing import Closing
from edgeleuk.pipeline.engine import Engine
from edgeleuk.pipeline.run import PipelineOptions
from edgeleuk.pipeline.run import run as run_pipeline
from edgeleuk.session.open import create_session
from edgeleuk.vision.quality import quality_check
from edgeleuk.vision.stream import StreamWatch
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgeleuk.capture import EncodedFrame, FrameReader, FrameSource
    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.results import SessionSummary

    ItemT = Frame | EncodedFrame

T = TypeVar("T")

# In the order of the pipeline. `other` is what none of them is: joining views, looking for dust.
STAGES = (
    *("capture", "decode", "quality_check", "scale", "segment", "track", "crop", "classify", "record"),
    "other",
)
DEFAULT_CAMERA = "virtual://?seed=7"
JPEG_QUALITY = 90
# The first frame pays for what is made once; without the rest there is nothing to tell.
WARM_UP = 1
LEAST_DRAWN, MOST_DRAWN = 6, 40
# To draw a picture takes several times as long as to judge it.
DRAWING_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class StageTimes:
    """What the frames of a stream took, stage by stage.

    Attributes
    ----------
    camera : str
    drawn : bool
        True where the pictures were drawn and packed as JPEGs before the clock was started.
    summary : SessionSummary
    frames_ms : tuple of dict of str to float
        Time in each stage of `STAGES` for each frame that came after the first, rejected ones included. Two
        threads work side by side, so that these are more than what passes.
    seconds : float
        What passed until all of those were recorded.
    """

    camera: str
    drawn: bool
    summary: SessionSummary
    frames_ms: tuple[dict[str, float], ...]
    seconds: float

    def stages(self) -> dict[str, dict[str, float]]:
        """Return mean, p50 and p95 in ms of a frame, and the share of all work, of each stage."""
        table = np.array([[frame.get(name, 0.0) for name in STAGES] for frame in self.frames_ms])
        total = float(table.sum())
        low, high = np.percentile(table, (50, 95), axis=0)
        return {
            name: {
                "mean_ms": round(float(table[:, index].mean()), 4),
                "p50_ms": round(float(low[index]), 4),
                "p95_ms": round(float(high[index]), 4),
                "share": round(float(table[:, index].sum()) / total, 6),
            }
            for index, name in enumerate(STAGES)
        }

    def facts(self) -> dict[str, Any]:
        """Return what was watched, and how many frames a second were done."""
        count = len(self.frames_ms)
        work = math.fsum(ms for frame in self.frames_ms for ms in frame.values())
        return {
            "camera": self.camera,
            "pictures": "drawn before and packed as JPEG" if self.drawn else "as they came",
            "frames": count,
            "rejected": self.summary.rejected,
            "cells": self.summary.unique,
            "fps": round(count / self.seconds, 3),
            "frame_ms": round(1000 * self.seconds / count, 4),
            "work_ms": round(work / count, 4),
            "latency_ms": self.summary.latency_ms,
        }


def time_stages(
    camera: str,
    classifier: Classifier,
    seconds: float,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> StageTimes:
    """Run the pipeline on a stream as `run` does, and time its stages.

    Parameters
    ----------
    camera : str
        URI of a source. Pictures of a virtual slide are drawn before, so that drawing is not timed.
    classifier : Classifier
    seconds : float
        About so long; at least a few frames.
    progress : callable
        Told (frames done, frames in all).

    Raises
    ------
    CameraError
        It cannot be opened, died, or sent no two pictures in the time.
    UsageError, DataRefusedError
        As `open_camera` and `edgeleuk.pipeline.run`.
    """
    clock = _Clock()
    with open_camera(camera, ReconnectPolicy(tries=0)) as opened, TemporaryDirectory() as folder:
        drawn = is_simulated(opened.uri)
        pictures = _drawn(opened, DRAWING_SHARE * seconds, progress) if drawn else None
        source = opened if pictures is None else _Recorded(opened.uri, pictures)
        stop = threading.Event()
        timer = threading.Timer(seconds, stop.set)
        timer.daemon = True
        with create_session(Path(folder) / "session.db", {"camera": source.uri}) as writer:
            _replace(writer, clock, "record", "record_event", "views")
            for name in ("record_frame", "record_rejected"):
                _set(writer, name, clock.timed_record(getattr(writer, name)))
            if pictures is None:
                timer.start()
            try:
                summary = run_pipeline(
                    source,
                    _timed_engine(classifier, clock, camera=source.live or drawn),
                    writer,
                    PipelineOptions(read=lambda given, waiting: _timed_reader(given, waiting, clock)),
                    on_frame=lambda *_: progress(len(clock.ends), len(pictures or clock.ends)),
                    stop=stop,
                )
            except InterruptedBeforeRecordError:
                raise _too_few(source.uri, 0, seconds) from None
            finally:
                timer.cancel()
    frames = tuple(clock.frames()[WARM_UP:])
    if not frames:
        raise _too_few(source.uri, len(clock.ends), seconds)
    return StageTimes(source.uri, drawn, summary, frames, clock.ends[-1] - clock.ends[WARM_UP - 1])


def _too_few(uri: str, came: int, seconds: float) -> CameraError:
    return CameraError(
        f"too few pictures of {uri} to time its stages",
        got=f"{came} in {seconds:.0f} s",
        allowed=f"{WARM_UP + 1} or more",
        cure="give it more --seconds, or a camera that sends more pictures",
    )


class _Span:
    """What one thread did for one frame, from the beginning of its first part to the end of its last."""

    def __init__(self) -> None:
        self.stages_ms: defaultdict[str, float] = defaultdict(float)
        self.began: float | None = None
        self.ended = 0.0

    @property
    def other_ms(self) -> float:
        """What lies between the parts."""
        whole = 0.0 if self.began is None else (self.ended - self.began) * 1000
        return max(whole - math.fsum(self.stages_ms.values()), 0.0)


class _Clock:
    """Time of the stages of each frame, on whichever of the pipeline's two threads they are.

    Both threads take the frames in one order, so that the n-th span of each is of the same frame.

    Attributes
    ----------
    ends : list of float
        When each frame was recorded.
    """

    def __init__(self) -> None:
        self.ends: list[float] = []
        self._ahead: list[_Span] = []
        self._behind: list[_Span] = []
        self._thread = _ThisThread()

    def frames(self) -> list[dict[str, float]]:
        """Return the times of each frame's stages in ms."""
        found = []
        for spans in zip(self._ahead, self._behind, strict=False):
            frame: defaultdict[str, float] = defaultdict(float)
            for span in spans:
                for stage, ms in span.stages_ms.items():
                    frame[stage] += ms
                frame["other"] += span.other_ms
            found.append(dict(frame))
        return found

    def timed(self, stage: str, call: Callable[..., T]) -> Callable[..., T]:
        """Wrap a part. What it calls of other parts is counted as its own."""

        def wrapped(*args: Any, **named: Any) -> T:
            thread = self._thread
            if thread.inside:
                return call(*args, **named)
            thread.inside = True
            began = time.perf_counter()
            try:
                return call(*args, **named)
            finally:
                span = thread.span
                span.began = began if span.began is None else span.began
                span.ended = time.perf_counter()
                span.stages_ms[stage] += (span.ended - began) * 1000
                thread.inside = False

        return wrapped

    def timed_take(self, take: Callable[..., ItemT | None]) -> Callable[..., ItemT | None]:
        """Wrap what hands out pictures: each begins a span."""
        timed = self.timed("capture", take)

        def wrapped(*args: Any, **named: Any) -> ItemT | None:
            self._thread.span = span = _Span()
            item = timed(*args, **named)
            if item is None:
                return None
            self._ahead.append(span)
            return item if isinstance(item, Frame) else _TimedPicture(item, self)

        return wrapped

    def timed_record(self, record: Callable[..., None]) -> Callable[..., None]:
        """Wrap what records a frame: it ends a span."""
        timed = self.timed("record", record)

        def wrapped(*args: Any, **named: Any) -> None:
            timed(*args, **named)
            self._behind.append(self._thread.span)
            self.ends.append(time.perf_counter())
            self._thread.span = _Span()

        return wrapped


class _ThisThread(threading.local):
    """The frame that this thread is at, and whether it is in a part that is timed."""

    def __init__(self) -> None:
        self.span = _Span()
        self.inside = False


class _TimedPicture:
    """A picture that is not decoded yet; decoding it is timed."""

    def __init__(self, item: EncodedFrame, clock: _Clock) -> None:
        self.sequence = item.sequence
        self._item = item
        self._clock = clock

    def decode(self) -> Frame:
        """See `EncodedFrame.decode`."""
        return self._clock.timed("decode", self._item.decode)()


def _timed_reader(source: FrameSource, waiting: int, clock: _Clock) -> FrameReader:
    reader = open_reader(source, waiting)
    _set(reader, "take", clock.timed_take(reader.take))
    return reader


def _timed_engine(classifier: Classifier, clock: _Clock, *, camera: bool) -> Engine:
    tracker = FieldTracker()
    _replace(tracker, clock, "track", "update")
    engine = Engine(classifier, tracker)
    return Engine(
        _TimedClassifier(classifier, clock),
        tracker,
        segment=clock.timed("segment", engine.segment),
        crop=clock.timed("crop", engine.crop),
        estimate_scale=clock.timed("scale", engine.estimate_scale),
        quality_check=clock.timed("quality_check", quality_check),
        watch=clock.timed("quality_check", StreamWatch(camera=camera).look),
    )


class _TimedClassifier:
    def __init__(self, classifier: Classifier, clock: _Clock) -> None:
        self.classify = clock.timed("classify", classifier.classify)
        self.consensus = clock.timed("classify", classifier.consensus)


def _replace(part: object, clock: _Clock, stage: str, *names: str) -> None:
    """Time methods of one object, which its class is not told of."""
    for name in names:
        _set(part, name, clock.timed(stage, getattr(part, name)))


def _set(part: object, name: str, value: object) -> None:
    setattr(part, name, value)


class _Recorded(Closing):
    """Pictures in memory, each sent as if it came just now."""

    live = False

    def __init__(self, uri: str, pictures: Sequence[bytes]) -> None:
        self.uri = uri
        self._pictures = pictures

    def frames(self) -> Iterator[EncodedFrame]:
        """Yield them once."""
        for number, data in enumerate(self._pictures):
            yield JpegFrame(data, number, *moment(), self.uri)

    def close(self) -> None:
        """Nothing is open."""


def _drawn(source: FrameSource, seconds: float, progress: Callable[[int, int], object]) -> list[bytes]:
    """Draw pictures for so long, but a few at least, and pack them as a camera does."""
    pictures: list[bytes] = []
    end = time.monotonic() + seconds
    for item in source.frames():
        if isinstance(item, SourceEvent):
            continue
        pixels = decoded(item).pixels
        encoded, data = cv2.imencode(
            ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        )
        assert encoded
        pictures.append(data.tobytes())
        progress(len(pictures), MOST_DRAWN)
        if len(pictures) == MOST_DRAWN or (len(pictures) >= LEAST_DRAWN and time.monotonic() > end):
            break
    return pictures
