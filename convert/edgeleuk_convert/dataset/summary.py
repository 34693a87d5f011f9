"""What a folder of cells was found to hold, in numbers and in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeleuk_convert.dataset.cnmc_layouts import natural_key

if TYPE_CHECKING:
    from edgeleuk_convert.dataset.cells import CellSet, LabelledCell
    from edgeleuk_convert.dataset.own_pictures import OwnFacts

LABELS = ("normal", "blast")
CNMC_SIZE = (450, 450)
_NAMED_AT_MOST = 8


@dataclass(frozen=True, slots=True)
class OwnSummary:
    """What is only said of a folder of the user's own.

    Attributes
    ----------
    facts : OwnFacts
    kinds : dict of label to dict of str to number
        What its classes are called, and how many cells each has.
    not_on_black : int
        Pictures that show what is around the cell.
    no_cell : int
        Those of them in which no cell is found.
    px_per_um : float
    sizes : str
        Of the pictures.
    """

    facts: OwnFacts
    kinds: dict[str, dict[str, int]]
    not_on_black: int
    no_cell: int
    px_per_um: float
    sizes: str


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
    own : OwnSummary or None
        None for C-NMC's layouts.
    """

    cells: dict[str, int]
    subjects: dict[str, int]
    groups: dict[str, int]
    duplicates: int
    joined_groups: tuple[tuple[str, ...], ...]
    unlabelled: int
    odd_sizes: dict[str, int]
    own: OwnSummary | None = None

    def __str__(self) -> str:
        lines = [self._line(label) for label in LABELS]
        if self.unlabelled:
            lines.append(f"unlabelled: {self.unlabelled} cells")
        if self.duplicates:
            joined = "; ".join(" ".join(group) for group in self.joined_groups)
            lines.append(
                f"identical images: {self.duplicates} (subjects that share them: {joined or 'none'})"
            )
        if self.own is not None:
            lines += _own_lines(self.own, sum(self.cells.values()))
        elif self.odd_sizes:
            lines.append(
                "unusual sizes: " + ", ".join(f"{n} of {size}" for size, n in self.odd_sizes.items())
            )
        return "\n".join(lines)

    def _line(self, label: str) -> str:
        if self.own is None:
            return (
                f"{label}: {self.cells[label]} cells, {self.subjects[label]} subjects,"
                f" {self.groups[label]} groups"
            )
        kinds = ", ".join(f"{kind} {number}" for kind, number in self.own.kinds[label].items())
        cells = f"{label}: {self.cells[label]} cells" + (f" ({kinds})" if kinds else "")
        if self.own.facts.subjects_by is None:
            return f"{cells}, {self.groups[label]} different pictures"
        return f"{cells}, {self.subjects[label]} subjects, {self.groups[label]} groups"


def summarise(cells: CellSet) -> Summary:
    """Count what is there."""
    of = {label: [cell for cell in cells.cells if cell.label == label] for label in LABELS}
    members: dict[str, set[str]] = {}
    for cell in cells.labelled:
        members.setdefault(cell.group or "", set()).add(cell.subject or "")
    joined = [tuple(sorted(subjects, key=natural_key)) for subjects in members.values() if len(subjects) > 1]
    sizes = Counter((c.width, c.height) for c in cells.cells)
    return Summary(
        cells={label: len(of[label]) for label in LABELS},
        subjects={label: len({c.subject for c in of[label]}) for label in LABELS},
        groups={label: len({c.group for c in of[label]}) for label in LABELS},
        duplicates=len(cells.cells) - len({c.sha256 for c in cells.cells}),
        joined_groups=tuple(sorted(joined, key=lambda subjects: natural_key(subjects[0]))),
        unlabelled=sum(c.label is None for c in cells.cells),
        odd_sizes={f"{w}x{h}": n for (w, h), n in sorted(sizes.items()) if (w, h) != CNMC_SIZE},
        own=None if cells.own is None else _own(cells.own, of, cells),
    )


def _own(facts: OwnFacts, of: dict[str, list[LabelledCell]], cells: CellSet) -> OwnSummary:
    by_area = sorted({(c.width, c.height) for c in cells.cells}, key=lambda size: (size[0] * size[1], size))
    ends = [f"{w}x{h}" for w, h in (by_area[:1] + by_area[1:][-1:])]
    return OwnSummary(
        facts,
        kinds={
            label: dict(
                sorted(
                    Counter(c.kind or label for c in of[label]).items(), key=lambda one: natural_key(one[0])
                )
            )
            for label in LABELS
        },
        not_on_black=sum(not c.on_black for c in cells.cells),
        no_cell=sum(not c.cell_found for c in cells.cells),
        px_per_um=cells.cells[0].px_per_um if cells.cells else 0.0,
        sizes=" to ".join(ends),
    )


def _own_lines(own: OwnSummary, labelled: int) -> list[str]:
    lines = []
    if own.facts.left_out:
        listed = list(own.facts.left_out.items())
        more = f" and {len(listed) - _NAMED_AT_MOST} more" if len(listed) > _NAMED_AT_MOST else ""
        named = ", ".join(f"{place} {number}" for place, number in listed[:_NAMED_AT_MOST])
        lines.append(f"left out: {sum(own.facts.left_out.values())} pictures ({named}{more})")
    if own.not_on_black:
        lines.append(
            f"not on black: {own.not_on_black} of {labelled} pictures; the cell nearest the middle counts"
            + (f", or in {own.no_cell}, where none is found, all of it" if own.no_cell else "")
        )
    lines.append(f"pictures of {own.sizes} px at {own.px_per_um:g} px/um (--px-per-um says another scale)")
    if own.facts.subjects_by is not None:
        lines.append(f"subjects by {own.facts.subjects_by}")
    if own.facts.subjects_unknown == labelled:
        lines.append("no subjects known: every picture counts for itself, so intervals are too narrow")
    elif own.facts.subjects_unknown:
        lines.append(
            f"the subjects of {own.facts.subjects_unknown} pictures are unknown: each counts for itself, so"
            " intervals are too narrow"
        )
    return lines
