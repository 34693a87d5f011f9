"""What somebody marked in a picture, whatever the format that says so."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import DataRefusedError
from edgeleuk.labels.formats.outlines import bounds_of, box_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from edgeleuk.labels.formats.outlines import Bools, Polygon, Ring

LEAST_POINTS = 3
# No picture is so large, in any unit; what is farther, or no number, is no coordinate.
_FARTHEST = 1e9
NO_AREA = "a shape of its kind is not read"


@dataclass(frozen=True, slots=True)
class Mark:
    """One annotation.

    Attributes
    ----------
    picture : str
        As the format names it.
    where : str
        Names the annotation in a sentence.
    word : str or None
        What it is called; None where it has no class.
    size : (width, height) or None
        Of the picture, as the format says.
    polygons : tuple of polygons
        A pixel within one of them is inside.
    box : (left, top, right, bottom) or None
    mask : (H, W) bool or None
    by : str or None
        Who, where the format tells.
    at : datetime or None
        When.
    is_relative : bool
        Polygons and box are in parts of the picture's width and height, not in pixels.
    fault : str or None
        Why it is left out, where it outlines no cell.
    is_said : bool
        Somebody said it in the tool that wrote the file, even where it calls the cell as it was exported.
    """

    picture: str
    where: str
    word: str | None
    size: tuple[int, int] | None = None
    polygons: tuple[Polygon, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: Bools | None = None
    by: str | None = None
    at: datetime | None = None
    is_relative: bool = False
    is_said: bool = False
    fault: str | None = None

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """(left, top, right, bottom) of what is outlined; None of a whole picture or a mask."""
        return bounds_of([polygon[0] for polygon in self.polygons]) if self.polygons else self.box

    def in_pixels(self, width: int, height: int) -> Mark:
        """Return it in pixels of a picture."""
        if not self.is_relative:
            return self
        return replace(
            self,
            polygons=tuple(
                [[(x * width, y * height) for x, y in ring] for ring in polygon] for polygon in self.polygons
            ),
            box=self.box
            and (self.box[0] * width, self.box[1] * height, self.box[2] * width, self.box[3] * height),
            is_relative=False,
        )

    def with_polygons(self, polygons: Sequence[Polygon]) -> Mark:
        """Return it with polygons; an upright rectangle is a box as well."""
        box = box_of(polygons[0][0]) if len(polygons) == 1 and len(polygons[0]) == 1 else None
        return replace(self, polygons=tuple(polygons), box=box)

    def with_box(self, box: tuple[float, float, float, float]) -> Mark:
        """Return it with a box.

        Raises
        ------
        DataRefusedError
            The box is empty, or its numbers are none.
        """
        if not all(map(math.isfinite, box)) or not (box[0] < box[2] and box[1] < box[3]):
            raise DataRefusedError(f"{self.where} has a box without area", got=str(list(box)))
        return replace(self, box=box)

    def with_mask(self, mask: Bools) -> Mark:
        """Return it with a mask of the picture's size."""
        return replace(self, mask=mask)


def ring_of(numbers: Any, where: str) -> Ring:
    """Return the points of x, y, x, y, ...

    Raises
    ------
    DataRefusedError
        They are fewer than three points, or no numbers.
    """
    if not isinstance(numbers, list) or len(numbers) % 2 or not all(map(_is_number, numbers)):
        raise DataRefusedError(f"{where} has an outline that is no list of x, y, x, y")
    return checked_ring([(numbers[at], numbers[at + 1]) for at in range(0, len(numbers), 2)], where)


def ring_of_points(points: Any, where: str) -> Ring:
    """Return the points of [x, y], [x, y], ...; see `ring_of`."""
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) >= 2 and all(map(_is_number, point[:2])) for point in points
    ):
        raise DataRefusedError(f"{where} has an outline that is no list of points")
    return checked_ring([(point[0], point[1]) for point in points], where)


def checked_ring(ring: Ring, where: str) -> Ring:
    """Return a ring that has at least three points, the last joined to the first by itself.

    Raises
    ------
    DataRefusedError
    """
    if len(ring) > 1 and ring[0] == ring[-1]:
        ring = ring[:-1]
    if len(set(ring)) < LEAST_POINTS:
        raise DataRefusedError(
            f"{where} outlines nothing", got=f"{len(set(ring))} different points", allowed="3 or more"
        )
    return ring


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _FARTHEST
