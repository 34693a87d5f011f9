"""A field as the page shows it: annotated, and no larger than a screen."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import Box, Cell
from edgeleuk.vision.annotate import annotate, write_fitting

if TYPE_CHECKING:
    from edgeleuk.frames import RgbImage
    from edgeleuk.results import FrameResult
    from edgeleuk.serve.live import Field

MOST_WIDTH = 1280
_WHITE = (255, 255, 255)


def picture_of(field: Field, *, simulated: bool) -> RgbImage:
    """Draw a field.

    Parameters
    ----------
    field : Field
    simulated : bool
        Stamps SIMULATED on it.

    Returns
    -------
    (H, W, 3) uint8, RGB
        At most `MOST_WIDTH` wide.
    """
    pixels = field.pixels
    # Whole steps: they take a fraction of the time of others.
    step = math.ceil(pixels.shape[1] / MOST_WIDTH)
    factor = 1 / step
    if step > 1:
        size = (pixels.shape[1] // step, max(1, pixels.shape[0] // step))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    if field.result is not None:
        return annotate(pixels, _reduced(field.result, factor), simulated=simulated)
    height, width = pixels.shape[:2]
    letter = max(11.0, height / 44)
    band = np.zeros((round(2.4 * letter), width, 3), np.uint8)
    words = f"{'SIMULATED  ' * simulated}not used: {field.reason}"
    write_fitting(band, words, (round(letter), round(1.7 * letter)), letter, _WHITE)
    return np.vstack([pixels, band])


def _reduced(result: FrameResult, factor: float) -> FrameResult:
    """Return what was found in a picture as it lies in a smaller one."""
    if factor == 1:
        return result
    scale = None if result.px_per_um is None else result.px_per_um * factor
    return replace(
        result,
        px_per_um=scale,
        cells=tuple(replace(cell, box=_box(cell.box, factor)) for cell in result.cells),
        excluded=tuple(replace(cell, box=_box(cell.box, factor)) for cell in result.excluded),
        found=tuple(_cell(cell, factor) for cell in result.found),
    )


def _box(box: Box, factor: float) -> Box:
    left, top = int(box.x * factor), int(box.y * factor)
    return Box(left, top, max(1, round(box.w * factor)), max(1, round(box.h * factor)))


def _cell(cell: Cell, factor: float) -> Cell:
    box = _box(cell.box, factor)
    mask = np.asarray(cv2.resize(cell.mask, (box.w, box.h), interpolation=cv2.INTER_NEAREST), np.uint8)
    return Cell(box, mask, cell.touches_border)
