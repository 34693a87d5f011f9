"""A way to a head is chosen by slides it has not seen, and refused where it is not better than what was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk_convert.teaching.accepting import NOBODY, accept
from edgeleuk_convert.teaching.choices import (
    Known,
    ReferenceCells,
    Task,
    choices_for,
    class_weights,
    parts_by_group,
)
from edgeleuk_convert.teaching.curve import learning_curve
from edgeleuk_convert.teaching.kernels import Reference, fitted_head, kernel, no_prior, solved, standard_of
from edgeleuk_convert.teaching.validating import balanced_accuracy, chosen, validate

if TYPE_CHECKING:
    from edgeleuk_convert.teaching.kernels import Floats, Ints

FEATURES = 6 + 14
SLIDES = 4


def drawn(seed: int, cells: int, *, apart: float, moved: float = 0.0) -> tuple[Floats, Ints]:
    """Draw cells of two classes; `moved` is what another laboratory's stain does to all of them."""
    rng = np.random.default_rng(seed)
    truth = np.arange(cells) % 2
    values = rng.normal(size=(cells, FEATURES)) + moved
    values[:, 0] += apart * truth
    return values, truth.astype(np.int64)


def task_of(values: Floats, truth: Ints) -> Task:
    slide = np.array([f"s{number // 2 % SLIDES}" for number in range(len(truth))])
    return Task(("lymphocyte", "monocyte"), values, truth, slide)


NOTHING = Known(None, None, None)


def one_class(reference: ReferenceCells) -> ReferenceCells:
    """Leave the cells of one class in a reference."""
    return reference._replace(truth=np.where(reference.truth == 0, 0, -1))


class TestKernels:
    def test_joining_a_reference_is_fitting_to_all_cells_at_once(self) -> None:
        rng = np.random.default_rng(0)
        own, other = rng.normal(size=(12, 5)), rng.normal(size=(20, 5))
        targets, of_other = rng.normal(size=(12, 2)), rng.normal(size=(20, 2))
        noise, noise_of_other = np.full(12, 0.3), np.full(20, 0.7)
        prior = Reference(other, of_other, noise_of_other, 0.5, kernel(other, other, 0.5)).prior(own, 0.25)
        found = prior.scores(np.arange(10), np.array([10, 11]), targets, noise)
        both = np.vstack([own[:10], other])
        weights = solved(
            kernel(both, both, 0.5),
            np.concatenate([noise[:10], noise_of_other]),
            np.vstack([targets[:10], of_other]) - 0.25,
        )
        assert found == pytest.approx(0.25 + kernel(own[10:], both, 0.5) @ weights)

    @given(st.integers(0, 1000))
    def test_a_standard_takes_scale_and_place_away(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        cells = rng.normal(size=(30, FEATURES))
        factor, shift = rng.uniform(0.5, 2, FEATURES), rng.normal(size=FEATURES)
        moved = cells * factor + shift
        assert standard_of(moved).of(moved) == pytest.approx(standard_of(cells).of(cells), abs=0.02)


class TestParts:
    @given(st.integers(0, 100), st.integers(2, 6), st.integers(2, 5))
    def test_no_slide_lies_in_two_parts(self, seed: int, slides: int, most: int) -> None:
        rng = np.random.default_rng(seed)
        slide = rng.integers(slides, size=40).astype(str)
        part = parts_by_group(slide, rng.integers(3, size=40), most, seed)
        assert all(len(np.unique(part[slide == name])) == 1 for name in np.unique(slide))
        assert len(np.unique(part)) <= most

    def test_cells_of_one_slide_are_dealt_themselves(self) -> None:
        truth = np.repeat([0, 1], 8)
        part = parts_by_group(np.array(["s"] * 16), truth, 4)
        assert all(np.bincount(part[truth == label]).tolist() == [2, 2, 2, 2] for label in (0, 1))

    @given(st.lists(st.integers(0, 2), min_size=3, max_size=60))
    def test_classes_weigh_the_same(self, labels: list[int]) -> None:
        truth = np.array(labels, np.int64)
        weights = class_weights(truth, np.array(["a", "b", "c"] * 20)[: len(truth)])
        sums = [weights[truth == label].sum() for label in np.unique(truth)]
        assert sums == pytest.approx([sums[0]] * len(sums))
        assert weights.mean() == pytest.approx(1)


class TestChoosing:
    def test_what_can_be_told_is_told_on_slides_that_had_not_taught_it(self) -> None:
        task = task_of(*drawn(0, 80, apart=4.0))
        found = validate(task, choices_for(task, NOTHING, 8.0))
        assert balanced_accuracy(task.truth, found.nested.argmax(axis=1)) > 0.9
        held = accept(task, np.full(80, NOBODY), found.nested)
        assert held.reasons == ()
        assert held.before.value == held.before.low == 0.5
        assert held.gain.low > 0.2

    def test_a_head_keeps_what_it_was_and_is_no_better(self) -> None:
        """Labels that a good head knows already change nothing: it is not shown to be better."""
        values, truth = drawn(1, 80, apart=4.0)
        task = task_of(values, truth)
        shipped = np.column_stack([2 - values[:, 0], values[:, 0] - 2])
        found = validate(task, choices_for(task, Known(shipped, None, None), 4.0))
        held = accept(task, (values[:, 0] > 2).astype(np.int64), found.nested)
        assert any("not shown to be better" in reason for reason in held.reasons)

    def test_the_usual_way_is_left_only_for_one_that_is_shown_to_be_better(self) -> None:
        values, truth = drawn(4, 24, apart=3.0)
        others, of_others = drawn(5, 200, apart=3.0)
        names = np.array(["a"] * 200)
        task, reference = task_of(values, truth), ReferenceCells(others, of_others, names, names)
        z = standard_of(others).of(others)
        head = fitted_head(
            z, np.eye(2)[of_others], np.full(200, 0.1), standard_of(others), gamma=0.5, bias=0.5
        )
        known = Known(head.answer(values).scores, head, reference)
        choices = choices_for(task, known, 8.0)
        (usual,) = (number for number, choice in enumerate(choices) if choice.usual)
        assert "weight 0.3, one standard" in choices[usual].name
        # The difference of one cell in four is 1: its mean is .25, and the error of that is .088.
        losses = np.ones((len(choices), 24))
        losses[0] = np.where(np.arange(24) % 4, 1.0, 0.0)
        assert chosen(choices, losses) == 0
        losses[0] = np.where(np.arange(24) % 12, 1.0, 0.0)
        assert chosen(choices, losses) == usual
        for other in (Known(None, None, reference), known._replace(reference=one_class(reference))):
            assert not any(choice.usual for choice in choices_for(task, other, 8.0))

    def test_a_reference_helps_where_there_are_few_labels(self) -> None:
        values, truth = drawn(2, 24, apart=3.0)
        others, of_others = drawn(3, 200, apart=3.0)
        names = np.array(["a"] * 200)
        reference = ReferenceCells(others, of_others, names, names)
        task = task_of(values, truth)
        found = validate(task, choices_for(task, Known(None, None, reference), 8.0))
        alone = {name: loss for name, loss in found.losses.items() if name.startswith("a new head")}
        joined = {name: loss for name, loss in found.losses.items() if "joined" in name}
        assert min(joined.values()) < min(alone.values())

    @pytest.mark.parametrize("first", [0, 50])
    def test_shuffled_labels_are_hardly_ever_accepted(self, first: int) -> None:
        """Of a hundred seeds at most five."""
        accepted = 0
        for seed in range(first, first + 50):
            values, _ = drawn(seed, 40, apart=0.0)
            truth = np.random.default_rng(seed).permutation(np.arange(40) % 2).astype(np.int64)
            task = task_of(values, truth)
            # One way suffices: what is chosen never looks at the slides that it is judged by.
            found = validate(task, choices_for(task, NOTHING, 8.0)[-1:])
            accepted += not accept(task, np.full(40, NOBODY), found.nested, seed=seed).reasons
        assert accepted <= 2

    def test_too_few_cells_and_slides_are_refused_by_name(self) -> None:
        values, truth = drawn(4, 60, apart=6.0)
        rows = np.flatnonzero((truth == 0) | (np.arange(60) < 20))
        task = task_of(values[rows], truth[rows])
        nested = np.eye(2)[task.truth]
        (reason,) = accept(task, np.full(len(rows), NOBODY), nested).reasons
        assert reason.startswith("10 monocyte cells of 4 slides")
        one = Task(task.classes, values, truth, np.array(["s"] * 60))
        reasons = accept(one, np.full(60, NOBODY), np.eye(2)[truth]).reasons
        assert [reason.split(":")[0] for reason in reasons] == [
            "30 lymphocyte cells of 1 slide", "30 monocyte cells of 1 slide",
        ]  # fmt: skip

    def test_more_labels_are_worth_less_and_less(self) -> None:
        task = task_of(*drawn(5, 120, apart=1.5))
        found = validate(task, choices_for(task, NOTHING, 8.0))
        curve = learning_curve(task, found)
        labels = [point.labels for point in curve.points]
        assert labels == sorted(labels)
        assert curve.worth is None or 0 <= curve.worth < 0.2
        assert curve.weakest in task.classes

    def test_nothing_known_is_scored_by_the_bias(self) -> None:
        z = np.zeros((2, 3))
        assert no_prior(z, 4, 0.5, 0.25).mean.tolist() == [[0.25] * 4] * 2
