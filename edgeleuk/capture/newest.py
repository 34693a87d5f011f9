"""The newest frame of a camera that does not wait, or every frame of a file that does.

The reader thread lives here, beside the slot it fills: nothing else shares its lock.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

from edgeleuk.capture.base import SourceEvent
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeleuk.capture.base import EncodedFrame, FrameSource
    from edgeleuk.frames import Frame

# A waiting consumer looks this often whether it was told to stop.
_WAIT_S = 0.1
_MOST_EVENTS = 1000


def nothing() -> None:
    """Do nothing while no frame comes."""


class FrameReader(Closing, Protocol):
    """Hands out a source's frames and keeps count: captured = taken + dropped, once it is closed."""

    @property
    def captured(self) -> int:
        """Frames that arrived."""
        ...

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced before they were taken."""
        ...

    def take(
        self, stop: threading.Event, meanwhile: Callable[[], object] = nothing
    ) -> Frame | EncodedFrame | None:
        """Wait for the next frame; None when the source has ended or `stop` is set.

        `meanwhile` is called now and then while none comes: a lost camera's events are there to be taken.

        Raises
        ------
        CameraError
            The camera died, and what it had sent before is taken.
        """
        ...

    def events(self) -> list[SourceEvent]:
        """Take what else happened since the last call; at most the newest 1000."""
        ...

    def close(self) -> None:
        """Stop reading; a frame still waiting counts as dropped."""
        ...


def open_reader(source: FrameSource, waiting: int = 1) -> FrameReader:
    """Start to read a source the way it wants to be read: the newest frame of a camera, all of a file.

    Parameters
    ----------
    source : FrameSource
    waiting : int
        How many frames of a camera may wait for their turn: for a recording that somebody serves.
    """
    return NewestFrameReader(source, waiting) if source.live else InOrderReader(source)


class _Reader(Closing):
    def __init__(self, source: FrameSource) -> None:
        self.captured = 0
        self.dropped = 0
        self._source = source
        self._events: deque[SourceEvent] = deque(maxlen=_MOST_EVENTS)

    def events(self) -> list[SourceEvent]:
        """See `FrameReader.events`."""
        taken = []
        while self._events:
            taken.append(self._events.popleft())
        return taken

    def close(self) -> None:
        """See `FrameReader.close`."""


class InOrderReader(_Reader):
    """Every frame, read when it is asked for; see `FrameReader`.

    Parameters
    ----------
    source : FrameSource
    """

    def __init__(self, source: FrameSource) -> None:
        super().__init__(source)
        self._items = iter(source.frames())

    def take(
        self, stop: threading.Event, meanwhile: Callable[[], object] = nothing
    ) -> Frame | EncodedFrame | None:
        """See `FrameReader.take`."""
        while not stop.is_set():
            item = next(self._items, None)
            if isinstance(item, SourceEvent):
                self._events.append(item)
                meanwhile()
                continue
            if item is not None:
                self.captured += 1
            return item
        return None


class NewestFrameReader(_Reader):
    """One slot, filled by a thread that never waits for the consumer; see `FrameReader`.

    Memory holds one frame, undecoded, however slow the consumer is; or as many as may wait, of which the
    oldest gives way.

    Parameters
    ----------
    source : FrameSource
    waiting : int
    """

    def __init__(self, source: FrameSource, waiting: int = 1) -> None:
        super().__init__(source)
        self._changed = threading.Condition()
        self._slots: deque[Frame | EncodedFrame] = deque(maxlen=waiting)
        self._error: BaseException | None = None
        self._ended = False
        self._closing = False
        # A daemon: a driver that hangs in a read must not keep the process alive.
        self._thread = threading.Thread(target=self._read, name="newest-frame", daemon=True)
        self._thread.start()

    def take(
        self, stop: threading.Event, meanwhile: Callable[[], object] = nothing
    ) -> Frame | EncodedFrame | None:
        """See `FrameReader.take`."""
        while not stop.is_set():
            with self._changed:
                if self._slots:
                    return self._slots.popleft()
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return None
                self._changed.wait(_WAIT_S)
                came = bool(self._slots)
            if not came:
                meanwhile()
        return None

    def close(self) -> None:
        """See `FrameReader.close`."""
        with self._changed:
            self._closing = True
            self.dropped += len(self._slots)
            self._slots.clear()
        # Normally the next frame ends it; where it does not come, the source's own close does.
        self._thread.join(1.0)

    def _read(self) -> None:
        try:
            for item in self._source.frames():
                if isinstance(item, SourceEvent):
                    self._events.append(item)
                    continue
                with self._changed:
                    if self._closing:
                        return
                    self.captured += 1
                    self.dropped += len(self._slots) == self._slots.maxlen
                    self._slots.append(item)
                    self._changed.notify()
        except BaseException as error:  # noqa: BLE001 - raised again where the frames are taken
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()
