"""A stage's camera: pictures that were taken after they were asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgeleuk.capture import FrameRejectedError, decoded, open_reader
from edgeleuk.errors import CameraError
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    import threading

    from edgeleuk.capture import FrameSource
    from edgeleuk.capture.base import SourceEvent
    from edgeleuk.capture.newest import FrameReader
    from edgeleuk.frames import Frame

_MOST_DAMAGED = 20
# Pictures may wait for their reader in a driver or a connection; more than these are no queue.
_MOST_OLD = 300


class NewestFrameCamera(Closing):
    """Takes pictures of a live camera one by one; a camera that draws on demand gives its next.

    Attributes
    ----------
    uri : str
        Of the camera.
    taken : int
        Pictures that were taken from it, those that came too early included.

    Raises
    ------
    CameraError
        The camera has ended, or sends nothing but damaged pictures, or old ones.
    """

    def __init__(self, source: FrameSource, stop: threading.Event, reader: FrameReader | None = None) -> None:
        self.uri = source.uri
        self.taken = 0
        self._live = source.live
        self._reader = reader or open_reader(source)
        self._stop = stop

    def __call__(self) -> Frame:
        """Take a picture that was taken after this call, so that the stage has not moved in it.

        Where the source cannot tell when a picture was taken, what counts is when it arrived.
        """
        asked = time.monotonic()
        begun_before, damaged, old = self._live, 0, 0
        while (item := self._reader.take(self._stop)) is not None:
            self.taken += 1
            try:
                frame = decoded(item)
            except FrameRejectedError:
                damaged += 1
                if damaged > _MOST_DAMAGED:
                    raise
                continue
            if self._live and _taken_s(frame) < asked:
                old += 1
                if old > _MOST_OLD:
                    raise CameraError(
                        f"{self.uri} sends only pictures of before",
                        got=f"{old} that were taken before they were asked for",
                        cure="let the camera send fewer pictures a second",
                    )
                continue
            if not begun_before:
                return frame
            # A picture that was begun before the question may arrive after it.
            begun_before = False
        raise CameraError(f"{self.uri} sends no more pictures", cure="see `edgeleuk camera probe`")

    def events(self) -> list[SourceEvent]:
        """Take what handle_event the camera since the last call."""
        return self._reader.events()

    def close(self) -> None:
        """Stop reading; the source is the caller's to close."""
        self._reader.close()


def _taken_s(frame: Frame) -> float:
    return frame.captured_monotonic if frame.taken_monotonic is None else frame.taken_monotonic
