"""What the two kinds of board do, each in its own words, for `DrivenStage`."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edgeleuk.errors import HardwareError
from edgeleuk_firmware_bridge import grbl, sangaboard
from edgeleuk_firmware_bridge.conversation import Conversation
from edgeleuk_firmware_bridge.dialogue import Refused
from edgeleuk_firmware_bridge.failures import BoardAlarmError, BoardResetError, NoAnswerError, RefusedError
from edgeleuk_firmware_bridge.grbl import Grbl, Jog, Line, Realtime, Shine
from edgeleuk_firmware_bridge.microscope import Capabilities, Steps
from edgeleuk_firmware_bridge.sangaboard import Ask, Move, Sangaboard, SetBlocking, SetLight

if TYPE_CHECKING:
    from edgeleuk_firmware_bridge.links import Link, Patience


@dataclass(frozen=True, slots=True)
class Look:
    """What a board says of itself at one moment.

    Attributes
    ----------
    steps : Steps or None
        None while it cannot say, because it moves.
    moving : bool
    """

    steps: Steps | None
    moving: bool


class Board(Protocol):
    """A board that was opened; all calls raise `HardwareError` and its kinds."""

    conversation: Conversation
    capabilities: Capabilities
    halt_bytes: bytes
    dark_bytes: bytes
    tolerance: Steps

    def look(self) -> Look:
        """Ask it where it is."""
        ...

    def go(self, way: Steps) -> float:
        """Let it go so far; return how many seconds that should take."""
        ...

    def give_up(self) -> None:
        """Wait no longer for the end of a move."""
        ...

    def halt(self) -> None:
        """Stop it."""
        ...

    def home(self) -> None:
        """Let it find its end stops, and wait for that."""
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


def _too_old(link: Link, firmware: str, oldest: tuple[int, int]) -> HardwareError:
    return HardwareError(
        f"the firmware of the board at {link.url} is too old",
        got=repr(firmware),
        allowed=f"{oldest[0]}.{oldest[1]} and newer",
        cure="flash a newer one",
    )


class SangaboardBoard:
    """A Sangaboard; see `Board`. What its firmware cannot do is found out by asking.

    Parameters
    ----------
    link : Link
    patience : Patience
    """

    halt_bytes = sangaboard.encode(Ask.STOP)
    dark_bytes = sangaboard.encode(SetLight(0.0))
    tolerance = Steps(0, 0, 0)

    def __init__(self, link: Link, patience: Patience) -> None:
        self.conversation = Conversation(link, Sangaboard(), [Ask.DELAY, Ask.MODULES, Ask.RAMP], patience)
        firmware = self.conversation.ask(Ask.VERSION)
        version = sangaboard.version_of(firmware)
        if version is None or version < sangaboard.OLDEST:
            raise _too_old(link, firmware, sangaboard.OLDEST)
        delay_us = self._known(Ask.DELAY)
        ramp_us = self._known(Ask.RAMP)
        for query, answer in ((Ask.DELAY, delay_us), (Ask.RAMP, ramp_us)):
            if answer is None:
                self.conversation.syncs.remove(query)
        # Firmware 0.5 hears nothing while it moves.
        self._listens = self._known(Ask.MOVING) is not None
        blocking = self._known(Ask.BLOCKING) if self._listens else None
        self._restore_blocking = bool(blocking)
        if blocking:
            self.conversation.ask(SetBlocking(on=False))
        modules = self._known(Ask.MODULES) or ()
        self._step_s = (delay_us or 2000.0) * 1e-6
        self._ramp_s = (ramp_us or 0.0) * 1e-6
        self._moved = False
        self._under_way = False
        lamp = self._known(Ask.LIGHT) is not None
        self.capabilities = Capabilities(
            protocol="sangaboard",
            firmware=firmware,
            board=self._known(Ask.BOARD) or "",
            can_home=any(line.lower().startswith("endstops") and "min" in line.lower() for line in modules),
            can_stop=self._listens,
            channels={"cc": 1.0} if lamp else {},
        )

    def look(self) -> Look:
        """Ask whether it moves, then where it is."""
        if self._under_way:
            event = self.conversation.poll(0.02)
            if event is None:
                return Look(None, moving=True)
            self._under_way = False
            if isinstance(event, Refused):
                raise RefusedError("the board refused the move", got=repr(event.line))
        moving = self.conversation.ask(Ask.MOVING) if self._listens else False
        return Look(self.conversation.ask(Ask.POSITION), moving=moving)

    def go(self, way: Steps) -> float:
        """Let it go so far."""
        self._moved = True
        if self._listens:
            self.conversation.ask(Move(*way), tries=1)
        else:
            self.conversation.begin(Move(*way))
            self._under_way = True
        return max(map(abs, way)) * self._step_s + 2 * self._ramp_s

    def give_up(self) -> None:
        """Wait no longer for the end of a move."""
        if self._under_way:
            self._under_way = False
            self.conversation.doubt()

    def halt(self) -> None:
        """Stop it."""
        self.conversation.ask(Ask.STOP)

    def home(self) -> None:
        """Find the lower end stops."""
        self._moved = True
        self.conversation.ask(Ask.HOME, timeout_s=self.conversation.patience.home_s, tries=1)

    def shine(self, channel: str, level: float) -> None:  # noqa: ARG002
        """Set the constant-current lamp."""
        self.conversation.ask(SetLight(level))

    def shines(self, channel: str) -> float | None:  # noqa: ARG002
        """Read it back."""
        level: float = self.conversation.ask(Ask.LIGHT)
        return level

    def let_go(self) -> None:
        """Cut the motors' current, if they were moved, and set blocking moves as they were."""
        if self._moved:
            self.conversation.ask(Ask.RELEASE)
        if self._restore_blocking:
            self.conversation.ask(SetBlocking(on=True))

    def _known(self, query: Ask) -> Any:
        """Ask what not every firmware knows; None if this one does not."""
        try:
            return self.conversation.ask(query, tries=2)
        except (RefusedError, NoAnswerError):
            return None


class GrblBoard:
    """A GRBL board; see `Board`. A step is a thousandth of its millimetre.

    Parameters
    ----------
    link : Link
    patience : Patience
    """

    halt_bytes = Realtime.JOG_CANCEL.value
    dark_bytes = b"M5\nM9\n"

    def __init__(self, link: Link, patience: Patience) -> None:
        self.conversation = Conversation(link, Grbl(), [Line.MODES, Line.HELP, Line.BUILD], patience)
        build = self._lines(Line.BUILD)
        version = grbl.build_of(build)
        if version is not None and version < grbl.OLDEST:
            raise _too_old(link, build[0], grbl.OLDEST)
        settings = grbl.settings_of(self._lines(Line.SETTINGS))
        self._unit_mm = 25.4 if settings.get(13) else 1.0
        self._rates = [settings.get(number, 500.0) for number in (110, 111, 112)]
        self._gains = [settings.get(number, 10.0) for number in (120, 121, 122)]
        # A target falls between two steps of the motors, and three decimals are reported.
        self.tolerance = Steps(
            *(1 + math.ceil(1000 / max(settings.get(number, 250.0), 1e-3)) for number in (100, 101, 102))
        )
        self._full = settings.get(30, 1000.0)
        self._laser = bool(settings.get(32))
        self.capabilities = Capabilities(
            protocol="grbl",
            firmware=build[0].strip("[]") if build else "unknown",
            board=next((line.strip("[]") for line in build if line.startswith("[BOARD:")), ""),
            can_home=bool(settings.get(22)),
            can_stop=True,
            channels={"spindle": self._full, "coolant": 1.0},
        )
        self._look_for_offset()

    def look(self) -> Look:
        """Ask for a status report, until one says where the machine is."""
        for _ in range(35):
            status = self.conversation.ask(Realtime.STATUS)
            if status.machine is not None:
                steps = Steps(*(round(mm * self._unit_mm * 1000) for mm in status.machine))
                return Look(
                    steps, moving=status.state not in {"Idle", "Alarm", "Sleep", "Check", "Door", "Tool"}
                )
        raise HardwareError("the board gives work positions, and never their offset", cure="set $10=1")

    def go(self, way: Steps) -> float:
        """Jog so far."""
        status = self.conversation.ask(Realtime.STATUS)
        if status.state not in {"Idle", "Jog"}:
            raise HardwareError(
                f"the board is in the state {status.state} and does not move",
                cure="free the stage, then `edgeleuk stage home`",
            )
        used = [axis for axis in range(3) if way[axis]]
        if not used:
            return 0.0
        length = math.hypot(*way) / 1000
        # Full speed of the slowest axis along the way.
        feed = min(self._rates[axis] * length * 1000 / abs(way[axis]) for axis in used)
        x, y, z = (steps / 1000 for steps in way)
        try:
            self.conversation.ask(Jog(x, y, z, feed), tries=1)
        except RefusedError as error:
            raise _explained(error) from error
        return length / feed * 60 + 2 * feed / 60 / min(self._gains[axis] for axis in used)

    def give_up(self) -> None:
        """Nothing is awaited: a jog is answered at once."""

    def halt(self) -> None:
        """Cancel the jog: the board keeps its position."""
        self.conversation.shout(self.halt_bytes)

    def home(self) -> None:
        """Home, after a reset where an alarm asks for one."""
        if self._deaf():
            self.conversation.shout(Realtime.RESET.value)
            for _ in range(3):
                with contextlib.suppress(BoardAlarmError, BoardResetError):
                    self.conversation.poll(0.3)
        try:
            self.conversation.ask(Line.HOME, timeout_s=self.conversation.patience.home_s, tries=1)
        except RefusedError as error:
            raise _explained(error) from error

    def shine(self, channel: str, level: float) -> None:
        """Set the spindle's output, or the coolant's, which is on or off."""
        if channel == "coolant":
            command: Any = Line.MIST_ON if level >= 0.5 else Line.MIST_OFF
        else:
            command = Shine(level * self._full, self._laser) if level else Line.DARK
        try:
            self.conversation.ask(command)
        except RefusedError as error:
            raise _explained(error) from error

    def shines(self, channel: str) -> float | None:
        """Read the spindle's speed back."""
        if channel == "coolant":
            return None
        speed = self.conversation.ask(Realtime.STATUS).speed
        return None if speed is None else min(speed / self._full, 1.0)

    def let_go(self) -> None:
        """Leave the motors to the board's own setting ($1)."""

    def _lines(self, command: Line) -> tuple[str, ...]:
        try:
            answer: tuple[str, ...] = self.conversation.ask(command)
        except RefusedError:
            # It is moving: what it was told before this program came.
            return ()
        return answer

    def _look_for_offset(self) -> None:
        with contextlib.suppress(HardwareError):
            self.look()

    def _deaf(self) -> bool:
        try:
            self.conversation.ask(Realtime.STATUS, tries=1)
        except NoAnswerError:
            return True
        return False


def _explained(error: RefusedError) -> RefusedError:
    number = str(error.got).strip("'").partition(":")[2]
    text = grbl.ERRORS.get(int(number)) if number.isdigit() else None
    return RefusedError(f"{error.what} ({error.got}: {text})") if text else error
