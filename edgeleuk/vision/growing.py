"""Growing a nucleus to its whole cell, and refining the nucleus itself, in a window of its own.

The window's scale follows the field's, so that a cell of 50 and one of 500 pixels take the same path.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edgeleuk.frames import CYTOPLASM, NUCLEUS, Box, Cell
from edgeleuk.vision.morphology import (
    around,
    closed,
    components,
    count_labels,
    distance_from,
    filled,
    mask_of,
    of_labels,
    opened,
    within,
    without_specks,
)
from edgeleuk.vision.necks import border_sides, split_at_necks
from edgeleuk.vision.reducing import thinned
from edgeleuk.vision.stain import background_colour, optical_density, otsu

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import Mask, RgbImage
    from edgeleuk.vision.necks import Sides
    from edgeleuk.vision.stain import Floats

    Bools = npt.NDArray[np.bool_]
    Indices = npt.NDArray[np.intp]

_CYTOPLASM_REACH_UM = 6.0
_WINDOW_PX_PER_UM = 6.0
# Red cells are looked for where no cytoplasm can be, and are wider than most rims of cytoplasm.
_FAR_UM = 3.0
_LEARN_UM = 6.0
_RED_CELL_CORE_UM = 3.2
_MOST_LEARNT = 4000
# Red plus green density of the thinnest cytoplasm that can be told from the glass, and its least violet tint.
_LEAST_CELL_DENSITY = 0.14
_LEAST_VIOLET = 0.06
# Glass in one window, relative to the picture's: channels alike, none much darker.
_SHADING_TINT = 1.06
_LEAST_SHADING = 0.7
# What is so near to glass is taken for it, when the light's slope is measured, and at least this share of a
# window; lamps do not change more over the width of a few cells.
_GLASS_DENSITY = 0.06
_LEAST_GLASS = 0.15
_STEEPEST = 0.2
# A part of a cell that holds less of its nucleus is another's.
_LEAST_OF_NUCLEUS = 0.02
# About a cell, for what is done to its mask: further than any of it reaches.
_ROOM_UM = 1.5
# Cytoplasm has bays of its own, so that only a narrow neck tells that it is another's.
_NECK = 0.65


class RedCells(NamedTuple):
    """What the picture's red cells look like: blue's share of the density, and the density of all three."""

    share: float
    share_spread: float
    density: float
    density_spread: float


class Nucleus(NamedTuple):
    """One cell's nucleus, all lobes, in pixels of the reduced picture."""

    box: Box
    mask: Mask
    area: int


class CellGrower:
    """Grows and refines the cells of one picture, each in a window cut from the unreduced pixels."""

    def __init__(
        self,
        pixels: RgbImage,
        background: Floats,
        red_cells: RedCells | None,
        nuclei: list[Nucleus],
        factor: float,
        scale: float,
    ) -> None:
        self.pixels = pixels
        self.background = background
        self.red_cells = red_cells
        self.nuclei = nuclei
        self.factor = factor
        self.scale = scale

    def cell(self, nucleus: Nucleus) -> Cell | None:
        """Whole cell of one nucleus."""
        height, width = self.pixels.shape[:2]
        reach = (_CYTOPLASM_REACH_UM + 2) * self.scale
        left = max(0, int((nucleus.box.x - reach) * self.factor))
        top = max(0, int((nucleus.box.y - reach) * self.factor))
        right = min(width, math.ceil((nucleus.box.x + nucleus.box.w + reach) * self.factor))
        bottom = min(height, math.ceil((nucleus.box.y + nucleus.box.h + reach) * self.factor))
        window = Box(left, top, right - left, bottom - top)
        shrink = max(1.0, self.scale * self.factor / _WINDOW_PX_PER_UM)
        size = (max(1, round(window.w / shrink)), max(1, round(window.h / shrink)))
        small = self.pixels[window.slices]
        if shrink > 1:
            # In one step: halved first, cells come out larger by a third of a percent.
            small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.uint8)
        small = np.asarray(cv2.GaussianBlur(small, (3, 3), 0), np.uint8)
        scale = self.scale * self.factor / shrink

        seed = self._placed(nucleus, window, shrink, size)
        foreign = np.zeros_like(seed)
        for other in self.nuclei:
            if other is not nucleus and self._reaches(other, window):
                foreign |= self._placed(other, window, shrink, size)
        background = self._background_of(small)
        density = _levelled(optical_density(small, background))
        whole = _whole_cell(small, density, seed, foreign, self.red_cells, scale)
        whole = _without_cut_neighbours(whole, seed, scale, border_sides(window, (height, width)))
        # The cell fills a third of its window.
        place = around(whole, _ROOM_UM * scale)
        kernel = np.zeros_like(whole)
        kernel[place] = _nucleus_in(small[place], background, whole[place], seed[place], scale)
        return _as_cell(kernel, whole, window, (height, width))

    def nucleus_alone(self, nucleus: Nucleus) -> Cell | None:
        """Cell of which there is no more than the nucleus, in a hundredth of the time."""
        height, width = self.pixels.shape[:2]
        left, top = round(nucleus.box.x * self.factor), round(nucleus.box.y * self.factor)
        right = min(width, round((nucleus.box.x + nucleus.box.w) * self.factor))
        bottom = min(height, round((nucleus.box.y + nucleus.box.h) * self.factor))
        window = Box(left, top, max(1, right - left), max(1, bottom - top))
        return _as_cell(nucleus.mask, nucleus.mask, window, (height, width))

    def _background_of(self, small: RgbImage) -> Floats:
        """Colour of the glass about one cell: the lamp and the lens leave the corners darker."""
        local = background_colour(thinned(small, 2))
        change = local / self.background
        # Shading is neutral; what is not is a window without glass.
        if (
            change.max() > _SHADING_TINT * change.min()
            or not _LEAST_SHADING < change.min() < 1 / _LEAST_SHADING
        ):
            return self.background
        return local

    def _reaches(self, nucleus: Nucleus, window: Box) -> bool:
        """Whether a nucleus may be seen in a window: its cost must not grow with the cells of the field."""
        x, y, w, h = (side * self.factor for side in nucleus.box)
        across = x - self.factor < window.x + window.w and window.x < x + w + self.factor
        return across and y - self.factor < window.y + window.h and window.y < y + h + self.factor

    def _placed(self, nucleus: Nucleus, window: Box, shrink: float, size: tuple[int, int]) -> Mask:
        """Mask of a nucleus of the reduced picture, in a window of the unreduced one."""
        zoom = self.factor / shrink
        move = np.array(
            [
                [zoom, 0, (nucleus.box.x * self.factor - window.x) / shrink],
                [0, zoom, (nucleus.box.y * self.factor - window.y) / shrink],
            ]
        )
        return np.asarray(cv2.warpAffine(nucleus.mask, move, size, flags=cv2.INTER_NEAREST), np.uint8)


def _levelled(density: Floats) -> Floats:
    """Take the slope of the light off the densities of a window: that of its glass, where there is enough."""
    step = 4
    total = cv2.transform(thinned(density, step), np.full((1, 3), 1 / 3, np.float32))
    rows, columns = np.nonzero(np.abs(total) < _GLASS_DENSITY)
    if len(rows) < _LEAST_GLASS * total.size:
        return density
    plane = _plane_through(rows, columns, np.asarray(total[rows, columns], np.float32))
    if plane is None or abs(plane[1] * total.shape[0] + plane[2] * total.shape[1]) > _STEEPEST:
        return density
    height, width = density.shape[:2]
    slope = (
        plane[0]
        + plane[1] / step * np.arange(height, dtype=np.float32)[:, None]
        + plane[2] / step * np.arange(width, dtype=np.float32)
    )
    plane_of_each = cv2.merge([slope.astype(np.float32)] * 3)
    return np.asarray(cv2.subtract(density, plane_of_each), np.float32)


def _plane_through(rows: Indices, columns: Indices, values: Floats) -> npt.NDArray[np.float64] | None:
    """Least squares: (level at row and column 0, slope down, slope right); None if all lie on one line."""
    y, x, z = (np.asarray(part, np.float64) for part in (rows, columns, values))
    of_y, of_x, of_z = y.mean(), x.mean(), z.mean()
    y, x, z = y - of_y, x - of_x, z - of_z
    yy, xx, xy, yz, xz = ((a * b).sum() for a, b in ((y, y), (x, x), (x, y), (y, z), (x, z)))
    determinant = yy * xx - xy * xy
    if determinant <= 0:
        return None
    down, right = (yz * xx - xz * xy) / determinant, (xz * yy - yz * xy) / determinant
    return np.array([of_z - down * of_y - right * of_x, down, right])


def learn_red_cells(density: Floats, raw: Mask, scale: float) -> RedCells | None:
    """Learn the colour of red cells; None if there are too few."""
    total, share = _total_and_share(density)
    dense = total > 0.25
    count, found = cv2.connectedComponents(dense.astype(np.uint8))
    labels = np.asarray(found, np.int32)
    has_nucleus = np.bincount(labels[raw > 0], minlength=count) > 0
    # Red cells that touch no white cell are beyond doubt; next to one, only what no cytoplasm reaches.
    chosen = dense & ~of_labels(has_nucleus, labels)
    if np.count_nonzero(chosen) < 20 * scale**2:
        chosen = dense & (distance_from(raw) > _LEARN_UM * scale)
    if np.count_nonzero(chosen) < 20 * scale**2:
        return None
    # A few thousand pixels tell as much as all of them.
    every = 1 + np.count_nonzero(chosen) // _MOST_LEARNT
    totals, shares = total[chosen][::every], share[chosen][::every]
    middle, share_middle = float(np.median(totals)), float(np.median(shares))
    return RedCells(
        share=share_middle,
        share_spread=1.4826 * float(np.median(np.abs(shares - share_middle))) + 0.01,
        density=middle,
        density_spread=1.4826 * float(np.median(np.abs(totals - middle))) + 0.03,
    )


def is_stained(density: Floats) -> Bools:
    """Tell cells from glass: they are denser, or more violet, which uneven light does not imitate.

    Parameters
    ----------
    density : (H, W, 3) float32

    Returns
    -------
    (H, W) bool
    """
    # Two transforms to one plane each take a tenth of the time of one to two planes.
    dense = cv2.transform(density, np.array([[1, 1, 0]], np.float32))
    violet = cv2.transform(density, np.array([[0.5, 0.5, -1]], np.float32))
    return np.asarray((dense > _LEAST_CELL_DENSITY) | (violet > _LEAST_VIOLET))


def _total_and_share(density: Floats) -> tuple[Floats, Floats]:
    """Density of all channels, and blue's share of it: high in red cells, low in cytoplasm and nuclei."""
    total = np.asarray(cv2.transform(density, np.ones((1, 3), np.float32)), np.float32)
    # Taken out by a transform, for numpy divides slowly what does not lie side by side.
    blue = cv2.transform(density, np.array([[0, 0, 1]], np.float32))
    return total, np.asarray(blue / (np.maximum(total, 0) + np.float32(0.1)), np.float32)


def _whole_cell(
    small: RgbImage, density: Floats, nucleus: Mask, foreign: Mask, red_cells: RedCells | None, scale: float
) -> Mask:
    """Grow a nucleus over its cytoplasm: what is neither glass nor red cell nor nearer to another nucleus."""
    away = distance_from(nucleus)
    stained = is_stained(density)
    allowed = (away <= _CYTOPLASM_REACH_UM * scale) & (away <= distance_from(foreign))
    red = _red_in(small, density, stained, away, red_cells, scale)
    cell = filled(mask_of((stained & allowed & ~red) | (nucleus > 0)))
    cell &= mask_of(~red | (nucleus > 0))
    place = around(cell, _ROOM_UM * scale)
    cell[place] = opened(cell[place], 2.0 * scale)
    cell |= nucleus
    count, found = cv2.connectedComponents(cell)
    labels = np.asarray(found, np.int32)
    own = count_labels(labels, count, nucleus > 0) > 0
    own[0] = False
    cell = mask_of(of_labels(own, labels))
    place = around(cell, _ROOM_UM * scale)
    cell[place] = filled(closed(cell[place], 1.6 * scale))
    return cell


def _without_cut_neighbours(whole: Mask, nucleus: Mask, scale: float, cut: Sides) -> Mask:
    """Take off cytoplasm of others whose nuclei the picture's border hides: a neck parts it."""
    edges = (whole[0], whole[-1], whole[:, 0], whole[:, -1])
    sides = tuple(side and bool(edge.any()) for side, edge in zip(cut, edges, strict=True))
    if not any(sides):
        return whole
    nearest = split_at_necks(whole, scale, (sides[0], sides[1], sides[2], sides[3]), _NECK)
    if nearest is None:
        return whole
    of_nucleus = np.bincount(nearest[nucleus > 0], minlength=int(nearest.max()) + 1)
    own = of_nucleus > _LEAST_OF_NUCLEUS * of_nucleus.sum()
    return np.where(own[nearest], whole, np.uint8(0)) | nucleus


def _red_in(
    small: RgbImage, density: Floats, stained: Bools, away: Floats, red_cells: RedCells | None, scale: float
) -> Bools:
    """Red cells of a window: flooded from their cores against the cell's, so that they meet at the edge."""
    if red_cells is None:
        return np.zeros(stained.shape, bool)
    total, share = _total_and_share(density)
    alike = (
        stained
        & (away > 0)
        & (share > red_cells.share - 2.0 * red_cells.share_spread)
        & (total < red_cells.density + 2.5 * red_cells.density_spread)
    )
    # Rims of cytoplasm may have the colour of red cells, but are narrower.
    labels, sizes = components(opened(alike.view(np.uint8), _RED_CELL_CORE_UM * scale))
    outside = count_labels(labels, len(sizes), away > _FAR_UM * scale)
    is_red = outside > 0.4 * sizes
    is_red[0] = False
    red = of_labels(is_red, labels)
    if not red.any():
        return red
    markers = np.zeros(stained.shape, np.int32)
    markers[~stained] = 1
    markers[red & (away > 1.0 * scale)] = 2
    markers[(away < 1.0 * scale) & stained & ~red] = 3
    markers[away == 0] = 3
    flooded: Bools = cv2.watershed(small, markers) == 2
    return flooded


def _nucleus_in(small: RgbImage, background: Floats, whole: Mask, seed: Mask, scale: float) -> Mask:
    """Refine a nucleus in its cell, by a threshold of its own on green, which nuclei absorb, against blue."""
    weights = np.array([[0, -1 / background[1], 0.5 / background[2]]], np.float32)
    darkness = cv2.transform(small.astype(np.float32), weights)
    ring = darkness[within(whole, scale)]
    low, high = (float(v) for v in np.percentile(ring, [0.5, 99.5]))
    threshold = otsu(np.clip(ring, low, high), 3)[1]
    mask = mask_of((darkness > threshold) & (whole > 0))
    mask = without_specks(opened(mask, 0.6 * scale), scale)
    # A cell with hardly any cytoplasm offers three classes inside its nucleus: then the first finding stands.
    if np.count_nonzero(mask) < 0.6 * np.count_nonzero(seed):
        return without_specks(seed, scale)
    return mask


def _as_cell(nucleus: Mask, whole: Mask, window: Box, shape: tuple[int, int]) -> Cell | None:
    """Bring the masks of a window back to the picture's pixels; only the part where there is a cell."""
    both = np.asarray(cv2.bitwise_or(whole, nucleus), np.uint8)
    x, y, w, h = cv2.boundingRect(both)
    across, down = window.w / whole.shape[1], window.h / whole.shape[0]
    left, top = max(0, math.floor((x - 1) * across)), max(0, math.floor((y - 1) * down))
    right = min(window.w, math.ceil((x + w + 1) * across))
    bottom = min(window.h, math.ceil((y + h + 1) * down))
    # Pixels are squares: their centres lie half a pixel from their corners.
    back = np.array([
        [1 / across, 0, (left + 0.5) / across - 0.5],
        [0, 1 / down, (top + 0.5) / down - 0.5],
    ])  # fmt: skip

    def enlarged(mask: Mask) -> Mask:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (right - left, bottom - top)
        levels = cv2.warpAffine(mask, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.threshold(levels, 127, 255, cv2.THRESH_BINARY)[1], np.uint8)

    inside, kernel = enlarged(both), enlarged(nucleus)
    x, y, w, h = cv2.boundingRect(inside)
    if w == 0:
        return None
    inside, kernel = inside[y : y + h, x : x + w], kernel[y : y + h, x : x + w]
    # 0 and 255 both, of which the levels of nucleus and cytoplasm are bits.
    mask = (inside & np.uint8(CYTOPLASM)) | (kernel & np.uint8(NUCLEUS))
    box = Box(window.x + left + x, window.y + top + y, w, h)
    touches = box.x == 0 or box.y == 0 or box.x + box.w == shape[1] or box.y + box.h == shape[0]
    return Cell(box=box, mask=mask, touches_border=touches)
