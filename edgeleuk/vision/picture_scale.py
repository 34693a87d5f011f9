"""The scale of one picture, and whether the white cells in it can have it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.results import SCALE_IMPLAUSIBLE, SCALE_UNKNOWN
from edgeleuk.vision.scale import is_plausible, measure_scale

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeleuk.frames import Cell, RgbImage

# White cells are 35 to 500 um2 large; two or three that touch may be taken for one.
_LEAST_AREA_UM2, _MOST_AREA_UM2 = 20.0, 1000.0


class PictureScale(NamedTuple):
    """Scale of one picture.

    Attributes
    ----------
    px_per_um : float or None
    trouble : str or None
        Why there is none.
    """

    px_per_um: float | None
    trouble: str | None = None

    def of_cells(self, cells: Iterable[Cell]) -> PictureScale:
        """Refuse an estimated scale by which the cells of the picture have an impossible area."""
        if self.px_per_um is None or are_possible(areas_px(cells), self.px_per_um):
            return self
        return PictureScale(None, SCALE_IMPLAUSIBLE)


def estimated_scale(pixels: RgbImage) -> PictureScale:
    """Estimate the scale of one picture, (H, W, 3) uint8, RGB; `PictureScale.of_cells` has to confirm it."""
    found = measure_scale(pixels)
    if found is None:
        return PictureScale(None, SCALE_UNKNOWN)
    return (
        PictureScale(found.px_per_um)
        if is_plausible(found.px_per_um)
        else PictureScale(None, SCALE_IMPLAUSIBLE)
    )


def areas_px(cells: Iterable[Cell]) -> list[float]:
    """Areas of the whole cells."""
    return [float(cell.area_px) for cell in cells if not cell.touches_border]


def are_possible(areas_px: Iterable[float], px_per_um: float) -> bool:
    """Whether white cells may be so large; without one nothing speaks against it."""
    areas = list(areas_px)
    if not areas:
        return True
    return _LEAST_AREA_UM2 <= statistics.median(areas) / px_per_um**2 <= _MOST_AREA_UM2
