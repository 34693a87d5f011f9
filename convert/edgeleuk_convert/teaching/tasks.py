"""From labelled cells to what heads have to tell apart: kinds, and blasts among the lymphoid cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.results.kinds import BLAST, NORMAL, Kind
from edgeleuk_convert.teaching.choices import Known, ReferenceCells, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.heads import KernelHead
    from edgeleuk.bundle.manifest import KindContract
    from edgeleuk.bundle.reference import Reference
    from edgeleuk.classifier.decision import Rules
    from edgeleuk_convert.teaching.measuring import MeasuredCells

    Floats = npt.NDArray[np.float64]

NORMAL_OR_BLAST = (NORMAL, BLAST)
# Chosen on inner folds of C-NMC's subjects, and on PBC: see docs/models.md.
HAND_CRAFTED_OF_BLAST, HAND_CRAFTED_OF_KIND = 3.0, 1.0
GAMMA_OF_BLAST, GAMMA_OF_KIND = 0.8, 0.5


class TaskRows(NamedTuple):
    """A task, and which of the measured cells are its rows."""

    task: Task
    rows: npt.NDArray[np.bool_]


def kind_of(label: str) -> Kind:
    """Return the kind of a labelled cell; who calls a cell blast or normal says that it is lymphoid."""
    return Kind.BLAST_LIKE if label in NORMAL_OR_BLAST else Kind(label)


def blast_of(label: str) -> int:
    """Return 1 for a blast, 0 for another lymphoid cell, -1 for what is not asked."""
    if label in NORMAL_OR_BLAST:
        return NORMAL_OR_BLAST.index(label)
    return 0 if label == Kind.LYMPHOCYTE else -1


def kind_task(cells: MeasuredCells, also: Sequence[Kind]) -> Task:
    """Make the task of telling kinds apart; `also` are kinds that the bundle knows."""
    kinds = [kind_of(label) for label in cells.label]
    names = tuple(kind.value for kind in Kind if kind in {*kinds, *also})
    truth = np.array([names.index(kind.value) for kind in kinds], np.int64)
    return Task(names, cells.cells, truth, cells.slide, HAND_CRAFTED_OF_KIND, GAMMA_OF_KIND)


def blast_task(cells: MeasuredCells) -> TaskRows | None:
    """Make the task of telling blasts from other lymphoid cells; None where not both are labelled."""
    truth = np.array([blast_of(label) for label in cells.label], np.int64)
    rows = truth >= 0
    if len(np.unique(truth[rows])) < len(NORMAL_OR_BLAST):
        return None
    asked = cells.of(rows)
    task = Task(NORMAL_OR_BLAST, asked.cells, truth[rows], asked.slide, HAND_CRAFTED_OF_BLAST, GAMMA_OF_BLAST)
    return TaskRows(task, rows)


def known_of_kinds(
    task: Task, rules: Rules, contract: KindContract | None, reference: Reference | None
) -> Known:
    """Return what a bundle knows of kinds."""
    of_reference = None
    if reference is not None:
        kinds = [kind_of(label).value for label in reference.label_texts]
        of_reference = _reference_cells(task, reference, kinds)
    if contract is None or rules.kind_head is None:
        return Known(None, None, of_reference)
    head = with_columns(
        rules.kind_head,
        [contract.kinds.index(name) if name in contract.kinds else None for name in task.classes],
    )
    return Known(head.answer(task.cells).scores, head, of_reference)


def with_columns(head: KernelHead, columns: Sequence[int | None]) -> KernelHead:
    """Return a head with its scores in another order; None is a kind that it never gives."""
    count = len(head.weights)
    weights = [np.zeros(count, np.float32) if of is None else head.weights[:, of] for of in columns]
    bias = [0.0 if of is None else float(head.bias[of]) for of in columns]
    return replace(head, weights=np.column_stack(weights), bias=np.array(bias, np.float32))


def known_of_blasts(task: Task, probabilities: Floats, reference: Reference | None) -> Known:
    """Return what a bundle knows of blasts; `probabilities` are what it says of the task's cells."""
    of_reference = None
    if reference is not None:
        # Mature lymphocytes of other laboratories are left out: laboratory and class would be one.
        of_reference = _reference_cells(task, reference, reference.label_texts)
    p = np.clip(probabilities, 1e-6, 1 - 1e-6)
    half = np.log(p / (1 - p)) / 2
    return Known(np.column_stack([-half, half]), None, of_reference)


def _reference_cells(task: Task, reference: Reference, names: Sequence[str]) -> ReferenceCells | None:
    """Return the reference's cells with their class among the task's."""
    values = reference.values().astype(np.float64)
    if values.shape[1] != task.cells.shape[1]:
        return None
    index = np.array([task.classes.index(name) if name in task.classes else -1 for name in names], np.int64)
    source = np.array(reference.source_texts)[reference.sources]
    return ReferenceCells(values, index[reference.labels], reference.groups.astype(np.str_), source)
