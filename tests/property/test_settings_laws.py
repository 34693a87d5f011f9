"""Laws of a training's settings: what is written is read back equal, from the file and from the record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk.bundle.manifest import Envelope, InputContract, OutputContract
from edgeleuk.io.settings_file import to_toml
from edgeleuk_convert.networks.architectures import ARCHITECTURES
from edgeleuk_convert.training.augmentation import Augmentation
from edgeleuk_convert.training.plan import TrainingSettings
from edgeleuk_convert.training.record import TrainingRecord, decode_record
from edgeleuk_convert.training.settings import load_training_settings, settings_of


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


share = floats(0, 1)
seeds = st.integers(0, 2**32 - 1)
augmentations = st.builds(
    Augmentation,
    scale=floats(0, 0.9), shift_px=floats(0, 1000), gamma=floats(0, 5), contrast=share,
    blur_px=floats(0, 100), noise=floats(0, 255), jpeg=share, erode=share,
)  # fmt: skip
contracts = st.builds(
    InputContract,
    height=st.integers(8, 1024),
    width=st.integers(8, 1024),
    channels=st.lists(
        st.sampled_from(["red", "green", "blue", "luminance", "mask"]), min_size=1, max_size=8
    ).map(tuple),
    normalise=st.booleans(),
    px_per_um=floats(0.05, 200),
    crop_px_per_um=floats(0.05, 200),
    # At most 64 px, whatever the scale.
    rim_um=floats(0, 0.3),
    # Below 0 where light and dark are exchanged.
    scale=floats(1e-9, 1e9).flatmap(lambda size: st.sampled_from([size, -size])),
    offset=floats(-1e9, 1e9),
)


@st.composite
def training_settings(draw: st.DrawFn) -> TrainingSettings:
    """Any settings that are allowed."""
    name = draw(st.sampled_from(sorted(ARCHITECTURES)))
    pretrained = ARCHITECTURES[name].pretrained
    epochs, folds = draw(st.integers(1, 10_000)), draw(st.integers(2, 100))
    fine_tuning: dict[str, Any] = {}
    if pretrained:
        fine_tuning["freeze_epochs"] = draw(st.integers(0, epochs))
        fine_tuning["backbone_learning_rate_factor"] = draw(floats(1e-4, 1))
    return TrainingSettings(
        architecture=name,
        epochs=epochs,
        batch=draw(st.integers(2, 4096)),
        learning_rate=draw(floats(1e-8, 10)),
        weight_decay=draw(floats(0, 1e30)),
        warmup_epochs=draw(floats(0, 10_000)),
        average_decay=draw(floats(0, 0.999999)),
        label_smoothing=draw(floats(0, 0.5)),
        dropout=draw(floats(0, 0.9)),
        patience=draw(st.integers(1, 10_000)),
        seed=draw(seeds),
        folds=folds,
        fold=draw(st.integers(0, folds - 1)),
        split_seed=draw(seeds),
        # Names as nobody would choose them: quotes, line ends, control characters.
        held_out=tuple(draw(st.lists(st.text(), max_size=4))),
        subject_cap=draw(st.integers(1, 1_000_000)),
        size_balanced=draw(share),
        mixed_precision=draw(st.booleans()),
        input=draw(st.none() | contracts),
        augmentation=draw(augmentations),
        **fine_tuning,
    )


@settings(max_examples=100)
@given(training_settings())
def test_what_is_written_is_read_back_equal(given_settings: TrainingSettings) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "training.toml"
        file.write_bytes(to_toml(given_settings).encode())
        assert load_training_settings(file, {}) == given_settings


@settings(max_examples=100)
@given(training_settings())
def test_the_record_is_enough_to_train_again(given_settings: TrainingSettings) -> None:
    record = TrainingRecord(
        architecture=given_settings.architecture,
        parameters=1,
        input=given_settings.contract,
        output=OutputContract(kind="logit"),
        envelope=Envelope(area_um2=(0.0, 1.0)),
        settings=given_settings.flat(),
        training_subjects=(),
        held_out_subjects=(),
        training_hashes=(),
        tools={},
    )
    record = decode_record(msgspec.json.encode(record))
    assert settings_of(record) == replace(given_settings, input=given_settings.contract)


@settings(max_examples=30)
@given(training_settings(), st.integers(1, 10_000), seeds)
def test_a_flag_wins_over_the_file_and_changes_nothing_else(
    given_settings: TrainingSettings, batch: int, seed: int
) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "training.toml"
        file.write_bytes(to_toml(given_settings).encode())
        merged = load_training_settings(file, {"seed": seed, "subject_cap": batch, "epochs": None})
    assert merged == replace(given_settings, seed=seed, subject_cap=batch)
