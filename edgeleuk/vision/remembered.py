"""Remembered fields of a slide: where each lies, what it looks like, and what is near a place."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.vision.recognition import FieldIndex, Spots
from edgeleuk.vision.registration import Rectangle, Spectrum, Texture

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from edgeleuk.vision.recognition import Proposal

MOST_FIELDS = 8192
# Of fields used last, textures lie ready; of others they are packed, 8 to 12 kB each.
_MOST_TEXTURES = 256
_MOST_SPECTRA = 24
_PACKED_QUALITY = 60
# Unrelated fields are all expected at one place: so many of a square are looked at, the newest first.
_MOST_OF_SQUARE = 64
_WIDEST_RING = 3


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A field that others may be registered to.

    Attributes
    ----------
    number : int
        Fields are numbered as they come.
    area : int
        Fields of one area are known to lie side by side.
    view : Rectangle
        In pixels of the area.
    shape : (H, W)
    """

    number: int
    area: int
    view: Rectangle
    shape: tuple[int, int]


class RememberedFields:
    """Fields by number, place, area and look. The oldest are forgotten first."""

    def __init__(self) -> None:
        self._keyframes: OrderedDict[int, Keyframe] = OrderedDict()
        self._areas: defaultdict[int, set[int]] = defaultdict(set)
        self._squares: defaultdict[tuple[int, int], dict[int, None]] = defaultdict(dict)
        self._side = 0.0
        self._textures: OrderedDict[int, Texture] = OrderedDict()
        self._packed: dict[int, bytes] = {}
        self._spectra: OrderedDict[int, Spectrum] = OrderedDict()
        self._index = FieldIndex(MOST_FIELDS)

    def __len__(self) -> int:
        return len(self._keyframes)

    def __contains__(self, number: int) -> bool:
        return number in self._keyframes

    def get(self, number: int) -> Keyframe | None:
        """Return a field, unless it is forgotten."""
        return self._keyframes.get(number)

    def newest(self, most: int) -> list[Keyframe]:
        """Return the fields that were remembered last, the last one first."""
        return list(islice(reversed(self._keyframes.values()), most))

    def put(self, keyframe: Keyframe, texture: Texture, spots: Spots) -> None:
        """Remember a field."""
        self._side = self._side or max(1.0, 2 * keyframe.view.radius)
        self._keyframes[keyframe.number] = keyframe
        self._areas[keyframe.area].add(keyframe.number)
        self._squares[self._square(keyframe.view)][keyframe.number] = None
        self._index.add(keyframe.number, spots)
        self._use(keyframe.number, texture)
        if len(self._keyframes) > MOST_FIELDS:
            self._forget(next(iter(self._keyframes)))

    def move(self, area: int, into: int, x: float, y: float) -> None:
        """Make an area part of another, shifted."""
        for number in self._areas.pop(area, set()):
            before = self._keyframes[number]
            after = replace(before, area=into, view=before.view.moved(x, y))
            self._keyframes[number] = after
            self._areas[into].add(number)
            self._leave_square(before)
            self._squares[self._square(after.view)][number] = None

    def near(self, view: Rectangle, shape: tuple[int, int], enough: int) -> list[Keyframe]:
        """Return fields of a size that lie about a place, the nearest first.

        Those that overlap are all there; others only as long as fewer than `enough` are found.
        """
        found: list[Keyframe] = []
        if not self._keyframes:
            return found
        i, j = self._square(view)
        for ring in range(_WIDEST_RING + 1):
            if ring > 1 and len(found) >= enough:
                break
            for square in _ring(i, j, ring):
                numbers = islice(reversed(self._squares.get(square, {})), _MOST_OF_SQUARE)
                found += [k for number in numbers if (k := self._keyframes[number]).shape == shape]
        return sorted(found, key=lambda keyframe: keyframe.view.distance(view))

    def alike(self, spots: Spots, most: int) -> list[tuple[Keyframe, Proposal]]:
        """Return fields that look as if they showed the same place, the likeliest first."""
        proposals = self._index.proposals(spots, most)
        return [(k, proposal) for proposal in proposals if (k := self._keyframes.get(proposal.number))]

    def texture(self, keyframe: Keyframe) -> Texture:
        """Return what a field looks like."""
        number = keyframe.number
        texture = self._textures.get(number)
        if texture is None:
            packed = np.frombuffer(self._packed[number], np.uint8)
            texture = Texture(
                np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8), keyframe.shape
            )
        self._use(number, texture)
        return texture

    def spectrum(self, keyframe: Keyframe) -> Spectrum:
        """Return a field made ready for registration."""
        found = self._spectra.get(keyframe.number) or Spectrum(self.texture(keyframe))
        self.keep(keyframe.number, found)
        return found

    def keep(self, number: int, spectrum: Spectrum) -> None:
        """Keep a spectrum among those last used."""
        self._spectra[number] = spectrum
        self._spectra.move_to_end(number)
        if len(self._spectra) > _MOST_SPECTRA:
            self._spectra.popitem(last=False)

    def _use(self, number: int, texture: Texture) -> None:
        self._textures[number] = texture
        self._textures.move_to_end(number)
        if len(self._textures) > _MOST_TEXTURES:
            oldest, unused = self._textures.popitem(last=False)
            if oldest in self._keyframes and oldest not in self._packed:
                quality = [cv2.IMWRITE_JPEG_QUALITY, _PACKED_QUALITY]
                self._packed[oldest] = cv2.imencode(".jpg", unused.fine, quality)[1].tobytes()

    def _forget(self, number: int) -> None:
        keyframe = self._keyframes.pop(number)
        self._leave_square(keyframe)
        self._areas[keyframe.area].discard(number)
        if not self._areas[keyframe.area]:
            del self._areas[keyframe.area]
        self._textures.pop(number, None)
        self._packed.pop(number, None)
        self._spectra.pop(number, None)

    def _leave_square(self, keyframe: Keyframe) -> None:
        square = self._square(keyframe.view)
        self._squares[square].pop(keyframe.number, None)
        if not self._squares[square]:
            del self._squares[square]

    def _square(self, view: Rectangle) -> tuple[int, int]:
        x, y = (view.left + view.right) / 2, (view.top + view.bottom) / 2
        return math.floor(x / self._side), math.floor(y / self._side)


def _ring(i: int, j: int, ring: int) -> Iterator[tuple[int, int]]:
    """Squares so many steps from one."""
    for dj in range(-ring, ring + 1):
        steps: Collection[int] = range(-ring, ring + 1) if abs(dj) == ring else {-ring, ring}
        yield from ((i + di, j + dj) for di in steps)
