"""Where the fields of a slide lie: each is placed by those that it overlaps, however long ago they were seen.

A field that overlaps none begins an area of its own; areas become one when a field is found to overlap both.
Areas that are not connected lie where they probably do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.vision.recognition import Spots
from edgeleuk.vision.registration import (
    LEAST_OVERLAP,
    Rectangle,
    Shift,
    Spectrum,
    Texture,
    refine,
    register,
)
from edgeleuk.vision.remembered import Keyframe, RememberedFields

if TYPE_CHECKING:
    from collections.abc import Iterator

# Remembered fields that a field which has lost its way is compared with: those that look alike, the nearest,
# then the newest.
_MOST_NEAR = 12
_MOST_NEW = 4
_MOST_ALIKE = 12
# Remembered fields of other areas that a field which has not lost its way is compared with: of so many areas
# the nearest, and the nearest of all, as the gaps between areas are only guessed.
_MOST_AREAS = 3
_MOST_FOREIGN = 5
# Remembered fields whose word on a field's place is taken together.
_MOST_ANCHORS = 4
# A keyframe serves while at least this share of the field overlaps it; below, a new one is kept.
_KEYFRAME_OVERLAP = 0.6
# Among all fields of a session chance has more to choose from than among a few near ones: correlation that
# it does not reach at 20 % overlap, and from 35 % on; with less nothing is certain. The same place agrees by
# 0.87 and more.
_OVERLAPS = (0.2, 0.35)
_CERTAIN = (0.9, 0.8)
# A place of the same area that lies further off, in parts of the field, was reached on another way.
_DRIFT = 0.04


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


class SlideMap:
    """Remembered fields and where they lie."""

    def __init__(self) -> None:
        self._fields = RememberedFields()
        self._last: Keyframe | None = None
        self._last_texture: Texture | None = None
        self._last_spectrum: Spectrum | None = None
        self._speed = 0.0, 0.0
        self._numbers = 0
        self._areas = 0

    def recall(self, area: int, view: Rectangle, seen: tuple[Texture, Spots] | None) -> None:
        """Remember a field of an earlier run."""
        self._areas = max(self._areas, area)
        number = self._next_number()
        if seen is not None:
            texture, spots = seen
            self._last = Keyframe(number, area, view, texture.shape)
            self._last_texture, self._last_spectrum = texture, None
            self._fields.put(self._last, texture, spots)

    def move(self, move: Move) -> None:
        """Make an area part of another, shifted."""
        self._fields.move(move.area, move.into, move.x, move.y)
        if self._last is not None and self._last.area == move.area:
            self._last = replace(self._last, area=move.into, view=self._last.view.moved(move.x, move.y))

    def place(self, texture: Texture) -> Placed:
        """Find where a field lies, and the areas that it joins to its own."""
        look = _FieldToPlace(texture)
        height, width = texture.shape
        expected = Rectangle(0.0, 0.0, float(width), float(height))
        if self._last is not None:
            expected = expected.moved(self._last.view.left, self._last.view.top).moved(*self._speed)
        moves: list[Move] = []
        drifted = False
        field = None if texture.is_blank else self._found(look, expected)
        if field is None:
            self._areas += 1
            field = Keyframe(self._next_number(), self._areas, expected, texture.shape)
            # An empty glass would only push out of memory what can be recognised.
            if not texture.is_blank:
                self._fields.put(field, texture, look.spots)
        else:
            moves, drifted, field = self._connected(field, look)
            field = self._anchored(field, look)
        last, self._last = self._last, field
        self._last_texture, self._last_spectrum = texture, look.spectrum
        if last is not None and last.area == field.area and not drifted:
            self._speed = field.view.left - last.view.left, field.view.top - last.view.top
        kept = texture if field.number in self._fields else None
        return Placed(field.area, field.view.left, field.view.top, tuple(moves), kept)

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _found(self, look: _FieldToPlace, expected: Rectangle) -> Keyframe | None:
        """Register a field to the last one, to what looks alike, to the nearest to where it is expected."""
        shape = look.texture.shape
        tried = set()
        if self._last is not None and self._last.shape == shape:
            shift = register(self._spectrum_of_last(), look.spectrum)
            if shift is not None:
                return self._shifted(self._last, shift)
            tried.add(self._last.number)
        for keyframe, shift in self._recognised(look):
            return self._shifted(keyframe, shift)
        near = self._fields.near(expected, shape, _MOST_NEAR)[: _MOST_NEAR + 1]
        newest = [keyframe for keyframe in self._fields.newest(_MOST_NEW) if keyframe.shape == shape]
        for keyframe in near + newest:
            if keyframe.number not in tried:
                tried.add(keyframe.number)
                shift = register(self._fields.spectrum(keyframe), look.spectrum)
                if shift is not None:
                    return self._shifted(keyframe, shift)
        return None

    def _spectrum_of_last(self) -> Spectrum:
        if self._last_spectrum is None:
            assert self._last_texture is not None
            self._last_spectrum = Spectrum(self._last_texture)
        return self._last_spectrum

    def _shifted(self, keyframe: Keyframe, shift: Shift) -> Keyframe:
        """Make a new field of the one that was registered to a remembered one."""
        view = keyframe.view.moved(shift.x, shift.y)
        return Keyframe(self._next_number(), keyframe.area, view, keyframe.shape)

    def _recognised(self, look: _FieldToPlace) -> Iterator[tuple[Keyframe, Shift]]:
        """Yield the fields of all the session that certainly show the same place, and the move since."""
        for keyframe, proposal in self._fields.alike(look.spots, _MOST_ALIKE):
            if keyframe.shape != look.texture.shape:
                continue
            shift = refine(self._fields.texture(keyframe), look.texture, look.in_field(proposal.shift))
            if shift is not None and shift.correlation >= _certain(keyframe, shift):
                yield keyframe, shift

    def _connected(self, field: Keyframe, look: _FieldToPlace) -> tuple[list[Move], bool, Keyframe]:
        """Look for overlaps with other areas, which then become part of the field's own.

        Where its own area was seen here before, but lies elsewhere by the way that led here, the older place
        is right: cells are known by it.

        Returns
        -------
        tuple
            The moves, whether the field's place is another now, and the field.
        """
        moves: dict[int, Move] = {}
        overlapped = self._overlapped(field)
        drifted = False
        if not overlapped or overlapped[0][0] < _KEYFRAME_OVERLAP:
            for keyframe, shift in self._recognised(look):
                there = keyframe.view.moved(shift.x, shift.y)
                if keyframe.area != field.area:
                    self._note(moves, field, keyframe, there)
                elif not drifted and there.distance(field.view) > 2 * _DRIFT * field.view.radius:
                    field, drifted = replace(field, view=there), True
                    moves.clear()
        foreign = [
            keyframe
            for keyframe in self._fields.near(field.view, field.shape, _MOST_FOREIGN)
            if keyframe.area != field.area
        ]
        nearest = {keyframe.area: keyframe for keyframe in foreign[::-1]}
        firsts = [keyframe for keyframe in foreign if nearest[keyframe.area] is keyframe]
        tried = [*firsts[:_MOST_AREAS], *foreign[:_MOST_FOREIGN]]
        for keyframe in {keyframe.number: keyframe for keyframe in tried}.values():
            found = (
                None if keyframe.area in moves else register(self._fields.spectrum(keyframe), look.spectrum)
            )
            if found is not None:
                self._note(moves, field, keyframe, keyframe.view.moved(found.x, found.y))
        for move in moves.values():
            self.move(move)
        return list(moves.values()), drifted, field

    @staticmethod
    def _note(moves: dict[int, Move], field: Keyframe, keyframe: Keyframe, there: Rectangle) -> None:
        if keyframe.area not in moves:
            x, y = field.view.left - there.left, field.view.top - there.top
            moves[keyframe.area] = Move(keyframe.area, field.area, x, y)

    def _overlapped(self, field: Keyframe) -> list[tuple[float, Keyframe]]:
        """Fields of the same area that a field overlaps enough, by the share, the largest first."""
        shared = [
            (share, keyframe)
            for keyframe in self._fields.near(field.view, field.shape, 0)
            if keyframe.area == field.area and (share := field.view.share(keyframe.view)) >= LEAST_OVERLAP
        ]
        return sorted(shared, key=lambda anchor: anchor[0], reverse=True)

    def _anchored(self, field: Keyframe, look: _FieldToPlace) -> Keyframe:
        """Place a field by all that it overlaps, lest errors add up; remember it if it shows enough more."""
        anchors = self._overlapped(field)
        weight = left = top = 0.0
        for share, keyframe in anchors[:_MOST_ANCHORS]:
            guess = field.view.left - keyframe.view.left, field.view.top - keyframe.view.top
            shift = refine(self._fields.texture(keyframe), look.texture, guess)
            if shift is None and weight == 0:
                # Perhaps it lies not quite where it was thought to.
                shift = register(self._fields.spectrum(keyframe), look.spectrum)
            if shift is not None:
                there = keyframe.view.moved(shift.x, shift.y)
                weight, left, top = weight + share, left + share * there.left, top + share * there.top
                if share >= _KEYFRAME_OVERLAP:
                    break
        if weight > 0:
            left, top = left / weight - field.view.left, top / weight - field.view.top
            field = replace(field, view=field.view.moved(left, top))
        if not anchors or anchors[0][0] < _KEYFRAME_OVERLAP:
            self._fields.put(field, look.texture, look.spots)
            self._fields.keep(field.number, look.spectrum)
        return field


class _FieldToPlace:
    """A field that is to be placed, and what is made of it, once and only if it is asked for."""

    def __init__(self, texture: Texture) -> None:
        self.texture = texture
        self._spectrum: Spectrum | None = None
        self._spots: Spots | None = None

    @property
    def spectrum(self) -> Spectrum:
        self._spectrum = self._spectrum or Spectrum(self.texture)
        return self._spectrum

    @property
    def spots(self) -> Spots:
        if self._spots is None:
            self._spots = Spots.of(self.texture)
        return self._spots

    def in_field(self, shift: tuple[float, float]) -> tuple[float, float]:
        """Pixels of the field for some of the texture."""
        (height, width), fine = self.texture.shape, self.texture.fine.shape
        return shift[0] * width / fine[1], shift[1] * height / fine[0]


def _certain(keyframe: Keyframe, shift: Shift) -> float:
    """Correlation that makes certain that a field shows the same place as another."""
    share = keyframe.view.share(keyframe.view.moved(shift.x, shift.y))
    return 2.0 if share < _OVERLAPS[0] else float(np.interp(share, _OVERLAPS, _CERTAIN))
