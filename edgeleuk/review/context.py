"""The field around a cell: the picture's own file where it is still there, else what was recorded."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edgeleuk.capture.base import PICTURE_SUFFIXES, local_path
from edgeleuk.errors import EdgeleukError
from edgeleuk.frames import Box
from edgeleuk.io.images import read_image
from edgeleuk.session.pictures import decode_crop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeleuk.frames import CellCrop, RgbImage

# So many times the cell's longer side are shown, and no fewer pixels than that.
_TIMES, _LEAST_PX = 6, 320
_QUALITY = 92
_FRAME_RGB = (255, 200, 0)


class RecordedCell(NamedTuple):
    """A cell of a field, as a session has it."""

    box: Box
    crop: bytes | None


class RecordedField(NamedTuple):
    """What a session has of a field.

    Attributes
    ----------
    source : str
        Where it came from.
    width, height : int
    texture : bytes or None
        JPEG, reduced and without colour.
    cells : list of RecordedCell
        Those that were cut out of it.
    """

    source: str
    width: int
    height: int
    texture: bytes | None
    cells: list[RecordedCell]


class Context(NamedTuple):
    """The surroundings of a cell.

    Attributes
    ----------
    jpeg : bytes
    is_field : bool
        The field itself, at full resolution; else its reduced texture with the recorded cells in their
        places.
    """

    jpeg: bytes
    is_field: bool


def context_of(field: RecordedField, box: Box) -> Context | None:
    """Return what lies around a cell, None where nothing of it was kept.

    Parameters
    ----------
    field : RecordedField
    box : Box
        Of the cell, in pixels of the field.
    """
    pixels = _from_file(field)
    is_field = pixels is not None
    if pixels is None:
        pixels = _from_record(field)
    if pixels is None:
        return None
    window = _window(box, field.width, field.height)
    shown = np.ascontiguousarray(pixels[window.y : window.y + window.h, window.x : window.x + window.w])
    corner = box.x - window.x - 3, box.y - window.y - 3
    opposite = corner[0] + box.w + 5, corner[1] + box.h + 5
    cv2.rectangle(shown, corner, opposite, _FRAME_RGB, 2)
    bgr = cv2.cvtColor(shown, cv2.COLOR_RGB2BGR)
    return Context(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes(), is_field)


def _window(box: Box, width: int, height: int) -> Box:
    """Return the part of a field that is shown: the cell in the middle, except at the border."""
    side = max(_LEAST_PX, _TIMES * max(box.w, box.h))
    w, h = min(side, width), min(side, height)
    x = min(max(box.x + box.w // 2 - w // 2, 0), width - w)
    y = min(max(box.y + box.h // 2 - h // 2, 0), height - h)
    return Box(x, y, w, h)


def _from_file(field: RecordedField) -> RgbImage | None:
    """Read the field again, where it was a picture that is still the one that it was, by its size."""
    scheme, _, rest = field.source.partition("://")
    if scheme != "dir" or Path(rest).suffix.lower() not in PICTURE_SUFFIXES:
        return None
    try:
        pixels = read_image(local_path(rest))
    except (EdgeleukError, OSError):
        return None
    return pixels if pixels.shape[:2] == (field.height, field.width) else None


def _from_record(field: RecordedField) -> RgbImage | None:
    """Put the field together: the texture in grey, and in their places the cells that were kept."""
    texture = None if field.texture is None else _decoded(field.texture, cv2.IMREAD_GRAYSCALE)
    if texture is None:
        return None
    grey = cv2.resize(texture, (field.width, field.height), interpolation=cv2.INTER_LINEAR)
    pixels = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    for cell in field.cells:
        if cell.crop is not None:
            # A damaged picture is left out.
            with suppress(ValueError, TypeError, IndexError, cv2.error):
                _paste(pixels, cell.box, decode_crop(cell.crop, 1.0))
    return pixels


def _paste(pixels: RgbImage, box: Box, crop: CellCrop) -> None:
    """Put a cell into its place, around the middle of its box."""
    height, width = crop.mask.shape
    left, top = box.x + (box.w - width) // 2, box.y + (box.h - height) // 2
    if left < 0 or top < 0:
        return
    there = pixels[top : top + height, left : left + width]
    if there.shape[:2] != (height, width):
        return
    inside = crop.mask > 0
    there[inside] = crop.pixels[inside]


def _decoded(data: bytes, how: int) -> RgbImage | None:
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error:
        return None
    return None if found is None else np.asarray(found, np.uint8)


def recorded_cells(rows: Iterable[tuple[int, int, int, int, object]]) -> list[RecordedCell]:
    """Return cells from rows of x, y, w, h and crop."""
    return [RecordedCell(Box(*box), crop if isinstance(crop, bytes) else None) for *box, crop in rows]
