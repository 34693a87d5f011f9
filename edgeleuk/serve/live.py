"""What a run has come to, for a page to show; the run writes here, and never waits for who reads."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.counting.confusion import KnownKinds
from edgeleuk.errors import CheckFailedError, EdgeleukError
from edgeleuk.serve.newest import Newest
from edgeleuk.serve.tallies import RunTallies
from edgeleuk.session.pictures import thumbnail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from edgeleuk.counting.intervals import ShareOf
    from edgeleuk.frames import Box, RgbImage
    from edgeleuk.results import FrameResult, Prediction, SessionSummary
    from edgeleuk.serve.desk import StageDesk

# The page shows fewer; the others are for one that was away for a moment.
NEWEST_CELLS = 24
KEPT_EVENTS = 500
SNAPSHOT_EVERY_S = 0.5
# What may wait to be recorded, until somebody presses too often.
_MOST_ASKED = 64
# Kinds of events that come from the page, as a session keeps them; the last of each kind holds.
NOTE, SAMPLE, OPERATOR = "note", "sample", "operator"
PAUSED, GOES_ON, STOPPED = "paused", "goes on", "stopped"
# What is around a cell, as a share of its size.
_MARGIN = 0.25


class RunFacts(NamedTuple):
    """What does not change while a run goes on.

    Attributes
    ----------
    camera : str
    session : Path
    bundle : str
    simulated : bool
    until_points, until_of
        See `edgeleuk.io.settings.RunSettings`.
    kinds : KnownKinds
        What the bundle tells apart.
    """

    camera: str
    session: Path
    bundle: str
    simulated: bool
    until_points: float | None = None
    until_of: ShareOf | None = None
    kinds: KnownKinds = KnownKinds()


class Event(NamedTuple):
    """A line of the session's log; `number` is its own in the session."""

    number: int
    at: float
    kind: str
    text: str


@dataclass
class NewCell:
    """A cell that was counted lately, and what is said of it now.

    Attributes
    ----------
    track : int
    prediction : Prediction
    area_um2 : float
    pixels : (H, W, 3) uint8, RGB
        Cut out of its field, with what is around it.
    """

    track: int
    prediction: Prediction
    area_um2: float
    pixels: RgbImage = field(repr=False)

    @cached_property
    def jpeg(self) -> bytes:
        """Draw it small, once for all who look."""
        return thumbnail(self.pixels)


class Field(NamedTuple):
    """A field as it was seen, for the picture; its pixels are not changed by anybody.

    Attributes
    ----------
    pixels : (H, W, 3) uint8, RGB
    result : FrameResult or None
        None of a field that was rejected.
    reason : str or None
        Why it was.
    """

    pixels: RgbImage
    result: FrameResult | None
    reason: str | None = None


class Snapshot(NamedTuple):
    """A run at one moment, as copies.

    Attributes
    ----------
    summary : SessionSummary or None
        None before the first moment.
    phase : str
        ``waiting``, ``running``, ``paused`` or ``ended``.
    cells : tuple of NewCell
        The newest first.
    events : tuple of Event
        The newest ones, in their order.
    said : dict
        Sample and operator, as somebody said last.
    silent_s : float or None
        How long no field has come; None before the first.
    """

    summary: SessionSummary | None
    phase: str
    cells: tuple[NewCell, ...]
    events: tuple[Event, ...]
    said: dict[str, str]
    silent_s: float | None


class _Asked(NamedTuple):
    kind: str
    text: str
    done: Future[None]


class LiveState:
    """What a run has come to, and what is asked of it.

    Parameters
    ----------
    facts : RunFacts
    note : callable
        Records an event: its kind and its text. It is called on the run's own thread alone.
    stop : threading.Event
        Ends the run.
    desk : StageDesk, optional
        Of the stage, where there is one.
    before : iterable of Event
        Of the session's earlier parts.

    Attributes
    ----------
    paused : threading.Event
        Set while the run takes no frames.
    documents : Newest of bytes
        The state as JSON; see `edgeleuk.serve.worker`.
    pictures : Newest of bytes
        Annotated fields as JPEG.
    viewers : int
        How many look at the pictures: without any none is made.
    listeners : int
        How many hear the state.
    has_review : bool
        Whether the page of review is served beside it, on ``/review``.
    tallies : RunTallies
        For `edgeleuk.serve.metrics`.
    """

    def __init__(
        self,
        facts: RunFacts,
        note: Callable[[str, str], object],
        stop: threading.Event,
        desk: StageDesk | None = None,
        before: Iterable[Event] = (),
    ) -> None:
        self.facts = facts
        self.desk = desk
        self.paused = threading.Event()
        self.documents: Newest[bytes] = Newest()
        self.pictures: Newest[bytes] = Newest()
        self.viewers = self.listeners = 0
        self.has_review = False
        self.changed = threading.Event()
        self._note = note
        self._stop = stop
        self._lock = threading.Lock()
        self._cells: dict[int, NewCell] = {}
        earlier = list(before)
        self.tallies = RunTallies()
        self.tallies.events.update(one.kind for one in earlier)
        self._events: deque[Event] = deque(earlier, KEPT_EVENTS)
        self._said = {one.kind: one.text for one in self._events if one.kind in (SAMPLE, OPERATOR)}
        self._field: Field | None = None
        self._summary: SessionSummary | None = None
        self._ended = False
        self._seen_s: float | None = None
        self._due_s = -math.inf
        self._asked: SimpleQueue[_Asked] = SimpleQueue()

    # On the run's thread: none of these waits for anybody.

    def seen(self, result: FrameResult, pixels: RgbImage) -> None:
        """Take in a field that is recorded."""
        self.tallies.add_latency(result.latency_ms / 1000)
        fresh = [cell for cell in result.cells if cell.is_new]
        cut = {cell.track: _around(pixels, cell.box) for cell in fresh}
        with self._lock:
            for cell in result.cells:
                known = self._cells.get(cell.track)
                if known is not None:
                    known.prediction = cell.prediction
            for cell in fresh:
                self._cells[cell.track] = NewCell(cell.track, cell.prediction, cell.area_um2, cut[cell.track])
            while len(self._cells) > NEWEST_CELLS:
                del self._cells[next(iter(self._cells))]
        self._look(Field(pixels, result))

    def rejected(self, pixels: RgbImage, reason: str) -> None:
        """Take in a field that is not used; see `edgeleuk.pipeline.run.Attendant`."""
        self._look(Field(pixels, None, reason))

    def heard(self, number: int, at: float, kind: str, text: str) -> None:
        """Take in an event that is recorded."""
        self.tallies.events[kind] += 1
        with self._lock:
            self._events.append(Event(number, at, kind, text))
            if kind in (SAMPLE, OPERATOR):
                self._said[kind] = text

    def tick(self, so_far: Callable[[], SessionSummary]) -> None:
        """Record what was asked for, and take a copy of the counts twice a second."""
        self._record_asked()
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + SNAPSHOT_EVERY_S
            summary = so_far()
            with self._lock:
                self._summary = summary
            self.changed.set()

    def end(self, summary: SessionSummary | None) -> None:
        """Take in what the run has come to in the end; nothing is recorded after it."""
        with self._lock:
            self._ended = True
            self._summary = summary or self._summary
        for asked in self._taken():
            asked.done.set_exception(_ended_error())
        self.changed.set()

    # On any thread.

    def snapshot(self) -> Snapshot:
        """Copy what there is to show."""
        with self._lock:
            if self._ended:
                phase = "ended"
            elif self.paused.is_set():
                phase = "paused"
            else:
                phase = "waiting" if self._seen_s is None else "running"
            silent_s = None if self._seen_s is None else time.monotonic() - self._seen_s
            cells = tuple(reversed(self._cells.values()))
            return Snapshot(self._summary, phase, cells, tuple(self._events), dict(self._said), silent_s)

    def field(self) -> Field | None:
        """Return the newest field."""
        return self._field

    def newest_cells(self) -> tuple[NewCell, ...]:
        """Return the cells that were counted lately, the oldest first."""
        with self._lock:
            return tuple(self._cells.values())

    def cell(self, track: int) -> NewCell | None:
        """Return one of the newest cells."""
        with self._lock:
            return self._cells.get(track)

    def disk_free(self) -> int | None:
        """How many bytes are free where the session lies; None where that cannot be told."""
        try:
            return shutil.disk_usage(self.facts.session.parent).free
        except OSError:
            return None

    def say(self, kind: str, text: str) -> Future[None]:
        """Have an event recorded: a note, the sample or the operator.

        Returns
        -------
        Future
            Done when it is on the disk, within a tenth of a second and the time of a frame.

        Raises
        ------
        CheckFailedError
            The run has ended, or too much waits to be recorded.
        """
        return self._ask(kind, text)

    def pause(self) -> Future[None]:
        """Take no more frames, once those at hand are done."""
        self.paused.set()
        return self._ask(PAUSED, "by the page")

    def resume(self) -> Future[None]:
        """Take frames again."""
        self.paused.clear()
        return self._ask(GOES_ON, "by the page")

    def stop(self) -> Future[None]:
        """End the run in order, as Ctrl-C does."""
        done = self._ask(STOPPED, "by the page")
        self._stop.set()
        return done

    def _ask(self, kind: str, text: str) -> Future[None]:
        if self._asked.qsize() >= _MOST_ASKED:
            raise CheckFailedError("too much waits to be recorded", cure="try again in a second")
        done: Future[None] = Future()
        self._asked.put(_Asked(kind, text, done))
        if self._ended:
            # The run may have ended since: then nobody takes it any more.
            for asked in self._taken():
                asked.done.set_exception(_ended_error())
        return done

    def _record_asked(self) -> None:
        for asked in self._taken():
            try:
                self._note(asked.kind, asked.text)
            except BaseException as error:
                asked.done.set_exception(error if isinstance(error, EdgeleukError) else _ended_error())
                raise
            asked.done.set_result(None)
            # What was done is to be seen at once.
            self._due_s = -math.inf

    def _taken(self) -> list[_Asked]:
        taken = []
        while True:
            try:
                taken.append(self._asked.get_nowait())
            except Empty:
                return taken

    def _look(self, field: Field) -> None:
        self._field = field
        self._seen_s = time.monotonic()
        if self.viewers:
            self.changed.set()


def _around(pixels: RgbImage, box: Box) -> RgbImage:
    """Cut a cell out with what is around it."""
    height, width = pixels.shape[:2]
    margin = round(_MARGIN * max(box.w, box.h))
    top, left = max(0, box.y - margin), max(0, box.x - margin)
    bottom, right = min(height, box.y + box.h + margin), min(width, box.x + box.w + margin)
    return np.array(pixels[top:bottom, left:right])


def _ended_error() -> CheckFailedError:
    return CheckFailedError("the run has ended: nothing more is recorded")
