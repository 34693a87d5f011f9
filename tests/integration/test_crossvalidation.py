"""Cross-validation on real cells: what is done is not done again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeleuk_convert.dataset.cnmc import load_cells
from edgeleuk_convert.dataset.leakage import fingerprints, join_near_duplicates
from edgeleuk_convert.evaluation import cross_validation
from edgeleuk_convert.evaluation.cross_validation import cross_validate
from edgeleuk_convert.networks.architectures import default_input
from edgeleuk_convert.training.plan import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",  # Keras, of NumPy
    "ignore:Statistics for quantized inputs:UserWarning",  # TFLite's converter, always
)


def test_only_what_is_missing_is_trained(
    few_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_validation, "CURVE_DRAWS", 1)
    cells = load_cells(few_cells)
    prints = fingerprints(cells.labelled)
    joined = join_near_duplicates(cells, prints)
    settings = [
        TrainingSettings(
            architecture="baseline", epochs=1, folds=2, input=default_input(48), calibrated=False
        )
    ]
    begun: list[str] = []
    first = cross_validate(joined, tmp_path, settings, prints=prints, begin=begun.append)
    assert begun == [
        "baseline, fold 1 of 2, seed 0 (1 of 2)",
        "baseline, fold 2 of 2, seed 0 (2 of 2)",
        "costs, baselines and learning curve",
    ]
    cost = first.scores["baseline"].cost
    assert cost is not None
    assert 0.1 < cost.int8_bytes / cost.float32_bytes < 0.5
    assert cost.multiply_adds > 1e6
    # It is the same network again.
    monkeypatch.setattr(cross_validation, "measure_cost", lambda *_: cost)
    (tmp_path / "baseline-fold1-seed0.answers.json").unlink()
    begun.clear()
    again = cross_validate(joined, tmp_path, settings, prints=prints, begin=begun.append)
    assert begun == ["baseline, fold 2 of 2, seed 0 (2 of 2)", "costs, baselines and learning curve"]
    # No cell here is of the hard official fold; NaN equals nothing, so it is looked at as text.
    assert str(again.scores["baseline"].folds[0]) == str(first.scores["baseline"].folds[0])
    assert str(again.scores["forest"]) == str(first.scores["forest"])
    assert again.cells == len(cells.labelled)
