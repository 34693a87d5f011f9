"""Look into converted networks for what they promise: integers throughout, plain operations, exact bytes.

What is looked at is the file itself, not what the converter was asked for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeleuk.errors import CheckFailedError
from edgeleuk.inference.quantization import Affine, byte_table, dequantize
from edgeleuk_convert.quantization.audit_onnx import OnnxGraph
from edgeleuk_convert.quantization.bias_correction import MOST_LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from edgeleuk.bundle.manifest import InputContract

# What a file is meant to be, and so which promises it has to keep.
Kind = Literal["float", "int8", "int16x8", "onnx-float", "onnx-int8", "onnx-tensorrt"]

# Bytes by which the input may be off that is called exact.
EXACT = 0.01
_NAMED_AT_MOST = 5
_IN_FLOAT = "computes in float"
_INTEGERS = ("INT8", "UINT8", "INT16")
_FLOATS = ("FLOAT32", "FLOAT16", "BFLOAT16", "FLOAT64")
# Operation -> axis of its weights that its output channels lie on; the weights are its second input.
_WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}


@dataclass(frozen=True, slots=True)
class NetworkAudit:
    """What was found in one file.

    Attributes
    ----------
    member : str
    kind : str
    operations : dict of str to int
        How often each operation occurs.
    float_operations : tuple of str
        Those that compute in float, by name.
    input_error_bytes : float or None
        Largest difference between a byte and what the network gets for it; None where its input is float.
    findings : tuple of str
        Broken promises, each naming its operation or tensor.
    """

    member: str
    kind: Kind
    operations: dict[str, int]
    float_operations: tuple[str, ...]
    input_error_bytes: float | None
    findings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what ``convert --json`` prints and ``validation.json`` keeps."""
        return asdict(self)


def audit(
    member: str,
    model: bytes,
    kind: Kind,
    contract: InputContract,
    *,
    kept: Collection[str] = (),
) -> NetworkAudit:
    """Look into one converted network.

    Parameters
    ----------
    member : str
        Its name, for whoever reads the findings.
    model : bytes
        A TFLite flatbuffer or an ONNX file.
    kind : str
        What it is meant to be.
    contract : InputContract
        How bytes become its input.
    kept : collection of str
        What was left in float on purpose: names of output tensors (TFLite), of nodes (ONNX).
    """
    look: Callable[..., NetworkAudit] = _audit_onnx if kind.startswith("onnx") else _audit_tflite
    return look(member, model, kind, contract, kept)


def audit_with_float(member: str, model: bytes, kind: Kind, contract: InputContract) -> NetworkAudit:
    """Look into a network that may have layers in float: they are told of, and break no promise."""
    found = audit(member, model, kind, contract).float_operations
    kept = {
        title.partition(" (")[0] if kind.startswith("onnx") else title.partition(" at ")[2] for title in found
    }
    return audit(member, model, kind, contract, kept=kept)


def require_kept_promises(audits: Iterable[NetworkAudit]) -> None:
    """Refuse networks with findings.

    Raises
    ------
    CheckFailedError
        Names the file and the first few operations or tensors.
    """
    for of_network in audits:
        if of_network.findings:
            more = len(of_network.findings) - _NAMED_AT_MOST
            only_float = all(finding.endswith(_IN_FLOAT) for finding in of_network.findings)
            other = "replace the layers concerned by ones that the converter can quantize"
            raise CheckFailedError(
                f"{of_network.member} breaks what a bundle promises",
                got="; ".join(of_network.findings[:_NAMED_AT_MOST]) + (f"; and {more} more" * (more > 0)),
                cure=f"pass --repair to leave these layers in float, or {other}" if only_float else other,
            )


def input_error_bytes(affine: Affine, contract: InputContract) -> float:
    """Return by how many bytes the input of a network differs at most from what the contract says.

    0 where each of the 256 bytes has a value of its own.

    Examples
    --------
    >>> from edgeleuk.bundle.manifest import InputContract
    >>> contract = InputContract(
    ...     height=8, width=8, channels=("mask",), normalise=False, px_per_um=1, crop_px_per_um=1
    ... )
    >>> input_error_bytes(Affine(1.0, -128), contract), input_error_bytes(Affine(2.0, -128), contract)
    (0.0, 1.0)
    """
    real = np.arange(256)[:, np.newaxis] * np.asarray(contract.scale) + np.asarray(contract.offset)
    table = byte_table(affine, scale=contract.scale, offset=contract.offset)
    error = np.abs(dequantize(table, affine).reshape(256, -1) - real) / np.abs(contract.scale)
    return round(float(error.max()), 4)


def _input_findings(name: str, affine: Affine, contract: InputContract) -> list[str]:
    """Tell where bytes are rounded though they need not be.

    Zero must have an integer of its own; where 0.0 lies between two bytes, as it does for inputs from -1 to
    1, all are off by up to half a byte, and nothing can be done about it. Nor can it where channels differ
    and int8 has one scale for them all: then a little more is lost.
    """
    if isinstance(contract.scale, tuple) or isinstance(contract.offset, tuple):
        error = input_error_bytes(affine, contract)
        return [] if error <= MOST_LOST else [_rounds(name, error, affine)]
    zero = contract.offset / contract.scale
    error = input_error_bytes(affine, contract)
    if abs(zero - round(zero)) > EXACT or not -255 <= zero <= 0 or error <= EXACT:
        return []
    return [_rounds(name, error, affine)]


def _rounds(name: str, error: float, affine: Affine) -> str:
    return f"input {name} rounds bytes by up to {error:g}, with a scale of {affine.scale:g}"


def _audit_tflite(
    member: str, model: bytes, kind: Kind, contract: InputContract, kept: Collection[str]
) -> NetworkAudit:
    from ai_edge_litert import schema_py_generated as schema

    operators = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    types = {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
    flat = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = flat.subgraphs[0]
    counts: Counter[str] = Counter()
    in_float: list[str] = []
    findings: list[str] = []
    for operator in graph.operators:
        code = flat.operatorCodes[operator.opcodeIndex]
        title = operators[max(code.builtinCode, code.deprecatedBuiltinCode)]
        output = graph.tensors[operator.outputs[0]].name.decode()
        if code.customCode:
            title = code.customCode.decode()
            findings.append(f"{title} at {output} is no operation of TFLite's own")
        counts[title] += 1
        used = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
        if any(types[tensor.type] in _FLOATS for tensor in used):
            in_float.append(f"{title} at {output}")
            # What leads into float and out of it is no fault of its own.
            if kind != "float" and title not in ("QUANTIZE", "DEQUANTIZE") and output not in kept:
                findings.append(f"{title} at {output} {_IN_FLOAT}")
        elif kind != "float" and title in _WEIGHTED:
            findings += _weight_findings(title, graph.tensors[operator.inputs[1]], _WEIGHTED[title])
    error = None
    for direction, indices in (("input", graph.inputs), ("output", graph.outputs)):
        for index in indices:
            tensor = graph.tensors[index]
            name, number = tensor.name.decode(), types[tensor.type]
            if kind != "float" and number not in _INTEGERS:
                findings.append(f"{direction} {name} is {number.lower()}")
            elif kind != "float" and direction == "input":
                affine = _affine(tensor, number.lower())
                error = input_error_bytes(affine, contract)
                findings += _input_findings(name, affine, contract)
    return NetworkAudit(member, kind, dict(sorted(counts.items())), tuple(in_float), error, tuple(findings))


def _affine(tensor: Any, dtype: str) -> Affine:
    quantization = tensor.quantization
    return Affine(float(quantization.scale[0]), int(quantization.zeroPoint[0]), dtype)


def _weight_findings(title: str, weights: Any, axis: int) -> list[str]:
    # Two tensors that both are computed have one scale each.
    channels = int(weights.shape[axis])
    scales = len(weights.quantization.scale) if weights.quantization.scale is not None else 0
    if scales == channels:
        return []
    return [f"weights {weights.name.decode()} of {title} have {scales} scales for {channels} channels"]


def _audit_onnx(
    member: str, model: bytes, kind: Kind, contract: InputContract, kept: Collection[str]
) -> NetworkAudit:
    graph = OnnxGraph(model)
    findings: list[str] = list(graph.foreign_operations())
    affine = None
    if kind != "onnx-float":
        findings += graph.opset_findings()
        findings += graph.unquantized(kept, outputs=kind == "onnx-int8")
        findings += graph.per_tensor_weights(kept)
        affine = graph.input_affine()
    if kind == "onnx-tensorrt":
        findings += graph.tensorrt_findings()
    elif kind == "onnx-int8" and affine is not None:
        findings += _input_findings("input", affine, contract)
    return NetworkAudit(
        member,
        kind,
        graph.operations(),
        graph.float_operations(),
        None if affine is None else input_error_bytes(affine, contract),
        tuple(findings),
    )


def audit_text(audits: Sequence[dict[str, Any]]) -> str:
    """Say for people what each network computes in float, and how its input is read."""
    lines = []
    for of_network in audits:
        floats, error = of_network["float_operations"], of_network["input_error_bytes"]
        if of_network["kind"] in ("float", "onnx-float"):
            continue
        kinds = dict.fromkeys(name.partition(" at ")[0].partition(" (")[0] for name in floats)
        said = (
            f"{len(floats)} operations in float ({', '.join(kinds)})" if floats else "no operation in float"
        )
        taken = (
            "float" if error is None else "exact" if error <= EXACT else f"rounded by up to {error:g} bytes"
        )
        lines.append(f"  {of_network['member']:<28} {said}, input {taken}")
    return "\n".join(lines)
