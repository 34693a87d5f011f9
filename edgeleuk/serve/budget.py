"""How much of the processor the page may take: little where the run needs it, more where some is idle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Above that share of the machine idle there is room; below, the run needs what the page takes.
_ROOM = 0.25
_LOOK_EVERY_S = 2.0
_MORE = 12.0
_STAT = Path("/proc/stat")
_IDLE, _WAITING = 3, 4


class SpareTime:
    """Whether processors of this machine are idle, as Linux counts them; elsewhere none is taken to be.

    Parameters
    ----------
    read : callable
        Returns the first line of ``/proc/stat``.
    clock : callable
        Steady seconds.
    """

    def __init__(
        self,
        read: Callable[[], str] = lambda: _STAT.read_text(encoding="ascii").partition("\n")[0],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._clock = clock
        self._before: tuple[int, int] | None = None
        self._due_s = 0.0
        self._room = False

    def room(self) -> bool:
        """Whether more than a quarter of the machine was idle in the last seconds."""
        now_s = self._clock()
        if now_s >= self._due_s:
            self._due_s = now_s + _LOOK_EVERY_S
            now = self._ticks()
            if now is not None and self._before is not None and now[1] > self._before[1]:
                idle, whole = now[0] - self._before[0], now[1] - self._before[1]
                self._room = idle > _ROOM * whole
            self._before = now
        return self._room

    def _ticks(self) -> tuple[int, int] | None:
        """Return how long processors were idle, and how long they were there."""
        try:
            ticks = [int(part) for part in self._read().split()[1:9]]
        except (OSError, ValueError):
            return None
        return (ticks[_IDLE] + ticks[_WAITING], sum(ticks)) if len(ticks) > _WAITING else None


class Turn:
    """Says when a piece of work may be done again, so that it takes a bounded share of one core.

    Parameters
    ----------
    share : float
        Of one core, where no other is idle; twelve times as much where there is room.
    least_s : float
        No sooner than this after the last time.
    spare : SpareTime
    clock, cpu_clock : callable
        Steady seconds; seconds that this thread has worked.
    """

    def __init__(
        self,
        share: float,
        least_s: float,
        spare: SpareTime,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._share = share
        self._least_s = least_s
        self._spare = spare
        self._clock = clock
        self._cpu_clock = cpu_clock
        self.due_s = 0.0
        self._began = (0.0, 0.0)

    def come(self) -> bool:
        """Whether it may be done now; then it is taken to begin."""
        now_s = self._clock()
        if now_s < self.due_s:
            return False
        self._began = (now_s, self._cpu_clock())
        return True

    def done(self) -> None:
        """Say that it is done; what it took decides when it may be done again."""
        began_s, cpu_s = self._began
        took_s = self._cpu_clock() - cpu_s
        share = self._share * (_MORE if self._spare.room() else 1.0)
        self.due_s = began_s + max(self._least_s, took_s / share)
