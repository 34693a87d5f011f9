"""A camera that a person attends to: it can be paused, and its stage moved between two pictures."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeleuk.frames import Frame
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeleuk.capture import EncodedFrame, FrameReader
    from edgeleuk.capture.base import SourceEvent

_TICK_S = 0.05


class AttendedReader(Closing):
    """Hands out another reader's frames, but none while a pause lasts; a `FrameReader`.

    What a camera sends during a pause is let go and is in no count: neither captured nor dropped, for nobody
    wanted it. The numbers of the frames go on as if it had not come, so that a run which is resumed later
    does not take the gap for frames that were lost. Of a file or a folder nothing is let go: it waits.

    Parameters
    ----------
    reader : FrameReader
    live : bool
        Whether its frames come whether they are wanted or not.
    paused : threading.Event
        Set while no frames are wanted.
    attend : callable
        Called between two frames, and now and then while none comes, on the thread that takes them.
    """

    def __init__(
        self, reader: FrameReader, paused: threading.Event, attend: Callable[[], object], *, live: bool
    ) -> None:
        self._reader = reader
        self._paused = paused
        self._attend = attend
        self._live = live
        self._let_go = 0
        self._let_go_as_dropped = 0

    @property
    def captured(self) -> int:
        """Frames that arrived and were wanted."""
        return self._reader.captured - self._let_go - self._let_go_as_dropped

    @property
    def dropped(self) -> int:
        """Frames that were wanted, and that a newer one replaced."""
        return self._reader.dropped - self._let_go_as_dropped

    def take(
        self, stop: threading.Event, meanwhile: Callable[[], object] = lambda: None
    ) -> Frame | EncodedFrame | None:
        """Wait for the next frame; see `FrameReader.take`."""

        def both() -> None:
            self._attend()
            meanwhile()

        while True:
            self._attend()
            item = self._wait(stop, both) if self._paused.is_set() else None
            if item is None:
                item = self._reader.take(stop, both)
            if item is None or not (self._live and self._paused.is_set()):
                return self._numbered(item)
            self._let_go += 1

    def events(self) -> list[SourceEvent]:
        """See `FrameReader.events`."""
        return self._reader.events()

    def close(self) -> None:
        """Close the reader below."""
        self._reader.close()

    def _numbered(self, item: Frame | EncodedFrame | None) -> Frame | EncodedFrame | None:
        gone = self._let_go + self._let_go_as_dropped
        if item is None or not gone:
            return item
        number = item.sequence - gone
        return replace(item, sequence=number) if isinstance(item, Frame) else _Renumbered(item, number)

    def _wait(self, stop: threading.Event, meanwhile: Callable[[], object]) -> Frame | EncodedFrame | None:
        """Wait until the pause is over; return a frame that came just then."""
        dropped = self._reader.dropped
        ends = _PauseEnds(stop, self._paused)
        item = None
        while item is None and not ends.is_set():
            if not self._live:
                meanwhile()
                stop.wait(_TICK_S)
                continue
            # Also a camera that is lost meanwhile is noticed, and found again.
            item = self._reader.take(ends, meanwhile)
            if item is None and not ends.is_set():
                # The source has ended, as the next frame that is asked for tells.
                break
            if item is not None and self._paused.is_set():
                self._let_go += 1
                item = None
        self._let_go_as_dropped += self._reader.dropped - dropped
        return item


class _PauseEnds(threading.Event):
    """Set when the run is to stop, or nobody pauses it any more."""

    def __init__(self, stop: threading.Event, paused: threading.Event) -> None:
        super().__init__()
        self._stop = stop
        self._paused = paused

    def is_set(self) -> bool:
        return self._stop.is_set() or not self._paused.is_set()


class _Renumbered:
    """An `EncodedFrame` with another number."""

    def __init__(self, item: EncodedFrame, sequence: int) -> None:
        self.sequence = sequence
        self._item = item

    def decode(self) -> Frame:
        return replace(self._item.decode(), sequence=self.sequence)
