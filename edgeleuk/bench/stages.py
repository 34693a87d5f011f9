"""The real pipeline on a stream, timed part by part: its parts are wrapped, none is copied."""

from __future__ import annotations

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
from edgeleuk.closing import Closing
from edgeleuk.engine import Engine
from edgeleuk.errors import CameraError, InterruptedBeforeRecordError
from edgeleuk.frames import Frame
from edgeleuk.pipeline import run as run_pipeline
from edgeleuk.record.opening import create_session
from edgeleuk.vision.quality import gate
from edgeleuk.vision.stream import StreamWatch
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgeleuk.capture import EncodedFrame, FrameReader, FrameSource
    from edgeleuk.classify import Classifier
    from edgeleuk.results import SessionSummary

    ItemT = Frame | EncodedFrame

T = TypeVar("T")

# In the order of the pipeline. `other` is what none of them is: joining views, looking for dust.
STAGES = (
    *("capture", "decode", "gate", "scale", "segment", "track", "crop", "classify", "record"),
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
        Time in each stage of `STAGES` for each frame that came after the first, rejected ones included.
    """

    camera: str
    drawn: bool
    summary: SessionSummary
    frames_ms: tuple[dict[str, float], ...]

    def stages(self) -> dict[str, dict[str, float]]:
        """Return mean, p50 and p95 in ms of a frame, and the share, of each stage."""
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
        seconds = sum(sum(frame.values()) for frame in self.frames_ms) / 1000
        return {
            "camera": self.camera,
            "pictures": "drawn before and packed as JPEG" if self.drawn else "as they came",
            "frames": len(self.frames_ms),
            "rejected": self.summary.rejected,
            "cells": self.summary.unique,
            "fps": round(len(self.frames_ms) / seconds, 3),
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
            _replace(writer, clock, "record", "record_frame", "record_rejected", "record_event", "views")
            if pictures is None:
                timer.start()
            try:
                summary = run_pipeline(
                    source,
                    _timed_engine(classifier, clock, camera=source.live or drawn),
                    writer,
                    read=lambda given, waiting: _timed_reader(given, waiting, clock),
                    on_frame=lambda *_: progress(len(clock.frames), len(pictures or clock.frames)),
                    stop=stop,
                )
            except InterruptedBeforeRecordError:
                raise _too_few(source.uri, 0, seconds) from None
            finally:
                timer.cancel()
        frames = tuple(clock.frames[WARM_UP:])
    if not frames:
        raise _too_few(source.uri, len(clock.frames), seconds)
    return StageTimes(source.uri, drawn, summary, frames)


def _too_few(uri: str, came: int, seconds: float) -> CameraError:
    return CameraError(
        f"too few pictures of {uri} to time its stages",
        got=f"{came} in {seconds:.0f} s",
        allowed=f"{WARM_UP + 1} or more",
        cure="give it more --seconds, or a camera that sends more pictures",
    )


class _Clock:
    """Time in each stage of the frame at hand, and of those before."""

    def __init__(self) -> None:
        self.frames: list[dict[str, float]] = []
        self._now: defaultdict[str, float] = defaultdict(float)
        self._began: float | None = None
        self._inside = False

    def next_frame(self) -> None:
        """End the frame at hand, if there is one, and begin the next."""
        moment = time.perf_counter()
        if self._began is not None:
            whole = (moment - self._began) * 1000
            self._now["other"] = max(whole - sum(self._now.values()), 0.0)
            self.frames.append(dict(self._now))
        self._now = defaultdict(float)
        self._began = moment

    def timed(self, stage: str, call: Callable[..., T]) -> Callable[..., T]:
        """Wrap a part. What it calls of other parts is counted as its own."""

        def wrapped(*args: Any, **named: Any) -> T:
            if self._inside:
                return call(*args, **named)
            self._inside = True
            began = time.perf_counter()
            try:
                return call(*args, **named)
            finally:
                self._now[stage] += (time.perf_counter() - began) * 1000
                self._inside = False

        return wrapped


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
    take = clock.timed("capture", reader.take)

    def timed(*args: Any, **named: Any) -> ItemT | None:
        clock.next_frame()
        item = take(*args, **named)
        return item if item is None or isinstance(item, Frame) else _TimedPicture(item, clock)

    _set(reader, "take", timed)
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
        gate=clock.timed("gate", gate),
        watch=clock.timed("gate", StreamWatch(camera=camera).look),
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
            yield JpegFrame(data, number, time.time(), time.monotonic(), self.uri)

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
