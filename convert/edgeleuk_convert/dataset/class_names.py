"""What classes are called: names that everybody knows, and those that ``--classes`` maps."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Literal

from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Label = Literal["blast", "normal"]

# As `plain` writes them. Those of C-NMC, of ALL-IDB and of the sets that its readers made; "hem" is C-NMC's
# word for normal.
WELL_KNOWN: dict[str, Label] = {
    "all": "blast",
    "hem": "normal",
    "blast": "blast", "blasts": "blast", "lymphoblast": "blast", "lymphoblasts": "blast",
    "leukemia": "blast", "leukaemia": "blast", "leukemic": "blast", "leukaemic": "blast",
    "cancer": "blast", "cancerous": "blast", "malignant": "blast",
    "early": "blast", "pre": "blast", "pro": "blast",
    "early pre b": "blast", "pre b": "blast", "pro b": "blast",
    "malignant early": "blast", "malignant pre": "blast", "malignant pro": "blast",
    "malignant early pre b": "blast", "malignant pre b": "blast", "malignant pro b": "blast",
    "normal": "normal", "healthy": "normal", "benign": "normal",
    "non cancer": "normal", "noncancer": "normal", "non leukemia": "normal", "non blast": "normal",
}  # fmt: skip


def plain(name: str) -> str:
    """Return a name as it is compared: whatever its case, brackets, hyphens, underscores and accents' form.

    Examples
    --------
    >>> plain("[Malignant] Pre-B"), plain("Non_Cancer "), plain("1.0")
    ('malignant pre b', 'non cancer', '1')
    """
    # Tables that passed through floats say 1.0 for class 1.
    folded = re.sub(r"^(\d+)\.0$", r"\1", unicodedata.normalize("NFC", name).casefold().strip())
    return " ".join(re.sub(r"[\W_]+", " ", folded).split()) or folded.strip()


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
    classes: dict[str, Label] = {}
    for part in (text or "").split(",") if text is not None else ():
        name, _, label = (word.strip() for word in part.rpartition("="))
        of = {"blast": "blast", "normal": "normal"}.get(label.casefold())
        if not name or of is None:
            raise UsageError(
                "--classes has a part that maps no class",
                got=repr(part.strip()),
                allowed="NAME=blast or NAME=normal, with commas between them",
            )
        if plain(name) in map(plain, classes):
            raise UsageError("--classes names a class twice", got=name)
        classes[name] = "blast" if of == "blast" else "normal"
    return classes


def of_labels(labels: Iterable[str], positive: str | None) -> dict[str, Label]:
    """Map an output contract's labels: the positive one is blast, the others are normal.

    Names that everybody knows keep what they mean: of Benign, Early, Pre and Pro three are blasts, though one
    alone is the positive label.
    """
    return {name: WELL_KNOWN.get(plain(name), "blast" if name == positive else "normal") for name in labels}


def compared(classes: Mapping[str, Label]) -> dict[str, Label]:
    """Return the same mapping, by the names as they are compared."""
    return {plain(name): label for name, label in classes.items()}
