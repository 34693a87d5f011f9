"""The map of heights of a slide with extended focus, tile by tile from the maps of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.slide.pyramid import TILE_PX
from edgeleuk.vision.extended_focus import MAP_PX, map_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from edgeleuk.slide.placement import Placement

    Floats = npt.NDArray[np.float32]


class HeightMap:
    """Heights of the stage, in um, at which each place of the slide is sharpest; NaN where nothing tells.

    Parameters
    ----------
    placement : Placement
    size_px : (W, H)
        Of a field.
    heights : callable
        Of a field's number its map, (h, w) float32 in um.

    Attributes
    ----------
    width, height : int
        Of the map: `MAP_PX` pixels of the slide, across and down, are one of it.
    """

    def __init__(
        self, placement: Placement, size_px: tuple[int, int], heights: Callable[[int], Floats]
    ) -> None:
        self.width, self.height = map_size(placement.width, placement.height)
        self._fields = placement.fields
        self._left = np.array([each.x for each in placement.fields])
        self._top = np.array([each.y for each in placement.fields])
        self._size = size_px
        self._heights = heights

    def tiles(self) -> Iterator[Floats]:
        """Yield squares of `TILE_PX`, row by row, filled up with NaN."""
        for top in range(0, self.height, TILE_PX):
            for left in range(0, self.width, TILE_PX):
                yield self._draw(left, top)

    def _draw(self, left: int, top: int) -> Floats:
        """Take each place from the field whose border is farthest, as the slide's pixels are."""
        tile = np.full((TILE_PX, TILE_PX), np.nan, np.float32)
        depth = np.zeros((TILE_PX, TILE_PX), np.int64)
        # The middles of the map's places, in pixels of the slide.
        columns, rows = ((start + np.arange(TILE_PX)) * MAP_PX + MAP_PX // 2 for start in (left, top))
        width, height = self._size
        meets = (self._left <= columns[-1]) & (self._left + width > columns[0])
        meets &= (self._top <= rows[-1]) & (self._top + height > rows[0])
        for n in np.flatnonzero(meets).tolist():
            placed = self._fields[n]
            x, y = columns - placed.x, rows - placed.y
            across, down = np.minimum(x + 1, width - x), np.minimum(y + 1, height - y)
            own = np.minimum(across[None, :], down[:, None])
            is_nearer = own > depth
            if is_nearer.any():
                found = self._heights(placed.field.number)
                at = np.ix_(
                    np.clip(y // MAP_PX, 0, found.shape[0] - 1), np.clip(x // MAP_PX, 0, found.shape[1] - 1)
                )
                tile[is_nearer] = found[at][is_nearer]
                depth[is_nearer] = own[is_nearer]
        return tile
