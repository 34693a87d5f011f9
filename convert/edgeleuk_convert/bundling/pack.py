"""A Keras network, its record and a calibration folder become one bundle."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

import msgspec

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
from edgeleuk.classifier.classifier import open_network, open_networks
from edgeleuk.classifier.decision import Rules
from edgeleuk.errors import IntegrityError
from edgeleuk_calibration.calibration_record import encode_calibration_record
from edgeleuk_convert.bundling.converted import Also, Converted, Recipe
from edgeleuk_convert.bundling.golden import make_golden
from edgeleuk_convert.bundling.model_card import DATA_CITATION, LICENCE, UNTOLD, model_card
from edgeleuk_convert.environment import silenced
from edgeleuk_convert.quantization.agreement import (
    agreement_of,
    refuse_constant,
    refuse_difference,
)
from edgeleuk_convert.quantization.audit import audit, audit_with_float, require_kept_promises
from edgeleuk_convert.quantization.calibration_data import RealInput, answers, keras_answers
from edgeleuk_convert.quantization.onnx import to_onnx_float32
from edgeleuk_convert.quantization.prepare import (
    ONNX_MEMBER,
    REFERENCE,
    REFERENCE_MEMBER,
    TENSORRT_MEMBER,
    TFLITE_MEMBER,
    Quantizer,
    prepare_for_int8,
)
from edgeleuk_convert.quantization.tflite import (
    to_tflite_dynamic,
    to_tflite_float16,
    to_tflite_int16x8,
    with_features,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeleuk_calibration.calibration_record import CalibrationRecord
    from edgeleuk_convert.bundling.converted import ParentNetwork
    from edgeleuk_convert.bundling.out_of_distribution import TrainedOutOfDistribution
    from edgeleuk_convert.quantization.audit import Kind
    from edgeleuk_convert.quantization.calibration_data import Tensors
    from edgeleuk_convert.training.record import TrainingRecord

# Images that the slower of the additional files are compared on.
FEW = 20
KINDS: dict[str, Kind] = {
    REFERENCE_MEMBER: "float",
    TFLITE_MEMBER: "int8",
    ONNX_MEMBER: "onnx-int8",
    TENSORRT_MEMBER: "onnx-tensorrt",
}
_USUAL = Recipe()
_ALSO_KINDS: dict[Also, Kind] = {
    "float16": "float", "dynamic": "float", "int16x8": "int16x8", "uint8-io": "int8",
}  # fmt: skip
TOOLS = ("tensorflow-cpu", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "numpy")


def convert_networks(
    model: Any,
    record: TrainingRecord,
    tensors: Tensors,
    *,
    progress: Callable[[str], None],
    recipe: Recipe = _USUAL,
    strict: bool = True,
) -> Converted:
    """Make every network of a bundle and compare them with Keras.

    Parameters
    ----------
    model : keras.Model
    record : TrainingRecord
    tensors : Tensors
        Calibration images, preprocessed: (n, H, W, C) uint8 or a `TensorStore` of them.
    progress : callable
        Told what begins.
    recipe : Recipe
    strict : bool
        Refuse an int8 network that has nothing to do with Keras's, too; else it is left to be repaired.

    Raises
    ------
    GateFailedError
        A network's outputs are not finite, or have nothing to do with Keras's; or a file does not keep what
        is promised of it: see `audit`.
    """
    keras_outputs = keras_answers(model, RealInput(tensors, record.input))
    refuse_constant(keras_outputs)
    prepared = prepare_for_int8(model, record.input, record.output)
    quantizer = Quantizer(prepared, tensors)
    contract, output = prepared.input, prepared.output
    progress("TFLite float32")
    networks = dict(quantizer.reference)
    progress("ONNX float32")
    with silenced():
        float_onnx = to_onnx_float32(with_features(prepared.model))
    audits = [audit(REFERENCE_MEMBER, networks[REFERENCE_MEMBER], "float", contract)]
    # What can only be computed in float is for repair to judge.
    look = audit if strict else audit_with_float
    for name in (TFLITE_MEMBER, ONNX_MEMBER, *((TENSORRT_MEMBER,) if recipe.tensorrt else ())):
        progress(name.removeprefix("model."))
        networks[name] = quantizer.build(name, onnx_calibration=recipe.onnx_calibration)
        audits.append(look(name, networks[name], KINDS[name], contract))
        # What breaks a promise is refused before more time is spent on it.
        require_kept_promises(audits)
    progress("comparing with Keras")
    with silenced(), open_networks(networks, contract) as opened:
        outputs = {key: answers(runtime, tensors) for key, runtime in opened.items()}
    refuse_difference(outputs[REFERENCE], output, keras_outputs, record.output)
    agreements = tuple(
        agreement_of(
            name,
            len(networks[name]),
            outputs[MODEL_FILES[name].key],
            outputs[REFERENCE],
            output,
            strict=strict,
        )
        for name in sorted(networks.keys() & MODEL_FILES.keys())
    )
    also = {}
    for kind in dict.fromkeys(recipe.also):
        progress(f"TFLite {kind}")
        also[kind] = _beside(kind, quantizer)
        beside = {**networks, TFLITE_MEMBER: also[kind]}
        with silenced(), open_network(beside, TFLITE_MEMBER, contract) as runtime:
            few = answers(runtime, tensors[:FEW])
        audits.append(audit(kind, also[kind], _ALSO_KINDS[kind], contract))
        require_kept_promises(audits)
        agreements += (agreement_of(kind, len(also[kind]), few, outputs[REFERENCE][:FEW], output),)
    return Converted(prepared, networks, len(float_onnx), agreements, tuple(audits), also)


def require_of_record(model: Any, name: str, record: TrainingRecord) -> None:
    """Raise `IntegrityError` where a network is not the one that its training record is about."""
    if tuple(model.input_shape[1:]) != record.input.shape or model.count_params() != record.parameters:
        raise IntegrityError(
            f"{name} is not the network of its training record",
            got=f"input {tuple(model.input_shape[1:])}, {model.count_params():,} parameters",
            allowed=f"input {record.input.shape}, {record.parameters:,} parameters",
        )


def make_manifest_and_members(
    name: str,
    parent: ParentNetwork,
    converted: Converted,
    calibration: CalibrationRecord,
    *,
    gate: TrainedOutOfDistribution,
    validation: Mapping[str, object],
    card_notes: Mapping[str, object],
) -> tuple[Manifest, dict[str, bytes]]:
    """Put together all that a bundle holds."""
    record, forest = parent.record, parent.forest
    members = dict(converted.networks)
    if gate.statistics is not None:
        members[FEATURES] = encode_features(gate.statistics)
    if forest is not None:
        members[FOREST] = encode_forest(forest)
    members[LABELS] = msgspec.json.encode(
        {"negative": converted.output.negative_label, "positive": converted.output.positive_label}
    )
    rules = Rules(converted.output, record.envelope, gate.contract, gate.statistics, forest=forest)
    members[GOLDEN] = make_golden(members, converted.input, rules)
    members[CALIBRATION] = encode_calibration_record(calibration)
    members[VALIDATION] = msgspec.json.format(msgspec.json.encode(validation), indent=1)
    members[TRAINING] = msgspec.json.encode(record)
    members[CARD] = model_card(
        name, record, converted, validation, len(calibration.images), card_notes
    ).encode()
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        input=converted.input,
        output=converted.output,
        envelope=record.envelope,
        provenance=Provenance(
            float_parent_sha256=parent.sha256,
            architecture=record.architecture,
            parameters=record.parameters,
            tools=tool_versions(),
            training_subjects=record.training_subjects,
            training_known=record.training_known,
            contract_inferred=record.contract_inferred,
        ),
        members=describe_members(members),
        licence=LICENCE if record.training_known else UNTOLD,
        data_citation=DATA_CITATION if record.training_known else UNTOLD,
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


def _beside(kind: Also, quantizer: Quantizer) -> bytes:
    """Make one of the TFLite files that are no members of the bundle."""
    if kind == "uint8-io":
        return quantizer.build(TFLITE_MEMBER, io="uint8")
    model = with_features(quantizer.prepared.model)
    with silenced():
        if kind == "float16":
            return to_tflite_float16(model)
        if kind == "dynamic":
            return to_tflite_dynamic(model)
        return to_tflite_int16x8(model, quantizer.real)
