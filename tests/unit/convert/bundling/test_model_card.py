"""What a bundle's card says of how its network was made."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeleuk.bundle.manifest import OutputContract
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.version import RESEARCH_USE
from edgeleuk_convert.bundling.converted import Converted
from edgeleuk_convert.bundling.model_card import model_card
from edgeleuk_convert.networks.architectures import default_input
from edgeleuk_convert.quantization.prepare import PreparedNetwork
from edgeleuk_convert.training.record import TrainingRecord, bundle_record

NOTHING_CONVERTED = Converted(
    prepared=PreparedNetwork(None, default_input(), OutputContract(kind="logit")),
    networks={},
    agreements=(),
    float_onnx_bytes=0,
)


@pytest.fixture(scope="module")
def every() -> TrainingRecord:
    """Of the shipped bundle, which learned from every subject."""
    return bundle_record(read_bundle("default"))


@pytest.fixture(scope="module")
def record(every: TrainingRecord) -> TrainingRecord:
    """The same, had it held a fold out."""
    settings = {**every.settings, "folds": 5, "fold": 0}
    return msgspec.structs.replace(every, settings=settings, held_out_subjects=("H2",), cross_validated=None)


def written(record: TrainingRecord, **settings: Any) -> str:
    changed = msgspec.structs.replace(record, settings={**record.settings, **settings})
    return model_card("c", changed, NOTHING_CONVERTED, {}, 100, {"images": 100, "seed": 0})


def test_a_plain_training_is_its_flags(record: TrainingRecord) -> None:
    text = written(record, epochs=5)
    assert text.startswith(f"# c\n\n{RESEARCH_USE}\n\nA network")
    assert "--epochs 5 --seed 0 --folds 5 --fold 0 --answers DIR\n" in text
    assert "--seed 0\n\nCalibrated with" in text
    assert "LEAKAGE" not in text


def test_a_training_on_every_subject_says_so(every: TrainingRecord) -> None:
    text = written(every, epochs=5)
    assert "--epochs 5 --seed 0 --all-subjects --answers DIR\n" in text
    assert "LEAKAGE" not in text


def test_what_the_flags_do_not_say_is_listed(record: TrainingRecord) -> None:
    text = written(record, learning_rate=0.004, augmentation_jpeg=0.5)
    others = "`learning_rate = 0.004`, `augmentation_jpeg = 0.5`"
    assert f"--seed 0\n\nOther settings of the training: {others}.\n\nCalibrated with" in text


def test_a_leak_is_said_at_the_top(record: TrainingRecord) -> None:
    leaky = msgspec.structs.replace(record, stamp="LEAKAGE ALLOWED: 1 of 2 test cells.")
    text = written(leaky, held_out=("H2", "14"))
    assert text.startswith(f"# c\n\n**LEAKAGE ALLOWED IN TRAINING: 1 of 2 test cells.**\n\n{RESEARCH_USE}\n")
    assert "--seed 0 --held-out FILE --answers DIR --allow-leakage\n" in text
