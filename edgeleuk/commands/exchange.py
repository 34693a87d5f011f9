"""Cells and labels to and from other programs: ``export --coco DIR``, ``labels import --coco`` and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.commands.labels import imported
from edgeleuk.errors import UsageError
from edgeleuk.io.console import printable, progress_bar
from edgeleuk.labels.file import ENDING
from edgeleuk.labels.formats.cells import INDEX, read_kind
from edgeleuk.labels.formats.exporting import export_folder
from edgeleuk.labels.formats.importing import Origins, import_marks
from edgeleuk.labels.importing import Imported
from edgeleuk.labels.merging import merge_labels, require_new, write_new
from edgeleuk.labels.spool import Spool
from edgeleuk.results.structs import Printed
from edgeleuk.session.kept_pictures import pictures_text
from edgeleuk.session.reader import read_session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeleuk.commands.labels import Author, LabelsImported
    from edgeleuk.labels.naming import Naming


class CellsExported(Printed, frozen=True, kw_only=True):
    """What ``export --coco DIR``, and each format of other programs, prints with --json.

    Attributes
    ----------
    out : str
        The folder.
    format : str
        ``coco``, ``yolo``, ``geojson``, ``label-studio`` or ``labels``.
    cells : int
    labelled : int
        Cells that people called something.
    without_picture : int
        Cells that are left out, as the session kept no pixels of them.
    left_out : str or None
        Which pictures the session was told not to keep.
    pictures : str
        What the pictures show.
    """

    schema_version: int = 1
    out: str
    format: str
    cells: int
    labelled: int
    without_picture: int
    left_out: str | None = None
    pictures: str = "the crop of one cell each, as it was judged: a session keeps no pictures of whole fields"


def export_cells(session: Path, folders: Mapping[str, Path | None]) -> CellsExported:
    """Write a session's cells in the one format whose folder is named; see `export_folder`."""
    [(kind, out)] = [(kind, out) for kind, out in folders.items() if out is not None]
    found = export_folder(session, kind, out)
    with read_session(session) as reader:
        left_out = pictures_text(reader.settings)
    return CellsExported(
        out=str(out),
        format=kind,
        cells=found.cells,
        labelled=found.labelled,
        without_picture=found.without_picture,
        left_out=left_out,
    )


def exported_text(result: CellsExported) -> str:
    """Say what was exported."""
    lines = [
        f"written   {printable(result.out)}, as {result.format}",
        f"cells     {result.cells}, of which people called {result.labelled} something",
    ]
    if result.without_picture:
        why = "" if result.left_out is None else f": {result.left_out}"
        lines.append(f"left out  {result.without_picture} cells without a picture in the session{why}")
    return "\n".join([*lines, f"pictures  {result.pictures}"])


def format_of(source: Path, asked: Mapping[str, bool]) -> str | None:
    """Return the format of annotations: that which is asked for, else that of an exported folder.

    Raises
    ------
    UsageError
        Several are asked for.
    """
    kinds = [kind for kind, is_asked in asked.items() if is_asked]
    if len(kinds) > 1:
        raise UsageError("a file has one format", got=", ".join(f"--{kind}" for kind in kinds))
    return kinds[0] if kinds else read_kind(source / INDEX)


def import_annotations(
    kind: str,
    source: Path,
    out: Path,
    naming: Naming,
    of: Author,
    *,
    pictures: Path | None = None,
    px_per_um: float | None = None,
) -> LabelsImported:
    """Write a file of labels from annotations of another program; see `import_marks`."""
    require_new(out)
    with Spool() as spool, progress_bar("cutting out cells") as report:
        found = import_marks(kind, source, pictures, Origins(naming, of.by, of.at, px_per_um), spool, report)
        write_new(out, found.cells, spool)
    return imported(out, found)


def import_labels(source: Path, out: Path) -> LabelsImported:
    """Write a file of labels from a folder of ``export --labels``."""
    paths = sorted(source.glob(f"*{ENDING}"))
    if not paths:
        raise UsageError("the folder has no file of labels", got=source)
    return imported(out, Imported(merge_labels(paths, out), {}, {}, 0, None, 0, 0))
