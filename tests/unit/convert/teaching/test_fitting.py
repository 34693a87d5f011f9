"""Contracts that are fitted to a laboratory's cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.bundle.manifest import OutputContract
from edgeleuk.classifier.decision import calibrated
from edgeleuk.results.kinds import Kind
from edgeleuk_convert.teaching.choices import Known, Task, choices_for
from edgeleuk_convert.teaching.fitting import kind_contract, recalibrated
from edgeleuk_convert.teaching.tasks import blast_of, kind_of
from edgeleuk_convert.teaching.validating import validate

numbers = st.floats(-3, 3)


@given(st.lists(numbers, min_size=1, max_size=5), st.floats(0.5, 3), st.floats(0.5, 2), numbers, numbers)
def test_a_recalibrated_contract_is_the_new_one_behind_the_old(
    logits: list[float], sharpness: float, temperature: float, bias: float, further: float
) -> None:
    before = OutputContract(kind="logit", temperature=temperature, bias=bias, forest_weight=0.5)
    fitted = OutputContract(kind="logit", temperature=2.0, bias=further, threshold=0.6, abstain=(0.5, 0.7))
    forest = np.linspace(-1, 1, len(logits))
    p = calibrated(logits, before, forest)
    expected = 1 / (1 + np.exp(-(sharpness * np.log(p / (1 - p)) / 2.0 + further)))
    found = recalibrated(before, fitted, sharpness)
    assert calibrated(logits, found, forest) == pytest.approx(expected, abs=1e-9)
    assert (found.threshold, found.abstain) == (0.6, (0.5, 0.7))


def test_a_kind_that_nobody_taught_is_never_told() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60, dtype=np.int64) % 2
    values = rng.normal(size=(60, 20))
    values[:, 0] += 6 * truth
    slide = np.array([f"s{number // 2 % 3}" for number in range(60)])
    task = Task(("neutrophil", "monocyte", "basophil"), values, truth, slide)

    found = validate(task, choices_for(task, Known(None, None, None), 8.0))
    areas = np.full(60, 100.0)
    contract = kind_contract(task, found, areas, None)
    assert contract.kinds == (Kind.NEUTROPHIL, Kind.MONOCYTE, Kind.BASOPHIL)
    assert contract.distances[2] == 0
    assert min(contract.distances[:2]) > 0
    assert contract.area_um2 == (80.0, 125.0)
    assert (contract.cells, contract.slides) == (60, 3)


@pytest.mark.parametrize(
    ("label", "kind", "blast"),
    [("blast", Kind.BLAST_LIKE, 1), ("normal", Kind.BLAST_LIKE, 0), ("lymphocyte", Kind.LYMPHOCYTE, 0),
     ("blast-like", Kind.BLAST_LIKE, -1), ("neutrophil", Kind.NEUTROPHIL, -1)],
)  # fmt: skip
def test_what_a_label_says_to_each_head(label: str, kind: Kind, blast: int) -> None:
    assert (kind_of(label), blast_of(label)) == (kind, blast)
