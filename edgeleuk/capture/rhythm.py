"""How far apart a camera's pictures usually are, which tells a slow one from one that is stuck."""

from __future__ import annotations

from collections import deque
from statistics import median

# So many intervals tell what is usual, and so many times that is unusual.
_REMEMBERED = 5
_UNUSUAL = 3.0


class Rhythm:
    """The last intervals between pictures.

    Examples
    --------
    >>> rhythm = Rhythm()
    >>> for _ in range(3):
    ...     rhythm.add(2.0)
    >>> rhythm.is_gap(5.0, least_s=1.0), rhythm.is_gap(6.0, least_s=1.0)
    (False, True)
    """

    def __init__(self) -> None:
        self._intervals_s: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, interval_s: float) -> None:
        """Take note of the time between two pictures."""
        self._intervals_s.append(interval_s)

    @property
    def usual_s(self) -> float | None:
        """The usual interval; None before there was one."""
        return median(self._intervals_s) if self._intervals_s else None

    def is_gap(self, silence_s: float, least_s: float) -> bool:
        """Whether a silence is out of the usual, and at least so long; what is usual has to be known."""
        usual_s = self.usual_s
        return usual_s is not None and silence_s >= max(least_s, _UNUSUAL * usual_s)
