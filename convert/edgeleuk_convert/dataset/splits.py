"""Divide cells into folds by group, so that no child stands on both sides of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk_convert.dataset.cnmc import LABELS, require_both_classes
from edgeleuk_convert.dataset.cnmc_layouts import natural_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from edgeleuk_convert.dataset.cells import LabelledCell

_T = TypeVar("_T")

# The healthy subjects of this official fold have cells as large as blasts: few, hard and precious.
HARD_FOLD = "fold_2"
# Of the groups that are not tested, one in so many serves early stopping, temperature and threshold.
INNER_FOLDS = 3
_TRIES = 2000
# Of more groups, such as pictures that are groups of their own, any deal is even: fewer tries do.
_FEW_GROUPS = 500
# A group of more cells than this says no more about the sizes in its fold than one of this many.
_SIZE_CAP = 40
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class Split:
    """Cells to learn from, cells to stop and to calibrate by, cells that are never looked at."""

    train: tuple[LabelledCell, ...]
    validation: tuple[LabelledCell, ...]
    test: tuple[LabelledCell, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    label: str
    hard: bool
    cells: int
    blasts: int
    hard_cells: int
    size: float

    def of(self, label: str) -> int:
        """Return how many of its cells have a label."""
        return self.blasts if label == "blast" else self.cells - self.blasts


def grouped_folds(cells: Sequence[LabelledCell], folds: int, seed: int) -> dict[str, int]:
    """Assign every group to a fold.

    Each fold gets its share of each class: of groups (to within one), and of cells, of cells of the hard
    official fold, and of large and small cells as nearly as the groups allow. Size matters because a
    fold of large healthy cells is another task than one of small ones. Where groups hold cells of both
    classes, as slides do, each fold gets its share of groups and of the cells of each class.

    Parameters
    ----------
    cells : sequence of LabelledCell
        Unlabelled ones are ignored. Their order does not matter.
    folds : int
        At least 2.
    seed : int
        The same cells and seed give the same folds.

    Returns
    -------
    dict
        Group to fold, 0 to ``folds - 1``.

    Raises
    ------
    DataRefusedError
        A class has fewer groups than there are folds.
    """
    if folds < 2:
        raise UsageError("the number of folds is out of range", got=folds, allowed="2 or more")
    groups = _groups(cells)
    tries = _TRIES if len(groups) <= _FEW_GROUPS else max(1, _TRIES * _FEW_GROUPS // (10 * len(groups)))
    for label in LABELS:
        of_label = [group for group in groups if group.of(label)]
        if len(of_label) < folds:
            raise DataRefusedError(
                f"too few groups of {label} cells for {folds} folds",
                got=len(of_label),
                allowed=f"{folds} or more",
                cure=f"pass --folds {len(of_label)}, or use more subjects"
                if len(of_label) > 1
                else f"use more subjects: {label} cells of one group cannot both calibrate and judge",
            )
    if any(group.of(label) for group in groups for label in LABELS if label != group.label):
        rng = np.random.default_rng([seed, len(LABELS)])
        return min((_deal_mixed(groups, folds, rng) for _ in range(tries)), key=lambda deal: deal[0])[1]
    assigned: dict[str, int] = {}
    for label in LABELS:
        of_label = [group for group in groups if group.label == label]
        rng = np.random.default_rng([seed, LABELS.index(label)])
        assigned |= _fairest_deal(of_label, folds, rng, tries)
    return assigned


def holdout(cells: Sequence[LabelledCell], *, folds: int, fold: int, seed: int) -> Split:
    """Split into training, inner validation and test cells, all by group.

    Parameters
    ----------
    cells : sequence of LabelledCell
    folds, fold : int
        Fold `fold` of `folds` is the test.
    seed : int

    Returns
    -------
    Split
        Training holds each image once; identical twins that share a group are dropped there.
    """
    if not 0 <= fold < folds:
        raise UsageError("the fold is out of range", got=fold, allowed=f"0 to {folds - 1}")
    labelled = [cell for cell in cells if cell.label is not None]
    outer = grouped_folds(labelled, folds, seed)
    test = tuple(cell for cell in labelled if outer[cell.group or ""] == fold)
    rest = [cell for cell in labelled if outer[cell.group or ""] != fold]
    split = _with_inner(rest, test, seed, cure=f"use more than {folds} folds or more subjects")
    for side in (split.train, split.validation):
        refuse_leakage(side, test)
    return split


def split_by_subjects(cells: Sequence[LabelledCell], subjects: Iterable[str], *, seed: int) -> Split:
    """Hold out the subjects that are named, whatever they share with the others.

    Parameters
    ----------
    cells : sequence of LabelledCell
    subjects : iterable of str
        These are the test, in whatever case they are spelt.
    seed : int
        Of the inner validation, which is by group.

    Returns
    -------
    Split
        It may leak between test and training: see `leakage.refuse_or_stamp`.

    Raises
    ------
    UsageError
        A subject is not among the cells.
    DataRefusedError
        The test lacks a class, or too few groups are left to learn from.
    """
    labelled = [cell for cell in cells if cell.label is not None]
    known = {cell.subject.casefold() for cell in labelled if cell.subject is not None}
    wanted = {subject.casefold(): subject for subject in subjects}
    if missing := [subject for name, subject in wanted.items() if name not in known]:
        raise UsageError(
            "a subject to hold out is not among the cells",
            got=", ".join(missing[:_NAMED_AT_MOST]),
            cure="name subjects as their files do: UID_<subject>_...",
        )
    sides: dict[bool, list[LabelledCell]] = {True: [], False: []}
    for cell in labelled:
        sides[(cell.subject or "").casefold() in wanted].append(cell)
    require_both_classes(sides[True], "the held-out side")
    return _with_inner(sides[False], tuple(sides[True]), seed, cure="hold out fewer subjects")


def every_subject(cells: Sequence[LabelledCell]) -> Split:
    """Hold nobody out: all labelled cells are there to learn from, each image once."""
    return Split(unique(cell for cell in cells if cell.label is not None), (), ())


def random_split(cells: Sequence[LabelledCell], *, share: float, seed: int) -> Split:
    """Split image by image, as one never should: what that claims is compared with an honest split.

    Parameters
    ----------
    cells : sequence of LabelledCell
    share : float
        Of the images of each class that are tested, 0 to 1.
    seed : int

    Returns
    -------
    Split
        A part of the rest, as large as `holdout` would take, is the inner validation.
    """
    sides: list[list[LabelledCell]] = [[], [], []]
    for label in LABELS:
        of_label = [cell for cell in cells if cell.label == label]
        order = np.random.default_rng([seed, LABELS.index(label)]).permutation(len(of_label))
        tested = round(share * len(of_label))
        inner = tested + round((len(of_label) - tested) / INNER_FOLDS)
        for side, rows in zip(sides, np.split(order, [tested, inner]), strict=True):
            side += [of_label[row] for row in sorted(rows)]
    test, validation, train = sides
    for side in sides:
        require_both_classes(side, "each side of a random split")
    return Split(unique(train), unique(validation), tuple(test))


def _with_inner(
    rest: Sequence[LabelledCell], test: tuple[LabelledCell, ...], seed: int, *, cure: str
) -> Split:
    """Divide what is not tested, by group, into cells to learn from and to stop and calibrate by."""
    inner_folds = min(INNER_FOLDS, *(_count_groups(rest, label) for label in LABELS))
    if inner_folds < 2:
        raise DataRefusedError(
            "too few groups are left to hold some out inside the training folds",
            got=f"{inner_folds} of a class",
            allowed="2 or more of each class",
            cure=cure,
        )
    inner = grouped_folds(rest, inner_folds, seed)
    train = unique(cell for cell in rest if inner[cell.group or ""] != 0)
    validation = unique(cell for cell in rest if inner[cell.group or ""] == 0)
    refuse_leakage(train, validation)
    return Split(train, validation, test)


def halves(cells: Sequence[LabelledCell], *, seed: int) -> npt.NDArray[np.bool_]:
    """Divide cells into two by group; all lie in the first half where a class has but one group.

    Returns
    -------
    (n,) bool
        True for the second half.
    """
    if min(_count_groups(cells, label) for label in LABELS) < 2:
        return np.zeros(len(cells), bool)
    of_group = grouped_folds(cells, 2, seed)
    return np.array([of_group[cell.group or ""] == 1 for cell in cells])


def unique(cells: Iterable[LabelledCell]) -> tuple[LabelledCell, ...]:
    """Keep the first of identical images."""
    first: dict[str, LabelledCell] = {}
    for cell in cells:
        first.setdefault(cell.sha256, cell)
    return tuple(first.values())


def refuse_leakage(train: Iterable[LabelledCell], test: Iterable[LabelledCell]) -> None:
    """Raise `DataRefusedError` where a subject, a group or an image stands on both sides."""
    train, test = tuple(train), tuple(test)
    keys: dict[str, Callable[[LabelledCell], str | None]] = {
        "image": lambda cell: cell.sha256,
        "subject": lambda cell: cell.subject,
        "group": lambda cell: cell.group,
    }
    for what, key in keys.items():
        seen = _first_by(train, key)
        leaks = [(seen[value], cell) for cell in test if (value := key(cell)) is not None and value in seen]
        if leaks:
            named = ", ".join(
                f"{one.path.name} and {other.path.name}" for one, other in leaks[:_NAMED_AT_MOST]
            )
            raise DataRefusedError(
                f"the same {what} stands in training and in test",
                got=f"{len(leaks)} test cells, such as {named}",
                cure="split by group",
            )


def _first_by(cells: Iterable[_T], key: Callable[[_T], str | None]) -> Mapping[str, _T]:
    first: dict[str, _T] = {}
    for cell in cells:
        value = key(cell)
        if value is not None:
            first.setdefault(value, cell)
    return first


def _count_groups(cells: Iterable[LabelledCell], label: str) -> int:
    return sum(group.of(label) > 0 for group in _groups(cells))


def _groups(cells: Iterable[LabelledCell]) -> list[_Group]:
    members: dict[str, list[LabelledCell]] = {}
    for cell in cells:
        if cell.label is not None and cell.group is not None:
            members.setdefault(cell.group, []).append(cell)
    groups = []
    for name in sorted(members, key=natural_key):
        of_group = members[name]
        blasts = sum(cell.label == "blast" for cell in of_group)
        hard = sum(cell.fold == HARD_FOLD for cell in of_group)
        label = "blast" if 2 * blasts > len(of_group) else "normal"
        size = float(np.median(np.log([max(cell.foreground_px, 1) for cell in of_group])))
        groups.append(_Group(name, label, hard > 0, len(of_group), blasts, hard, size))
    return groups


def _fairest_deal(groups: list[_Group], folds: int, rng: np.random.Generator, tries: int) -> dict[str, int]:
    """Deal groups out like cards, the hard first, large before small; of many deals, return the fairest."""
    ordered = sorted(groups, key=lambda group: (not group.hard, -group.cells))
    hands = np.tile(np.arange(folds), (-(-len(ordered) // folds), 1))
    cells = np.array([group.cells for group in ordered], np.float64)
    hard_cells = np.array([group.hard_cells for group in ordered], np.float64)
    votes = np.minimum(cells, _SIZE_CAP)
    sizes = np.array([group.size for group in ordered])
    sized, spread = votes * sizes, max(float(sizes.std()), 1e-9)
    # The folds are as large on average, however the groups are dealt.
    cells_each, hard_each = cells.sum() / folds, max(hard_cells.sum() / folds, 1.0)

    def deal() -> tuple[float, npt.NDArray[np.int64]]:
        fold_of = rng.permuted(hands, axis=1).reshape(-1)[: len(ordered)]

        def per_fold(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            return np.bincount(fold_of, weights=values, minlength=folds).astype(np.float64, copy=False)

        unevenness = np.ptp(per_fold(cells)) / cells_each + np.ptp(per_fold(hard_cells)) / hard_each
        unevenness += np.ptp(per_fold(sized) / per_fold(votes)) / spread
        return float(unevenness), fold_of

    _, fold_of = min((deal() for _ in range(tries)), key=lambda dealt: dealt[0])
    return {group.name: int(fold) for group, fold in zip(ordered, fold_of, strict=True)}


def _deal_mixed(groups: list[_Group], folds: int, rng: np.random.Generator) -> tuple[float, dict[str, int]]:
    """Deal out groups some of which hold both classes; return (unevenness, deal).

    Those of both classes come first, and each class goes on with the fold behind them: so no fold lacks a
    class that has as many groups as there are folds.
    """
    order = rng.permutation(folds)
    both = [group for group in groups if group.of("blast") and group.of("normal")]
    pure = [[group for group in groups if group.of(label) == group.cells] for label in LABELS]
    deal: dict[str, int] = {}
    for start, stratum in ((0, both), *((len(both), one) for one in pure)):
        for place, row in enumerate(rng.permutation(len(stratum)), start=start):
            deal[stratum[row].name] = int(order[place % folds])
    fold_of = [deal[group.name] for group in groups]
    unevenness = 0.0
    for label in LABELS:
        cells = np.array([group.of(label) for group in groups], np.float64)
        in_fold = np.bincount(fold_of, weights=cells, minlength=folds)
        unevenness += float(np.ptp(in_fold) / in_fold.mean())
    return unevenness, deal
