"""COCO's JSON of objects: ``annotations.json`` beside ``images``, as pycocotools, CVAT and Roboflow read it.

Source: https://cocodataset.org/#format-data. A part of a cell is a polygon; its holes are joined to it by
lines there and back, as the format knows none. Of others, run lengths are read, too.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.errors import DataRefusedError
from edgeleuk.labels.formats.cells import CATEGORIES
from edgeleuk.labels.formats.json_files import read_json
from edgeleuk.labels.formats.marks import Mark, ring_of
from edgeleuk.labels.formats.outlines import one_ring
from edgeleuk.labels.formats.picture_folder import is_address, picture_of
from edgeleuk.version import RESEARCH_USE, __version__

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeleuk.labels.formats.cells import Outlined
    from edgeleuk.labels.formats.outlines import Bools, Polygon

ANNOTATIONS = "annotations.json"
_MOST_PIXELS = 1 << 30


class _Image(msgspec.Struct):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _Annotation(msgspec.Struct):
    image_id: int | str
    category_id: int
    id: int | str | None = None
    segmentation: Any = None
    bbox: list[float] | None = None


class _Category(msgspec.Struct):
    id: int
    name: str


class _Dataset(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def write_coco(folder: Path, cells: Iterable[Outlined]) -> None:
    """Write ``annotations.json``."""
    numbers = {name: number for number, name in enumerate(CATEGORIES, start=1)}
    images, annotations = [], []
    for number, cell in enumerate(cells, start=1):
        facts, (width, height) = cell.facts, cell.size
        images.append({"id": number, "file_name": facts.picture, "width": width, "height": height})
        annotation = {
            "id": number,
            "image_id": number,
            "category_id": numbers[facts.category],
            "segmentation": [_flat(polygon) for polygon in cell.polygons],
            "bbox": cell.box,
            "area": cell.area_px,
            "iscrowd": 0,
            "attributes": facts.plain,
        }
        # Encoded at once: as lists of numbers 5,000 outlines would fill the memory of a small board.
        annotations.append(msgspec.Raw(msgspec.json.encode(annotation)))
    dataset = {
        "info": {"description": RESEARCH_USE, "version": __version__, "contributor": "edgeleuk"},
        "licenses": [],
        "categories": [
            {"id": number, "name": name, "supercategory": "cell"} for name, number in numbers.items()
        ],
        "images": images,
        "annotations": annotations,
    }
    (folder / ANNOTATIONS).write_bytes(msgspec.json.encode(dataset))


def read_coco(source: Path) -> list[Mark]:
    """Read a COCO file, or the one of a folder that was exported.

    Raises
    ------
    UsageError
        There is no such file.
    DataRefusedError
        It is no COCO file, or an annotation is not sound.
    """
    path = source / ANNOTATIONS if source.is_dir() else source
    data = read_json(path, _Dataset, "COCO file of objects")
    images = {image.id: image for image in data.images}
    names = {category.id: category.name for category in data.categories}
    marks = []
    for index, found in enumerate(data.annotations):
        where = f"annotation {index if found.id is None else found.id} of {path.name}"
        image, name = images.get(found.image_id), names.get(found.category_id)
        if image is None or name is None:
            missing = f"image {found.image_id}" if image is None else f"category {found.category_id}"
            raise DataRefusedError(f"{where} names what the file does not list", got=missing)
        size = None if not image.width or not image.height else (image.width, image.height)
        # Label Studio's COCO names pictures by their addresses.
        picture = picture_of(image.file_name) if is_address(image.file_name) else image.file_name
        mark = Mark(picture=picture, where=where, word=name, size=size)
        marks.append(_shaped(mark, found))
    return marks


def _shaped(mark: Mark, found: _Annotation) -> Mark:
    """Add what an annotation outlines: polygons, run lengths, or a box alone."""
    shape = found.segmentation
    if isinstance(shape, dict):
        return mark.with_mask(_mask(shape, mark.where))
    if isinstance(shape, list) and shape:
        rings = [shape] if not isinstance(shape[0], list) else shape
        return mark.with_polygons([[ring_of(ring, mark.where)] for ring in rings])
    if found.bbox is None or len(found.bbox) != 4:
        raise DataRefusedError(f"{mark.where} has neither an outline nor a box of four numbers")
    x, y, width, height = found.bbox
    return mark.with_box((x, y, x + width, y + height))


def _mask(shape: dict[str, Any], where: str) -> Bools:
    """Read run lengths: columns of the picture from the left, background first."""
    runs, height, width = None, 0, 0
    with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError, IndexError):
        height, width = (int(side) for side in shape["size"])
        counts = shape["counts"]
        runs = np.array(_unpacked(counts) if isinstance(counts, str) else counts, np.int64)
    is_sound = runs is not None and runs.ndim == 1 and 0 < height * width <= _MOST_PIXELS
    if runs is None or not is_sound or runs.min(initial=0) < 0 or runs.sum() != height * width:
        raise DataRefusedError(f"{where} has run lengths that fill no picture")
    inside = np.arange(len(runs)) % 2 == 1
    return np.asarray(np.repeat(inside, runs).reshape(width, height).T, np.bool_)


def _unpacked(text: str) -> list[int]:
    """Read packed run lengths: 5 bits a letter, the sixth says that more follow.

    Each but the first three is told by its difference from the one two before.

    Source: ``rleFrString`` of https://github.com/cocodataset/cocoapi, common/maskApi.c.
    """
    runs: list[int] = []
    at, letters = 0, text.encode("ascii")
    while at < len(letters):
        value = shift = 0
        while True:
            bits = letters[at] - 48
            at += 1
            value |= (bits & 0x1F) << shift
            shift += 5
            if not bits & 0x20:
                break
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


def _flat(polygon: Polygon) -> list[float]:
    return [number for point in one_ring(polygon) for number in point]
