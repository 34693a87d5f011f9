"""The words that people use for labels, and tables of them."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.io.nearest import did_you_mean
from edgeleuk.labels.contents import tidy
from edgeleuk.results.class_names import KNOWN_NAMES, compared, label_of, plain
from edgeleuk.results.kinds import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_LARGEST_TABLE = 1 << 28


def name_given(name: str, what: str) -> str:
    """Return the name that a user gave, as it is kept.

    Raises
    ------
    UsageError
        It is empty, or too long.

    Examples
    --------
    >>> name_given(" M. M. ", "person")
    'M. M.'
    """
    try:
        return tidy(name)
    except ValueError as error:
        raise UsageError(f"the name of the {what} cannot be kept", got=error) from error


def label_meant(word: str, classes: Mapping[str, str] | None = None) -> str:
    """Return the label that a word means.

    Parameters
    ----------
    word : str
    classes : mapping of str to label, optional
        Names of the laboratory's own; see ``--classes``.

    Raises
    ------
    UsageError
        It means none.

    Examples
    --------
    >>> label_meant("IG"), label_meant("Type 3", {"type 3": "monocyte"})
    ('immature granulocyte', 'monocyte')
    """
    label = compared(classes or {}).get(plain(word)) or label_of(word)
    if label is None:
        raise UsageError(
            "the label is unknown",
            got=repr(word),
            allowed=", ".join(LABELS),
            cure=did_you_mean(plain(word), KNOWN_NAMES) or 'map it with --classes "NAME=label"',
        )
    return label


def labels_meant(words: Iterable[str], classes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the label of each of many words, or name all that mean none, with their counts.

    Raises
    ------
    DataRefusedError
    """
    every = list(words)
    known = KNOWN_NAMES | compared(classes or {})
    unknown = [word for word in every if plain(word) not in known]
    if unknown:
        raise DataRefusedError(
            f"{len(unknown)} of {len(every)} labels are unknown",
            got=counted(unknown),
            allowed=", ".join(LABELS),
            cure=f'pass --classes, such as "{min(unknown)}=monocyte"',
        )
    return {word: known[plain(word)] for word in every}


def counted(names: Iterable[str], most: int = 8) -> str:
    """List names with their counts, the commonest first, at most so many.

    Examples
    --------
    >>> counted(["a", "b", "b", "c"], most=2)
    'b (2), a (1) and 1 more'
    """
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    more = f" and {len(ranked) - most} more" if len(ranked) > most else ""
    return ", ".join(f"{name} ({number})" for name, number in ranked[:most]) + more


def read_columns(table: Path, needed: Iterable[str]) -> list[dict[str, str]]:
    """Read a CSV in UTF-8, commas or semicolons, with a header that has the needed columns.

    Returns
    -------
    list of dict
        A row each, by the names in the header in small letters; what is empty is left out. An apostrophe
        that keeps a spreadsheet from taking a text for a formula is taken away.

    Raises
    ------
    UsageError
        There is no such file.
    DataRefusedError
        It is no such table.
    """
    try:
        with table.open("rb") as file:
            data = file.read(_LARGEST_TABLE + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError("there is no such table", got=table) from None
    except OSError as error:
        raise UsageError(f"the table {table} cannot be read", got=error.strerror) from error
    except UnicodeDecodeError:
        raise DataRefusedError(f"{table.name} cannot be read", got="no text", allowed="UTF-8") from None
    if len(data) > _LARGEST_TABLE or "\0" in text:
        raise DataRefusedError(f"{table.name} is no table")
    first = text.partition("\n")[0]
    try:
        header, *rows = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count)) or [[]]
    except (csv.Error, ValueError) as error:
        raise DataRefusedError(f"{table.name} is no table", got=error) from error
    names = [name.strip().casefold() for name in header]
    if missing := [name for name in needed if name not in names]:
        raise DataRefusedError(
            f"{table.name} lacks the column {' and '.join(missing)}",
            got=repr(first.strip()[:80]),
            allowed=f"a first line with {', '.join(needed)}",
        )
    if not rows:
        raise DataRefusedError(f"{table.name} has no rows")
    return [_row(names, row) for row in rows if any(row)]


def _row(names: list[str], row: list[str]) -> dict[str, str]:
    return {name: text_of(value) for name, value in zip(names, row, strict=False) if value.strip()}


def text_of(cell: str) -> str:
    """Return the text that `edgeleuk.session.export.cell_of` wrote."""
    return cell.removeprefix("'")
