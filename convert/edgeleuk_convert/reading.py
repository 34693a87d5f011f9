"""Read a folder of cells for a command: what is found is said, cells photographed twice are joined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.console import progress_bar, say
from edgeleuk_convert.cnmc import load_cells

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk_convert.cnmc import CellSet
    from edgeleuk_convert.leakage import Prints


def read_cells(data: Path) -> CellSet:
    """Load a folder of cells, join the groups that show the same cells, and say what was found."""
    return read_with_prints(data)[0]


def read_with_prints(data: Path) -> tuple[CellSet, Prints]:
    """Do as `read_cells`, and return the fingerprints by which groups were joined, too."""
    from edgeleuk_convert.leakage import fingerprints, join_near_duplicates

    with progress_bar("reading") as bar:
        cells = load_cells(data, progress=bar)
    say(str(cells.summary()))
    with progress_bar("comparing") as bar:
        prints = fingerprints(cells.labelled, progress=bar)
    joined = join_near_duplicates(cells, prints)
    groups = [len({cell.group for cell in of.labelled}) for of in (cells, joined)]
    if groups[1] < groups[0]:
        say(f"the same cells, photographed again, join the {groups[0]} groups to {groups[1]}")
    return joined, prints
