"""Find what stands on both sides of a split: subjects, groups, images, and the same cell photographed twice.

What tells the last is `edgeleuk.vision.fingerprints`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeleuk.errors import DataRefusedError
from edgeleuk.vision.fingerprints import Fingerprint, alike_pairs, fingerprint
from edgeleuk_convert.dataset.cnmc_layouts import natural_key
from edgeleuk_convert.dataset.measuring import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgeleuk.frames import CellCrop
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import CellSet, LabelledCell

    Kind = Literal["image", "subject", "group", "near-duplicate"]
    Prints = Mapping[Path, "Fingerprint"]

_NAMED_AT_MOST = 5


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
    numbers = {group: n for n, group in enumerate({cell.group for cell in (*first, *second)})}
    ours, theirs = (
        ([prints[cell.path] for cell in side], np.array([numbers[cell.group] for cell in side]))
        for side in (first, second)
    )
    ordered = sorted(alike_pairs(*ours, *theirs).items(), key=lambda pair: -pair[1])
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


def _told(leaks: Sequence[Leak], tested: int) -> str:
    """Say how many cells leak, why, and which."""
    counts = {kind: sum(leak.kind == kind for leak in leaks) for kind in dict.fromkeys(k.kind for k in leaks)}
    reasons = ", ".join(f"{n} by {kind}" for kind, n in counts.items())
    named = ", ".join(map(str, leaks[:_NAMED_AT_MOST]))
    more = f" and {len(leaks) - _NAMED_AT_MOST} more" if len(leaks) > _NAMED_AT_MOST else ""
    return f"{len(leaks)} of {tested} test cells ({reasons}): {named}{more}"
