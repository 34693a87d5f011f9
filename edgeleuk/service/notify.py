"""What a run tells the service manager: sd_notify, as systemd's documentation lays it down.

Lines of text in a datagram to the socket that ``NOTIFY_SOCKET`` names. No library is needed for that, so
none is a dependency.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from edgeleuk.errors import CameraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from edgeleuk.frames import RgbImage
    from edgeleuk.results import FrameResult, SessionSummary

# Of the manager's patience: after so much of it without a frame the run ends by itself, its session closed.
PATIENCE_SHARE = 0.75
# The manager wants to hear twice within its patience; it is told often enough that one loss does no harm.
_TOLD_TIMES = 8
_LOOK_EVERY_S, _FIRST_LOOK_EVERY_S = 1.0, 0.2


class Manager:
    """The service manager that started this process; says nothing where there is none.

    Parameters
    ----------
    environ : mapping, optional
        By default the process's own environment.

    Attributes
    ----------
    watchdog_s : float or None
        How long it waits between two signs of life before it ends this process.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        # One that begins with @ lies in the abstract namespace, whose names begin with a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        told = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(told) / 1e6 if self and meant and told.isdigit() and int(told) > 0 else None

    def __bool__(self) -> bool:
        """Whether there is one."""
        return self._address[:1] in ("/", "\0") and len(self._address) > 1

    def tell(self, *lines: str) -> None:
        """Send lines such as ``READY=1``; what cannot be sent is lost, as the run goes on all the same."""
        if not self:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            # A manager that does not read, because it is stopped itself, must not stop the run.
            connection.setblocking(False)
            connection.connect(self._address)
            connection.send("\n".join(lines).encode())


class LifeSigns:
    """Tells the manager of a run's frames, and ends a run that has none; an `Attendant`.

    Signs of life are sent only while frames are recorded, be they processed or rejected, or while somebody
    has paused the run. A thread that only shows that the process is there would hide a dead camera.

    Parameters
    ----------
    manager : Manager
    note : callable
        Records an event: its kind and its text.
    clock : callable
        Seconds on a steady clock.
    """

    def __init__(
        self,
        manager: Manager,
        note: Callable[[str, str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.paused: Callable[[], bool] = lambda: False
        self._manager = manager
        self._note = note
        self._clock = clock
        self._aborted = False
        self._is_ready = False
        self._frames: int | None = None
        self.begin()
        self._look_at_s = self._tell_at_s = 0.0

    def begin(self) -> None:
        """Be patient from now on: before it no frame could come."""
        self._frame_at_s = self._clock()

    def tick(self, so_far: Callable[[], SessionSummary]) -> None:
        """Look whether frames come; see `edgeleuk.pipeline.run.Attendant`.

        Raises
        ------
        CameraError
            None has come for three quarters of the manager's patience, or the manager's patience is over.
        """
        if not self._manager:
            return
        now_s = self._clock()
        if self._aborted:
            self._end("the service manager's watchdog saw no sign of life", now_s)
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + (_LOOK_EVERY_S if self._is_ready else _FIRST_LOOK_EVERY_S)
            self._look(so_far(), now_s)
        patience_s = self._manager.watchdog_s
        if patience_s is not None and now_s - self._frame_at_s > PATIENCE_SHARE * patience_s:
            self._end("no frame came", now_s)

    def rejected(self, _pixels: RgbImage, _reason: str) -> None:
        """Take note of the first frame: the service runs; see `edgeleuk.pipeline.run.Attendant`."""
        self._ready()

    def seen(self, _result: FrameResult, _pixels: RgbImage) -> None:
        """Take note of the first field: the service runs."""
        self._ready()

    def abort(self, *_: object) -> None:
        """Be told by the manager that its patience is over: a handler of SIGABRT."""
        self._aborted = True

    def _look(self, summary: SessionSummary, now_s: float) -> None:
        frames = summary.processed + summary.rejected
        # What a session had before it was resumed is no sign of life.
        before, self._frames = self._frames, frames
        is_paused = self.paused()
        if before is not None and (frames > before or is_paused):
            self._frame_at_s = now_s
            self._ready()
        if self._frame_at_s == now_s and now_s >= self._tell_at_s:
            self._tell_at_s = now_s + (self._manager.watchdog_s or 0.0) / _TOLD_TIMES
            paused = "paused by the page; " if is_paused else ""
            self._manager.tell(
                "WATCHDOG=1",
                f"STATUS={paused}{summary.processed} fields, {summary.rejected} rejected,"
                f" {summary.unique} cells counted",
            )

    def _ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._manager.tell("READY=1", f"MAINPID={os.getpid()}")

    def _end(self, why: str, now_s: float) -> None:
        silent_s = now_s - self._frame_at_s
        self._note("watchdog", f"{why} for {silent_s:.0f} s: the run ends, and the service starts it again")
        raise CameraError(
            f"{why} for {silent_s:.0f} s, and a service ends then",
            cure="it is started again by itself; see `edgeleuk service logs` and `edgeleuk camera probe`",
        )


@contextmanager
def life_signs(manager: Manager, note: Callable[[str, str], None]) -> Iterator[LifeSigns]:
    """Tell the manager of a run within the block, and that it ends behind it.

    Yields
    ------
    LifeSigns
    """
    signs = LifeSigns(manager, note)
    watched = manager.watchdog_s is not None and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGABRT, signs.abort) if watched else None
    try:
        yield signs
    finally:
        manager.tell("STOPPING=1", "STATUS=the session is being closed")
        if watched:
            # None of one that is not Python's, as of its fault handler.
            signal.signal(signal.SIGABRT, before or signal.SIG_DFL)
