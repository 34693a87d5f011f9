"""The slide's pyramid as an OME-Zarr folder, version 0.5, written in a stream.

Each level is an array of Zarr 3: red, green and blue, in chunks of a tile, without loss. Chunks are gathered
in shards, so that a slide is some thousand files and not a hundred thousand.
Specification: https://ngff.openmicroscopy.org/0.5/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.errors import MissingDependencyError, extra_cure
from edgeleuk.io.atomic import bears
from edgeleuk.slide.blending import GROUND
from edgeleuk.slide.ome import description_of, field_facts
from edgeleuk.slide.pyramid import TILE_PX, pyramid_tiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.frames import RgbImage
    from edgeleuk.slide.ome import SlideFacts
    from edgeleuk.slide.placement import Placement
    from edgeleuk.slide.pyramid import PyramidPlan, Tile

VERSION = "0.5"
# What the folder says for edgeleuk alone, and what it is known by.
OWN = "edgeleuk"
_ZARR = 3
# Tiles of a row that are one file; of level 0 two rows are held, of 3 MB each.
_SHARD_TILES = 16
_EFFORT = 3
_CHANNELS = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
_has_mark = bears(f'"{OWN}"'.encode())


def require_zarr() -> Any:
    """Return the library that writes Zarr.

    Raises
    ------
    MissingDependencyError
        It is not there, or knows version 2 of the format alone.
    """
    try:
        import zarr
    except ImportError as error:
        raise MissingDependencyError("zarr is not installed", cure=_cure()) from error
    if int(zarr.__version__.partition(".")[0]) < _ZARR:
        raise MissingDependencyError("zarr is too old", got=zarr.__version__, allowed="3", cure=_cure())
    return zarr


def _cure() -> str:
    return f"{extra_cure('zarr')} with Python 3.11 or newer, or write NAME.ome.tiff"


def is_own_zarr(folder: Path) -> bool:
    """Whether a folder is a slide of edgeleuk's."""
    return (folder / "zarr.json").is_file() and _has_mark(folder / "zarr.json")


def zarr_attributes(facts: SlideFacts, placement: Placement, plan: PyramidPlan) -> dict[str, Any]:
    """Return what the folder says of the slide: as OME-NGFF has it, and what that has no word for.

    Parameters
    ----------
    facts : SlideFacts
        Its pixel size is that of the first level that is written.
    placement : Placement
    plan : PyramidPlan
    """
    first = plan.first_level
    pixels_um = [2 ** (level - first) / facts.px_per_um for level in plan.levels]
    multiscale = {
        "name": facts.name,
        "type": "mean",
        "axes": [
            {"name": "c", "type": "channel"},
            {"name": "y", "type": "space", "unit": "micrometer"},
            {"name": "x", "type": "space", "unit": "micrometer"},
        ],
        "datasets": [
            {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [1.0, um, um]}]}
            for n, um in enumerate(pixels_um)
        ],
    }
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    objective = facts.objective
    return {
        OWN: {
            "description": description_of(facts),
            "objective": None if objective is None else objective._asdict(),
            "stage_um": [round(at, 3) for at in facts.stage_um],
            "fields": list(field_facts(placement, facts.shrink)),
        },
        "ome": {
            "version": VERSION,
            "multiscales": [multiscale],
            "omero": {
                "channels": [
                    {"label": label, "color": colour, "window": window, "active": True}
                    for label, colour in _CHANNELS
                ],
                "rdefs": {"model": "color"},
            },
        },
    }


def write_zarr(
    folder: Path,
    plan: PyramidPlan,
    draw: Callable[[int, int, int], RgbImage],
    attributes: dict[str, Any],
    progress: Callable[..., None] = lambda *_: None,
) -> None:
    """Write a slide into an empty folder.

    Parameters
    ----------
    folder : Path
    plan : PyramidPlan
    draw, progress : callable
        See `edgeleuk.slide.pyramid.pyramid_tiles`.
    attributes : dict
        See `zarr_attributes`.

    Raises
    ------
    OSError
        The disk is full, or fails.
    MissingDependencyError
        zarr is not there.
    """
    zarr = require_zarr()
    group = zarr.create_group(folder, zarr_format=_ZARR, attributes=attributes)
    levels = {}
    for n, level in enumerate(plan.levels):
        width, height = plan.size(level)
        array = group.create_array(
            str(n),
            shape=(3, height, width),
            dtype="uint8",
            chunks=(3, TILE_PX, TILE_PX),
            shards=(3, TILE_PX, TILE_PX * _SHARD_TILES),
            compressors=zarr.codecs.ZstdCodec(level=_EFFORT),
            # Chunks of nothing but this are not written.
            fill_value=GROUND,
            dimension_names=("c", "y", "x"),
        )
        levels[level] = _Shards(array)
    for tile in pyramid_tiles(plan, draw, progress):
        levels[tile.level].put(tile)


class _Shards:
    """Gathers the tiles of a level, and writes each shard when its last tile is there.

    A shard that is written in parts would be read, and coded again, for each.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self._last = -(-array.shape[2] // TILE_PX) - 1
        self._open: dict[tuple[int, int], npt.NDArray[np.uint8]] = {}

    def put(self, tile: Tile) -> None:
        shard, at = divmod(tile.column, _SHARD_TILES)
        key = tile.row, shard
        if key not in self._open:
            self._open[key] = np.full((3, TILE_PX, TILE_PX * _SHARD_TILES), GROUND, np.uint8)
        self._open[key][:, :, at * TILE_PX : (at + 1) * TILE_PX] = np.moveaxis(tile.pixels, 2, 0)
        if at == _SHARD_TILES - 1 or tile.column == self._last:
            self._write(*key)

    def _write(self, row: int, shard: int) -> None:
        pixels = self._open.pop((row, shard))
        top, left = row * TILE_PX, shard * TILE_PX * _SHARD_TILES
        height = min(pixels.shape[1], self._array.shape[1] - top)
        width = min(pixels.shape[2], self._array.shape[2] - left)
        self._array[:, top : top + height, left : left + width] = pixels[:, :height, :width]
