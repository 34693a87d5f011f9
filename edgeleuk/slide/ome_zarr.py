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
from edgeleuk.slide.ome import HEIGHTS, description_of, field_facts
from edgeleuk.slide.pyramid import TILE_PX, plane_tiles
from edgeleuk.vision.extended_focus import MAP_PX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.slide.heights import HeightMap
    from edgeleuk.slide.ome import SlideFacts
    from edgeleuk.slide.placement import Placement
    from edgeleuk.slide.pyramid import Draw, PyramidPlan, Tile

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
    step_um = [facts.stack.step_um] if facts.stack is not None and facts.planes > 1 else []
    multiscale = {
        "name": facts.name,
        "type": "mean",
        "axes": [{"name": "c", "type": "channel"}, *(_axis(name) for name in "zyx"[-2 - len(step_um) :])],
        "datasets": [_dataset(n, [1.0, *step_um, um, um]) for n, um in enumerate(pixels_um)],
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


def _axis(name: str) -> dict[str, str]:
    return {"name": name, "type": "space", "unit": "micrometer"}


def _dataset(number: int, scale: list[float]) -> dict[str, Any]:
    return {"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]}


def write_zarr(
    folder: Path,
    plan: PyramidPlan,
    draws: Iterable[Draw],
    attributes: dict[str, Any],
    progress: Callable[..., None] = lambda *_: None,
    heights: HeightMap | None = None,
) -> None:
    """Write a slide into an empty folder.

    Parameters
    ----------
    folder : Path
    plan : PyramidPlan
    draws, progress
        See `edgeleuk.slide.pyramid.plane_tiles`.
    attributes : dict
        See `zarr_attributes`.
    heights : HeightMap, optional
        An image of its own in the folder ``heights``.

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
    among, one = ([plan.planes], [1]) if plan.planes > 1 else ([], [])
    for n, level in enumerate(plan.levels):
        width, height = plan.size(level)
        array = group.create_array(
            str(n),
            shape=(3, *among, height, width),
            dtype="uint8",
            chunks=(3, *one, TILE_PX, TILE_PX),
            shards=(3, *one, TILE_PX, TILE_PX * _SHARD_TILES),
            compressors=zarr.codecs.ZstdCodec(level=_EFFORT),
            # Chunks of nothing but this are not written.
            fill_value=GROUND,
            dimension_names=("c", *"z"[: len(among)], "y", "x"),
        )
        levels[level] = _Shards(array)
    for plane, tiles in enumerate(plane_tiles(plan, draws, progress)):
        for tile in tiles:
            levels[tile.level].put(tile, [plane][: len(among)])
    if heights is not None:
        _write_heights(group, heights, MAP_PX / plan.px_per_um)


def _write_heights(group: Any, heights: HeightMap, um: float) -> None:
    """Write the map of heights as an image beside the levels, tile by tile."""
    multiscale = {
        "name": "heights",
        "axes": [_axis(name) for name in "yx"],
        "datasets": [_dataset(0, [um, um])],
    }
    attributes = {
        OWN: {"description": HEIGHTS, "unit": "micrometer"},
        "ome": {"version": VERSION, "multiscales": [multiscale]},
    }
    array = group.create_group("heights", attributes=attributes).create_array(
        "0",
        shape=(heights.height, heights.width),
        dtype="float32",
        chunks=(TILE_PX, TILE_PX),
        fill_value=float("nan"),
        dimension_names=("y", "x"),
    )
    columns = -(-heights.width // TILE_PX)
    for n, tile in enumerate(heights.tiles()):
        top, left = (TILE_PX * at for at in divmod(n, columns))
        part = tile[: heights.height - top, : heights.width - left]
        array[top : top + part.shape[0], left : left + part.shape[1]] = part


class _Shards:
    """Gathers the tiles of a level, and writes each shard when its last tile is there.

    A shard that is written in parts would be read, and coded again, for each.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self._last = -(-array.shape[-1] // TILE_PX) - 1
        self._open: dict[tuple[int, int], npt.NDArray[np.uint8]] = {}

    def put(self, tile: Tile, plane: list[int]) -> None:
        shard, at = divmod(tile.column, _SHARD_TILES)
        key = tile.row, shard
        if key not in self._open:
            self._open[key] = np.full((3, TILE_PX, TILE_PX * _SHARD_TILES), GROUND, np.uint8)
        self._open[key][:, :, at * TILE_PX : (at + 1) * TILE_PX] = np.moveaxis(tile.pixels, 2, 0)
        if at == _SHARD_TILES - 1 or tile.column == self._last:
            self._write(*key, plane)

    def _write(self, row: int, shard: int, plane: list[int]) -> None:
        pixels = self._open.pop((row, shard))
        top, left = row * TILE_PX, shard * TILE_PX * _SHARD_TILES
        height = min(pixels.shape[1], self._array.shape[-2] - top)
        width = min(pixels.shape[2], self._array.shape[-1] - left)
        at = (slice(None), *plane, slice(top, top + height), slice(left, left + width))
        self._array[at] = pixels[:, :height, :width]
