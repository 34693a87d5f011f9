"""A Sangaboard that is not there, of firmware 0.5 or 1, from the protocol's public description."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgeleuk_firmware_bridge.simulation.board import Motion, SimulatedBoard, rounded
from edgeleuk_firmware_bridge.stage.protocols import Steps

if TYPE_CHECKING:
    from collections.abc import Callable

BUFFER = 64
UNKNOWN = "Type 'help' for a list of commands."


class SangaboardSimulator(SimulatedBoard):
    r"""A Sangaboard.

    Parameters
    ----------
    firmware : str
        ``1.0.1`` moves and listens at once, stops, and has a lamp; ``0.5`` hears nothing while it moves.
    step_delay_us, ramp_us : int
        Time for a step at full speed, and to get there.
    blocking : bool
        Whether firmware 1 answers a move only when it has ended.
    endstops : bool
        Whether the stage can be homed. Firmware 1 crashes at a `home_min` that does not say which axes.
    retreat : int
        How many steps homing goes back from an end stop.
    clock : callable

    Examples
    --------
    >>> board = SangaboardSimulator(clock=lambda: 0.0)
    >>> board.receive(b"version\nmr 10 -5 0\nmoving?\n")
    b'Sangaboard Firmware v1.0.1\r\ndone.\r\ntrue\r\n'
    >>> board.position(now_s=0.005)
    Steps(x=5, y=-2, z=0)
    """

    protocol = "sangaboard"

    def __init__(
        self,
        *,
        firmware: str = "1.0.1",
        step_delay_us: int = 1000,
        ramp_us: int = 0,
        blocking: bool = False,
        endstops: bool = False,
        retreat: int = 200,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock)
        self._firmware = firmware
        self._listens = not firmware.startswith("0.")
        self._step_delay_us = step_delay_us
        self._ramp_us = ramp_us
        self._blocking = blocking or not self._listens
        self._endstops = endstops
        self._retreat = retreat
        self._light = 0.0
        self._place = (0.0, 0.0, 0.0)
        self._motion: Motion | None = None
        self._answer_at_end: str | None = None
        # Of homing: where to, and which axes' end stops are there.
        self._legs: list[tuple[tuple[float, float, float], list[int]]] = []
        self._hits: list[int] = []

    def position(self, now_s: float | None = None) -> Steps:
        """Return where the stage is, in steps."""
        with self._lock:
            place = self._motion.at(self._now(now_s)) if self._motion else self._place
            return Steps(*rounded(place))

    def lamp(self, now_s: float | None = None) -> dict[str, float]:  # noqa: ARG002
        """Return the level of the lamp, ``cc``."""
        with self._lock:
            return {"cc": self._light} if self._listens else {}

    def reset(self) -> None:
        """Reset the board: it stops; its count of steps is as old as its last stop, its lamp is off."""
        with self._lock:
            # The count is stored when a move ends: that of a move cut short is lost.
            self._place = self._motion.start if self._motion else self._place
            self._motion, self._answer_at_end, self._legs, self._hits = None, None, [], []
            self._light = 0.0
            self._input = b""
            self._say(self._welcome)

    @property
    def _welcome(self) -> str:
        return f"Sangaboard Firmware v{self._firmware}"

    def _advance(self, now_s: float) -> None:
        if self._motion is None or now_s < self._motion.ends_s:
            return
        self._place, self._motion = self._motion.target, None
        if self._listens:
            for axis in self._hits:
                self._say(f"Endstop hit:-{axis + 1}")
        if self._answer_at_end:
            self._say(self._answer_at_end)
            self._answer_at_end = None
        self._begin_leg()
        self._work()

    def _take(self, data: bytes) -> None:
        if self._motion and not self._listens:
            # What does not fit into the buffer of a board that is busy is lost.
            data = data[: BUFFER - len(self._input)]
        self._input += data
        self._work()

    def _work(self) -> None:
        while b"\n" in self._input and not (self._motion and not self._listens):
            line, _, self._input = self._input.partition(b"\n")
            self._do(line.decode("latin-1").strip())
        self._input = self._input[-4096:]

    def _do(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word in {"mr", "mrx", "mry", "mrz"}:
            self._move(word, rest)
        elif word in {"dt", "min_step_delay"} and rest.isdigit():
            self._step_delay_us = int(rest)
            self._say("done.")
        elif word == "ramp_time" and rest.isdigit():
            self._ramp_us = int(rest)
            self._say("done.")
        elif word == "home_min" and self._endstops:
            self._home(rest)
        elif line == "list_modules":
            self._modules()
        elif self._listens and word == "led_cc" and rest:
            self._shine(rest)
        elif self._listens and word == "blocking_moves" and rest in {"true", "false"}:
            self._blocking = rest == "true"
            self._say("done.")
        elif self._listens and line == "stop":
            self._stop()
        else:
            self._say(self._told(line) or UNKNOWN)

    def _told(self, line: str) -> str | None:
        answers = {
            "version": self._welcome,
            "board": "Sangaboard v0.5" if self._listens else "Sangaboard v0.3",
            "p": " ".join(map(str, self.position())),
            "dt?": f"minimum step delay {self._step_delay_us}",
            "ramp_time?": f"ramp time {self._ramp_us}",
            "release": "done",
        }
        answers["p?"] = answers["p"]
        if self._listens:
            answers["moving?"] = answers["moving"] = "true" if self._motion else "false"
            answers["blocking_moves?"] = f"blocking_moves {'true' if self._blocking else 'false'}"
            answers["led_cc?"] = f"CC LED:{self._light:.2f}"
            answers["led_channels?"] = "CC:1 PWM:0"
        if self._endstops:
            answers["endstops?"] = "0 0 0"
        if line == "zero":
            self._place = (0.0, 0.0, 0.0)
            return "position reset to 0 0 0"
        return answers.get(line)

    def _modules(self) -> None:
        if self._listens:
            self._say("Illumination: CC:1 PWM:0")
        if self._endstops:
            self._say("Endstops: min soft")
        self._say("--END--")

    def _move(self, word: str, rest: str) -> None:
        try:
            numbers = [int(number) for number in rest.split()]
        except ValueError:
            numbers = []
        if len(numbers) != (3 if word == "mr" else 1):
            self._say(UNKNOWN)
            return
        way = numbers if word == "mr" else [numbers[0] if axis == word[2] else 0 for axis in "xyz"]
        place = self._motion.at(self._clock()) if self._motion else self._place
        start = Steps(*rounded(place))
        self._go((start.x + float(way[0]), start.y + float(way[1]), start.z + float(way[2])))
        if self._blocking:
            self._answer_at_end = "done."
        else:
            self._say("done.")

    def _home(self, rest: str) -> None:
        if not rest.isdigit():
            if self._listens:
                # It reads an argument that is not there.
                self.reset()
                return
            rest = "7"
        axes = [axis for axis in range(3) if int(rest) >> axis & 1]

        def at(steps: float) -> tuple[float, float, float]:
            x, y, z = (steps if axis in axes else self._place[axis] for axis in range(3))
            return x, y, z

        away = float(self._retreat)
        self._legs = [(at(0.0), axes), (at(away), []), (at(0.0), axes), (at(away), [])]
        self._begin_leg()

    def _begin_leg(self) -> None:
        self._hits = []
        if self._motion or not self._legs:
            return
        target, self._hits = self._legs.pop(0)
        self._go(target)
        if not self._listens:
            self._answer_at_end = None if self._legs else "done."
        elif self._blocking:
            self._answer_at_end = "stopped"
        else:
            self._say("done.")
        if self._listens and not self._legs:
            self._say("done.")

    def _go(self, target: tuple[float, float, float]) -> None:
        start = Steps(*rounded(self._motion.at(self._clock()) if self._motion else self._place))
        longest = max(abs(b - a) for a, b in zip(start, target, strict=True))
        self._place = (float(start.x), float(start.y), float(start.z))
        self._motion = Motion(
            self._place,
            target,
            self._clock(),
            longest * self._step_delay_us * 1e-6,
            self._ramp_us * 1e-6 if longest else 0.0,
        )

    def _stop(self) -> None:
        if self._motion:
            x, y, z = rounded(self._motion.at(self._clock()))
            self._place, self._motion = (float(x), float(y), float(z)), None
        self._answer_at_end, self._hits = None, []
        self._say("Move aborted")
        # Homing goes on with its next move: this firmware cannot stop it at once.
        self._begin_leg()

    def _shine(self, rest: str) -> None:
        try:
            level = float(rest)
        except ValueError:
            level = -1.0
        if 0 <= level <= 1:
            # The driver of the lamp knows 32 levels.
            self._light = round(level * 32) / 32
        self._say(f"CC LED:{self._light:.2f}")
