"""Where the cells of the virtual slide lie: an endless plane, made tile by tile from one seed.

A tile's content depends on the seed and the tile's number alone, never on which fields were looked at
before. Positions are in micrometres on the slide.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from edgeleuk.virtual.population import BLAST, NORMAL, draw_measures, draw_slide_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

RED_RADIUS_UM = 3.75
WHITE_REACH_UM = 14.0  # no white cell extends further from its centre
RED_SHAPES = 32
PLATELET_SHAPES = 16
NOMINAL_FIELD_UM2 = (1280 / 13) * (960 / 13)
MOST_WHITE_CELLS = 14.0

_TOUCHING_SHARE = 0.05
# Drawn cells lack what tells a large normal cell from a blast, and the network takes them for blasts. So
# normal cells are drawn smaller and plainer; then it errs on drawn cells about as on held-out ones.
_APART = 0.6
_RED_LATTICE_UM = 8.4
_RED_TILE = 4  # lattice cells along a red tile's side
_RED_JITTER_UM = 6.6
_RED_KEPT = 0.78
_PLATELETS_PER_TILE = 0.9
_WHITE_GAP_UM = 17.0  # between lattice neighbours, so that only the chosen pairs touch
_WHITE_LATTICE_UM = (22.0, 34.0)
_CLUMP_UM = 45.0
# Streams of random numbers; a new one gets a new number, for the old slides must not change.
_WHITE, _RED, _CLUMP, _SLIDE = range(4)

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class WhiteCell:
    """A white cell on the slide; `seed` fixes how it looks, `measures` how large it is and so on."""

    identity: int
    label: str
    x_um: float
    y_um: float
    radius_um: float
    seed: tuple[int, ...]
    measures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Particle:
    """A red cell or a platelet: a place and the number of a shape in the library."""

    x_um: float
    y_um: float
    shape: int


class Recent(Generic[_Item]):
    """A cache that forgets what was unused for longest once it holds `limit` items."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[Hashable, _Item] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], _Item]) -> _Item:
        """Return the item of that key, making it if it is not there."""
        if key in self._items:
            self._items.move_to_end(key)
            return self._items[key]
        item = make()
        self._items[key] = item
        if len(self._items) > self._limit:
            self._items.popitem(last=False)
        return item

    def __len__(self) -> int:
        return len(self._items)


class Smear:
    """Positions and kinds of all cells on one slide.

    Parameters
    ----------
    seed : int
    blast_share : float
        Share of the white cells that are blasts, 0 to 1.
    white_cells_per_field : float
        Mean number of white cell centres in 98 by 74 um (1280x960 at 13 px/um), 0 to 14.
    """

    def __init__(self, seed: int, blast_share: float, white_cells_per_field: float) -> None:
        if not 0 <= blast_share <= 1:
            msg = f"expected blast_share from 0 to 1, got {blast_share}"
            raise ValueError(msg)
        if not 0 <= white_cells_per_field <= MOST_WHITE_CELLS:
            msg = (
                f"expected white_cells_per_field from 0 to {MOST_WHITE_CELLS:g}, got {white_cells_per_field}"
            )
            raise ValueError(msg)
        self._seed = seed
        self._blast_share = blast_share
        per_um2 = white_cells_per_field / NOMINAL_FIELD_UM2 / (1 + _TOUCHING_SHARE)
        least, widest = _WHITE_LATTICE_UM
        self._lattice_um = widest if per_um2 == 0 else min(max(math.sqrt(0.9 / per_um2), least), widest)
        self._occupied = per_um2 * self._lattice_um**2
        self._white_jitter_um = max(self._lattice_um - _WHITE_GAP_UM, 3.0)
        self._colour = draw_slide_colour(self.rng(_SLIDE, 0, 0))
        self._white_tiles: Recent[tuple[WhiteCell, ...]] = Recent(1024)
        self._red_tiles: Recent[tuple[tuple[Particle, ...], tuple[Particle, ...]]] = Recent(512)

    def rng(self, stream: int, i: int, j: int) -> np.random.Generator:
        """Random numbers of one tile; `i` and `j` may be negative."""
        return np.random.default_rng((self._seed, stream, i & 0xFFFFFFFF, j & 0xFFFFFFFF))

    def white_cells(self, left: float, top: float, right: float, bottom: float) -> list[WhiteCell]:
        """White cells with their centre in a rectangle (um), in an order that never changes."""
        return [
            cell
            for i, j in _tiles(left - 20, top - 20, right + 20, bottom + 20, self._lattice_um)
            for cell in self._white_tile(i, j)
            if left <= cell.x_um < right and top <= cell.y_um < bottom
        ]

    def red_cells(self, left: float, top: float, right: float, bottom: float) -> list[Particle]:
        """Red cells with their centre in a rectangle (um)."""
        return self._particles(0, left, top, right, bottom)

    def platelets(self, left: float, top: float, right: float, bottom: float) -> list[Particle]:
        """Platelets with their centre in a rectangle (um)."""
        return self._particles(1, left, top, right, bottom)

    def _particles(self, kind: int, left: float, top: float, right: float, bottom: float) -> list[Particle]:
        return [
            particle
            for i, j in _tiles(left - 4, top - 4, right + 4, bottom + 4, _RED_LATTICE_UM * _RED_TILE)
            for particle in self._red_tile(i, j)[kind]
            if left <= particle.x_um < right and top <= particle.y_um < bottom
        ]

    def _white_tile(self, i: int, j: int) -> tuple[WhiteCell, ...]:
        return self._white_tiles.get((i, j), lambda: self._make_white_tile(i, j))

    def _make_white_tile(self, i: int, j: int) -> tuple[WhiteCell, ...]:
        rng = self.rng(_WHITE, i, j)
        if rng.random(3)[0] >= self._occupied:  # the other two place the cell
            return ()
        x, y = self._primary_place(i, j)
        first = self._white_cell(rng, (i, j), 0, (x, y))
        if rng.random() >= _TOUCHING_SHARE:
            return (first,)
        second = self._white_cell(rng, (i, j), 1, (0.0, 0.0))
        distance = 0.97 * (first.radius_um + second.radius_um)
        angle = rng.uniform(0, 2 * math.pi)
        x, y = x + distance * math.cos(angle), y + distance * math.sin(angle)
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                if (di or dj) and math.dist((x, y), self._primary_place(i + di, j + dj)) < _WHITE_GAP_UM:
                    return (first,)  # no room beside a neighbour, whether or not one is there
        return first, WhiteCell(
            second.identity, second.label, x, y, second.radius_um, second.seed, second.measures
        )

    def _primary_place(self, i: int, j: int) -> tuple[float, float]:
        """Centre of a tile's first white cell, were the tile occupied."""
        dx, dy = self.rng(_WHITE, i, j).random(3)[1:] - 0.5
        return (
            (i + 0.5) * self._lattice_um + float(dx) * self._white_jitter_um,
            (j + 0.5) * self._lattice_um + float(dy) * self._white_jitter_um,
        )

    def _white_cell(
        self, rng: np.random.Generator, tile: tuple[int, int], member: int, place: tuple[float, float]
    ) -> WhiteCell:
        i, j = tile
        x_um, y_um = place
        label = BLAST if rng.random() < self._blast_share else NORMAL
        measures = draw_measures(label, rng, self._colour, apart=_APART)
        # 21 bits for each tile number: unique over 35 m of slide, and exact in a JSON number.
        identity = ((i & 0x1FFFFF) << 22) | ((j & 0x1FFFFF) << 1) | member
        return WhiteCell(
            identity=identity,
            label=label,
            x_um=x_um,
            y_um=y_um,
            radius_um=math.sqrt(math.exp(measures["log_area_um2"]) / math.pi),
            seed=(self._seed, _WHITE, identity, 1),
            measures=measures,
        )

    def _red_tile(self, i: int, j: int) -> tuple[tuple[Particle, ...], tuple[Particle, ...]]:
        return self._red_tiles.get((i, j), lambda: self._make_red_tile(i, j))

    def _make_red_tile(self, i: int, j: int) -> tuple[tuple[Particle, ...], tuple[Particle, ...]]:
        rng = self.rng(_RED, i, j)
        side = _RED_LATTICE_UM * _RED_TILE
        left, top = i * side, j * side
        whites = self.white_cells(left - 16, top - 16, left + side + 16, top + side + 16)
        count = _RED_TILE**2
        jitter = (rng.random((count, 2)) - 0.5) * _RED_JITTER_UM
        kept = rng.random(count) < _RED_KEPT * self._crowding(left + side / 2, top + side / 2)
        shapes = rng.integers(0, RED_SHAPES, count)
        reds = []
        for n in np.flatnonzero(kept):
            x = left + (n % _RED_TILE + 0.5) * _RED_LATTICE_UM + float(jitter[n, 0])
            y = top + (n // _RED_TILE + 0.5) * _RED_LATTICE_UM + float(jitter[n, 1])
            # White cells push the red ones aside; a red rim may just be covered.
            if all(math.hypot(x - w.x_um, y - w.y_um) > w.radius_um + RED_RADIUS_UM - 0.2 for w in whites):
                reds.append(Particle(float(x), float(y), int(shapes[n])))
        platelets = []
        for _ in range(rng.poisson(_PLATELETS_PER_TILE)):
            x, y = left + rng.random() * side, top + rng.random() * side
            shape = int(rng.integers(0, PLATELET_SHAPES))
            if all(math.hypot(x - w.x_um, y - w.y_um) > w.radius_um + 2.5 for w in whites):
                platelets.append(Particle(float(x), float(y), shape))
        return tuple(reds), tuple(platelets)

    def _crowding(self, x_um: float, y_um: float) -> float:
        """Local density of red cells, 0.75 to 1.25, varying over some 45 um."""
        u, v = x_um / _CLUMP_UM, y_um / _CLUMP_UM
        i, j = math.floor(u), math.floor(v)
        fu, fv = u - i, v - j
        corner = [float(self.rng(_CLUMP, i + di, j + dj).random()) for dj in (0, 1) for di in (0, 1)]
        upper, lower = corner[0] + fu * (corner[1] - corner[0]), corner[2] + fu * (corner[3] - corner[2])
        return 0.75 + 0.5 * (upper + fv * (lower - upper))


def _tiles(left: float, top: float, right: float, bottom: float, side: float) -> Iterator[tuple[int, int]]:
    """Numbers of the tiles that a rectangle meets, row by row."""
    for j in range(math.floor(top / side), math.floor(bottom / side) + 1):
        for i in range(math.floor(left / side), math.floor(right / side) + 1):
            yield i, j
