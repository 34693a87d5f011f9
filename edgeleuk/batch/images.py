"""Image files on disk: classify them, segment them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeleuk.bench.choosing import settled
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.self_test import open_tested_classifier
from edgeleuk.counting.intervals import way_on_text
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.frames import CellCrop
from edgeleuk.io.console import printable, progress_bar
from edgeleuk.io.images import read_picture, write_png
from edgeleuk.io.pictures.limit import allow_megapixels
from edgeleuk.pipeline.scale import SCALE_IMPLAUSIBLE, SCALE_UNKNOWN, PictureScale, estimated_scale
from edgeleuk.results import Decision, Prediction, cells_text, counted_of
from edgeleuk.version import RESEARCH_USE
from edgeleuk.vision.looking import fault_of_picture
from edgeleuk.vision.quality import is_cell_on_black
from edgeleuk.vision.segmentation import nucleus_and_cell_mask, segment, worth_painting
from edgeleuk.vision.stream import OF_THE_LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.frames import Cell, RgbImage
    from edgeleuk.io.pictures.decoding import Decoded
    from edgeleuk.io.settings import RunSettings


def classify_files(files: Sequence[Path], bundle: str, settings: RunSettings) -> dict[str, Any]:
    """Classify every white cell of every file.

    Returns
    -------
    dict
        As ``edgeleuk classify --json`` prints it.

    Raises
    ------
    UsageError, DataRefusedError
        A file is missing or no image, or not one is worth judging; nothing is printed then.
    """
    allow_megapixels(settings.most_megapixels)
    opened = read_bundle(bundle)
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
            entries.append(
                classify_picture(file, picture, classifier, settings.px_per_um, gate=settings.gate)
            )
            report(done, len(files))
    _require_one(entries)
    cells = [cell for entry in entries for cell in entry["cells"]]
    return {
        "schema_version": 1,
        "bundle": opened.manifest.name,
        "bundle_sha256": opened.sha256,
        "runtime": settings.runtime,
        "precision": settings.precision,
        "cells": counted_of((cell["decision"], cell["reason"]) for cell in cells).to_json(),
        "files": entries,
        "research_use": RESEARCH_USE,
    }


def classification_text(result: dict[str, Any]) -> str:
    """Return the same as lines for people: one for each cell."""
    lines = [line for entry in result["files"] for line in cell_text(entry)]
    cells = result["cells"]
    lines += [f"cells     {cells_text(cells)}", *way_on_text(cells["uncertain_by_reason"])]
    return "\n".join([*lines, RESEARCH_USE])


def cell_text(entry: Mapping[str, Any]) -> list[str]:
    """Return a line for each cell of one picture."""
    name = printable(entry["file"])
    notes = [f"{name}: {note}" for note in entry["notes"]]
    if entry["rejected"] is not None:
        return [*notes, f"{name}: not judged, {entry['rejected']}"]
    if not entry["cells"]:
        return [*notes, f"{name}: no white cell"]
    lines = notes
    for cell in entry["cells"]:
        box = "" if entry["kind"] == "cell" else " at " + ",".join(str(n) for n in cell["box"])
        reason = f" ({cell['reason']})" if cell["reason"] else ""
        p = "-" if cell["probability"] is None else f"{cell['probability']:.3f}"
        lines.append(f"{name}{box}: {cell['decision']}, P(blast) {p}{reason}")
    return lines


def segment_files(files: Sequence[Path], out: Path, settings: RunSettings) -> dict[str, Any]:
    """Write ``STEM_mask.png`` (255 nucleus, 128 cytoplasm, 0 rest) for every file that is worth judging.

    Cells that the border cuts are listed, and painted only where there is no whole one.

    Returns
    -------
    dict
        As ``edgeleuk segment --json`` prints it.
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
            entry = {"file": str(file), "rejected": fault_of_picture(pixels, judge_quality=settings.gate)}
            cells: list[Cell] = []
            if not entry["rejected"]:
                cells, (_, trouble) = find_cells(pixels, settings.px_per_um)
                # Cells are found without a scale as well, but not as well.
                notes += (trouble,) if trouble == SCALE_IMPLAUSIBLE else ()
                painted = nucleus_and_cell_mask(worth_painting(cells), pixels.shape[:2])
                write_png(out / f"{file.stem}_mask.png", painted)
            entries.append(entry | {"notes": list(notes), "cells": [_cell_facts(cell) for cell in cells]})
            report(done, len(files))
    _require_one(entries)
    return {"schema_version": 1, "files": entries}


def segmentation_text(result: dict[str, Any]) -> str:
    """Return the same as lines for people: one for each file."""
    lines = []
    for entry in result["files"]:
        name = printable(entry["file"])
        lines += [f"{name}: {note}" for note in entry["notes"]]
        count = f"{len(entry['cells'])} white cell{'s' * (len(entry['cells']) != 1)}"
        lines.append(f"{name}: {count if entry['rejected'] is None else 'no mask, ' + entry['rejected']}")
    return "\n".join(lines)


def _require_one(entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse pictures of which not one is worth judging."""
    faults = [(entry["file"], entry["rejected"]) for entry in entries]
    if faults and all(fault for _, fault in faults):
        name, fault = faults[0]
        what = (
            f"{printable(name)} is not judged"
            if len(faults) == 1
            else f"none of {len(faults)} pictures is judged"
        )
        got = fault if len(faults) == 1 else f"{printable(name)}: {fault}"
        raise DataRefusedError(what, got=got, cure=None if fault in OF_THE_LIGHT else "pass --no-gate")


def _cell_facts(cell: Cell) -> dict[str, Any]:
    return {
        "box": list(cell.box),
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
    gate: bool = True,
    on_cells: Callable[[list[Cell]], None] = lambda _: None,
) -> dict[str, Any]:
    """Classify every white cell of one picture; `on_cells` is told those of a field, in their order.

    Returns
    -------
    dict
        ``file kind rejected notes cells``, and ``px_per_um`` of a field. One that is not worth judging has no
        cells, and in ``rejected`` why; see `fault_of_picture`.
    """
    pixels = picture.pixels
    entry: dict[str, Any] = {
        "file": str(file),
        "kind": "cell" if is_cell_on_black(pixels) else "field",
        "rejected": fault_of_picture(pixels, judge_quality=gate),
        "notes": list(picture.notes),
        "cells": [],
    }
    if entry["rejected"] is not None:
        return entry
    if entry["kind"] == "cell":
        # A cell without its field shows no red cells to measure: C-NMC's scale, unless told otherwise.
        crop = CellCrop.on_black(pixels, px_per_um or classifier.manifest.input.crop_px_per_um, whole=True)
        return entry | {"cells": [_prediction_facts(classifier.classify([crop])[0])]}
    cells, (scale, trouble) = find_cells(pixels, px_per_um)
    on_cells(cells)
    if scale is None:
        predictions: list[Prediction | None] = [None] * len(cells)
    else:
        predictions = list(classifier.classify([classifier.crop(pixels, cell, scale) for cell in cells]))
    return entry | {
        "px_per_um": scale,
        "cells": [
            _cell_facts(cell) | _field_cell_facts(cell, prediction, trouble)
            for cell, prediction in zip(cells, predictions, strict=True)
        ],
    }


def find_cells(pixels: RgbImage, px_per_um: float | None) -> tuple[list[Cell], PictureScale]:
    """Find the white cells of a picture, and its scale: the given one, else what the red cells tell."""
    if px_per_um is not None:
        return segment(pixels, px_per_um=px_per_um), PictureScale(px_per_um)
    scale = estimated_scale(pixels)
    cells = segment(pixels, px_per_um=scale.px_per_um)
    return cells, scale.of_cells(cells)


def _field_cell_facts(cell: Cell, prediction: Prediction | None, trouble: str | None) -> dict[str, Any]:
    if cell.touches_border:
        return {"decision": Decision.UNCERTAIN.value, "probability": None, "reason": "cut by the border"}
    if prediction is None:
        reason = "the scale is unknown: pass --px-per-um" if trouble == SCALE_UNKNOWN else trouble
        return {"decision": Decision.UNCERTAIN.value, "probability": None, "reason": reason}
    return _prediction_facts(prediction)


def _prediction_facts(prediction: Prediction) -> dict[str, Any]:
    return {
        "decision": prediction.decision.value,
        "probability": prediction.probability,
        "reason": prediction.reason,
    }
