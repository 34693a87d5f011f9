"""The same network and images give the same bundle, byte by byte, in another process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from edgeleuk.bundle.reading import read_bundle
from edgeleuk_convert.quantization.onnx import compacted

if TYPE_CHECKING:
    from pathlib import Path

# Makes a network with every kind of layer that conversions are known to name at random.
NETWORK = """
import sys
import keras
from keras import layers

keras.utils.set_random_seed(3)
inputs = keras.Input((32, 32, 3))
x = layers.Rescaling(1 / 96, -4 / 3)(inputs)
for filters in (8, 12):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.Add()([x, layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same")(x))])
    x = layers.MaxPooling2D()(x)
x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
keras.Model(inputs, layers.Dense(1)(x)).save(sys.argv[1])
"""

BUNDLE = """
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import numpy as np

from edgeleuk.bundle.manifest import Appearance, Envelope, InputContract, OutOfDistribution, OutputContract
from edgeleuk.bundle.writing import write_bundle
from edgeleuk_calibration.calibration_record import CalibrationRecord
from edgeleuk_convert.bundling.converted import ParentNetwork
from edgeleuk_convert.bundling.out_of_distribution import TrainedOutOfDistribution
from edgeleuk_convert.networks.loading import load_network
from edgeleuk_convert.bundling.pack import convert_networks, make_manifest_and_members
from edgeleuk_convert.training.record import TrainingRecord

network, out = map(Path, sys.argv[1:])
contract = InputContract(
    height=32, width=32, channels=("red", "green", "blue"), normalise=True, px_per_um=2.0, crop_px_per_um=18.5
)
settings = {"architecture": "tiny", "epochs": 1, "seed": 0, "folds": 5, "fold": 0}
record = TrainingRecord(
    architecture="baseline", parameters=int(sys.stdin.read()), input=contract,
    output=OutputContract(kind="logit"), envelope=Envelope(area_um2=(20, 400)), settings=settings,
    training_subjects=("1", "2"), held_out_subjects=("3",), training_hashes=(), tools={},
)
rng = np.random.default_rng(0)
contrast = rng.uniform(0, 1, (40, 1, 1, 1))
tensors = np.clip(128 + contrast * rng.normal(0, 90, (40, 32, 32, 3)), 0, 255).astype(np.uint8)
loaded = load_network(network)
converted = convert_networks(loaded.model, record, tensors, progress=lambda _: None)
ranges = dict.fromkeys(("red_to_green", "blue_to_green", "red_to_blue", "sharpness"), (0.1, 9.0))
manifest, members = make_manifest_and_members(
    "tiny", ParentNetwork(loaded.sha256, record), converted,
    CalibrationRecord(strategy="balanced", seed=0, images=()),
    gate=TrainedOutOfDistribution(OutOfDistribution(appearance=Appearance(**ranges)), None),
    validation={"verdict": "pass"},
    card_notes={"images": 40, "seed": 0},
)
write_bundle(out, manifest, members)
"""


def python(script: str, *words: object, text: str = "", **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        input=text,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def members(bundle: Path) -> dict[str, str]:
    with zipfile.ZipFile(bundle) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def test_two_processes_make_the_same_bundle(tmp_path: Path) -> None:
    network = tmp_path / "tiny.keras"
    counted = python(NETWORK + "\nprint(keras.models.load_model(sys.argv[1]).count_params())", network)
    bundles = []
    # Another order of sets, another number of threads, another name in the folder.
    for seed, threads in (("1", "1"), ("2", "4")):
        folder = tmp_path / seed
        folder.mkdir()
        bundles.append(folder / "tiny.edgeleuk")
        python(
            BUNDLE, network, bundles[-1], text=counted.split()[-1],
            PYTHONHASHSEED=seed, TF_NUM_INTRAOP_THREADS=threads, OMP_NUM_THREADS=threads,
        )  # fmt: skip
    first, second = map(members, bundles)
    # By member first: a difference has a name then.
    assert first == second
    assert bundles[0].read_bytes() == bundles[1].read_bytes()
    bundle = read_bundle(bundles[0])
    assert {"model.int8.tflite", "model.int8.onnx"} <= set(bundle.manifest.model_names)
    # A network of a few layers does not always show it: tf2onnx names what is open by a counter that hangs on
    # the order of sets, and on the shipped network two processes counted differently.
    assert b"unk__" not in bundle.members["model.int8.onnx"]
    assert open_dimensions(bundle.members["model.int8.onnx"]) == {"n"}
    # Nor that constants come in the order of sets.
    assert (
        compacted(with_turned_constants(bundle.members["model.int8.onnx"]))
        == bundle.members["model.int8.onnx"]
    )


def with_turned_constants(model: bytes) -> bytes:
    import onnx

    proto = onnx.load_from_string(model)
    turned = list(proto.graph.initializer)[::-1]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(turned)
    return bytes(proto.SerializeToString())


def open_dimensions(model: bytes) -> set[str]:
    import onnx

    graph = onnx.load_from_string(model).graph
    values = (*graph.input, *graph.output)
    return {dim.dim_param for value in values for dim in value.type.tensor_type.shape.dim if dim.dim_param}
