"""Labels as a table: for a spreadsheet, and back from it."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.io.atomic import bears, part_of, require_replaceable, write_errors_of
from edgeleuk.labels.contents import CellEntry, Statement, following, joined, named
from edgeleuk.labels.words import labels_meant, name_given, read_columns
from edgeleuk.session.export import cell_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import TextIO

# Column -> what it holds, in the order of the file: one row for each word of each person.
COLUMNS: dict[str, str] = {
    "identity": "SHA-256 of the cell's pixels and mask, by which the row finds its cell again",
    "label": "what the cell is called",
    "by": "who said so",
    "at": "when, ISO 8601, UTC",
    "counts": "1 for the newest word of a person, 0 for what a later one took the place of",
    "slide": "slide of the cell",
    "subject": "whose cell it is; empty where nobody knows",
    "px_per_um": "scale of the crop, pixels per micrometre",
    "source": "where the cell comes from",
}
NEEDED = ("identity", "label")
_HEADER = ",".join(COLUMNS)
_is_ours = bears(_HEADER.encode())


def write_table(entries: Iterable[CellEntry], file: TextIO) -> int:
    """Write one row for each word of each person, in UTF-8, header first; return how many."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = 0
    for entry in entries:
        source = named(entry.sources[0]) if entry.sources else ""
        for said in entry.statements:
            counts = int(entry.newest[said.by] == said)
            texts = (said.label, said.by, said.at.isoformat(), str(counts), entry.slide, entry.subject or "")
            writer.writerow(
                [entry.identity, *map(cell_of, texts), repr(entry.px_per_um), cell_of(source)],
            )
            rows += 1
    return rows


def write_csv(entries: Iterable[CellEntry], out: Path) -> int:
    """Write the table to a file, as a whole or not at all; see `write_table`.

    Raises
    ------
    UsageError
        It cannot be written, or what is there is no such table.
    """
    require_replaceable(out, _is_ours, "--csv")
    with (
        write_errors_of(out, "choose another --csv"),
        part_of(out) as (_, binary),
        io.TextIOWrapper(binary, encoding="utf-8", newline="") as file,
    ):
        return write_table(entries, file)


def read_words(
    table: Path, entries: Sequence[CellEntry], *, by: str | None, at: datetime, classes: Mapping[str, str]
) -> tuple[CellEntry, ...]:
    """Add the words of a table to cells, by their identity; nothing that was said before is lost.

    Parameters
    ----------
    table : Path
        With columns ``identity`` and ``label``; ``by``, ``at``, ``slide`` and ``subject`` if they are there.
    entries : sequence of CellEntry
        The cells.
    by, at : str or None, datetime
        Who said it and when, where the table does not.
    classes : mapping of str to label
        Names of the laboratory's own.

    Returns
    -------
    tuple of CellEntry
        All of them.

    Raises
    ------
    DataRefusedError
        The table is not sound, names cells that are not there, or a label is unknown.
    UsageError
        Nobody says who labelled the cells.
    """
    rows = read_columns(table, NEEDED)
    by_identity: dict[str, list[CellEntry]] = {}
    for entry in entries:
        by_identity.setdefault(entry.identity, []).append(entry)
    meant = labels_meant((row.get("label", "") for row in rows), classes)
    said: dict[tuple[object, ...], list[Statement]] = {}
    missing = 0
    for row in rows:
        cells = [entry for entry in by_identity.get(row.get("identity", ""), ()) if _fits(entry, row)]
        word = Statement(
            at=moment_of(row["at"]) if "at" in row else at,
            by=_person(row.get("by") or by),
            label=meant[row.get("label", "")],
        )
        for entry in cells:
            earlier = said.setdefault(entry.key, list(entry.statements))
            earlier.append(word if "at" in row else following(word, earlier))
        missing += not cells
    if missing:
        raise DataRefusedError(
            f"{missing} of {len(rows)} rows of {table.name} are about cells that are not there",
            allowed="the identities, slides and subjects of the file of labels",
            cure="export the table again with `edgeleuk labels export FILE.labels --csv FILE`",
        )
    return joined(
        msgspec.structs.replace(entry, statements=tuple(said.get(entry.key, entry.statements)))
        for entry in entries
    )


def _fits(entry: CellEntry, row: Mapping[str, str]) -> bool:
    """Whether a row that tells slide or subject is about this entry."""
    return row.get("slide", entry.slide) == entry.slide and (
        "slide" not in row or row.get("subject") == entry.subject
    )


def _person(by: str | None) -> str:
    if by is None:
        raise UsageError("nobody says who labelled the cells", cure="pass --by NAME, or a column `by`")
    return name_given(by, "person")


def moment_of(text: str) -> datetime:
    """Read a moment with its zone.

    Raises
    ------
    UsageError
        It is none, or has no zone.

    Examples
    --------
    >>> moment_of("2026-03-01T08:30:00Z").isoformat()
    '2026-03-01T08:30:00+00:00'
    """
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace("z", "+00:00"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError(
            "the moment is no time with its zone", got=repr(text[:40]), allowed="2026-03-01T08:30:00+01:00"
        )
    return moment
