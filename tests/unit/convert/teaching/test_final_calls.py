"""Confusions of final calls: who is counted where, and how much cells of few slides are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.counting.confusion import Confusion, confusion_of, corrected_shares
from edgeleuk.results import Decision, Prediction
from edgeleuk.results.kinds import LABELS, Kind
from edgeleuk_convert.teaching.final_calls import (
    LEAST_CALLED,
    confusion_facts,
    effective_of_slides,
    final_name,
    true_name,
)

NAMES = ["blast", "lymphocyte", "neutrophil", "band"]
calls = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from([*NAMES, "monocyte", None]), st.sampled_from("abc")),
    min_size=1,
    max_size=60,
)


@pytest.mark.parametrize(
    ("label", "name"),
    [("blast", "blast"), ("normal", "lymphocyte"), ("lymphocyte", "lymphocyte"), ("blast-like", None),
     ("band", "band"), ("smudge", "smudge")],
)  # fmt: skip
def test_what_a_label_is_counted_as(label: str, name: str | None) -> None:
    assert true_name(label) == name


@pytest.mark.parametrize(
    ("prediction", "name"),
    [
        (Prediction(Decision.BLAST, 0.9, kind=Kind.BLAST_LIKE), "blast"),
        (Prediction(Decision.NORMAL, 0.1, kind=Kind.LYMPHOCYTE), "lymphocyte"),
        (Prediction(Decision.OTHER, math.nan, kind=Kind.BAND), "band"),
        (Prediction(Decision.UNCERTAIN, 0.5, "probability between", kind=Kind.LYMPHOCYTE), None),
    ],
)
def test_what_a_call_is_counted_as(prediction: Prediction, name: str | None) -> None:
    assert final_name(prediction) == name


@given(calls)
def test_every_counted_cell_was_labelled_and_called_a_kind_of_the_matrix(
    cells: list[tuple[str, str | None, str]],
) -> None:
    found = confusion_of(confusion_facts(*zip(*cells, strict=True)))
    if isinstance(found, str):
        assert found == "of no kind 5 held-out cells were called"
        return
    rows = dict(zip(found.kinds, found.counts, strict=True))
    # No row is nearly empty: each kind has cells that were held out and called.
    assert all(sum(row) >= LEAST_CALLED for row in rows.values())
    for true, row in rows.items():
        for call, count in zip(found.kinds, row, strict=True):
            assert count == sum((a, b) == (true, call) for a, b, _ in cells)
    for true, effective in zip(found.kinds, found.effective, strict=True):
        assert 1 <= effective <= sum(rows[true])


def test_a_kind_that_is_nearly_always_uncertain_spoils_no_matrix() -> None:
    truth = ["neutrophil"] * 30 + ["monocyte"] * 30 + ["lymphocyte"] * 30
    called = [*["neutrophil"] * 29, "monocyte", *["monocyte"] * 30, *["monocyte"] * 4, *[None] * 26]
    slide = [f"{number % 6}" for number in range(90)]
    known = confusion_of(confusion_facts(truth, called, slide))
    assert isinstance(known, Confusion)
    assert known.kinds == ("neutrophil", "monocyte")
    assert corrected_shares({"neutrophil": 40, "monocyte": 10}, known).reason is None
    # Where one is called all the same, nothing is corrected.
    reason = corrected_shares({"neutrophil": 40, "monocyte": 10, "lymphocyte": 1}, known).reason
    assert reason == "it is not known how often lymphocyte is confused with other kinds"


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=90))
def test_right_calls_make_a_diagonal(labels: list[str]) -> None:
    truth = [true_name(label) for label in labels]
    found = confusion_of(confusion_facts(truth, truth, ["a"] * len(truth)))
    if isinstance(found, Confusion):
        assert np.count_nonzero(found.counts) == len(found.kinds)


class TestEffective:
    @given(st.lists(st.integers(1, 9), min_size=2, max_size=9))
    def test_slides_that_are_all_right_count_as_one_cell_each(self, sizes: list[int]) -> None:
        slide = np.repeat(np.arange(len(sizes)).astype(str), sizes)
        assert effective_of_slides(np.ones(len(slide), bool), slide) == len(sizes)

    def test_independent_cells_are_worth_nearly_all_of_them_and_alike_ones_their_slides(self) -> None:
        rng = np.random.default_rng(0)
        slide = np.repeat(np.arange(40).astype(str), 25)
        independent = [effective_of_slides(rng.random(1000) < 0.9, slide) for _ in range(50)]
        assert 700 < np.median(independent) <= 1000
        alike = [effective_of_slides(np.repeat(rng.random(40) < 0.9, 25), slide) for _ in range(50)]
        assert 30 < np.median(alike) < 45

    def test_few_slides_tell_little(self) -> None:
        right = np.arange(100) % 10 > 0
        worth = [
            np.median(
                [
                    effective_of_slides(right, np.random.default_rng(seed).permutation(100) % slides)
                    for seed in range(40)
                ]
            )
            for slides in (2, 3, 5, 10, 20)
        ]
        assert worth == sorted(worth)
        assert worth[0] < 30

    def test_the_corrected_interval_holds_though_cells_of_a_slide_are_alike(self) -> None:
        """Six slides with 40 cells of each kind, whose shares of wrong calls differ; 200 counted cells."""
        rng, inside = np.random.default_rng(1), 0
        slide = np.repeat(np.arange(6).astype(str), 40).tolist()
        for _ in range(150):
            truth, called = [], []
            for true, other in (("blast", "lymphocyte"), ("lymphocyte", "blast")):
                wrong = np.repeat(rng.beta(1.5, 8.5, 6), 40)
                truth += [true] * 240
                called += np.where(rng.random(240) < wrong, other, true).tolist()
            known = confusion_of(confusion_facts(truth, called, slide * 2))
            blasts = rng.binomial(200, 0.3 * 0.85 + 0.7 * 0.15)
            share = corrected_shares({"blast": blasts, "lymphocyte": 200 - blasts}, known).kinds["blast"]
            inside += share.low <= 0.3 <= share.high
        assert inside >= 0.93 * 150
