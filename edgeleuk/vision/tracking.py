"""Counting each cell once while the stage moves.

Fields are registered to remembered fields ("keyframes"), which places them in the coordinates of the slide;
a cell is known again by its place there.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2

from edgeleuk.frames import zoom_between
from edgeleuk.vision.recognition import Spots
from edgeleuk.vision.registration import Rectangle, Texture
from edgeleuk.vision.remembered import MOST_FIELDS
from edgeleuk.vision.slide_map import Move, Placed, SlideMap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from edgeleuk.frames import Box, Cell, RgbImage

__all__ = ["MOST_FIELDS", "EarlierField", "FieldTracker", "Move", "Placed", "TrackedCell"]

_MOST_CELLS = 60_000
_MATCH_RADII = 0.7
# Fields of an earlier run that wait described, while those before them are remembered.
_MOST_AHEAD = 32


@dataclass(frozen=True, slots=True)
class TrackedCell:
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


@dataclass(frozen=True, slots=True)
class _Known:
    """A cell as it was seen best."""

    area: int
    box: Rectangle
    view: Rectangle
    whole: bool


class EarlierField(NamedTuple):
    """A field of an earlier run, and the whole cells that it showed: (track, box) each."""

    placed: Placed
    width: int
    height: int
    cells: Sequence[tuple[int, Box]]


if TYPE_CHECKING:
    # A field, the size in whose pixels it is placed, how many of these one of its own is, and its looks.
    _Ahead = tuple[EarlierField, tuple[int, int], float, Future[tuple[Texture, Spots]] | None]


class FieldTracker:
    """Remembers where each cell of a slide lies, so that it is counted once.

    A field seen before is recognised among all of them, however long the way between (`SlideMap`). `placed`
    tells where the last field lies. The state is bounded: 8,192 reduced fields, 256 of them unpacked (130 MB
    in all), and 60,000 cells; the oldest are forgotten first.

    Examples
    --------
    >>> import numpy as np
    >>> tracker = FieldTracker()
    >>> sightings = tracker.update(np.zeros((480, 640, 3), np.uint8), [])
    >>> sightings, tracker.unique
    ([], 0)
    """

    def __init__(self) -> None:
        self._map = SlideMap()
        self._cells = _Cells()
        self._tracks = 0
        self.placed: Placed | None = None
        self._first: tuple[int, int] | None = None

    def recall(self, past: Iterable[EarlierField], meanwhile: Callable[[], object] = lambda: None) -> None:
        """Remember what an earlier run saw, its fields in their order, before a first field of its own.

        Cells are counted on from the largest track. What a field looks like takes a millisecond or several,
        on all processors; `meanwhile` is called after each field.
        """
        with ThreadPoolExecutor(cv2.getNumberOfCPUs(), thread_name_prefix="recall") as pool:
            for field, shape, zoom, seen in self._looked_at(past, pool):
                self._recall(field, _view(field.placed, shape), zoom, None if seen is None else seen.result())
                meanwhile()

    def _looked_at(self, past: Iterable[EarlierField], pool: ThreadPoolExecutor) -> Iterator[_Ahead]:
        """Yield fields in their order, a few ahead of who asks, with what each looks like."""
        ahead: deque[_Ahead] = deque()
        for field in past:
            shape, zoom = self._sized((field.height, field.width))
            texture = field.placed.texture
            seen = None if texture is None else pool.submit(_look_of, texture, shape)
            ahead.append((field, shape, zoom, seen))
            if len(ahead) > _MOST_AHEAD:
                yield ahead.popleft()
        yield from ahead

    def _recall(
        self, field: EarlierField, view: Rectangle, zoom: float, seen: tuple[Texture, Spots] | None
    ) -> None:
        area = field.placed.area
        for move in field.placed.moves:
            self._map.move(move)
            self._cells.move(move)
        self._map.recall(area, view, seen)
        for track, box in field.cells:
            self._cells.put(track, _Known(area, _place(box, zoom, view), view, whole=True))
            self._tracks = max(self._tracks, track + 1)

    @property
    def unique(self) -> int:
        """Number of different cells seen so far, those included that were only ever seen cut by a border."""
        return self._tracks

    def update(self, pixels: RgbImage, cells: Sequence[Cell]) -> list[TrackedCell]:
        """Place one field on the slide and recognise its cells.

        Parameters
        ----------
        pixels : (H, W, 3) uint8, RGB
            A field that overlaps none of the remembered ones, or of other proportions, begins a new area.
            Two areas become one when a field is found to overlap both. A camera that changes its resolution
            is taken to see the same field as before with other pixels.
        cells : sequence of Cell
            The cells that were found in it.

        Returns
        -------
        list of TrackedCell
            One for each cell, in the same order.
        """
        texture = Texture.of(pixels)
        shape, zoom = self._sized(texture.shape)
        self.placed = self._map.place(texture.of_size(shape))
        for move in self.placed.moves:
            self._cells.move(move)
        area, view = self.placed.area, _view(self.placed, shape)
        seen = [_Known(area, _place(cell.box, zoom, view), view, not cell.touches_border) for cell in cells]
        matches = self._cells.matches(area, view, seen)
        sightings = []
        for index, cell in enumerate(seen):
            track = matches.get(index)
            sightings.append(TrackedCell(self._tracks if track is None else track, is_new=track is None))
            if track is None:
                self._cells.put(self._tracks, cell)
                self._tracks += 1
            else:
                self._cells.see_again(track, cell)
        return sightings

    def _sized(self, shape: tuple[int, int]) -> tuple[tuple[int, int], float]:
        """Size, (H, W), in whose pixels a field is placed, and how many of these one of its own is."""
        if self._first is None:
            self._first = shape
        zoom = zoom_between(shape, self._first)
        return (shape, 1.0) if zoom is None else (self._first, zoom)


def _look_of(texture: Texture, shape: tuple[int, int]) -> tuple[Texture, Spots]:
    texture = texture.of_size(shape)
    return texture, Spots.of(texture)


def _view(placed: Placed, shape: tuple[int, int]) -> Rectangle:
    return Rectangle(0.0, 0.0, float(shape[1]), float(shape[0])).moved(placed.left, placed.top)


def _place(box: Box, zoom: float, view: Rectangle) -> Rectangle:
    """Place of a cell's box in its area."""
    left, top = view.left + zoom * box.x, view.top + zoom * box.y
    return Rectangle(left, top, left + zoom * box.w, top + zoom * box.h)


class _Cells:
    """Known cells, found by their place."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        # Tracks by area and square of the slide; the squares are as large as the first field.
        self._squares: defaultdict[tuple[int, int, int], set[int]] = defaultdict(set)
        self._side = 0.0

    def __len__(self) -> int:
        return len(self._known)

    def put(self, track: int, cell: _Known) -> None:
        """Know a cell, or know it anew."""
        self._side = self._side or max(1.0, 2 * cell.view.radius)
        old = self._known.get(track)
        if old is not None:
            self._drop(track, old)
        self._known[track] = cell
        self._squares[self._square(cell)].add(track)
        if len(self._known) > _MOST_CELLS:
            oldest = next(iter(self._known))
            self._drop(oldest, self._known.pop(oldest))

    def see_again(self, track: int, cell: _Known) -> None:
        """Keep the better look at a cell: the whole one, else the larger, else the later."""
        known = self._known[track]
        if cell.whole or (not known.whole and cell.box.area >= known.box.area):
            self.put(track, cell)

    def move(self, move: Move) -> None:
        """Make an area part of another, shifted."""
        for track, cell in list(self._known.items()):
            if cell.area == move.area:
                box, view = (place.moved(move.x, move.y) for place in (cell.box, cell.view))
                self.put(track, _Known(move.into, box, view, cell.whole))

    def matches(self, area: int, view: Rectangle, seen: Sequence[_Known]) -> dict[int, int]:
        """Index of a seen cell -> track, one to one, nearest pairs first."""
        pairs = []
        for track in self._near(area, view):
            known = self._known[track]
            # Only what both fields show can be compared: the border may have cut the cell in either.
            common = known.view.common(view)
            before = known.box.common(common)
            if before.area <= 0:
                continue
            for index, cell in enumerate(seen):
                now = cell.box.common(common)
                if now.area <= 0:
                    continue
                distance = before.distance(now)
                if distance <= _MATCH_RADII * max(known.box.radius, cell.box.radius):
                    pairs.append((distance, track, index))
        matches: dict[int, int] = {}
        taken: set[int] = set()
        for _, track, index in sorted(pairs):
            if index not in matches and track not in taken:
                matches[index] = track
                taken.add(track)
        return matches

    def _near(self, area: int, view: Rectangle) -> Iterable[int]:
        if not self._known:
            return
        left, top, right, bottom = (math.floor(edge / self._side) for edge in view)
        # A cell is kept where its centre is, which may lie a little outside the view.
        for j in range(top - 1, bottom + 2):
            for i in range(left - 1, right + 2):
                yield from self._squares.get((area, i, j), ())

    def _square(self, cell: _Known) -> tuple[int, int, int]:
        x, y = (cell.box.left + cell.box.right) / 2, (cell.box.top + cell.box.bottom) / 2
        return cell.area, math.floor(x / self._side), math.floor(y / self._side)

    def _drop(self, track: int, cell: _Known) -> None:
        square = self._square(cell)
        self._squares[square].discard(track)
        if not self._squares[square]:
            del self._squares[square]
