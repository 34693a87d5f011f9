"""The output contract is fitted on some held-out groups and decides by others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgeleuk_calibration.fit_output import LEAST_GROUPS, better_plain, fit_output
from edgeleuk_calibration.probability import TEMPERATURES, THRESHOLDS, calibration_error, fit_joint, sigmoid
from edgeleuk_convert.metrics.classification import prior_weights

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]


def cells(
    seed: int = 0, *, groups: int = 40, each: int = 50, share: float = 0.7
) -> tuple[npt.NDArray[np.float64], Bools, npt.NDArray[np.str_], Bools]:
    """Logits that mean ``sigmoid(logit / 2 + 0.5)``, their truth, group and half."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.permutation(groups) < share * groups, each)
    logits = rng.normal(np.where(truth, 1.5, -1.5), 1.8)
    group = np.repeat(np.arange(groups), each)
    return logits, truth, group.astype(str), group % 2 == 1


@pytest.mark.parametrize("sensitivity", [0.84, 0.87, 0.9])
def test_threshold_holds_the_sensitivity_and_probabilities_have_the_prior(sensitivity: float) -> None:
    logits, truth, group, half = cells()
    weights = prior_weights(truth, group)
    output = fit_output(logits, None, truth, group, weights, half=half, sensitivity=sensitivity)
    probability = sigmoid(logits / output.temperature + output.bias)
    assert (probability[truth] >= output.threshold).mean() == pytest.approx(sensitivity, abs=0.02)
    assert probability.mean() == pytest.approx(truth.mean(), abs=0.01)
    assert output.abstain[0] <= output.threshold <= output.abstain[1]
    assert output.conformal is not None
    assert output.conformal.subjects == (12, 28)


def test_a_forest_that_knows_something_else_joins_in() -> None:
    logits, truth, group, half = cells()
    rng = np.random.default_rng(1)
    forest = np.clip(rng.normal(np.where(truth, 1.0, -1.0), 1.2), -3.9, 3.9)
    weights = prior_weights(truth, group)
    alone = fit_output(logits, None, truth, group, weights, half=half, sensitivity=0.9)
    joined = fit_output(logits, forest, truth, group, weights, half=half, sensitivity=0.9)
    assert alone.forest_weight == 0
    assert joined.forest_weight > 0.6
    losses = [
        np.logaddexp(
            0, np.where(truth, -1, 1) * (logits / one.temperature + one.bias + one.forest_weight * forest)
        )
        for one in (alone, joined)
    ]
    assert losses[1].mean() < 0.9 * losses[0].mean()
    # Noise gets less than it is given beforehand.
    noise = fit_output(logits, rng.normal(size=len(truth)), truth, group, weights, half=half, sensitivity=0.9)
    assert noise.forest_weight < 0.35


@pytest.mark.parametrize(("sensitivity", "end"), [(0.999, THRESHOLDS[0]), (0.5, THRESHOLDS[1])])
def test_no_sensitivity_takes_the_threshold_far_from_one_half(sensitivity: float, end: float) -> None:
    logits, truth, group, half = cells()
    weights = prior_weights(truth, group)
    assert (
        fit_output(logits, None, truth, group, weights, half=half, sensitivity=sensitivity).threshold == end
    )


def test_few_groups_are_not_believed_against_the_prior() -> None:
    """A split on which the network is worthless flattens the probabilities, but not to nothing."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, 1000)
    truth = np.arange(1000) % 2 == 0
    weights = np.full(1000, 1e-3)
    believed, _ = fit_joint(logits, None, truth, weights)[::2]
    few, bias = fit_joint(logits, None, truth, weights, groups=6)[::2]
    many, _ = fit_joint(logits, None, truth, weights, groups=600)[::2]
    assert believed >= many > few > 1.2
    assert bias == pytest.approx(0, abs=0.1)


def test_prior_weights_keep_shares_and_cap_groups() -> None:
    truth = np.array([True] * 90 + [False] * 30)
    group = np.array(["a"] * 80 + ["b"] * 10 + ["c"] * 30)
    weights = prior_weights(truth, group, cap=10)
    assert weights.sum() == pytest.approx(1)
    assert weights[truth].sum() == pytest.approx(0.75)
    assert weights[group == "a"].sum() == pytest.approx(weights[group == "b"].sum())


def test_a_half_of_one_class_serves_for_both_ends() -> None:
    logits, truth, group, _ = cells()
    weights = prior_weights(truth, group)
    by_class = fit_output(logits, None, truth, group, weights, half=truth, sensitivity=0.9)
    undivided = fit_output(
        logits, None, truth, group, weights, half=np.zeros(len(truth), bool), sensitivity=0.9
    )
    assert by_class == undivided


class TestPlain:
    """Fitted to cells, without priors, where there are groups enough."""

    def joined(self, **sizes: int) -> tuple[Floats, Floats, Bools, Names, Bools, Floats]:
        """Return logits that say far too little of themselves, and a forest beside them."""
        logits, truth, group, half = cells(**sizes)
        forest = np.random.default_rng(1).normal(np.where(truth, 1.0, -1.0), 1.2)
        return logits / 6, forest / 6, truth, group, half, prior_weights(truth, group)

    def test_priors_give_way_to_many_groups(self) -> None:
        logits, forest, truth, group, half, weights = self.joined()
        found = {}
        for plain in (False, True):
            output = fit_output(
                logits, forest, truth, group, weights, half=half, sensitivity=0.9, plain=plain
            )
            odds = logits / output.temperature + output.forest_weight * forest + output.bias
            found[plain] = (output, calibration_error(sigmoid(odds), truth))
        assert found[True][1] < 0.5 * found[False][1]
        assert better_plain(logits, forest, truth, group, weights, half=half)
        # How network and forest share in the answer stays: so does the order of the cells.
        shares = [one.temperature * one.forest_weight for one, _ in found.values()]
        assert shares[0] == pytest.approx(shares[1], rel=1e-3)

    def test_a_dozen_groups_keep_them(self) -> None:
        logits, forest, truth, group, half, weights = self.joined(groups=LEAST_GROUPS - 1)
        assert not better_plain(logits, forest, truth, group, weights, half=half)

    @pytest.mark.parametrize("plain", [False, True])
    def test_what_is_calibrated_stays_as_it_is(self, plain: bool) -> None:
        logits, truth, group, half = cells()
        weights = prior_weights(truth, group)
        # The log odds of two normal distributions: 2 * 1.5 / 1.8^2 each step.
        told = logits * 2 * 1.5 / 1.8**2
        kept = fit_output(told, None, truth, group, weights, half=half, sensitivity=0.9, plain=plain)
        assert kept.temperature == pytest.approx(1, abs=0.1)

    def test_the_temperature_stays_within_what_a_contract_may_hold(self) -> None:
        logits, truth, group, half = cells()
        weights = prior_weights(truth, group)
        sure = np.where(truth, 1e-3, -1e-3)
        output = fit_output(sure, None, truth, group, weights, half=half, sensitivity=0.9, plain=True)
        assert TEMPERATURES[0] <= output.temperature <= TEMPERATURES[1]
        assert np.isfinite(logits / output.temperature).all()
