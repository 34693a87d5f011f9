"""Where each field lies on the slide: steps between neighbours, measured, and least squares over all of them.

The stage is the prior: where neighbours show nothing in common, its own step is taken, corrected by what the
measured ones of the same direction were off. A stage that lost steps is seen by the jump between two fields
that follow each other on the walk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edgeleuk.stage.base import ScanField

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

# Standard deviations, in pixels, of a measured step, and of one that the stage alone tells.
_MEASURED_PX = 0.3
_BY_STAGE_PX = 20.0
# A measured step that the others leave so far off is wrong, and left out.
_MOST_RESIDUAL_PX = 3.0
_ROUNDS = 20
# Of the worst: a wrong step draws its neighbours along, which are right without it.
_WORST = 0.8
# Steps of a motor that is in order come true to this; play of an axis that nobody took out is less.
LOST_UM = 8.0
_TOLERANCE = 1e-7
# Of so many fields the whole slide knows the scale better than the moves of the mapping.
_LEAST_FOR_SCALE = 9
_MOST_ITERATIONS = 5000


class Link(NamedTuple):
    """Two neighbours: their places in the list of fields, the step in pixels, and whether it is measured."""

    first: int
    second: int
    x: float
    y: float
    is_measured: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A field on the slide.

    Attributes
    ----------
    field : ScanField
    x, y : int
        Its upper left corner in pixels of the slide.
    is_registered : bool
        Its place is tied by measured steps to most other fields; else the stage alone tells it.
    lost_um : (x, y)
        How far the stage had lost its way there, along the picture's axes; (0, 0) where it had not.
    """

    field: ScanField
    x: int
    y: int
    is_registered: bool
    lost_um: tuple[float, float] = (0.0, 0.0)

    @property
    def has_lost_steps(self) -> bool:
        """Whether the stage was elsewhere than it said."""
        return self.lost_um != (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Placement:
    """All fields on a slide.

    Attributes
    ----------
    fields : tuple of Placed
        In the order of the walk.
    width, height : int
        Of the slide, in pixels.
    measured, by_stage, refused : int
        Steps between neighbours that were measured and used, that the stage alone tells as nothing else ties
        the two, and that were left out as the others speak against them.
    residual_px : float
        Root mean square of what the measured steps leave unexplained.
    px_per_um : float
        Scale, from where all fields lie and what the stage says of them.
    """

    fields: tuple[Placed, ...]
    width: int
    height: int
    measured: int
    by_stage: int
    refused: int
    residual_px: float
    px_per_um: float

    @property
    def lost(self) -> tuple[Placed, ...]:
        """Fields before which the stage had lost steps."""
        return tuple(placed for placed in self.fields if placed.has_lost_steps)


def place_fields(
    fields: Sequence[ScanField],
    matrix: tuple[tuple[float, float], tuple[float, float]],
    size_px: tuple[int, int],
    measure: Callable[[int, int, tuple[float, float]], tuple[float, float] | None],
) -> Placement:
    """Place fields on a slide.

    Parameters
    ----------
    fields : sequence of ScanField
        Whose pictures are there, in the order of the walk; one or more.
    matrix : 2 rows of 2 float
        Pixels a micrometre; see `edgeleuk.stage.mapping.Mapping`.
    size_px : (W, H)
        Of a field.
    measure : callable
        Given two places in the list and the step that the stage tells, measures it; None where it cannot.
    """
    fields_um = np.array([(field.x_um, field.y_um) for field in fields])
    told = fields_um @ np.array(matrix).T
    links = _corrected(_links(fields, told, measure), fields, told)
    places, used, refused = _solved(links, told)
    corners = np.round(places - places.min(axis=0)).astype(int)
    is_measured = np.array([link.is_measured for link in links], bool)
    main = _in_largest(_parts(len(fields), links, used & is_measured))
    px_per_um = float(np.sqrt(abs(np.linalg.det(np.array(matrix)))))
    lost = _lost(places, told, main, px_per_um)
    placed = tuple(
        Placed(field, int(x), int(y), bool(in_main), (float(way[0]), float(way[1])))
        for field, (x, y), in_main, way in zip(fields, corners.tolist(), main, lost, strict=True)
    )
    width, height = (corners.max(axis=0) + size_px).tolist()
    left_over = [
        places[link.second] - places[link.first] - (link.x, link.y)
        for link, is_used in zip(links, used, strict=True)
        if is_used and link.is_measured
    ]
    return Placement(
        fields=placed,
        width=width,
        height=height,
        measured=len(left_over),
        by_stage=int(np.count_nonzero(used & ~is_measured)),
        refused=int(np.count_nonzero(refused)),
        residual_px=float(np.sqrt(np.mean(np.square(left_over)))) if left_over else 0.0,
        px_per_um=_scale(places, fields_um, np.array(main) & ~lost.any(axis=1), np.array(matrix)),
    )


def _links(
    fields: Sequence[ScanField],
    told: Floats,
    measure: Callable[[int, int, tuple[float, float]], tuple[float, float] | None],
) -> list[Link]:
    """Measure the step from each field to its left and its upper neighbour, row by row."""
    at = {(field.row, field.column): n for n, field in enumerate(fields)}
    found = []
    # What the last measured step of each direction was off: a stage that lost its way stays off.
    off = {way: np.zeros(2) for way in ((0, 1), (1, 0))}
    for (row, column), second in sorted(at.items()):
        for way in off:
            first = at.get((row - way[0], column - way[1]))
            if first is None:
                continue
            step = told[second] - told[first]
            seen = measure(first, second, (float(step[0] + off[way][0]), float(step[1] + off[way][1])))
            if seen is None:
                found.append(Link(first, second, float(step[0]), float(step[1]), is_measured=False))
            else:
                found.append(Link(first, second, *seen, is_measured=True))
                off[way] = np.array(seen) - step
    return found


def _corrected(links: list[Link], fields: Sequence[ScanField], told: Floats) -> list[Link]:
    """Take the play of the axes, and a mapping that is a little off, out of what the stage alone tells."""
    off: dict[tuple[int, int, int], list[Floats]] = {}
    for link in links:
        if link.is_measured:
            step = np.array((link.x, link.y)) - told[link.second] + told[link.first]
            off.setdefault(_sort(link, fields), []).append(step)
    typical = {key: np.median(steps, axis=0) for key, steps in off.items()}
    return [
        link
        if link.is_measured or (way := typical.get(_sort(link, fields))) is None
        else link._replace(x=link.x + float(way[0]), y=link.y + float(way[1]))
        for link in links
    ]


def _sort(link: Link, fields: Sequence[ScanField]) -> tuple[int, int, int]:
    """Return what steps have in common that are off alike: direction, and which way their row is walked."""
    first, second = fields[link.first], fields[link.second]
    return second.row - first.row, second.column - first.column, second.row % 2


def _solved(links: list[Link], told: Floats) -> tuple[Floats, Bools, Bools]:
    """Return the places, (n, 2), by least squares; which links were used, and which of the measured refused.

    Where measured steps tie two fields, by whatever way, the stage's own step has nothing to say: of a stage
    that lost its way it may be wrong by a whole field.
    """
    refused = np.zeros(len(links), bool)
    if not links:
        return told, refused, refused
    first, second = (np.array([link[end] for link in links]) for end in (0, 1))
    steps = np.array([(link.x, link.y) for link in links])
    is_measured = np.array([link.is_measured for link in links])
    weights = np.where(is_measured, 1 / _MEASURED_PX**2, 1 / _BY_STAGE_PX**2)
    places, used = told - told[0], is_measured
    for _ in range(_ROUNDS):
        part = _parts(len(told), links, is_measured & ~refused)
        used = np.where(is_measured, ~refused, part[first] != part[second])
        places = _least_squares((first, second), steps, weights * used, places)
        off = np.hypot(*(places[second] - places[first] - steps).T) * (is_measured & used)
        wrong = off > max(_MOST_RESIDUAL_PX, _WORST * float(off.max()))
        if not wrong.any():
            break
        refused |= wrong
    return places, used, refused


def _least_squares(ends: tuple[Integers, Integers], steps: Floats, weights: Floats, start: Floats) -> Floats:
    """Minimise the weighted squares of what steps leave, by conjugate gradients; place 0 stays about 0.

    Parameters
    ----------
    ends : two (m,) int64
        Of each step.
    steps : (m, 2) float64
    weights : (m,) float64
    start : (n, 2) float64
    """
    first, second = ends
    count = len(start)
    # The whole may lie anywhere: a weak spring to where it began holds it, and parts that nothing ties.
    spring = 1e-9 * float(weights.max())

    def summed(values: Floats) -> Floats:
        columns = [
            np.bincount(second, values[:, axis], count) - np.bincount(first, values[:, axis], count)
            for axis in (0, 1)
        ]
        return np.stack(columns, axis=1)

    def applied(places: Floats) -> Floats:
        pulls = summed(weights[:, None] * (places[second] - places[first]))
        return np.asarray(pulls + spring * places, np.float64)

    diagonal = (np.bincount(first, weights, count) + np.bincount(second, weights, count) + spring)[:, None]
    places = start.copy()
    rest = summed(weights[:, None] * steps) + spring * start - applied(places)
    scaled = rest / diagonal
    way, size = scaled.copy(), float((rest * scaled).sum())
    least = _TOLERANCE**2 * float((weights[:, None] * steps**2).sum() + 1e-12)
    for _ in range(_MOST_ITERATIONS):
        if size <= least:
            break
        image = applied(way)
        length = size / float((way * image).sum())
        places += length * way
        rest -= length * image
        scaled = rest / diagonal
        size, before = float((rest * scaled).sum()), size
        way = scaled + size / before * way
    return np.asarray(places, np.float64)


def _parts(count: int, links: list[Link], used: Bools) -> Integers:
    """Return for each field which part it belongs to that the used links tie together."""
    part = list(range(count))

    def root(n: int) -> int:
        while part[n] != n:
            part[n] = part[part[n]]
            n = part[n]
        return n

    for link, is_used in zip(links, used, strict=True):
        if is_used:
            part[root(link.first)] = root(link.second)
    return np.array([root(n) for n in range(count)])


def _in_largest(part: Integers) -> list[bool]:
    """Whether each field belongs to the largest part."""
    return [bool(one) for one in part == np.bincount(part).argmax()]


def _lost(places: Floats, told: Floats, is_registered: list[bool], px_per_um: float) -> Floats:
    """How far the stage had lost its way at each field, (n, 2) in um along the picture's axes.

    Fields follow each other on the walk: where one lies far from where the stage says, seen from the one
    before, steps were lost, until a jump back undoes it.
    """
    way = (places - told) / px_per_um
    jumps = np.diff(way, axis=0, prepend=way[:1])
    known = np.array(is_registered)
    jumps[~(known & np.roll(known, 1))] = 0.0
    jumps[np.hypot(*jumps.T) < LOST_UM] = 0.0
    lost = np.cumsum(jumps, axis=0)
    lost[np.hypot(*lost.T) < LOST_UM] = 0.0
    return np.asarray(lost, np.float64)


def _scale(places: Floats, fields_um: Floats, use: Bools, matrix: Floats) -> float:
    """Return pixels a micrometre as the whole slide tells; as the mapping does, where it is too small."""
    ways = fields_um[use] - fields_um[use].mean(axis=0) if use.any() else np.zeros((0, 2))
    if len(ways) < _LEAST_FOR_SCALE or np.linalg.matrix_rank(ways) < 2:
        return float(np.sqrt(abs(np.linalg.det(matrix))))
    found = np.linalg.lstsq(ways, places[use] - places[use].mean(axis=0), rcond=None)[0]
    return float(np.sqrt(abs(np.linalg.det(found))))
