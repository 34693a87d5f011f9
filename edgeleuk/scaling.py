"""The scale of a stream of fields: one steady number out of many estimates."""

from __future__ import annotations

import statistics
from collections import deque
from typing import TYPE_CHECKING, Protocol

from edgeleuk.frames import zoom_between

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeleuk.frames import Frame, RgbImage

# The first fields settle the scale, later ones watch over it at little cost.
_SCALE_EVERY_FIELD_UNTIL = 15
_SCALE_EVERY = 10
_SCALE_WINDOW = 31


class Scale(Protocol):
    """A scale estimated from one field."""

    @property
    def px_per_um(self) -> float:
        """Pixels per micrometre."""
        ...


class ScaleKeeper:
    """Scale of the fields: given, else the source's own, else the median of the last estimates.

    A given scale is that of the first field. A camera that changes its resolution is taken to see the same
    field with other pixels; where the proportions change, too, only the red cells can tell.
    """

    def __init__(self, given: float | None, estimate: Callable[[RgbImage], Scale | None]) -> None:
        self._given = given
        self._estimate = estimate
        self._estimates: deque[float] = deque(maxlen=_SCALE_WINDOW)
        self._shape: tuple[int, ...] | None = None
        self._first: tuple[int, int] | None = None
        self._fields = 0

    def of(self, frame: Frame) -> float | None:
        """Scale to use for a frame, in px/um; None where nothing tells it."""
        height, width = frame.pixels.shape[:2]
        if self._given is not None:
            self._first = self._first or (height, width)
            zoom = zoom_between(self._first, (height, width))
            if zoom is not None:
                return self._given * zoom
        if frame.px_per_um is not None:
            return frame.px_per_um
        if frame.pixels.shape != self._shape:
            # Another resolution is another scale.
            self._shape, self._fields = frame.pixels.shape, 0
            self._estimates.clear()
        if len(self._estimates) < _SCALE_EVERY_FIELD_UNTIL or self._fields % _SCALE_EVERY == 0:
            estimate = self._estimate(frame.pixels)
            if estimate is not None:
                self._estimates.append(estimate.px_per_um)
        self._fields += 1
        return statistics.median(self._estimates) if self._estimates else None
