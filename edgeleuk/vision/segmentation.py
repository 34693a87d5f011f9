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

    Labels = npt.NDArray[np.int32]

# Sizes in micrometres, of cells on smears: platelets are 2-3 across, the smallest lymphocyte's nucleus 6,
# megaloblasts and monocytes reach 20.
_LEAST_NUCLEUS_UM2 = 14.0
_LEAST_NUCLEUS_AT_BORDER_UM2 = 10.0
_TYPICAL_NUCLEUS_UM = 8.0
_LOBE_GAP_UM = 2.5
_WIDEST_NUCLEUS_UM = 15.0
_CYTOPLASM_REACH_UM = 5.0
_WINDOW_PX_PER_UM = 7.0


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
    scale = px_per_um / factor if px_per_um is not None else _scale(density, raw)
    nuclei = _nuclei(raw, scale)
    red_cells = None
    cells = [
        _cell(pixels, nucleus, nuclei, factor, scale, background, threshold, red_cells) for nucleus in nuclei
    ]
    return _reading_order(cell for cell in cells if cell is not None)


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
    return float(np.clip(otsu(nuclear, 3)[1], 0.5, 1.1))


def _scale(density: Floats, raw: Mask) -> float:
    """Pixels per micrometre of the reduced picture."""
    estimate = scale_from_density(density, 1.0)
    _, _, stats, _ = cv2.connectedComponentsWithStats(raw)
    largest = float(stats[1:, cv2.CC_STAT_AREA].max()) if len(stats) > 1 else 0.0
    by_nucleus = 2 * (largest / np.pi) ** 0.5 / _TYPICAL_NUCLEUS_UM
    if estimate is None:
        return max(by_nucleus, 1.0)
    return estimate.px_per_um


def _disc(diameter: float) -> Mask:
    size = max(1, round(diameter)) | 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _filled(mask: Mask) -> Mask:
    """Fill the holes of a 0/255 mask."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), contours, -1, 255, cv2.FILLED), np.uint8)


def _nuclei(raw: Mask, scale: float) -> list[_Nucleus]:
    """Nuclei of a reduced picture: lobes joined, touching cells parted, platelets left out."""
    cleaned = cv2.morphologyEx(raw, cv2.MORPH_OPEN, _disc(0.6 * scale))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cleaned)
    least = _LEAST_NUCLEUS_UM2 * scale**2
    lobes = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] > 0.15 * least]
    groups = _joined(labels, stats, lobes, scale)
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


def _joined(labels: Labels, stats: Labels, lobes: list[int], scale: float) -> list[list[int]]:
    """Groups of components that are lobes of one nucleus."""
    groups = [[i] for i in lobes]
    contours = {}
    for i in lobes:
        x, y, w, h = (int(v) for v in stats[i, :4])
        part = np.where(labels[y : y + h, x : x + w] == i, np.uint8(255), np.uint8(0))
        found, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(x, y))
        contours[i] = np.concatenate(found)[:, 0].astype(np.float32)
    merged = True
    while merged:
        merged = False
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                if _one_nucleus(groups[a], groups[b], contours, stats, scale):
                    groups[a] += groups.pop(b)
                    merged = True
                    break
            if merged:
                break
    return groups


def _one_nucleus(
    a: list[int], b: list[int], contours: dict[int, Floats], stats: Labels, scale: float
) -> bool:
    """Whether two groups of lobes are near and small enough together to be one nucleus."""
    first, second = (np.concatenate([contours[i] for i in group])[::2] for group in (a, b))
    gap = np.hypot(*(first[:, None] - second[None]).transpose(2, 0, 1)).min()
    if gap > _LOBE_GAP_UM * scale:
        return False
    _, radius = cv2.minEnclosingCircle(np.concatenate([first, second]))
    if 2 * radius > _WIDEST_NUCLEUS_UM * scale:
        return False
    whole = 35 * scale**2
    return not all(stats[group, cv2.CC_STAT_AREA].sum() > whole for group in (a, b))


def _cell(
    pixels: RgbImage,
    nucleus: _Nucleus,
    others: list[_Nucleus],
    factor: float,
    scale: float,
    background: Floats,
    threshold: float,
    red_cells: object,
) -> Cell | None:
    """Refine one nucleus and grow its cell, in a window cut from the unreduced picture."""
    reach = (_CYTOPLASM_REACH_UM + 1) * scale
    height, width = pixels.shape[:2]
    x0 = max(0, int((nucleus.box.x - reach) * factor))
    y0 = max(0, int((nucleus.box.y - reach) * factor))
    x1 = min(width, int(np.ceil((nucleus.box.x + nucleus.box.w + reach) * factor)))
    y1 = min(height, int(np.ceil((nucleus.box.y + nucleus.box.h + reach) * factor)))
    window = pixels[y0:y1, x0:x1]
    shrink = max(1.0, scale * factor / _WINDOW_PX_PER_UM) if scale > 0 else 1.0
    size = (max(1, round((x1 - x0) / shrink)), max(1, round((y1 - y0) / shrink)))
    small = np.asarray(cv2.resize(window, size, interpolation=cv2.INTER_AREA), np.uint8)
    small = cv2.GaussianBlur(small, (3, 3), 0).astype(np.uint8, copy=False)
    fine = scale * factor / shrink
    density = optical_density(small, background)
    nuclear = nuclear_density(density)

    def placed(other: _Nucleus) -> Mask:
        """A nucleus of the reduced picture in this window."""
        move = np.array(
            [
                [factor / shrink, 0, (other.box.x * factor - x0) / shrink],
                [0, factor / shrink, (other.box.y * factor - y0) / shrink],
            ]
        )
        return np.asarray(cv2.warpAffine(other.mask, move, size, flags=cv2.INTER_NEAREST), np.uint8)

    seed = placed(nucleus)
    foreign = np.zeros_like(seed)
    for other in others:
        if other is not nucleus:
            foreign |= placed(other)
    near = cv2.dilate(seed, _disc(2 * fine)) > 0
    fine_nucleus = np.where((nuclear > threshold) & near & (foreign == 0), np.uint8(255), np.uint8(0))
    whole = _whole_cell(density, fine_nucleus, foreign, fine)
    return _as_cell(fine_nucleus, whole, Box(x0, y0, x1 - x0, y1 - y0), (height, width))


def _whole_cell(density: Floats, nucleus: Mask, foreign: Mask, scale: float) -> Mask:
    """Grow a nucleus over its cytoplasm."""
    green = density[..., 1]
    reach = cv2.dilate(nucleus, _disc(2 * _CYTOPLASM_REACH_UM * scale))
    cell = np.where((green > 0.12) & (reach > 0) & (foreign == 0), np.uint8(255), np.uint8(0))
    cell |= nucleus
    cell = cv2.morphologyEx(cell, cv2.MORPH_OPEN, _disc(1.5 * scale)).astype(np.uint8) | nucleus
    _, labels = cv2.connectedComponents(cell)
    own = np.unique(labels[nucleus > 0])
    cell = np.where(np.isin(labels, own[own > 0]), np.uint8(255), np.uint8(0))
    return _filled(cell)


def _as_cell(nucleus: Mask, whole: Mask, window: Box, shape: tuple[int, int]) -> Cell | None:
    """Bring the masks of a window back to the picture's pixels."""
    size = (window.w, window.h)

    def enlarged(mask: Mask) -> npt.NDArray[np.bool_]:
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
