"""How well white cells are found and cut out: experts' masks, BCCD's fields, the virtual slide.

Prints each bar on standard error and JSON on standard output; exits 3 when one is missed. The masks are
those that `edgeleuk segment` writes, the scale is estimated in each picture anew.

    python tests/bench/segmentation.py
"""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from edgeleuk.classifier.cell_features import NAMES, morphology_numbers  # noqa: E402
from edgeleuk.frames import NUCLEUS, Box, CellCrop  # noqa: E402
from edgeleuk.virtual.render import VirtualSlide  # noqa: E402
from edgeleuk.vision.crops import crop_cell  # noqa: E402
from edgeleuk.vision.scale import estimate_px_per_um  # noqa: E402
from edgeleuk.vision.segmentation import nucleus_and_cell_mask, segment, worth_painting  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.frames import Cell, TrueCell

SHAPES = ("log_area", "circularity", "solidity", "aspect")
CNMC_PX_PER_UM = 18.5
VIRTUAL_FIELDS = 400


def read_rgb(path: Path) -> Any:
    """(H, W, 3) uint8, RGB."""
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def dice(first: Any, second: Any) -> float:
    """Twice the common area over the sum of both."""
    return float(2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second)))


def masks(folder: Path) -> dict[str, float]:
    """Dice of nuclei and whole cells against the experts'."""
    nucleus, whole = [], []
    for path in sorted(folder.glob("*_mask.png")):
        truth = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        pixels = read_rgb(next(folder.glob(path.name.replace("_mask.png", ".*"))))
        found = nucleus_and_cell_mask(worth_painting(segment(pixels)), pixels.shape[:2])
        nucleus.append(dice(found == NUCLEUS, truth == NUCLEUS))
        whole.append(dice(found > 0, truth > 0))
    return {
        "images": len(nucleus),
        "nucleus": float(np.mean(nucleus)),
        "least_nucleus": min(nucleus),
        "whole": float(np.mean(whole)),
        "least_whole": min(whole),
    }


def white_boxes(path: Path) -> list[Box]:
    """Boxes of the white cells that BCCD lists for a picture."""
    return [
        Box(x, y, right - x, bottom - y)
        for item in ET.parse(path.with_suffix(".xml")).getroot().iter("object")
        if item.findtext("name") == "WBC"
        for x, y, right, bottom in [
            [int(item.findtext(f"bndbox/{key}") or 0) for key in ("xmin", "ymin", "xmax", "ymax")]
        ]
    ]


def hits_of(found: Sequence[Box], true: Sequence[Box]) -> dict[str, int]:
    """How many boxes hit a true one, each once: with their centre, and with an overlap of half."""
    hits = {"centre": 0, "overlap": 0}
    for rule in hits:
        left = list(true)
        for own in found:
            x, y = own.centre
            for box in left:
                inside = box.x <= x <= box.x + box.w and box.y <= y <= box.y + box.h
                if inside if rule == "centre" else own.overlap(box) >= 0.5:
                    left.remove(box)
                    hits[rule] += 1
                    break
    return hits


def fields(folder: Path) -> dict[str, float]:
    """F1 of BCCD's white cells."""
    found = true = 0
    hits = {"centre": 0, "overlap": 0}
    for path in sorted(folder.glob("*.jpg")):
        boxes, cells = white_boxes(path), segment(read_rgb(path))
        found, true = found + len(cells), true + len(boxes)
        for rule, count in hits_of([cell.box for cell in cells], boxes).items():
            hits[rule] += count
    return {"true": true, "found": found, **{f"f1_{k}": 2 * n / (found + true) for k, n in hits.items()}}


def is_whole(cell: TrueCell, width: int, height: int) -> bool:
    """Whether all of a true cell shows, with some room to spare."""
    reach = 1.3 * cell.radius_px
    return reach < cell.x < width - reach and reach < cell.y < height - reach


def virtual() -> dict[str, float]:
    """Whole white cells of virtual slides: found, invented, and touching pairs told apart."""
    whole = found = invented = pairs = separated = 0
    width, height = 1280, 960
    for number in range(VIRTUAL_FIELDS):
        slide = VirtualSlide(seed=1000 + number, white_cells_per_field=6.0)
        field = slide.field(0, 0, width=width, height=height)
        cells = segment(field.pixels)
        hit = {true.identity: _hits(true, cells) for true in field.truth}
        inside = [true for true in field.truth if is_whole(true, width, height)]
        whole += len(inside)
        found += sum(bool(hit[true.identity]) for true in inside)
        claimed = {index for hits in hit.values() for index in hits}
        invented += sum(not cell.touches_border for i, cell in enumerate(cells) if i not in claimed)
        for i, a in enumerate(inside):
            for b in inside[:i]:
                if np.hypot(a.x - b.x, a.y - b.y) < 1.1 * (a.radius_px + b.radius_px):
                    pairs += 1
                    ours, theirs = set(hit[a.identity]), set(hit[b.identity])
                    separated += len(ours) == len(theirs) == 1 and ours != theirs
    return {
        "cells": whole,
        "found": found / whole,
        "invented": invented / whole,
        "pairs": pairs,
        "pairs_separated": separated / pairs,
    }


def _hits(true: TrueCell, cells: list[Cell]) -> list[int]:
    """Cells whose mask lies about the true centre, or whose own centre lies well within the true cell."""
    hits = []
    for index, cell in enumerate(cells):
        x, y = cell.box.centre
        if np.hypot(x - true.x, y - true.y) < 0.6 * true.radius_px:
            hits.append(index)
    return hits


def contract(data: Path) -> dict[str, Any]:
    """Crops against the training set's: on black, tight, of one scale, and of shapes that it knows."""
    files = sorted((data / "cnmc").rglob("*.webp"))[::10]
    known = np.array([_shape(CellCrop.on_black(read_rgb(f), CNMC_PX_PER_UM)) for f in files])
    low, high = np.percentile(known, [0.5, 99.5], axis=0)
    crops: dict[str, list[CellCrop]] = {"bccd": [], "virtual": []}
    for path in sorted((data / "fields_bccd").glob("*.jpg")):
        pixels = read_rgb(path)
        estimate = estimate_px_per_um(pixels)
        if estimate is not None:
            crops["bccd"] += _crops(pixels, estimate.px_per_um)
    for number in range(60):
        pixels = VirtualSlide(seed=2000 + number, white_cells_per_field=6.0).field(0, 0).pixels
        crops["virtual"] += _crops(pixels, 13.0)
    result: dict[str, Any] = {}
    for name, found in crops.items():
        shapes = np.array([_shape(crop) for crop in found])
        inside = (shapes >= low) & (shapes <= high)
        result[name] = {
            "crops": len(found),
            "black_outside": all(not crop.pixels[crop.mask == 0].any() for crop in found),
            "tight": all(cv2.boundingRect(crop.mask) == (0, 0, *crop.mask.shape[::-1]) for crop in found),
            **{shape: float(share) for shape, share in zip(SHAPES, inside.mean(axis=0), strict=True)},
        }
    return result


def _crops(pixels: Any, scale: float) -> list[CellCrop]:
    cells = segment(pixels, px_per_um=scale)
    return [crop_cell(pixels, cell, scale) for cell in cells if not cell.touches_border]


def _shape(crop: CellCrop) -> list[float]:
    numbers = morphology_numbers(crop)
    return [float(numbers[NAMES.index(name)]) for name in SHAPES]


def main() -> int:
    """Measure, print, and judge."""
    cv2.setNumThreads(1)
    data = Path(os.environ.get("EDGELEUK_DATA", ROOT.parent / "shared" / "data"))
    if not (data / "wbc_masks").is_dir():
        print(f"no masks in {data}: set EDGELEUK_DATA", file=sys.stderr)
        return 4
    jiangxi, cellavision = (masks(data / "wbc_masks" / name) for name in ("jiangxi", "cellavision"))
    bccd, drawn, crops = fields(data / "fields_bccd"), virtual(), contract(data)
    bars = {
        "jiangxi nucleus Dice >= 0.955": (jiangxi["nucleus"], 0.955),
        "jiangxi least nucleus Dice >= 0.5": (jiangxi["least_nucleus"], 0.5),
        "jiangxi whole Dice >= 0.93": (jiangxi["whole"], 0.93),
        "cellavision nucleus Dice >= 0.975": (cellavision["nucleus"], 0.975),
        "cellavision least nucleus Dice >= 0.5": (cellavision["least_nucleus"], 0.5),
        "cellavision whole Dice >= 0.93": (cellavision["whole"], 0.93),
        "bccd F1 by centre >= 0.98": (bccd["f1_centre"], 0.98),
        "bccd F1 by overlap >= 0.90": (bccd["f1_overlap"], 0.90),
        "virtual touching pairs separated >= 0.95": (drawn["pairs_separated"], 0.95),
    }
    result = {
        "schema_version": 1,
        "jiangxi": jiangxi,
        "cellavision": cellavision,
        "bccd": bccd,
        "virtual": drawn,
        "crops": crops,
        "bars": {name: {"measured": round(v, 4), "met": bool(v >= bar)} for name, (v, bar) in bars.items()},
    }
    print(json.dumps(result))
    for name, (value, bar) in bars.items():
        print(f"{'met   ' if value >= bar else 'MISSED'} {value:.4f}  {name}", file=sys.stderr)
    print(f"virtual {drawn}\ncrops within 99 % of C-NMC's {crops}", file=sys.stderr)
    return 0 if all(value >= bar for value, bar in bars.values()) else 3


if __name__ == "__main__":
    sys.exit(main())
