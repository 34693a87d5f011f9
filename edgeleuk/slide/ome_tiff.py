"""The slide's pyramid in one TIFF, written in a stream.

Tiles of the first level go into the file as they come. Those of the others wait, encoded, in a file of their
own until their level's turn.
"""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import simplejpeg

from edgeleuk.errors import MissingDependencyError, extra_cure
from edgeleuk.slide.pyramid import TILE_PX, plane_tiles
from edgeleuk.vision.extended_focus import MAP_PX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from edgeleuk.frames import RgbImage
    from edgeleuk.slide.heights import HeightMap
    from edgeleuk.slide.pyramid import Draw, PyramidPlan, Tile

_DEFLATE_EFFORT = 4
# Pixels a micrometre to pixels a centimetre.
_UM_A_CM = 10_000


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


def write_tiff(
    path: Path,
    plan: PyramidPlan,
    draws: Iterable[Draw],
    description: str,
    progress: Callable[..., None] = lambda *_: None,
    heights: HeightMap | None = None,
) -> None:
    """Write a slide as one OME-TIFF.

    Parameters
    ----------
    path : Path
        Of the file that is written.
    plan : PyramidPlan
    draws : iterable of callable
        Of each plane what draws it, as `edgeleuk.slide.pyramid.pyramid_tiles` takes it.
    description : str
        OME-XML.
    progress : callable
        As `pyramid_tiles` takes it.
    heights : HeightMap, optional
        A second image behind the slide.

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
        tifffile.TiffWriter(path, bigtiff=True, ome=False, byteorder="<") as writer,
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
        planes = (_first_level(plan, tiles, shelf) for tiles in plane_tiles(plan, draws, progress))
        drawn = chain.from_iterable(planes)
        for level in plan.levels:
            width, height = plan.size(level)
            per_cm = plan.px_per_um * _UM_A_CM / 2**level
            is_first = level == first
            writer.write(
                chain(drawn) if is_first else shelf.tiles(level),
                shape=(*([plan.planes] if plan.planes > 1 else []), height, width, 3),
                subifds=len(others) if is_first else None,
                subfiletype=0 if is_first else 1,
                description=description.encode() if is_first else None,
                resolution=(per_cm, per_cm),
                **common,
            )
            # tifffile closes what it is given; behind the first level's last tile come those of the others.
            for _ in drawn:
                pass
        if heights is not None:
            writer.write(
                (
                    zlib.compress(np.asarray(tile, "<f4").tobytes(), _DEFLATE_EFFORT)
                    for tile in heights.tiles()
                ),
                shape=(heights.height, heights.width),
                photometric="minisblack",
                compression="adobe_deflate",
                resolution=(plan.px_per_um * _UM_A_CM / MAP_PX,) * 2,
                **{name: common[name] for name in ("tile", "metadata", "software", "resolutionunit")},
                dtype="<f4",
            )


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


def _first_level(plan: PyramidPlan, tiles: Iterator[Tile], shelf: _Shelf) -> Iterator[bytes]:
    """Yield the tiles of the first level, encoded, row by row, and put those of the others on the shelf."""
    last = -(-plan.width // TILE_PX) - 1
    # The lower of two rows of level 0 comes with the upper one.
    waiting: list[bytes] = []
    for tile in tiles:
        data = encode_tile(tile.pixels, plan)
        if tile.level != plan.first_level:
            shelf.put(tile.level, data)
        elif tile.level == 0 and tile.row % 2:
            waiting.append(data)
            if tile.column == last:
                yield from waiting
                waiting.clear()
        else:
            yield data
