"""What classes are called: names that everybody knows, and those that ``--classes`` maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from edgeleuk.results import class_names as names
from edgeleuk.results.class_names import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    Label = Literal["blast", "normal"]

LABELS: tuple[Label, ...] = ("blast", "normal")
# As `plain` writes them: of all known names those that mean one of the two.
WELL_KNOWN: dict[str, Label] = {
    name: "blast" if label == "blast" else "normal"
    for name, label in names.KNOWN_NAMES.items()
    if label in LABELS
}


def parse_classes(text: str | None) -> dict[str, Label]:
    """Read ``--classes``: ``Benign=normal,Early=blast`` maps names to the two labels.

    Raises
    ------
    UsageError
        A part is no ``NAME=blast`` or ``NAME=normal``, or a name stands there twice.

    Examples
    --------
    >>> parse_classes("Benign=normal, Early=blast")
    {'Benign': 'normal', 'Early': 'blast'}
    """
    return names.parse_classes(text, LABELS, "NAME=blast or NAME=normal")


def of_labels(labels: Iterable[str], positive: str | None) -> dict[str, Label]:
    """Map an output contract's labels: the positive one is blast, the others are normal.

    Names that everybody knows keep what they mean: of Benign, Early, Pre and Pro three are blasts, though one
    alone is the positive label.
    """
    return {name: WELL_KNOWN.get(plain(name), "blast" if name == positive else "normal") for name in labels}
