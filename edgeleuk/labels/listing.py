"""``edgeleuk labels list``: how many cells of which label, slide, subject and person."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edgeleuk.io.console import printable
from edgeleuk.labels.contents import agreed, content_sha256, joined
from edgeleuk.labels.opening import open_any_labels
from edgeleuk.results.kinds import LABELS
from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edgeleuk.labels.contents import CellEntry

CONTRADICTED = "contradicted"
UNKNOWN = "unknown"


class LabelRow(Printed, frozen=True, kw_only=True):
    """What is called one thing; ``contradicted`` stands for cells on which people differ."""

    label: str
    cells: int
    slides: int
    subjects: int


class SlideRow(Printed, frozen=True, kw_only=True):
    """The cells of one slide, by label."""

    slide: str
    subjects: tuple[str, ...]
    cells: int
    labels: dict[str, int]


class SubjectRow(Printed, frozen=True, kw_only=True):
    """The cells of one subject, by label; ``null`` where nobody knows whose they are."""

    subject: str | None
    slides: int
    cells: int
    labels: dict[str, int]


class PersonRow(Printed, frozen=True, kw_only=True):
    """What one person labelled.

    Attributes
    ----------
    by : str
    cells, corrections : int
        Cells with a word of this person, and words that a later one of the same person took the place of.
    first, last : str
        ISO 8601, UTC.
    """

    by: str
    cells: int
    corrections: int
    first: str
    last: str


class LabelList(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk labels list --json`` prints.

    Attributes
    ----------
    sha256 : str
        Of all that the files say, whatever their order.
    cells, statements : int
    labels, slides, subjects, people
    """

    schema_version: int = 1
    files: tuple[str, ...]
    sha256: str
    cells: int
    statements: int
    labels: tuple[LabelRow, ...]
    slides: tuple[SlideRow, ...]
    subjects: tuple[SubjectRow, ...]
    people: tuple[PersonRow, ...]


def list_labels(paths: Sequence[Path]) -> LabelList:
    """Count what one or more files of labels hold.

    Raises
    ------
    UsageError, LabelsError
        See `open_any_labels`.
    """
    entries = joined(entry for path in paths for entry in open_any_labels(path).cells)
    return summed(entries, paths)


def summed(entries: Sequence[CellEntry], paths: Iterable[Path]) -> LabelList:
    """Count cells, each once."""
    label = {
        entry.key: agreed(said.label for said in entry.newest.values()) or CONTRADICTED for entry in entries
    }

    def labels_of(some: Iterable[CellEntry]) -> dict[str, int]:
        counts = Counter(label[entry.key] for entry in some)
        return {name: counts[name] for name in (*LABELS, CONTRADICTED) if counts[name]}

    by_label = {name: [entry for entry in entries if label[entry.key] == name] for name in labels_of(entries)}
    by_slide = _grouped((entry.slide, entry) for entry in entries)
    by_subject = _grouped((entry.subject or "", entry) for entry in entries)
    return LabelList(
        files=tuple(map(str, paths)),
        sha256=content_sha256(entries),
        cells=len(entries),
        statements=sum(len(entry.statements) for entry in entries),
        labels=tuple(
            LabelRow(label=name, cells=len(some), slides=_slides(some), subjects=len(_subjects(some)))
            for name, some in by_label.items()
        ),
        slides=tuple(
            SlideRow(slide=slide, subjects=_subjects(some), cells=len(some), labels=labels_of(some))
            for slide, some in by_slide.items()
        ),
        subjects=tuple(
            SubjectRow(subject=subject or None, slides=_slides(some), cells=len(some), labels=labels_of(some))
            for subject, some in by_subject.items()
        ),
        people=tuple(_person(by, entries) for by in people_of(entries)),
    )


def people_of(entries: Iterable[CellEntry]) -> list[str]:
    """Return who labelled anything, in the order of the alphabet."""
    return sorted({said.by for entry in entries for said in entry.statements})


def _grouped(pairs: Iterable[tuple[str, CellEntry]]) -> dict[str, list[CellEntry]]:
    groups: dict[str, list[CellEntry]] = {}
    for name, entry in pairs:
        groups.setdefault(name, []).append(entry)
    return dict(sorted(groups.items()))


def _slides(entries: Iterable[CellEntry]) -> int:
    return len({entry.slide for entry in entries})


def _subjects(entries: Iterable[CellEntry]) -> tuple[str, ...]:
    return tuple(sorted({entry.subject for entry in entries if entry.subject is not None}))


def _person(by: str, entries: Iterable[CellEntry]) -> PersonRow:
    words = [own for entry in entries if (own := [said for said in entry.statements if said.by == by])]
    times = [said.at for own in words for said in own]
    return PersonRow(
        by=by,
        cells=len(words),
        corrections=sum(len(own) - 1 for own in words),
        first=min(times).isoformat(),
        last=max(times).isoformat(),
    )


def list_text(found: LabelList) -> str:
    """Say the same for people, as tables."""
    lines = [f"cells     {found.cells}, {found.statements} words on them, sha256 {found.sha256[:16]}", ""]
    lines += _table(
        ("label", "cells", "slides", "subjects"),
        [(row.label, row.cells, row.slides, row.subjects or UNKNOWN) for row in found.labels],
    )
    lines += _table(
        ("slide", "cells", "subjects", "labels"),
        [
            (row.slide, row.cells, ", ".join(row.subjects) or UNKNOWN, _counts(row.labels))
            for row in found.slides
        ],
    )
    lines += _table(
        ("subject", "cells", "slides", "labels"),
        [(row.subject or UNKNOWN, row.cells, row.slides, _counts(row.labels)) for row in found.subjects],
    )
    lines += _table(
        ("person", "cells", "corrections", "from", "to"),
        [(row.by, row.cells, row.corrections, row.first[:10], row.last[:10]) for row in found.people],
    )
    return "\n".join(lines).rstrip()


def _counts(labels: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in labels.items())


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    texts = [list(header), *([printable(str(value)) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(header))]
    return [
        *(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in texts
        ),
        "",
    ]
