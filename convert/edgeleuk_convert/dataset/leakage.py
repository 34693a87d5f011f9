"""Find what stands on both sides of a split: subjects, groups, images, and the same cell photographed twice.

A near-duplicate is found in two steps. A 64-bit difference hash of the cell's box nominates pairs; it
survives shifts, re-compression and brightness, but on round cells it alone is not specific. The fine
texture inside the cell then decides: correlated within a few pixels' shift, in any of the eight
orientations that flips and quarter turns give.

The thresholds come from 5,269 cells of C-NMC in 53 groups that share no identical image (13 million
pairs). Different cells correlate at most 0.71; 46 pairs correlate 0.78 and more, nothing lies between, and
to the eye each of the 46 is one cell, photographed or cut out again: subjects H2 and H7, 43 and 44, H14 and
H24, and 1, 16, 17 and 18 with 20 share cells, though no file is identical. `join_near_duplicates` makes 46
groups of the 53.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import cv2
import numpy as np

from edgeleuk.errors import DataRefusedError
from edgeleuk_convert.dataset.cnmc_layouts import natural_key
from edgeleuk_convert.dataset.measuring import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.frames import CellCrop, RgbImage
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import CellSet, LabelledCell

    Kind = Literal["image", "subject", "group", "near-duplicate"]
    Prints = Mapping[Path, "Fingerprint"]

_Scalar = TypeVar("_Scalar", bound=np.generic)

SIDE = 64
# Bits of 64 by which the hashes of nominated pairs may differ.
MOST_BITS = 12
# Correlation of fine texture from which two pictures show the same cell.
LEAST_CORRELATION = 0.745
# Largest ratio of the boxes' aspects.
MOST_ASPECT = 1.08
# Pixels of the 64 x 64 picture by which the second cell may be shifted.
SHIFT = 3
# What is darker than this share of the picture's brightest cell counts as black.
_DARK = 0.2
_LEAST_BRIGHTNESS = 8
_FINE, _COARSE = 1.0, 6.0
_NAMED_AT_MOST = 5
_ROWS = 512


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What of a cell is compared with others.

    Attributes
    ----------
    picture : (64, 64) uint8
        Luminance of the cell's box, the cell's mean around it.
    texture : (64, 64) int8
        Band-passed luminance inside the cell, 0 outside.
    aspect : float
        Width / height of the box.
    """

    picture: npt.NDArray[np.uint8]
    texture: npt.NDArray[np.int8]
    aspect: float


@dataclass(frozen=True, slots=True)
class Leak:
    """One cell of the test that the training knows.

    Attributes
    ----------
    kind : 'image', 'subject', 'group' or 'near-duplicate'
    train, test : LabelledCell
    correlation : float or None
        Of the texture, for near-duplicates.
    """

    kind: Kind
    train: LabelledCell
    test: LabelledCell
    correlation: float | None = None

    def __str__(self) -> str:
        return f"{self.train.path.name} and {self.test.path.name}"


def refuse_or_stamp(
    train: Sequence[LabelledCell],
    test: Sequence[LabelledCell],
    prints: Prints | None = None,
    *,
    allow_leakage: bool = False,
) -> str | None:
    """Refuse a split that leaks; or, where that is allowed, say it for every output to carry.

    Parameters
    ----------
    train, test : sequence of LabelledCell
    prints : mapping of path to Fingerprint, optional
        From `fingerprints`. Without them near-duplicates are not looked for.
    allow_leakage : bool

    Returns
    -------
    str or None
        The stamp, where `allow_leakage` was asked for; None for a clean split.

    Raises
    ------
    DataRefusedError
        The split leaks and that was not allowed.
    """
    leaks = find_leaks(train, test, prints)
    if allow_leakage:
        return stamp(leaks, len(test))
    if leaks:
        raise DataRefusedError(
            "the same cells stand in training and in test",
            got=_told(leaks, len(test)),
            cure="keep subjects that share cells on one side, or pass --allow-leakage",
        )
    return None


def check_split(
    train: Sequence[LabelledCell],
    test: Sequence[LabelledCell],
    *,
    allow_leakage: bool = False,
    progress: Progress | None = None,
) -> str | None:
    """Do as `refuse_or_stamp`, and read the cells for it where there are two sides.

    What needs no reading, such as the same subject on both sides, is refused before anything is read.
    """
    if not allow_leakage:
        refuse_or_stamp(train, test)
    cells = {cell.path: cell for cell in (*train, *test)} if train and test else {}
    prints = fingerprints(tuple(cells.values()), progress=progress)
    return refuse_or_stamp(train, test, prints, allow_leakage=allow_leakage)


def stamp(leaks: Sequence[Leak], tested: int) -> str:
    """Return the sentence that every output of a run with `allow_leakage` carries."""
    found = f"{_told(leaks, tested)}. These numbers are too good." if leaks else "None was found."
    return f"LEAKAGE ALLOWED: the check for cells in both training and test was overridden. {found}"


def joined_stamps(*stamps: str | None) -> str | None:
    """Join what is to be said of data and of judging, each once; None where there is nothing."""
    return " ".join(dict.fromkeys(stamp for stamp in stamps if stamp)) or None


def with_training_stamp(judging: str | None, training: str | None) -> str | None:
    """Put the stamp of a network's training beside that of judging it; None where there is neither."""
    told = [judging] if judging else []
    if training and training not in (judging or ""):
        told.append(training.replace("LEAKAGE ALLOWED:", "LEAKAGE ALLOWED IN TRAINING:", 1))
    return " ".join(told) or None


def find_leaks(
    train: Sequence[LabelledCell], test: Sequence[LabelledCell], prints: Prints | None = None
) -> tuple[Leak, ...]:
    """Find every cell of `test` that `train` knows, each once, by its plainest reason."""
    found: dict[Path, Leak] = {}

    def same(kind: Kind, key: Callable[[LabelledCell], str | None]) -> None:
        seen = {key(cell): cell for cell in reversed(train)}
        seen.pop(None, None)
        for cell in test:
            if cell.path not in found and (value := key(cell)) is not None and value in seen:
                found[cell.path] = Leak(kind, seen[value], cell)

    same("image", lambda cell: cell.sha256)
    same("subject", lambda cell: cell.subject.casefold() if cell.subject is not None else None)
    if prints is not None:
        # Also within a group: that two subjects were joined for it does not say which cells they share.
        cells = {cell.path: cell for cell in (*train, *test)}
        ours, theirs = ([replace(cell, group=cell.subject) for cell in side] for side in (train, test))
        for one, other, correlation in near_duplicates(ours, theirs, prints):
            pair = cells[one.path], cells[other.path]
            found.setdefault(other.path, Leak("near-duplicate", *pair, round(correlation, 3)))
    same("group", lambda cell: cell.group)
    return tuple(found.values())


def fingerprint(pixels: RgbImage) -> Fingerprint:
    """Take the fingerprint of one cell on black.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    # Relative to the cell: JPEG leaves ripples on the black, and a darker copy is still a copy.
    least = max(_LEAST_BRIGHTNESS, _DARK * float(np.percentile(grey, 99)))
    _, labels, stats, _ = cv2.connectedComponentsWithStats((grey >= least).astype(np.uint8))
    if len(stats) < 2:
        blank = np.zeros((SIDE, SIDE))
        return Fingerprint(blank.astype(np.uint8), blank.astype(np.int8), 1.0)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    x, y, w, h = (int(value) for value in stats[largest, :4])
    inside = labels[y : y + h, x : x + w] == largest
    box = grey[y : y + h, x : x + w]
    filled = np.where(inside, box, np.uint8(round(float(box[inside].mean()))))
    picture = np.asarray(cv2.resize(filled, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    shape = cv2.resize(inside.astype(np.uint8) * 255, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return Fingerprint(picture, _texture(picture, np.asarray(shape) >= 128), w / h)


def fingerprints(
    cells: Sequence[LabelledCell], *, progress: Progress | None = None
) -> dict[Path, Fingerprint]:
    """Read every cell and take its fingerprint."""

    def of_crop(crop: CellCrop) -> Fingerprint:
        return fingerprint(crop.pixels)

    taken = measure(cells, of_crop, progress=progress)
    return {cell.path: one for cell, one in zip(cells, taken, strict=True)}


def near_duplicates(
    first: Sequence[LabelledCell], second: Sequence[LabelledCell], prints: Prints
) -> list[tuple[LabelledCell, LabelledCell, float]]:
    """Find pairs of different groups that show the same cell.

    Returns
    -------
    list of (LabelledCell, LabelledCell, float)
        One of `first`, one of `second`, and how their texture correlates; the most alike first.
    """
    if not first or not second:
        return []
    ours, theirs = [prints[cell.path] for cell in first], [prints[cell.path] for cell in second]
    numbers = {group: n for n, group in enumerate({cell.group for cell in (*first, *second)})}
    our_groups, their_groups = (np.array([numbers[c.group] for c in side]) for side in (first, second))
    our_bits = _hashes([one.picture for one in ours])
    our_aspects = np.log([one.aspect for one in ours])
    pairs: dict[tuple[int, int], float] = {}
    for turn in range(8):
        their_bits = _hashes([_turned(one.picture, turn) for one in theirs])
        their_aspects = np.log([one.aspect for one in theirs]) * (-1 if turn % 2 else 1)
        for start in range(0, len(ours), _ROWS):
            rows = slice(start, start + _ROWS)
            near = our_bits[rows] @ their_bits.T >= 64 - 2 * MOST_BITS
            near &= our_groups[rows, None] != their_groups
            near &= np.abs(our_aspects[rows, None] - their_aspects) <= np.log(MOST_ASPECT)
            for row, column in np.argwhere(near):
                i, j = start + int(row), int(column)
                alike = _correlation(ours[i].texture, _turned(theirs[j].texture, turn))
                if alike >= LEAST_CORRELATION:
                    pairs[i, j] = max(alike, pairs.get((i, j), 0.0))
    ordered = sorted(pairs.items(), key=lambda pair: -pair[1])
    return [(first[i], second[j], alike) for (i, j), alike in ordered]


def join_near_duplicates(cells: CellSet, prints: Prints) -> CellSet:
    """Join the groups that share a cell, be it photographed twice; the first in natural order names them."""
    grouped = [cell for cell in cells.cells if cell.group is not None]
    parent = {cell.group or "": cell.group or "" for cell in grouped}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    for one, other, _ in near_duplicates(grouped, grouped, prints):
        ends = sorted((root(one.group or ""), root(other.group or "")), key=natural_key)
        parent[ends[1]] = ends[0]
    return replace(
        cells,
        cells=tuple(replace(c, group=root(c.group)) if c.group is not None else c for c in cells.cells),
    )


def _texture(picture: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    deep = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if not deep.any():
        return np.zeros(picture.shape, np.int8)
    plane = np.where(inside, picture, picture[inside].mean()).astype(np.float32)
    band = cv2.GaussianBlur(plane, (0, 0), _FINE) - cv2.GaussianBlur(plane, (0, 0), _COARSE)
    band = np.where(deep, band, 0)
    levels = np.rint(band * (32 / max(float(band[deep].std()), 1e-3)))
    return np.asarray(np.clip(levels, -127, 127), np.int8)


def _turned(plane: npt.NDArray[_Scalar], turn: int) -> npt.NDArray[_Scalar]:
    """Return one of the eight orientations; the odd ones swap width and height."""
    return np.rot90(plane[:, ::-1] if turn >= 4 else plane, turn % 4)


def _hashes(pictures: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """Return (n, 64) of -1 and 1: which of two neighbours is brighter, on a grid of 9 x 8."""
    small = [
        cv2.resize(np.ascontiguousarray(picture), (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
        for picture in pictures
    ]
    grid = np.array(small)
    bits = grid[:, :, 1:] > grid[:, :, :-1]
    return np.where(bits, 1, -1).reshape(len(grid), 64).astype(np.float32)


def _correlation(one: npt.NDArray[np.int8], other: npt.NDArray[np.int8]) -> float:
    """Return the largest correlation of two textures over small shifts; 0 for a flat one."""
    centre = one[SHIFT:-SHIFT, SHIFT:-SHIFT].astype(np.float32)
    field = np.ascontiguousarray(other).astype(np.float32)
    if not centre.any() or not field.any():
        return 0.0
    return float(cv2.matchTemplate(field, centre, cv2.TM_CCOEFF_NORMED).max())


def _told(leaks: Sequence[Leak], tested: int) -> str:
    """Say how many cells leak, why, and which."""
    counts = {kind: sum(leak.kind == kind for leak in leaks) for kind in dict.fromkeys(k.kind for k in leaks)}
    reasons = ", ".join(f"{n} by {kind}" for kind, n in counts.items())
    named = ", ".join(map(str, leaks[:_NAMED_AT_MOST]))
    more = f" and {len(leaks) - _NAMED_AT_MOST} more" if len(leaks) > _NAMED_AT_MOST else ""
    return f"{len(leaks)} of {tested} test cells ({reasons}): {named}{more}"
