"""The run: frames in, judged cells out, every one of them counted exactly once.

::

    reader.take -> decode -> watch -> correct -> gate -> scale -> segment -> track -> crop -> classify
        -> record -> on_frame

All of it happens on the caller's thread; the only other one fills the newest-frame slot
(`edgeleuk.capture.newest`).
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from edgeleuk.capture import FrameRejectedError, decoded, is_simulated, open_reader
from edgeleuk.errors import DataRefusedError, EdgeleukError, InterruptedBeforeRecordError
from edgeleuk.latency import LatencyHistogram
from edgeleuk.record.session import JudgedCell
from edgeleuk.results import (
    CellResult,
    Decision,
    ExcludedCell,
    FrameResult,
    Prediction,
    SessionSummary,
)
from edgeleuk.scaling import ScaleKeeper
from edgeleuk.vision.crops import crop_cell
from edgeleuk.vision.scale import estimate_px_per_um
from edgeleuk.vision.segmentation import segment as segment_field
from edgeleuk.vision.stream import Look

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from edgeleuk.capture import EncodedFrame, FrameReader, FrameSource
    from edgeleuk.frames import Cell, CellCrop, Frame, RgbImage, TrueCell
    from edgeleuk.record.session import SessionWriter
    from edgeleuk.scaling import Scale

CUT = "cut by the border"
SCALE_UNKNOWN = "scale unknown"

# Judgements kept in memory; older ones are read back from the session.
_MOST_REMEMBERED = 4096


class CellClassifier(Protocol):
    """Judges cells; see `edgeleuk.classify.Classifier`."""

    def classify(self, crops: Sequence[CellCrop]) -> list[Prediction]:
        """Return one prediction for each crop, in their order."""
        ...


class Sighting(Protocol):
    """What the pipeline wants to know of a recognised cell."""

    @property
    def track(self) -> int:
        """Number of the cell in the session."""
        ...


class CellTracker(Protocol):
    """Recognises cells seen before; see `edgeleuk.vision.tracking.FieldTracker`."""

    def update(self, pixels: RgbImage, cells: Sequence[Cell]) -> Sequence[Sighting]:
        """Return one sighting for each cell, in their order."""
        ...


class Segmenter(Protocol):
    """Finds white cells; see `edgeleuk.vision.segmentation.segment`."""

    def __call__(self, pixels: RgbImage, *, px_per_um: float | None = None) -> Sequence[Cell]:
        """Return the white cells of a field; estimates the scale where none is given."""
        ...


def unchanged(pixels: RgbImage) -> RgbImage:
    """Leave a frame as the camera took it; a flat field divides it by a blank."""
    return pixels


def accept(_: RgbImage) -> str | None:
    """Let every frame pass; a quality gate returns the reason to reject one."""
    return None


def see_nothing(_: RgbImage) -> Look:
    """Find nothing wrong with a stream; see `edgeleuk.vision.stream.StreamWatch.look`."""
    return Look(None)


@dataclass(frozen=True, slots=True)
class Engine:
    """What is done to a frame, part by part.

    Attributes
    ----------
    classifier : CellClassifier
    tracker : CellTracker
        Holds the memory of one session: a new session wants a new one.
    segment : Segmenter
    crop : callable
        (pixels, cell, px_per_um) -> CellCrop.
    estimate_scale : callable
        pixels -> Scale or None.
    correct : callable
        pixels -> pixels, before anything is judged: takes the lamp and the lens out.
    gate : callable
        pixels -> reason to reject the frame, or None. Asked about what `watch` lets pass.
    watch : callable
        pixels -> Look. Sees every frame that was decoded: it has to compare them with each other.
    """

    classifier: CellClassifier
    tracker: CellTracker
    segment: Segmenter = segment_field
    crop: Callable[[RgbImage, Cell, float], CellCrop] = crop_cell
    estimate_scale: Callable[[RgbImage], Scale | None] = estimate_px_per_um
    correct: Callable[[RgbImage], RgbImage] = unchanged
    gate: Callable[[RgbImage], str | None] = accept
    watch: Callable[[RgbImage], Look] = see_nothing


def run(
    source: FrameSource,
    engine: Engine,
    session: SessionWriter,
    *,
    frames: int | None = None,
    px_per_um: float | None = None,
    enough: Callable[[Mapping[Decision, int]], str | None] | None = None,
    on_frame: Callable[[FrameResult, RgbImage], None] | None = None,
    stop: threading.Event,
) -> SessionSummary:
    """Watch a source until it ends, and record what it shows.

    Parameters
    ----------
    source : FrameSource
    engine : Engine
    session : SessionWriter
        The caller closes it, and the source.
    frames : int, optional
        Stop after so many processed frames.
    px_per_um : float, optional
        Scale of the picture; without it the source's own, else estimated from the red cells.
    enough : callable, optional
        Asked after each processed frame with the cells counted so far, by their decision: why the run is to
        end, or None.
    on_frame : callable, optional
        Called with each result and its pixels once they are recorded.
    stop : threading.Event
        Set it to end the run: the frame at hand is finished and recorded.

    Returns
    -------
    SessionSummary
        Recorded in the session, also when an error is raised (``session.summary``).

    Raises
    ------
    CameraError
        The camera died; all that was taken before is recorded.
    SessionError
        The disk is full.
    DataRefusedError
        Not one picture of a folder or a file was readable.
    InterruptedBeforeRecordError
        `stop` was set before the first frame was done.
    """
    work = _Run(source, engine, session, px_per_um)
    try:
        with open_reader(source) as reader:
            work.reader = reader
            ended = work.loop(frames, enough, on_frame, stop)
    except BaseException as error:
        what = error.what if isinstance(error, EdgeleukError) else f"{type(error).__name__}"
        # The disk may be what failed: then the summary stays in memory, and the rows tell the rest.
        with suppress(EdgeleukError):
            work.finish(what, failed=True)
        raise
    summary = work.finish(ended)
    if work.processed == 0 and stop.is_set() and work.rejected == 0:
        raise InterruptedBeforeRecordError("stopped before anything was recorded")
    if work.processed == 0 and not source.live and not stop.is_set():
        raise DataRefusedError(
            f"none of the {work.rejected} pictures of {source.uri} could be used",
            got=", ".join(work.rejected_by_reason) or None,
            cure="check that they open in a picture viewer",
        )
    return summary


class _Run:
    """The state of one run. Counts move only when what they count is on the disk."""

    reader: FrameReader

    def __init__(
        self, source: FrameSource, engine: Engine, session: SessionWriter, px_per_um: float | None
    ) -> None:
        self._source = source
        self._engine = engine
        self._session = session
        self._scale = ScaleKeeper(px_per_um, engine.estimate_scale)
        self._latency = LatencyHistogram()
        self._started_at, self._started = time.time(), time.monotonic()
        self._judged: OrderedDict[int, Prediction] = OrderedDict()
        self._px_per_um: float | None = None
        self._events = 0
        self._in_flight = 0
        self._detected = 0
        self._seen_before = 0
        self._decisions: Counter[Decision] = Counter()
        self._excluded_by_reason: Counter[str] = Counter()
        self._called: Counter[tuple[str, Decision]] = Counter()
        self.processed = 0
        self.rejected_by_reason: Counter[str] = Counter()

    @property
    def rejected(self) -> int:
        return self.rejected_by_reason.total()

    def loop(
        self,
        frames: int | None,
        enough: Callable[[Mapping[Decision, int]], str | None] | None,
        on_frame: Callable[[FrameResult, RgbImage], None] | None,
        stop: threading.Event,
    ) -> str:
        """Process frames until something ends it; return what did."""
        while frames is None or self.processed < frames:
            item = self.reader.take(stop)
            self._log_events()
            if item is None:
                return "stopped by the user" if stop.is_set() else "the source has ended"
            self._in_flight = 1
            self._process(item, on_frame)
            self._in_flight = 0
            if enough is not None and (reason := enough(self._decisions)) is not None:
                return reason
        return f"{frames} frames were processed"

    def finish(self, ended: str, *, failed: bool = False) -> SessionSummary:
        """Make, record and check the summary, once the reader is closed."""
        self._session.summary = self._summary(ended)
        self._log_events()
        if failed:
            self._log("error", ended)
        summary = self._summary(ended)
        self._session.finish(summary)
        self._check(summary)
        return summary

    def _process(
        self, item: Frame | EncodedFrame, on_frame: Callable[[FrameResult, RgbImage], None] | None
    ) -> None:
        try:
            frame = decoded(item)
        except FrameRejectedError as error:
            self._reject(item.sequence, time.time(), str(error.got), error.reason)
            return
        reason, notices = self._engine.watch(frame.pixels)
        for notice in notices:
            self._log(notice.kind, notice.text)
        if reason is None:
            frame = replace(frame, pixels=self._engine.correct(frame.pixels))
            reason = self._engine.gate(frame.pixels)
        if reason is not None:
            self._reject(frame.sequence, frame.captured_at, frame.source, reason)
            return
        result, judged = self._judge(frame)
        self._session.record_frame(result, judged, [cell for cell in frame.truth if _is_whole(cell, frame)])
        result = replace(result, latency_ms=_since(frame))
        self._count(result, judged)
        if on_frame is not None:
            on_frame(result, frame.pixels)

    def _judge(self, frame: Frame) -> tuple[FrameResult, list[JudgedCell]]:
        """Find and recognise the cells of a frame, and judge those that are whole and not judged yet."""
        pixels = frame.pixels
        scale = self._scale.of(frame)
        found = tuple(self._engine.segment(pixels, px_per_um=scale))
        tracks = [sighting.track for sighting in self._engine.tracker.update(pixels, found)]
        known = {track: prediction for track in tracks if (prediction := self._known(track)) is not None}
        fresh: dict[int, Cell] = {}
        for track, cell in zip(tracks, found, strict=True):
            if track not in known and not cell.touches_border:
                fresh.setdefault(track, cell)
        judged = self._classified(frame, fresh, scale)
        now = {cell.track: cell.prediction for cell in judged}
        cells, excluded = [], []
        for track, cell in zip(tracks, found, strict=True):
            prediction = now.get(track) or known.get(track)
            if prediction is None:
                excluded.append(ExcludedCell(track, cell.box, CUT))
                continue
            is_new = fresh.get(track) is cell
            areas = _areas_um2(cell, scale)
            cells.append(CellResult(track, is_new, cell.box, *areas, prediction))
        height, width = pixels.shape[:2]
        result = FrameResult(
            sequence=frame.sequence,
            captured_at=frame.captured_at,
            source=frame.source,
            width=width,
            height=height,
            px_per_um=scale,
            cells=tuple(cells),
            excluded=tuple(excluded),
            found=found,
            latency_ms=_since(frame),
        )
        return result, judged

    def _classified(self, frame: Frame, fresh: dict[int, Cell], scale: float | None) -> list[JudgedCell]:
        # Without a scale a crop serves only to be looked at.
        crops = [self._engine.crop(frame.pixels, cell, scale or 1.0) for cell in fresh.values()]
        if scale is None:
            predictions = [Prediction(Decision.UNCERTAIN, math.nan, SCALE_UNKNOWN)] * len(crops)
        else:
            predictions = self._engine.classifier.classify(crops) if crops else []
        return [
            JudgedCell(
                track,
                cell.box,
                cell.area_px,
                cell.nucleus_area_px,
                *_areas_um2(cell, scale),
                prediction,
                crop,
                _true_label(cell, frame.truth),
            )
            for (track, cell), crop, prediction in zip(fresh.items(), crops, predictions, strict=True)
        ]

    def _known(self, track: int) -> Prediction | None:
        """Judgement of a track, from memory or from the session."""
        prediction = self._judged.get(track)
        if prediction is None:
            prediction = self._session.prediction(track)
            if prediction is not None:
                self._remember(track, prediction)
        else:
            self._judged.move_to_end(track)
        return prediction

    def _remember(self, track: int, prediction: Prediction) -> None:
        self._judged[track] = prediction
        if len(self._judged) > _MOST_REMEMBERED:
            self._judged.popitem(last=False)

    def _reject(self, sequence: int, captured_at: float, where: str, reason: str) -> None:
        self._session.record_rejected(sequence, captured_at, where, reason)
        self.rejected_by_reason[reason] += 1

    def _count(self, result: FrameResult, judged: list[JudgedCell]) -> None:
        self.processed += 1
        self._px_per_um = result.px_per_um
        self._latency.add(result.latency_ms)
        self._detected += len(result.found)
        self._seen_before += sum(not cell.is_new for cell in result.cells)
        self._excluded_by_reason.update(cell.reason for cell in result.excluded)
        for cell in judged:
            self._remember(cell.track, cell.prediction)
            self._decisions[cell.prediction.decision] += 1
            if cell.truth is not None:
                self._called[cell.truth, cell.prediction.decision] += 1

    def _log_events(self) -> None:
        for event in self.reader.events():
            self._log(event.kind, event.text, event.at)

    def _log(self, kind: str, text: str, at: float | None = None) -> None:
        self._session.record_event(kind, text, at)
        self._events += 1

    def _summary(self, ended: str) -> SessionSummary:
        simulated = is_simulated(self._source.uri)
        return SessionSummary(
            session=str(self._session.path),
            camera=self._source.uri,
            ended=ended,
            started_at=self._started_at,
            duration_s=time.monotonic() - self._started,
            simulated=simulated,
            captured=self.reader.captured,
            processed=self.processed,
            dropped=self.reader.dropped,
            rejected=self.rejected,
            in_flight=self._in_flight,
            detected=self._detected,
            seen_before=self._seen_before,
            excluded=self._excluded_by_reason.total(),
            blast=self._decisions[Decision.BLAST],
            normal=self._decisions[Decision.NORMAL],
            uncertain=self._decisions[Decision.UNCERTAIN],
            rejected_by_reason=dict(self.rejected_by_reason),
            excluded_by_reason=dict(self._excluded_by_reason),
            latency_ms=self._latency.percentiles(),
            px_per_um=self._px_per_um,
            events=self._events,
            truth=self._truth() if simulated else None,
        )

    def _truth(self) -> dict[str, object]:
        labels = ("blast", "normal")
        return {
            "cells": dict.fromkeys(labels, 0) | self._session.true_cells(),
            "called": {
                label: {decision.value: self._called[label, decision] for decision in Decision}
                for label in labels
            },
            "not_a_cell": self._decisions.total() - self._called.total(),
        }

    def _check(self, summary: SessionSummary) -> None:
        """Hold the run to its laws of conservation."""
        rows = self._session.counts()
        laws = {
            "captured = processed + dropped + rejected + in flight": (
                summary.captured,
                summary.processed + summary.dropped + summary.rejected + summary.in_flight,
            ),
            "detected = judged + seen before + excluded": (
                summary.detected,
                summary.unique + summary.seen_before + summary.excluded,
            ),
            "recorded = acknowledged": (
                (rows.processed, rows.rejected, rows.cells, rows.events),
                (summary.processed, summary.rejected, summary.unique, summary.events),
            ),
            "sightings and decisions, recorded = acknowledged": (
                tuple(self._session.tallies()),
                (
                    summary.detected,
                    summary.seen_before,
                    summary.excluded,
                    summary.blast,
                    summary.normal,
                    summary.uncertain,
                ),
            ),
        }
        for law, (left, right) in laws.items():
            if left != right:
                raise EdgeleukError(f"a count was lost, which is a bug: {law}", got=f"{left} and {right}")


def _since(frame: Frame) -> float:
    return (time.monotonic() - frame.captured_monotonic) * 1000


def _areas_um2(cell: Cell, px_per_um: float | None) -> tuple[float, float]:
    """Areas of the whole cell and its nucleus; NaN without a scale."""
    if px_per_um is None:
        return math.nan, math.nan
    return cell.area_px / px_per_um**2, cell.nucleus_area_px / px_per_um**2


def _is_whole(cell: TrueCell, frame: Frame) -> bool:
    height, width = frame.pixels.shape[:2]
    r = cell.radius_px
    return bool(r <= cell.x <= width - r and r <= cell.y <= height - r)


def _true_label(cell: Cell, truth: Sequence[TrueCell]) -> str | None:
    """Label of the true cell whose centre is nearest, if that lies within its radius."""
    x, y = cell.box.centre
    distance, label = min(
        ((math.hypot(true.x - x, true.y - y) / true.radius_px, true.label) for true in truth),
        default=(math.inf, None),
    )
    return label if distance <= 1 else None
