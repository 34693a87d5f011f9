"""Labels from what people marked in pictures, in whatever program: each outlined cell is cut out and kept."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.frames import Box, Cell, CellCrop
from edgeleuk.io.images import read_image
from edgeleuk.labels.contents import (
    CellEntry,
    PictureSource,
    Statement,
    following,
    identity_of,
    joined,
    pixels_sha256,
)
from edgeleuk.labels.formats.cells import INDEX, UNCERTAIN, read_index
from edgeleuk.labels.formats.coco import read_coco
from edgeleuk.labels.formats.geojson import read_geojson
from edgeleuk.labels.formats.label_studio import read_label_studio
from edgeleuk.labels.formats.outlines import bounds_of, lies_within, mask_of, tight_box
from edgeleuk.labels.formats.picture_folder import PictureFolder
from edgeleuk.labels.formats.yolo import read_yolo
from edgeleuk.labels.importing import CUT, Imported, cell_in_the_middle, entry_of, path_in, scales_of
from edgeleuk.labels.naming import NamedPicture, place_pictures
from edgeleuk.labels.words import labels_meant
from edgeleuk.results.class_names import compared, plain
from edgeleuk.vision.crops import crop_cell
from edgeleuk.vision.finding import is_one_cell_on_black
from edgeleuk.vision.segmentation import segment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from edgeleuk.frames import RgbImage
    from edgeleuk.labels.contents import Source
    from edgeleuk.labels.formats.cells import ExchangedCell
    from edgeleuk.labels.formats.marks import Mark
    from edgeleuk.labels.formats.outlines import Bools
    from edgeleuk.labels.importing import Progress
    from edgeleuk.labels.naming import Naming
    from edgeleuk.labels.spool import Spool

READERS: dict[str, Callable[[Path], list[Mark]]] = {
    "coco": read_coco,
    "yolo": read_yolo,
    "geojson": read_geojson,
    "label-studio": read_label_studio,
}
# Why an annotation is left out.
NO_CLASS, NOBODY = "it has no class", "only the machine called it something"
NO_CELL, NO_PIXEL = "no white cell in its box", "no pixel within its outline"
# A box that people drew and the cell in it have at least so much in common.
_LEAST_OVERLAP = 0.3


@dataclass(frozen=True, slots=True)
class Origins:
    """What is said of annotations beside their files.

    Attributes
    ----------
    naming : Naming
        Of which slides and subjects the pictures are, and what classes mean.
    by : str or None
        Who annotated, where the file does not tell.
    at : datetime
        When, where the file does not tell.
    px_per_um : float or None
        Scale of the pictures, where it is known.
    """

    naming: Naming
    by: str | None
    at: datetime
    px_per_um: float | None = None


class _Known(NamedTuple):
    """A mark with what is known of its cell."""

    mark: Mark
    label: str | None
    facts: ExchangedCell | None


def import_marks(
    kind: str,
    source: Path,
    pictures: Path | None,
    origins: Origins,
    spool: Spool,
    progress: Progress = lambda *_: None,
) -> Imported:
    """Read annotations, and cut out each cell that somebody called something.

    A cell that was exported from a session, and whose outline is as it was, keeps its identity, its place in
    the session, and all that was said of it; another word for it is added.

    Parameters
    ----------
    kind : str
        One of `READERS`.
    source : Path
        A file of annotations, or a folder.
    pictures : Path or None
        Where the pictures are; by default the folder of the annotations.
    origins : Origins
    spool : Spool
        Takes the crops.
    progress : callable

    Raises
    ------
    UsageError, DataRefusedError
        See the readers; pictures are missing or of another size, outlines leave them, classes, slides, scale
        or people are unknown.
    """
    if origins.px_per_um is not None and not 0 < origins.px_per_um < 1000:
        raise UsageError(
            "the scale is out of range", got=origins.px_per_um, allowed="above 0 px/um, below 1000"
        )
    marks = READERS[kind](source)
    if not marks:
        raise DataRefusedError(f"{source.name} has no annotations")
    folder = PictureFolder(pictures or (source if source.is_dir() else source.parent))
    by_picture = _by_picture(marks, folder)
    index = _index_near(source, folder.folder)
    facts = {path: index.get(path.name) for path in by_picture}
    left_out: dict[str, list[str]] = defaultdict(list)
    known, others = _labelled(by_picture, facts, origins.naming.classes, left_out)
    places = place_pictures(
        folder.folder, [path for path in known if facts[path] is None], origins.naming
    ) | {
        path: NamedPicture(path, "", of.slide, of.subject)
        for path in known
        if (of := facts[path]) is not None
    }
    entries: list[CellEntry] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        scales = _scales(pool, places, facts, origins.px_per_um)
        found = pool.map(lambda path: _cut_out(path, known[path], scales.of[path]), known)
        for done, (path, crops) in enumerate(zip(known, found, strict=True), start=1):
            progress(done, len(known))
            for each, crop in zip(known[path], crops, strict=True):
                if isinstance(crop, str):
                    left_out[crop].append(each.mark.where)
                else:
                    entries.append(_entry(each, crop, places[path], folder.folder, origins, spool))
    if not entries:
        reason, wheres = max(left_out.items(), key=lambda item: len(item[1]), default=("", [""]))
        raise DataRefusedError(
            f"none of {len(marks)} annotations is a labelled cell",
            got=f"{wheres[0]}: {reason}" if reason else f"other classes: {', '.join(others)}",
        )
    return Imported(
        cells=joined(entries),
        left_out=dict(left_out),
        other_classes=others,
        masks=0,
        scale=scales.median,
        scales_estimated=scales.estimated,
        scales_median=scales.taken,
    )


def _by_picture(marks: Sequence[Mark], folder: PictureFolder) -> dict[Path, list[Mark]]:
    """Find the picture of each mark.

    Raises
    ------
    DataRefusedError
        Some are missing.
    """
    found: dict[Path, list[Mark]] = defaultdict(list)
    missing = []
    for mark in marks:
        path = folder.find(mark.picture, mark.where)
        if path is None:
            missing.append(mark.picture)
        else:
            found[path].append(mark)
    if missing:
        names = sorted(set(missing))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise DataRefusedError(
            f"{len(names)} picture{' is' if len(names) == 1 else 's are'} missing",
            got=", ".join(name[:100] for name in names[:3]) + more,
            allowed=f"pictures under {folder.folder}",
            cure="pass the folder of the pictures with --pictures",
        )
    return found


def _index_near(source: Path, pictures: Path) -> dict[str, ExchangedCell]:
    """Read the list of exported cells beside the annotations, or beside the pictures."""
    near = [source if source.is_dir() else source.parent, pictures, pictures.parent]
    return read_index(
        next((folder / INDEX for folder in near if (folder / INDEX).is_file()), near[0] / INDEX)
    )


def _labelled(
    by_picture: Mapping[Path, Sequence[Mark]],
    facts: Mapping[Path, ExchangedCell | None],
    classes: Mapping[str, str],
    left_out: dict[str, list[str]],
) -> tuple[dict[Path, list[_Known]], dict[str, int]]:
    """Tell the label of each mark; with ``--classes`` leave others out, and count them.

    A label of None says nothing new of an exported cell.
    """
    kept: list[tuple[Path, Mark, ExchangedCell | None]] = []
    others: Counter[str] = Counter()
    for path, every in by_picture.items():
        of = facts[path]
        for mark in every if of is None else _together(every):
            if mark.fault is not None:
                left_out[mark.fault].append(mark.where)
            elif mark.word is None or (
                of is not None and _is_new(mark, of) and plain(mark.word) == UNCERTAIN
            ):
                left_out[NO_CLASS].append(mark.where)
            elif of is not None and not _is_new(mark, of) and not of.statements:
                left_out[NOBODY].append(mark.where)
            elif of is None and classes and plain(mark.word) not in compared(classes):
                others[mark.word] += 1
            else:
                kept.append((path, mark, of))
    new = [str(mark.word) for _, mark, of in kept if of is None or _is_new(mark, of)]
    meant = labels_meant(new, classes) if new else {}
    known: dict[Path, list[_Known]] = defaultdict(list)
    for path, mark, of in kept:
        is_new = of is None or _is_new(mark, of)
        known[path].append(_Known(mark, meant[str(mark.word)] if is_new else None, of))
    return known, dict(sorted(others.items()))


def _is_new(mark: Mark, facts: ExchangedCell) -> bool:
    """Whether a mark says what the export did not."""
    return mark.is_said or plain(str(mark.word)) != plain(facts.category)


def _together(marks: Sequence[Mark]) -> list[Mark]:
    """Join the regions of one annotation to the parts of the one cell that its picture shows."""
    parts: dict[str, Mark] = {}
    for mark in marks:
        first = parts.get(mark.where)
        parts[mark.where] = (
            mark if first is None else replace(first, polygons=(*first.polygons, *mark.polygons), box=None)
        )
    return list(parts.values())


class _Scales(NamedTuple):
    """The scale of each picture, and how many told their own or took the median."""

    of: dict[Path, float | None]
    median: float | None
    estimated: int
    taken: int


def _scales(
    pool: ThreadPoolExecutor,
    places: Mapping[Path, NamedPicture],
    facts: Mapping[Path, ExchangedCell | None],
    given: float | None,
) -> _Scales:
    """Tell the scales of pictures: as they were exported, else given, else by their red cells."""
    told = {path: of.px_per_um for path in places if (of := facts[path]) is not None and of.px_per_um}
    asked = [picture for path, picture in places.items() if path not in told]
    scales, median = scales_of(pool, asked, given) if asked else ([], None)
    own = {picture.path: one.px_per_um or median for picture, one in zip(asked, scales, strict=True)}
    estimated = sum(one.px_per_um is not None for one in scales)
    taken = 0 if given is not None else len(asked) - estimated
    return _Scales({**told, **own}, median if given is None else None, estimated, taken)


def _cut_out(path: Path, known: Sequence[_Known], scale: float | None) -> list[CellCrop | str]:
    """Cut out each marked cell of a picture, or say why there is none.

    Raises
    ------
    DataRefusedError
        The picture is unreadable, or has another size than was said, or a mark leaves it.
    """
    pixels = read_image(path)
    assert scale is not None
    height, width = pixels.shape[:2]
    crops: list[CellCrop | str] = []
    cells: list[Cell] | None = None
    for mark, _, facts in known:
        mark = mark.in_pixels(width, height)  # noqa: PLW2901 - the same in pixels
        _require_fitting(mark, width, height)
        mask = _mask(mark, (height, width), exported=facts is not None)
        if mask is not None:
            crops.append(_by_mask(pixels, mask, scale, facts))
        elif is_one_cell_on_black(pixels, scale):
            crops.append(CellCrop.on_black(pixels, scale, whole=facts is None))
        elif mark.box is None:
            crops.append(cell_in_the_middle(pixels, scale, None))
        else:
            cells = segment(pixels, px_per_um=scale) if cells is None else cells
            crops.append(_by_box(pixels, cells, mark.box, scale))
    return crops


def _require_fitting(mark: Mark, width: int, height: int) -> None:
    """Refuse what was marked in another picture than this."""
    sizes = [mark.size] if mark.size is not None else []
    if mark.mask is not None:
        sizes.append((mark.mask.shape[1], mark.mask.shape[0]))
    for size in sizes:
        if size != (width, height):
            raise DataRefusedError(
                f"{mark.where} is about a picture of another size",
                got=f"{mark.picture[:100]} of {width}x{height} px",
                allowed=f"{size[0]}x{size[1]} px",
            )
    bounds = mark.bounds
    if bounds is not None and not lies_within(bounds, (height, width)):
        raise DataRefusedError(
            f"{mark.where} leaves its picture",
            got=", ".join(f"{number:g}" for number in bounds),
            allowed=f"0, 0 to {width}, {height}",
        )


def _mask(mark: Mark, shape: tuple[int, int], *, exported: bool) -> Bools | None:
    """Return the pixels of a mark; None of a box, unless it was exported as the outline of a square cell."""
    if mark.mask is not None:
        return mark.mask
    if not mark.polygons or (mark.box is not None and not exported):
        return None
    # Within the outline alone: of a picture of 100 megapixels each of hundreds of cells is a small part.
    left, top, right, bottom = bounds_of([ring for polygon in mark.polygons for ring in polygon])
    x, y = max(0, math.floor(left)), max(0, math.floor(top))
    size = max(0, min(shape[0], math.ceil(bottom)) - y), max(0, min(shape[1], math.ceil(right)) - x)
    mask = np.zeros(shape, np.bool_)
    for polygon in mark.polygons:
        near = [[(at - x, down - y) for at, down in ring] for ring in polygon]
        mask[y : y + size[0], x : x + size[1]] |= mask_of(near, size)
    return mask


def _by_mask(pixels: RgbImage, mask: Bools, scale: float, facts: ExchangedCell | None) -> CellCrop | str:
    """Cut out what a mask outlines; an exported cell that is as it was stays as it was."""
    if facts is not None:
        whole = CellCrop(pixels, np.where(mask, np.uint8(255), np.uint8(0)), scale)
        if identity_of(whole) == facts.identity:
            return whole
    box = tight_box(mask)
    if box is None:
        return NO_PIXEL
    height, width = mask.shape
    cut = min(box.x, box.y) == 0 or box.x + box.w == width or box.y + box.h == height
    if cut and facts is None and not is_one_cell_on_black(pixels, scale):
        return CUT
    inside = np.where(mask[box.slices], np.uint8(255), np.uint8(0))
    return crop_cell(pixels, Cell(box, inside), scale)


def _by_box(
    pixels: RgbImage, cells: Sequence[Cell], box: tuple[float, float, float, float], scale: float
) -> CellCrop | str:
    """Cut out the cell that a box is about."""
    left, top, right, bottom = (round(side) for side in box)
    drawn = Box(left, top, max(1, right - left), max(1, bottom - top))
    best = max(cells, key=lambda cell: cell.box.overlap(drawn), default=None)
    if best is None or best.box.overlap(drawn) < _LEAST_OVERLAP:
        return NO_CELL
    return CUT if best.touches_border else crop_cell(pixels, best, scale)


def _entry(
    known: _Known, crop: CellCrop, picture: NamedPicture, folder: Path, origins: Origins, spool: Spool
) -> CellEntry:
    """Return what is said of a cell now."""
    mark, label, facts = known
    identity = spool.add(crop)
    statements = list(facts.statements) if facts is not None else []
    if label is not None:
        by = mark.by or origins.by
        if by is None:
            raise UsageError("nobody says who labelled the cells", got=mark.where, cure="pass --by NAME")
        said = Statement(at=mark.at or origins.at, by=by, label=label)
        statements.append(said if mark.at is not None else following(said, statements))
    sources: tuple[Source, ...]
    if facts is not None and facts.identity == identity:
        sources = facts.sources
    else:
        source = PictureSource(
            path=path_in(picture.path, folder), sha256=pixels_sha256(read_image(picture.path))
        )
        sources = (source,)
    return entry_of(picture, crop, identity, sources, tuple(sorted(statements)))
