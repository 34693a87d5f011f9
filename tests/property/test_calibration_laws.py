"""Laws of calibration: what is fitted is the best there is, and what is promised is held."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk_calibration.conformal import fit_conformal, subject_limit
from edgeleuk_calibration.out_of_distribution import feature_statistics, subject_weights
from edgeleuk_calibration.probability import (
    BIASES,
    TEMPERATURES,
    OperatingPoint,
    choose_operating_point,
    fit_joint,
    sigmoid,
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
seeds = st.integers(0, 2**31)
shares = st.floats(0, 1)


def scored(seed: int, count: int = 120) -> tuple[Floats, Bools, Floats]:
    """Logits, truth and weights of cells that are told apart fairly well; both classes are there."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 3 != 0
    spread, shift = rng.uniform(0.2, 4), rng.normal()
    logits = spread * (rng.normal(size=count) + np.where(truth, 1, -1)) + shift
    return logits, truth, rng.uniform(0.1, 1, count)


def nll(logits: Floats, truth: Bools, weights: Floats, temperature: float, bias: float) -> float:
    margin = np.where(truth, -1.0, 1.0) * (logits / temperature + bias)
    return float((weights * np.logaddexp(0, margin)).sum() / weights.sum())


@settings(max_examples=60)
@given(seeds)
def test_no_neighbour_of_the_fit_is_likelier(seed: int) -> None:
    logits, truth, weights = scored(seed)
    temperature, bias = fit_joint(logits, None, truth, weights)[::2]
    assert TEMPERATURES[0] <= temperature <= TEMPERATURES[1]
    assert BIASES[0] <= bias <= BIASES[1]
    best = nll(logits, truth, weights, temperature, bias)
    for factor in (0.9, 0.99, 1.01, 1.1):
        near = float(np.clip(temperature * factor, *TEMPERATURES))
        assert nll(logits, truth, weights, near, bias) >= best - 1e-6
    for step in (-0.1, -0.01, 0.01, 0.1):
        near = float(np.clip(bias + step, *BIASES))
        assert nll(logits, truth, weights, temperature, near) >= best - 1e-6


@settings(max_examples=30)
@given(seeds, st.floats(1e-3, 1e3))
def test_the_fit_knows_neither_order_nor_unit_of_weight(seed: int, unit: float) -> None:
    logits, truth, weights = scored(seed)
    order = np.random.default_rng(seed).permutation(len(logits))
    np.testing.assert_allclose(
        fit_joint(logits[order], None, truth[order], unit * weights[order]),
        fit_joint(logits, None, truth, weights),
        atol=2e-4,
    )


@settings(max_examples=20)
@given(seeds, st.floats(0.4, 6), st.floats(-2, 2))
def test_the_fit_finds_what_made_the_truth(seed: int, temperature: float, bias: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3 * temperature, 20_000)
    truth = rng.random(20_000) < sigmoid(logits / temperature + bias)
    found = fit_joint(logits, None, truth, np.ones(20_000))[::2]
    assert abs(found[0] / temperature - 1) < 0.1
    assert abs(found[1] - bias) < 0.2


def point(seed: int, **wanted: float | None) -> tuple[OperatingPoint, Floats, Bools, Floats]:
    logits, truth, weights = scored(seed)
    probability = sigmoid(logits)
    return choose_operating_point(probability, truth, weights, **wanted), probability, truth, weights  # type: ignore[arg-type]


def share(which: Bools, weights: Floats, of: Bools) -> float:
    return float(weights[which & of].sum() / weights[of].sum())


@settings(max_examples=60)
@given(seeds, st.floats(0, 0.99))
def test_a_stated_sensitivity_is_held_by_the_largest_threshold(seed: int, sensitivity: float) -> None:
    (threshold, _), probability, truth, weights = point(seed, sensitivity=sensitivity)
    assert 0 < threshold < 1
    if threshold > 0.001:
        assert share(probability >= threshold, weights, truth) >= sensitivity - 1e-6
    if threshold < 0.999:
        assert share(probability >= threshold + 0.001, weights, truth) < sensitivity


@settings(max_examples=60)
@given(seeds, shares, shares)
def test_a_band_without_a_cap_holds_what_it_promises(seed: int, found: float, spared: float) -> None:
    (threshold, (low, high)), probability, truth, weights = point(
        seed, band_sensitivity=found, band_specificity=spared, most_abstained=1.0
    )
    assert 0 <= low <= threshold <= high <= 1
    called = np.where(
        (probability > low) & (probability < high), 0, np.where(probability >= threshold, 1, -1)
    )
    missed, alarms = share(called == -1, weights, truth), share(called == 1, weights, ~truth)
    # At the grid's own end, or where the threshold alone does it, there is nothing to widen.
    assert missed <= 1 - found + 1e-6 or low == 0
    assert alarms <= 1 - spared + 1e-6 or high == 1


@settings(max_examples=60)
@given(seeds, shares)
def test_the_cap_on_abstention_is_kept(seed: int, most: float) -> None:
    (_, (low, high)), probability, _, weights = point(
        seed, band_sensitivity=1.0, band_specificity=1.0, most_abstained=most
    )
    between = (probability > low) & (probability < high)
    assert weights[between].sum() <= most * weights.sum() + 1e-6


@settings(max_examples=40)
@given(seeds, st.tuples(shares, shares))
def test_who_asks_for_more_gets_no_narrower_band(seed: int, asked: tuple[float, float]) -> None:
    (_, less), *_ = point(seed, band_sensitivity=min(asked), band_specificity=min(asked), most_abstained=1.0)
    (_, more), *_ = point(seed, band_sensitivity=max(asked), band_specificity=max(asked), most_abstained=1.0)
    assert more[0] <= less[0]
    assert more[1] >= less[1]


def hierarchy(
    rng: np.random.Generator, subjects: int, cells: tuple[int, int] = (1, 30)
) -> tuple[Floats, npt.NDArray[np.str_]]:
    """Scores of cells of exchangeable subjects, who differ more than their cells do."""
    counts = rng.integers(*cells, subjects)
    centres = np.repeat(rng.normal(0, 1.5, subjects), counts)
    scores = sigmoid(centres + rng.normal(0, 0.7, counts.sum()))
    return scores, np.repeat(np.arange(subjects).astype(str), counts)


@settings(max_examples=60)
@given(seeds, st.integers(1, 40), st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)))
def test_a_limit_falls_as_alpha_grows_and_knows_no_order(
    seed: int, subjects: int, alphas: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    scores, subject = hierarchy(rng, subjects)
    strict, loose = (subject_limit(scores, subject, alpha=alpha) for alpha in sorted(alphas))
    assert 0 <= loose <= strict <= 1
    order = rng.permutation(len(scores))
    assert subject_limit(scores[order], subject[order], alpha=min(alphas)) == strict


@settings(max_examples=40)
@given(seeds, st.integers(1, 40))
def test_too_few_subjects_keep_a_class_in_every_set(seed: int, subjects: int) -> None:
    scores, subject = hierarchy(np.random.default_rng(seed), subjects)
    assert subject_limit(scores, subject, alpha=0.99 / (subjects + 1)) == 1
    assert subject_limit(scores, subject, alpha=1.01 / (subjects + 1)) <= np.ceil(scores.max() * 1e4) / 1e4


@settings(max_examples=40)
@given(seeds, st.integers(1, 20))
def test_cells_told_twice_change_nothing(seed: int, subjects: int) -> None:
    scores, subject = hierarchy(np.random.default_rng(seed), subjects)
    twice = np.tile(scores, 2), np.tile(subject, 2)
    assert subject_limit(*twice, alpha=0.2) == subject_limit(scores, subject, alpha=0.2)


def test_a_new_subjects_cells_are_covered_as_promised() -> None:
    rng = np.random.default_rng(0)
    for subjects in (5, 12, 30):
        for alpha in (0.1, 0.2, 0.4):
            covered = []
            for _ in range(1500):
                scores, subject = hierarchy(rng, subjects + 1)
                new = subject == str(subjects)
                covered.append(
                    np.mean(scores[new] <= subject_limit(scores[~new], subject[~new], alpha=alpha))
                )
            # Three standard errors of the mean.
            assert np.mean(covered) >= 1 - alpha - 3 * np.std(covered) / np.sqrt(len(covered))


def test_each_class_has_its_own_limit() -> None:
    probability = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.95])
    truth = np.array([False, False, False, True, True, True])
    subject = np.array(["a", "b", "c", "d", "e", "f"])
    conformal = fit_conformal(probability, truth, subject, alpha=0.25)
    assert (conformal.limits, conformal.subjects) == ((0.3, 0.4), (3, 3))


@settings(max_examples=30)
@given(seeds, st.integers(2, 40), st.integers(12, 80))
def test_feature_distance_knows_neither_origin_nor_rotation_nor_unit(
    seed: int, width: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, width)) * rng.uniform(0.5, 2, width)
    weights = subject_weights(rng.integers(0, 5, count).astype(str))
    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
    moved = 3 * features @ rotation + rng.normal(size=width)
    one = feature_statistics(features.astype(np.float32), weights).distance(features)
    two = feature_statistics(moved.astype(np.float32), weights).distance(moved)
    np.testing.assert_allclose(one, two, rtol=5e-3, atol=1e-3)


@settings(max_examples=30)
@given(seeds, st.integers(2, 40))
def test_the_mean_is_nearest_and_further_out_is_further(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(60, width)).astype(np.float32)
    statistics = feature_statistics(features, np.full(60, 1 / 60))
    way = rng.normal(size=width)
    distances = statistics.distance(statistics.mean + np.outer([0.0, 0.5, 1.0, 2.0, 4.0], way))
    assert distances[0] < 1e-5
    assert (np.diff(distances) > 0).all()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=50))
def test_every_subject_weighs_the_same(subjects: list[int]) -> None:
    names = np.array(subjects).astype(str)
    weights = subject_weights(names)
    sums = [weights[names == name].sum() for name in np.unique(names)]
    np.testing.assert_allclose(sums, 1 / len(sums))
