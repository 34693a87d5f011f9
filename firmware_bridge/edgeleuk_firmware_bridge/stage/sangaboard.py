"""The protocol of the Sangaboard, OpenFlexure's motor and lamp board: bytes only, no port and no clock.

Commands are lines of text; each is answered by one line, `list_modules` by several and ``--END--``. Firmwares
differ in spelling and lack commands, so answers are told by their shape, not letter by letter. Firmware 0.5
answers a move when it has ended and hears nothing meanwhile; firmware 1 answers at once, unless it is set to
`blocking_moves`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from edgeleuk_firmware_bridge.stage.protocols import Steps
from edgeleuk_firmware_bridge.stage.state_machine import Dialogue, DialogueState, Event, Rebooted

if TYPE_CHECKING:
    from collections.abc import Callable

OLDEST = (0, 5)


class Ask(Enum):
    """Commands without parameters, with what they answer."""

    VERSION = "version"  # str: the line
    BOARD = "board"  # str: the line
    MODULES = "list_modules"  # tuple of str
    POSITION = "p?"  # Steps
    MOVING = "moving?"  # bool
    BLOCKING = "blocking_moves?"  # bool
    DELAY = "dt?"  # float, microseconds a step
    RAMP = "ramp_time?"  # float, microseconds
    LIGHT = "led_cc?"  # float, 0 to 1
    STOP = "stop"  # None, as those below
    RELEASE = "release"
    ZERO = "zero"


@dataclass(frozen=True, slots=True)
class Move:
    """A way in steps."""

    x: int
    y: int
    z: int


@dataclass(frozen=True, slots=True)
class Home:
    """Find the lower end stops of axes: 1 is x, 2 is y, 4 is z. Without the number, 1.0-beta crashes."""

    axes: int = 7


@dataclass(frozen=True, slots=True)
class SetBlocking:
    """Whether a move is answered when it has ended (True) or at once."""

    on: bool


@dataclass(frozen=True, slots=True)
class SetLight:
    """Level of the constant-current lamp, 0 to 1. The answer is what it reads back, or None."""

    level: float


Command = Ask | Move | Home | SetBlocking | SetLight

_NUMBER = re.compile(r"-?\d{1,10}(?:\.\d{1,10})?(?![\d.])")
_POSITION = re.compile(r"(-?\d{1,10})[ ,\t]+(-?\d{1,10})[ ,\t]+(-?\d{1,10})")
_VERSION = re.compile(r"(?:sangaboard|openflexure|motor board)\D{0,40}(\d{1,4})\.(\d{1,4})", re.IGNORECASE)
# A welcome is one even where a byte of it is lost: no reset may go unnoticed.
_WELCOME = re.compile(r"sangab|aboard\b|firmware v|motor board", re.IGNORECASE)
_REFUSAL = re.compile(
    r"type 'help'|invalid command|not recogni[sz]ed|unknown command|no such command|not installed|"
    r"^error\b(?!:\d)",
    re.IGNORECASE,
)
_DONE = re.compile(r"(?:done|stopped|move aborted|aborted|position reset|zeroed|ok)\b.{0,40}", re.IGNORECASE)


def encode(command: Command) -> bytes:
    r"""Return the bytes of a command.

    Examples
    --------
    >>> encode(Move(10, -5, 0))
    b'mr 10 -5 0\n'
    >>> encode(SetLight(0.25)), encode(Home())
    (b'led_cc 0.250\n', b'home_min 7\n')
    """
    if isinstance(command, Move):
        text = f"mr {command.x} {command.y} {command.z}"
    elif isinstance(command, Home):
        text = f"home_min {command.axes}"
    elif isinstance(command, SetBlocking):
        text = f"blocking_moves {'true' if command.on else 'false'}"
    elif isinstance(command, SetLight):
        text = f"led_cc {command.level:.3f}"
    else:
        text = command.value
    return text.encode() + b"\n"


def version_of(line: str) -> tuple[int, int] | None:
    """Return the version in a welcome, or None if it is no Sangaboard's.

    Examples
    --------
    >>> version_of("Sangaboard Firmware v1.0.1"), version_of("OpenFlexure Motor Board v0.5.1")
    ((1, 0), (0, 5))
    """
    found = _VERSION.match(line)
    return (int(found[1]), int(found[2])) if found else None


def is_refusal(line: str) -> bool:
    """Return whether a line says that a command is unknown."""
    return _REFUSAL.search(line) is not None


def _position(line: str) -> Steps | None:
    found = _POSITION.fullmatch(line)
    if not found:
        return None
    steps = Steps(*(int(number) for number in found.groups()))
    # The firmware counts in 32 bits.
    return steps if all(-(2**31) <= number < 2**31 for number in steps) else None


def _truth(line: str) -> bool | None:
    found = re.fullmatch(r"(?:[A-Za-z_ ?:]{0,40}[ :])?(true|false)\.?", line, re.IGNORECASE)
    return found[1].lower() == "true" if found else None


def _number_after(words: str) -> Callable[[str], float | None]:
    shape = re.compile(words, re.IGNORECASE)

    def number(line: str) -> float | None:
        found = _NUMBER.findall(line) if shape.search(line) else []
        return float(found[-1]) if found else None

    return number


_delay = _number_after(r"^(?:minimum step delay|min_step_delay|dt)\b")
_ramp = _number_after(r"^ramp[ _]time\b")
_light = _number_after(r"\bled\b|led_cc")


def _done(line: str) -> bool | None:
    return True if _DONE.fullmatch(line) else None


def _version(line: str) -> str | None:
    return line if version_of(line) else None


def _text(line: str) -> str | None:
    return line if line.isprintable() and "\ufffd" not in line else None


def _light_or_done(line: str) -> float | bool | None:
    level = _light(line)
    return _done(line) if level is None else level


_SHAPES: dict[Ask, Callable[[str], Any]] = {
    Ask.VERSION: _version,
    Ask.BOARD: _text,
    Ask.POSITION: _position,
    Ask.MOVING: _truth,
    Ask.BLOCKING: _truth,
    Ask.DELAY: _delay,
    Ask.RAMP: _ramp,
    Ask.LIGHT: _light,
}


class Sangaboard(Dialogue):
    r"""A dialogue with a Sangaboard.

    Examples
    --------
    >>> board = Sangaboard()
    >>> board.ask(Ask.POSITION)
    b'p?\n'
    >>> board.receive(b"1 -2 3\r\n")
    [Answered(command=<Ask.POSITION: 'p?'>, value=Steps(x=1, y=-2, z=3))]
    """

    def _encode(self, command: Any) -> bytes:
        return encode(command)

    def _read(self, line: str) -> Event | None:
        asked = self.asked
        if _WELCOME.search(line) and asked not in {Ask.VERSION, Ask.BOARD, Ask.MODULES}:
            return self._upset(Rebooted(line))
        if asked is None:
            return self._stray(line)
        if asked is Ask.MODULES:
            return self._module(line)
        if is_refusal(line):
            return self._refused(line)
        if isinstance(asked, SetLight):
            value = _light_or_done(line)
        else:
            value = _SHAPES.get(asked, _done)(line) if isinstance(asked, Ask) else _done(line)
        return self._stray(line) if value is None else self._answered(value)

    def _module(self, line: str) -> Event | None:
        if line.strip("- ") == "END":
            return self._answered(tuple(self._parts))
        if is_refusal(line) and self.state is not DialogueState.SYNCING:
            return self._refused(line)
        self._part(line)
        return None
