"""When a camera took a picture, on our clock, from the time that it puts beside each."""

from __future__ import annotations

import math
from collections import deque

# Pictures that are remembered: clocks go apart by less than a millisecond meanwhile.
_REMEMBERED = 300


class CameraClock:
    """A clock that is another one, and may be set; what it says is compared with when pictures arrive.

    The picture that arrived with the least delay tells how far both clocks are apart, and the way that all
    pictures have. What another took longer it has waited somewhere.

    Examples
    --------
    >>> clock = CameraClock()
    >>> clock.taken_s(7.0, arrived_s=100.0), clock.taken_s(7.5, arrived_s=100.9)
    (100.0, 100.5)

    A clock that stands, or goes back, says nothing.

    >>> clock.taken_s(7.5, arrived_s=101.0) is None
    True
    """

    def __init__(self) -> None:
        self._apart_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._last_s = -math.inf

    def taken_s(self, stamp_s: float, arrived_s: float) -> float | None:
        """Return when the camera took a picture, give or take the way that all pictures have.

        Parameters
        ----------
        stamp_s : float
            By its clock.
        arrived_s : float
            By ours.
        """
        before_s, self._last_s = self._last_s, stamp_s
        if stamp_s <= before_s:
            self._apart_s.clear()
            return None
        self._apart_s.append(arrived_s - stamp_s)
        return stamp_s + min(self._apart_s)
