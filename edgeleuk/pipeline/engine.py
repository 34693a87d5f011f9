"""What the pipeline does to a frame, part by part: each may be exchanged for another that does the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from edgeleuk.vision.crops import crop_cell
from edgeleuk.vision.scale import measure_scale
from edgeleuk.vision.segmentation import segment as segment_field
from edgeleuk.vision.stream import PictureCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeleuk.frames import Cell, CellCrop, RgbImage
    from edgeleuk.pipeline.scale import Scale
    from edgeleuk.results import Prediction
    from edgeleuk.vision.tracking import Placed


class CellClassifier(Protocol):
    """Judges cells; see `edgeleuk.classifier.classifier.Classifier`."""

    def classify(self, crops: Sequence[CellCrop]) -> list[Prediction]:
        """Return one prediction for each crop, in their order."""
        ...

    def consensus(self, views: Sequence[Prediction]) -> Prediction:
        """Judge one cell from several views of it, the best focused first."""
        ...


class Tracked(Protocol):
    """What the pipeline wants to know of a recognised cell."""

    @property
    def track(self) -> int:
        """Number of the cell in the session."""
        ...


class CellTracker(Protocol):
    """Recognises cells seen before; see `edgeleuk.vision.tracking.FieldTracker`."""

    placed: Placed | None

    def update(self, pixels: RgbImage, cells: Sequence[Cell]) -> Sequence[Tracked]:
        """Return one sighting for each cell, in their order."""
        ...


class Segmenter(Protocol):
    """Finds white cells; see `edgeleuk.vision.segmentation.segment`."""

    def __call__(self, pixels: RgbImage, *, px_per_um: float | None = None) -> Sequence[Cell]:
        """Return the white cells of a field; estimates the scale where none is given."""
        ...


# A run judges whole cells; of others it wants to know where they lie.
whole_cells = partial(segment_field, outline_cut=False)


def unchanged(pixels: RgbImage) -> RgbImage:
    """Leave a frame as the camera took it; a flat field divides it by a blank."""
    return pixels


def accept(_: RgbImage) -> str | None:
    """Let every frame pass; a quality check returns the reason to reject one."""
    return None


def see_nothing(_: RgbImage) -> PictureCheck:
    """Find nothing wrong with a stream; see `edgeleuk.vision.stream.StreamWatch.look`."""
    return PictureCheck(None)


@dataclass(frozen=True, slots=True)
class Engine:
    """What is done to a frame, part by part.

    Attributes
    ----------
    classifier : CellClassifier
    tracker : CellTracker
        Holds the memory of one session: a new session wants a new one.
    segment : Segmenter
    crop : callable
        (pixels, cell, px_per_um) -> CellCrop.
    estimate_scale : callable
        pixels -> Scale or None; one that is not plausible is refused with that reason.
    correct : callable
        pixels -> pixels, before anything is judged: takes the lamp and the lens out.
    quality_check : callable
        pixels -> reason to reject the frame, or None. Asked about what `watch` lets pass.
    watch : callable
        pixels -> Look. Sees every frame that was decoded: it has to compare them with each other.
    """

    classifier: CellClassifier
    tracker: CellTracker
    segment: Segmenter = whole_cells
    crop: Callable[[RgbImage, Cell, float], CellCrop] = crop_cell
    estimate_scale: Callable[[RgbImage], Scale | None] = measure_scale
    correct: Callable[[RgbImage], RgbImage] = unchanged
    quality_check: Callable[[RgbImage], str | None] = accept
    watch: Callable[[RgbImage], PictureCheck] = see_nothing
