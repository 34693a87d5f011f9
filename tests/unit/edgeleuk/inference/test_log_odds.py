"""What a network's numbers mean is computed on the device, in float64, for every kind of end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.bundle.manifest import OutputContract
from edgeleuk.classifier.decision import calibrated
from edgeleuk.inference.log_odds import log_odds

LABELS = ("blast", "normal", "other", "empty")
logits = st.lists(st.lists(st.floats(-6, 6), min_size=3, max_size=3), min_size=1, max_size=5).map(np.array)


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def contract(kind: str, positive: str | None = None, labels: tuple[str, ...] = LABELS[:3]) -> OutputContract:
    return OutputContract(kind=kind, labels=labels, positive=positive)  # type: ignore[arg-type]


@given(logits, st.sampled_from(LABELS[:3]))
def test_the_probability_of_a_class_is_its_softmax(values: np.ndarray, positive: str) -> None:
    wanted = softmax(values)[:, LABELS.index(positive)]
    assert calibrated(values, contract("logits", positive)) == pytest.approx(wanted, abs=1e-12)
    assert calibrated(softmax(values), contract("softmax", positive)) == pytest.approx(wanted, abs=2e-6)


@given(logits, st.floats(-50, 50))
def test_a_constant_added_to_all_logits_changes_nothing(values: np.ndarray, shift: float) -> None:
    of = contract("logits")
    assert log_odds(values + shift, of) == pytest.approx(log_odds(values, of), abs=1e-9)


@given(logits)
def test_a_softmax_that_was_rounded_is_brought_back_to_one(values: np.ndarray) -> None:
    of = contract("softmax", "blast")
    assert log_odds(softmax(values) * 1.02, of) == pytest.approx(log_odds(softmax(values), of), abs=1e-9)


@given(st.lists(st.floats(-8, 8), min_size=1))
def test_one_number_may_stand_for_either_class(values: list[float]) -> None:
    blast_last, blast_first = (
        contract("logit", "blast", labels) for labels in (("normal", "blast"), ("blast", "normal"))
    )
    assert log_odds(values, blast_first).tolist() == (-log_odds(values, blast_last)).tolist()
    assert log_odds(np.array(values)[:, None], blast_last).tolist() == values


def test_ends_of_the_scale_stay_finite() -> None:
    assert np.isfinite(log_odds([0.0, 1.0], contract("probability", None, ("normal", "blast")))).all()
    assert np.isfinite(log_odds([[0, 0, 0], [1, 0, 0], [0, 0, 1]], contract("softmax"))).all()


def test_the_positive_class_is_the_last_unless_named() -> None:
    assert contract("softmax").positive_label == "other"
    assert contract("softmax", "blast").positive_indices == (0,)
    assert (contract("softmax").width, contract("logit", None, ("a", "b")).width) == (3, 1)


@pytest.mark.parametrize(
    ("kind", "labels", "positive", "sentence"),
    [
        ("logit", LABELS, None, "expected labels that differ, 2 of a logit, got blast, normal"),
        ("softmax", ("a", "a"), None, "expected labels that differ"),
        ("softmax", ("a",), None, "expected labels that differ"),
        ("logits", LABELS, "hem", "expected positive as one of blast, normal, other, empty, got hem"),
    ],
)
def test_contracts_that_mean_nothing(
    kind: str, labels: tuple[str, ...], positive: str | None, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        contract(kind, positive, labels)


def test_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected outputs of shape \(n, 3\), got \(2, 1\)"):
        log_odds([1.0, 2.0], contract("logits"))
