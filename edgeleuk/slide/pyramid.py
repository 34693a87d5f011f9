"""The slide as a pyramid of tiles in one TIFF, written in a stream.

The slide is drawn tile by tile from left to right and from top to bottom. Each goes into the file as it is,
and, at half its size, into a band of tiles of the next level. Tiles of those wait, encoded, in a file of
their own until their level's turn. So the memory does not grow with the slide's height, and with its width
by less than 1 KB a pixel.
"""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

import cv2
import numpy as np
import simplejpeg

from edgeleuk.errors import MissingDependencyError, extra_cure
from edgeleuk.slide.blending import GROUND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edgeleuk.frames import RgbImage

TILE_PX = 256
# Levels are made until both sides are at most so long.
_SMALLEST_PX = 1024
_DEFLATE_EFFORT = 4
COMPRESSIONS = ("jpeg", "lossless")
# Pixels a micrometre to pixels a centimetre.
_UM_A_CM = 10_000


@dataclass(frozen=True, slots=True)
class PyramidPlan:
    """What is to be written.

    Attributes
    ----------
    width, height : int
        Of the whole slide, in pixels.
    px_per_um : float
    compression : str
        One of `COMPRESSIONS`.
    quality : int
        Of JPEG, 1 to 100.
    first_level : int
        Of the levels that are written, each half as long as the one before, the first; 0 is the whole.
    """

    width: int
    height: int
    px_per_um: float
    compression: str = "jpeg"
    quality: int = 85
    first_level: int = 0

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


def require_tifffile() -> Any:
    """Return the library that writes TIFF.

    Raises
    ------
    MissingDependencyError
    """
    try:
        import tifffile
    except ImportError as error:
        raise MissingDependencyError("tifffile is not installed", cure=extra_cure("slide")) from error
    return tifffile


def write_pyramid(
    path: Path,
    plan: PyramidPlan,
    draw: Callable[[int, int, int], RgbImage],
    description: str,
    progress: Callable[..., None] = lambda *_: None,
) -> None:
    """Write a slide.

    Parameters
    ----------
    path : Path
        Of the file that is written.
    plan : PyramidPlan
    draw : callable
        Of left, top and side the square of the slide; see `edgeleuk.slide.blending.Blender.draw`.
    description : str
        OME-XML.
    progress : callable
        Told bands of tiles, drawn and in all.

    Raises
    ------
    OSError
        The disk is full, or fails.
    MissingDependencyError
        tifffile is not there.
    """
    tifffile = require_tifffile()
    first, *others = plan.levels
    with (
        tempfile.TemporaryFile(dir=path.parent) as waiting,
        tifffile.TiffWriter(path, bigtiff=True, ome=False) as writer,
    ):
        shelf = _Shelf(waiting)
        common: dict[str, Any] = {
            "dtype": np.uint8,
            "tile": (TILE_PX, TILE_PX),
            "metadata": None,
            "software": "edgeleuk",
            "resolutionunit": "CENTIMETER",
            **_coding(plan.compression),
        }
        drawn = _first_level(plan, draw, shelf, progress)
        for level in plan.levels:
            width, height = plan.size(level)
            per_cm = plan.px_per_um * _UM_A_CM / 2**level
            is_first = level == first
            writer.write(
                chain(drawn) if is_first else shelf.tiles(level),
                shape=(height, width, 3),
                subifds=len(others) if is_first else None,
                subfiletype=0 if is_first else 1,
                description=description.encode() if is_first else None,
                resolution=(per_cm, per_cm),
                **common,
            )
            # tifffile closes what it is given; behind the first level's last tile come those of the others.
            for _ in drawn:
                pass


def _coding(compression: str) -> dict[str, Any]:
    """Return tifffile's words for tiles that come encoded."""
    if compression == "jpeg":
        return {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 2)}
    return {"compression": "adobe_deflate", "predictor": True, "photometric": "rgb"}


def encode_tile(pixels: RgbImage, plan: PyramidPlan) -> bytes:
    """Encode a tile, (TILE_PX, TILE_PX, 3) uint8 RGB, as the file has it."""
    if plan.compression == "jpeg":
        return bytes(
            simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), plan.quality, colorsubsampling="420")
        )
    # TIFF's horizontal predictor: each pixel less the one to its left.
    differences = pixels.copy()
    differences[:, 1:] -= pixels[:, :-1]
    return zlib.compress(differences.tobytes(), _DEFLATE_EFFORT)


@dataclass(slots=True)
class _Shelf:
    """Encoded tiles of the smaller levels, in a file until their turn comes."""

    file: IO[bytes]
    lengths: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    end: int = 0

    def put(self, level: int, data: bytes) -> None:
        self.file.write(data)
        self.lengths.setdefault(level, []).append((self.end, len(data)))
        self.end += len(data)

    def tiles(self, level: int) -> Iterator[bytes]:
        self.file.flush()
        for start, length in self.lengths[level]:
            self.file.seek(start)
            yield self.file.read(length)


class _Cascade:
    """Passes what is drawn down the levels: of each but the first a band of tiles is held."""

    def __init__(self, plan: PyramidPlan) -> None:
        self._last = plan.levels[-1]
        columns = -(-plan.width // TILE_PX)
        # A band ends where the halves of the tiles below it do.
        self._widths = {level: -(-columns * TILE_PX // 2**level) for level in range(1, self._last + 1)}
        self._bands: dict[int, RgbImage] = {}
        self._filled = dict.fromkeys(self._widths, 0)

    def put(self, tile: RgbImage, left: int, *, is_lower: bool) -> None:
        """Lay a tile of the upper or the lower of two rows of level 0 into the next level."""
        if self._last > 0:
            self._lay(_half(tile), 1, (left // 2, TILE_PX // 2 * is_lower))

    def row_is_full(self, level: int = 0) -> Iterator[tuple[int, RgbImage]]:
        """End a row of tiles of a level, and yield the bands of later levels that are full by it."""
        below = level + 1
        if below > self._last:
            return
        self._filled[below] = (self._filled[below] + TILE_PX // 2) % TILE_PX
        if self._filled[below] == 0:
            yield from self._passed(below)

    def rest(self) -> Iterator[tuple[int, RgbImage]]:
        """Yield the bands that the end of the slide leaves half full, each passed down in its turn."""
        for level, filled in self._filled.items():
            if filled:
                self._filled[level] = 0
                yield from self._passed(level)

    def _passed(self, level: int) -> Iterator[tuple[int, RgbImage]]:
        band = self._bands.pop(level)
        yield level, band
        if level < self._last:
            self._lay(_half(band), level + 1, (0, self._filled[level + 1]))
            yield from self.row_is_full(level)

    def _lay(self, small: RgbImage, level: int, corner: tuple[int, int]) -> None:
        if level not in self._bands:
            self._bands[level] = np.full((TILE_PX, self._widths[level], 3), GROUND, np.uint8)
        left, top = corner
        under = self._bands[level][top : top + small.shape[0], left : left + small.shape[1]]
        under[...] = small[:, : under.shape[1]]


def _first_level(
    plan: PyramidPlan,
    draw: Callable[[int, int, int], RgbImage],
    shelf: _Shelf,
    progress: Callable[..., None],
) -> Iterator[bytes]:
    """Yield the tiles of the first level in order, and put those of the others on the shelf."""
    for level, data in _encoded(plan, draw, progress):
        if level == plan.first_level:
            yield data
        else:
            shelf.put(level, data)


def _encoded(
    plan: PyramidPlan, draw: Callable[[int, int, int], RgbImage], progress: Callable[..., None]
) -> Iterator[tuple[int, bytes]]:
    """Yield the tiles of all levels that are written, those of each in their order."""
    cascade = _Cascade(plan)
    rows = -(-plan.height // TILE_PX)
    # Two rows are drawn side by side, so that a field is decoded half as often.
    for row in range(0, rows, 2):
        below = min(2, rows - row)
        yield from _two_rows(plan, draw, cascade, range(row, row + below))
        for _ in range(below):
            yield from _of_bands(plan, cascade.row_is_full())
        progress(row + below, rows)
    yield from _of_bands(plan, cascade.rest())


def _two_rows(
    plan: PyramidPlan, draw: Callable[[int, int, int], RgbImage], cascade: _Cascade, rows: range
) -> Iterator[tuple[int, bytes]]:
    """Yield the tiles of one or two rows of level 0; those of the lower one wait, encoded."""
    waiting: list[bytes] = []
    for left in range(0, plan.width, TILE_PX):
        for row in rows:
            tile = draw(left, row * TILE_PX, TILE_PX)
            is_lower = row != rows[0]
            cascade.put(tile, left, is_lower=is_lower)
            if plan.first_level > 0:
                continue
            data = encode_tile(tile, plan)
            if is_lower:
                waiting.append(data)
            else:
                yield 0, data
    for data in waiting:
        yield 0, data


def _of_bands(plan: PyramidPlan, bands: Iterator[tuple[int, RgbImage]]) -> Iterator[tuple[int, bytes]]:
    """Encode the tiles of bands, but for those of levels that are not written."""
    for level, band in bands:
        if level >= plan.first_level:
            for left in range(0, plan.size(level)[0], TILE_PX):
                yield level, encode_tile(_tile(band, left), plan)


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
