"""A session's cells for other programs."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TextIO

from edgeleuk.io.console import data_output, say
from edgeleuk.io.uris import is_simulated_session
from edgeleuk.session.reader import read_session
from edgeleuk.session.removals import removed_by_rule, removed_text
from edgeleuk.session.writing import whole_file
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import TypeAlias

    from edgeleuk.session.reader import SessionReader

    Row: TypeAlias = Mapping[str, object]

# Column -> what it holds, in the order of the file. docs and tests read this table.
COLUMNS: dict[str, str] = {
    "track": "number of the cell in the session, from 0",
    "frame": "number of the frame in which it was judged, from 0",
    "captured_at": "when that frame arrived, ISO 8601, UTC",
    "source": "camera, or file, that the frame came from",
    "x": "left edge of the cell's box in the frame, px",
    "y": "top edge of the cell's box in the frame, px",
    "w": "width of the box, px",
    "h": "height of the box, px",
    "area_px": "area of the whole cell, px",
    "nucleus_area_px": "area of its nucleus, px",
    "area_um2": "area of the whole cell, um2; empty where the scale is unknown",
    "nucleus_area_um2": "area of its nucleus, um2; empty where the scale is unknown",
    "px_per_um": "scale of the frame, pixels per micrometre; empty where it is unknown",
    "views": "how many views of the cell were judged",
    "decision": "blast, normal, other or uncertain",
    "kind": "the cell's kind, such as neutrophil; empty where it is not known",
    "kind_probability": "probability of that kind, 0 to 1; empty where it is not known",
    "probability": "calibrated probability of blast, 0 to 1; empty where none was computed",
    "reason": "why the cell is uncertain; empty otherwise",
    "simulated": "1 for cells of the virtual slide, 0 for photographs",
    "truth": "real label of a simulated cell; empty otherwise",
    "bundle_sha256": "hash of the bundle that judged it; empty where it was not recorded",
    "research_use_only": "the notice that goes with every result",
}
# What a spreadsheet takes for a formula, in both widths of East Asian writing, also behind white space; and
# what it drops before one.
_FORMULAS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_LED_BY = tuple("'\t\r\n\0")
_ROUNDED = {"area_um2": 3, "nucleus_area_um2": 3, "px_per_um": 4, "probability": 6, "kind_probability": 6}


def export_csv(session: Path, out: Path | None = None) -> int:
    """Write one row for each cell of a session, in UTF-8 with decimal points, header first.

    Parameters
    ----------
    session : Path
    out : Path, optional
        Replaced as a whole when the export is complete; standard output without it.

    Returns
    -------
    int
        Number of cells.

    Raises
    ------
    UsageError
        There is no such session, or `out` cannot be written.
    SessionError
        See `read_session`.
    """
    return _exported(session, out, _write_csv)


def export_jsonl(session: Path, out: Path | None = None) -> int:
    """Write one JSON object for each cell of a session, a line each, with the keys of `COLUMNS`.

    What is empty in the CSV is null here, and numbers are as they were recorded. Else as `export_csv`.
    """
    return _exported(session, out, _write_jsonl)


def _exported(session: Path, out: Path | None, write: Callable[[Iterable[Row], TextIO], int]) -> int:
    with read_session(session) as reader:
        for line in removed_text(removed_by_rule(reader)):
            say(line)
        if out is None:
            return write(_rows(reader), data_output())
        with whole_file(out, session) as file:
            return write(_rows(reader), file)


def _write_csv(rows: Iterable[Row], file: TextIO) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    cells = 0
    for row in rows:
        writer.writerow(_field(name, row) for name in COLUMNS)
        cells += 1
    return cells


def _write_jsonl(rows: Iterable[Row], file: TextIO) -> int:
    cells = 0
    for row in rows:
        known = {name: row[name] for name in COLUMNS} | {
            "captured_at": _time(row["captured_at"]),
            "simulated": bool(row["simulated"]),
        }
        file.write(json.dumps(known, allow_nan=False) + "\n")
        cells += 1
    return cells


def _rows(reader: SessionReader) -> Iterator[Row]:
    constants = {
        "simulated": int(is_simulated_session(reader.settings, reader.summary)),
        "bundle_sha256": reader.settings.get("bundle_sha256"),
        "research_use_only": RESEARCH_USE,
    }
    for row in reader.rows("cells"):
        yield {**row, **constants}


def _time(seconds: object) -> str:
    assert isinstance(seconds, float)
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def _field(name: str, row: Mapping[str, object]) -> object:
    value = row[name]
    if isinstance(value, float):
        if name == "captured_at":
            return _time(value)
        return f"{value:.{_ROUNDED[name]}f}"
    return cell_of(value) if isinstance(value, str) else value


def cell_of(text: str) -> str:
    """Return a text as a CSV cell that no spreadsheet takes for a formula: an apostrophe goes before it.

    So does one before a text that begins with an apostrophe: taking one away always gives the text back.
    Source: OWASP, "CSV Injection".

    Examples
    --------
    >>> cell_of("blast"), cell_of("=1+1"), cell_of("'quoted'")
    ('blast', "'=1+1", "''quoted'")
    """
    first = text.lstrip()[:1]
    return f"'{text}" if text[:1] in _LED_BY or first in _FORMULAS else text
