"""Read a folder of cells for a command: what is found is said, cells photographed twice are joined."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeleuk.io.console import progress_bar, say
from edgeleuk_convert.dataset.class_names import of_labels, parse_classes
from edgeleuk_convert.dataset.cnmc import load_cells
from edgeleuk_convert.dataset.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeleuk.bundle.manifest import InputContract, OutputContract
    from edgeleuk_convert.dataset.cells import CellSet
    from edgeleuk_convert.dataset.class_names import Label
    from edgeleuk_convert.dataset.leakage import Prints


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How the user's own pictures are to be read; see `load_cells`.

    Attributes
    ----------
    classes : mapping of str to label
    subjects : Path or None
    px_per_um : float or None
        What was asked for.
    also_known : mapping of str to label
    own_px_per_um : float or None
        What a network's contract says besides.
    """

    classes: Mapping[str, Label] = field(default_factory=dict)
    subjects: Path | None = None
    px_per_um: float | None = None
    also_known: Mapping[str, Label] = field(default_factory=dict)
    own_px_per_um: float | None = None

    @classmethod
    def parse(cls, classes: str | None, subjects: Path | None, px_per_um: float | None) -> DataOptions:
        """Take ``--classes``, ``--subjects`` and ``--px-per-um``, with a `UsageError` for bad classes."""
        return cls(parse_classes(classes), subjects, px_per_um)

    def with_contract(self, of_input: InputContract, of_output: OutputContract) -> DataOptions:
        """Add the names of a network's classes, and the scale of its pictures."""
        return replace(
            self,
            also_known=of_labels(of_output.labels, of_output.positive_label),
            own_px_per_um=of_input.crop_px_per_um,
        )


CNMC = DataOptions()


def read_cells(data: Path, options: DataOptions = CNMC) -> CellSet:
    """Load a folder of cells, join the groups that show the same cells, and say what was found."""
    return read_with_prints(data, options)[0]


def read_with_prints(data: Path, options: DataOptions = CNMC) -> tuple[CellSet, Prints]:
    """Do as `read_cells`, and return the fingerprints by which groups were joined, too."""
    from edgeleuk_convert.dataset.leakage import fingerprints, join_near_duplicates

    with progress_bar("reading") as bar:
        cells = load_cells(
            data,
            classes=options.classes,
            subjects=options.subjects,
            px_per_um=options.px_per_um,
            also_known=options.also_known,
            own_px_per_um=options.own_px_per_um,
            progress=bar,
        )
    say(str(summarise(cells)))
    with progress_bar("comparing") as bar:
        prints = fingerprints(cells.labelled, progress=bar)
    joined = join_near_duplicates(cells, prints)
    groups = [len({cell.group for cell in of.labelled}) for of in (cells, joined)]
    if groups[1] < groups[0]:
        say(f"the same cells, photographed again, join the {groups[0]} groups to {groups[1]}")
    return joined, prints
