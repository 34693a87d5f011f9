"""Labels from folders of pictures, each of one cell: on black, or with what is around it."""

from __future__ import annotations

import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.frames import Box, CellCrop
from edgeleuk.io.images import read_image
from edgeleuk.io.walking import PICTURE_SUFFIXES, files_under
from edgeleuk.labels.contents import (
    LONGEST_NAME,
    CellEntry,
    PictureSource,
    Statement,
    joined,
    pixels_sha256,
    tidy,
)
from edgeleuk.labels.naming import name_pictures
from edgeleuk.results.class_folders import without_masks
from edgeleuk.vision.crops import crop_cell
from edgeleuk.vision.finding import is_one_cell_on_black, nearest_the_middle
from edgeleuk.vision.picture_scale import are_possible, estimated_scale
from edgeleuk.vision.segmentation import segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from edgeleuk.frames import RgbImage
    from edgeleuk.labels.contents import Source
    from edgeleuk.labels.naming import NamedPicture, Naming
    from edgeleuk.labels.spool import Spool

    Progress = Callable[[int, int], None]

# The pictures of a folder come from one microscope: a scale that is farther from the others' is a mistake.
_FARTHEST = 1.25
# Why a picture is left out.
NO_CELL, CUT, UNREADABLE = "no white cell in its middle", "the cell is cut by the border", "unreadable"
MASK = "a mask beside a picture"


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a folder.

    Attributes
    ----------
    cells : tuple of CellEntry
    left_out : dict of str to list of str
        By the reason, the pictures that are no labelled cell now.
    other_classes : dict of str to int
        Pictures of classes that nobody asked for, by folder.
    masks : int
        Pictures that are masks of others.
    scale : float or None
        The median of the estimated scales; None where the scale was given, or none was needed.
    scales_estimated, scales_median : int
        Pictures whose own red cells told the scale, and those that took the median.
    """

    cells: tuple[CellEntry, ...]
    left_out: dict[str, list[str]]
    other_classes: dict[str, int]
    masks: int
    scale: float | None
    scales_estimated: int
    scales_median: int


class Scaled(NamedTuple):
    """What the first look at a picture told: its own scale, or why it is left out."""

    px_per_um: float | None = None
    fault: str | None = None


class _Found(NamedTuple):
    """A cell in its picture, or why there is none."""

    crop: CellCrop | None
    pixels_sha256: str
    fault: str | None = None


def import_folder(
    folder: Path,
    naming: Naming,
    spool: Spool,
    *,
    by: str,
    at: datetime,
    px_per_um: float | None = None,
    progress: Progress = lambda *_: None,
) -> Imported:
    """Find the cell in the middle of each picture of a folder.

    Parameters
    ----------
    folder : Path
        Entered with all folders in it.
    naming : Naming
        What the pictures show, and of which slides and subjects they are.
    spool : Spool
        Takes the crops.
    by : str
        Who labelled them.
    at : datetime
        When.
    px_per_um : float, optional
        Scale of the pictures. Else the red cells of each tell it, or those of the others.
    progress : callable

    Raises
    ------
    DataRefusedError
        No picture is there or shows a cell, classes or slides are unknown, or no picture tells a scale.
    UsageError
        See `name_pictures`.
    """
    if px_per_um is not None and not 0 < px_per_um < 1000:
        raise UsageError("the scale is out of range", got=px_per_um, allowed="above 0 px/um, below 1000")
    listed = sorted(files_under(folder, PICTURE_SUFFIXES, "give an existing folder"))
    paths, masks = without_masks(listed)
    if not paths:
        raise DataRefusedError(f"no pictures in {folder}", allowed=" ".join(PICTURE_SUFFIXES))
    named, other_classes = name_pictures(folder, paths, naming)
    left_out: dict[str, list[str]] = {}
    entries = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        scales, median = scales_of(pool, named, px_per_um)
        found = pool.map(lambda picture, scaled: _found(picture, scaled, median), named, scales)
        for done, (picture, cell) in enumerate(zip(named, found, strict=True), start=1):
            progress(done, len(named))
            if cell.crop is None:
                left_out.setdefault(cell.fault or "", []).append(path_in(picture.path, folder))
            else:
                source = PictureSource(path=path_in(picture.path, folder), sha256=cell.pixels_sha256)
                said = Statement(at=at, by=by, label=picture.label)
                entries.append(entry_of(picture, cell.crop, spool.add(cell.crop), (source,), (said,)))
    if not entries:
        reason, files = max(left_out.items(), key=lambda item: len(item[1]))
        raise DataRefusedError(
            f"none of {len(named)} pictures shows a cell to learn from",
            got=f"{files[0]}: {reason}",
            cure="pass pictures of one white cell each, and --px-per-um if their scale is known",
        )
    return Imported(
        cells=joined(entries),
        left_out=left_out,
        other_classes=other_classes,
        masks=masks,
        scale=median if px_per_um is None else None,
        scales_estimated=sum(one.px_per_um is not None for one in scales),
        scales_median=0 if px_per_um is not None else sum(one == Scaled() for one in scales),
    )


def scales_of(
    pool: ThreadPoolExecutor, named: Sequence[NamedPicture], given: float | None
) -> tuple[list[Scaled], float | None]:
    """Let each picture tell its own scale, unless somebody did; and the scale of those that cannot.

    Raises
    ------
    DataRefusedError
        None of them can.
    """
    if given is not None:
        return [Scaled()] * len(named), given
    scales = list(pool.map(_scaled, named))
    own = [one.px_per_um for one in scales if one.px_per_um is not None]
    if not own and any(one.fault is None for one in scales):
        raise DataRefusedError(
            f"none of {len(named)} pictures tells its scale",
            got="too few red cells",
            cure="pass --px-per-um, the scale of the pictures",
        )
    if not own:
        return scales, None
    median = statistics.median(own)
    return [Scaled() if _is_far(one.px_per_um, median) else one for one in scales], median


def _is_far(px_per_um: float | None, median: float) -> bool:
    return px_per_um is not None and not 1 / _FARTHEST <= px_per_um / median <= _FARTHEST


def _scaled(picture: NamedPicture) -> Scaled:
    try:
        pixels = read_image(picture.path)
    except (DataRefusedError, UsageError):
        return Scaled(fault=UNREADABLE)
    # A cell on black has no red cells around it.
    return Scaled() if is_one_cell_on_black(pixels, None) else Scaled(estimated_scale(pixels).px_per_um)


def _found(picture: NamedPicture, scaled: Scaled, median: float | None) -> _Found:
    """Find the cell that a picture is about."""
    try:
        pixels = read_image(picture.path)
    except (DataRefusedError, UsageError):
        return _Found(None, "", UNREADABLE)
    digest = pixels_sha256(pixels)
    scale = scaled.px_per_um or median
    if scale is None:
        return _Found(None, digest, UNREADABLE)
    found = cell_in_the_middle(pixels, scale, median)
    return _Found(None, digest, found) if isinstance(found, str) else _Found(found, digest)


def cell_in_the_middle(pixels: RgbImage, scale: float, median: float | None) -> CellCrop | str:
    """Cut out the cell in the middle of a picture, or say why there is none."""
    if is_one_cell_on_black(pixels, scale):
        return CellCrop.on_black(pixels, scale, whole=True)
    cell = nearest_the_middle(segment(pixels, px_per_um=scale), pixels.shape)
    if cell is not None and median is not None and not are_possible([float(cell.area_px)], scale):
        # Its red cells told a scale by which the white one has an impossible size.
        scale = median
        cell = nearest_the_middle(segment(pixels, px_per_um=scale), pixels.shape)
    height, width = pixels.shape[:2]
    if cell is None or not _reaches(cell.box, width / 2, height / 2):
        return NO_CELL
    return CUT if cell.touches_border else crop_cell(pixels, cell, scale)


def _reaches(box: Box, x: float, y: float) -> bool:
    return box.x <= x <= box.x + box.w and box.y <= y <= box.y + box.h


def entry_of(
    picture: NamedPicture,
    crop: CellCrop,
    identity: str,
    sources: tuple[Source, ...],
    statements: tuple[Statement, ...],
) -> CellEntry:
    """Return what is said of the cell of a picture."""
    return CellEntry(
        identity=identity,
        px_per_um=crop.px_per_um,
        whole=crop.whole,
        slide=picture.slide,
        subject=picture.subject,
        sources=sources,
        statements=statements,
    )


def path_in(path: Path, folder: Path) -> str:
    """Name a picture from the imported folder on, whose own name comes first."""
    text = (Path(folder.resolve().name) / path.relative_to(folder)).as_posix()
    # The end of a path tells more than its beginning.
    return tidy(text[-LONGEST_NAME:])
