"""The kinds of cells that a stained smear shows, in the words that reports and labels use."""

from __future__ import annotations

from enum import Enum


class Kind(str, Enum):
    """What a cell is, before anybody asks whether it is a blast.

    ``band`` is a neutrophil whose nucleus is not segmented. ``blast-like`` is a lymphoid cell as bone marrow
    has them: a blast, or a normal precursor. ``smudge`` is a broken cell or an artefact.
    """

    NEUTROPHIL = "neutrophil"
    BAND = "band"
    EOSINOPHIL = "eosinophil"
    BASOPHIL = "basophil"
    MONOCYTE = "monocyte"
    LYMPHOCYTE = "lymphocyte"
    BLAST_LIKE = "blast-like"
    IMMATURE_GRANULOCYTE = "immature granulocyte"
    ERYTHROBLAST = "erythroblast"
    PLATELETS = "platelets"
    SMUDGE = "smudge"
    OTHER = "other"


# Cells that may be blasts: of them alone it is asked.
LYMPHOID = frozenset({Kind.LYMPHOCYTE, Kind.BLAST_LIKE})
# What is in no count of white cells: a red cell's precursor, and what is no cell or no whole one.
NOT_WHITE = frozenset({Kind.ERYTHROBLAST, Kind.PLATELETS, Kind.SMUDGE, Kind.OTHER})
# What a person may call a cell: its kind, or of a lymphoid one whether it is a blast.
BLAST, NORMAL = "blast", "normal"
LABELS = (*(kind.value for kind in Kind), BLAST, NORMAL)
