"""Tables of pictures: which class a file shows and whose it is, in whatever way people write a CSV."""

from __future__ import annotations

import csv
import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from edgeleuk.errors import DataRefusedError
from edgeleuk.io.walking import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

# Spellings of a column's name, letters alone, the most telling first.
FILE_COLUMNS = (
    "file", "filename", "filenames", "filepath", "path", "image", "images", "imagename", "imagefile",
    "imagepath", "imageid", "picture", "cell", "cellimage", "newnames", "newname", "name", "id",
)  # fmt: skip
LABEL_COLUMNS = (
    "label", "labels", "class", "classes", "classname", "classlabel", "category", "diagnosis", "celltype",
    "target", "kind", "type",
)  # fmt: skip
PERSON_COLUMNS = (
    "subject", "subjects", "subjectid", "subjectname", "patient", "patients", "patientid", "patientname",
    "donor", "donorid", "person", "case", "caseid", "child", "group",
)  # fmt: skip
SLIDE_COLUMNS = ("slide", "slideid", "smear")
SUBJECT_COLUMNS = (*PERSON_COLUMNS, *SLIDE_COLUMNS)
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a file, and what the table says of it.

    Attributes
    ----------
    line : int
        Counted from 1.
    file : str
    label : str or None
    subject : str or None
        Whose cells they are; where no column says so, the slide.
    slide : str or None
    person : str or None
        As `subject`, without a slide in its place.
    """

    line: int
    file: str
    label: str | None
    subject: str | None
    slide: str | None = None
    person: str | None = None


def read_table(table: Path) -> list[Row] | None:
    """Read a CSV with a column of files and one of labels, of subjects or slides, or several of them.

    Commas, semicolons or tabs; UTF-8 or UTF-16 with or without a mark, else Western Windows text.

    Returns
    -------
    list of Row or None
        None for a table about something else.

    Raises
    ------
    DataRefusedError
        It cannot be read.
    """
    lines = _text(table).splitlines()
    # Excel's note on the delimiter.
    skipped = int(bool(lines) and lines[0].strip().strip('"').lower().startswith("sep="))
    lines = lines[skipped:]
    if not lines:
        return None
    delimiter = max(",;\t", key=lines[0].count)
    try:
        header, *rows = csv.reader(lines, delimiter=delimiter, strict=False)
    except csv.Error as error:
        raise DataRefusedError(f"{table.name} cannot be read", got=error) from error
    columns = {
        re.sub(r"[^a-z]", "", name.lower()): number for number, name in reversed(list(enumerate(header)))
    }
    file, label, subject, slide, person = (
        next((columns[name] for name in names if name in columns), None)
        for names in (FILE_COLUMNS, LABEL_COLUMNS, SUBJECT_COLUMNS, SLIDE_COLUMNS, PERSON_COLUMNS)
    )
    if file is None or (label is None and subject is None):
        return None

    def value(row: Sequence[str], column: int | None) -> str | None:
        return (row[column].strip() or None) if column is not None and column < len(row) else None

    return [
        Row(line, name, *(value(row, column) for column in (label, subject, slide, person)))
        for line, row in enumerate(rows, start=2 + skipped)
        if (name := value(row, file)) is not None
    ]


def require_table(table: Path) -> list[Row]:
    """Read a table that the user named.

    Raises
    ------
    DataRefusedError
        It is missing, cannot be read, or lacks the columns.
    """
    rows = read_table(table)
    if rows is None:
        first = (_text(table).splitlines() or [""])[0]
        raise DataRefusedError(
            f"{table.name} has no columns of files and subjects or labels",
            got=repr(first[:80]),
            allowed="a first line such as file,subject or file,subject,label",
        )
    if not rows:
        raise DataRefusedError(f"{table.name} has no rows")
    return rows


def rows_of_pictures(
    rows: Iterable[Row], paths: Sequence[Path], folder: Path, *, table: Path, every: bool
) -> dict[Path, Row]:
    """Find the picture that each row is about.

    A row names it by its path, as far as that is needed to tell it from others; case, slashes and the
    ending, if it has none, do not matter.

    Parameters
    ----------
    rows : iterable of Row
    paths : sequence of Path
        The pictures, all under `folder`.
    folder, table : Path
    every : bool
        Refuse rows whose pictures are not there, where others are that no row names: somebody misspelt them.
        Else they are passed over: a table may be about more than one folder.

    Raises
    ------
    DataRefusedError
        A row fits several pictures, two rows contradict each other, or pictures are missing.
    """
    by_name: dict[str, list[tuple[Path, tuple[str, ...]]]] = {}
    for path in paths:
        parts = _parts(path.relative_to(folder).as_posix())
        for name in {parts[-1], PurePosixPath(parts[-1]).stem}:
            by_name.setdefault(name, []).append((path, parts))
    found: dict[Path, Row] = {}
    missing = []
    for row in rows:
        fitting = _fitting(_parts(row.file), by_name)
        if not fitting:
            missing.append(f"{row.file} (line {row.line})")
        elif len(fitting) > 1:
            raise DataRefusedError(
                f"line {row.line} of {table.name} names {row.file} but several files are called so",
                got=", ".join(path.relative_to(folder).as_posix() for path in fitting[:3]),
                cure="write the folder before the name",
            )
        else:
            other = found.setdefault(fitting[0], row)
            if (other.label, other.subject) != (row.label, row.subject):
                raise DataRefusedError(
                    f"lines {other.line} and {row.line} of {table.name} contradict each other on {row.file}"
                )
    if missing and every and (unnamed := len(paths) - len(found)):
        more = f" and {len(missing) - _NAMED_AT_MOST} more" if len(missing) > _NAMED_AT_MOST else ""
        raise DataRefusedError(
            f"{table.name} leaves {unnamed} pictures out, and names {len(missing)} files that are not there",
            got=", ".join(missing[:_NAMED_AT_MOST]) + more,
            cure=f"correct the names, or take out those lines; they are looked for under {folder}",
        )
    return found


def _fitting(parts: tuple[str, ...], by_name: Mapping[str, list[tuple[Path, tuple[str, ...]]]]) -> list[Path]:
    """Return the pictures whose paths agree with a row's from the end, as far as both go."""
    candidates = by_name.get(parts[-1], [])
    if not candidates and PurePosixPath(parts[-1]).suffix in PICTURE_SUFFIXES:
        # Renamed to another format: C-NMC's lists name .bmp files that others store without loss.
        candidates = by_name.get(PurePosixPath(parts[-1]).stem, [])
    if len(candidates) <= 1:
        return [path for path, _ in candidates]

    def agreement(of: tuple[str, ...]) -> int:
        return next(
            (n for n, (a, b) in enumerate(zip(parts[-2::-1], of[-2::-1], strict=False)) if a != b), 99
        )

    best = max(agreement(of) for _, of in candidates)
    if exact := [path for path, of in candidates if of == parts]:
        return exact
    return [path for path, of in candidates if agreement(of) == best]


def _parts(file: str) -> tuple[str, ...]:
    """Split a path of Windows or Unix into its parts, as they are compared."""
    text = unicodedata.normalize("NFC", file.replace("\\", "/")).casefold()
    return tuple(part.strip() for part in text.split("/") if part.strip() not in ("", ".")) or ("",)


def _text(table: Path) -> str:
    try:
        data = table.read_bytes()
    except OSError as error:
        raise DataRefusedError(f"{table.name} cannot be read", got=error.strerror) from error
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if wide else ("utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise DataRefusedError(f"{table.name} cannot be read", got="no text", allowed="a CSV in UTF-8")
