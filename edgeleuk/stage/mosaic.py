"""The slide as one picture: every field where the stage was, and the cells on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.stage.resuming import field_of
from edgeleuk.vision.annotate import COLOURS, legend_band

if TYPE_CHECKING:
    from edgeleuk.frames import RgbImage
    from edgeleuk.results import Decision, FrameResult
    from edgeleuk.stage.base import ScanField

# A picture that a viewer opens, whatever the area.
MOST_PX = 4096
_GROUND = 245
_LEAST_DOT_PX = 3


class Mosaic:
    """Puts reduced fields side by side as they come.

    Parameters
    ----------
    fields : sequence of ScanField
        All that there will be; (column, row) tells where.
    size_px : (W, H)
        Of a field.
    step_px : (x, y)
        From one column, and one row, to the next, in pixels of a field.

    Attributes
    ----------
    is_empty : bool
        No field has come yet.
    """

    def __init__(
        self, fields: list[ScanField], size_px: tuple[int, int], step_px: tuple[float, float]
    ) -> None:
        self._step = step_px
        columns, rows = (1 + max(getattr(f, name) for f in fields) for name in ("column", "row"))
        whole = (
            (columns - 1) * step_px[0] + size_px[0],
            (rows - 1) * step_px[1] + size_px[1],
        )
        self.factor = min(1.0, MOST_PX / max(whole))
        width, height = (max(1, round(side * self.factor)) for side in whole)
        self.pixels = np.full((height, width, 3), _GROUND, np.uint8)
        self._places = {field.number: field for field in fields}
        self._touched = np.zeros((height, width), bool)
        self.is_empty = True
        self._dots: list[tuple[int, int, tuple[int, int, int]]] = []

    def add(self, result: FrameResult, pixels: RgbImage) -> None:
        """Put one field in its place, and remember its cells that were not seen before."""
        field = self._places[field_of(result.source) or 0]
        self.is_empty = False
        left, top = field.column * self._step[0], field.row * self._step[1]
        x, y = round(left * self.factor), round(top * self.factor)
        size = (max(1, round(result.width * self.factor)), max(1, round(result.height * self.factor)))
        small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        under = self.pixels[y : y + size[1], x : x + size[0]]
        under[...] = small[: under.shape[0], : under.shape[1]]
        self._touched[y : y + size[1], x : x + size[0]] = True
        for cell in result.cells:
            if cell.is_new:
                self.mark(field.number, cell.box.centre, cell.prediction.decision)

    def mark(self, number: int, centre_px: tuple[float, float], decision: Decision) -> None:
        """Remember a cell that was seen in a field, by its place there."""
        field = self._places[number]
        x, y = (field.column * self._step[0] + centre_px[0], field.row * self._step[1] + centre_px[1])
        self._dots.append((round(x * self.factor), round(y * self.factor), COLOURS[decision]))

    def begin_with(self, earlier: RgbImage) -> None:
        """Fill in, where no field has come yet, what an earlier part of the scan had drawn."""
        height, width = self._touched.shape
        if earlier.shape[0] >= height and earlier.shape[1] == width:
            self.pixels[~self._touched] = earlier[:height][~self._touched]
            self.is_empty = False

    def drawn(self, px_per_um: float, *, simulated: bool) -> RgbImage:
        """Return the picture with a ring around every cell, in the colours of the decisions, and a legend.

        `px_per_um` is the scale of a field.
        """
        picture = self.pixels.copy()
        radius = max(_LEAST_DOT_PX, round(110 * self.factor))
        for x, y, colour in self._dots:
            cv2.circle(picture, (x, y), radius, colour, max(1, radius // 6), cv2.LINE_AA)
        width = picture.shape[1]
        letter = max(8.0, min(width / 60, 28.0))
        return np.vstack([picture, legend_band(width, letter, px_per_um * self.factor, simulated=simulated)])
