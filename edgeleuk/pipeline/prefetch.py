"""The part of a run that knows nothing of what was seen before: from the camera to the cells of a field.

It runs on a thread of its own, one frame ahead of the part that recognises, judges and records.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeleuk.capture import FrameRejectedError, decoded
from edgeleuk.io.clock import now
from edgeleuk.io.closing import Closing
from edgeleuk.vision.stream import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeleuk.capture import FrameReader
    from edgeleuk.frames import Cell, Frame
    from edgeleuk.pipeline.engine import Engine
    from edgeleuk.pipeline.scale import ScaleKeeper

_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Field:
    """A frame that was taken, and what is in it.

    Attributes
    ----------
    sequence : int
        Of the source.
    frame : Frame or None
        Corrected; None where it could not be decoded.
    reason : str or None
        Why it is rejected.
    at : float
        When it arrived; of one that could not be decoded, when that was found.
    where : str
        The frame's source; of one that could not be decoded, what is wrong.
    notices : sequence of Notice
        What the stream's watch has to say.
    px_per_um : float or None
        None where nothing tells the scale.
    cells : tuple of Cell
        None of a rejected frame.
    scale_trouble : str or None
        Why there is no scale.
    """

    sequence: int
    frame: Frame | None
    reason: str | None
    at: float
    where: str
    notices: Sequence[Notice] = ()
    px_per_um: float | None = None
    cells: tuple[Cell, ...] = ()
    scale_trouble: str | None = None


class LookAhead(Closing):
    """Takes the fields of a source, one ahead of who asks for them.

    Parameters
    ----------
    reader : FrameReader
    engine : Engine
        Of which it uses what works on pixels alone.
    scale : ScaleKeeper
    first : int
        Frames with a lesser number are passed over.
    stop : threading.Event
        Ends the waiting for a frame.

    Attributes
    ----------
    taken : int
        Frames that it has taken; those that were passed over are not among them.
    passed_over : int
    """

    def __init__(
        self, reader: FrameReader, engine: Engine, scale: ScaleKeeper, first: int, stop: threading.Event
    ) -> None:
        self.taken = 0
        self.passed_over = 0
        self._reader = reader
        self._engine = engine
        self._scale = scale
        self._first = first
        self._stop = _Either(stop)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="look-ahead")
        self._next: Future[Field | None] | None = None
        self._said: str | None = None

    def begin(self) -> None:
        """Start to take the next field, unless that has begun."""
        if self._next is None:
            self._next = self._pool.submit(self._take)

    def field(self, meanwhile: Callable[[], object]) -> Field | None:
        """Return the next field, or None at the end of the source; `meanwhile` is called now and then.

        Raises
        ------
        CameraError
            The camera died.
        """
        self.begin()
        assert self._next is not None
        while not wait([self._next], _TICK_S).done:
            meanwhile()
        meanwhile()
        begun, self._next = self._next, None
        return begun.result()

    def last(self) -> Field | None:
        """Take no more; return the field that was begun, if one was."""
        self._stop.set()
        begun, self._next = self._next, None
        return None if begun is None else begun.result()

    def close(self) -> None:
        """Take no more, and wait until the frame at hand is done."""
        self._stop.set()
        self._pool.shutdown()

    def _take(self) -> Field | None:
        while (item := self._reader.take(self._stop)) is not None:
            if item.sequence < self._first:
                self.passed_over += 1
                continue
            self.taken += 1
            try:
                frame = decoded(item)
            except FrameRejectedError as error:
                return Field(item.sequence, None, error.reason, now(), str(error.got))
            return self._seen(frame)
        return None

    def _seen(self, frame: Frame) -> Field:
        reason, notices = self._engine.watch(frame.pixels)
        if reason is None:
            frame = replace(frame, pixels=self._engine.correct(frame.pixels))
            reason = self._engine.quality_check(frame.pixels)
        if reason is not None:
            return Field(frame.sequence, frame, reason, frame.captured_at, frame.source, notices)
        scale = self._scale.of(frame)
        cells = tuple(self._engine.segment(frame.pixels, px_per_um=scale))
        scale = self._scale.confirmed(scale, cells)
        trouble = self._scale.trouble
        if trouble is not None and trouble != self._said:
            notices = (*notices, Notice("scale", trouble))
        self._said = trouble
        return Field(
            frame.sequence, frame, None, frame.captured_at, frame.source, notices, scale, cells, trouble
        )


class _Either(threading.Event):
    """Set when it is, or when another is."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or self._other.is_set()
