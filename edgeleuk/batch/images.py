"""Image files on disk: classify them, segment them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from edgeleuk.bench.choosing import settled
from edgeleuk.bundle.trusted import read_trusted_bundle
from edgeleuk.classifier.self_test import open_tested_classifier
from edgeleuk.counting.intervals import way_on_text
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.frames import CellCrop
from edgeleuk.io.console import printable, progress_bar
from edgeleuk.io.images import read_picture, write_png
from edgeleuk.io.pictures.limit import allow_megapixels
from edgeleuk.results import (
    CUT,
    SCALE_IMPLAUSIBLE,
    SCALE_OF_PICTURE_UNKNOWN,
    SCALE_UNKNOWN,
    Counted,
    Decision,
    Prediction,
    cells_text,
    counted_of,
)
from edgeleuk.results.kinds import Kind  # noqa: TC001 - msgspec looks at it
from edgeleuk.results.structs import CellCounts, Printed
from edgeleuk.version import RESEARCH_USE
from edgeleuk.vision.finding import find_cells, is_one_cell_on_black
from edgeleuk.vision.looking import fault_of_picture
from edgeleuk.vision.segmentation import nucleus_and_cell_mask, worth_painting
from edgeleuk.vision.stream import OF_THE_LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.frames import Cell, RgbImage
    from edgeleuk.io.pictures.decoding import Decoded
    from edgeleuk.io.settings import RunSettings

    # Of each picture: its file, pixels, result, and the cells of a field.
    OnPicture = Callable[[Path, RgbImage, "ImageResult", Sequence[Cell]], None]


class FoundCell(Printed, frozen=True, kw_only=True):
    """A white cell that was found.

    Attributes
    ----------
    box : (x, y, w, h)
        In pixels of the picture.
    area_px, nucleus_area_px : int
    touches_border : bool
    """

    box: tuple[int, int, int, int]
    area_px: int
    nucleus_area_px: int
    touches_border: bool


class ImageCell(Printed, frozen=True, kw_only=True, omit_defaults=True):
    """A white cell of a picture, and what it is called.

    Attributes
    ----------
    box, area_px, nucleus_area_px, touches_border : optional
        As of `FoundCell`; None of a picture of one cell.
    decision, probability, reason
        As of `CalledCell`.
    """

    box: tuple[int, int, int, int] | None = None
    area_px: int | None = None
    nucleus_area_px: int | None = None
    touches_border: bool | None = None
    decision: Decision
    probability: float | None
    reason: str | None
    kind: Kind | None = None
    kind_probability: float | None = None


class ImageResult(Printed, frozen=True, kw_only=True):
    """What one picture showed.

    Attributes
    ----------
    file : str
    kind : str
        ``cell``: one, cut out on black; ``field``.
    rejected : str or None
        Why it was not worth judging; it has no cells then.
    notes : tuple of str
        What was odd about the file.
    cells : tuple of ImageCell
    px_per_um : float or None
        Scale of a field, where it is known.
    """

    file: str
    kind: Literal["cell", "field"]
    rejected: str | None
    notes: tuple[str, ...]
    cells: tuple[ImageCell, ...]
    px_per_um: float | None = None

    @property
    def counts(self) -> Counted:
        """How many cells are called what."""
        return counted_of((cell.decision.value, cell.reason, cell.kind) for cell in self.cells)


class ArchiveLine(Printed, frozen=True, kw_only=True):
    """A picture's line in the results of an archive: an `ImageResult`, and what it was judged by.

    Attributes
    ----------
    bytes, sha256 : int or None, str or None
        Of the file; None where it could not be read.
    edgeleuk, bundle_sha256, runtime, precision, px_per_um, abstain, gate
        As of `edgeleuk.batch.worker.Standard`.
    scale : float or None
        What `ImageResult` calls ``px_per_um``.
    error : str or None
        Why the picture could not be read.
    """

    file: str
    bytes: int | None
    sha256: str | None
    edgeleuk: str
    bundle_sha256: str
    runtime: str
    precision: str
    px_per_um: float | None
    abstain: str
    gate: bool
    kind: Literal["cell", "field"] | None
    scale: float | None
    rejected: str | None
    notes: tuple[str, ...]
    cells: tuple[ImageCell, ...]
    error: str | None
    research_use: str = RESEARCH_USE


class Classification(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk classify FILES --json`` prints; ``precision`` is the network's here, too."""

    schema_version: int = 1
    bundle: str
    bundle_sha256: str
    runtime: str
    precision: str
    network_precision: str
    cells: CellCounts
    files: tuple[ImageResult, ...]
    research_use: str = RESEARCH_USE


class SegmentedImage(Printed, frozen=True, kw_only=True):
    """The white cells of one picture; see `ImageResult`."""

    file: str
    rejected: str | None
    notes: tuple[str, ...]
    cells: tuple[FoundCell, ...]


class Segmentation(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk segment --json`` prints."""

    schema_version: int = 1
    files: tuple[SegmentedImage, ...]


def classify_files(
    files: Sequence[Path],
    bundle: str,
    settings: RunSettings,
    *,
    on_picture: OnPicture | None = None,
) -> Classification:
    """Classify every white cell of every file.

    Parameters
    ----------
    files : sequence of Path
    bundle : str
        A bundle's path, or ``default``.
    settings : RunSettings
    on_picture : callable, optional
        Is told (file, pixels, result, cells of a field) of each picture; see
        `edgeleuk.batch.save.AnnotatedPictures`.

    Returns
    -------
    Classification

    Raises
    ------
    UsageError, DataRefusedError
        A file is missing or no image, or not one is worth judging; nothing is printed then.
    """
    allow_megapixels(settings.most_megapixels)
    opened = read_trusted_bundle(bundle)
    settings = settled(settings, opened)
    entries = []
    with (
        open_tested_classifier(
            opened,
            runtime=settings.runtime,
            precision=settings.precision,
            threads=settings.threads,
            abstain=settings.abstain,
        ) as classifier,
        progress_bar("classifying") as report,
    ):
        for done, file in enumerate(files, start=1):
            picture = read_picture(file)
            entry, found = classify_picture(
                file, picture, classifier, settings.px_per_um, quality_check=settings.quality_check
            )
            entries.append(entry)
            if on_picture is not None:
                on_picture(file, picture.pixels, entry, found)
            report(done, len(files))
    _require_one(entries)
    cells = [cell for entry in entries for cell in entry.cells]
    counted = counted_of((cell.decision.value, cell.reason, cell.kind) for cell in cells)
    return Classification(
        bundle=opened.manifest.name,
        bundle_sha256=opened.sha256,
        runtime=settings.runtime,
        precision=settings.precision,
        network_precision=settings.precision,
        cells=msgspec.convert(counted.to_json(), CellCounts),
        files=tuple(entries),
    )


def classification_text(result: Classification) -> str:
    """Return the same as lines for people: one for each cell."""
    lines = [line for entry in result.files for line in cell_text(entry)]
    cells = result.cells
    lines += [f"cells     {cells_text(cells.to_json())}", *way_on_text(cells.uncertain_by_reason)]
    return "\n".join([*lines, RESEARCH_USE])


def cell_text(entry: ImageResult | ArchiveLine) -> list[str]:
    """Return a line for each cell of one picture."""
    name = printable(entry.file)
    notes = [f"{name}: {note}" for note in entry.notes]
    if entry.rejected is not None:
        return [*notes, f"{name}: not judged, {entry.rejected}"]
    if not entry.cells:
        return [*notes, f"{name}: no white cell"]
    lines = notes
    for cell in entry.cells:
        box = "" if cell.box is None else " at " + ",".join(str(n) for n in cell.box)
        reason = f" ({cell.reason})" if cell.reason else ""
        p = "-" if cell.probability is None else f"{cell.probability:.3f}"
        lines.append(f"{name}{box}: {cell.decision.value}, P(blast) {p}{reason}")
    return lines


def segment_files(files: Sequence[Path], out: Path, settings: RunSettings) -> Segmentation:
    """Write ``STEM_mask.png`` (255 nucleus, 128 cytoplasm, 0 rest) for every file that is worth judging.

    Cells that the border cuts are listed, and painted only where there is no whole one.

    Returns
    -------
    Segmentation
    """
    if len({file.stem for file in files}) < len(files):
        raise UsageError(
            "two files have one name, and so would their masks", cure="use one --out for each folder"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {out} cannot be made", got=error.strerror) from error
    allow_megapixels(settings.most_megapixels)
    entries = []
    with progress_bar("segmenting") as report:
        for done, file in enumerate(files, start=1):
            pixels, notes = read_picture(file)
            rejected = fault_of_picture(pixels, judge_quality=settings.quality_check)
            cells: list[Cell] = []
            if not rejected:
                cells, (_, trouble) = find_cells(pixels, settings.px_per_um)
                # Cells are found without a scale as well, but not as well.
                notes += (trouble,) if trouble == SCALE_IMPLAUSIBLE else ()
                painted = nucleus_and_cell_mask(worth_painting(cells), pixels.shape[:2])
                write_png(out / f"{file.stem}_mask.png", painted)
            found = tuple(FoundCell(**_cell_facts(cell)) for cell in cells)
            entries.append(SegmentedImage(file=str(file), rejected=rejected, notes=tuple(notes), cells=found))
            report(done, len(files))
    _require_one(entries)
    return Segmentation(files=tuple(entries))


def segmentation_text(result: Segmentation) -> str:
    """Return the same as lines for people: one for each file."""
    lines = []
    for entry in result.files:
        name = printable(entry.file)
        lines += [f"{name}: {note}" for note in entry.notes]
        count = f"{len(entry.cells)} white cell{'s' * (len(entry.cells) != 1)}"
        lines.append(f"{name}: {count if entry.rejected is None else 'no mask, ' + entry.rejected}")
    return "\n".join(lines)


def _require_one(entries: Sequence[ImageResult | SegmentedImage]) -> None:
    """Refuse pictures of which not one is worth judging."""
    faults = [(entry.file, entry.rejected) for entry in entries]
    if faults and all(fault for _, fault in faults):
        name, fault = faults[0]
        what = (
            f"{printable(name)} is not judged"
            if len(faults) == 1
            else f"none of {len(faults)} pictures is judged"
        )
        got = fault if len(faults) == 1 else f"{printable(name)}: {fault}"
        cure = None if fault in OF_THE_LIGHT else "pass --no-quality-check"
        raise DataRefusedError(what, got=got, cure=cure)


def _cell_facts(cell: Cell) -> dict[str, Any]:
    return {
        "box": tuple(cell.box),
        "area_px": cell.area_px,
        "nucleus_area_px": cell.nucleus_area_px,
        "touches_border": cell.touches_border,
    }


def classify_picture(
    file: Path,
    picture: Decoded,
    classifier: Classifier,
    px_per_um: float | None,
    *,
    quality_check: bool = True,
) -> tuple[ImageResult, list[Cell]]:
    """Classify every white cell of one picture.

    Returns
    -------
    result : ImageResult
        One that is not worth judging has no cells, and in ``rejected`` why; see `fault_of_picture`.
    cells : list of Cell
        Those of a field, in the order of the result's; none of a picture of one cell.
    """
    pixels = picture.pixels
    # A cell without its field shows no red cells to measure: C-NMC's scale, unless told otherwise.
    crop_scale = px_per_um or classifier.manifest.input.crop_px_per_um
    is_cell = is_one_cell_on_black(pixels, crop_scale)
    entry = ImageResult(
        file=str(file),
        kind="cell" if is_cell else "field",
        rejected=fault_of_picture(pixels, judge_quality=quality_check),
        notes=tuple(picture.notes),
        cells=(),
    )
    if entry.rejected is not None:
        return entry, []
    if is_cell:
        crop = CellCrop.on_black(pixels, crop_scale, whole=True)
        called = ImageCell(**_prediction_facts(classifier.classify([crop])[0]))
        return msgspec.structs.replace(entry, cells=(called,)), []
    cells, (scale, trouble) = find_cells(pixels, px_per_um)
    if scale is None:
        predictions: list[Prediction | None] = [None] * len(cells)
    else:
        predictions = list(classifier.classify([classifier.crop(pixels, cell, scale) for cell in cells]))
    found = tuple(
        ImageCell(**_cell_facts(cell), **_field_cell_facts(cell, prediction, trouble))
        for cell, prediction in zip(cells, predictions, strict=True)
    )
    return msgspec.structs.replace(entry, cells=found, px_per_um=scale), cells


def _field_cell_facts(cell: Cell, prediction: Prediction | None, trouble: str | None) -> dict[str, Any]:
    if cell.touches_border:
        return {"decision": Decision.UNCERTAIN, "probability": None, "reason": CUT}
    if prediction is None:
        reason = SCALE_OF_PICTURE_UNKNOWN if trouble == SCALE_UNKNOWN else trouble
        return {"decision": Decision.UNCERTAIN, "probability": None, "reason": reason}
    return _prediction_facts(prediction)


def _prediction_facts(prediction: Prediction) -> dict[str, Any]:
    return {
        "decision": prediction.decision,
        "probability": None if math.isnan(prediction.probability) else prediction.probability,
        "reason": prediction.reason,
        "kind": prediction.kind,
        "kind_probability": prediction.kind_probability,
    }
