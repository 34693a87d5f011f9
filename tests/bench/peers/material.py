"""What all are given: the same cells and the same fields, drawn once and left in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from segmentation import read_rgb, white_boxes

from edgeleuk.bundle.reading import read_bundle
from edgeleuk.frames import CellCrop
from edgeleuk.inference.preprocessing import to_batch
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision.crops import crop_cell
from edgeleuk.vision.segmentation import segment

if TYPE_CHECKING:
    from edgeleuk.frames import Box, TrueCell

BUNDLE = "default"
PX_PER_UM, BCCD_PX_PER_UM = 13.0, 12.0
# Crowded fields where cells are wanted, usual ones where fields are.
MANY, USUAL = 12.0, 6.0
# Every so many of BCCD's fields are judged.
BCCD_STEP = 4

CROPS, TENSORS, FIELDS = "crops.npz", "tensors.npy", "fields.npz"


@dataclass(frozen=True, slots=True)
class Truth:
    """What is in the fields.

    Attributes
    ----------
    drawn : list of tuple of TrueCell
        Of the first fields, which are timed.
    boxes : list of list of Box
        Of BCCD's fields behind them, which are only judged; empty without these.
    """

    drawn: list[tuple[TrueCell, ...]]
    boxes: list[list[Box]]


def lay_out(folder: Path, cells: int, fields: int, data: Path) -> Truth:
    """Draw cells and fields, and write them and the bundle's networks into a folder."""
    bundle = read_bundle(BUNDLE)
    for name, content in bundle.members.items():
        if name.startswith("model."):
            (folder / name).write_bytes(content)
    crops = _crops(cells)
    arrays = {f"pixels{i}": crop.pixels for i, crop in enumerate(crops)}
    arrays |= {f"mask{i}": crop.mask for i, crop in enumerate(crops)}
    np.savez(folder / CROPS, **arrays)
    np.save(folder / TENSORS, to_batch(crops, bundle.manifest.input))
    drawn = [VirtualSlide(seed=9000 + n, white_cells_per_field=USUAL).field(0, 0) for n in range(fields)]
    photographs = sorted((data / "fields_bccd").glob("*.jpg"))[::BCCD_STEP]
    pictures = [field.pixels for field in drawn] + [read_rgb(path) for path in photographs]
    scales = [PX_PER_UM] * len(drawn) + [BCCD_PX_PER_UM] * len(photographs)
    arrays = {f"field{i}": pixels for i, pixels in enumerate(pictures)}
    np.savez(folder / FIELDS, px_per_um=scales, **arrays)
    return Truth([field.truth for field in drawn], [white_boxes(path) for path in photographs])


def load_crops(folder: Path, first: int, last: int) -> list[CellCrop]:
    """Crops as the product cuts them."""
    with np.load(folder / CROPS) as stored:
        return [CellCrop(stored[f"pixels{i}"], stored[f"mask{i}"], PX_PER_UM) for i in range(first, last)]


def load_tensors(folder: Path, first: int, last: int) -> Any:
    """(n, H, W, C) uint8: crops as the product prepares them."""
    return np.array(np.load(folder / TENSORS, mmap_mode="r")[first:last])


def load_fields(folder: Path, first: int, last: int) -> list[tuple[Any, float]]:
    """Fields, (H, W, 3) uint8 RGB, each with its scale in pixels per micrometre."""
    with np.load(folder / FIELDS) as stored:
        scales = stored["px_per_um"]
        return [(stored[f"field{i}"], float(scales[i])) for i in range(first, last)]


def data_folder(root: Path) -> Path:
    """Return where the real images are, if they are."""
    return Path(os.environ.get("EDGELEUK_DATA", root.parent / "shared" / "data"))


def _crops(count: int) -> list[CellCrop]:
    cv2.setNumThreads(1)
    crops: list[CellCrop] = []
    seed = 5000
    while len(crops) < count:
        pixels = VirtualSlide(seed=seed, white_cells_per_field=MANY).field(0, 0).pixels
        crops += [
            crop_cell(pixels, cell, PX_PER_UM)
            for cell in segment(pixels, px_per_um=PX_PER_UM)
            if not cell.touches_border
        ]
        seed += 1
    return crops[:count]
