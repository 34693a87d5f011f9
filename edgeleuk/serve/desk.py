"""What a person at the page asks of a stage, done between two pictures of the camera on it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, Protocol

from edgeleuk.errors import CheckFailedError, EdgeleukError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeleuk.stage.base import Mover

# Of one press: further than this nobody means to go without looking.
MOST_MOVE_UM = 1000.0
_MOST_WAITING = 4


class Lamp(Protocol):
    """The lamps of a stage's board; see `edgeleuk_firmware_bridge.stage.protocols.Illumination`."""

    @property
    def channels(self) -> Sequence[str]:
        """Their names."""
        ...

    def level(self, channel: str) -> float:
        """Return the level of one, 0 to 1."""
        ...

    def set_level(self, channel: str, level: float) -> None:
        """Set the level of one."""
        ...


class DeskState(NamedTuple):
    """What is known of the stage.

    Attributes
    ----------
    place_um : tuple of 3 floats, or None
        Where it was after the last move; None before anybody asked.
    lamp : float or None
        Level of its first lamp; None where it has none, or does not tell.
    busy : bool
    trouble : str or None
        What went wrong last.
    """

    place_um: tuple[float, float, float] | None
    lamp: float | None
    busy: bool
    trouble: str | None


class _Errand(NamedTuple):
    work: Callable[[], object]
    done: Future[None]


class StageDesk:
    """Takes what is asked of a stage, for the thread that reads the camera to do.

    So a move never falls into a search for the focus, and the wire is used from one thread.

    Parameters
    ----------
    stage : Mover
    lamp : Lamp, optional
    """

    def __init__(self, stage: Mover, lamp: Lamp | None = None) -> None:
        self._stage = stage
        self._lamp = lamp
        self._channel = None if lamp is None else next(iter(lamp.channels), None)
        self._errands: SimpleQueue[_Errand] = SimpleQueue()
        self._lock = threading.Lock()
        self._state = DeskState(None, None, busy=False, trouble=None)
        # Brings the camera into focus; set by who reads it.
        self.focus: Callable[[], object] | None = None

    @property
    def has_lamp(self) -> bool:
        """Whether there is a lamp to be set."""
        return self._channel is not None

    def state(self) -> DeskState:
        """Return what is known of the stage."""
        return self._state

    def move(self, x_um: float = 0.0, y_um: float = 0.0, z_um: float = 0.0) -> Future[None]:
        """Have the stage moved so far from where it is.

        Raises
        ------
        UsageError
            Further than `MOST_MOVE_UM`.
        CheckFailedError
            More waits to be done already.
        """
        if not all(abs(um) <= MOST_MOVE_UM for um in (x_um, y_um, z_um)):
            raise UsageError(
                "the stage does not go so far at once",
                got=f"{x_um:g}, {y_um:g}, {z_um:g} um",
                allowed=f"{MOST_MOVE_UM:g} um",
            )

        def go() -> None:
            here = self._stage.position()
            goals = zip((here.x_um, here.y_um, here.z_um), (x_um, y_um, z_um), strict=True)
            # An axis that is to stay is not told anything.
            self._stage.move(*(at + um if um else None for at, um in goals))

        return self._ask(go)

    def autofocus(self) -> Future[None]:
        """Have the focus looked for."""

        def look() -> None:
            if self.focus is None:
                raise CheckFailedError("the camera cannot be brought into focus by this stage")
            self.focus()

        return self._ask(look)

    def light(self, level: float) -> Future[None]:
        """Have the lamp set, 0 to 1.

        Raises
        ------
        UsageError
            The level is out of range, or there is no lamp.
        """
        lamp, channel = self._lamp, self._channel
        if lamp is None or channel is None:
            raise UsageError("the stage has no lamp")
        if not 0 <= level <= 1:
            raise UsageError("the lamp's level is out of range", got=f"{level:g}", allowed="0 to 1")
        return self._ask(lambda: lamp.set_level(channel, level))

    def work(self) -> None:
        """Do what was asked for; on the thread that reads the camera."""
        while True:
            try:
                errand = self._errands.get_nowait()
            except Empty:
                return
            self._state = self._state._replace(busy=True)
            trouble = None
            try:
                errand.work()
                self._read()
            except EdgeleukError as error:
                trouble = str(error)
                errand.done.set_exception(error)
            else:
                errand.done.set_result(None)
            self._state = self._state._replace(busy=False, trouble=trouble)

    def close(self) -> None:
        """Do nothing more."""
        while True:
            try:
                errand = self._errands.get_nowait()
            except Empty:
                return
            errand.done.set_exception(CheckFailedError("the run has ended: the stage stays where it is"))

    def _ask(self, work: Callable[[], object]) -> Future[None]:
        if self._errands.qsize() >= _MOST_WAITING:
            raise CheckFailedError("the stage has enough to do", cure="wait until it stands")
        done: Future[None] = Future()
        self._errands.put(_Errand(work, done))
        return done

    def _read(self) -> None:
        here = self._stage.position()
        lit = None
        if self._lamp is not None and self._channel is not None:
            lit = self._lamp.level(self._channel)
        self._state = self._state._replace(place_um=(here.x_um, here.y_um, here.z_um), lamp=lit)
