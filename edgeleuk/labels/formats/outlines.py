"""Masks as polygons along the edges of their pixels, and polygons as masks: nothing is lost between.

A point (x, y) is a corner between pixels: the picture's first pixel lies between (0, 0) and (1, 1). A pixel
is inside where its middle is, by the even-odd rule, so that a mask comes back from rounded numbers, too.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import Box

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    import numpy.typing as npt

    Ring: TypeAlias = list[tuple[float, float]]
    # Its outer ring, then its holes.
    Polygon: TypeAlias = list[Ring]
    Bools: TypeAlias = npt.NDArray[np.bool_]
    Corner: TypeAlias = tuple[int, int]

# Coordinates that tools round may pass the border so far, px.
SLACK_PX = 1.0
_CORNERS_OF_A_BOX = 4


def polygons_of(mask: Bools) -> list[Polygon]:
    """Return a polygon, its outer ring first, for each part of a mask whose pixels touch by an edge.

    Parameters
    ----------
    mask : (H, W) bool

    Examples
    --------
    >>> polygons_of(np.array([[True, True], [True, False]]))
    [[[(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]]]
    """
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return [_polygon(labels == part) for part in range(1, count)]


def mask_of(rings: Iterable[Ring], shape: tuple[int, int]) -> Bools:
    """Return the pixels whose middle lies within an odd number of rings; what lies beyond is cut off.

    Parameters
    ----------
    rings : iterable of list of (x, y)
        Closed: the last point is joined to the first.
    shape : (H, W)

    Examples
    --------
    >>> mask_of([[(0.2, 0.2), (2.2, 0.2), (2.2, 1.2), (0.2, 1.2)]], (2, 3)).astype(int).tolist()
    [[1, 1, 0], [0, 0, 0]]
    """
    height, width = shape
    sides = [np.stack([ring, np.roll(ring, -1, axis=0)], 1) for ring in rings if len(ring)]
    # (n, 2, 2): of each side its upper end, then its lower one.
    ends = np.concatenate(sides).astype(np.float64) if sides else np.zeros((0, 2, 2))
    ends = np.take_along_axis(ends, np.argsort(ends[:, :, 1], axis=1)[:, :, None], axis=1)
    (x0, y0), (x1, y1) = ends[:, 0].T, ends[:, 1].T
    # The rows whose middle lies between the ends.
    first, last = (np.clip(np.ceil(y - 0.5), 0, height).astype(np.intp) for y in (y0, y1))
    of = np.repeat(np.arange(len(ends)), last - first)
    rows = np.arange(len(of)) - np.repeat(np.cumsum(last - first) - last, last - first)
    crossed = x0[of] + (rows + 0.5 - y0[of]) * (x1 - x0)[of] / (y1 - y0)[of]
    turns = np.zeros((height, width + 1), np.int64)
    np.add.at(turns, (rows, np.clip(np.ceil(crossed - 0.5), 0, width).astype(np.intp)), 1)
    return np.asarray(np.cumsum(turns[:, :width], axis=1) % 2 == 1, np.bool_)


def one_ring(rings: Sequence[Ring]) -> Ring:
    """Join rings to the first by lines there and back, for formats that know neither holes nor parts.

    Examples
    --------
    >>> one_ring([[(0, 0), (3, 0), (3, 3), (0, 3)], [(1, 1), (1, 2), (2, 2), (2, 1)]])[-6:]
    [(1, 1), (1, 2), (2, 2), (2, 1), (1, 1), (0, 0)]
    """
    first, *others = rings
    ring = list(first)
    for other in others:
        ring += [first[0], *other, other[0]]
    return [*ring, first[0]] if others else ring


def area_of(ring: Ring) -> float:
    """Return the area within a ring, above 0 where its points run clockwise on the screen."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise([*ring, ring[0]])) / 2


def box_of(ring: Ring) -> tuple[float, float, float, float] | None:
    """Return (left, top, right, bottom) of a ring that is an upright rectangle; None of any other.

    Examples
    --------
    >>> box_of([(1, 2), (5, 2), (5, 4), (1, 4), (1, 2)]), box_of([(0, 0), (1, 0), (0, 1)])
    ((1, 2, 5, 4), None)
    """
    corners = ring[:-1] if len(ring) > _CORNERS_OF_A_BOX and ring[0] == ring[-1] else ring
    left, top, right, bottom = bounds_of([corners])
    upright = {(left, top), (right, top), (right, bottom), (left, bottom)}
    is_box = len(corners) == _CORNERS_OF_A_BOX and set(corners) == upright and left < right and top < bottom
    return (left, top, right, bottom) if is_box else None


def bounds_of(rings: Sequence[Ring]) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) of all points."""
    xs, ys = ([point[axis] for ring in rings for point in ring] for axis in (0, 1))
    return min(xs), min(ys), max(xs), max(ys)


def lies_within(bounds: tuple[float, float, float, float], shape: tuple[int, int]) -> bool:
    """Whether bounds lie in a picture of (H, W), but for what rounding brings about."""
    left, top, right, bottom = bounds
    return min(left, top) >= -SLACK_PX and right <= shape[1] + SLACK_PX and bottom <= shape[0] + SLACK_PX


def tight_box(mask: Bools) -> Box | None:
    """Return the smallest box around a mask; None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    left, top = int(columns[0]), int(rows[0])
    return Box(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)


def _polygon(part: Bools) -> Polygon:
    """Trace the rings of one part; see `polygons_of`."""
    rings = _rings(part)
    outer = max(range(len(rings)), key=lambda i: area_of(rings[i]))
    return [rings[outer], *(ring for i, ring in enumerate(rings) if i != outer)]


def _rings(part: Bools) -> list[Ring]:
    """Follow the edges between inside and outside, inside to the right, and keep the corners.

    Where two pixels of the part touch by a corner alone, the way leads from one to the other: the part joins
    them elsewhere, so that one of the two pixels between is in a hole, and each ring passes the corner once.
    """
    ways = _edges(part)
    left = {(begin, end) for begin, ends in ways.items() for end in ends}
    rings: list[Ring] = []
    while left:
        first = edge = min(left)
        points = []
        while True:
            left.remove(edge)
            points.append(edge[0])
            edge = _next(ways, *edge)
            if edge == first:
                break
        around = zip([points[-1], *points], points, [*points[1:], points[0]], strict=False)
        rings.append(
            [(x, y) for (x0, y0), (x, y), (x1, y1) in around if (x - x0, y - y0) != (x1 - x, y1 - y)]
        )
    return rings


def _edges(part: Bools) -> dict[Corner, list[Corner]]:
    """List by its first corner each edge of a pixel that parts inside from outside, inside to the right."""
    padded = np.pad(part, 1).astype(np.int8)
    ways: dict[Corner, list[Corner]] = {}
    for axis, dx, dy in ((0, 1, 0), (1, 0, 1)):
        steps = np.diff(padded, axis=axis)
        for row, column in np.argwhere(steps).tolist():
            # The padding takes one row and one column away from the corners' numbers.
            x, y = (column - 1, row) if axis == 0 else (column, row - 1)
            begin, end = (x, y), (x + dx, y + dy)
            # Above a pixel the way leads right, beside its left edge up.
            if (steps[row, column] > 0) != (axis == 0):
                begin, end = end, begin
            ways.setdefault(begin, []).append(end)
    return ways


def _next(ways: dict[Corner, list[Corner]], begin: Corner, end: Corner) -> tuple[Corner, Corner]:
    """Return the edge behind an edge; where two begin, the one to the left."""
    ends = ways[end]
    if len(ends) == 1:
        return end, ends[0]
    dx, dy = end[0] - begin[0], end[1] - begin[1]
    return end, (end[0] + dy, end[1] - dx)
