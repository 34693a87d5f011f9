"""Several files of labels as one: each cell once, each word of each person once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import is_forced
from edgeleuk.labels.contents import joined
from edgeleuk.labels.file import locked, require_labels_place, write_labels
from edgeleuk.labels.opening import open_any_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edgeleuk.labels.contents import CellEntry
    from edgeleuk.labels.file import Pictures
    from edgeleuk.labels.opening import Labels


class Several:
    """The pictures of several files.

    Where two programs encoded the same pixels in two ways, one of the pictures is taken, always the same.
    """

    def __init__(self, files: Sequence[Labels]) -> None:
        self._file_of: dict[str, Labels] = {}
        for file in files:
            for identity, digest in file.digests.items():
                other = self._file_of.get(identity)
                if other is None or digest < other.digests[identity]:
                    self._file_of[identity] = file

    def file_of(self, identity: str) -> Labels:
        """Return the file that has the picture of a cell."""
        return self._file_of[identity]

    def png(self, identity: str) -> bytes:
        """Return the PNG of a cell; see `edgeleuk.labels.file.Pictures`."""
        return self._file_of[identity].png(identity)


def merge_labels(paths: Sequence[Path], out: Path) -> tuple[CellEntry, ...]:
    """Write one file with all that several say; the same bytes in whatever order they are named.

    Parameters
    ----------
    paths : sequence of Path
    out : Path
        May be one of them. Another that is there already is not written over, unless by force.

    Returns
    -------
    tuple of CellEntry

    Raises
    ------
    UsageError
        A file is not there, or `out` is and is not one of them.
    LabelsError
        One is damaged.
    """
    require_new(out, among=paths)
    with locked(out.parent):
        files = [open_any_labels(path) for path in paths]
        cells = joined(entry for file in files for entry in file.cells)
        write_labels(out, cells, Several(files))
    return cells


def write_new(
    out: Path, cells: Iterable[CellEntry], pictures: Pictures, *, among: Sequence[Path] = ()
) -> None:
    """Write a file of labels where none is, not even one that another process wrote meanwhile.

    Raises
    ------
    UsageError
        See `require_new`, `write_labels`.
    """
    with locked(out.parent):
        require_new(out, among=among)
        write_labels(out, cells, pictures)


def require_new(out: Path, *, among: Sequence[Path] = ()) -> None:
    """Refuse to write over other people's labels.

    Raises
    ------
    UsageError
        `out` is there, and none of those that are read.
    """
    require_labels_place(out)
    if out.exists() and not is_forced() and not any(out.samefile(path) for path in among if path.exists()):
        raise UsageError(
            f"{out} holds labels already",
            cure="choose another --out and join them with `edgeleuk labels merge`, or pass --force",
        )
