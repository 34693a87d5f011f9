"""Read folders of labelled cells, C-NMC's in all its layouts and the user's own: labels, subjects, groups.

In C-NMC the subject stands in the file's name (``UID_<subject>_<image>_<cell>_<label>``). Some subjects share
byte-identical images; such subjects are one *group*, computed from hashes of the decoded pixels, so
that a split by group never shows a network its test cells.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk_convert.dataset.cell_in_picture import cell_mask
from edgeleuk_convert.dataset.cells import CNMC_PX_PER_UM, CellSet, Label, LabelledCell
from edgeleuk_convert.dataset.cnmc_layouts import natural_key
from edgeleuk_convert.dataset.decoding import decode
from edgeleuk_convert.dataset.finding import find_pictures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeleuk.frames import CellCrop, RgbImage
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cnmc_layouts import Named


LABELS: tuple[Label, Label] = ("normal", "blast")

USUAL_SIZE = (450, 450)

NAMED_AT_MOST = 5
# How the subject of a picture is named whose subject nobody knows; its hash follows.
PICTURE = "picture "


def load_cells(
    folder: Path,
    *,
    classes: Mapping[str, Label] | None = None,
    subjects: Path | None = None,
    px_per_um: float | None = None,
    also_known: Mapping[str, Label] | None = None,
    own_px_per_um: float | None = None,
    progress: Progress | None = None,
) -> CellSet:
    """Find every cell image under `folder`, decode each once, and work out the groups.

    Parameters
    ----------
    folder : Path
        C-NMC's fold folders, a preliminary phase with its CSV of labels, an unlabelled final phase, or
        several of them; or folders of the user's own, see `own_pictures.find_own_pictures`.
    classes : mapping of str to 'blast' or 'normal', optional
        What the user's classes are called; pictures of other classes are left out.
    subjects : Path, optional
        CSV of files and their subjects, labels, or both.
    px_per_um : float, optional
        Scale of the pictures; C-NMC's without it, or `own_px_per_um` for the user's own.
    also_known : mapping of str to 'blast' or 'normal', optional
        Names of classes to know beside the usual ones, such as an output contract's labels.
    own_px_per_um : float, optional
    progress : callable, optional
        Told (images done, images in all).

    Raises
    ------
    DataRefusedError
        There are no images; some cannot be read; names, folders and tables contradict each other; or
        identical images carry different labels.
    UsageError
        A class of `classes` does not occur, or the scale is out of range.
    """
    if px_per_um is not None and not 0.01 <= px_per_um <= 1000:
        raise UsageError("the scale is out of range", got=px_per_um, allowed="0.01 to 1000 px/um")
    folder = Path(folder)
    found = find_pictures(folder, classes=classes, table=subjects, also_known=also_known)
    scale = px_per_um or (own_px_per_um if found.own is not None else None) or CNMC_PX_PER_UM
    read = _read_all(folder, found.named, progress, own=found.own is not None)
    cells = [replace(cell, px_per_um=scale) for cell in read] if scale != CNMC_PX_PER_UM else read
    _refuse_contradictions(cells)
    groups = joined_groups(cells)
    return CellSet(
        folder,
        tuple(replace(c, group=groups[c.subject]) if c.subject is not None else c for c in cells),
        found.own,
    )


def _read_all(
    folder: Path, named: Sequence[Named], progress: Progress | None, *, own: bool
) -> list[LabelledCell]:
    """Decode and measure every image, in threads."""
    import cv2

    read: list[LabelledCell] = []
    bad: list[str] = []
    # What OpenCV has to say of a damaged file is said here, by the file's name.
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = pool.map(lambda image: _measure(image, own=own), named)
            for done, (image, result) in enumerate(zip(named, results, strict=True), start=1):
                if isinstance(result, str):
                    bad.append(f"{image.path.relative_to(folder)} ({result})")
                else:
                    read.append(result)
                if progress is not None:
                    progress(done, len(named))
    finally:
        cv2.utils.logging.setLogLevel(before)
    if bad:
        raise DataRefusedError(
            f"{len(bad)} of {len(named)} files are no usable image of a cell",
            got=_few(bad),
            cure="remove or replace them",
        )
    return read


def require_both_classes(cells: Sequence[LabelledCell], purpose: str) -> None:
    """Raise `DataRefusedError` unless there are labelled cells of both classes."""
    counts = {label: sum(cell.label == label for cell in cells) for label in LABELS}
    if not all(counts.values()):
        raise DataRefusedError(
            f"{purpose} needs labelled cells of both classes",
            got=", ".join(f"{n} {label}" for label, n in counts.items()),
            cure="point --data at a folder with cells of both, such as `all` and `hem`, or pass --classes",
        )


def read_crop(cell: LabelledCell) -> CellCrop:
    """Read the cell's pixels again, as a crop on black, or with its surroundings and a mask of the cell."""
    from edgeleuk.frames import CellCrop

    pixels = decode(cell.path)
    if isinstance(pixels, str):
        raise DataRefusedError(f"{cell.path.name} can no longer be read", got=pixels)
    if not cell.on_black:
        return CellCrop(pixels, cell_mask(pixels), cell.px_per_um, whole=True)
    return CellCrop.on_black(pixels, cell.px_per_um, whole=True)


def pixel_hash(pixels: RgbImage) -> str:
    """Hash decoded pixels together with their shape."""
    digest = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]}x{pixels.shape[2]}:".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def joined_groups(cells: Iterable[LabelledCell]) -> dict[str, str]:
    """Map every subject to its group: subjects that share an image are joined, transitively.

    Two spellings of one subject that differ in case alone (``h3``, ``H3``) are joined as well.
    """
    parent: dict[str, str] = {}

    def root(subject: str) -> str:
        while parent[subject] != subject:
            parent[subject] = parent[parent[subject]]
            subject = parent[subject]
        return subject

    first_with: dict[str, str] = {}
    for cell in cells:
        if cell.subject is None:
            continue
        parent.setdefault(cell.subject, cell.subject)
        for key in (cell.sha256, f"name {cell.subject.casefold()}"):
            other = first_with.setdefault(key, cell.subject)
            first, second = sorted((root(other), root(cell.subject)), key=natural_key)
            parent[second] = first
    return {subject: root(subject) for subject in parent}


def _measure(image: Named, *, own: bool) -> LabelledCell | str:
    import numpy as np

    from edgeleuk.frames import not_black
    from edgeleuk.vision.quality import is_cell_on_black

    pixels = decode(image.path)
    if isinstance(pixels, str):
        return pixels
    height, width = pixels.shape[:2]
    foreground = int(np.count_nonzero(not_black(pixels)))
    if foreground == 0:
        return "all black"
    on_black = is_cell_on_black(pixels)
    if not on_black and not own:
        return "not a single cell on black"
    digest = pixel_hash(pixels)
    return LabelledCell(
        image.path,
        image.label,
        image.subject or (f"{PICTURE}{digest[:12]}" if own else None),
        None,
        digest,
        foreground if on_black else int(np.count_nonzero(cell_mask(pixels))),
        width,
        height,
        image.fold,
        image.kind,
        on_black,
    )


def _refuse_contradictions(cells: Iterable[LabelledCell]) -> None:
    first: dict[str, LabelledCell] = {}
    contradictions = []
    for cell in cells:
        if cell.label is None:
            continue
        other = first.setdefault(cell.sha256, cell)
        if other.label != cell.label:
            contradictions.append(f"{other.path.name} ({other.label}) and {cell.path.name} ({cell.label})")
    if contradictions:
        raise DataRefusedError(
            f"{len(contradictions)} identical images carry different labels",
            got=_few(contradictions),
            cure="remove the wrong ones",
        )


def _few(items: Sequence[str]) -> str:
    more = len(items) - NAMED_AT_MOST
    return ", ".join(items[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
