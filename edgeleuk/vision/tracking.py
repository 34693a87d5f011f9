"""Counting each cell once while the stage moves.

Fields are registered to remembered fields ("keyframes"), which places them in the coordinates of the slide;
a cell is known again by its place there.
"""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.frames import zoom_between
from edgeleuk.vision.registration import (
    LEAST_OVERLAP,
    Rectangle,
    Shift,
    Spectrum,
    Texture,
    refine,
    register,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edgeleuk.frames import Box, Cell, RgbImage

_MOST_KEYFRAMES = 512
_MOST_SPECTRA = 24
_MOST_CELLS = 12_000
# Remembered fields that a field which has lost its way is compared with: the nearest, then the newest.
_MOST_NEAR = 12
_MOST_NEW = 4
# Remembered fields of other areas that a field which has not lost its way is compared with: of so many areas
# the nearest, the nearest of all, as the gaps between areas are only guessed, and others in turn.
_MOST_AREAS = 3
_MOST_FOREIGN = 5
_MOST_IN_TURN = 2
# Remembered fields whose word on a field's place is taken together.
_MOST_ANCHORS = 4
# A keyframe serves while at least this share of the field overlaps it; below, a new one is kept.
_KEYFRAME_OVERLAP = 0.6
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


@dataclass(frozen=True, slots=True)
class _Keyframe:
    number: int
    area: int
    view: Rectangle
    texture: Texture


@dataclass(frozen=True, slots=True)
class _Known:
    """A cell as it was seen best."""

    area: int
    box: Rectangle
    view: Rectangle
    whole: bool


class Move(NamedTuple):
    """All of one area became part of another, shifted by so many pixels."""

    area: int
    into: int
    x: float
    y: float


class Placed(NamedTuple):
    """Where a field was found to lie, and what has to be kept to find the same again.

    Attributes
    ----------
    area : int
        Fields of one area are known to lie side by side.
    left, top : float
        In pixels of the area.
    moves : tuple of Move
        Areas that this field joined.
    texture : Texture or None
        Of a field that others will be registered to.
    """

    area: int
    left: float
    top: float
    moves: tuple[Move, ...] = ()
    texture: Texture | None = None


class PastField(NamedTuple):
    """A field of an earlier run, and the whole cells that it showed: (track, box) each."""

    placed: Placed
    width: int
    height: int
    cells: Sequence[tuple[int, Box]]


class FieldTracker:
    """Remembers where each cell of a slide lies, so that it is counted once.

    `placed` tells where the last field lies. The state is bounded: 512 reduced fields and 24 of their
    spectra (60 MB), 12,000 cells; the oldest are forgotten first.

    Examples
    --------
    >>> import numpy as np
    >>> tracker = FieldTracker()
    >>> sightings = tracker.update(np.zeros((480, 640, 3), np.uint8), [])
    >>> sightings, tracker.unique
    ([], 0)
    """

    def __init__(self) -> None:
        self._map = _Map()
        self._cells = _Cells()
        self._tracks = 0
        self.placed: Placed | None = None
        self._first: tuple[int, int] | None = None

    @classmethod
    def resumed(cls, past: Iterable[PastField]) -> FieldTracker:
        """Remember what an earlier run saw, its fields in their order, and go on.

        Cells are counted on from the largest track.
        """
        tracker = cls()
        for placed, width, height, cells in past:
            for move in placed.moves:
                tracker._map.move(move)
                tracker._cells.move(move)
            shape, zoom = tracker._sized((height, width))
            view = _view(placed, shape)
            texture = None if placed.texture is None else placed.texture.of_size(shape)
            tracker._map.recall(placed.area, view, texture)
            for track, box in cells:
                tracker._cells.put(track, _Known(placed.area, _place(box, zoom, view), view, whole=True))
                tracker._tracks = max(tracker._tracks, track + 1)
        return tracker

    @property
    def unique(self) -> int:
        """Number of different cells seen so far, those included that were only ever seen cut by a border."""
        return self._tracks

    def update(self, pixels: RgbImage, cells: Sequence[Cell]) -> list[Sighting]:
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
        list of Sighting
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
            sightings.append(Sighting(self._tracks if track is None else track, is_new=track is None))
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


def _view(placed: Placed, shape: tuple[int, int]) -> Rectangle:
    return Rectangle(0.0, 0.0, float(shape[1]), float(shape[0])).moved(placed.left, placed.top)


def _place(box: Box, zoom: float, view: Rectangle) -> Rectangle:
    """Place of a cell's box in its area."""
    left, top = view.left + zoom * box.x, view.top + zoom * box.y
    return Rectangle(left, top, left + zoom * box.w, top + zoom * box.h)


class _Map:
    """Remembered fields and where they lie. Areas that are not connected lie where they probably do."""

    def __init__(self) -> None:
        self._keyframes: OrderedDict[int, _Keyframe] = OrderedDict()
        self._spectra: OrderedDict[int, Spectrum] = OrderedDict()
        self._last: _Keyframe | None = None
        self._speed = 0.0, 0.0
        self._numbers = 0
        self._areas = 0

    def recall(self, area: int, view: Rectangle, texture: Texture | None) -> None:
        """Remember a field of an earlier run."""
        self._areas = max(self._areas, area)
        number = self._next_number()
        if texture is not None:
            self._last = _Keyframe(number, area, view, texture)
            self._remember(self._last)

    def move(self, move: Move) -> None:
        """Make an area part of another, shifted."""
        for number, keyframe in self._keyframes.items():
            if keyframe.area == move.area:
                view = keyframe.view.moved(move.x, move.y)
                self._keyframes[number] = replace(keyframe, area=move.into, view=view)
        if self._last is not None:
            self._last = self._keyframes.get(self._last.number, self._last)

    def place(self, texture: Texture) -> Placed:
        """Find where a field lies, and the areas that it joins to its own."""
        spectrum = Spectrum(texture)
        height, width = texture.shape
        expected = Rectangle(0.0, 0.0, float(width), float(height))
        if self._last is not None:
            expected = expected.moved(self._last.view.left, self._last.view.top).moved(*self._speed)
        moves: list[Move] = []
        field = None if texture.is_blank else self._found(texture, spectrum, expected)
        if field is None:
            self._areas += 1
            field = _Keyframe(self._next_number(), self._areas, expected, texture)
            # An empty glass would only push out of memory what can be recognised.
            if not texture.is_blank:
                self._remember(field)
        else:
            moves = self._connected(field, spectrum)
            field = self._anchored(field, spectrum)
        self._keep(field, spectrum)
        last, self._last = self._last, field
        if last is not None and last.area == field.area:
            self._speed = field.view.left - last.view.left, field.view.top - last.view.top
        kept = texture if field.number in self._keyframes else None
        return Placed(field.area, field.view.left, field.view.top, tuple(moves), kept)

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _like(self, texture: Texture) -> list[_Keyframe]:
        """Remembered fields of a field's size."""
        return [keyframe for keyframe in self._keyframes.values() if keyframe.texture.shape == texture.shape]

    def _found(self, texture: Texture, spectrum: Spectrum, expected: Rectangle) -> _Keyframe | None:
        """Register a field to the last one, or the nearest to where it is expected, or the newest."""
        for keyframe in self._candidates(texture, expected):
            shift = register(self._spectrum(keyframe), spectrum)
            if shift is not None:
                return _Keyframe(self._next_number(), keyframe.area, _shifted(keyframe, shift), texture)
        return None

    def _candidates(self, texture: Texture, expected: Rectangle) -> Iterator[_Keyframe]:
        if self._last is None:
            return
        if self._last.texture.shape == texture.shape:
            yield self._last
        near = self._like(texture)
        newest = near[-_MOST_NEW:]
        near.sort(key=lambda keyframe: keyframe.view.distance(expected))
        near = [keyframe for keyframe in near if keyframe.number != self._last.number][:_MOST_NEAR]
        yield from near
        tried = {self._last.number, *(keyframe.number for keyframe in near)}
        yield from (keyframe for keyframe in newest[::-1] if keyframe.number not in tried)

    def _connected(self, field: _Keyframe, spectrum: Spectrum) -> list[Move]:
        """Look for overlaps with other areas, which then become part of the field's own."""
        foreign = [keyframe for keyframe in self._like(field.texture) if keyframe.area != field.area]
        near = sorted(foreign, key=lambda keyframe: keyframe.view.distance(field.view))
        nearest = {keyframe.area: keyframe for keyframe in near[::-1]}
        firsts = [keyframe for keyframe in near if nearest[keyframe.area] is keyframe]
        turn = field.number * _MOST_IN_TURN
        others = [foreign[(turn + i) % len(foreign)] for i in range(_MOST_IN_TURN) if foreign]
        tried = [*firsts[:_MOST_AREAS], *near[:_MOST_FOREIGN], *others]
        moves: dict[int, Move] = {}
        for keyframe in {keyframe.number: keyframe for keyframe in tried}.values():
            shift = None if keyframe.area in moves else register(self._spectrum(keyframe), spectrum)
            if shift is not None:
                there = _shifted(keyframe, shift)
                x, y = field.view.left - there.left, field.view.top - there.top
                moves[keyframe.area] = Move(keyframe.area, field.area, x, y)
        for move in moves.values():
            self.move(move)
        return list(moves.values())

    def _anchored(self, field: _Keyframe, spectrum: Spectrum) -> _Keyframe:
        """Place a field by all that it overlaps, lest errors add up; remember it if it shows enough more."""
        anchors = [
            (share, keyframe)
            for keyframe in self._like(field.texture)
            if keyframe.area == field.area and (share := field.view.share(keyframe.view)) >= LEAST_OVERLAP
        ]
        anchors.sort(key=lambda anchor: anchor[0], reverse=True)
        weight = left = top = 0.0
        for share, keyframe in anchors[:_MOST_ANCHORS]:
            guess = field.view.left - keyframe.view.left, field.view.top - keyframe.view.top
            shift = refine(keyframe.texture, field.texture, guess)
            if shift is None and weight == 0:
                # Perhaps it lies not quite where it was thought to.
                shift = register(self._spectrum(keyframe), spectrum)
            if shift is not None:
                there = _shifted(keyframe, shift)
                weight, left, top = weight + share, left + share * there.left, top + share * there.top
                if share >= _KEYFRAME_OVERLAP:
                    break
        if weight > 0:
            left, top = left / weight - field.view.left, top / weight - field.view.top
            field = replace(field, view=field.view.moved(left, top))
        if not anchors or anchors[0][0] < _KEYFRAME_OVERLAP:
            self._remember(field)
        return field

    def _remember(self, keyframe: _Keyframe) -> None:
        self._keyframes[keyframe.number] = keyframe
        if len(self._keyframes) > _MOST_KEYFRAMES:
            self._keyframes.popitem(last=False)

    def _spectrum(self, keyframe: _Keyframe) -> Spectrum:
        return self._keep(keyframe, self._spectra.get(keyframe.number) or Spectrum(keyframe.texture))

    def _keep(self, keyframe: _Keyframe, spectrum: Spectrum) -> Spectrum:
        """Keep a spectrum among those last used."""
        self._spectra[keyframe.number] = spectrum
        self._spectra.move_to_end(keyframe.number)
        if len(self._spectra) > _MOST_SPECTRA:
            self._spectra.popitem(last=False)
        return spectrum


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
                if distance <= _GATE_RADII * max(known.box.radius, cell.box.radius):
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


def _shifted(keyframe: _Keyframe, shift: Shift) -> Rectangle:
    """View of a field that was registered to a remembered one."""
    return keyframe.view.moved(shift.x, shift.y)
