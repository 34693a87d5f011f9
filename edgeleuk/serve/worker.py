"""Makes what the page shows, once for all who look: the state as JSON and the field as a JPEG.

On a thread of its own that yields to the run, and rests so long that it takes a bounded share of a core.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np

from edgeleuk.io.closing import Closing
from edgeleuk.io.console import write_down
from edgeleuk.serve.document import document_of
from edgeleuk.serve.picture import picture_of
from edgeleuk.vision.quality import measure_quality

if TYPE_CHECKING:
    from edgeleuk.serve.live import Field, LiveState
    from edgeleuk.vision.quality import FieldQuality

MOST_PICTURES_A_S = 10.0
DOCUMENT_EVERY_S = 0.5
# Also where nothing changes, so that the page knows that it is connected.
_LONGEST_SILENCE_S = 1.0
_MEASURE_EVERY_S = 1.0
# After each picture it rests so many times as long as it took.
_REST = 3.0
_QUALITY = 80
_NICE = 10


class PageWorker(Closing):
    """Works from now on until it is closed.

    Parameters
    ----------
    state : LiveState
    """

    def __init__(self, state: LiveState) -> None:
        self._state = state
        self._ends = threading.Event()
        self._drawn: Field | None = None
        self._measured: Field | None = None
        self._quality: FieldQuality | None = None
        self._picture_due_s = self._document_due_s = self._measure_due_s = self._silent_until_s = 0.0
        self._thread = threading.Thread(target=self._run, name="page-worker", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Show what the run has come to in the end, and end."""
        self._ends.set()
        self._state.changed.set()
        self._thread.join(10)
        self._state.documents.close()
        self._state.pictures.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            # Of this thread alone, on Linux.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not self._ends.is_set():
            self._state.changed.wait(self._idle_s())
            self._state.changed.clear()
            now_s = time.monotonic()
            self._guarded(self._show, now_s)
            # What comes before that may wait.
            self._ends.wait(max(0.02, min(self._picture_due_s, self._document_due_s) - time.monotonic()))
        self._guarded(self._tell, time.monotonic())

    def _guarded(self, work: object, now_s: float) -> None:
        """Go on whatever happens: the page is less than the run."""
        try:
            work(now_s)  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - told where somebody looks for it, and tried again
            write_down(f"error: the page could not be drawn: {type(error).__name__}: {error}")

    def _idle_s(self) -> float:
        return max(0.0, min(_LONGEST_SILENCE_S, self._silent_until_s - time.monotonic()))

    def _show(self, now_s: float) -> None:
        field = self._state.field()
        if field is not None and field is not self._measured and now_s >= self._measure_due_s:
            self._measured, self._measure_due_s = field, now_s + _MEASURE_EVERY_S
            self._quality = measure_quality(field.pixels)
        if now_s >= self._document_due_s:
            self._tell(now_s)
        if (
            self._state.viewers
            and field is not None
            and field is not self._drawn
            and now_s >= self._picture_due_s
        ):
            self._draw(field)

    def _tell(self, now_s: float) -> None:
        self._document_due_s = now_s + DOCUMENT_EVERY_S
        self._silent_until_s = now_s + _LONGEST_SILENCE_S
        document = document_of(self._state, self._quality)
        self._state.documents.put(msgspec.json.encode(document))

    def _draw(self, field: Field) -> None:
        began_s = time.monotonic()
        drawn = picture_of(field, simulated=self._state.facts.simulated)
        bgr = cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", np.asarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        self._state.pictures.put(jpeg)
        self._drawn = field
        took_s = time.monotonic() - began_s
        self._picture_due_s = began_s + max(1 / MOST_PICTURES_A_S, (1 + _REST) * took_s)
