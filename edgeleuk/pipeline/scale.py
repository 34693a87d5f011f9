"""The scale of a stream of fields: one steady number out of many estimates."""

from __future__ import annotations

import statistics
from collections import deque
from typing import TYPE_CHECKING, Protocol

from edgeleuk.frames import zoom_between
from edgeleuk.results import SCALE_IMPLAUSIBLE, SCALE_UNKNOWN
from edgeleuk.vision.picture_scale import are_possible, areas_px
from edgeleuk.vision.scale import is_plausible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgeleuk.frames import Cell, Frame, RgbImage

# The first fields settle the scale, later ones watch over it at little cost.
_SCALE_EVERY_FIELD_UNTIL = 15
_MOST_TRIES_IN_A_ROW = 45
_SCALE_EVERY = 10
_SCALE_WINDOW = 31
_AREAS_WINDOW = 60


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

    Attributes
    ----------
    trouble : str or None
        Why the last field has no scale: `SCALE_UNKNOWN` or `SCALE_IMPLAUSIBLE`.
    """

    def __init__(self, given: float | None, estimate: Callable[[RgbImage], Scale | None]) -> None:
        self.trouble: str | None = None
        self._given = given
        self._estimate = estimate
        self._estimates: deque[float] = deque(maxlen=_SCALE_WINDOW)
        self._areas_px: deque[float] = deque(maxlen=_AREAS_WINDOW)
        self._estimated = False
        self._shape: tuple[int, ...] | None = None
        self._first: tuple[int, int] | None = None
        self._fields = 0
        self._implausible = False

    def of(self, frame: Frame) -> float | None:
        """Scale to use for a frame, in px/um; None where nothing tells it."""
        scale = self._told(frame)
        self._estimated = scale is None
        if scale is None:
            scale = self._from_red_cells(frame)
        self.trouble = None
        if scale is None:
            self.trouble = SCALE_IMPLAUSIBLE if self._implausible else SCALE_UNKNOWN
        return scale

    def confirmed(self, scale: float | None, cells: Iterable[Cell]) -> float | None:
        """Return the scale that `of` gave, or None where the white cells of the fields contradict it."""
        if scale is None or not self._estimated:
            return scale
        self._areas_px.extend(areas_px(cells))
        if are_possible(self._areas_px, scale):
            return scale
        self.trouble = SCALE_IMPLAUSIBLE
        return None

    def _told(self, frame: Frame) -> float | None:
        """Scale that somebody knows."""
        height, width = frame.pixels.shape[:2]
        if self._given is not None:
            self._first = self._first or (height, width)
            zoom = zoom_between(self._first, (height, width))
            if zoom is not None:
                return self._given * zoom
        return frame.px_per_um

    def _from_red_cells(self, frame: Frame) -> float | None:
        if frame.pixels.shape != self._shape:
            # Another resolution is another scale.
            self._shape, self._fields = frame.pixels.shape, 0
            self._estimates.clear()
            self._areas_px.clear()
        settled = len(self._estimates) >= _SCALE_EVERY_FIELD_UNTIL or self._fields >= _MOST_TRIES_IN_A_ROW
        if not settled or self._fields % _SCALE_EVERY == 0:
            estimate = self._estimate(frame.pixels)
            self._implausible = estimate is not None and not is_plausible(estimate.px_per_um)
            if estimate is not None and not self._implausible:
                self._estimates.append(estimate.px_per_um)
        self._fields += 1
        return statistics.median(self._estimates) if self._estimates else None
