"""Labelled cells, as `teach` reads them: each once, in one order, its crop decoded when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeleuk.errors import DataRefusedError
from edgeleuk.labels.contents import agreed, content_sha256, joined, named
from edgeleuk.labels.opening import open_any_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from edgeleuk.frames import CellCrop
    from edgeleuk.labels.contents import CellEntry, Source
    from edgeleuk.labels.opening import Labels

_NAMED_AT_MOST = 3


@dataclass(frozen=True, slots=True)
class LabelledCell:
    """A cell that people agree on.

    Attributes
    ----------
    label : str
        What it is called; where one says its kind and another ``blast`` or ``normal``, the latter.
    labels : tuple of str
        All that the newest words of people say, sorted.
    slide : str
    subject : str or None
    by : str
        Who said the newest of it.
    at : datetime
        When, in UTC.
    identity : str
        SHA-256 of the pixels and the mask.
    px_per_um : float
    sources : tuple of PictureSource or SessionSource
        Where it comes from.
    """

    label: str
    labels: tuple[str, ...]
    slide: str
    subject: str | None
    by: str
    at: datetime
    identity: str
    px_per_um: float
    sources: tuple[Source, ...]
    _entry: CellEntry
    _file: Labels

    @property
    def crop(self) -> CellCrop:
        """The crop, decoded anew each time: 20,000 of them need not fit into memory."""
        return self._file.crop(self._entry)


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labelled cells of one or more files.

    Attributes
    ----------
    cells : tuple of LabelledCell
        Sorted by identity, scale, slide and subject.
    sha256 : str
        Of all that the files say, whatever their order.
    contradictions : tuple of CellEntry
        Cells on which people contradict one another; they are not among `cells`.
    """

    cells: tuple[LabelledCell, ...]
    sha256: str
    contradictions: tuple[CellEntry, ...] = ()

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[LabelledCell]:
        return iter(self.cells)


def read_labels(
    paths: Sequence[Path], *, by: str | None = None, allow_contradictions: bool = False
) -> LabelSet:
    """Read files of labels, and the labels of sessions, as one.

    Parameters
    ----------
    paths : sequence of Path
        In any order.
    by : str, optional
        Only what this person said.
    allow_contradictions : bool
        Leave cells out on which people contradict one another, instead of refusing them.

    Returns
    -------
    LabelSet

    Raises
    ------
    UsageError
        There is no such file.
    LabelsError
        A file is damaged or foreign.
    DataRefusedError
        People contradict one another, or nobody of that name said anything.
    """
    files = [open_any_labels(path) for path in paths]
    entries = joined(entry for file in files for entry in file.cells)
    sha256 = content_sha256(entries)
    if by is not None:
        entries = _only(entries, by)
    file_of = {entry.identity: file for file in reversed(files) for entry in file.cells}
    cells, contradictions = [], []
    for entry in entries:
        label = agreed(said.label for said in entry.newest.values())
        if label is None:
            contradictions.append(entry)
        else:
            cells.append(_labelled(entry, label, file_of[entry.identity]))
    if contradictions and not allow_contradictions:
        raise DataRefusedError(
            f"people contradict one another on {len(contradictions)} of {len(entries)} cells",
            got=contradictions_text(contradictions),
            cure="see `edgeleuk labels check`, and settle them, or take the word of one person",
        )
    return LabelSet(tuple(cells), sha256, tuple(contradictions))


def _labelled(entry: CellEntry, label: str, file: Labels) -> LabelledCell:
    said = entry.newest.values()
    newest = max(said)
    return LabelledCell(
        label=label,
        labels=tuple(sorted({each.label for each in said})),
        slide=entry.slide,
        subject=entry.subject,
        by=newest.by,
        at=newest.at,
        identity=entry.identity,
        px_per_um=entry.px_per_um,
        sources=entry.sources,
        _entry=entry,
        _file=file,
    )


def contradictions_text(entries: Sequence[CellEntry]) -> str:
    """Say who contradicts whom on the first of some cells."""
    texts = [
        f"{named(entry.sources[0]) if entry.sources else entry.identity[:16]}"
        f" is {' and '.join(f'{said.label} ({said.by})' for said in entry.newest.values())}"
        for entry in entries[:_NAMED_AT_MOST]
    ]
    rest = len(entries) - len(texts)
    return ", ".join(texts) + (f" and {rest} more" if rest else "")


def _only(entries: Iterable[CellEntry], by: str) -> tuple[CellEntry, ...]:
    import msgspec  # noqa: PLC0415 - few ask for it

    every = tuple(entries)
    people = sorted({said.by for entry in every for said in entry.statements})
    kept = tuple(
        msgspec.structs.replace(entry, statements=own)
        for entry in every
        if (own := tuple(said for said in entry.statements if said.by == by))
    )
    if not kept:
        raise DataRefusedError("nobody of that name labelled a cell", got=by, allowed=", ".join(people))
    return kept
