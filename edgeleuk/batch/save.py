"""``classify --save``: pictures with what was found drawn on them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeleuk.errors import UsageError
from edgeleuk.frames import Box
from edgeleuk.io.console import printable, say
from edgeleuk.io.images import require_picture, write_png
from edgeleuk.results import CellResult, ExcludedCell, FrameResult, Prediction
from edgeleuk.vision.annotate import annotate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.batch.images import ImageResult
    from edgeleuk.frames import Cell, RgbImage

_FLAG = "--save"


class AnnotatedPictures:
    """Draws what was found in each picture.

    Parameters
    ----------
    place : Path
        A ``.png`` file for one picture, else a folder for ``STEM_annotated.png`` of each.
    files : sequence of Path
        The pictures that will come.

    Raises
    ------
    UsageError
        One file for several pictures, two pictures of one name, a place that cannot be written, or
        something there that edgeleuk did not draw.
    """

    def __init__(self, place: Path, files: Sequence[Path]) -> None:
        is_file = place.suffix.lower() == ".png" and not place.is_dir()
        if is_file and len(files) > 1:
            raise UsageError(
                f"{_FLAG} names one file for {len(files)} pictures", got=place, cure=f"pass {_FLAG} FOLDER"
            )
        if not is_file and place.suffix and not place.is_dir():
            raise UsageError(f"wrong ending of {_FLAG}", got=place.name, allowed="NAME.png, or a folder")
        if not is_file:
            if len({file.stem for file in files}) < len(files):
                raise UsageError(
                    "two pictures have one name, and so would their annotated ones",
                    cure=f"use one {_FLAG} for each folder",
                )
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"the folder {place} cannot be made", got=error.strerror) from error
        self._outs = {file: place if is_file else place / f"{file.stem}_annotated.png" for file in files}
        for out in self._outs.values():
            require_picture(out, _FLAG)

    def draw(self, file: Path, pixels: RgbImage, entry: ImageResult, found: Sequence[Cell]) -> None:
        """Write the annotated picture of one entry of ``classify --json``; none of one not judged.

        `found` are the cells of a field, for their outlines.
        """
        if entry.rejected is not None:
            return
        out = self._outs[file]
        drawn = annotate(pixels, _frame_result(file, pixels, entry, found), simulated=False)
        write_png(out, drawn, _FLAG)
        say(f"picture   {printable(str(out))}")


def _frame_result(file: Path, pixels: RgbImage, entry: ImageResult, found: Sequence[Cell]) -> FrameResult:
    height, width = pixels.shape[:2]
    cells, excluded = [], []
    for number, cell in enumerate(entry.cells):
        box = Box(*(cell.box or (0, 0, width, height)))
        if cell.touches_border:
            excluded.append(ExcludedCell(number, box, cell.reason or ""))
            continue
        probability = math.nan if cell.probability is None else cell.probability
        prediction = Prediction(cell.decision, probability, cell.reason)
        cells.append(CellResult(number, True, box, math.nan, math.nan, prediction))
    return FrameResult(
        sequence=0,
        captured_at=0.0,
        source=str(file),
        width=width,
        height=height,
        px_per_um=entry.px_per_um,
        cells=tuple(cells),
        excluded=tuple(excluded),
        found=tuple(found),
        latency_ms=0.0,
    )
