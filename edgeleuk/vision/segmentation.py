"""Finding white cells in a stained smear, nucleus and cytoplasm, without learning.

Nuclei are found in a reduced picture by their optical density and joined into cells; each cell is then
grown and refined in a window of its own (see ``growing``), so that a 120 pixel crop and a 5 megapixel field
take the same path.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import BACKGROUND, Box, Cell, require_rgb
from edgeleuk.vision.growing import CellGrower, Nucleus, is_stained, learn_red_cells
from edgeleuk.vision.morphology import components, disc, distance_from, mask_of
from edgeleuk.vision.necks import border_sides, split_at_necks
from edgeleuk.vision.reducing import thinned
from edgeleuk.vision.scale import scale_from_density
from edgeleuk.vision.stain import background_colour, nuclear_density, optical_density, otsu

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
_SCALE_SIDE = 200
_ENOUGH_SIDE = 160
_MANY_RED_CELLS = 12
_FEW_ENOUGH_PX = 480
# Chromatin lets blue pass: in nuclei of five sets its density was .46 of that of green at most. Thick red
# cells may be as dense as nuclei. Theirs was .75 at least.
_MOST_BLUE_OF_GREEN = 0.6
# Nuclei that touch dent their common outline.
_LEAST_SOLIDITY = 0.94
_LEAST_SOLIDITY_OF_PART = 0.88


def segment(pixels: RgbImage, *, px_per_um: float | None = None, outline_cut: bool = True) -> list[Cell]:
    """Find every white cell of a field, or the one that fills a crop.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    px_per_um : float, optional
        Scale of the picture; estimated from its red cells, else from its largest nucleus, when not given.
    outline_cut : bool, optional
        False where nobody judges cells that the picture's border cuts: where it cuts a nucleus, this alone is
        taken for the cell, in a fraction of the time.

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
    # Of a large picture every second pixel tells what glass and red cells look like.
    step = 1 if max(small.shape) <= _FEW_ENOUGH_PX else 2
    background = background_colour(thinned(small, step))
    density = optical_density(small, background)
    nuclear = nuclear_density(density)
    threshold = _nuclear_threshold(nuclear)
    raw = mask_of(nuclear > threshold)
    stained = is_stained(density)
    scale = px_per_um / factor if px_per_um is not None else _scale(density, raw, stained, reduced=factor > 1)
    nuclei, slivers = _nuclei(raw, stained, scale)
    nuclei = [nucleus for nucleus in nuclei if _is_violet(nucleus, density)]
    if not nuclei:
        return []
    # Not `raw`, which has the specks of stain that red cells may hold.
    of_nuclei = _painted(nuclei, Box(0, 0, raw.shape[1], raw.shape[0]))
    red_cells = learn_red_cells(thinned(density, step), of_nuclei[::step, ::step], scale / step)
    grower = CellGrower(pixels, background, red_cells, [*nuclei, *slivers], factor, scale)
    found = (
        grower.cell(nucleus)
        if outline_cut or not any(border_sides(nucleus.box, raw.shape))
        else grower.nucleus_alone(nucleus)
        for nucleus in nuclei
    )
    return _reading_order(cell for cell in found if cell is not None)


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


def worth_painting(cells: Sequence[Cell]) -> Sequence[Cell]:
    """Whole cells, whose size is known; all of them where the border cuts each one."""
    return [cell for cell in cells if not cell.touches_border] or cells


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
    # Chromatin spans several times the density of anything else: left as it is, Otsu parts it from itself.
    every = max(1, max(nuclear.shape) // _ENOUGH_SIDE)
    light = np.exp(np.maximum(nuclear[::every, ::every], 0) / np.float32(-2))
    return max(0.5, -2 * float(np.log(otsu(light, 3)[0])))


def _scale(density: Floats, raw: Mask, stained: Bools, *, reduced: bool) -> float:
    """Pixels per micrometre of the reduced picture."""
    # A crop shows few red cells, which deserve a closer look; in a field a quick one is enough.
    side = _SCALE_SIDE if reduced else max(density.shape)
    estimate = scale_from_density(density, 1.0, fewest=2, longest_side=side)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(raw)
    if count == 1:
        return 1.0 if estimate is None else estimate.px_per_um
    areas = [0.0, *(float(area) for area in stats[1:, cv2.CC_STAT_AREA])]
    largest = int(np.argmax(areas))
    # The lobes of one nucleus lie within half its width of each other.
    reach = _diameter(areas[largest]) / 2
    x, y, w, h = (int(v) for v in stats[largest, :4])
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    about = labels[top : int(y + h + reach) + 1, left : int(x + w + reach) + 1]
    near = distance_from((about == largest).astype(np.uint8)) < reach
    nucleus = _diameter(sum(areas[i] for i in np.unique(about[near])))
    by_nucleus = max(1.0, nucleus / _TYPICAL_NUCLEUS_UM)
    if estimate is not None:
        # Circles much smaller than nuclei are specks, unless a clump is taken for a nucleus; a few much
        # larger ones may be anything.
        ratio = by_nucleus / estimate.px_per_um
        if ratio < (4.0 if estimate.red_cells > _MANY_RED_CELLS else 2.2) and (
            ratio > 1 / 2.2 or estimate.red_cells > 3
        ):
            return estimate.px_per_um
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask_of(stained))
    whole = np.bincount(labels[raw > 0], minlength=len(stats))
    whole[0] = 0
    x, y, w, h, area = (int(v) for v in stats[int(np.argmax(whole))])
    # A cell that lies alone tells more than its nucleus, which may be lobed; a clump is not round.
    height, width = raw.shape
    at_border = x == 0 or y == 0 or x + w == width or y + h == height
    if at_border or area < 0.7 * w * h or max(w, h) > 1.25 * min(w, h):
        return by_nucleus
    return max(by_nucleus, _diameter(area) / _TYPICAL_CELL_UM)


def _diameter(area: float) -> float:
    """Diameter of the disc of an area."""
    return float(2 * np.sqrt(area / np.pi))


def _nuclei(raw: Mask, stained: Bools, scale: float) -> tuple[list[Nucleus], list[Nucleus]]:
    """Nuclei of a reduced picture: lobes joined, touching cells parted, platelets left out.

    Besides, slivers of cells that the picture's border cuts and that touch others: too little for a cell of
    their own, and no part of their neighbours.
    """
    cleaned = np.asarray(cv2.morphologyEx(raw, cv2.MORPH_OPEN, disc(0.6 * scale)), np.uint8)
    least = _LEAST_NUCLEUS_UM2 * scale**2
    every = _lobes(_split_touching(cleaned, scale))

    @cache
    def outlines() -> tuple[Labels, npt.NDArray[np.int64]]:
        return components(cleaned)

    def is_sliver(lobe: Nucleus) -> bool:
        if not any(border_sides(lobe.box, raw.shape)):
            return False
        labels, areas = outlines()
        row, column = np.argwhere(lobe.mask)[0]
        return bool(areas[labels[lobe.box.y + row, lobe.box.x + column]] > least)

    lobes = [lobe for lobe in every if lobe.area > 0.15 * least or is_sliver(lobe)]
    found, slivers = [], []
    for nucleus in _joined(lobes, stained, scale):
        at_border = any(border_sides(nucleus.box, raw.shape))
        if nucleus.area >= (_LEAST_NUCLEUS_AT_BORDER_UM2 * scale**2 if at_border else least):
            found.append(nucleus)
        elif at_border:
            slivers.append(nucleus)
    return found, slivers


def _is_violet(nucleus: Nucleus, density: Floats) -> bool:
    """Whether what is as dense as a nucleus also has the colour of one."""
    _, green, blue, _ = cv2.mean(density[nucleus.box.slices], nucleus.mask)
    return blue <= _MOST_BLUE_OF_GREEN * green


def _lobes(mask: Mask) -> list[Nucleus]:
    """Parts of a mask that touch by more than a corner, from the first row on."""
    found = []
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        x, y, w, h = cv2.boundingRect(outline)
        inside = cv2.drawContours(np.zeros((h, w), np.uint8), [outline - (x, y)], -1, 255, cv2.FILLED)
        own = cv2.bitwise_and(inside, mask[y : y + h, x : x + w])
        count, labels, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=4)
        for i in range(1, count):
            left, top, wide, high, area = (int(v) for v in stats[i])
            part = labels[top : top + high, left : left + wide] == i
            box = Box(x + left, y + top, wide, high)
            found.append(Nucleus(box, mask_of(part), area))
    return sorted(found, key=lambda lobe: (lobe.box.y, lobe.box.x + int(np.argmax(lobe.mask[0]))))


def _split_touching(mask: Mask, scale: float) -> Mask:
    """Cut nuclei apart at their necks; whether the parts are lobes of one is decided afterwards."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    parted: Mask = mask.copy()
    for outline in outlines:
        box = Box(*cv2.boundingRect(outline))
        shape = cv2.drawContours(
            np.zeros((box.h, box.w), np.uint8), [outline - (box.x, box.y)], -1, 255, cv2.FILLED
        )
        nearest = _parts(
            np.asarray(shape, np.uint8), np.asarray(outline, np.int32), scale, border_sides(box, mask.shape)
        )
        if nearest is not None:
            window = parted[box.slices]
            window[:, :-1][nearest[:, :-1] != nearest[:, 1:]] = 0
            window[:-1][nearest[:-1] != nearest[1:]] = 0
    return parted


def _parts(
    shape: Mask, outline: npt.NDArray[np.int32], scale: float, cut: tuple[bool, bool, bool, bool]
) -> npt.NDArray[np.intp] | None:
    """Tell to which nucleus each pixel of a common outline belongs; None where it is one alone."""
    area, least = cv2.contourArea(outline), _LEAST_NUCLEUS_UM2 * scale**2
    if any(cut) and area >= least:
        # Little of a cell may show at the border, and hardly dent the outline of a whole one that it touches.
        nearest = split_at_necks(shape, scale, cut)
        # What parts there is no lobe if both are round: lobes of one nucleus are bent.
        if nearest is not None and all(
            _is_round(np.where(nearest == i, shape, np.uint8(0))) for i in np.unique(nearest)
        ):
            return nearest
    if area < 2 * least or area > _LEAST_SOLIDITY * cv2.contourArea(cv2.convexHull(outline)):
        return None
    return split_at_necks(shape, scale, (False, False, False, False))


def _is_round(part: Mask) -> bool:
    """Whether a part fills most of its convex hull."""
    points = cv2.findNonZero(part)
    if points is None:
        return True
    hull = cv2.fillConvexPoly(np.zeros_like(part), cv2.convexHull(points), 1)
    return bool(np.count_nonzero(part) >= _LEAST_SOLIDITY_OF_PART * np.count_nonzero(hull))


def _painted(nuclei: Iterable[Nucleus], window: Box) -> Mask:
    """Nuclei as a 0/255 picture of a window that holds them."""
    painted = np.zeros((window.h, window.w), np.uint8)
    for nucleus in nuclei:
        x, y, w, h = nucleus.box
        painted[y - window.y : y - window.y + h, x - window.x : x - window.x + w] |= nucleus.mask
    return painted


def _joined(lobes: list[Nucleus], stained: Bools, scale: float) -> list[Nucleus]:
    """Join the lobes that are of one nucleus."""
    groups = [[i] for i in range(len(lobes))]
    outlines = [_outline(lobe) for lobe in lobes]
    near = _near(lobes, _LOBE_GAP_UM * scale)

    def one_nucleus(a: list[int], b: list[int]) -> bool:
        if sum(lobes[i].area for i in a + b) > _LARGEST_NUCLEUS_UM2 * scale**2:
            return False
        first, second = (np.concatenate([outlines[i] for i in group]) for group in (a, b))
        if np.hypot(*(first[::2, None] - second[None, ::2]).transpose(2, 0, 1)).min() > _LOBE_GAP_UM * scale:
            return False
        both = np.concatenate([first, second])
        if 2 * cv2.minEnclosingCircle(both)[1] > _WIDEST_NUCLEUS_UM * scale:
            return False
        # Two cells that touch leave a notch of glass between their nuclei; one cell's lobes lie in cytoplasm.
        box = Box(*cv2.boundingRect(both))
        hull = cv2.fillConvexPoly(
            np.zeros((box.h, box.w), np.uint8), cv2.convexHull(both) - (box.x, box.y), 1
        )
        between = (hull > 0) & (_painted((lobes[i] for i in a + b), box) == 0)
        return bool(stained[box.slices][between].sum() >= 0.8 * between.sum())

    pairs = np.argwhere(near).tolist()
    while pairs:
        i, j = pairs.pop()
        if one_nucleus(groups[i], groups[j]):
            groups[j] += groups.pop(i)
            near = _merged(near, i, j)
            pairs = np.argwhere(near).tolist()
    return [_together([lobes[i] for i in group]) for group in groups]


def _near(lobes: list[Nucleus], gap: float) -> Bools:
    """Whether the boxes of one and of an earlier lobe are at most so far apart: (n, n), below its diagonal.

    Most lobes are not, so that the time does not grow with the square of their number.
    """
    first = np.array([(lobe.box.x, lobe.box.y) for lobe in lobes]).reshape(-1, 2)
    last = first + np.array([(lobe.box.w, lobe.box.h) for lobe in lobes]).reshape(-1, 2) - 1
    apart = np.maximum(first[:, None] - last[None], first[None] - last[:, None]).max(axis=2, initial=0)
    return np.tril(apart <= gap, -1)


def _merged(near: Bools, i: int, j: int) -> Bools:
    """Make group i part of group j, which comes before it."""
    both = near | near.T
    both[j] |= both[i]
    both[:, j] = both[j]
    return np.tril(np.delete(np.delete(both, i, axis=0), i, axis=1), -1)


def _outline(lobe: Nucleus) -> Labels:
    """Points of a lobe's border, (n, 2) int32, in pixels of the picture."""
    found, _ = cv2.findContours(
        lobe.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(lobe.box.x, lobe.box.y)
    )
    return np.concatenate(found)[:, 0].astype(np.int32)


def _together(lobes: list[Nucleus]) -> Nucleus:
    left, top = (min(lobe.box[i] for lobe in lobes) for i in (0, 1))
    right = max(lobe.box.x + lobe.box.w for lobe in lobes)
    bottom = max(lobe.box.y + lobe.box.h for lobe in lobes)
    box = Box(left, top, right - left, bottom - top)
    return Nucleus(box, _painted(lobes, box), sum(lobe.area for lobe in lobes))


def _reading_order(cells: Iterable[Cell]) -> list[Cell]:
    """Sort by rows as tall as a typical cell, then from left to right."""
    kept = list(cells)
    if not kept:
        return []
    row = max(1.0, float(np.median([cell.box.h for cell in kept])))
    return sorted(kept, key=lambda cell: (int(cell.box.centre[1] / row), cell.box.centre[0], cell.box.y))
