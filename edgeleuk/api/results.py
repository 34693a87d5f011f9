"""What the door for Python answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeleuk.api.display import as_table, drawn, page_part
from edgeleuk.io.images import read_picture
from edgeleuk.results import CellResult, Decision, ExcludedCell, Prediction, counted_of
from edgeleuk.results import FrameResult as PipelineFrame
from edgeleuk.vision.annotate import annotate
from edgeleuk.vision.segmentation import nucleus_and_cell_mask

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import Box, Cell, Mask, RgbImage
    from edgeleuk.results import Counted

# Of tables without rows, too.
_IMAGE_COLUMNS = ("file", "x", "y", "w", "h", "label", "probability", "reason")
_FRAME_COLUMNS = (
    *("track", "is_new", "box", "area_um2", "nucleus_area_um2"),
    *("label", "probability", "reason"),
)


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedCell:
    """A white cell that was found.

    Attributes
    ----------
    box : Box
        ``x y w h`` in pixels of the picture.
    mask : (h, w) uint8
        Of the box's size: 255 nucleus, 128 cytoplasm, 0 rest.
    area_px, nucleus_area_px : int
    touches_border : bool
        The picture's edge cuts the cell.

    Examples
    --------
    >>> from edgeleuk.frames import Box
    >>> cell = SegmentedCell(Box(5, 7, 2, 2), np.full((2, 2), 255, np.uint8), 4, 4, False)
    >>> cell.contour.tolist()
    [[5, 7], [5, 8], [6, 8], [6, 7]]
    """

    box: Box
    mask: Mask = field(repr=False)
    area_px: int
    nucleus_area_px: int
    touches_border: bool

    @property
    def contour(self) -> npt.NDArray[np.int32]:
        """Its outline, (n, 2) of x and y in pixels of the picture."""
        return _contour(self.box, self.mask)


@dataclass(frozen=True, slots=True, eq=False)
class ImageCell:
    """A white cell of a picture, and what it is called.

    Attributes
    ----------
    box : Box
        ``x y w h`` in pixels; the whole picture where that shows one cell on black.
    label : str
        ``blast``, ``normal``, ``other`` or ``uncertain``.
    probability : float or None
        Of a blast; None where nothing was judged.
    reason : str or None
        Why the cell is ``uncertain``.
    found : Cell or None
        The cell with its mask; None in a picture of one cell on black.
    kind : str or None
        Such as ``neutrophil``: see `edgeleuk.results.kinds`. None where it is not known.
    kind_probability : float or None
        Of that kind.

    Examples
    --------
    >>> from edgeleuk.frames import Box
    >>> ImageCell(Box(5, 7, 2, 2), "blast", 0.9, None).contour.tolist()
    [[5, 7], [6, 7], [6, 8], [5, 8]]
    """

    box: Box
    label: str
    probability: float | None
    reason: str | None
    found: Cell | None = field(default=None, repr=False)
    kind: str | None = None
    kind_probability: float | None = None

    @property
    def contour(self) -> npt.NDArray[np.int32]:
        """Its outline, (n, 2) of x and y in pixels; the corners of the box where there is no mask."""
        if self.found is not None:
            return _contour(self.box, self.found.mask)
        x, y, w, h = self.box
        return np.array([(x, y), (x + w - 1, y), (x + w - 1, y + h - 1), (x, y + h - 1)], np.int32)

    def row(self) -> dict[str, Any]:
        """Return it as one row of a table."""
        x, y, w, h = self.box
        return {
            "x": x,
            "y": y,
            "w": w,
            "h": h,
            "label": self.label,
            "probability": self.probability,
            "reason": self.reason,
            "kind": self.kind,
            "kind_probability": self.kind_probability,
        }


@dataclass(frozen=True, slots=True, eq=False)
class ImageResult:
    """What one picture showed.

    Attributes
    ----------
    file : str
        Its path; ``array 0``, ``array 1``, ... of arrays.
    kind : str
        ``cell``: one, cut out on black; ``field``.
    rejected : str or None
        Why the picture was not worth judging; it has no cells then.
    cells : tuple of ImageCell
    px_per_um : float or None
        Scale of a field, where it is known.
    facts : dict
        The picture's entry of ``edgeleuk classify --json``.
    rgb : (H, W, 3) uint8, or None
        The array that was handed in; a file is read again when it is drawn.

    Examples
    --------
    >>> from edgeleuk.frames import Box
    >>> cells = (ImageCell(Box(5, 7, 2, 2), "blast", 0.9, None),)
    >>> ImageResult("field.png", "field", None, cells, 10.0, {}).counts.text()
    '1 blast, 0 normal, 0 uncertain'
    """

    file: str
    kind: str
    rejected: str | None
    cells: tuple[ImageCell, ...]
    px_per_um: float | None
    facts: dict[str, Any] = field(repr=False)
    rgb: RgbImage | None = field(default=None, repr=False)

    @property
    def counts(self) -> Counted:
        """How many cells are called what, and why the uncertain ones are."""
        return counted_of((cell.label, cell.reason, cell.kind) for cell in self.cells)

    def annotated(self) -> RgbImage:
        """Return the picture with its results drawn on it, (H + legend, W, 3) uint8 RGB."""
        pixels = read_picture(Path(self.file)).pixels if self.rgb is None else self.rgb
        judged, cut = [], []
        for number, cell in enumerate(self.cells, start=1):
            if cell.found is not None and cell.found.touches_border:
                cut.append(ExcludedCell(number, cell.box, cell.reason or ""))
                continue
            p = math.nan if cell.probability is None else cell.probability
            prediction = Prediction(Decision(cell.label), p, cell.reason)
            judged.append(CellResult(number, True, cell.box, math.nan, math.nan, prediction))
        frame = PipelineFrame(
            sequence=0,
            captured_at=0.0,
            source=self.file,
            width=pixels.shape[1],
            height=pixels.shape[0],
            px_per_um=self.px_per_um,
            cells=tuple(judged),
            excluded=tuple(cut),
            found=tuple(cell.found for cell in self.cells if cell.found is not None),
            latency_ms=0.0,
        )
        return annotate(pixels, frame, simulated=False)

    def plot(self, axes: Any = None) -> Any:
        """Draw the annotated picture with matplotlib; return the axes.

        Raises
        ------
        MissingDependencyError
            matplotlib is not installed.
        """
        return drawn(self.annotated(), axes)

    def to_pandas(self) -> Any:
        """Return a DataFrame with one row for each cell.

        Raises
        ------
        MissingDependencyError
            pandas is not installed.
        """
        return as_table(({"file": self.file, **cell.row()} for cell in self.cells), _IMAGE_COLUMNS)

    def to_json(self) -> dict[str, Any]:
        """Return the picture's entry of ``edgeleuk classify --json``."""
        return dict(self.facts)

    def _repr_html_(self) -> str:
        return page_part(self.file, _counts(self.counts, self.rejected), self.annotated())


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedImage:
    """The white cells of one picture.

    Attributes
    ----------
    file : str
    rejected : str or None
        Why the picture was not worth segmenting.
    cells : tuple of SegmentedCell
    px_per_um : float or None
    mask : (H, W) uint8
        Of the whole picture: 255 nucleus, 128 cytoplasm, 0 rest.

    Examples
    --------
    >>> segmented_image("field.png", "blurred", [], None, (480, 640)).mask.shape
    (480, 640)
    """

    file: str
    rejected: str | None
    cells: tuple[SegmentedCell, ...]
    px_per_um: float | None
    mask: Mask = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameResult(PipelineFrame):
    """What one frame of a camera showed, with its pixels.

    Attributes
    ----------
    rgb : (H, W, 3) uint8
        The frame as it was judged.
    simulated : bool
        The picture was drawn, not photographed.

    Examples
    --------
    >>> import edgeleuk
    >>> frames = list(edgeleuk.watch("virtual://?seed=1&frames=2", runtime="litert"))
    >>> [frame.sequence for frame in frames], frames[0].simulated
    ([0, 1], True)
    """

    rgb: RgbImage = field(repr=False)
    simulated: bool = False

    @property
    def counts(self) -> Counted:
        """How many cells of this frame are called what; a cell may stand in several frames."""
        return counted_of(
            (of.decision.value, of.reason, of.kind) for of in (cell.prediction for cell in self.cells)
        )

    def annotated(self) -> RgbImage:
        """Return the frame with its results drawn on it, (H + legend, W, 3) uint8 RGB."""
        return annotate(self.rgb, self, simulated=self.simulated)

    def plot(self, axes: Any = None) -> Any:
        """Draw the annotated frame with matplotlib; return the axes.

        Raises
        ------
        MissingDependencyError
            matplotlib is not installed.
        """
        return drawn(self.annotated(), axes)

    def to_pandas(self) -> Any:
        """Return a DataFrame with one row for each judged cell.

        Raises
        ------
        MissingDependencyError
            pandas is not installed.
        """
        return as_table(self.to_json()["cells"], _FRAME_COLUMNS)

    def to_json(self) -> dict[str, Any]:
        """Return the frame as plain values, without its pixels."""
        return {
            "sequence": self.sequence,
            "captured_at": self.captured_at,
            "source": self.source,
            "width": self.width,
            "height": self.height,
            "px_per_um": self.px_per_um,
            "latency_ms": self.latency_ms,
            "cells": [
                {
                    "track": cell.track,
                    "is_new": cell.is_new,
                    "box": list(cell.box),
                    "area_um2": _number(cell.area_um2),
                    "nucleus_area_um2": _number(cell.nucleus_area_um2),
                    "label": cell.prediction.decision.value,
                    "probability": _number(cell.prediction.probability),
                    "reason": cell.prediction.reason,
                }
                for cell in self.cells
            ],
            "excluded": [
                {"track": cell.track, "box": list(cell.box), "reason": cell.reason} for cell in self.excluded
            ],
        }

    def _repr_html_(self) -> str:
        return page_part(f"{self.source}, frame {self.sequence}", _counts(self.counts), self.annotated())


def segmented_image(
    file: str, rejected: str | None, cells: list[Cell], px_per_um: float | None, shape: tuple[int, int]
) -> SegmentedImage:
    """Put the cells of a picture of (H, W) pixels together."""
    return SegmentedImage(
        file,
        rejected,
        tuple(
            SegmentedCell(cell.box, cell.mask, cell.area_px, cell.nucleus_area_px, cell.touches_border)
            for cell in cells
        ),
        px_per_um,
        nucleus_and_cell_mask(cells, shape),
    )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _counts(counted: Counted, rejected: str | None = None) -> dict[str, Any]:
    counts = {"blast": counted.blast, "normal": counted.normal, "uncertain": counted.uncertain}
    return counts if rejected is None else {**counts, "not judged": rejected}


def _contour(box: Box, mask: Mask) -> npt.NDArray[np.int32]:
    """Return the longest outline of a mask."""
    padded = np.pad((mask > 0).astype(np.uint8), 1)
    found, _ = cv2.findContours(
        padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(box.x - 1, box.y - 1)
    )
    return np.asarray(max(found, key=len), np.int32)[:, 0]
