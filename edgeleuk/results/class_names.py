"""What classes are called: how names are compared, what they mean, and those that ``--classes`` maps."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, TypeVar

from edgeleuk.errors import UsageError
from edgeleuk.results.kinds import BLAST, LABELS, NORMAL, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

T = TypeVar("T", bound=str)

# What public data sets and laboratories call their classes, beside the label's own name. PBC's types are SNE,
# BNE, LY, MO, EO, BA, MMY, MY, PMY and ERB; C-NMC calls blasts "all" and normal cells "hem". What means one
# thing here and another there is not guessed: ALL-IDB's 0 and 1, say.
_SYNONYMS: dict[str, tuple[str, ...]] = {
    Kind.NEUTROPHIL: (
        *("neut", "neu", "ne", "sne", "seg", "segmented", "segmented neutrophil", "neutrophil segmented"),
        *("ngs", "pmn"),
    ),
    Kind.BAND: ("bne", "ngb", "band neutrophil", "neutrophil band", "stab"),
    Kind.EOSINOPHIL: ("eosi", "eos", "eo"),
    Kind.BASOPHIL: ("baso", "bas", "ba"),
    Kind.MONOCYTE: ("mono", "mon", "mo"),
    Kind.LYMPHOCYTE: ("lymp", "lymph", "lym", "ly", "lympho", "typical lymphocyte", "lymphocyte typical"),
    Kind.BLAST_LIKE: ("lymphoid precursor",),
    Kind.IMMATURE_GRANULOCYTE: (
        *("ig", "mmy", "my", "pmy", "metamyelocyte", "myelocyte", "promyelocyte", "mmz", "myb", "pmo"),
    ),
    Kind.ERYTHROBLAST: ("erb", "ebo", "nrbc", "normoblast", "nucleated red cell", "nucleated red blood cell"),
    Kind.PLATELETS: ("platelet", "plt", "thrombocyte"),
    Kind.SMUDGE: ("smudge cell", "ksc", "basket cell", "artefact", "artifact", "broken cell"),
    Kind.OTHER: (),
    BLAST: (
        *("all", "lymphoblast", "leukemia", "leukaemia", "leukemic", "leukaemic", "cancer", "cancerous"),
        *("malignant", "early", "pre", "pro", "early pre b", "pre b", "pro b", "malignant early"),
        *("malignant pre", "malignant pro", "malignant early pre b", "malignant pre b", "malignant pro b"),
    ),
    NORMAL: ("hem", "healthy", "benign", "non cancer", "noncancer", "non leukemia", "non blast"),
}


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


def compared(classes: Mapping[str, T]) -> dict[str, T]:
    """Return the same mapping, by the names as they are compared."""
    return {plain(name): label for name, label in classes.items()}


def parse_classes(text: str | None, labels: Sequence[T], allowed: str) -> dict[str, T]:
    """Read ``--classes``: ``LYM=lymphocyte,Early=blast`` maps names to labels.

    Parameters
    ----------
    text : str or None
    labels : sequence of str
        What may stand behind the sign, whatever its case.
    allowed : str
        The same in words, for the error.

    Raises
    ------
    UsageError
        A part is no ``NAME=label``, or a name stands there twice.

    Examples
    --------
    >>> parse_classes("LYM=Lymphocyte, Early=blast", LABELS, "NAME=kind")
    {'LYM': 'lymphocyte', 'Early': 'blast'}
    """
    known = {plain(label): label for label in labels}
    classes: dict[str, T] = {}
    for part in text.split(",") if text is not None else ():
        name, _, label = (word.strip() for word in part.rpartition("="))
        of = known.get(plain(label))
        if not name or of is None:
            raise UsageError(
                "--classes has a part that maps no class",
                got=repr(part.strip()),
                allowed=f"{allowed}, with commas between them",
            )
        if plain(name) in map(plain, classes):
            raise UsageError("--classes names a class twice", got=name)
        classes[name] = of
    return classes


def label_of(name: str) -> str | None:
    """Return the label that a name of the field means; None where none does.

    Examples
    --------
    >>> label_of("SNE"), label_of("Immature_Granulocytes"), label_of("hem"), label_of("1")
    ('neutrophil', 'immature granulocyte', 'normal', None)
    """
    return KNOWN_NAMES.get(plain(name))


def _with_plurals(names: Iterable[str]) -> set[str]:
    return {form for name in map(plain, names) for form in (name, f"{name}s")}


# Every known name, as `plain` writes it -> its label.
KNOWN_NAMES: dict[str, str] = {
    name: label for label in LABELS for name in _with_plurals((label, *_SYNONYMS[label]))
}
