"""Segmentation, scale and tracking on real smears; the floors lie a little below what was measured."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.frames import NUCLEUS
from edgeleuk.vision.crops import crop_cell
from edgeleuk.vision.scale import estimate_px_per_um
from edgeleuk.vision.segmentation import nucleus_and_cell_mask, segment, worth_painting
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.frames import Cell

    Field = tuple[npt.NDArray[np.uint8], list[list[int]], list[Cell]]


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def dice(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


def overlap(a: Sequence[int], b: Sequence[int]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def true_boxes(path: Path, kind: str) -> list[list[int]]:
    return [
        [int(item.find("bndbox").find(key).text) for key in ("xmin", "ymin", "xmax", "ymax")]
        for item in ET.parse(path).getroot().iter("object")
        if item.find("name").text == kind
    ]


@pytest.fixture(scope="module")
def fields(edgeleuk_data: Path) -> list[Field]:
    """Each BCCD field: pixels, true boxes of white cells, cells found."""
    paths = sorted((edgeleuk_data / "fields_bccd").glob("*.jpg"))
    assert len(paths) == 182
    return [
        (pixels, true_boxes(path.with_suffix(".xml"), "WBC"), segment(pixels))
        for path, pixels in ((path, read_rgb(path)) for path in paths)
    ]


@pytest.mark.parametrize(
    ("folder", "images", "nucleus_floor", "cell_floor"),
    [("jiangxi", 150, 0.955, 0.955), ("cellavision", 50, 0.972, 0.945)],
)
def test_masks_agree_with_the_experts(
    edgeleuk_data: Path, folder: str, images: int, nucleus_floor: float, cell_floor: float
) -> None:
    nucleus, whole = [], []
    for truth_path in sorted((edgeleuk_data / "wbc_masks" / folder).glob("*_mask.png")):
        truth = cv2.imread(str(truth_path), cv2.IMREAD_GRAYSCALE)
        pixels = read_rgb(next(truth_path.parent.glob(truth_path.name.replace("_mask.png", ".*"))))
        found = nucleus_and_cell_mask(worth_painting(segment(pixels)), truth.shape)
        nucleus.append(dice(found == NUCLEUS, truth == NUCLEUS))
        whole.append(dice(found > 0, truth > 0))
    assert len(nucleus) == images
    assert np.mean(nucleus) >= nucleus_floor
    assert np.mean(whole) >= cell_floor
    assert min(nucleus) >= 0.5


@pytest.mark.parametrize("rule", ["centre", "overlap"])
def test_white_cells_of_full_fields_are_found(fields: list[Field], rule: str) -> None:
    hits = found = true = 0
    for _, truth, cells in fields:
        left = list(truth)
        for cell in cells:
            x, y, w, h = cell.box
            cx, cy = cell.box.centre
            for box in left:
                inside = box[0] <= cx <= box[2] and box[1] <= cy <= box[3]
                if inside if rule == "centre" else overlap((x, y, x + w, y + h), box) >= 0.5:
                    left.remove(box)
                    hits += 1
                    break
        found += len(cells)
        true += len(truth)
    # Five cells at the border are real but not in BCCD's list, so that 0.987 is all there is to reach.
    assert 2 * hits / (found + true) >= 0.975


def test_scale_of_full_fields(fields: list[Field]) -> None:
    estimates = [estimate_px_per_um(pixels) for pixels, _, _ in fields]
    known = [estimate.px_per_um for estimate in estimates if estimate is not None]
    # BCCD's boxes of red cells are about 100 px wide, but drawn loosely: the cells inside are 85 to 95.
    # Of the rest too few red cells lie alone; people's red cells differ by 4 % themselves.
    assert len(known) >= 125
    assert 11.4 < np.median(known) < 12.7
    assert np.percentile(np.abs(np.log(known / np.median(known))), 90) < 0.1


@pytest.mark.parametrize("tiles", [2, 4])
def test_scale_of_wide_real_fields(fields: list[Field], tiles: int) -> None:
    """Fields side by side, 110 and 215 um wide, seen with a quarter of the pixels as well."""
    alone = [estimate.px_per_um for pixels, _, _ in fields if (estimate := estimate_px_per_um(pixels))]
    pictures = [pixels for pixels, _, _ in fields][: 3 * tiles**2]
    for n in range(0, len(pictures) - tiles**2 + 1, tiles**2):
        rows = [np.hstack(pictures[n + i * tiles : n + (i + 1) * tiles]) for i in range(tiles)]
        wide = np.vstack(rows)
        for zoom in (1.0, 0.5):
            seen = cv2.resize(wide, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
            estimate = estimate_px_per_um(seen)
            if estimate is not None:
                assert estimate.px_per_um / zoom == pytest.approx(np.median(alone), rel=0.1)


def test_crops_of_full_fields_are_cells_on_black(fields: list[Field]) -> None:
    for pixels, _, cells in fields[::10]:
        for cell in cells:
            crop = crop_cell(pixels, cell, 12.0)
            assert not crop.pixels[crop.mask == 0].any()
            assert np.count_nonzero(crop.mask) == cell.area_px


def test_a_stage_that_wanders_over_real_fields_counts_their_cells_once(fields: list[Field]) -> None:
    tracker = FieldTracker()
    true = 0
    for pixels, _, cells in fields[::15]:
        whole = [cell for cell in cells if not cell.touches_border]
        true += len(whole)
        for x, y in [(0, 0), (60, 20), (120, 60), (160, 100), (160, 40), (90, 0), (0, 0)]:
            view = np.ascontiguousarray(pixels[y : y + 380, x : x + 480])
            tracker.update(view, [cell for cell in segment(view, px_per_um=12.0) if not cell.touches_border])
    assert true - 1 <= tracker.unique <= true + 1
