"""Folds by group: who may stand where, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk_convert.dataset.cells import Label, LabelledCell
from edgeleuk_convert.dataset.splits import (
    grouped_folds,
    holdout,
    random_split,
    refuse_leakage,
    split_by_subjects,
    unique,
)


def cell(
    subject: str, number: int, label: Label, *, fold: str | None = None, group: str | None = None
) -> LabelledCell:
    """Make a cell without a file."""
    name = f"UID_{subject}_{number}_1_{'all' if label == 'blast' else 'hem'}.bmp"
    digest = f"{subject}-{number}".encode().hex().ljust(64, "0")
    return LabelledCell(Path(name), label, subject, group or subject, digest, 1000, 450, 450, fold)


def cohort(blasts: int = 9, normals: int = 6, cells: int = 10) -> list[LabelledCell]:
    """Make subjects of increasing size, a third of the normal ones from the hard fold."""
    return [
        *(cell(str(s), n, "blast") for s in range(blasts) for n in range(cells + s)),
        *(
            cell(f"H{s}", n, "normal", fold="fold_2" if s % 3 == 0 else "fold_0")
            for s in range(normals)
            for n in range(cells + s)
        ),
    ]


def test_each_fold_has_its_share() -> None:
    cells = cohort()
    folds = grouped_folds(cells, 3, seed=0)
    for fold in range(3):
        groups = {name for name, where in folds.items() if where == fold}
        assert sum(name.startswith("H") for name in groups) == 2
        assert sum(not name.startswith("H") for name in groups) == 3
        size = sum(folds[c.group or ""] == fold for c in cells)
        assert abs(size - len(cells) / 3) <= 3


def test_hard_subjects_are_spread() -> None:
    cells = cohort(normals=9)
    folds = grouped_folds(cells, 3, seed=0)
    assert {folds[f"H{s}"] for s in (0, 3, 6)} == {0, 1, 2}


def test_holdout_keeps_groups_apart_and_twins_once() -> None:
    cells = cohort()
    twin = replace(cells[0], path=Path("twin.bmp"))
    split = holdout([*cells, twin], folds=3, fold=1, seed=0)
    sides = [{c.group for c in side} for side in (split.train, split.validation, split.test)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert all(
        {c.label for c in side} == {"blast", "normal"} for side in (split.train, split.validation, split.test)
    )
    seen = [c.sha256 for c in (*split.train, *split.validation)]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("seed", [0, 1])
def test_every_cell_is_tested_once(seed: int) -> None:
    cells = cohort()
    tested = [c.path for fold in range(3) for c in holdout(cells, folds=3, fold=fold, seed=seed).test]
    assert sorted(tested) == sorted(c.path for c in cells)


def test_unique_keeps_the_first() -> None:
    first, second = cell("1", 1, "blast"), cell("1", 2, "blast")
    twin = replace(first, path=Path("twin.bmp"))
    assert unique([first, twin, second]) == (first, second)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(
        DataRefusedError, match="too few groups of normal cells for 3 folds: got 2, allowed 3 or more"
    ):
        grouped_folds(cohort(normals=2), 3, seed=0)


def test_the_cure_names_the_folds_that_there_are_groups_for() -> None:
    with pytest.raises(DataRefusedError, match="pass --folds 2, or use more subjects"):
        grouped_folds(cohort(normals=2), 3, seed=0)
    with pytest.raises(DataRefusedError, match="use more subjects: normal cells of one group cannot both"):
        grouped_folds(cohort(normals=1), 3, seed=0)


@pytest.mark.parametrize(
    ("both", "blasts", "normals"), [(3, 0, 0), (2, 1, 1), (1, 2, 9), (7, 20, 0), (1, 30, 2)]
)
@pytest.mark.parametrize("seed", range(5))
def test_groups_of_both_classes_leave_no_fold_without_a_class(
    both: int, blasts: int, normals: int, seed: int
) -> None:
    """Slides hold both, and most of the cells of each may be of one class."""
    counts = [(f"slide{n}", 9, 1) for n in range(both)]
    counts += [(f"b{n}", 4, 0) for n in range(blasts)] + [(f"n{n}", 0, 2) for n in range(normals)]
    cells = [
        cell(name, number, label)
        for name, *numbers in counts
        for label, many in zip(("blast", "normal"), numbers, strict=True)
        for number in range(many)
    ]
    assigned = grouped_folds(cells, 3, seed)
    assert set(assigned) == {name for name, _, _ in counts}
    for label in ("blast", "normal"):
        assert {assigned[c.group or ""] for c in cells if c.label == label} == {0, 1, 2}
    assert grouped_folds(cells[::-1], 3, seed) == assigned


def test_nobody_left_for_the_inner_validation_is_refused() -> None:
    with pytest.raises(DataRefusedError, match="too few groups are left"):
        holdout(cohort(normals=2), folds=2, fold=0, seed=0)


@pytest.mark.parametrize(("folds", "fold"), [(1, 0), (3, 3), (3, -1)])
def test_folds_out_of_range_are_refused(folds: int, fold: int) -> None:
    with pytest.raises(UsageError, match="out of range"):
        holdout(cohort(), folds=folds, fold=fold, seed=0)


def test_named_subjects_are_held_out_whatever_they_share() -> None:
    cells = [replace(c, group="0") if c.subject == "1" else c for c in cohort()]
    split = split_by_subjects(cells, ["1", "h2"], seed=0)
    assert {c.subject for c in split.test} == {"1", "H2"}
    assert len(split.train) + len(split.validation) + len(split.test) == len(cells)
    # It leaks by group 0, and that is for `refuse_or_stamp` to say.
    assert "0" in {c.group for c in (*split.train, *split.validation)}
    assert not {c.group for c in split.train} & {c.group for c in split.validation}


def test_named_subjects_that_cannot_be_held_out() -> None:
    with pytest.raises(UsageError, match=r"not among the cells: got 99, H99; name subjects as their files"):
        split_by_subjects(cohort(), ["1", "99", "H99"], seed=0)
    with pytest.raises(DataRefusedError, match="the held-out side needs labelled cells of both classes"):
        split_by_subjects(cohort(), ["1"], seed=0)
    normals = [f"H{number}" for number in range(5)]
    with pytest.raises(DataRefusedError, match=r"too few groups are left.*got 1 of a class.*fewer subjects"):
        split_by_subjects(cohort(), ["1", *normals], seed=0)


def test_a_random_split_needs_both_classes_on_every_side() -> None:
    few = [cell("1", n, "blast") for n in range(30)] + [cell("H1", 1, "normal")]
    for cells, share in ((few, 0.2), (cohort(), 1.0)):
        with pytest.raises(DataRefusedError, match="each side of a random split needs labelled"):
            random_split(cells, share=share, seed=0)


def test_leakage_is_refused_by_name() -> None:
    one, other = cell("1", 1, "blast"), cell("2", 1, "blast")
    refuse_leakage([one], [other])
    with pytest.raises(DataRefusedError, match=r"same subject.*UID_1_1_1_all.bmp and UID_1_2_1_all.bmp"):
        refuse_leakage([one], [cell("1", 2, "blast", group="elsewhere")])
    with pytest.raises(DataRefusedError, match="same group"):
        refuse_leakage([one], [replace(other, group="1")])
    with pytest.raises(DataRefusedError, match="same image"):
        refuse_leakage([one], [replace(other, sha256=one.sha256)])
