"""The ways in which a laboratory's labels can change a head, each to be tried on slides it has not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk_convert.teaching.kernels import (
    Prior,
    Reference,
    Standard,
    fitted_head,
    kernel,
    no_prior,
    standard_of,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.heads import KernelHead
    from edgeleuk_convert.teaching.kernels import Floats, Ints

# Cells of one class count as much as those of another; a slide of more cells than this as one of this many.
SLIDE_CAP = 40
RIDGES = (0.1, 1.0)
# How much a cell of the reference counts beside one of the laboratory's.
REFERENCE_WEIGHTS = (0.03, 0.3)
AS_IT_IS, RECALIBRATED, STANDARDISED, NEW, JOINED = (
    "the head as it is",
    "the head recalibrated",
    "the head, features standardised by the laboratory's cells",
    "a new head",
    "a head joined with the reference",
)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is to be told apart, and the laboratory's cells for it.

    Attributes
    ----------
    classes : tuple of str
        Names of the K classes.
    cells : (n, D) float64
        Features of the trunk, then the hand-crafted ones.
    truth : (n,) int64
        Index of each cell's class.
    slide : (n,) str
    hand_crafted : float
        What a hand-crafted feature weighs; see `standard_of`.
    gamma : float
        Of the kernel.
    """

    classes: tuple[str, ...]
    cells: Floats
    truth: Ints
    slide: npt.NDArray[np.str_]
    hand_crafted: float = 1.0
    gamma: float = 0.5

    @property
    def targets(self) -> Floats:
        """(n, K): 1 for the class of a cell, 0 for the others."""
        found: Floats = np.eye(len(self.classes))[self.truth]
        return found

    @property
    def weights(self) -> Floats:
        """(n,), 1 on average: classes count the same; see `class_weights`."""
        return class_weights(self.truth, self.slide)

    @property
    def bias(self) -> float:
        """Score of a cell of which nothing is known."""
        return 1 / len(self.classes)


def class_weights(truth: Ints, group: npt.NDArray[np.str_]) -> Floats:
    """Weigh cells so that classes count the same and large groups do not rule; 1 on average."""
    weights = np.zeros(len(truth))
    for label in np.unique(truth):
        rows = truth == label
        _, inverse, counts = np.unique(group[rows], return_inverse=True, return_counts=True)
        of_cell = np.minimum(counts, SLIDE_CAP)[inverse] / counts[inverse]
        weights[rows] = of_cell / of_cell.sum()
    found: Floats = weights * len(truth) / weights.sum()
    return found


class Known(NamedTuple):
    """What the bundle brings.

    Attributes
    ----------
    shipped : (n, K) float64 or None
        Scores of the laboratory's cells by the bundle's own head; None where it has none.
    head : KernelHead or None
        That head, its scores in the order of the task's classes; None where the bundle judges by other means.
    reference : ReferenceCells or None
    """

    shipped: Floats | None
    head: KernelHead | None
    reference: ReferenceCells | None


class ReferenceCells(NamedTuple):
    """The cells that taught the shipped heads.

    Attributes
    ----------
    cells : (r, D) float64
    truth : (r,) int64
        Index among the task's classes; -1 where a cell is of none.
    group, source : (r,) str
        Subject or slide; laboratory.
    """

    cells: Floats
    truth: Ints
    group: npt.NDArray[np.str_]
    source: npt.NDArray[np.str_]

    def of_the_task(self) -> ReferenceCells:
        """Leave out the cells of no class of the task."""
        rows = self.truth >= 0
        return ReferenceCells(self.cells[rows], self.truth[rows], self.group[rows], self.source[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One way to make a head.

    Attributes
    ----------
    name : str
    prior : Prior
        Of the laboratory's cells.
    ridge : float or None
        None where labels change nothing but the sharpness.
    sharpness : float or None
        Of the softmax; None where the labels choose it.
    make : _Maker
        Makes the head of all cells.
    usual : bool
        It is left only for one that is shown to be better; see `chosen`.
    """

    name: str
    prior: Prior
    ridge: float | None
    sharpness: float | None
    make: _Maker
    usual: bool = False


class _Maker(NamedTuple):
    """All that a head of the laboratory's own is fitted to, or the head that is kept."""

    kept: KernelHead | None
    z: Floats
    standard: Standard
    reference: Reference | None
    gamma: float

    def head(self, task: Task, ridge: float | None) -> KernelHead | None:
        """Fit the head to all cells of the task; None where the bundle keeps what it judges by."""
        if ridge is None:
            return self.kept
        z, targets, noise = self.z, task.targets, ridge / task.weights
        if self.reference is not None:
            z = np.vstack([z, self.reference.z])
            targets = np.vstack([targets, self.reference.targets])
            noise = np.append(noise, self.reference.noise)
        return fitted_head(z, targets, noise, self.standard, gamma=self.gamma, bias=task.bias)


def choices_for(task: Task, known: Known, sharpness: float) -> list[Choice]:
    """Return the ways that there are for a task, the simplest first.

    Parameters
    ----------
    task : Task
    known : Known
    sharpness : float
        Of the bundle's head as it is.
    """
    here = standard_of(task.cells, task.weights, hand_crafted=task.hand_crafted)
    found = _of_the_head(task, known, here, sharpness)
    z = here.of(task.cells)
    for ridge in RIDGES:
        maker = _Maker(None, z, here, None, task.gamma)
        found.append(Choice(NEW, no_prior(z, len(task.classes), task.gamma, task.bias), ridge, None, maker))
    if known.reference is None:
        return found
    of_reference = known.reference.of_the_task()
    if len(of_reference.truth):
        # Measured on kinds alone, where the head itself is known: see docs/models.md. A reference without a
        # class that is labelled calls its cells something else.
        usual = known.head is not None and bool(np.isin(task.truth, of_reference.truth).all())
        found += _joined(task, of_reference, here, usual=usual)
    return found


def _of_the_head(task: Task, known: Known, here: Standard, sharpness: float) -> list[Choice]:
    if known.shipped is None:
        return []
    nothing = np.zeros((len(task.cells), len(task.cells)))
    kept = _Maker(known.head, task.cells, here, None, task.gamma)
    found = [
        Choice(AS_IT_IS, Prior(known.shipped, nothing), None, sharpness, kept),
        Choice(RECALIBRATED, Prior(known.shipped, nothing), None, None, kept),
    ]
    if known.head is not None:
        # The same vectors, asked from where the laboratory's cells lie.
        moved = replace(
            known.head, mean=here.mean.astype(np.float32), deviation=here.deviation.astype(np.float32)
        )
        scores = moved.answer(task.cells).scores
        found.append(Choice(STANDARDISED, Prior(scores, nothing), None, None, kept._replace(kept=moved)))
    return found


def _joined(task: Task, reference: ReferenceCells, here: Standard, *, usual: bool) -> list[Choice]:
    """Join with the reference: by one standard for all, and by each laboratory's own."""
    answers = len(task.classes)
    balance = class_weights(reference.truth, reference.group)
    targets = np.eye(answers)[reference.truth]
    common = standard_of(reference.cells, balance, hand_crafted=task.hand_crafted)
    own = np.empty_like(reference.cells)
    for source in np.unique(reference.source):
        rows = reference.source == source
        own_standard = standard_of(reference.cells[rows], balance[rows], hand_crafted=task.hand_crafted)
        own[rows] = own_standard.of(reference.cells[rows])
    found = []
    for how, standard, z_reference in (
        ("one standard", common, common.of(reference.cells)),
        ("each by its own standard", here, own),
    ):
        z, among = standard.of(task.cells), kernel(z_reference, z_reference, task.gamma)
        for weight in REFERENCE_WEIGHTS:
            ready = Reference(z_reference, targets, RIDGES[0] / (weight * balance), task.gamma, among)
            prior = ready.prior(z, task.bias)
            found += [
                Choice(
                    f"{JOINED}, weight {weight:g}, {how}",
                    prior,
                    ridge,
                    None,
                    _Maker(None, z, standard, ready, task.gamma),
                    usual=usual
                    and (weight, ridge, standard is common) == (REFERENCE_WEIGHTS[-1], RIDGES[0], True),
                )
                for ridge in RIDGES
            ]
    return found


def parts_by_group(group: npt.NDArray[np.str_], truth: Ints, most: int, seed: int = 0) -> Ints:
    """Deal groups into at most `most` parts, so that each class is in as many parts as it can.

    Cells are dealt where there is but one group.

    Returns
    -------
    (n,) int64
        Part of each cell.
    """
    names, index = np.unique(group, return_inverse=True)
    rng = np.random.default_rng(seed)
    if len(names) < 2:
        part = np.empty(len(truth), np.int64)
        for label in np.unique(truth):
            rows = np.flatnonzero(truth == label)
            part[rng.permutation(rows)] = np.arange(len(rows)) % most
        return part
    counts = np.zeros((len(names), int(truth.max()) + 1))
    np.add.at(counts, (index, truth), 1)
    share = counts / np.maximum(counts.sum(axis=0), 1)
    parts = min(most, len(names))
    filled, dealt = np.zeros((parts, counts.shape[1])), np.empty(len(names), np.int64)
    # The largest first, each to the part that has least of what it holds.
    for row in sorted(rng.permutation(len(names)), key=lambda one: -share[one].sum()):
        part_of = int(np.argmin((filled * (share[row] > 0)).sum(axis=1) + 1e-9 * filled.sum(axis=1)))
        dealt[row] = part_of
        filled[part_of] += share[row]
    found: Ints = dealt[index]
    return found
