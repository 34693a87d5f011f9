"""Tell C-NMC's own layouts from folders of the user's, and list the pictures of either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeleuk.errors import DataRefusedError
from edgeleuk.io.tables import read_table
from edgeleuk.io.walking import CNMC_SUFFIXES, PICTURE_SUFFIXES, files_under
from edgeleuk.results.class_names import plain
from edgeleuk_convert.dataset.class_names import WELL_KNOWN
from edgeleuk_convert.dataset.cnmc_layouts import (
    FOLDER_LABELS,
    find_images,
    is_cnmc_table,
    natural_key,
    parse_uid,
)
from edgeleuk_convert.dataset.own_pictures import find_own_pictures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeleuk_convert.dataset.class_names import Label
    from edgeleuk_convert.dataset.cnmc_layouts import Named
    from edgeleuk_convert.dataset.own_pictures import OwnFacts


@dataclass(frozen=True, slots=True)
class Found:
    """The pictures of a folder, in natural order; `own` is None for C-NMC's layouts."""

    named: list[Named]
    own: OwnFacts | None = None


def find_pictures(
    folder: Path,
    *,
    classes: Mapping[str, Label] | None = None,
    table: Path | None = None,
    also_known: Mapping[str, Label] | None = None,
) -> Found:
    """List the cell pictures under `folder` with what is known of each before it is opened.

    Parameters
    ----------
    folder : Path
    classes, table : optional
        ``--classes`` and ``--subjects``; either makes the folder the user's own.
    also_known : mapping of str to label, optional
        Further names of classes.

    Raises
    ------
    DataRefusedError
        There are no pictures, or their classes or subjects cannot be told: see `find_images` for C-NMC and
        `find_own_pictures`.
    UsageError
        A name of `classes` does not occur.
    """
    paths = sorted(
        files_under(folder, PICTURE_SUFFIXES),
        key=lambda path: natural_key(path.relative_to(folder).as_posix()),
    )
    if not paths:
        raise DataRefusedError(
            "the data folder holds no images",
            got=folder,
            allowed=f"{', '.join(PICTURE_SUFFIXES)} in folders of classes, in fold_N/all and fold_N/hem,"
            " or a phase with its CSV",
        )
    if not classes and table is None and _is_cnmc(folder, paths):
        # Others beside C-NMC's own files were never read.
        original = [path for path in paths if path.suffix.lower() in CNMC_SUFFIXES]
        return Found(find_images(folder, original or paths))
    return Found(
        *find_own_pictures(folder, paths, classes=classes or {}, table=table, also_known=also_known or {})
    )


def _is_cnmc(folder: Path, paths: Sequence[Path]) -> bool:
    """Tell C-NMC's layouts by the files' names, its list of labels, and its folders."""
    if any(parse_uid(path.stem) for path in paths):
        return True
    tables = files_under(folder, (".csv",))
    if any(is_cnmc_table(table) for table in tables):
        return True
    if any(_is_readable(table) and read_table(table) for table in tables):
        return False
    parents = [path.relative_to(folder).parts[:-1] or (folder.name,) for path in paths]
    if all(of[-1].lower() in FOLDER_LABELS for of in parents):
        return True
    # The final phase: numbers without labels.
    numbered = all(path.stem.isdigit() and path.suffix.lower() in CNMC_SUFFIXES for path in paths)
    return numbered and not any(plain(part) in WELL_KNOWN for of in parents for part in of)


def _is_readable(table: Path) -> bool:
    """Tell whether a CSV can be read as C-NMC's are: what cannot is refused with them."""
    try:
        table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return False
    return True
