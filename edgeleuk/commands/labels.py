"""``edgeleuk labels``: import, export, join, list, check and record what people call cells."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edgeleuk.errors import UsageError
from edgeleuk.io.console import printable, progress_bar
from edgeleuk.labels.contents import Statement, agreed, content_sha256
from edgeleuk.labels.file import is_labels, open_labels
from edgeleuk.labels.importing import Imported, import_folder
from edgeleuk.labels.listing import CONTRADICTED
from edgeleuk.labels.merging import merge_labels, require_new, write_new
from edgeleuk.labels.sessions import Origin, label_cells, labels_beside, session_labels
from edgeleuk.labels.spool import Spool
from edgeleuk.labels.table import moment_of, read_words, write_csv
from edgeleuk.labels.words import label_meant, labels_meant, name_given, read_columns
from edgeleuk.results.structs import Printed
from edgeleuk.session.verify import is_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from edgeleuk.labels.contents import CellEntry
    from edgeleuk.labels.naming import Naming
    from edgeleuk.labels.opening import Labels


class LabelsWritten(Printed, frozen=True, kw_only=True):
    """What ``labels export``, ``merge`` and ``set`` print with --json.

    Attributes
    ----------
    out : str or None
        The file that was written; None on standard output.
    sha256 : str
        Of all that is said, whatever the order.
    cells, statements, slides : int
    labels : dict of str to int
        Cells by label; ``contradicted`` where people differ.
    """

    schema_version: int = 1
    out: str | None
    sha256: str
    cells: int
    statements: int
    slides: int
    labels: dict[str, int]


class LabelsImported(LabelsWritten, frozen=True, kw_only=True):
    """What ``labels import --json`` prints.

    Attributes
    ----------
    left_out : dict of str to tuple of str
        By the reason, the pictures that are no labelled cell now.
    other_classes : dict of str to int
        Pictures of classes that ``--classes`` does not name, by folder.
    masks : int
        Masks beside pictures.
    px_per_um : float or None
        The median of the estimated scales.
    scales_estimated, scales_median : int
        Pictures whose own red cells told the scale, and those that took the median.
    """

    left_out: dict[str, tuple[str, ...]]
    other_classes: dict[str, int]
    masks: int
    px_per_um: float | None
    scales_estimated: int
    scales_median: int


@dataclass(frozen=True, slots=True)
class Author:
    """Who labels, when, and by which names.

    Attributes
    ----------
    by : str or None
        None: the table tells.
    at : datetime
    is_told : bool
        The moment is not that of the command, and is taken as it is.
    classes : mapping of str to label
    """

    by: str | None
    at: datetime
    is_told: bool = False
    classes: Mapping[str, str] = field(default_factory=dict)


def author(by: str | None, at: str | None, classes: Mapping[str, str]) -> Author:
    """Return who labels, and when: now, unless a moment is told.

    Raises
    ------
    UsageError
        The name is empty, or the moment has no zone.
    """
    moment = datetime.now(timezone.utc) if at is None else moment_of(at)
    return Author(None if by is None else name_given(by, "person"), moment, at is not None, classes)


def origin(slide: str | None, subject: str | None) -> Origin:
    """Return of which slide and subject a session's cells are, as it is kept.

    Raises
    ------
    UsageError
    """
    return Origin(
        None if slide is None else name_given(slide, "slide"),
        None if subject is None else name_given(subject, "subject"),
    )


def import_pictures(
    folder: Path, out: Path, naming: Naming, of: Author, *, px_per_um: float | None
) -> LabelsImported:
    """Write a file of labels from a folder of pictures; see `import_folder`."""
    if of.by is None:
        raise UsageError("nobody says who labelled the pictures", cure="pass --by NAME")
    require_new(out)
    with Spool() as spool, progress_bar("finding cells") as report:
        found = import_folder(folder, naming, spool, by=of.by, at=of.at, px_per_um=px_per_um, progress=report)
        write_new(out, found.cells, spool)
    return imported(out, found)


def import_table(table: Path, cells: Path, out: Path, of: Author) -> LabelsImported:
    """Add the words of a table to the cells of a file of labels; see `read_words`."""
    file = open_labels(cells)
    entries = read_words(table, file.cells, by=of.by, at=of.at, classes=of.classes)
    write_new(out, entries, file, among=[cells])
    return imported(out, Imported(entries, {}, {}, 0, None, 0, 0))


def export_labels(source: Path, out: Path | None, csv: Path | None, bundle: str | None) -> LabelsWritten:
    """Write the labels of a session, or of a file, to a file of labels or a table.

    Raises
    ------
    UsageError
        Both or none are asked for, or the bundle of a file of labels.
    EdgeleukError
        See `session_labels`, `open_labels`.
    """
    if (out is None) == (csv is None):
        raise UsageError("one thing has to be asked for", allowed="--out FILE.labels or --csv FILE")
    file = _labels_of(source, bundle)
    entries = file.cells
    if csv is not None:
        write_csv(entries, csv)
    elif out is not None:
        write_new(out, entries, file, among=[source] if is_labels(source) else [])
    return written(out or csv, entries)


def _labels_of(source: Path, bundle: str | None) -> Labels:
    if is_database(source):
        return session_labels(source, bundle=bundle)
    if bundle is not None:
        raise UsageError("--bundle belongs to a session", got=source)
    return open_labels(source)


def merge(paths: Sequence[Path], out: Path) -> LabelsWritten:
    """Join files of labels; see `merge_labels`."""
    return written(out, merge_labels(paths, out))


def set_labels(
    session: Path,
    words: Iterable[tuple[int, str, str | None]],
    of: Author,
    place: Origin,
    *,
    bundle: str | None = None,
) -> LabelsWritten:
    """Record what a person calls cells of a session; see `label_cells`.

    Parameters
    ----------
    session : Path
    words : iterable of (int, str, str or None)
        Number of the cell, what it is called, and by whom where the author does not say.
    of : Author
    place : Origin
    bundle : str, optional
    """
    said = []
    for cell, word, by in words:
        person = by or of.by
        if person is None:
            raise UsageError("nobody says who labelled the cells", cure="pass --by NAME, or a column `by`")
        person = name_given(person, "person")
        said.append((cell, Statement(at=of.at, by=person, label=label_meant(word, of.classes))))
    return written(
        labels_beside(session), label_cells(session, said, place, bundle=bundle, in_order=not of.is_told)
    )


def words_of_table(table: Path, classes: Mapping[str, str]) -> list[tuple[int, str, str | None]]:
    """Read a table with columns ``cell`` and ``label``, and ``by`` if it is there.

    Raises
    ------
    UsageError, DataRefusedError
        It is no such table, a number is none, or labels are unknown.
    """
    rows = read_columns(table, ("cell", "label"))
    meant = labels_meant((row.get("label", "") for row in rows), classes)
    words = []
    for line, row in enumerate(rows, start=2):
        number = row.get("cell", "")
        if not number.strip().isascii() or not number.strip().isdecimal():
            raise UsageError(f"{table.name} has a cell that is no number", got=f"{number!r} in line {line}")
        words.append((int(number), meant[row.get("label", "")], row.get("by")))
    return words


def written(out: Path | None, entries: Sequence[CellEntry]) -> LabelsWritten:
    """Sum up what a file of labels says now."""
    return LabelsWritten(
        out=None if out is None else str(out),
        sha256=content_sha256(entries),
        cells=len(entries),
        statements=sum(len(entry.statements) for entry in entries),
        slides=len({entry.slide for entry in entries}),
        labels=_by_label(entries),
    )


def _by_label(entries: Iterable[CellEntry]) -> dict[str, int]:
    counts = Counter(
        agreed(said.label for said in entry.newest.values()) or CONTRADICTED for entry in entries
    )
    return dict(sorted(counts.items()))


def imported(out: Path, found: Imported) -> LabelsImported:
    """Sum up what was imported."""
    return LabelsImported(
        **{name: getattr(written(out, found.cells), name) for name in LabelsWritten.__struct_fields__},
        left_out={reason: tuple(files) for reason, files in sorted(found.left_out.items())},
        other_classes=found.other_classes,
        masks=found.masks,
        px_per_um=found.scale,
        scales_estimated=found.scales_estimated,
        scales_median=found.scales_median,
    )


def written_text(result: LabelsWritten) -> str:
    """Say what was written."""
    counts = ", ".join(f"{number} {label}" for label, number in result.labels.items())
    return "\n".join(
        [
            f"labels    {printable(result.out or '-')}, sha256 {result.sha256[:16]}",
            f"cells     {result.cells} of {result.slides} slide{'s' * (result.slides != 1)}: {counts}",
        ]
    )


def imported_text(result: LabelsImported) -> str:
    """Say what was imported, and what was not."""
    lines = [written_text(result)]
    if result.px_per_um is not None:
        lines.append(
            f"scale     {result.px_per_um:.2f} px/um, median of {result.scales_estimated} pictures;"
            f" {result.scales_median} that tell none of their own took it"
        )
    for reason, files in result.left_out.items():
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        lines.append(f"left out  {len(files)}, {reason}: {', '.join(map(printable, files[:3]))}{more}")
    lines += [
        f"left out  {number} of {printable(folder)}, which --classes does not name"
        for folder, number in result.other_classes.items()
    ]
    if result.masks:
        lines.append(f"left out  {result.masks} masks beside pictures")
    return "\n".join(lines)
