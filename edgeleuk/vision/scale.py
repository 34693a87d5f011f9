"""How many pixels are a micrometre: read off the red cells, which are nature's ruler."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edgeleuk.frames import require_rgb
from edgeleuk.vision.morphology import distance_from, mask_of
from edgeleuk.vision.reducing import reduced
from edgeleuk.vision.stain import background_colour, nuclear_density, optical_density, otsu

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from edgeleuk.frames import Mask, RgbImage
    from edgeleuk.vision.stain import Floats

RED_CELL_UM = 7.5
# Mean diameters of healthy people's red cells on a smear lie between 7.2 and 7.8 um: a uniform spread.
_RED_CELL_RELATIVE_STD = 0.3 / RED_CELL_UM / 3**0.5
# Scales of microscope cameras that this is made for; what lies outside was not read off red cells.
LEAST_PX_PER_UM, MOST_PX_PER_UM = 3.0, 40.0
_LONGEST_SIDE = 320
_FEWEST = 4
_SMALLEST_RADIUS = 5.0
_LEAST_ARC = 0.5
_MOST_VOTES = 2000
# Smaller circles, in pixels of the reduced picture, are measured badly, or are clumps of smaller cells.
_LEAST_DIAMETER = 15.0
# Shares of the red cells' outlines that the circles explain. On drawn fields: 0.65 to 0.88 where the
# reduction is right, 0.07 to 0.47 where only clumps are seen. On crowded smears: 0.15 to 0.4.
_LEAST_EXPLAINED = 0.15
_WELL_EXPLAINED = 0.5
# Circles that may be relied upon, unless they explain twice the least.
_ENOUGH = 6
_PLENTY = 12
# Circles so wide are no clumps of cells too small to be seen.
_WIDE_DIAMETER = 30.0
_MOST_RELATIVE_STD = 0.05
# Two reductions that both explain something and differ by more contradict each other.
_CONTRADICTION = 0.15
_MOST_WINDOWS = 3
# The outline of a cell that fades toward its edge is found a little inside it: measured on drawn fields.
_OUTLINE_INSIDE = 1.02
# Points of an outline: so many pixels from a nucleus they are its own; so close to a circle, relative to its
# radius, they lie on it.
_NEAR_NUCLEUS = 3.0
_ON_CIRCLE = 0.15
# The outline of a cell is looked for within so many times the radius of its votes.
_MOST_RADIUS = 1.3
# Votes fall together within a quarter of the radius.
_RADIUS_STEP = 1.15


@dataclass(frozen=True, slots=True)
class ScaleEstimate:
    """Scale of a field, from its red cells.

    Attributes
    ----------
    px_per_um : float
    std_px_per_um : float
        Standard deviation: the spread of the cells found, and the spread of mean red cell size among people.
    red_cells : int
        How many were measured.
    """

    px_per_um: float
    std_px_per_um: float
    red_cells: int


class _Window(NamedTuple):
    """Circles found in a part of a picture.

    Attributes
    ----------
    diameters : (n,) float32
    on : (n, m) bool
        Which of the outline's points lie on which circle.
    free : (m,) bool
        Points of the outline that are no part of a white cell.
    """

    diameters: Floats
    on: npt.NDArray[np.bool_]
    free: npt.NDArray[np.bool_]


class _Measured(NamedTuple):
    """Circles of about one size, at one reduction."""

    diameter: float
    relative_std: float
    circles: int
    explained: float
    factor: float

    @property
    def px_per_um(self) -> float:
        return _OUTLINE_INSIDE * self.diameter * self.factor / RED_CELL_UM

    @property
    def weight(self) -> float:
        """How much speaks for it."""
        return self.explained * self.circles / (self.circles + _FEWEST)

    @property
    def is_reliable(self) -> bool:
        """Whether these are red cells, seen well enough to be measured."""
        enough = _ENOUGH if self.explained < 2 * _LEAST_EXPLAINED else _FEWEST
        return (
            self.diameter >= _LEAST_DIAMETER
            and self.circles >= enough
            and self.explained >= _LEAST_EXPLAINED
            and self.relative_std <= _MOST_RELATIVE_STD
        )

    @property
    def is_certain(self) -> bool:
        """Whether a closer look could not tell otherwise."""
        if not self.is_reliable:
            return False
        seen = self.circles >= _PLENTY and self.explained >= _WELL_EXPLAINED
        wide = self.circles >= _ENOUGH and self.diameter >= _WIDE_DIAMETER
        return seen or wide

    def estimate(self) -> ScaleEstimate:
        std = self.px_per_um * float(np.hypot(self.relative_std, _RED_CELL_RELATIVE_STD))
        return ScaleEstimate(self.px_per_um, std, self.circles)


def is_plausible(px_per_um: float) -> bool:
    """Whether a microscope's camera may have this scale."""
    return LEAST_PX_PER_UM <= px_per_um <= MOST_PX_PER_UM


def estimate_px_per_um(pixels: RgbImage) -> ScaleEstimate | None:
    """Estimate the scale of a smear field from the diameter of its red cells: `measure_scale`, if plausible.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB

    Returns
    -------
    ScaleEstimate or None
        None when `measure_scale` finds none, or one outside 3 to 40 px/um.
    """
    found = measure_scale(pixels)
    return found if found is not None and is_plausible(found.px_per_um) else None


def measure_scale(pixels: RgbImage) -> ScaleEstimate | None:
    """Measure what seem to be red cells, whether or not the scale that follows is plausible.

    Circles are looked for in the whole picture, much reduced, then in the middle of it, half as much reduced,
    and so on: the reduction at which circles of one size explain most of the outlines shows the red cells.
    A red cell is taken to be 7.5 um across.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB

    Returns
    -------
    ScaleEstimate or None
        None when too few red cells could be measured, or they disagree on the scale.
    """
    require_rgb(pixels)
    measured: list[_Measured] = []
    for factor in _factors(max(pixels.shape[:2])):
        found = _at_reduction(pixels, factor)
        if found is not None:
            measured.append(found)
            if found.is_certain:
                return found.estimate()
    reliable = [found for found in measured if found.is_reliable]
    if not reliable:
        # What may be too small to be red cells shows that the scale is.
        best = max(measured, key=lambda found: found.weight, default=None)
        return None if best is None or is_plausible(best.px_per_um) else best.estimate()
    best = max(reliable, key=lambda found: found.weight)
    for other in reliable:
        differs = abs(float(np.log(other.px_per_um / best.px_per_um))) > _CONTRADICTION
        if differs and other.weight > 0.6 * best.weight:
            return None
    return best.estimate()


def _factors(longest: int) -> Iterator[float]:
    """Reductions to look at a picture with, the greatest first."""
    factor = max(1.0, longest / _LONGEST_SIDE)
    while factor > 1:
        yield factor
        factor = max(1.0, factor / 2) if factor > 1.25 else 1.0
    yield 1.0


def _at_reduction(pixels: RgbImage, factor: float) -> _Measured | None:
    """Measure the circles in the middle of a picture; in more of it where these are few."""
    height, width = pixels.shape[:2]
    share = min(1.0, _LONGEST_SIDE * factor / max(height, width))
    high, wide = round(share * height), round(share * width)
    windows: list[_Window] = []
    measured = None
    for x, y in ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0))[: 1 if share > 0.5 else _MOST_WINDOWS]:
        top, left = round(y * (height - high)), round(x * (width - wide))
        part = pixels[top : top + high, left : left + wide]
        size = (max(1, round(wide / factor)), max(1, round(high / factor)))
        small = reduced(np.ascontiguousarray(part), size)
        density = optical_density(small, background_colour(small))
        windows.append(_circles(density))
        measured = _of_one_size(windows, factor, _FEWEST)
        if measured is not None and measured.circles >= _PLENTY:
            break
    return measured


def scale_from_density(
    density: Floats, factor: float, *, fewest: int = _FEWEST, longest_side: int = _LONGEST_SIDE
) -> ScaleEstimate | None:
    """Take a quick look at one reduction alone, for a caller who has the densities already.

    Parameters
    ----------
    density : (H, W, 3) float32
        Optical density of a picture that was reduced `factor` times.
    factor : float
        1 or more; the answer is in pixels of the picture before it was reduced.
    fewest : int, optional
        Red cells that are enough.
    longest_side : int, optional
        The picture is reduced to this many pixels: fewer are faster, more are finer.

    Returns
    -------
    ScaleEstimate or None
    """
    longest = max(density.shape[:2])
    if longest > longest_side:
        shrink = longest / longest_side
        size = (max(1, round(density.shape[1] / shrink)), max(1, round(density.shape[0] / shrink)))
        density = np.asarray(cv2.resize(density, size, interpolation=cv2.INTER_AREA), np.float32)
        factor *= shrink
    measured = _of_one_size([_circles(density)], factor, fewest)
    if measured is None:
        return None
    # What segmentation goes by was set with outlines as they are found.
    return replace(measured.estimate(), px_per_um=measured.px_per_um / _OUTLINE_INSIDE)


def _circles(density: Floats) -> _Window:
    """Look for red cells at one reduction."""
    nuclear = nuclear_density(density)
    nucleus = mask_of(nuclear > max(0.5, otsu(nuclear, 3)[1]))
    return _outlined(_red_cell_mask(density, nucleus), nucleus)


def _of_one_size(windows: list[_Window], factor: float, fewest: int) -> _Measured | None:
    """Pick the circles that are red cells."""
    diameters = np.concatenate([window.diameters for window in windows])
    if len(diameters) < fewest:
        return None
    # Platelets and fragments are many but small, clumps few but large: weigh by area to find the red cells.
    order = np.sort(diameters)
    heaviest = order[int(np.searchsorted(np.cumsum(order**3), 0.5 * float(np.sum(order**3))))]
    low, high = 0.75 * heaviest, 1.3 * heaviest
    kept = order[(order > low) & (order < high)]
    if len(kept) < fewest:
        return None
    diameter = float(np.median(kept))
    spread = 1.4826 * float(np.median(np.abs(kept - diameter)))
    explained = sum(
        np.count_nonzero(w.on[(w.diameters > low) & (w.diameters < high)].any(axis=0) & w.free)
        for w in windows
    )
    outline = sum(np.count_nonzero(window.free) for window in windows)
    std = spread / diameter / len(kept) ** 0.5
    return _Measured(diameter, std, len(kept), explained / max(1, outline), factor)


def _red_cell_mask(density: Floats, nucleus: Mask) -> Mask:
    """255 where neither glass nor white cell nor platelet is."""
    green = density[..., 1]
    reach = 2 * (max(density.shape[:2]) // 40) + 1
    near_nucleus = cv2.dilate(nucleus, np.ones((reach, reach), np.uint8)) > 0
    outside = green[~near_nucleus]
    if outside.size < 100:
        return np.zeros(green.shape, np.uint8)
    threshold = max(0.06, otsu(np.minimum(outside, 0.8).astype(np.float32), 2)[0])
    mask = mask_of((green > threshold) & (nucleus == 0))
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)


def _outlined(mask: Mask, nucleus: Mask) -> _Window:
    """Find circles on the mask's outline.

    A Hough transform in which each outline pixel votes only along its normal, into the mask: the rims of
    central pallors point away from each other and do not add up; cells in clumps count by their free arc.
    """
    from_nucleus = distance_from(nucleus)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=255)
    rows, columns = np.nonzero(mask != inner)
    if len(rows) == 0:
        return _Window(np.zeros(0, np.float32), np.zeros((0, 0), np.bool_), np.zeros(0, np.bool_))
    # Some hundred votes a cell are plenty.
    weight = max(1, len(rows) // _MOST_VOTES)
    rows, columns = rows[::weight], columns[::weight]
    smooth = cv2.GaussianBlur(mask, (0, 0), 1.5)
    slope_x, slope_y = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    normals = np.stack([slope_x[rows, columns], slope_y[rows, columns]]).astype(np.float32)
    normals /= np.maximum(np.hypot(normals[0], normals[1]), np.float32(1e-6))
    points = np.stack([columns, rows]).astype(np.float32)
    circles = [np.empty((0, 4))]
    radius = _SMALLEST_RADIUS
    while radius < 0.25 * min(mask.shape):
        circles.append(_votes(points + np.float32(radius) * normals, radius, weight, from_nucleus))
        radius *= _RADIUS_STEP
    kept = _apart(np.concatenate(circles))
    free = from_nucleus[rows, columns] > _NEAR_NUCLEUS
    found = [_circle_about(x, y, r, points, normals) for r, x, y in kept]
    on = np.array([on for _, on in found]).reshape(-1, len(rows))
    return _Window(np.array([2 * radius for radius, _ in found], np.float32), on, free)


def _apart(circles: npt.NDArray[np.float64]) -> list[tuple[float, float, float]]:
    """Keep of circles that lie over each other the one with most votes: (radius, x, y), best first."""
    _, radius, x, y = circles[np.lexsort(circles.T[::-1])[::-1]].T
    left = np.arange(len(radius))
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append((float(radius[best]), float(x[best]), float(y[best])))
        reach = 0.7 * np.maximum(radius[left], radius[best])
        left = left[(x[left] - x[best]) ** 2 + (y[left] - y[best]) ** 2 > reach**2]
    return kept


def _votes(centres: Floats, radius: float, weight: int, from_nucleus: Floats) -> npt.NDArray[np.float64]:
    """Peaks of the votes for centres at one radius, (n, 4): share of the full circle, radius, x, y."""
    height, width = from_nucleus.shape
    step = max(1.0, radius / 6)
    rows, columns = int(height / step) + 1, int(width / step) + 1
    xs, ys = centres
    inside = (xs >= 0) & (ys >= 0) & (xs < width) & (ys < height)
    cells = (ys[inside] / step).astype(np.intp) * columns + (xs[inside] / step).astype(np.intp)
    single = np.bincount(cells, minlength=rows * columns).reshape(rows, columns).astype(np.uint16)
    votes = cv2.boxFilter(single, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    full = 2 * np.pi * radius / weight
    least = math.ceil(_LEAST_ARC * full)
    # Most radii are of no cell.
    if int(votes.max()) < least:
        return np.empty((0, 4))
    peaks = votes >= np.maximum(cv2.dilate(votes, np.ones((5, 5), np.uint8)), np.uint16(least))
    # In one axis, which takes a quarter of the time.
    at = np.divmod(np.flatnonzero(peaks), columns)
    x, y = np.minimum((at[1] + 0.5) * step, width - 1.0), np.minimum((at[0] + 0.5) * step, height - 1.0)
    found = np.stack([votes[at].astype(np.float64) / full, np.full(len(x), radius), x, y], axis=1)
    # A circle about a nucleus is a white cell.
    return np.asarray(found[from_nucleus[y.astype(np.intp), x.astype(np.intp)] > 0.8 * radius])


def _circle_about(
    x: float, y: float, radius: float, points: Floats, normals: Floats
) -> tuple[float, npt.NDArray[np.bool_]]:
    """Median distance of the outline that faces a centre, in pixels, and which of its points lie there."""
    # The points lie row by row: those further off are not near the circle, whatever its radius becomes.
    reach = _MOST_RADIUS * (1 + _ON_CIRCLE) * radius + 2
    rows = slice(*np.searchsorted(points[1], (y - reach, y + reach)))
    toward = np.array([[x], [y]], np.float32) - points[:, rows]
    distance = np.hypot(toward[0], toward[1])
    facing = (toward * normals[:, rows]).sum(axis=0) > 0.85 * distance
    near = facing & (distance > 0.7 * radius) & (distance < _MOST_RADIUS * radius)
    if near.any():
        # numpy.median takes 100 us for its checks.
        ordered = np.sort(distance[near])
        # The outline runs through pixels of the cell: its edge is half a pixel further out.
        radius = float(ordered[len(ordered) // 2]) + 0.5
    on = np.zeros(points.shape[1], np.bool_)
    on[rows] = facing & (np.abs(distance - radius + 0.5) < _ON_CIRCLE * radius + 0.5)
    return radius, on
