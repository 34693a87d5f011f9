"""A network that has seen every subject, from cross-validation to bundle: judged by folds, and told so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from edgeleuk.bundle.known_error import known_error
from edgeleuk.bundle.manifest import CARD, VALIDATION
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.counting.intervals import KnownError
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk_convert.commands import convert as conversion
from edgeleuk_convert.commands import evaluate as judging
from edgeleuk_convert.commands import train as training
from edgeleuk_convert.commands.options import ConvertOptions
from edgeleuk_convert.dataset.cnmc import load_cells
from edgeleuk_convert.dataset.leakage import fingerprints, join_near_duplicates
from edgeleuk_convert.evaluation import cross_validation
from edgeleuk_convert.networks.architectures import frozen_input
from edgeleuk_convert.training.checkpoint import settings_path
from edgeleuk_convert.training.plan import TrainingSettings
from edgeleuk_convert.training.record import read_record

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",  # Keras, of NumPy
    "ignore:Statistics for quantized inputs:UserWarning",  # TFLite's converter, always
)

NAME = "efficientnet-lite0-frozen"


@pytest.fixture(scope="module")
def folds(few_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a cross-validation of a small frozen network leaves."""
    folder = tmp_path_factory.mktemp("folds")
    small = msgspec.structs.replace(frozen_input(), height=64, width=64, px_per_um=4.5)
    cells = load_cells(few_cells)
    prints = fingerprints(cells.labelled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "CURVE_DRAWS", 1)
        # What a network costs is measured in another test.
        patch.setattr(cross_validation, "measure_cost", lambda *_: None)
        cross_validation.cross_validate(
            join_near_duplicates(cells, prints), folder,
            [TrainingSettings(architecture=NAME, folds=2, input=small, calibrated=False)],
            prints=prints, begin=print,
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def network(few_cells: Path, folds: Path) -> Path:
    """Return a network trained on every subject."""
    out = folds.parent / f"{folds.name}.keras"
    config = settings_path(folds / f"{NAME}-fold0-seed0.keras")
    result = training.train(few_cells, out, training.Cohort(all_subjects=True), config=config, answers=folds)
    assert result.held_out is None
    assert "no subject is held out; by cross-validation (2 folds by group" in training.training_text(result)
    return out


@pytest.fixture(scope="module")
def bundle(few_cells: Path, folds: Path, network: Path) -> Path:
    """Return its bundle."""
    out = network.with_suffix(".edgeleuk")
    conversion.convert(network, few_cells, out, ConvertOptions(images=20, answers=folds))
    return out if out.exists() else conversion.rejected_path(out)


def test_its_record_tells_what_folds_found(network: Path) -> None:
    record = read_record(network)
    assert record.held_out_subjects == ()
    assert record.calibrated_by == "cross-validation"
    assert record.cross_validated is not None
    assert record.cross_validated.subjects == len(record.training_subjects)
    assert record.cross_validated.inner_folds is not None


def test_every_cell_but_those_that_calibrate_judges_the_bundle(bundle: Path, few_cells: Path) -> None:
    opened = read_bundle(str(bundle))
    found = msgspec.json.decode(opened.members[VALIDATION])
    labelled = load_cells(few_cells).labelled
    assert found["tflite_int8"]["cells"] == len(labelled) - 20
    assert found["tflite_int8"]["subjects"] == len({cell.subject for cell in labelled})
    # The head that ships has learned these cells by heart: what is told is worse than that.
    assert found["reference"]["auroc"] < 0.999
    assert isinstance(known_error(opened, "model.int8.tflite"), KnownError)
    card = opened.members[CARD].decode()
    assert "--all-subjects" in card
    assert "nobody is held out" in card


def test_it_is_not_judged_on_what_it_has_seen(bundle: Path, few_cells: Path) -> None:
    with pytest.raises(DataRefusedError, match=r"learned from all \d+ subjects.*none is held out.*inspect"):
        judging.validate(str(bundle), few_cells)
    with pytest.raises(DataRefusedError, match="none is held out"):
        training.evaluate(str(bundle), few_cells, runtime="litert", precision="int8")


def test_what_cannot_be_asked_is_refused(network: Path, few_cells: Path, folds: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.edgeleuk"
    with pytest.raises(DataRefusedError, match="pass --answers DIR"):
        conversion.convert(network, few_cells, out)
    held_out = folds / f"{NAME}-fold0-seed0.keras"
    with pytest.raises(UsageError, match=r"which holds \d+ subjects out; leave out --answers"):
        conversion.convert(held_out, few_cells, out, ConvertOptions(answers=folds))
    assert not out.exists()
