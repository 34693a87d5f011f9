"""Counting each cell once while the stage moves.

Fields are registered to remembered fields ("keyframes") by phase correlation, which places them in the
coordinates of the slide; a cell is known again by its place there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edgeleuk.frames import require_rgb

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.frames import Cell, RgbImage

    Floats = npt.NDArray[np.float32]

_LONGEST_SIDE = 256
_MOST_KEYFRAMES = 128
_MOST_TRIED = 32
_MOST_CELLS = 100_000
# A keyframe serves while at least this share of the field overlaps it; below, a new one is kept.
_KEYFRAME_OVERLAP = 0.6
# Less overlap than this cannot be told from chance.
_LEAST_OVERLAP = 0.15
# Measured: unrelated fields reach 0.45 at their best shift, the same place in another light 0.82 and more.
_LEAST_CORRELATION = 0.6
_GATE_RADII = 0.7


@dataclass(frozen=True, slots=True)
class Sighting:
    """A cell of a field, recognised.

    Attributes
    ----------
    track : int
        Number of the cell on the slide, counted from 0, never given to another cell.
    is_new : bool
        Whether this is the first time the cell is seen.
    """

    track: int
    is_new: bool


class _Rectangle(NamedTuple):
    """In pixels of the slide; one field's pixel is one slide pixel."""

    left: float
    top: float
    right: float
    bottom: float

    def common(self, other: _Rectangle) -> _Rectangle:
        return _Rectangle(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def radius(self) -> float:
        return (self.right - self.left + self.bottom - self.top) / 4

    @property
    def area(self) -> float:
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class _Keyframe:
    area: int
    view: _Rectangle
    texture: Floats


@dataclass(frozen=True, slots=True)
class _Known:
    """A cell as it was seen best."""

    area: int
    box: _Rectangle
    view: _Rectangle
    whole: bool


class FieldTracker:
    """Remembers where each cell of a slide lies, so that it is counted once.

    The state is bounded: 128 reduced fields and 100,000 cells; the oldest are forgotten first.

    Examples
    --------
    >>> tracker = FieldTracker()
    >>> sightings = tracker.update(np.zeros((480, 640, 3), np.uint8), [])
    >>> sightings, tracker.unique
    ([], 0)
    """

    def __init__(self) -> None:
        self._keyframes: list[_Keyframe] = []
        self._last: _Keyframe | None = None
        self._known: dict[int, _Known] = {}
        self._areas = 0
        self._tracks = 0

    @property
    def unique(self) -> int:
        """Number of different cells seen so far."""
        return self._tracks

    def update(self, pixels: RgbImage, cells: Sequence[Cell]) -> list[Sighting]:
        """Place one field on the slide and recognise its cells.

        Parameters
        ----------
        pixels : (H, W, 3) uint8, RGB
            A field without overlap with the remembered ones, or of another size, begins a new area.
        cells : sequence of Cell
            The cells that were found in it.

        Returns
        -------
        list of Sighting
            One for each cell, in the same order.
        """
        require_rgb(pixels)
        area, view = self._place(pixels)
        boxes = [
            _Rectangle(
                view.left + cell.box.x,
                view.top + cell.box.y,
                view.left + cell.box.x + cell.box.w,
                view.top + cell.box.y + cell.box.h,
            )
            for cell in cells
        ]
        matches = self._matches(area, view, boxes)
        sightings = []
        for index, (cell, box) in enumerate(zip(cells, boxes, strict=True)):
            seen = _Known(area, box, view, not cell.touches_border)
            track = matches.get(index)
            if track is None:
                track = self._tracks
                self._tracks += 1
                self._known[track] = seen
                sightings.append(Sighting(track, is_new=True))
            else:
                known = self._known[track]
                if seen.whole or (not known.whole and box.area >= known.box.area):
                    self._known[track] = seen
                sightings.append(Sighting(track, is_new=False))
        while len(self._known) > _MOST_CELLS:
            del self._known[next(iter(self._known))]
        return sightings

    def _place(self, pixels: RgbImage) -> tuple[int, _Rectangle]:
        """Area and rectangle of a field on the slide."""
        texture, factor = _texture(pixels)
        for keyframe in self._candidates(texture.shape):
            view = _registered(keyframe, texture, factor)
            if view is None:
                continue
            anchor = self._nearest(keyframe.area, view)
            if anchor is not None and anchor is not keyframe:
                # Straight to a remembered field: errors do not add up over a walk that returns.
                view = _registered(anchor, texture, factor) or view
            field = _Keyframe(keyframe.area, view, texture)
            if anchor is None:
                self._remember(field)
            self._last = field
            return field.area, view
        height, width = pixels.shape[:2]
        field = _Keyframe(self._areas, _Rectangle(0.0, 0.0, float(width), float(height)), texture)
        self._areas += 1
        self._remember(field)
        self._last = field
        return field.area, field.view

    def _candidates(self, shape: tuple[int, ...]) -> list[_Keyframe]:
        """Fields to register to: the last one, then its neighbours, then the newest of all."""
        last = self._last
        if last is None:
            return []

        def order(item: tuple[int, _Keyframe]) -> tuple[bool, float]:
            age, keyframe = item
            if keyframe.area != last.area:
                return True, -age
            return False, float(np.hypot(*np.subtract(keyframe.view.centre, last.view.centre)))

        remembered = [keyframe for _, keyframe in sorted(enumerate(self._keyframes), key=order)]
        return [keyframe for keyframe in [last, *remembered] if keyframe.texture.shape == shape][:_MOST_TRIED]

    def _nearest(self, area: int, view: _Rectangle) -> _Keyframe | None:
        """Find the remembered field that shows most of a view, if it shows enough of it."""
        best, most = None, _KEYFRAME_OVERLAP * view.area
        for keyframe in self._keyframes:
            overlap = keyframe.view.common(view).area if keyframe.area == area else 0.0
            if overlap >= most:
                best, most = keyframe, overlap
        return best

    def _remember(self, keyframe: _Keyframe) -> None:
        self._keyframes.append(keyframe)
        if len(self._keyframes) > _MOST_KEYFRAMES:
            del self._keyframes[0]

    def _matches(self, area: int, view: _Rectangle, boxes: list[_Rectangle]) -> dict[int, int]:
        """Index of a box -> track, one to one, nearest pairs first."""
        pairs = []
        for track, known in self._known.items():
            # Only what both fields show can be compared: the border may have cut the cell in either.
            common = known.view.common(view)
            before = known.box.common(common)
            if known.area != area or before.area <= 0:
                continue
            for index, box in enumerate(boxes):
                now = box.common(common)
                if now.area <= 0:
                    continue
                distance = float(np.hypot(*np.subtract(now.centre, before.centre)))
                if distance <= _GATE_RADII * max(known.box.radius, box.radius):
                    pairs.append((distance, track, index))
        matches: dict[int, int] = {}
        taken: set[int] = set()
        for _, track, index in sorted(pairs):
            if index not in matches and track not in taken:
                matches[index] = track
                taken.add(track)
        return matches


def _texture(pixels: RgbImage) -> tuple[Floats, tuple[float, float]]:
    """Reduced, high-passed green of a field, and how many times it was reduced in x and y."""
    height, width = pixels.shape[:2]
    factor = max(1.0, max(height, width) / _LONGEST_SIDE)
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    # Reducing all three channels is faster than first copying the green one of a large field.
    green = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)[..., 1].astype(np.float32)
    texture = cv2.GaussianBlur(green, (0, 0), 1.0) - cv2.GaussianBlur(green, (0, 0), _LONGEST_SIDE / 16)
    # Limited, lest two unrelated fields agree because each holds one dark nucleus.
    limit = max(1.0, 1.5 * float(np.mean(np.abs(texture))))
    return np.clip(texture, -limit, limit).astype(np.float32), (width / size[0], height / size[1])


def _registered(keyframe: _Keyframe, texture: Floats, factor: tuple[float, float]) -> _Rectangle | None:
    """Where a field lies, judged by one remembered field; None when they show different places."""
    shift = _shift(keyframe.texture, texture)
    if shift is None:
        return None
    left = keyframe.view.left + shift[0] * factor[0]
    top = keyframe.view.top + shift[1] * factor[1]
    width, height = keyframe.view.right - keyframe.view.left, keyframe.view.bottom - keyframe.view.top
    return _Rectangle(left, top, left + width, top + height)


def _shift(before: Floats, after: Floats) -> tuple[float, float] | None:
    """Move (x, y) of the view between two textures, in their pixels."""
    height, width = before.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    # Windowed here, in copies: given a window, OpenCV 5's phaseCorrelate multiplies its arguments in place.
    (x, y), _ = cv2.phaseCorrelate(before * window, after * window)
    # The content moves against the view. A discrete correlation knows moves modulo the picture's size.
    best: tuple[float, float] | None = None
    highest = _LEAST_CORRELATION
    for dx in {-x, -x + width, -x - width}:
        for dy in {-y, -y + height, -y - height}:
            correlation = _overlap_correlation(before, after, round(dx), round(dy))
            if correlation > highest:
                best, highest = (dx, dy), correlation
    return best


def _overlap_correlation(before: Floats, after: Floats, dx: int, dy: int) -> float:
    """Pearson's correlation of what both textures show when the view moved by (dx, dy); 0 for too little."""
    height, width = before.shape
    if (width - abs(dx)) * (height - abs(dy)) < _LEAST_OVERLAP * width * height or abs(dx) >= width:
        return 0.0
    first = before[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
    second = after[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
    first, second = first - first.mean(), second - second.mean()
    power = float(np.sqrt(np.vdot(first, first) * np.vdot(second, second)))
    return float(np.vdot(first, second)) / power if power > 1e-6 * first.size else 0.0
