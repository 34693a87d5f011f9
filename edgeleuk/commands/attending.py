"""Who attends to a run: its stage, the service manager, and the watch over crashing threads."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from edgeleuk.io.console import voice
from edgeleuk.io.threads import Crashes, crashes_noticed
from edgeleuk.service.notify import LifeSigns, Manager, life_signs

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edgeleuk.capture import FrameSource
    from edgeleuk.frames import RgbImage
    from edgeleuk.pipeline.run import Attendant
    from edgeleuk.results import FrameResult, SessionSummary
    from edgeleuk.session.writer import SessionWriter


class Walk(Protocol):
    """Moves the stage under a camera, and draws the slide; see `edgeleuk.commands.scan.SlideScan`."""

    def over(self, source: FrameSource, stop: threading.Event, first: int) -> FrameSource:
        """Make a source of the fields that are left, from that number on."""
        ...

    def seen(self, result: FrameResult, pixels: RgbImage) -> None:
        """Look at a field that is recorded."""
        ...

    def save(self, path: Path) -> None:
        """Write the picture of the slide."""
        ...


class Attendants:
    """Several that attend to a run, as one; an `Attendant`.

    Parameters
    ----------
    crashes : Crashes
    signs : LifeSigns
    others : list of Attendant
    """

    def __init__(self, crashes: Crashes, signs: LifeSigns, others: list[Attendant]) -> None:
        self.crashes = crashes
        self.signs = signs
        self._others = others

    def add(self, other: Attendant) -> None:
        """Let one more attend from now on."""
        self._others.append(other)

    def tick(self, so_far: Callable[[], SessionSummary]) -> None:
        """Tell all of them; see `edgeleuk.pipeline.run.Attendant`.

        Raises
        ------
        EdgeleukError
            A thread has crashed, or the camera is silent for too long.
        """
        self.crashes.check()
        for each in (*self._others, self.signs):
            each.tick(so_far)

    def recalling(self, so_far: Callable[[], SessionSummary]) -> None:
        """Tell all of them while the run reads what it is to remember: no frame can come yet.

        Raises
        ------
        EdgeleukError
            A thread has crashed.
        """
        self.crashes.check()
        for each in self._others:
            each.tick(so_far)
        self.signs.begin()

    def rejected(self, pixels: RgbImage, reason: str) -> None:
        """Tell all of them; see `edgeleuk.pipeline.run.Attendant`."""
        for each in (*self._others, self.signs):
            each.rejected(pixels, reason)


@contextmanager
def attended_run(
    writer: SessionWriter, stop: threading.Event, other: Attendant | None = None
) -> Iterator[Attendants]:
    """Watch over a run within the block: its threads, and its life signs to the service manager.

    Within another's program neither is edgeleuk's business.

    Parameters
    ----------
    writer : SessionWriter
        Records what befalls it.
    stop : threading.Event
        Of the run; set where a thread crashes.
    other : Attendant, optional

    Yields
    ------
    Attendants
        Its crashes are to be asked again behind the block.
    """
    is_program = voice().program
    with (
        crashes_noticed(stop) if is_program else nullcontext(Crashes(stop)) as crashes,
        life_signs(Manager() if is_program else Manager({}), writer.note) as signs,
    ):
        yield Attendants(crashes, signs, [] if other is None else [other])
