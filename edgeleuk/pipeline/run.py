"""The run: frames in, judged cells out, every one of them counted exactly once.

::

    reader.take -> decode -> watch -> correct -> quality_check -> scale -> segment
        -> track -> crop -> classify -> record -> on_frame

The first line is one frame ahead of the second, on a thread of its own (`edgeleuk.pipeline.prefetch`); the
second happens on the caller's thread. Another thread fills the newest-frame slot (`edgeleuk.capture.newest`).
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from edgeleuk.capture import is_simulated, is_simulated_source, open_reader
from edgeleuk.counting.consensus import ConsensusTable, View, is_worth_a_view
from edgeleuk.errors import DataRefusedError, EdgeleukError, InterruptedBeforeRecordError
from edgeleuk.frames import Box
from edgeleuk.io.clock import jump_s, jump_text, now
from edgeleuk.pipeline.counts import CountsOnDisk, RunCounts, require_conserved
from edgeleuk.pipeline.prefetch import LookAhead
from edgeleuk.pipeline.scale import ScaleKeeper
from edgeleuk.results import (
    CUT,
    SCALE_UNKNOWN,
    STUCK_DUST,
    CellResult,
    Counted,
    Decision,
    ExcludedCell,
    FrameResult,
    Prediction,
    SessionSummary,
)
from edgeleuk.session.records import JudgedCell
from edgeleuk.session.resume_state import ResumeState
from edgeleuk.vision.dust import DustWatch
from edgeleuk.vision.focus import focus_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from edgeleuk.capture import FrameReader, FrameSource
    from edgeleuk.counting.consensus import CellConsensus
    from edgeleuk.frames import Cell, Frame, RgbImage, TrueCell
    from edgeleuk.pipeline.engine import Engine
    from edgeleuk.pipeline.prefetch import Field
    from edgeleuk.session.writer import SessionWriter


class Attendant(Protocol):
    """Somebody who attends to a run while it goes on; all is called on the run's own thread."""

    def tick(self, so_far: Callable[[], SessionSummary]) -> None:
        """Do what there is to do now: between two frames, and ten times a second while none comes.

        `so_far` tells what the run has come to until now.
        """
        ...

    def rejected(self, pixels: RgbImage, reason: str) -> None:
        """Look at a frame that is not used; it is recorded."""
        ...


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """How a source is watched, and when that ends.

    Attributes
    ----------
    frames : int, optional
        Stop after so many processed frames, those before a resume included.
    px_per_um : float, optional
        Scale of the picture; without it the source's own, else estimated from the red cells.
    waiting : int
        How many frames of a camera may wait for their turn; with 1 the newest wins.
    read : callable
        Opens a reader of the source for so many waiting frames.
    enough : callable, optional
        Asked after each processed frame with the cells counted so far: why the run is to end, or None.
    resume_from : ResumeState
        What the session holds already: counts go on from there, and so do the numbers of the frames of a
        live source; of others, pictures that are recorded are passed over.
    recall : callable, optional
        Called before the source is opened, with what tells what the session has come to: reads what the
        tracker is to remember.
    attendant : Attendant, optional
    """

    frames: int | None = None
    px_per_um: float | None = None
    waiting: int = 1
    read: Callable[[FrameSource, int], FrameReader] = open_reader
    enough: Callable[[Counted], str | None] | None = None
    resume_from: ResumeState = field(default_factory=ResumeState)
    recall: Callable[[Callable[[], SessionSummary]], object] | None = None
    attendant: Attendant | None = None


def run(
    source: FrameSource,
    engine: Engine,
    session: SessionWriter,
    options: PipelineOptions | None = None,
    *,
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
    options : PipelineOptions, optional
    on_frame : callable, optional
        Called with each result and its pixels once they are recorded.
    stop : threading.Event
        Set it to end the run: the frames at hand are finished and recorded.

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
    options = options or PipelineOptions()
    work = _Run(source, engine, session, options)
    try:
        if options.recall is not None:
            options.recall(work.so_far)
        with options.read(source, options.waiting) as reader, work.look_ahead(reader, stop) as ahead:
            ended = work.loop(ahead, options.frames, options.enough, on_frame, stop)
    except BaseException as error:
        what = error.what if isinstance(error, EdgeleukError) else f"{type(error).__name__}"
        # The disk may be what failed: then the summary stays in memory, and the rows tell the rest.
        with suppress(EdgeleukError):
            work.finish(what, failed=True)
        raise
    summary = work.finish(ended)
    if work.counts.processed == 0 and stop.is_set() and work.counts.rejected == 0:
        raise InterruptedBeforeRecordError("stopped before anything was recorded")
    if work.counts.processed == 0 and not source.live and not stop.is_set():
        raise DataRefusedError(
            f"none of the {work.counts.rejected} pictures of {source.uri} could be used",
            got=", ".join(work.counts.rejected_by_reason) or None,
            cure=getattr(source, "cure_of_none", "check that they open in a picture viewer"),
        )
    return summary


class _JudgedView(NamedTuple):
    """One view of a cell as it is recorded, and what was and is said of the cell."""

    cell: JudgedCell
    before: CellConsensus | None
    judgement: CellConsensus


class _Taking(NamedTuple):
    """What takes the frames, once the source is opened."""

    reader: FrameReader
    ahead: LookAhead


class _Run:
    """The state of one run. Counts move only when what they count is on the disk."""

    def __init__(
        self,
        source: FrameSource,
        engine: Engine,
        session: SessionWriter,
        options: PipelineOptions,
    ) -> None:
        resume_from = options.resume_from
        self._source = source
        self._engine = engine
        self._session = session
        self._attendant = options.attendant
        self._scale = ScaleKeeper(options.px_per_um, engine.estimate_scale)
        self._resume_from = resume_from
        self._started_at = now() if resume_from.started_at is None else resume_from.started_at
        self._started = time.monotonic() - resume_from.duration_s
        self._judgements = ConsensusTable(engine.classifier, session)
        self._dust = DustWatch()
        self._events = resume_from.events
        self.counts = RunCounts.of(resume_from)
        self._taking: _Taking | None = None
        self._on_disk = CountsOnDisk(self.counts)

    def look_ahead(self, reader: FrameReader, stop: threading.Event) -> LookAhead:
        """Open what takes the frames."""
        first = 0 if self._source.live else self._resume_from.next_sequence
        ahead = LookAhead(reader, self._engine, self._scale, first, stop)
        self._taking = _Taking(reader, ahead)
        return ahead

    def loop(
        self,
        ahead: LookAhead,
        frames: int | None,
        enough: Callable[[Counted], str | None] | None,
        on_frame: Callable[[FrameResult, RgbImage], None] | None,
        stop: threading.Event,
    ) -> str:
        """Process frames until something ends it; return what did."""
        ended = None
        while ended is None and (frames is None or self.counts.processed < frames):
            field = ahead.field(self._meanwhile)
            if field is None:
                return "stopped by the user" if stop.is_set() else "the source has ended"
            if frames is None or self.counts.processed + 1 < frames:
                ahead.begin()
            self._process(field, on_frame)
            ended = None if enough is None else enough(self.counts.tally.counted)
        # What was taken is finished, too.
        if (field := ahead.last()) is not None:
            self._process(field, on_frame)
        return ended or f"{frames} frames were processed"

    def finish(self, ended: str, *, failed: bool = False) -> SessionSummary:
        """Make, record and check the summary, once the reader is closed."""
        self._session.summary = self._summary(ended)
        self._session.flush()
        self._session.summary = self._summary(ended)
        if self._taking is not None:
            self._log_events()
        if failed:
            self._log("error", ended)
        summary = self._summary(ended)
        self._session.finish(summary)
        require_conserved(summary, self._session.counts(), self._session.tallies())
        return summary

    def _process(self, field: Field, on_frame: Callable[[FrameResult, RgbImage], None] | None) -> None:
        sequence, frame = self._numbered(field.sequence), field.frame
        for notice in field.notices:
            self._log(notice.kind, notice.text)
        result = None
        if frame is None or field.reason is not None:
            self._reject(sequence, field.at, field.where, field.reason or "")
            if frame is not None and self._attendant is not None:
                self._attendant.rejected(frame.pixels, field.reason or "")
        else:
            frame = replace(frame, sequence=sequence)
            result, judged = self._judge(frame, field.px_per_um, field.cells, field.scale_trouble)
            whole = [cell for cell in frame.truth if _is_whole(cell, frame)]
            cells = [view.cell for view in judged]
            self._session.record_frame(result, cells, whole, self._engine.tracker.placed)
            result = replace(result, latency_ms=_since(frame))
            self._count(result, judged)
        self.counts.finished += 1
        self._on_disk.add(self._session.taken, self.counts)
        self._on_disk.until(self._session.recorded)
        if frame is not None and result is not None and on_frame is not None:
            on_frame(result, frame.pixels)

    def _numbered(self, sequence: int) -> int:
        """Return a frame's number in the session: a camera that is opened again counts from 0."""
        return sequence + self._resume_from.next_sequence if self._source.live else sequence

    def _judge(
        self, frame: Frame, scale: float | None, found: tuple[Cell, ...], trouble: str | None
    ) -> tuple[FrameResult, list[_JudgedView]]:
        """Recognise the cells of a frame; judge whole ones for the first time, or once more."""
        pixels = frame.pixels
        tracks = [sighting.track for sighting in self._engine.tracker.update(pixels, found)]
        dust = self._dust.look(found, tracks, self._engine.tracker.placed)
        known = {track: judgement for track in tracks if (judgement := self._judgements.of(track))}
        wanted: dict[int, tuple[Cell, float]] = {}
        for index, (track, cell) in enumerate(zip(tracks, found, strict=True)):
            if track in wanted or cell.touches_border or index in dust.now:
                continue
            focus = focus_of(pixels, cell)
            if track not in known or is_worth_a_view(known[track], focus):
                wanted[track] = cell, focus
        judged = self._classified(frame, wanted, known, scale, trouble)
        judged += [
            self._exposed(track)
            for track in dust.exposed
            if track not in wanted and self._judgements.of(track) is not None
        ]
        now = known | {view.cell.track: view.judgement for view in judged}
        cells, excluded = [], []
        for index, (track, cell) in enumerate(zip(tracks, found, strict=True)):
            if index in dust.now or track not in now:
                excluded.append(ExcludedCell(track, cell.box, STUCK_DUST if index in dust.now else CUT))
                continue
            is_new = track not in known and wanted[track][0] is cell
            areas = _areas_um2(cell, scale)
            cells.append(CellResult(track, is_new, cell.box, *areas, now[track].prediction))
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

    def _classified(
        self,
        frame: Frame,
        wanted: dict[int, tuple[Cell, float]],
        known: dict[int, CellConsensus],
        scale: float | None,
        trouble: str | None,
    ) -> list[_JudgedView]:
        # Without a scale a crop serves only to be looked at.
        crops = [self._engine.crop(frame.pixels, cell, scale or 1.0) for cell, _ in wanted.values()]
        if scale is None:
            predictions = [Prediction(Decision.UNCERTAIN, math.nan, trouble or SCALE_UNKNOWN)] * len(crops)
        else:
            predictions = self._engine.classifier.classify(crops) if crops else []
        judged = []
        for (track, (cell, focus)), crop, prediction in zip(wanted.items(), crops, predictions, strict=True):
            truth = _true_label(cell, frame.truth)
            before = known.get(track)
            judgement = self._judgements.with_view(track, View(focus, prediction), truth)
            recorded = JudgedCell(
                track,
                cell.box,
                cell.area_px,
                cell.nucleus_area_px,
                *_areas_um2(cell, scale),
                prediction,
                crop,
                truth,
                focus,
                None if before is None else judgement.prediction,
                cell.mask,
            )
            judged.append(_JudgedView(recorded, before, judgement))
        return judged

    def _exposed(self, track: int) -> _JudgedView:
        """Take back what was said of a cell that turns out to be dust."""
        nothing = Prediction(Decision.UNCERTAIN, math.nan, STUCK_DUST, foreign=True)
        before = self._judgements.of(track)
        judgement = self._judgements.with_view(track, View(0.0, nothing), None)
        cell = JudgedCell(track, Box(0, 0, 0, 0), 0, 0, math.nan, math.nan, nothing, None, agreed=nothing)
        return _JudgedView(cell, before, judgement)

    def _reject(self, sequence: int, captured_at: float, where: str, reason: str) -> None:
        self._session.record_rejected(sequence, captured_at, where, reason)
        self.counts.rejected_by_reason[reason] += 1

    def _count(self, result: FrameResult, judged: list[_JudgedView]) -> None:
        counts = self.counts
        counts.processed += 1
        counts.px_per_um = result.px_per_um
        counts.latency.add(result.latency_ms)
        counts.detected += len(result.found)
        counts.seen_before += sum(not cell.is_new for cell in result.cells)
        counts.excluded_by_reason.update(cell.reason for cell in result.excluded)
        for view in judged:
            self._judgements.keep(view.cell.track, view.judgement)
            for judgement, step in ((view.before, -1), (view.judgement, 1)):
                if judgement is not None:
                    counts.tally.add(judgement.prediction, step)
                    if judgement.truth is not None:
                        counts.called[judgement.truth, judgement.prediction.decision] += step

    def _meanwhile(self) -> None:
        self._log_events()
        if self._attendant is not None:
            self._attendant.tick(self.so_far)

    def so_far(self) -> SessionSummary:
        """Say what the session has come to until now."""
        return self._summary("")

    def _log_events(self) -> None:
        if (jumped := jump_s()) is not None:
            self._log("clock", jump_text(jumped))
        # Also where no frame comes for long, a session that is gone is noticed.
        self._session.check()
        assert self._taking is not None
        for event in self._taking.reader.events():
            self._log(event.kind, event.text, event.at)

    def _log(self, kind: str, text: str, at: float | None = None) -> None:
        self._session.record_event(kind, text, at)
        self._events += 1

    def _summary(self, ended: str) -> SessionSummary:
        """Say what the run came to, as far as it is on the disk."""
        counts = self._on_disk.until(self._session.recorded)
        return SessionSummary(
            session=str(self._session.path),
            camera=self._source.uri,
            ended=ended,
            started_at=self._started_at,
            duration_s=time.monotonic() - self._started,
            simulated=is_simulated_source(self._source),
            captured=self._captured(),
            processed=counts.processed,
            dropped=self._dropped(),
            rejected=counts.rejected,
            in_flight=(0 if self._taking is None else self._taking.ahead.taken) - counts.finished,
            detected=counts.detected,
            seen_before=counts.seen_before,
            excluded=counts.excluded_by_reason.total(),
            counted=counts.tally.counted,
            rejected_by_reason=dict(counts.rejected_by_reason),
            excluded_by_reason=dict(counts.excluded_by_reason),
            latency_ms=counts.latency.percentiles(),
            px_per_um=counts.px_per_um,
            events=self._events + self._session.noted,
            truth=self._truth(counts) if is_simulated(self._source.uri) else None,
        )

    def _captured(self) -> int:
        # What was passed over had been captured before. Of files that a rule removed nothing is counted.
        before = self._resume_from.next_sequence - self._resume_from.first_sequence
        taken = 0 if self._taking is None else self._taking.reader.captured - self._taking.ahead.passed_over
        return before + taken

    def _dropped(self) -> int:
        """Count frames that were never looked at, such as the one in flight when a run was cut off."""
        before = (
            self._resume_from.next_sequence
            - self._resume_from.first_sequence
            - self._resume_from.processed
            - self._resume_from.rejected_by_reason.total()
        )
        return before + (0 if self._taking is None else self._taking.reader.dropped)

    def _truth(self, counts: RunCounts) -> dict[str, object]:
        labels = (Decision.BLAST.value, Decision.NORMAL.value)
        return {
            "cells": dict.fromkeys(labels, 0) | self._session.true_cells(),
            "called": {
                label: {decision.value: counts.called[label, decision] for decision in Decision}
                for label in labels
            },
            "not_a_cell": counts.tally.counted.total - counts.called.total(),
        }


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
