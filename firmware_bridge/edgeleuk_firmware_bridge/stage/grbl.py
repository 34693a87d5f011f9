"""The protocol of GRBL 1.1 and grblHAL: bytes only, no port and no clock.

A line is answered by ``ok`` or ``error:N``, which says that it was understood, not that it was done.
Single bytes are acted upon at once, outside of the lines. Lines are sent one at a time, so that the board's
128 bytes of buffer never overflow.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edgeleuk_firmware_bridge.stage.state_machine import Alarmed, Dialogue, DialogueState, Event, Rebooted

OLDEST = (1, 1)


class Realtime(Enum):
    """Single bytes that are acted upon at once."""

    STATUS = b"?"
    HOLD = b"!"
    RESUME = b"~"
    RESET = b"\x18"
    JOG_CANCEL = b"\x85"


class Line(Enum):
    """Lines without parameters; what they answer is a tuple of lines."""

    BUILD = "$I"
    SETTINGS = "$$"
    MODES = "$G"
    HELP = "$"
    HOME = "$H"
    UNLOCK = "$X"
    DARK = "M5"
    MIST_OFF = "M9"
    MIST_ON = "M8"


@dataclass(frozen=True, slots=True)
class Jog:
    """A way in millimetres, at so many millimetres a minute."""

    x_mm: float
    y_mm: float
    z_mm: float
    feed: float


@dataclass(frozen=True, slots=True)
class Shine:
    """Let the lamp shine: the spindle's output, from 0 to its greatest speed.

    With `laser`, for a board in laser mode ($32), whose output is off in any mode of motion but G1.
    """

    speed: float
    laser: bool = False


Command = Realtime | Line | Jog | Shine

ALARMS = {
    1: "a limit switch was hit: the position is likely lost",
    2: "the target is beyond the machine's travel",
    3: "it was reset in mid-move: steps are likely lost",
    4: "the probe was not in the state it should start in",
    5: "the probe touched nothing",
    6: "it was reset while homing",
    7: "the safety door was opened while homing",
    8: "homing failed: the limit switch did not open when pulling off",
    9: "homing failed: no limit switch was found",
    10: "homing failed: the second limit switch of a ganged axis was not found (grblHAL: emergency stop)",
    11: "homing is required first",
    12: "a limit switch is pressed",
    13: "the probe is protected against crashes",
    14: "the spindle does not do as told",
    15: "homing failed: the second limit switch of a ganged axis was not found",
    16: "its own test at power-up failed",
    17: "a motor driver reports a fault",
}
# After these the firmware hears nothing but a reset.
DEAFENING = (1, 2)
# What the board says before it stops to listen.
RESET_WANTED = "[MSG:Reset to continue]"
# States in which nothing moves, though the board hears: what it waits for.
WAITING = {
    "Hold": "a feed hold waits to be ended, by a button or another program",
    "Door": "the safety door is open",
    "Check": "it only checks what it is told, and moves nothing",
    "Sleep": "it sleeps, its motors without current",
    "Tool": "it waits for a change of the tool",
}
ERRORS = {
    1: "a word without a letter",
    2: "a number is malformed",
    3: "the $ command is unknown",
    5: "homing is not enabled in its settings ($22)",
    8: "this is possible only when it is idle",
    9: "it is locked by an alarm, or jogging",
    15: "the target is beyond the machine's travel",
    16: "the jog command is malformed",
    20: "the G-code is not supported",
    22: "no feed rate is set",
}
# The answer of each begins with what no other line begins with.
MARKERS = {Line.MODES: ("[GC:",), Line.HELP: ("[HLP:",), Line.BUILD: ("[VER:", "[0.")}

_STATES = {"Idle", "Run", "Hold", "Jog", "Alarm", "Door", "Check", "Home", "Sleep", "Tool"}
_NUMBER = re.compile(r"-?\d{1,7}(?:\.\d{1,6})?")
# A welcome is one even where a byte of it is lost: no reset may go unnoticed.
_RESET = re.compile(r"^grbl|rbl ?(?:hal)? ?\d|for help", re.IGNORECASE)
_WELCOME = re.compile(r"grbl(?:hal)?\b\D{0,8}(\d{1,4})\.(\d{1,4})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Status:
    """A status report.

    Attributes
    ----------
    state : str
        ``Idle``, ``Run``, ``Hold``, ``Jog``, ``Alarm``, ``Door``, ``Check``, ``Home``, ``Sleep``, ``Tool``.
    machine : tuple of 3 float, or None
        Machine position in the board's unit; None where it gives the work position, and never yet the offset.
    speed : float or None
        Of the spindle, which is the lamp.
    substate : int or None
        Behind a colon: of ``Hold`` 0 once it stands; grblHAL's ``Alarm`` tells its code.
    pins : str
        Inputs that are active: ``X``, ``Y`` and ``Z`` are limit switches.
    """

    state: str
    machine: tuple[float, float, float] | None
    speed: float | None = None
    substate: int | None = None
    pins: str = ""


def encode(command: Command) -> bytes:
    r"""Return the bytes of a command.

    Examples
    --------
    >>> encode(Jog(0.01, -0.005, 0, 500))
    b'$J=G91 G21 X0.010 Y-0.005 F500.0\n'
    >>> encode(Realtime.STATUS), encode(Shine(250))
    (b'?', b'M3 S250.0\n')
    """
    if isinstance(command, Realtime):
        return command.value
    if isinstance(command, Jog):
        ways = (("X", command.x_mm), ("Y", command.y_mm), ("Z", command.z_mm))
        words = " ".join(f"{letter}{way:.3f}" for letter, way in ways if round(way, 3))
        text = f"$J=G91 G21 {words} F{command.feed:.1f}"
    elif isinstance(command, Shine):
        text = f"{'G1 F100 ' if command.laser else ''}M3 S{command.speed:.1f}"
    else:
        text = command.value
    return text.encode() + b"\n"


def version_of(line: str) -> tuple[int, int] | None:
    """Return the version in a welcome, or None if it is no GRBL board's.

    Examples
    --------
    >>> version_of("Grbl 1.1h ['$' for help]"), version_of("GrblHAL 1.1f ['$' or '$HELP' for help]")
    ((1, 1), (1, 1))
    """
    found = _WELCOME.match(line)
    return (int(found[1]), int(found[2])) if found else None


def build_of(lines: tuple[str, ...]) -> tuple[int, int] | None:
    """Return the version among the lines that ``$I`` answers.

    Examples
    --------
    >>> build_of(("[VER:1.1h.20190830:]", "[OPT:V,15,128]")), build_of(("[0.9j.20160303:]",))
    ((1, 1), (0, 9))
    """
    found = (re.match(r"\[(?:VER:)?v?(\d{1,4})\.(\d{1,4})", line) for line in lines)
    return next(((int(match[1]), int(match[2])) for match in found if match), None)


def settings_of(lines: tuple[str, ...]) -> dict[int, float]:
    """Return the numeric settings among the lines that ``$$`` answers.

    Examples
    --------
    >>> settings_of(("$10=1", "$110=500.000 (x max rate)", "$N0=G54"))
    {10: 1.0, 110: 500.0}
    """
    found = (re.match(r"\$(\d{1,4})=(-?\d{1,9}(?:\.\d{1,9})?)\b", line) for line in lines)
    return {int(match[1]): float(match[2]) for match in found if match}


def _numbers(text: str) -> tuple[float, float, float] | None:
    words = text.split(",")
    if len(words) < 3 or not all(_NUMBER.fullmatch(word) for word in words):
        return None
    x, y, z = (float(word) for word in words[:3])
    return x, y, z


class Grbl(Dialogue):
    r"""A dialogue with a GRBL board.

    Examples
    --------
    >>> board = Grbl()
    >>> board.ask(Realtime.STATUS)
    b'?'
    >>> board.receive(b"<Idle|MPos:1.000,0.000,-2.500|FS:0,0>\r\n")[0].value
    Status(state='Idle', machine=(1.0, 0.0, -2.5), speed=0.0, substate=None, pins='')
    """

    def __init__(self) -> None:
        super().__init__()
        self._offset: tuple[float, float, float] | None = None

    def _encode(self, command: Any) -> bytes:
        return encode(command)

    def _read(self, line: str) -> Event | None:
        if line.startswith("<"):
            return self._report(line)
        if line == "ok":
            return self._ok(line)
        if re.fullmatch(r"error:\d{1,4}", line):
            return self._stray(line) if self.asked is None or self._is_report() else self._refused(line)
        alarm = re.fullmatch(r"ALARM:(\d{1,4})", line)
        if alarm:
            return self._upset(Alarmed(int(alarm[1])))
        if _RESET.search(line) and not line.startswith("["):
            self._offset = None
            return self._upset(Rebooted(line))
        return self._other(line)

    def _is_report(self) -> bool:
        return self.asked is Realtime.STATUS

    def _ok(self, line: str) -> Event:
        if self.asked is None or self._is_report():
            return self._stray(line)
        marker = MARKERS.get(self.asked) if isinstance(self.asked, Line) else None
        if marker and not any(part.startswith(marker) for part in self._parts):
            # The `ok` of another line, which comes late.
            return self._stray(line)
        return self._answered(tuple(self._parts))

    def _other(self, line: str) -> Event | None:
        if line.startswith(("[MSG:", ">")):
            return None
        queried = re.fullmatch(r"\[.*\]|\$\w{1,8}=.*", line)
        if queried and "\ufffd" not in line and isinstance(self.asked, Line):
            if self.state is DialogueState.SYNCING and line.startswith(MARKERS[self.asked]):
                self._parts = []
            self._part(line)
            return None
        return self._stray(line)

    def _report(self, line: str) -> Event | None:
        status = self._status(line)
        if status is None:
            return self._stray(line)
        # A board may be set to report by itself.
        return self._answered(status) if self._is_report() else None

    def _status(self, line: str) -> Status | None:
        if not line.endswith(">"):
            return None
        state, *fields = line[1:-1].split("|")
        state, _, below = state.partition(":")
        substate = int(below) if re.fullmatch(r"\d{1,3}", below) else None
        places: dict[str, tuple[float, float, float]] = {}
        speed, pins = None, ""
        for name, _, value in (field.partition(":") for field in fields):
            if name in {"MPos", "WPos", "WCO"}:
                numbers = _numbers(value)
                if numbers is None or name in places:
                    return None
                places[name] = numbers
            elif name == "FS":
                words = value.split(",")
                speed = float(words[1]) if len(words) > 1 and _NUMBER.fullmatch(words[1]) else None
            elif name == "Pn":
                pins = value[:16]
        if state not in _STATES or not ("MPos" in places or "WPos" in places):
            return None
        self._offset = places.get("WCO", self._offset)
        machine = places.get("MPos")
        if machine is None and self._offset is not None:
            work, offset = places["WPos"], self._offset
            machine = (work[0] + offset[0], work[1] + offset[1], work[2] + offset[2])
        if machine is not None and not all(map(math.isfinite, machine)):
            return None
        return Status(state, machine, speed, substate, pins)
