"""The cells of a session as a folder that other programs read: there as a whole, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgeleuk.errors import DataRefusedError
from edgeleuk.io.atomic import bears, whole_folder, write_errors_of
from edgeleuk.io.console import say
from edgeleuk.labels.file import ENDING, write_labels
from edgeleuk.labels.formats.cells import FORMAT, INDEX, outlined_cells, write_index
from edgeleuk.labels.formats.coco import write_coco
from edgeleuk.labels.formats.geojson import write_geojson
from edgeleuk.labels.formats.label_studio import write_label_studio
from edgeleuk.labels.formats.yolo import write_yolo
from edgeleuk.labels.sessions import session_labels
from edgeleuk.labels.table import write_csv
from edgeleuk.session.kept_pictures import pictures_text
from edgeleuk.session.reader import read_session
from edgeleuk.session.removals import removed_by_rule, removed_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from edgeleuk.labels.formats.cells import Outlined

WRITERS: dict[str, Callable[[Path, Iterable[Outlined]], None]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "geojson": write_geojson,
    "label-studio": write_label_studio,
}
LABELS = "labels"
KINDS = (*WRITERS, LABELS)
_has_mark = bears(FORMAT.encode())


class Exported(NamedTuple):
    """How many cells went into a folder, how many of them people labelled, and how many have no picture."""

    cells: int
    labelled: int
    without_picture: int


def export_folder(session: Path, kind: str, out: Path) -> Exported:
    """Write a session's cells with their pictures and outlines in a format of other programs.

    Each picture is the crop of one cell as it was judged, for a session keeps no pictures of whole fields.

    Parameters
    ----------
    session : Path
    kind : str
        One of `KINDS`; ``labels`` writes what people said alone, as a file of labels and as a table.
    out : Path
        The folder. One that is there is replaced by force alone, and only where an export made it.

    Raises
    ------
    UsageError
        The session is missing, or `out` is there or cannot be written.
    DataRefusedError
        No cell has a picture, or nobody labelled one.
    SessionError, LabelsError
        The session or the labels beside it are damaged.
    """
    with (
        read_session(session) as reader,
        write_errors_of(out, "choose another folder"),
        whole_folder(out, _is_ours) as folder,
    ):
        if kind == LABELS:
            found = _write_labels(session, folder)
        else:
            cells = _Counted()
            for line in removed_text(removed_by_rule(reader)):
                say(line)
            WRITERS[kind](folder, cells.passing(outlined_cells(reader, folder)))
            write_index(folder, kind, cells.facts)
            found = Exported(len(cells.facts), cells.labelled, reader.counts().cells - len(cells.facts))
        if not found.cells:
            left_out = pictures_text(reader.settings)
            raise DataRefusedError(
                f"{session.name} has no cell with a picture",
                got=f"{found.without_picture} cells without" + (f", as {left_out}" if left_out else ""),
                cure="export its cells as a table with --csv",
            )
    return found


class _Counted:
    """Counts cells as they pass, and keeps what is known of each, encoded."""

    def __init__(self) -> None:
        self.facts: list[msgspec.Raw] = []
        self.labelled = 0

    def passing(self, cells: Iterable[Outlined]) -> Iterator[Outlined]:
        for cell in cells:
            self.facts.append(msgspec.Raw(msgspec.json.encode(cell.facts)))
            self.labelled += bool(cell.facts.statements)
            yield cell


def _write_labels(session: Path, folder: Path) -> Exported:
    """Write what people said of a session's cells, with the cells' pixels."""
    found = session_labels(session)
    write_labels(folder / f"{session.stem}{ENDING}", found.cells, found)
    write_csv(found.cells, folder / f"{session.stem}.csv")
    write_index(folder, LABELS, [])
    return Exported(len(found.cells), len(found.cells), 0)


def _is_ours(folder: Path) -> bool:
    """Whether an export made a folder."""
    return (folder / INDEX).is_file() and _has_mark(folder / INDEX)
