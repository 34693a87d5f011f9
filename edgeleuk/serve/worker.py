"""Makes what the page shows, once for all who look: the state as JSON and the field as a JPEG.

On a thread of its own that yields to the run, and rests so long that it takes a bounded share of a core: see
`edgeleuk.serve.budget`.
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
from edgeleuk.serve.budget import SpareTime, Turn
from edgeleuk.serve.document import CountsKeeper, document_of
from edgeleuk.serve.picture import picture_of
from edgeleuk.vision.quality import measure_quality

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeleuk.serve.live import Field, LiveState
    from edgeleuk.vision.quality import FieldQuality

MOST_PICTURES_A_S = 10.0
DOCUMENT_EVERY_S = 0.5
# Also where nothing changes, so that the page knows that it is connected.
_LONGEST_SILENCE_S = 1.0
_MEASURE_EVERY_S = 2.0
# Of one core, where the run needs all of them.
_PICTURES_SHARE, _COUNTS_SHARE, _PRECISION_SHARE, _MEASURE_SHARE = 0.015, 0.01, 0.005, 0.003
_QUALITY = 75
_NICE = 10
# So many failures in a row are no accident, about ten seconds long.
_MOST_FAILURES = 20


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
        spare = SpareTime()
        self._pictures = Turn(_PICTURES_SHARE, 1 / MOST_PICTURES_A_S, spare)
        self._measures = Turn(_MEASURE_SHARE, _MEASURE_EVERY_S, spare)
        self._counts = CountsKeeper(
            Turn(_COUNTS_SHARE, DOCUMENT_EVERY_S, spare), Turn(_PRECISION_SHARE, DOCUMENT_EVERY_S, spare)
        )
        self._document_due_s = self._silent_until_s = 0.0
        self._failures = 0
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
            self._guarded(self._show)
            # What comes before that may wait.
            due_s = min(self._pictures.due_s, self._document_due_s)
            self._ends.wait(max(0.02, due_s - time.monotonic()))
        self._guarded(self._tell)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Try again what fails, as the page is less than the run; but no page for good ends both."""
        try:
            work()
            self._failures = 0
        except Exception as error:
            write_down(f"error: the page could not be drawn: {type(error).__name__}: {error}")
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise

    def _idle_s(self) -> float:
        return max(0.0, min(_LONGEST_SILENCE_S, self._silent_until_s - time.monotonic()))

    def _show(self) -> None:
        field = self._state.field()
        if field is not None and field is not self._measured and self._measures.come():
            self._measured = field
            self._quality = measure_quality(field.pixels)
            self._measures.done()
        if time.monotonic() >= self._document_due_s:
            self._tell()
        if self._state.viewers and field is not None and field is not self._drawn and self._pictures.come():
            self._drawn = field
            self._state.pictures.put(_jpeg_of(field, simulated=self._state.facts.simulated))
            self._pictures.done()

    def _tell(self) -> None:
        document = document_of(self._state, self._quality, self._counts)
        told_at_s = time.monotonic()
        # Until there are counts, they are told as soon as they come.
        self._document_due_s = told_at_s + (0.0 if document["counts"] is None else DOCUMENT_EVERY_S)
        self._silent_until_s = told_at_s + _LONGEST_SILENCE_S
        self._state.documents.put(msgspec.json.encode(document))


def _jpeg_of(field: Field, *, simulated: bool) -> bytes:
    bgr = cv2.cvtColor(picture_of(field, simulated=simulated), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", np.asarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
