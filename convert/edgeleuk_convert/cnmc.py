"""Read C-NMC 2019, in every layout it is handed around in: cells, labels, subjects, groups.

The subject stands in the file's name (``UID_<subject>_<image>_<cell>_<label>``). Some subjects share
byte-identical images; such subjects are one *group*, computed from hashes of the decoded pixels, so
that a split by group never shows a network its test cells.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeleuk.errors import DataRefusedError
from edgeleuk_convert.cnmc_layouts import Named, find_images, natural_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edgeleuk.frames import CellCrop, RgbImage

    Progress = Callable[[int, int], None]

Label = Literal["blast", "normal"]
LABELS: tuple[Label, Label] = ("normal", "blast")

# C-NMC states no pixel size. Its normal cells measure 178 px across (median), and a small lymphocyte
# is about 9-10 um: inferred, not documented.
CNMC_PX_PER_UM = 18.5
USUAL_SIZE = (450, 450)

# A cell crop is black around the cell. C-NMC's cells fill at most a quarter of their picture.
MOST_FOREGROUND = 0.97
NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class LabelledCell:
    """One image of one cell, without its pixels.

    Attributes
    ----------
    path : Path
    label : 'blast', 'normal' or None
        None in the unlabelled final phase.
    subject : str or None
        As written in the file's name.
    group : str or None
        Subjects that share an image are one group, named by the first of them in natural order.
    sha256 : str
        Of the decoded pixels and their shape: a BMP and its lossless WebP agree.
    foreground_px : int
        Pixels that are not black.
    width, height : int
    fold : str or None
        The official fold, where the folders tell it.
    """

    path: Path
    label: Label | None
    subject: str | None
    group: str | None
    sha256: str
    foreground_px: int
    width: int
    height: int
    fold: str | None = None

    @property
    def area_um2(self) -> float:
        """Area of the cell at the scale that C-NMC is taken to have."""
        return self.foreground_px / CNMC_PX_PER_UM**2


@dataclass(frozen=True, slots=True)
class Summary:
    """What a folder was found to hold.

    Attributes
    ----------
    cells, subjects, groups : dict of label to number
    duplicates : int
        Images that repeat an earlier one pixel for pixel.
    joined_groups : tuple of tuple of str
        Subjects that share images.
    unlabelled : int
    odd_sizes : dict of "WxH" to number
        Pictures that are not 450x450.
    """

    cells: dict[str, int]
    subjects: dict[str, int]
    groups: dict[str, int]
    duplicates: int
    joined_groups: tuple[tuple[str, ...], ...]
    unlabelled: int
    odd_sizes: dict[str, int]

    def __str__(self) -> str:
        lines = [
            f"{label}: {self.cells[label]} cells, {self.subjects[label]} subjects,"
            f" {self.groups[label]} groups"
            for label in LABELS
        ]
        if self.unlabelled:
            lines.append(f"unlabelled: {self.unlabelled} cells")
        if self.duplicates:
            joined = "; ".join(" ".join(group) for group in self.joined_groups)
            lines.append(
                f"identical images: {self.duplicates} (subjects that share them: {joined or 'none'})"
            )
        if self.odd_sizes:
            lines.append(
                "unusual sizes: " + ", ".join(f"{n} of {size}" for size, n in self.odd_sizes.items())
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class CellSet:
    """All cells of a folder, in natural order of their paths."""

    folder: Path
    cells: tuple[LabelledCell, ...]

    @property
    def labelled(self) -> tuple[LabelledCell, ...]:
        """The cells whose label is known."""
        return tuple(cell for cell in self.cells if cell.label is not None)

    def summary(self) -> Summary:
        """Count what is there."""
        of = {label: [cell for cell in self.cells if cell.label == label] for label in LABELS}
        members: dict[str, set[str]] = {}
        for cell in self.labelled:
            members.setdefault(cell.group or "", set()).add(cell.subject or "")
        joined = [
            tuple(sorted(subjects, key=natural_key)) for subjects in members.values() if len(subjects) > 1
        ]
        sizes = Counter((c.width, c.height) for c in self.cells)
        return Summary(
            cells={label: len(of[label]) for label in LABELS},
            subjects={label: len({c.subject for c in of[label]}) for label in LABELS},
            groups={label: len({c.group for c in of[label]}) for label in LABELS},
            duplicates=len(self.cells) - len({c.sha256 for c in self.cells}),
            joined_groups=tuple(sorted(joined, key=lambda subjects: natural_key(subjects[0]))),
            unlabelled=sum(c.label is None for c in self.cells),
            odd_sizes={f"{w}x{h}": n for (w, h), n in sorted(sizes.items()) if (w, h) != USUAL_SIZE},
        )


def load_cells(folder: Path, *, progress: Progress | None = None) -> CellSet:
    """Find every cell image under `folder`, decode each once, and work out the groups.

    Parameters
    ----------
    folder : Path
        Fold folders, a preliminary phase with its CSV of labels, an unlabelled final phase, or several.
    progress : callable, optional
        Told (images done, images in all).

    Raises
    ------
    DataRefusedError
        There are no images; some cannot be read; names, folders and CSV contradict each other; or
        identical images carry different labels.
    """
    named = find_images(Path(folder))
    read: list[LabelledCell] = []
    bad: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (image, result) in enumerate(zip(named, pool.map(_measure, named), strict=True), start=1):
            if isinstance(result, str):
                bad.append(f"{image.path.relative_to(folder)} ({result})")
            else:
                read.append(result)
            if progress is not None:
                progress(done, len(named))
    if bad:
        raise DataRefusedError(
            f"{len(bad)} of {len(named)} files are no usable image of a cell",
            got=_few(bad),
            cure="remove or replace them",
        )
    _refuse_contradictions(read)
    groups = joined_groups(read)
    return CellSet(
        Path(folder),
        tuple(replace(c, group=groups[c.subject]) if c.subject is not None else c for c in read),
    )


def require_both_classes(cells: Sequence[LabelledCell], purpose: str) -> None:
    """Raise `DataRefusedError` unless there are labelled cells of both classes."""
    counts = {label: sum(cell.label == label for cell in cells) for label in LABELS}
    if not all(counts.values()):
        raise DataRefusedError(
            f"{purpose} needs labelled cells of both classes",
            got=", ".join(f"{n} {label}" for label, n in counts.items()),
            cure="point --data at a folder with `all` and `hem` cells",
        )


def read_crop(cell: LabelledCell) -> CellCrop:
    """Read the cell's pixels again, as a crop on black at C-NMC's scale."""
    from edgeleuk.frames import CellCrop

    pixels = decode(cell.path)
    if isinstance(pixels, str):
        raise DataRefusedError(f"{cell.path.name} can no longer be read", got=pixels)
    return CellCrop.on_black(pixels, CNMC_PX_PER_UM)


def decode(path: Path) -> RgbImage | str:
    """Decode an image file to RGB; where that fails, return the reason."""
    import cv2
    import numpy as np

    try:
        data = path.read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__
    if not data:
        return "empty file"
    if missing := _missing_bytes(data):
        return missing
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        return f"cannot be decoded: {error.err}"
    if bgr is None:
        return "no image, or damaged"
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


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


def _measure(image: Named) -> LabelledCell | str:
    import numpy as np

    from edgeleuk.frames import not_black

    pixels = decode(image.path)
    if isinstance(pixels, str):
        return pixels
    height, width = pixels.shape[:2]
    foreground = int(np.count_nonzero(not_black(pixels)))
    if foreground == 0:
        return "all black"
    if foreground > MOST_FOREGROUND * width * height:
        return "not a single cell on black"
    return LabelledCell(
        image.path,
        image.label,
        image.subject,
        None,
        pixel_hash(pixels),
        foreground,
        width,
        height,
        image.fold,
    )


def _missing_bytes(data: bytes) -> str | None:
    """Say what a truncated file lacks; OpenCV decodes some of them to half a picture."""
    truncated = "truncated"
    if data[:2] == b"BM" and len(data) >= 34:
        offset = int.from_bytes(data[10:14], "little")
        if int.from_bytes(data[14:18], "little") >= 40 and int.from_bytes(data[30:34], "little") == 0:
            width = abs(int.from_bytes(data[18:22], "little", signed=True))
            height = abs(int.from_bytes(data[22:26], "little", signed=True))
            row = (width * int.from_bytes(data[28:30], "little") + 31) // 32 * 4
            return truncated if len(data) < offset + row * height else None
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return None if b"IEND" in data[-64:] else truncated
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return None if len(data) >= int.from_bytes(data[4:8], "little") + 8 else truncated
    if data[:2] == b"\xff\xd8":
        return None if b"\xff\xd9" in data[-64:] else truncated
    return None


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
