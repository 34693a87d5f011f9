"""Finding white cells in a stained smear, nucleus and cytoplasm, without learning.

Nuclei are found in a reduced picture by their optical density, joined into cells and refined, each in a window of
its own whose scale follows the size of the nucleus; so a 120 pixel crop and a 5 megapixel field take the same path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edgeleuk.frames import BACKGROUND, CYTOPLASM, NUCLEUS, Box, Cell, require_rgb
from edgeleuk.vision.scale import scale_from_density
from edgeleuk.vision.stain import background_colour, nuclear_density, optical_density, otsu

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from edgeleuk.frames import Mask, RgbImage
    from edgeleuk.vision.stain import Floats

    Bools = npt.NDArray[np.bool_]
    Labels = npt.NDArray[np.int32]

# Sizes in micrometres, of cells on smears: platelets are 2-3 across, the smallest lymphocyte's nucleus 6,
# megaloblasts and monocytes reach 20.
_LEAST_NUCLEUS_UM2 = 14.0
_LEAST_NUCLEUS_AT_BORDER_UM2 = 10.0
_TYPICAL_NUCLEUS_UM = 8.0
_TYPICAL_CELL_UM = 14.0
_LOBE_GAP_UM = 3.5
_WIDEST_NUCLEUS_UM = 20.0
_LARGEST_NUCLEUS_UM2 = 180.0
_CYTOPLASM_REACH_UM = 6.0
_WINDOW_PX_PER_UM = 7.0
_SCALE_SIDE = 200
# Red cells are looked for where no cytoplasm can be, and are wider than most rims of cytoplasm.
_FAR_UM = 3.0
_LEARN_UM = 6.0
_RED_CELL_CORE_UM = 3.2
# Red plus green density of the thinnest cytoplasm that can be told from the glass.
_LEAST_CELL_DENSITY = 0.14
_LEAST_VIOLET = 0.06


class _RedCells(NamedTuple):
    """What the picture's red cells look like: blue's share of the density, and the density of all three."""

    share: float
    share_spread: float
    density: float
    density_spread: float


class _Nucleus(NamedTuple):
    """One cell's nucleus, all lobes, in pixels of the reduced picture."""

    box: Box
    mask: Mask
    area: int


def segment(pixels: RgbImage, *, px_per_um: float | None = None) -> list[Cell]:
    """Find every white cell of a field, or the one that fills a crop.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    px_per_um : float, optional
        Scale of the picture; estimated from its red cells, else from its largest nucleus, when not given.

    Returns
    -------
    list of Cell
        In reading order: by rows of the height of a cell, then from left to right. Empty without white cells.
    """
    require_rgb(pixels)
    if px_per_um is not None and not px_per_um > 0:
        msg = f"expected px_per_um above 0, got {px_per_um}"
        raise ValueError(msg)
    small, factor = _reduced(pixels)
    background = background_colour(small)
    density = optical_density(small, background)
    nuclear = nuclear_density(density)
    threshold = _nuclear_threshold(nuclear)
    raw = np.where(nuclear > threshold, np.uint8(255), np.uint8(0))
    stained = _stained(density)
    scale = px_per_um / factor if px_per_um is not None else _scale(density, raw, stained, reduced=factor > 1)
    nuclei = _nuclei(raw, stained, scale)
    if not nuclei:
        return []
    red_cells = _red_cells(density, raw, scale)
    finder = _Refiner(pixels, background, red_cells, nuclei, factor, scale)
    return _reading_order(cell for cell in map(finder.cell, nuclei) if cell is not None)


def nucleus_and_cell_mask(cells: Iterable[Cell], shape: tuple[int, int]) -> Mask:
    """Paint cells into one picture.

    Parameters
    ----------
    cells : iterable of Cell
    shape : (H, W)

    Returns
    -------
    (H, W) uint8
        255 nucleus, 128 cytoplasm, 0 rest. Where cells overlap the larger value stays.
    """
    painted = np.full(shape, BACKGROUND, np.uint8)
    for cell in cells:
        window = painted[cell.box.slices]
        np.maximum(window, cell.mask, out=window)
    return painted


def _reduced(pixels: RgbImage) -> tuple[RgbImage, float]:
    """Picture for finding, and how many times it was reduced."""
    longest = max(pixels.shape[:2])
    side = min(max(longest / 2, 320.0), 640.0)
    if longest <= side:
        return cv2.GaussianBlur(pixels, (3, 3), 0).astype(np.uint8, copy=False), 1.0
    factor = longest / side
    size = (max(1, round(pixels.shape[1] / factor)), max(1, round(pixels.shape[0] / factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8), factor


def _nuclear_threshold(nuclear: Floats) -> float:
    """Lower bound of a nucleus: between cytoplasm and nuclei, never so low that red cells pass."""
    return max(0.5, otsu(nuclear, 3)[1])


def _scale(density: Floats, raw: Mask, stained: Bools, *, reduced: bool) -> float:
    """Pixels per micrometre of the reduced picture."""
    # A crop shows few red cells, which deserve a closer look; in a field a quick one is enough.
    side = _SCALE_SIDE if reduced else max(density.shape)
    estimate = scale_from_density(density, 1.0, fewest=2, longest_side=side)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(raw)
    if count == 1:
        return 1.0 if estimate is None else estimate.px_per_um
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    areas[0] = 0
    largest = int(np.argmax(areas))
    # The lobes of one nucleus lie within half its width of each other.
    near = _distance_from((labels == largest).astype(np.uint8)) < (areas[largest] / np.pi) ** 0.5
    nucleus = 2 * (float(areas[np.unique(labels[near & (raw > 0)])].sum()) / np.pi) ** 0.5
    by_nucleus = max(1.0, nucleus / _TYPICAL_NUCLEUS_UM)
    if estimate is not None:
        # Circles much smaller than nuclei are specks; a few much larger ones may be anything.
        ratio = by_nucleus / estimate.px_per_um
        if ratio < 2.2 and (ratio > 1 / 2.2 or estimate.red_cells > 3):
            return estimate.px_per_um
    _, labels, stats, _ = cv2.connectedComponentsWithStats(np.where(stained, np.uint8(255), np.uint8(0)))
    whole = np.bincount(labels[raw > 0], minlength=len(stats))
    whole[0] = 0
    _, _, w, h, area = (float(v) for v in stats[int(np.argmax(whole))])
    # A cell that lies alone tells more than its nucleus, which may be lobed; a clump is not round.
    if area < 0.7 * w * h or max(w, h) > 1.25 * min(w, h):
        return by_nucleus
    return max(by_nucleus, 2 * (area / np.pi) ** 0.5 / _TYPICAL_CELL_UM)


def _disc(diameter: float) -> Mask:
    size = max(1, round(diameter)) | 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _filled(mask: Mask) -> Mask:
    """Fill the holes of a 0/255 mask."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), contours, -1, 255, cv2.FILLED), np.uint8)


def _nuclei(raw: Mask, stained: Bools, scale: float) -> list[_Nucleus]:
    """Nuclei of a reduced picture: lobes joined, touching cells parted, platelets left out."""
    cleaned = cv2.morphologyEx(raw, cv2.MORPH_OPEN, _disc(0.6 * scale))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cleaned)
    least = _LEAST_NUCLEUS_UM2 * scale**2
    lobes = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] > 0.15 * least]
    groups = _joined(labels, stats, stained, lobes, scale)
    found = []
    height, width = raw.shape
    for group in groups:
        x, y = (int(stats[group, i].min()) for i in (cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP))
        right = int((stats[group, cv2.CC_STAT_LEFT] + stats[group, cv2.CC_STAT_WIDTH]).max())
        bottom = int((stats[group, cv2.CC_STAT_TOP] + stats[group, cv2.CC_STAT_HEIGHT]).max())
        box = Box(x, y, right - x, bottom - y)
        mask = np.where(np.isin(labels[box.slices], group), np.uint8(255), np.uint8(0))
        area = int(np.count_nonzero(mask))
        at_border = x == 0 or y == 0 or right == width or bottom == height
        if area >= (_LEAST_NUCLEUS_AT_BORDER_UM2 * scale**2 if at_border else least):
            found.append(_Nucleus(box, mask, area))
    return found


def _joined(
    labels: Labels, stats: Labels, stained: Bools, lobes: list[int], scale: float
) -> list[list[int]]:
    """Groups of components that are lobes of one nucleus."""
    groups = [[i] for i in lobes]
    outlines = {}
    for i in lobes:
        x, y, w, h = (int(v) for v in stats[i, :4])
        part = np.where(labels[y : y + h, x : x + w] == i, np.uint8(255), np.uint8(0))
        found, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x, y))
        outlines[i] = np.concatenate(found)[:, 0]

    def one_nucleus(a: list[int], b: list[int]) -> bool:
        first, second = (np.concatenate([outlines[i] for i in group]) for group in (a, b))
        if stats[a + b, cv2.CC_STAT_AREA].sum() > _LARGEST_NUCLEUS_UM2 * scale**2:
            return False
        if np.hypot(*(first[::2, None] - second[None, ::2]).transpose(2, 0, 1)).min() > _LOBE_GAP_UM * scale:
            return False
        both = np.concatenate([first, second])
        if 2 * cv2.minEnclosingCircle(both)[1] > _WIDEST_NUCLEUS_UM * scale:
            return False
        # Two cells that touch leave a notch of glass between their nuclei; one cell's lobes lie in cytoplasm.
        x, y, w, h = cv2.boundingRect(both)
        hull = cv2.fillConvexPoly(np.zeros((h, w), np.uint8), cv2.convexHull(both) - (x, y), 1)
        between = (hull > 0) & ~np.isin(labels[y : y + h, x : x + w], a + b)
        return bool(stained[y : y + h, x : x + w][between].sum() >= 0.8 * between.sum())

    pairs = [(i, j) for i in range(len(groups)) for j in range(i)]
    while pairs:
        i, j = pairs.pop()
        if one_nucleus(groups[i], groups[j]):
            groups[j] += groups.pop(i)
            pairs = [(i, j) for i in range(len(groups)) for j in range(i)]
    return groups


def _red_cells(density: Floats, raw: Mask, scale: float) -> _RedCells | None:
    """Learn the colour of red cells; None if there are too few."""
    total, share = _total_and_share(density)
    dense = total > 0.25
    count, labels = cv2.connectedComponents(dense.astype(np.uint8))
    has_nucleus = np.bincount(labels[raw > 0], minlength=count) > 0
    # Red cells that touch no white cell are beyond doubt; next to one, only what no cytoplasm reaches.
    chosen = dense & ~has_nucleus[labels]
    if np.count_nonzero(chosen) < 20 * scale**2:
        chosen = dense & (_distance_from(raw) > _LEARN_UM * scale)
    if np.count_nonzero(chosen) < 20 * scale**2:
        return None
    totals, shares = total[chosen], share[chosen]
    middle, share_middle = float(np.median(totals)), float(np.median(shares))
    return _RedCells(
        share=share_middle,
        share_spread=1.4826 * float(np.median(np.abs(shares - share_middle))) + 0.01,
        density=middle,
        density_spread=1.4826 * float(np.median(np.abs(totals - middle))) + 0.03,
    )


def _total_and_share(density: Floats) -> tuple[Floats, Floats]:
    """Density of all channels, and blue's share of it: high in red cells, low in cytoplasm and nuclei."""
    total = cv2.transform(density, np.ones((1, 3), np.float32))
    return total, density[..., 2] / (np.maximum(total, 0) + np.float32(0.1))


def _stained(density: Floats) -> Bools:
    """What is not glass: denser, or more violet, which uneven light does not imitate."""
    weights = np.array([[1, 1, 0], [0.5, 0.5, -1]], np.float32)
    dense, violet = cv2.split(cv2.transform(density, weights))
    return np.asarray((dense > _LEAST_CELL_DENSITY) | (violet > _LEAST_VIOLET))


def _distance_from(mask: Mask) -> Floats:
    """Distance in pixels of each pixel from the nearest set one."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(np.where(mask, np.uint8(0), np.uint8(1)), cv2.DIST_L2, 3), np.float32)


def _opened(mask: Mask, diameter: float) -> Mask:
    """Open by a disc, whose cost does not grow with its size; what lies beyond the border counts as set."""
    core = cv2.distanceTransform(mask, cv2.DIST_L2, 3) > diameter / 2
    return np.where(_distance_from(core.astype(np.uint8)) < diameter / 2, mask, np.uint8(0))


def _closed(mask: Mask, diameter: float) -> Mask:
    """Close by a disc."""
    grown = (_distance_from(mask) <= diameter / 2).astype(np.uint8)
    return np.where(cv2.distanceTransform(grown, cv2.DIST_L2, 3) > diameter / 2, np.uint8(255), mask)


class _Refiner:
    """Grows and refines the cells of one picture, each in a window cut from the unreduced pixels."""

    def __init__(
        self,
        pixels: RgbImage,
        background: Floats,
        red_cells: _RedCells | None,
        nuclei: list[_Nucleus],
        factor: float,
        scale: float,
    ) -> None:
        self.pixels = pixels
        self.background = background
        self.red_cells = red_cells
        self.nuclei = nuclei
        self.factor = factor
        self.scale = scale

    def cell(self, nucleus: _Nucleus) -> Cell | None:
        """Whole cell of one nucleus."""
        height, width = self.pixels.shape[:2]
        reach = (_CYTOPLASM_REACH_UM + 2) * self.scale
        left = max(0, int((nucleus.box.x - reach) * self.factor))
        top = max(0, int((nucleus.box.y - reach) * self.factor))
        right = min(width, int(np.ceil((nucleus.box.x + nucleus.box.w + reach) * self.factor)))
        bottom = min(height, int(np.ceil((nucleus.box.y + nucleus.box.h + reach) * self.factor)))
        window = Box(left, top, right - left, bottom - top)
        shrink = max(1.0, self.scale * self.factor / _WINDOW_PX_PER_UM)
        size = (max(1, round(window.w / shrink)), max(1, round(window.h / shrink)))
        small = self.pixels[window.slices]
        if shrink > 1:
            small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.uint8)
        small = np.asarray(cv2.GaussianBlur(small, (3, 3), 0), np.uint8)
        scale = self.scale * self.factor / shrink

        seed = self._placed(nucleus, window, shrink, size)
        foreign = np.zeros_like(seed)
        for other in self.nuclei:
            if other is not nucleus:
                foreign |= self._placed(other, window, shrink, size)
        whole = _whole_cell(small, optical_density(small, self.background), seed, foreign, self.red_cells, scale)
        kernel = _nucleus_in(small, self.background, whole, seed, scale)
        return _as_cell(kernel, whole, window, (height, width))

    def _placed(self, nucleus: _Nucleus, window: Box, shrink: float, size: tuple[int, int]) -> Mask:
        """Mask of a nucleus of the reduced picture, in a window of the unreduced one."""
        zoom = self.factor / shrink
        move = np.array(
            [
                [zoom, 0, (nucleus.box.x * self.factor - window.x) / shrink],
                [0, zoom, (nucleus.box.y * self.factor - window.y) / shrink],
            ]
        )
        return np.asarray(cv2.warpAffine(nucleus.mask, move, size, flags=cv2.INTER_NEAREST), np.uint8)


def _whole_cell(
    small: RgbImage, density: Floats, nucleus: Mask, foreign: Mask, red_cells: _RedCells | None, scale: float
) -> Mask:
    """Grow a nucleus over its cytoplasm: what is neither glass nor red cell nor nearer to another nucleus."""
    away = _distance_from(nucleus)
    stained = _stained(density)
    allowed = (away <= _CYTOPLASM_REACH_UM * scale) & (away <= _distance_from(foreign))
    red = _red_in(small, density, stained, away, red_cells, scale)
    cell = np.where((stained & allowed & ~red) | (nucleus > 0), np.uint8(255), np.uint8(0))
    cell = np.where(red & (nucleus == 0), np.uint8(0), _filled(cell))
    cell = _opened(cell, 2.0 * scale) | nucleus
    _, labels = cv2.connectedComponents(cell)
    own = np.bincount(labels[nucleus > 0], minlength=int(labels.max()) + 1) > 0
    own[0] = False
    cell = _closed(np.where(own[labels], np.uint8(255), np.uint8(0)), 1.6 * scale)
    return _filled(cell)


def _red_in(
    small: RgbImage, density: Floats, stained: Bools, away: Floats, red_cells: _RedCells | None, scale: float
) -> Bools:
    """Red cells of a window: flooded from their cores against the cell's, so that they meet at the edge."""
    if red_cells is None:
        return np.zeros(stained.shape, bool)
    total, share = _total_and_share(density)
    alike = (
        stained
        & (away > 0)
        & (share > red_cells.share - 1.5 * red_cells.share_spread)
        & (total < red_cells.density + 2.5 * red_cells.density_spread)
    )
    # Rims of cytoplasm may have the colour of red cells, but are narrower.
    cores = _opened(alike.astype(np.uint8), _RED_CELL_CORE_UM * scale)
    count, labels = cv2.connectedComponents(cores)
    sizes = np.bincount(labels.ravel(), minlength=count)
    outside = np.bincount(labels[away > _FAR_UM * scale], minlength=count)
    is_red = outside > 0.5 * sizes
    is_red[0] = False
    red = is_red[labels]
    if not red.any():
        return red
    markers = np.zeros(stained.shape, np.int32)
    markers[~stained] = 1
    markers[red & (away > 1.0 * scale)] = 2
    markers[(away < 1.0 * scale) & stained & ~red] = 3
    markers[away == 0] = 3
    return np.asarray(cv2.watershed(small, markers) == 2)


def _nucleus_in(small: RgbImage, background: Floats, whole: Mask, seed: Mask, scale: float) -> Mask:
    """Refine a nucleus in its cell, by a threshold of its own on green, which nuclei absorb, against blue."""
    weights = np.array([[0, -1 / background[1], 0.5 / background[2]]], np.float32)
    darkness = cv2.transform(small.astype(np.float32), weights)
    ring = darkness[_distance_from(whole) <= scale]
    low, high = (float(v) for v in np.percentile(ring, [0.5, 99.5]))
    threshold = otsu(np.clip(ring, low, high), 3)[1]
    mask = np.where((darkness > threshold) & (whole > 0), np.uint8(255), np.uint8(0))
    mask = _without_specks(_opened(mask, 0.6 * scale), scale)
    # A cell with hardly any cytoplasm offers three classes inside its nucleus: then the first finding stands.
    if np.count_nonzero(mask) < 0.6 * np.count_nonzero(seed):
        return _without_specks(seed, scale)
    return mask


def _without_specks(mask: Mask, scale: float) -> Mask:
    """Fill small holes and leave out granules."""
    inverse = np.where(mask, np.uint8(0), np.uint8(255))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inverse, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < 3 * scale**2
    small[0] = False
    mask = np.where(small[labels], np.uint8(255), mask)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count == 1:
        return mask
    large = stats[:, cv2.CC_STAT_AREA] >= 0.1 * stats[1:, cv2.CC_STAT_AREA].max()
    large[0] = False
    return np.where(large[labels], np.uint8(255), np.uint8(0))


def _as_cell(nucleus: Mask, whole: Mask, window: Box, shape: tuple[int, int]) -> Cell | None:
    """Bring the masks of a window back to the picture's pixels."""
    size = (window.w, window.h)

    def enlarged(mask: Mask) -> Bools:
        return cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR_EXACT) > 127

    inside = enlarged(whole)
    kernel = enlarged(nucleus)
    inside |= kernel
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if len(rows) == 0:
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    inside, kernel = inside[top:bottom, left:right], kernel[top:bottom, left:right]
    mask = np.where(kernel, np.uint8(NUCLEUS), np.where(inside, np.uint8(CYTOPLASM), np.uint8(BACKGROUND)))
    box = Box(int(window.x + left), int(window.y + top), int(right - left), int(bottom - top))
    touches = box.x == 0 or box.y == 0 or box.x + box.w == shape[1] or box.y + box.h == shape[0]
    return Cell(box=box, mask=mask, touches_border=touches)


def _reading_order(cells: Iterable[Cell]) -> list[Cell]:
    """Sort by rows as tall as a typical cell, then from left to right."""
    kept = list(cells)
    if not kept:
        return []
    row = max(1.0, float(np.median([cell.box.h for cell in kept])))
    return sorted(kept, key=lambda cell: (int(cell.box.centre[1] / row), cell.box.centre[0], cell.box.y))
