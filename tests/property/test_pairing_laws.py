"""Laws of two networks on the same cells: what does not differ costs nothing, and turning round mirrors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk_convert.metrics.acceptance import AcceptanceLimits, Held, quantization_findings, settle
from edgeleuk_convert.metrics.classification import Judged
from edgeleuk_convert.metrics.paired import DROPPING, exact_p, paired_facts, worst_subject

THRESHOLD = 0.5


def network(seed: int, cells: int = 120, subjects: int = 8) -> Judged:
    """Judge cells of as many subjects, half of each class; two subjects share a group."""
    rng = np.random.default_rng(seed)
    number = np.arange(cells) % subjects
    truth = number % 2 == 0
    probability = np.clip(rng.normal(np.where(truth, 0.65, 0.35), 0.25), 0, 1)
    subject = number.astype(str)
    group = np.where(subject == "2", "0", subject)
    return of(truth, probability, subject, group)


def of(
    truth: npt.NDArray[np.bool_],
    probability: npt.NDArray[np.float64],
    subject: npt.NDArray[np.str_],
    group: npt.NDArray[np.str_],
) -> Judged:
    return Judged(
        truth, probability, probability >= THRESHOLD, np.arange(len(truth), dtype=float), subject, group
    )


def rounded(judged: Judged, noise: float, seed: int) -> Judged:
    """Move every probability a little, as int8 does."""
    rng = np.random.default_rng(seed)
    probability = np.clip(judged.probability + rng.normal(0, noise, len(judged.truth)), 0, 1)
    return of(judged.truth, probability, judged.subject, judged.group)


def files(judged: Judged) -> list[str]:
    return [f"cell{number}.png" for number in range(len(judged.truth))]


def facts(reference: Judged, other: Judged) -> dict[str, object]:
    return paired_facts(reference, other, files(reference), threshold=THRESHOLD, resamples=100)


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_a_network_loses_nothing_against_itself_and_passes(seed: int) -> None:
    judged = network(seed, cells=240)
    same = facts(judged, judged)
    zero = [*(f"{name}_drop" for name in DROPPING), *(f"{name}_drop_upper_95" for name in DROPPING)]
    zero += ["ece_change", "ece_change_upper_95", "flips", "flip_rate", "max_probability_change"]
    assert {name: same[name] for name in zero} == dict.fromkeys(zero, 0)
    assert same["mcnemar"] == {"lost": 0, "gained": 0, "p": 1.0}
    assert (same["flipped"], same["worst_subject"]) == ([], None)
    limits = AcceptanceLimits(weighted_f1_drop=0, sensitivity_drop=0, flips=0, probability_change=0)
    held = Held.of(judged.truth, judged.group)
    assert settle(quantization_findings({"same": same}, limits, held), limits)["verdict"] == "pass"


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.01, 0.4))
def test_turned_round_a_loss_is_a_gain(seed: int, noise: float) -> None:
    one = network(seed)
    two = rounded(one, noise, seed + 1)
    there, back = facts(one, two), facts(two, one)
    for name in DROPPING:
        assert there[f"{name}_drop"] == pytest.approx(-back[f"{name}_drop"])  # type: ignore[operator]
    for name in ("flips", "max_probability_change", "mean_probability_change"):
        assert there[name] == back[name]
    assert there["mcnemar"]["lost"] == back["mcnemar"]["gained"]  # type: ignore[index]
    assert there["mcnemar"]["p"] == back["mcnemar"]["p"]  # type: ignore[index]


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.01, 0.4))
def test_the_order_of_cells_does_not_matter(seed: int, noise: float) -> None:
    one = network(seed)
    two = rounded(one, noise, seed + 1)
    order = np.random.default_rng(seed).permutation(len(one.truth))
    names = ("truth", "probability", "called", "area", "subject", "group")
    shuffled = [
        replace(judged, **{name: getattr(judged, name)[order] for name in names}) for judged in (one, two)
    ]
    mixed = paired_facts(*shuffled, [files(one)[row] for row in order], threshold=THRESHOLD, resamples=100)
    straight = facts(one, two)
    assert {entry["file"] for entry in mixed["flipped"]} == {entry["file"] for entry in straight["flipped"]}  # type: ignore[attr-defined]
    for name in ("weighted_f1_drop", "weighted_f1_drop_upper_95", "ece_change", "mean_probability_change"):
        assert mixed[name] == pytest.approx(straight[name])


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.05, 0.4))
def test_flips_are_what_mcnemar_counts(seed: int, noise: float) -> None:
    one = network(seed)
    pair = facts(one, rounded(one, noise, seed + 1))
    exact, flipped = pair["mcnemar"], pair["flipped"]
    assert exact["lost"] + exact["gained"] == pair["flips"] == len(flipped)  # type: ignore[index,arg-type]
    margins = [entry["margin"] for entry in flipped]  # type: ignore[attr-defined]
    assert margins == sorted(margins, reverse=True)
    for entry in flipped:  # type: ignore[attr-defined]
        assert (entry["probability_float"] >= THRESHOLD) != (entry["probability_int8"] >= THRESHOLD)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_p_value_is_the_sum_over_the_binomial(lost: int, gained: int) -> None:
    n, fewer = lost + gained, min(lost, gained)
    tail = sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    assert exact_p(lost, gained) == pytest.approx(min(1.0, 2 * tail), abs=1e-9)
    assert exact_p(lost, gained) == exact_p(gained, lost)


def test_the_p_value_of_many_cells_is_found_as_well() -> None:
    assert exact_p(5_000, 5_200) == pytest.approx(0.0487, abs=5e-4)


def test_the_bound_knows_that_a_loss_is_one_subject_s() -> None:
    """The same number of cells lost, in one subject or in all: the first may be anything elsewhere."""
    cells, subjects = 800, 8
    number = np.arange(cells) % subjects
    truth = number % 2 == 0
    names = number.astype(str)
    right = of(truth, np.where(truth, 0.9, 0.1), names, names)

    def losing(rows: npt.NDArray[np.int64]) -> Judged:
        probability = right.probability.copy()
        probability[rows] = 1 - probability[rows]
        return of(truth, probability, names, names)

    one = facts(right, losing(np.flatnonzero(number == 0)[:16]))
    spread = facts(right, losing(np.arange(16)))
    assert one["weighted_f1_drop"] == pytest.approx(spread["weighted_f1_drop"], abs=1e-3)  # type: ignore[arg-type]
    assert one["weighted_f1_drop_upper_95"] > 1.5 * spread["weighted_f1_drop_upper_95"]  # type: ignore[operator]


def test_the_worst_subject_is_the_one_that_loses_the_largest_share() -> None:
    truth = np.ones(7, bool)
    subject = np.array(list("aaaabbc"))
    before = of(truth, np.full(7, 0.9), subject, subject)
    after = of(truth, np.array([0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.9]), subject, subject)
    worst = worst_subject(before, after, [f"{n}" for n in range(7)])
    assert worst == {
        "subject": "b", "group": "b", "cells": 2, "accuracy_float": 1.0, "accuracy_int8": 0.0, "drop": 1.0,
        "flipped": ["4", "5"],
    }  # fmt: skip


def test_networks_of_different_cells_are_not_compared() -> None:
    with pytest.raises(ValueError, match="the same 120 cells"):
        facts(network(0), network(0, cells=60))
