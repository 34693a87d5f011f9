"""Calibration on real cells with a small network: the set, its checks, the curve, and what is refused."""

from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from edgeleuk.bundle.manifest import CALIBRATION, Envelope, InputContract, OutputContract
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.writing import describe_members, write_bundle
from edgeleuk.classifier.classifier import open_networks
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk_calibration.calibration_record import (
    decode_calibration_record,
    encode_calibration_record,
    make_calibration_record,
    read_calibration_record,
    tensors_sha256,
)
from edgeleuk_convert.bundling.calibrate import PLOT_FILE, RANGES_FILE
from edgeleuk_convert.commands import convert as conversion_commands
from edgeleuk_convert.commands import evaluate
from edgeleuk_convert.commands.options import ConvertOptions
from edgeleuk_convert.dataset.cnmc import load_cells
from edgeleuk_convert.quantization.activation_ranges import FloatTensors, match_tensors
from edgeleuk_convert.quantization.calibration_data import RealInput, read_calibration
from edgeleuk_convert.training.record import TrainingRecord, read_record, write_record

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk_convert.commands.results import CalibrationResult
    from edgeleuk_convert.dataset.cells import CellSet, LabelledCell

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning"),
]

CONTRACT = InputContract(
    height=32, width=32, channels=("red", "blue", "mask"), normalise=True, px_per_um=2, crop_px_per_um=18.5
)


@pytest.fixture(scope="module")
def cells(few_cells: Path) -> CellSet:
    return load_cells(few_cells)


@pytest.fixture(scope="module")
def model(cells: CellSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights that says it was trained on two thirds of the subjects of each class."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    inputs = keras.Input(CONTRACT.shape)
    x = layers.Rescaling(1 / 64, -2.0)(inputs)
    x = layers.Conv2D(6, 3, strides=2, use_bias=False, name="first")(x)
    x = layers.ReLU(6.0, name="first_relu")(layers.BatchNormalization()(x))
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D()(x)
    network = keras.Model(inputs, layers.Dense(1)(x))
    groups = {
        label: sorted({cell.group or "" for cell in cells.labelled if cell.label == label})
        for label in ("blast", "normal")
    }
    known = {group for of in groups.values() for group in of[: 2 * len(of) // 3]}
    training = [cell for cell in cells.labelled if cell.group in known]
    subjects = {cell.subject or "" for cell in cells.labelled}
    trained = {cell.subject or "" for cell in training}
    path = tmp_path_factory.mktemp("calibrating") / "small.keras"
    network.save(path)
    record = TrainingRecord(
        architecture="resnet",
        parameters=network.count_params(),
        input=CONTRACT,
        output=OutputContract(kind="logit"),
        envelope=Envelope(area_um2=(20, 400)),
        settings={"architecture": "resnet", "epochs": 1, "seed": 0, "folds": 3, "fold": 0},
        training_subjects=tuple(sorted(trained)),
        held_out_subjects=tuple(sorted(subjects - trained)),
        training_hashes=tuple(cell.sha256[:16] for cell in training),
        tools={},
    )
    write_record(record, path)
    return path


def held_out(cells: CellSet, model: Path) -> list[LabelledCell]:
    subjects = read_record(model).held_out_subjects
    return [cell for cell in cells.labelled if cell.subject in subjects]


@pytest.fixture(scope="module")
def calibrated(model: Path, few_cells: Path) -> tuple[Path, CalibrationResult]:
    out = model.with_name("calibration")
    return out, conversion_commands.calibrate(model, few_cells, out, images=40, curve=True)


def test_the_set_is_written_and_its_tensors_come_again(
    calibrated: tuple[Path, CalibrationResult], cells: CellSet
) -> None:
    out, result = calibrated
    card = read_calibration_record(out / CALIBRATION)
    assert result.images == card.count == 40
    by_name = {cell.path.relative_to(cells.folder).as_posix(): cell for cell in cells.cells}
    chosen = [by_name[image.name or ""] for image in card.images]
    assert card.input is not None
    with read_calibration(chosen, card.input) as tensors:
        assert tensors_sha256(tensors) == card.tensors_sha256 == result.tensors_sha256


def test_every_tensor_is_matched_and_checked(calibrated: tuple[Path, CalibrationResult]) -> None:
    out, result = calibrated
    checks = json.loads((out / RANGES_FILE).read_text())
    assert checks["unmatched"] == []
    assert checks["calibration_images"] == 40
    names = [tensor["tensor"] for tensor in checks["tensors"]]
    assert any("first_relu" in name for name in names)
    for tensor in checks["tensors"]:
        assert tensor["low"] < tensor["high"]
        assert 0 <= tensor["outside"] < 0.05
        assert 0 < tensor["stability"] <= 1
    (relu,) = [tensor for tensor in checks["tensors"] if "first_relu" in tensor["tensor"]]
    assert relu["low"] == 0
    assert result.ranges["tensors"] == len(names)
    assert (out / PLOT_FILE).stat().st_size > 1000


def test_the_curve_says_how_many_images_are_enough(calibrated: tuple[Path, CalibrationResult]) -> None:
    _, result = calibrated
    asked = [point["asked"] for point in result.curve]
    # A hundred and some training cells: 500 would be 200 again.
    assert asked == [25, 50, 100, 200]
    assert all(point["images"] <= point["asked"] for point in result.curve)
    assert result.recommended_images in [point["images"] for point in result.curve]
    assert result.recommendation is not None
    assert result.recommendation in conversion_commands.calibration_text(result)


def test_a_curve_goes_on_where_it_was(
    calibrated: tuple[Path, CalibrationResult],
    model: Path,
    few_cells: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out, result = calibrated
    file = out / "curve.json"
    half = json.loads(file.read_text())
    half["sizes"] = half["sizes"][:3]
    file.write_text(json.dumps(half))
    with caplog.at_level(logging.INFO, "edgeleuk"):
        again = conversion_commands.calibrate(model, few_cells, out, images=40, curve=True)
    said = caplog.text
    assert "3 of 5 sizes are measured" in said
    assert said.count("  curve:") == 1
    assert again == result


@pytest.fixture(scope="module")
def bundle(model: Path, few_cells: Path) -> Path:
    out = model.with_name("small.edgeleuk")
    conversion_commands.convert(model, few_cells, out, ConvertOptions(images=40, strategy="diverse"))
    return out


def test_a_card_makes_the_same_networks_again(bundle: Path, model: Path, few_cells: Path) -> None:
    card = model.with_name(CALIBRATION)
    members = read_bundle(str(bundle)).members
    card.write_bytes(members[CALIBRATION])
    assert read_calibration_record(card).strategy == "diverse"
    again = bundle.with_name("again.edgeleuk")
    conversion_commands.convert(model, few_cells, again, ConvertOptions(calibration_record=card))
    others = read_bundle(str(again)).members
    assert others[CALIBRATION] == members[CALIBRATION]
    # In one process Keras counts its tensors on, and their names are in the files: compare what they hold.
    tensors = np.random.default_rng(0).integers(0, 256, (8, *CONTRACT.shape)).astype(np.uint8)
    networks = [open_networks(of, read_bundle(str(bundle)).manifest.input) for of in (members, others)]
    for key in ("tflite_int8", "onnx_int8"):
        one, other = (of[key].predict(tensors).outputs for of in networks)
        np.testing.assert_array_equal(one, other)
    one, other = (
        match_tensors(of["model.float32.tflite"], of["model.int8.tflite"]) for of in (members, others)
    )
    assert one == other
    with pytest.raises(UsageError, match="a calibration record names the images"):
        conversion_commands.convert(model, few_cells, again, ConvertOptions(calibration_record=card, seed=1))


def test_the_order_of_images_is_the_cards(bundle: Path, cells: CellSet) -> None:
    """Ranges come of the tensors that the card describes."""
    opened = read_bundle(str(bundle))
    card = decode_calibration_record(opened.members[CALIBRATION])
    by_name = {cell.path.relative_to(cells.folder).as_posix(): cell for cell in cells.cells}
    chosen = [by_name[image.name or ""] for image in card.images]
    matched = match_tensors(opened.members["model.float32.tflite"], opened.members["model.int8.tflite"])
    network = FloatTensors(opened.members["model.float32.tflite"])
    with read_calibration(chosen, opened.manifest.input) as tensors:
        seen = [network.of(real) for real in RealInput(tensors, opened.manifest.input)]
    (name,) = [name for name in matched.ranges if "first_relu" in name]
    most = max(float(of[name].max()) for of in seen)
    assert matched.ranges[name].scale * 255 == pytest.approx(most, rel=0.1)


def test_ranges_joined_after_a_few_images_are_the_same(
    model: Path, monkeypatch: pytest.MonkeyPatch, cells: CellSet
) -> None:
    import keras

    from edgeleuk_convert.quantization import onnx

    float_model = onnx.to_onnx_float32(keras.models.load_model(model))
    with read_calibration(cells.labelled[:7], CONTRACT) as tensors:
        real = RealInput(tensors, CONTRACT)
        few_at_a_time = onnx.to_onnx_int8(float_model, real)
        monkeypatch.setattr(onnx, "_TOGETHER", 7)
        assert onnx.to_onnx_int8(float_model, real) == few_at_a_time


def test_images_that_judge_may_not_calibrate(model: Path, few_cells: Path, cells: CellSet) -> None:
    fresh = held_out(cells, model)
    card = model.with_name("held-out.json")
    card.write_bytes(
        encode_calibration_record(
            make_calibration_record(fresh[:12], strategy="given", seed=0, folder=cells.folder)
        )
    )
    out = model.with_name("overlap.edgeleuk")
    with pytest.raises(DataRefusedError, match="evaluation images belong to") as caught:
        conversion_commands.convert(model, few_cells, out, ConvertOptions(calibration_record=card))
    assert fresh[0].path.name in str(caught.value)
    assert not out.exists()


def test_a_bundle_is_not_judged_by_what_calibrated_it(
    bundle: Path, model: Path, few_cells: Path, cells: CellSet
) -> None:
    opened = read_bundle(str(bundle))
    fresh = held_out(cells, model)
    members = dict(opened.members)
    members[CALIBRATION] = encode_calibration_record(
        make_calibration_record(fresh[:12], strategy="given", seed=0, folder=cells.folder)
    )
    manifest = msgspec.structs.replace(opened.manifest, members=describe_members(members))
    foreign = bundle.with_name("foreign.edgeleuk")
    write_bundle(foreign, manifest, members)
    with pytest.raises(DataRefusedError, match="evaluation images belong to") as caught:
        evaluate.validate(str(foreign), few_cells)
    assert fresh[0].path.name in str(caught.value)


def test_bad_folders_are_refused_and_nothing_is_left(model: Path, few_cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.edgeleuk"

    def refused(folder: Path, message: str) -> None:
        with pytest.raises(DataRefusedError, match=message):
            conversion_commands.convert(model, folder, out, ConvertOptions(images=40))
        assert not list(tmp_path.glob("out*"))

    one_class = tmp_path / "one"
    shutil.copytree(few_cells, one_class, ignore=lambda _, names: [n for n in names if n == "hem"])
    refused(one_class, "must show both classes: got blast")
    broken = tmp_path / "broken"
    shutil.copytree(few_cells, broken)
    victim = min(broken.glob("fold_*/all/*.webp"))
    victim.write_bytes(victim.read_bytes()[:500])
    refused(broken, f"1 of .* files are no usable image of a cell: got .*{victim.name}")
    noisy = tmp_path / "noisy"
    shutil.copytree(few_cells, noisy)
    rng = np.random.default_rng(0)
    for file in noisy.glob("fold_*/hem/*.webp"):
        pixels = np.zeros((100, 100, 3), np.uint8)
        pixels[10:90, 10:90] = rng.integers(1, 256, (80, 80, 3))
        cv2.imwrite(str(file), pixels, [cv2.IMWRITE_WEBP_QUALITY, 101])
    refused(noisy, r"calibration images are no picture of a cell: got UID_.*\(noise")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"images": 3}, "the number of calibration images is out of range: got 3"),
        ({"strategy": "best"}, "unknown calibration strategy: got best"),
    ],
)
def test_bad_flags_are_refused(
    model: Path, few_cells: Path, tmp_path: Path, flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        conversion_commands.calibrate(model, few_cells, tmp_path / "out", **flags)
    assert not (tmp_path / "out").exists()
