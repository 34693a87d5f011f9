"""The slide as a pyramid of tiles, drawn in a stream.

The slide is drawn tile by tile from left to right and from top to bottom. Each is yielded as it is, and goes,
at half its size, into a band of tiles of the next level. So the memory does not grow with the slide's height,
and with its width by less than 1 KB a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edgeleuk.slide.blending import GROUND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from edgeleuk.frames import RgbImage

    Draw = Callable[[int, int, int], RgbImage]

TILE_PX = 256
# Levels are made until both sides are at most so long.
_SMALLEST_PX = 1024
COMPRESSIONS = ("jpeg", "lossless")


@dataclass(frozen=True, slots=True)
class PyramidPlan:
    """What is to be written.

    Attributes
    ----------
    width, height : int
        Of the whole slide, in pixels.
    px_per_um : float
    compression : str
        One of `COMPRESSIONS`; OME-Zarr knows "lossless" alone.
    quality : int
        Of JPEG, 1 to 100.
    first_level : int
        Of the levels that are written, each half as long as the one before, the first; 0 is the whole.
    planes : int
        Of a focus stack; each is a pyramid.
    """

    width: int
    height: int
    px_per_um: float
    compression: str = "jpeg"
    quality: int = 85
    first_level: int = 0
    planes: int = 1

    def size(self, level: int) -> tuple[int, int]:
        """Return (W, H) of a level."""
        return -(-self.width // 2**level), -(-self.height // 2**level)

    @property
    def levels(self) -> range:
        """The levels that are written."""
        last = self.first_level
        while max(self.size(last)) > _SMALLEST_PX:
            last += 1
        return range(self.first_level, last + 1)


class Tile(NamedTuple):
    """A square of a level, (TILE_PX, TILE_PX, 3) uint8 RGB, filled up where the level ends."""

    level: int
    row: int
    column: int
    pixels: RgbImage


def pyramid_tiles(
    plan: PyramidPlan,
    draw: Draw,
    progress: Callable[..., None] = lambda *_: None,
) -> Iterator[Tile]:
    """Draw a slide, and yield the tiles of all levels that are written.

    Those of a level come row by row, but for level 0: its rows 0 and 1 come side by side, column by column,
    then rows 2 and 3, and so on.

    Parameters
    ----------
    plan : PyramidPlan
    draw : callable
        Of left, top and side the square of the slide; see `edgeleuk.slide.blending.Blender.draw`.
    progress : callable
        Told rows of tiles, drawn and in all.
    """
    cascade = _Cascade(plan)
    rows = -(-plan.height // TILE_PX)
    # Two rows are drawn side by side, so that a field is decoded half as often.
    for first in range(0, rows, 2):
        pair = range(first, min(first + 2, rows))
        for column in range(-(-plan.width // TILE_PX)):
            for row in pair:
                pixels = draw(column * TILE_PX, row * TILE_PX, TILE_PX)
                cascade.put(pixels, column * TILE_PX, is_lower=row > first)
                if plan.first_level == 0:
                    yield Tile(0, row, column, pixels)
        for _ in pair:
            yield from _of_bands(plan, cascade.row_is_full())
        progress(pair.stop, rows)
    yield from _of_bands(plan, cascade.rest())


def plane_tiles(
    plan: PyramidPlan, draws: Iterable[Draw], progress: Callable[..., None] = lambda *_: None
) -> Iterator[Iterator[Tile]]:
    """Yield the tiles of each plane, as `pyramid_tiles` does; one plane after the other.

    Parameters
    ----------
    plan : PyramidPlan
    draws : iterable of callable
        Of each plane what draws it.
    progress : callable
        Told rows of tiles of all planes, drawn and in all.
    """
    for plane, draw in enumerate(draws):

        def report(done: int, rows: int, plane: int = plane) -> None:
            progress(plane * rows + done, plan.planes * rows)

        yield pyramid_tiles(plan, draw, report)


class _Band(NamedTuple):
    """A row of tiles of a level."""

    level: int
    row: int
    pixels: RgbImage


class _Cascade:
    """Passes what is drawn down the levels: of each but the first a band of tiles is held."""

    def __init__(self, plan: PyramidPlan) -> None:
        self._last = plan.levels[-1]
        columns = -(-plan.width // TILE_PX)
        # A band ends where the halves of the tiles below it do.
        self._widths = {level: -(-columns * TILE_PX // 2**level) for level in range(1, self._last + 1)}
        self._bands: dict[int, RgbImage] = {}
        self._filled = dict.fromkeys(self._widths, 0)
        self._passed_on = dict.fromkeys(self._widths, 0)

    def put(self, tile: RgbImage, left: int, *, is_lower: bool) -> None:
        """Lay a tile of the upper or the lower of two rows of level 0 into the next level."""
        if self._last > 0:
            self._lay(_half(tile), 1, (left // 2, TILE_PX // 2 * is_lower))

    def row_is_full(self, level: int = 0) -> Iterator[_Band]:
        """End a row of tiles of a level, and yield the bands of later levels that are full by it."""
        below = level + 1
        if below > self._last:
            return
        self._filled[below] = (self._filled[below] + TILE_PX // 2) % TILE_PX
        if self._filled[below] == 0:
            yield from self._passed(below)

    def rest(self) -> Iterator[_Band]:
        """Yield the bands that the end of the slide leaves half full, each passed down in its turn."""
        for level, filled in self._filled.items():
            if filled:
                self._filled[level] = 0
                yield from self._passed(level)

    def _passed(self, level: int) -> Iterator[_Band]:
        band = self._bands.pop(level)
        yield _Band(level, self._passed_on[level], band)
        self._passed_on[level] += 1
        if level < self._last:
            self._lay(_half(band), level + 1, (0, self._filled[level + 1]))
            yield from self.row_is_full(level)

    def _lay(self, small: RgbImage, level: int, corner: tuple[int, int]) -> None:
        if level not in self._bands:
            self._bands[level] = np.full((TILE_PX, self._widths[level], 3), GROUND, np.uint8)
        left, top = corner
        under = self._bands[level][top : top + small.shape[0], left : left + small.shape[1]]
        under[...] = small[:, : under.shape[1]]


def _of_bands(plan: PyramidPlan, bands: Iterator[_Band]) -> Iterator[Tile]:
    """Cut the tiles of bands, but for those of levels that are not written."""
    for level, row, band in bands:
        if level >= plan.first_level:
            for column in range(-(-plan.size(level)[0] // TILE_PX)):
                yield Tile(level, row, column, _tile(band, column * TILE_PX))


def _tile(band: RgbImage, left: int) -> RgbImage:
    """Cut a tile out of a band, filled up where the band ends."""
    tile = band[:, left : left + TILE_PX]
    if tile.shape[1] == TILE_PX:
        return tile
    return np.pad(tile, ((0, 0), (0, TILE_PX - tile.shape[1]), (0, 0)), constant_values=GROUND)


def _half(band: RgbImage) -> RgbImage:
    """Return a band at half its size."""
    size = (-(-band.shape[1] // 2), band.shape[0] // 2)
    return np.asarray(cv2.resize(band, size, interpolation=cv2.INTER_AREA), np.uint8)
