"""Laws that hold for any cohort: groups stay whole, order does not matter, the seed decides."""

from __future__ import annotations

from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk_convert.dataset.cells import LabelledCell
from edgeleuk_convert.dataset.cnmc import joined_groups
from edgeleuk_convert.dataset.splits import grouped_folds, holdout, random_split, split_by_subjects


@st.composite
def cohorts(draw: st.DrawFn) -> list[LabelledCell]:
    """Six to twelve groups of each class, one to thirty cells each."""
    cells = []
    for label, prefix in (("blast", ""), ("normal", "H")):
        for subject in range(draw(st.integers(6, 12))):
            name = f"{prefix}{subject}"
            fold = draw(st.sampled_from(["fold_0", "fold_2", None]))
            for number in range(draw(st.integers(1, 30))):
                digest = f"{name}-{number}".encode().hex().ljust(64, "0")
                path = Path(f"UID_{name}_{number}_1.bmp")
                cells.append(LabelledCell(path, label, name, name, digest, 100, 450, 450, fold))  # type: ignore[arg-type]
    return cells


@settings(max_examples=15)
@given(cohorts(), st.integers(2, 4), st.integers(0, 2**31))
def test_folds_are_by_group_balanced_and_repeatable(cells: list[LabelledCell], folds: int, seed: int) -> None:
    assigned = grouped_folds(cells, folds, seed)
    assert set(assigned) == {cell.group for cell in cells}
    for prefix in ("H", ""):
        counts = [
            sum(fold == f and name.startswith("H") == (prefix == "H") for name, fold in assigned.items())
            for f in range(folds)
        ]
        assert max(counts) - min(counts) <= 1
    shuffled = Random(seed).sample(cells, len(cells))
    assert grouped_folds(shuffled, folds, seed) == assigned


@settings(max_examples=10)
@given(cohorts(), st.integers(0, 2), st.integers(0, 2**31))
def test_no_group_on_two_sides(cells: list[LabelledCell], fold: int, seed: int) -> None:
    split = holdout(cells, folds=3, fold=fold, seed=seed)
    sides = [{cell.group for cell in side} for side in (split.train, split.validation, split.test)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert len(split.train) + len(split.validation) + len(split.test) == len(cells)


@settings(max_examples=10)
@given(cohorts(), st.integers(0, 2**31), st.data())
def test_exactly_the_named_subjects_are_tested(
    cells: list[LabelledCell], seed: int, data: st.DataObject
) -> None:
    blasts = data.draw(st.sets(st.sampled_from([f"{n}" for n in range(4)]), min_size=1))
    normals = data.draw(st.sets(st.sampled_from([f"H{n}" for n in range(4)]), min_size=1))
    split = split_by_subjects(cells, sorted(blasts | normals), seed=seed)
    assert {cell.subject for cell in split.test} == blasts | normals
    sides = [{cell.group for cell in side} for side in (split.train, split.validation, split.test)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert len(split.train) + len(split.validation) + len(split.test) == len(cells)


@settings(max_examples=20)
@given(cohorts(), st.floats(0.2, 0.5), st.integers(0, 2**31))
def test_a_random_split_takes_its_share_of_each_class(
    cells: list[LabelledCell], share: float, seed: int
) -> None:
    split = random_split(cells, share=share, seed=seed)
    paths = [cell.path for side in (split.train, split.validation, split.test) for cell in side]
    assert sorted(paths) == sorted(cell.path for cell in cells)
    for label in ("blast", "normal"):
        tested, whole = (sum(c.label == label for c in side) for side in (split.test, cells))
        assert abs(tested - share * whole) <= 0.5
    assert random_split(cells, share=share, seed=seed) == split


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12)), min_size=1, max_size=30), st.randoms())
def test_groups_do_not_depend_on_the_order(pairs: list[tuple[int, int]], random: Random) -> None:
    def cells(of: list[tuple[int, int]]) -> list[LabelledCell]:
        return [LabelledCell(Path("x"), "blast", f"{s}", None, f"{h}", 1, 1, 1) for s, h in of]

    groups = joined_groups(cells(pairs))
    assert joined_groups(cells(random.sample(pairs, len(pairs)))) == groups
    for subject, image in pairs:
        for other, same in pairs:
            if image == same:
                assert groups[str(subject)] == groups[str(other)]
    assert all(groups[group] == group for group in groups.values())
