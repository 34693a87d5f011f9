"""What the two kinds of board have in common, for `DrivenStage`; each does it in its own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeleuk.errors import HardwareError

if TYPE_CHECKING:
    import threading

    from edgeleuk.io.closing import Closing
    from edgeleuk_firmware_bridge.stage.protocols import BoardStatus, Capabilities, Steps
    from edgeleuk_firmware_bridge.stage.serial_link import Link, Patience


@dataclass(frozen=True, slots=True)
class BoardReading:
    """What a board says of itself at one moment.

    Attributes
    ----------
    steps : Steps or None
        None while it cannot say, because it moves.
    moving : bool
    """

    steps: Steps | None
    moving: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard while a board was recognised.

    Attributes
    ----------
    protocol : str
    line : str
        Which told the protocol.
    alarm : int or None
        Code of an alarm that it raised.
    was_reset : bool
        It heard nothing else, so it was told to reset.
    """

    protocol: str
    line: str
    alarm: int | None = None
    was_reset: bool = False


class Wire(Protocol):
    """What leads to a board; see `edgeleuk_firmware_bridge.stage.transport.Transport`."""

    @property
    def lock(self) -> threading.RLock:
        """Held while a question is open."""
        ...

    @property
    def patience(self) -> Patience:
        """How long the host waits."""
        ...

    @property
    def error_count(self) -> int:
        """How often an answer was missing or something else was heard."""
        ...

    @property
    def link(self) -> Closing:
        """What is closed at the end."""
        ...

    def doubt(self) -> None:
        """Be sure of nothing any more."""
        ...


class Board(Protocol):
    """A board that was opened; all calls raise `HardwareError` and its kinds."""

    @property
    def transport(self) -> Wire:
        """What leads to it."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it said of itself."""
        ...

    @property
    def tolerance(self) -> Steps:
        """How far from its target it may stand."""
        ...

    def halt_now(self) -> None:
        """Stop it, whoever is asking; from any thread."""
        ...

    def dark_now(self) -> None:
        """Turn its lamps off, though it may not answer."""
        ...

    def look(self) -> BoardReading:
        """Ask it where it is."""
        ...

    def status(self) -> BoardStatus:
        """Ask it what it does, and why if it does nothing."""
        ...

    def go(self, way: Steps) -> float:
        """Let it go so far; return how many seconds that should take."""
        ...

    def give_up(self) -> None:
        """Wait no longer for the end of a move."""
        ...

    def halt(self) -> None:
        """Stop it; it may brake for a while."""
        ...

    def home(self) -> None:
        """Let it find its end stops, and wait for that."""
        ...

    def focus(self, reach_um: float) -> None:
        """Let it find the focus, so far up and down from here; only where it says that it can."""
        ...

    def unlock(self) -> bool:
        """Let it move again after an alarm; return whether it was locked."""
        ...

    def shine(self, channel: str, level: float) -> None:
        """Set the level of a lamp, 0 to 1."""
        ...

    def shines(self, channel: str) -> float | None:
        """Return the level as it reads back, or None where it does not tell."""
        ...

    def let_go(self) -> None:
        """Leave it as it was found."""
        ...


def too_old(link: Link, firmware: str, oldest: tuple[int, int]) -> HardwareError:
    """Return the error of a firmware that is not supported any more."""
    return HardwareError(
        f"the firmware of the board at {link.url} is too old",
        got=repr(firmware),
        allowed=f"{oldest[0]}.{oldest[1]} and newer",
        cure="flash a newer one",
    )
