"""A Keras network, its record and a calibration folder become one bundle."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.bundle.features import encode_features
from edgeleuk.bundle.forest import encode_forest
from edgeleuk.bundle.manifest import (
    CALIBRATION,
    CARD,
    FEATURES,
    FOREST,
    GOLDEN,
    LABELS,
    MODEL_FILES,
    SCHEMA_VERSION,
    TRAINING,
    VALIDATION,
    Manifest,
    Provenance,
)
from edgeleuk.bundle.writing import describe_members
from edgeleuk.classify import Rules, open_networks
from edgeleuk.errors import GateFailedError, IntegrityError
from edgeleuk_calibration.selection import encode_card
from edgeleuk_convert.cards import DATA_CITATION, LICENCE, card
from edgeleuk_convert.golden import make_golden
from edgeleuk_convert.mending import with_corrected_biases, without_rescaling
from edgeleuk_convert.onnx import to_onnx_float32, to_onnx_int8
from edgeleuk_convert.tflite import silenced, to_tflite_float32, to_tflite_int8, with_features

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.bundle.forest import Forest
    from edgeleuk.bundle.manifest import InputContract, OutputContract
    from edgeleuk_calibration.selection import CalibrationSet
    from edgeleuk_convert.cnmc import LabelledCell
    from edgeleuk_convert.gating import TrainedGate
    from edgeleuk_convert.record import TrainingRecord

# The least correlation of an int8 network's outputs with the float network's that can come of rounding.
LEAST_CORRELATION = 0.95
# Between Keras and the float32 network: rounding alone.
KERAS_TOLERANCE = 1e-3
REFERENCE = "reference"
REFERENCE_MEMBER = "model.float32.tflite"
TOOLS = ("tensorflow-cpu", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "numpy")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one converted network compares with the float32 network on the calibration images.

    Attributes
    ----------
    member : str
    size_bytes : int
    largest_difference : float
        In units of the output.
    correlation : float
        Pearson's, of the outputs.
    """

    member: str
    size_bytes: int
    largest_difference: float
    correlation: float


@dataclass(frozen=True, slots=True)
class Converted:
    """Networks by member name, how bytes become their input, and how each agrees with Keras."""

    networks: Mapping[str, bytes]
    input: InputContract
    float_onnx_bytes: int
    agreements: tuple[Agreement, ...]


def convert_networks(
    model: Any,
    record: TrainingRecord,
    tensors: npt.NDArray[np.uint8],
    *,
    progress: Callable[[str], None],
) -> Converted:
    """Make every network of a bundle and compare them with Keras.

    Parameters
    ----------
    model : keras.Model
    record : TrainingRecord
    tensors : (n, H, W, C) uint8
        Calibration images, preprocessed.
    progress : callable
        Told what begins.

    Raises
    ------
    GateFailedError
        A network's outputs are not finite, or have nothing to do with Keras's.
    """
    keras_outputs = np.asarray(model.predict(_real(tensors, record.input), verbose=0), np.float32)
    model, contract = without_rescaling(model, record.input)
    real = _real(tensors, contract)
    networks: dict[str, bytes] = {}
    progress("TFLite float32")
    with silenced():
        networks[REFERENCE_MEMBER] = to_tflite_float32(with_features(model))
    progress("ONNX float32")
    with silenced():
        float_onnx = to_onnx_float32(with_features(model))
    with silenced():
        model = with_corrected_biases(model, real)
    converters: dict[str, Callable[[Any], bytes]] = {
        "model.int8.tflite": lambda of: to_tflite_int8(with_features(of), real),
        "model.int8.onnx": lambda of: to_onnx_int8(to_onnx_float32(with_features(of)), real),
    }
    for name, converter in converters.items():
        progress(name.removeprefix("model."))
        with silenced():
            networks[name] = _without_bias(name, model, record.output, contract, tensors, networks, converter)
    progress("comparing with Keras")
    with silenced():
        outputs = {
            name: runtime.predict(tensors).outputs
            for name, runtime in open_networks(networks, contract).items()
        }
    _refuse_difference(outputs[REFERENCE], keras_outputs)
    agreements = tuple(
        _agreement(name, len(networks[name]), outputs[MODEL_FILES[name].key], outputs[REFERENCE])
        for name in sorted(networks)
    )
    return Converted(networks, contract, len(float_onnx), agreements)


def load_keras(path: Path, record: TrainingRecord) -> Any:
    """Load a ``.keras`` file whose record is at hand.

    Raises
    ------
    IntegrityError
        It cannot be read, or is not the network that the record is about.
    """
    import keras

    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its readers raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise IntegrityError(f"{path.name} is no Keras network, or a damaged one", got=reason) from error
    if tuple(model.input_shape[1:]) != record.input.shape or model.count_params() != record.parameters:
        raise IntegrityError(
            f"{path.name} is not the network of its training record",
            got=f"input {tuple(model.input_shape[1:])}, {model.count_params():,} parameters",
            allowed=f"input {record.input.shape}, {record.parameters:,} parameters",
        )
    return model


def make_manifest_and_members(
    name: str,
    keras_bytes: bytes,
    record: TrainingRecord,
    converted: Converted,
    calibration: CalibrationSet[LabelledCell],
    *,
    gate: TrainedGate,
    forest: Forest | None,
    validation: Mapping[str, object],
    card_notes: Mapping[str, object],
) -> tuple[Manifest, dict[str, bytes]]:
    """Put together all that a bundle holds."""
    members = dict(converted.networks)
    if gate.statistics is not None:
        members[FEATURES] = encode_features(gate.statistics)
    if forest is not None:
        members[FOREST] = encode_forest(forest)
    members[LABELS] = msgspec.json.encode(
        {"negative": record.output.labels[0], "positive": record.output.labels[1]}
    )
    rules = Rules(record.output, record.envelope, gate.contract, gate.statistics, forest=forest)
    members[GOLDEN] = make_golden(members, converted.input, rules)
    members[CALIBRATION] = encode_card(calibration.card)
    members[VALIDATION] = msgspec.json.format(msgspec.json.encode(validation), indent=1)
    members[TRAINING] = msgspec.json.encode(record)
    members[CARD] = card(name, record, converted, validation, len(calibration.images), card_notes).encode()
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        input=converted.input,
        output=record.output,
        envelope=record.envelope,
        provenance=Provenance(
            float_parent_sha256=hashlib.sha256(keras_bytes).hexdigest(),
            architecture=record.architecture,
            parameters=record.parameters,
            tools=tool_versions(),
            training_subjects=record.training_subjects,
        ),
        members=describe_members(members),
        licence=LICENCE,
        data_citation=DATA_CITATION,
        gate=gate.contract,
    )
    return manifest, members


def tool_versions() -> dict[str, str]:
    """Return the versions of the packages that a conversion depends on, those installed."""
    versions = {}
    for tool in TOOLS:
        try:
            versions[tool] = importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _real(tensors: npt.NDArray[np.uint8], contract: InputContract) -> npt.NDArray[np.float32]:
    table = (np.arange(256) * contract.scale + contract.offset).astype(np.float32)
    return np.asarray(table[tensors], np.float32)


def _without_bias(
    name: str,
    model: Any,
    output: OutputContract,
    contract: InputContract,
    tensors: npt.NDArray[np.uint8],
    networks: Mapping[str, bytes],
    converter: Callable[[Any], bytes],
) -> bytes:
    """Quantize twice: the second time with the mean error of the first taken out of the last layer's bias.

    Rounding errors do not average out over a network; on average they move the logit. Source: Nagel et al.,
    "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, with
    the error measured on the calibration images and corrected in the last layer alone.
    """
    first = converter(model)
    last = model.layers[-1]
    if output.kind != "logit" or not getattr(last, "use_bias", False):
        return first
    runtimes = open_networks({REFERENCE_MEMBER: networks[REFERENCE_MEMBER], name: first}, contract)
    outputs = {key: runtime.predict(tensors).outputs for key, runtime in runtimes.items()}
    error = (outputs[MODEL_FILES[name].key] - outputs[REFERENCE]).mean(axis=0)
    bias = last.bias.numpy()
    last.bias.assign(bias - error)
    try:
        return converter(model)
    finally:
        last.bias.assign(bias)


def _refuse_difference(reference: npt.NDArray[np.float32], keras: npt.NDArray[np.float32]) -> None:
    """Refuse a float network that is not Keras's. What agrees with it then agrees with Keras."""
    difference = float(np.abs(reference - keras).max())
    if not difference <= KERAS_TOLERANCE * (1 + float(np.abs(keras).max())):
        raise GateFailedError(
            "the float32 network does not answer as the Keras network does",
            got=f"a difference of {difference:.3g}",
            allowed=KERAS_TOLERANCE,
            cure="report the network",
        )


def _agreement(
    name: str, size_bytes: int, outputs: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]
) -> Agreement:
    if not np.isfinite(outputs).all():
        raise GateFailedError(f"{name} answers with numbers that are not finite", cure="report the network")
    correlation = float(np.corrcoef(outputs[:, -1], reference[:, -1])[0, 1])
    if not correlation >= LEAST_CORRELATION:
        raise GateFailedError(
            f"{name} does not agree with the float network",
            got=f"correlation {correlation:.3f}",
            allowed=f"{LEAST_CORRELATION} or more",
            cure="calibrate with more, or more typical, images",
        )
    return Agreement(name, size_bytes, float(np.abs(outputs - reference).max()), correlation)
