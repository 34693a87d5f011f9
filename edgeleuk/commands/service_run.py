"""``edgeleuk service run``: what the unit starts, a run that goes on where the one before was cut off."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.errors import InterruptedBeforeRecordError, SessionError, UsageError
from edgeleuk.io.console import printable, say, warn
from edgeleuk.io.signals import stop_on_signals
from edgeleuk.service.memory import (
    Memory,
    read_memory,
    session_for,
    session_instead,
    wait_before_s,
    write_memory,
)
from edgeleuk.service.notify import Manager
from edgeleuk.session.writer import DEFAULT_GUARD

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import Literal

    from edgeleuk.errors import EdgeleukError
    from edgeleuk.frames import RgbImage
    from edgeleuk.results import SessionSummary

    Outcome = tuple[SessionSummary, EdgeleukError | None]

# A run that has counted for so long is sound: the failures before it are forgotten.
SOUND_AFTER_S = 60.0
_ROOM_EVERY_S = 10.0


@dataclass(frozen=True)
class Once:
    """One run of the service.

    Attributes
    ----------
    session : Path
        To be gone on with, or begun.
    attendant : ServiceAttendant
        Has to attend to it.
    stop : threading.Event
        Ends it.
    token : str
        Of its page.
    """

    session: Path
    attendant: ServiceAttendant
    stop: threading.Event
    token: str


class ServiceAttendant:
    """Notices that a run is sound, and that a new day begins; an `Attendant`.

    Parameters
    ----------
    sound : callable
        Called once, when frames have been recorded for a minute.
    stop : threading.Event
        Set when a new day begins, where each has its own session.
    day : str, optional
        The session's, as ``YYYYmmdd``.
    clock : callable
        Seconds on a steady clock.
    today : callable
        The day that it is.

    Attributes
    ----------
    is_over : bool
        Whether the day has ended.
    """

    def __init__(
        self,
        sound: Callable[[], None],
        stop: threading.Event,
        day: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], str] = lambda: time.strftime("%Y%m%d"),
    ) -> None:
        self.is_over = False
        self._sound: Callable[[], None] | None = sound
        self._stop = stop
        self._day = day
        self._clock = clock
        self._today = today
        self._frames: int | None = None
        self._since_s: float | None = None
        self._look_at_s = 0.0

    def tick(self, so_far: Callable[[], SessionSummary]) -> None:
        """Look once a second; see `edgeleuk.pipeline.run.Attendant`."""
        now_s = self._clock()
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + 1.0
        # A clock that is set back, or that starts in 1970, begins no day.
        if self._day is not None and self._today() > self._day and not self._stop.is_set():
            self.is_over = True
            self._stop.set()
        if self._sound is None:
            return
        summary = so_far()
        frames = summary.processed + summary.rejected
        if self._frames is not None and frames > self._frames and self._since_s is None:
            self._since_s = now_s
        self._frames = frames if self._frames is None else self._frames
        if self._since_s is not None and now_s - self._since_s >= SOUND_AFTER_S:
            self._sound()
            self._sound = None

    def rejected(self, pixels: RgbImage, reason: str) -> None:
        """See `edgeleuk.pipeline.run.Attendant`."""


def run_service(
    watch: Callable[[Once], Outcome],
    *,
    folder: Path | None = None,
    session: Path | None = None,
    session_per: Literal["start", "day"] = "start",
) -> Outcome:
    """Run until the camera ends, somebody stops the service, or something fails.

    A failure is left to the service manager, which starts this anew; it then waits the longer the more
    failures there were in a row.

    Parameters
    ----------
    watch : callable
        Runs once, with ``resume``; see `Once`.
    folder : Path, optional
        Where sessions and the service's memory lie; by default what systemd says, or the working folder.
    session : Path, optional
        The one session that is always gone on with, where the settings name one.
    session_per : str
        See `edgeleuk.service.memory.session_for`.

    Returns
    -------
    summary, error
        Of the last run; see `edgeleuk.commands.run.run`.
    """
    folder = folder or Path(os.environ.get("STATE_DIRECTORY", "."))
    manager = Manager()
    memory = read_memory(folder)
    _wait(manager, memory.failures)
    while True:
        path, memory = _chosen(folder, memory, session, session_per)
        _wait_for_room(manager, path.parent)
        # As long as nobody knows better, this start is one that fails.
        before, memory = memory, msgspec.structs.replace(memory, failures=memory.failures + 1)
        write_memory(folder, memory)
        try:
            is_over, outcome, memory = _watched(watch, folder, path, memory, named=session is not None)
        except KeyboardInterrupt:
            # Who is stopped has not failed.
            write_memory(folder, before)
            raise
        if isinstance(outcome[1], InterruptedBeforeRecordError):
            write_memory(folder, msgspec.structs.replace(memory, failures=before.failures))
        if outcome[1] is None:
            kept = session_per == "day" and not is_over
            memory = msgspec.structs.replace(
                memory, failures=0, session=memory.session if kept else None, day=memory.day if kept else None
            )
            write_memory(folder, memory)
        if outcome[1] is not None or not is_over:
            return outcome
        say("  a new day begins, and with it a new session")


def _watched(
    watch: Callable[[Once], Outcome], folder: Path, path: Path, memory: Memory, *, named: bool
) -> tuple[bool, Outcome, Memory]:
    """Run once; with another session, if the one at hand cannot be gone on with."""
    was_there = path.exists()
    try:
        return _once(watch, folder, path, memory)
    except (UsageError, SessionError) as error:
        # The one that the settings name is the one that is wanted.
        if named or not was_there:
            raise
        warn(f"{printable(str(path))} is not gone on with, a new session begins: {printable(str(error))}")
        path, memory = session_instead(folder, memory)
        write_memory(folder, memory)
        return _once(watch, folder, path, memory)


def _once(
    watch: Callable[[Once], Outcome], folder: Path, path: Path, memory: Memory
) -> tuple[bool, Outcome, Memory]:
    sound = msgspec.structs.replace(memory, failures=0)
    with stop_on_signals() as stop:
        attendant = ServiceAttendant(lambda: write_memory(folder, sound), stop, memory.day)
        outcome = watch(Once(path, attendant, stop, memory.token))
    return attendant.is_over, outcome, memory


def _chosen(
    folder: Path, memory: Memory, session: Path | None, session_per: Literal["start", "day"]
) -> tuple[Path, Memory]:
    if session is not None:
        return folder / session, memory
    return session_for(folder, memory, session_per, now=time.localtime())


def _wait(manager: Manager, failures: int) -> None:
    wait_s = wait_before_s(failures)
    if wait_s:
        text = f"the last {failures} runs failed: the next begins in {wait_s:.0f} s"
        say(f"  {text}")
        manager.tell(f"STATUS={text}")
        time.sleep(wait_s)


def _wait_for_room(manager: Manager, folder: Path) -> None:
    """Wait as long as the disk is too full to record anything; with room again the service goes on."""
    told = False
    while _free_bytes(folder) < DEFAULT_GUARD.stop_bytes:
        text = "the disk is nearly full: the service waits for room"
        if not told:
            warn(text)
        told = True
        manager.tell(f"STATUS={text}", "EXTEND_TIMEOUT_USEC=60000000")
        time.sleep(_ROOM_EVERY_S)


def _free_bytes(folder: Path) -> float:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        # What is wrong with the folder is said by who writes into it.
        return float("inf")
