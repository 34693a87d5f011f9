"""A GRBL 1.1 board that is not there, from the protocol's public description."""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING

from edgeleuk_firmware_bridge.simulation.board import Motion, SimulatedBoard, rounded
from edgeleuk_firmware_bridge.stage.protocols import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BUFFER = 128
LONGEST_LINE = 80
BLOCKS = 15
REALTIME = b"?!~\x18\x84\x85"
# As a stage has them: steps of 1 um and less, a travel of a few centimetres; millimetres, seconds, minutes.
SETTINGS = {
    0: 10, 1: 25, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 10: 1, 11: 0.01, 12: 0.002, 13: 0, 20: 0, 21: 0, 22: 0,
    23: 0, 24: 25, 25: 500, 26: 250, 27: 1, 30: 1000, 31: 0, 32: 0, 100: 1000, 101: 1000, 102: 1000,
    110: 600, 111: 600, 112: 300, 120: 50, 121: 50, 122: 50, 130: 75, 131: 25, 132: 10,
}  # fmt: skip
_WHOLE = frozenset({0, 1, 2, 3, 4, 5, 6, 10, 13, 20, 21, 22, 23, 26, 30, 31, 32})
_WORD = re.compile(r"([A-Z])(-?\d*\.?\d+)")


class GrblSimulator(SimulatedBoard):
    r"""A GRBL board: a planner of 15 blocks, 128 bytes of buffer, alarms, a lamp on the spindle's output.

    A jog that is cancelled brakes as $120 to $122 say. An alarm outlasts a soft reset: `$X` or `$H` ends it.

    Parameters
    ----------
    settings : mapping
        ``$`` settings that differ from `SETTINGS`: ``{22: 1}`` gives it end stops, and it starts locked.
    offset : tuple of 3 float
        Work offset, mm.
    welcome, build : str
        As grblHAL has them: ``GrblHAL 1.1f ['$' or '$HELP' for help]``.
    homing_s : float
        How long homing takes.
    clock : callable

    Examples
    --------
    >>> board = GrblSimulator(clock=lambda: 0.0)
    >>> board.receive(b"$J=G91 G21 X1 F60\n?")
    b'ok\r\n<Jog|MPos:0.000,0.000,0.000|FS:60,0|WCO:0.000,0.000,0.000>\r\n'
    >>> board.position(now_s=60.0)
    Steps(x=1000, y=0, z=0)
    """

    protocol = "grbl"

    def __init__(
        self,
        *,
        settings: Mapping[int, float] | None = None,
        offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
        welcome: str = "Grbl 1.1h ['$' for help]",
        build: str = "1.1h.20190830:",
        homing_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock)
        self._settings = {**SETTINGS, **(settings or {})}
        self._offset = offset
        self._welcome = welcome
        self._build = build
        self._homing_s = homing_s
        self._place = (0.0, 0.0, 0.0)
        self._blocks: list[Motion] = []
        self._jogging = False
        self._held_s: float | None = None
        self._homed_at_s: float | None = None
        self._alarm = 11 if self._settings[22] else 0
        self._deaf = False
        self._resting = "Idle"
        self._speed = 0.0
        self._shining = False
        self._coolant = False
        self._modes = {"distance": 90, "unit": 21, "motion": 0}
        self._feed = 0.0
        self._reports = 0

    def position(self, now_s: float | None = None) -> Steps:
        """Return where the stage is, in thousandths of a millimetre."""
        with self._lock:
            return Steps(*rounded(self._mm(self._now(now_s), 1000.0)))

    def lamp(self, now_s: float | None = None) -> dict[str, float]:  # noqa: ARG002
        """Return the level of the ``spindle``'s and the ``coolant``'s output."""
        with self._lock:
            share = self._speed / self._settings[30] if self._shining else 0.0
            return {"spindle": min(share, 1.0), "coolant": float(self._coolant)}

    def reset(self) -> None:
        """Reset the board by its supply: everything is forgotten, the position too."""
        with self._lock:
            self._restart()
            self._place = (0.0, 0.0, 0.0)
            self._alarm = 11 if self._settings[22] else 0
            self._resting = "Idle"
            self._greet()

    def hit_limit(self) -> None:
        """Let the stage run into a limit switch."""
        with self._lock:
            self._freeze()
            self._alarm, self._deaf, self._shining = 1, True, False
            self._say("ALARM:1")
            self._say("[MSG:Reset to continue]")

    def _mm(self, now_s: float, scale: float = 1.0) -> tuple[float, float, float]:
        place = self._place
        if self._blocks:
            when = now_s if self._held_s is None else self._held_s
            current = next((block for block in self._blocks if when < block.ends_s), self._blocks[-1])
            place = current.at(when)
        x, y, z = (
            # What is reported is whole steps of the motors.
            math.floor(mm * self._settings[axis] + 0.5) / self._settings[axis] * scale
            for mm, axis in zip(place, (100, 101, 102), strict=True)
        )
        return x, y, z

    def _advance(self, now_s: float) -> None:
        if self._homed_at_s is not None and now_s >= self._homed_at_s:
            pulled = -self._settings[27]
            self._place, self._homed_at_s, self._alarm = (pulled, pulled, pulled), None, 0
            self._say("ok")
        if self._held_s is None:
            while self._blocks and now_s >= self._blocks[0].ends_s:
                self._place = self._blocks.pop(0).target
            if not self._blocks:
                self._jogging = False
        self._work()

    def _take(self, data: bytes) -> None:
        for byte in data:
            if byte in REALTIME:
                self._at_once(bytes([byte]))
            elif byte == 0x0D:
                self._take(b"\n")
            elif byte < 0x80 and len(self._input) < BUFFER:
                self._input += bytes([byte])
                if byte == 0x0A:
                    self._work()

    def _work(self) -> None:
        while b"\n" in self._input and not self._busy():
            line, _, self._input = self._input.partition(b"\n")
            text = line.decode("ascii").strip()
            if len(text) > LONGEST_LINE:
                self._say("error:11")
            elif text or line:
                answer = self._line(text)
                if answer:
                    self._say(answer)
            else:
                self._say("ok")

    def _busy(self) -> bool:
        full = len(self._blocks) >= BLOCKS
        return full or self._deaf or self._homed_at_s is not None or self._held_s is not None

    def _at_once(self, byte: bytes) -> None:
        now_s = self._clock()
        if byte == b"\x18":
            # After a hold it stands, and knows where.
            moving = bool(self._blocks) and self._held_s is None
            homing = self._homed_at_s is not None
            alarm = 6 if homing else 3 if moving else 0
            if alarm:
                self._say(f"ALARM:{alarm}")
            self._freeze()
            self._restart()
            # Who wakes it from sleep has to unlock it as well.
            self._alarm = alarm or self._alarm or 11 * (self._resting == "Sleep")
            self._resting = "Idle"
            self._greet()
        elif self._deaf or self._homed_at_s is not None:
            return
        elif byte == b"?":
            self._report(now_s)
        elif byte == b"\x85" or (byte == b"!" and self._jogging):
            if self._jogging:
                self._brake(now_s)
        elif byte == b"!" and self._blocks and self._held_s is None:
            self._held_s = now_s
        elif byte == b"~" and self._held_s is not None:
            late = now_s - self._held_s
            self._blocks = [
                Motion(block.start, block.target, block.began_s + late, block.run_s, block.ramp_s)
                for block in self._blocks
            ]
            self._held_s = None

    def _brake(self, now_s: float) -> None:
        current = next((block for block in self._blocks if now_s < block.ends_s), None)
        gain = min(self._settings[axis] for axis in (120, 121, 122))
        if current is not None and current.brakes:
            return
        braked = None if current is None else current.braked(now_s, gain)
        if braked is None:
            self._freeze()
        else:
            self._blocks = [braked]

    def _freeze(self) -> None:
        self._place = self._mm(self._clock())
        self._blocks, self._jogging, self._held_s, self._homed_at_s = [], False, None, None

    def _restart(self) -> None:
        self._blocks, self._jogging, self._held_s, self._homed_at_s = [], False, None, None
        self._deaf, self._input, self._reports = False, b"", 0
        self._shining = self._coolant = False
        self._modes = {"distance": 90, "unit": 21, "motion": 0}

    def _greet(self) -> None:
        self._out += b"\r\n"
        self._say(self._welcome)
        if self._alarm:
            self._say("[MSG:'$H'|'$X' to unlock]")

    def _report(self, now_s: float) -> None:
        inch = 25.4 if self._settings[13] else 1.0
        digits = 4 if self._settings[13] else 3
        state = "Jog" if self._jogging else "Run" if self._blocks else self._resting
        state = "Alarm" if self._alarm else state
        if self._held_s is not None:
            state = "Hold:0"
        machine = self._mm(now_s)
        by_machine = int(self._settings[10]) & 1
        place = machine if by_machine else [mm - off for mm, off in zip(machine, self._offset, strict=True)]
        numbers = ",".join(f"{mm / inch:.{digits}f}" for mm in place)
        feed = self._feed if self._blocks else 0.0
        speed = self._speed if self._shining else 0.0
        fields = [state, f"{'M' if by_machine else 'W'}Pos:{numbers}", f"FS:{feed:.0f},{speed:.0f}"]
        if self._reports == 0:
            fields.append("WCO:" + ",".join(f"{mm / inch:.{digits}f}" for mm in self._offset))
        self._reports = (self._reports + 1) % (30 if self._blocks else 10)
        self._say(f"<{'|'.join(fields)}>")

    def _line(self, text: str) -> str | None:
        if self._resting == "Sleep":
            return "error:8"
        if text.startswith("$J="):
            return "error:9" if self._alarm else self._jog(text[3:])
        if text.startswith("$"):
            return self._system(text)
        if self._alarm or self._jogging:
            return "error:9"
        return self._gcode(text)

    def _system(self, text: str) -> str | None:
        idle = not self._blocks
        if text == "$H":
            if not self._settings[22]:
                return "error:5"
            if not idle:
                return "error:8"
            self._homed_at_s = self._clock() + self._homing_s
            return None
        if text == "$X":
            if self._alarm:
                self._say("[MSG:Caution: Unlocked]")
            self._alarm = 0
            return "ok"
        if text in {"$SLP", "$C"} and idle:
            self._resting = {"$SLP": "Sleep", "$C": "Check"}[text]
            return "ok"
        if text == "$G":
            motion, unit, distance = self._modes["motion"], self._modes["unit"], self._modes["distance"]
            lamp = "M3" if self._shining else "M5"
            self._say(f"[GC:G{motion} G54 G17 G{unit} G{distance} G94 {lamp} M9 T0 F0 S{self._speed:.0f}]")
            return "ok"
        if text == "$":
            self._say("[HLP:$$ $# $G $I $N $x=val $Nx=line $J=line $SLP $C $X $H ~ ! ? ctrl-x]")
            return "ok"
        if text in {"$$", "$I"} and not idle:
            return "error:8"
        if text == "$$":
            for number, value in sorted(self._settings.items()):
                self._say(f"${number}={value:.0f}" if number in _WHOLE else f"${number}={value:.3f}")
            return "ok"
        if text == "$I":
            self._say(f"[VER:{self._build}]")
            self._say("[OPT:V,15,128]")
            return "ok"
        return self._set(text) if "=" in text else "error:3"

    def _set(self, text: str) -> str:
        found = re.fullmatch(r"\$(\d+)=(-?\d+(?:\.\d+)?)", text)
        if not found or int(found[1]) not in self._settings:
            return "error:3"
        if self._blocks:
            return "error:8"
        self._settings[int(found[1])] = float(found[2])
        return "ok"

    def _words(self, text: str) -> list[tuple[str, float]] | None:
        text = re.sub(r"\(.*?\)|;.*|\s", "", text.upper())
        words = [(letter, float(number)) for letter, number in _WORD.findall(text)]
        return words if _WORD.sub("", text) == "" else None

    def _jog(self, text: str) -> str:
        words = self._words(text)
        if words is None:
            return "error:2"
        if any(letter not in "GXYZF" for letter, _ in words):
            return "error:16"
        if self._blocks and not self._jogging:
            return "error:8"
        modes = {**self._modes}
        machine = False
        for number in (number for letter, number in words if letter == "G"):
            if number in {90, 91}:
                modes["distance"] = int(number)
            elif number in {20, 21}:
                modes["unit"] = int(number)
            elif number == 53:
                machine = True
            else:
                return "error:16"
        numbers = dict(words)
        if not numbers.keys() & {"X", "Y", "Z"}:
            return "error:26"
        if numbers.get("F", 0) <= 0:
            return "error:22"
        target = self._target(numbers, modes, machine=machine)
        if self._settings[20] and self._beyond(target):
            return "error:15"
        self._plan(target, numbers["F"] * (25.4 if modes["unit"] == 20 else 1.0))
        self._jogging = bool(self._blocks)
        return "ok"

    def _gcode(self, text: str) -> str:
        words = self._words(text)
        if words is None:
            return "error:2"
        numbers, machine = dict(words), False
        self._speed = max(numbers.get("S", self._speed), 0.0)
        self._feed = numbers.get("F", self._feed)
        for letter, number in words:
            if letter == "G" and number in {0, 1}:
                self._modes["motion"] = int(number)
            elif letter == "G" and number in {20, 21}:
                self._modes["unit"] = int(number)
            elif letter == "G" and number in {90, 91}:
                self._modes["distance"] = int(number)
            elif letter == "G" and number == 53:
                machine = True
            elif letter == "M" and number in {3, 4, 5}:
                self._shining = number != 5
            elif letter == "M" and number in {7, 8, 9}:
                self._coolant = number != 9
            elif letter in "GM" or letter not in "XYZFSN":
                return "error:20"
        if not numbers.keys() & {"X", "Y", "Z"}:
            return "ok"
        if self._modes["motion"] == 1 and self._feed <= 0:
            return "error:22"
        target = self._target(numbers, self._modes, machine=machine)
        if self._settings[20] and self._beyond(target):
            self._freeze()
            self._alarm, self._deaf = 2, True
            self._say("ALARM:2")
            self._say("[MSG:Reset to continue]")
            return "ok"
        self._plan(target, self._feed if self._modes["motion"] == 1 else math.inf)
        return "ok"

    def _target(
        self, numbers: dict[str, float], modes: dict[str, int], *, machine: bool
    ) -> tuple[float, float, float]:
        start = self._blocks[-1].target if self._blocks else self._place
        unit = 25.4 if modes["unit"] == 20 else 1.0
        target = list(start)
        for axis, letter in enumerate("XYZ"):
            if letter in numbers:
                mm = numbers[letter] * unit
                base = 0.0 if machine else self._offset[axis]
                target[axis] = start[axis] + mm if modes["distance"] == 91 else base + mm
        return target[0], target[1], target[2]

    def _beyond(self, target: tuple[float, float, float]) -> bool:
        # A machine that was homed to its upper ends lives below zero.
        return any(not -self._settings[130 + axis] <= mm <= 0 for axis, mm in enumerate(target))

    def _plan(self, target: tuple[float, float, float], feed: float) -> None:
        start = self._blocks[-1].target if self._blocks else self._place
        way = [b - a for a, b in zip(start, target, strict=True)]
        length = math.hypot(*way)
        if length == 0:
            return
        for axis, mm in enumerate(way):
            if mm:
                feed = min(feed, self._settings[110 + axis] * length / abs(mm))
        self._feed = feed
        ramp_s = feed / 60 / min(self._settings[120 + axis] for axis in range(3))
        begins_s = self._blocks[-1].ends_s if self._blocks else self._clock()
        self._blocks.append(Motion(start, target, begins_s, length / feed * 60, ramp_s))
