"""What both simulated boards share: motion that takes time, a lock, and what they show of themselves."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeleuk_firmware_bridge.stage.protocols import Steps

Place = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Motion:
    """A straight way: speeds up, runs, slows down.

    Attributes
    ----------
    start, target : tuple of 3 float
    began_s : float
        On the board's clock.
    run_s : float
        How long it would take without ramps.
    ramp_s : float
        How much longer it takes for each of the two ramps, halved.
    brakes : bool
        It begins at full speed, and slows down all the way.
    """

    start: Place
    target: Place
    began_s: float
    run_s: float
    ramp_s: float = 0.0
    brakes: bool = False

    @property
    def ends_s(self) -> float:
        """When it arrives."""
        return self.began_s + self.run_s + self.ramp_s

    def share(self, now_s: float) -> float:
        """Return how much of the way is done, 0 to 1."""
        gone, whole = now_s - self.began_s, self.run_s + self.ramp_s
        if gone >= whole:
            return 1.0
        if gone <= 0:
            return 0.0
        if self.brakes:
            return gone / whole * (2 - gone / whole)
        ramp = min(self.ramp_s, whole / 2)
        if ramp == 0:
            return gone / whole
        top = 1 / (whole - ramp)
        if gone < ramp:
            return top * gone * gone / (2 * ramp)
        if gone > whole - ramp:
            return 1 - top * (whole - gone) ** 2 / (2 * ramp)
        return top * (gone - ramp / 2)

    def at(self, now_s: float) -> Place:
        """Return where it is."""
        share = self.share(now_s)
        if share == 1.0:
            return self.target
        x, y, z = (a + (b - a) * share for a, b in zip(self.start, self.target, strict=True))
        return x, y, z

    def braked(self, now_s: float, gain: float) -> Motion | None:
        """Return the way from now to a stop, slowed down by so much; None if it stands."""
        begun, soon_s = self.at(now_s), 1e-5
        way = math.dist(begun, self.target)
        speed = math.dist(begun, self.at(now_s + soon_s)) / soon_s
        # Floating point leaves some speed to what stands.
        if speed < 1e-6 or way == 0:
            return None
        share = min(speed * speed / (2 * gain) / way, 1.0)
        x, y, z = (a + (b - a) * share for a, b in zip(begun, self.target, strict=True))
        return Motion(begun, (x, y, z), now_s, 2 * share * way / speed, brakes=True)


class SimulatedBoard:
    """A board: bytes in, bytes out, by its own clock. All public calls may come from any thread.

    Parameters
    ----------
    clock : callable
        Steady seconds.
    """

    protocol = ""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._out = b""
        self._input = b""

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the wire; return what the board answers at once."""
        with self._lock:
            self._advance(self._clock())
            self._take(data)
            return self._said()

    def due(self) -> bytes:
        """Return what the board says now by itself: that a move has ended, a welcome after a reset."""
        with self._lock:
            self._advance(self._clock())
            return self._said()

    def position(self, now_s: float | None = None) -> Steps:
        """Return where the stage is at a time, by the board's clock, in steps."""
        raise NotImplementedError

    def lamp(self, now_s: float | None = None) -> dict[str, float]:
        """Return the level of each lamp, 0 to 1."""
        raise NotImplementedError

    def reset(self) -> None:
        """Reset the board as a spike on its supply would: it stops, forgets, and says its welcome."""
        raise NotImplementedError

    def _now(self, now_s: float | None) -> float:
        return self._clock() if now_s is None else now_s

    def _say(self, line: str) -> None:
        self._out += line.encode() + b"\r\n"

    def _said(self) -> bytes:
        said, self._out = self._out, b""
        return said

    def _advance(self, now_s: float) -> None:
        raise NotImplementedError

    def _take(self, data: bytes) -> None:
        raise NotImplementedError


def rounded(place: Place) -> tuple[int, int, int]:
    """Return a place in whole steps."""
    x, y, z = (math.floor(number + 0.5) for number in place)
    return x, y, z
