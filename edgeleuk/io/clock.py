"""The time of a session: the wall clock as it stood at the start, carried on by the steady clock.

A wall clock jumps: a Raspberry Pi has none that runs while it is off, and learns the time from the network
minutes after it has started. What is recorded must not jump with it, or a session ends before it began.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A smaller step is a correction that no reading of a session would notice.
LEAST_JUMP_S = 1.0
# The first second of 2025, before which no version was made that asks: a clock that shows less was never set.
CLOCK_SET_S = 1_735_689_600.0


class SteadyClock:
    """Seconds since the Unix epoch that never go back.

    Parameters
    ----------
    wall : callable
        Seconds since the Unix epoch, of a clock that may be set.
    steady : callable
        Seconds of a clock that is never set.

    Examples
    --------
    >>> wall, steady = [1000.0], [5.0]
    >>> clock = SteadyClock(lambda: wall[0], lambda: steady[0])
    >>> wall[0], steady[0] = 400.0, 6.0
    >>> clock.now(), clock.jump_s(), clock.jump_s()
    (1001.0, -601.0, None)
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._steady = steady
        # The one number that turns a steady time into ours; it only ever grows.
        self._offset_s = self._wall_offset_s = wall() - steady()

    def now(self) -> float:
        """Return the time."""
        return self._steady() + self._offset_s

    def moment(self) -> tuple[float, float]:
        """Return the time, and the same moment on the steady clock."""
        steady = self._steady()
        return steady + self._offset_s, steady

    def go_on_from(self, at: float) -> float:
        """Continue a record that reaches up to `at`.

        Returns
        -------
        float
            How far the wall clock stands behind it, in seconds; then time goes on from `at`. 0 where the wall
            clock is past it, whose time is taken.
        """
        steady, wall = self._steady(), self._wall()
        self._wall_offset_s = wall - steady
        self._offset_s = max(wall, at) - steady
        return max(at - wall, 0.0)

    def jump_s(self) -> float | None:
        """How far the wall clock was set, forward or back, since this was last asked; None if it was not."""
        offset_s = self._wall() - self._steady()
        jump_s = offset_s - self._wall_offset_s
        if abs(jump_s) < LEAST_JUMP_S:
            return None
        self._wall_offset_s = offset_s
        return jump_s


def jump_text(jump_s: float) -> str:
    """Say that the wall clock was set.

    Examples
    --------
    >>> jump_text(-86400.0)
    'the clock was set back by 1 day, 0:00:00; the times of this session go on as if it had not been'
    """
    way = "back" if jump_s < 0 else "forward"
    span = timedelta(seconds=round(abs(jump_s)))
    return f"the clock was set {way} by {span}; the times of this session go on as if it had not been"


def behind_text(behind_s: float) -> str:
    """Say that the wall clock stands before the end of the session that goes on."""
    span = timedelta(seconds=round(behind_s))
    return f"the clock stands {span} before the last record of this session; its times go on from there"


# One for the process, as the wall clock is.
_CLOCK = SteadyClock()
now = _CLOCK.now
moment = _CLOCK.moment
go_on_from = _CLOCK.go_on_from
jump_s = _CLOCK.jump_s
