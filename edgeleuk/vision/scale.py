"""How many pixels are a micrometre: read off the red cells, which are nature's ruler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import require_rgb
from edgeleuk.vision.morphology import distance_from
from edgeleuk.vision.stain import background_colour, nuclear_density, optical_density, otsu

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import Mask, RgbImage
    from edgeleuk.vision.stain import Floats

RED_CELL_UM = 7.5
# Mean diameters of healthy people's red cells on a smear lie between 7.2 and 7.8 um: a uniform spread.
_RED_CELL_RELATIVE_STD = 0.3 / RED_CELL_UM / 3**0.5
_LONGEST_SIDE = 320
_FEWEST = 4
_SMALLEST_RADIUS = 5.0
_LEAST_ARC = 0.5
_MOST_VOTES = 2000
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


def estimate_px_per_um(pixels: RgbImage) -> ScaleEstimate | None:
    """Estimate the scale of a smear field from the diameter of its red cells.

    Whole red cells that lie alone are measured by their area; in crowded fields the widest inscribed circles
    inside clumps are measured as well. A red cell is taken to be 7.5 um across.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB

    Returns
    -------
    ScaleEstimate or None
        None when fewer than four red cells could be measured, or they disagree on the scale.
    """
    require_rgb(pixels)
    factor = max(1.0, max(pixels.shape[:2]) / _LONGEST_SIDE)
    small = pixels
    if factor > 1:
        size = (max(1, round(pixels.shape[1] / factor)), max(1, round(pixels.shape[0] / factor)))
        small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return scale_from_density(optical_density(small, background_colour(small)), factor)


def scale_from_density(
    density: Floats, factor: float, *, fewest: int = _FEWEST, longest_side: int = _LONGEST_SIDE
) -> ScaleEstimate | None:
    """Do the work of `estimate_px_per_um` for a caller who has the densities already.

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
    nuclear = nuclear_density(density)
    nucleus = np.where(nuclear > max(0.5, otsu(nuclear, 3)[1]), np.uint8(255), np.uint8(0))
    diameters = _red_cell_diameters(_red_cell_mask(density, nucleus), nucleus)
    if len(diameters) < fewest:
        return None
    # Platelets and fragments are many but small, clumps few but large: weigh by area to find the red cells.
    order = np.sort(diameters)
    heaviest = order[int(np.searchsorted(np.cumsum(order**3), 0.5 * float(np.sum(order**3))))]
    kept = order[(order > 0.75 * heaviest) & (order < 1.3 * heaviest)]
    if len(kept) < fewest:
        return None
    diameter = float(np.median(kept))
    spread = 1.4826 * float(np.median(np.abs(kept - diameter)))
    scale = diameter * factor / RED_CELL_UM
    std = scale * float(np.hypot(spread / diameter / len(kept) ** 0.5, _RED_CELL_RELATIVE_STD))
    return ScaleEstimate(px_per_um=scale, std_px_per_um=std, red_cells=len(kept))


def _red_cell_mask(density: Floats, nucleus: Mask) -> Mask:
    """255 where neither glass nor white cell nor platelet is."""
    green = density[..., 1]
    reach = 2 * (max(density.shape[:2]) // 40) + 1
    near_nucleus = cv2.dilate(nucleus, np.ones((reach, reach), np.uint8)) > 0
    outside = green[~near_nucleus]
    if outside.size < 100:
        return np.zeros(green.shape, np.uint8)
    threshold = max(0.06, otsu(np.minimum(outside, 0.8).astype(np.float32), 2)[0])
    mask = np.where((green > threshold) & (nucleus == 0), np.uint8(255), np.uint8(0))
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)


def _red_cell_diameters(mask: Mask, nucleus: Mask) -> Floats:
    """Diameters in pixels of circles on the mask's outline, (n,) float32.

    A Hough transform in which each outline pixel votes only along its normal, into the mask: the rims of
    central pallors point away from each other and do not add up; cells in clumps count by their free arc.
    """
    from_nucleus = distance_from(nucleus)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=255)
    rows, columns = np.nonzero(mask != inner)
    if len(rows) == 0:
        return np.zeros(0, np.float32)
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
    return np.array([2 * _radius_about(x, y, r, points, normals) for r, x, y in kept], np.float32)


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
    single = np.bincount(cells, minlength=rows * columns).reshape(rows, columns).astype(np.float32)
    votes = cv2.boxFilter(single, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    full = 2 * np.pi * radius / weight
    peaks = votes >= np.maximum(cv2.dilate(votes, np.ones((5, 5), np.uint8)), _LEAST_ARC * full)
    at = np.nonzero(peaks)
    x, y = np.minimum((at[1] + 0.5) * step, width - 1.0), np.minimum((at[0] + 0.5) * step, height - 1.0)
    found = np.stack([votes[at].astype(np.float64) / full, np.full(len(x), radius), x, y], axis=1)
    # A circle about a nucleus is a white cell.
    return np.asarray(found[from_nucleus[y.astype(np.intp), x.astype(np.intp)] > 0.8 * radius])


def _radius_about(x: float, y: float, radius: float, points: Floats, normals: Floats) -> float:
    """Median distance of the outline that faces a centre, in pixels."""
    toward = np.array([[x], [y]], np.float32) - points
    distance = np.hypot(toward[0], toward[1])
    facing = (toward * normals).sum(axis=0) > 0.85 * distance
    facing &= (distance > 0.7 * radius) & (distance < 1.3 * radius)
    # The outline runs through pixels of the cell: its edge is half a pixel further out.
    if not facing.any():
        return radius
    # numpy.median takes 100 us for its checks.
    ordered = np.sort(distance[facing])
    return float(ordered[len(ordered) // 2]) + 0.5
