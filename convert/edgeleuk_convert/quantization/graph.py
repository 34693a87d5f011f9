"""A converted network as a graph of layers: read from TFLite and from ONNX, quantized or not, and matched.

What only changes how numbers are written (quantize, dequantize), their order (transpose, reshape, pad) or is
fused by one converter and not by the other (ReLU, a dense layer's bias) is no layer of its own, so that the
same network has the same layers in every file. ONNX files of a bundle carry no names, and TFLite's are put
together by its fusions: layers are matched by what feeds them, what they are, and their weights, and by name
where that does not tell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edgeleuk.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# An index in TFLite, a name in ONNX.
Key: TypeAlias = "int | str"

KINDS = {
    # TFLite
    "CONV_2D": "conv", "DEPTHWISE_CONV_2D": "depthwise", "FULLY_CONNECTED": "dense", "ADD": "add",
    "MUL": "mul", "CONCATENATION": "concat", "MAX_POOL_2D": "maxpool", "AVERAGE_POOL_2D": "averagepool",
    "MEAN": "mean", "LOGISTIC": "sigmoid", "SOFTMAX": "softmax",
    # ONNX
    "Conv": "conv", "Gemm": "dense", "MatMul": "dense", "Add": "add", "Mul": "mul", "Concat": "concat",
    "MaxPool": "maxpool", "AveragePool": "averagepool", "ReduceMean": "mean", "GlobalAveragePool": "mean",
    "Sigmoid": "sigmoid", "Softmax": "softmax",
}  # fmt: skip
WEIGHTED = ("conv", "depthwise", "dense")
# The same numbers, or their activation: part of the layer before.
SAME = {
    "QUANTIZE", "DEQUANTIZE", "RELU", "RELU6", "CAST",
    "QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "Identity", "Cast",
}  # fmt: skip
ACTIVATIONS = {"RELU", "RELU6", "Relu", "Clip"}
# The same numbers at other places.
MOVED = {
    "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "PAD", "PADV2",
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Pad",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """One layer.

    Attributes
    ----------
    name : str
        Of the Keras layer where the file tells, else of its kind.
    kind : str
        ``conv``, ``add``, ...: the same word for both formats.
    inputs : tuple of Key
        Tensors of other layers that it reads, each named by that layer's `output`.
    output : Key
        Tensor that holds its answer, after activation, quantization and dequantization.
    weights : (taps, inputs, outputs) float64, optional
        Real numbers; a depthwise convolution has one input.
    bias : Key, optional
        Constant that holds its bias.
    operation : Key
        Of the operation in its file: an index in TFLite, the first output's name in ONNX.
    """

    name: str
    kind: str
    inputs: tuple[Key, ...]
    output: Key
    weights: Floats | None
    bias: Key | None
    operation: Key


@dataclass(frozen=True, slots=True)
class Graph:
    """The layers of a network, in an order in which they can be computed.

    Attributes
    ----------
    nodes : tuple of Node
    input : Key
    shapes : mapping of Key to tuple of int
        Of the layers' outputs, where the file tells.
    labels : mapping of Key to str
        Full names of the outputs.
    """

    nodes: tuple[Node, ...]
    input: Key
    shapes: Mapping[Key, tuple[int, ...]]
    labels: Mapping[Key, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Operation:
    """One operation as its file has it."""

    op: str
    inputs: list[Key]
    outputs: list[Key]
    index: int
    grouped: bool = False
    transposed: bool = False


def read_flatbuffer(model: bytes) -> Any:
    """Decode a TFLite file into its schema's objects."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(bytearray(model))


def write_flatbuffer(model: Any) -> bytes:
    """Encode what `read_flatbuffer` gave."""
    from ai_edge_litert.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def tflite_graph(model: bytes) -> Graph:
    """Read the layers of a TFLite network.

    Raises
    ------
    IntegrityError
        It has more than one input.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    flat = read_flatbuffer(model)
    graph = flat.subgraphs[0]
    _require_one([str(graph.tensors[index].name) for index in graph.inputs])
    constants = {
        index: tensor
        for index, tensor in enumerate(graph.tensors)
        if (data := flat.buffers[tensor.buffer].data) is not None and len(data)
    }
    # What computes shapes is no layer.
    whole = (schema.TensorType.INT32, schema.TensorType.INT64)
    shape_keys = {index for index, tensor in enumerate(graph.tensors) if tensor.type in whole}
    operations = []
    for index, operator in enumerate(graph.operators):
        if shape_keys.issuperset(int(i) for i in operator.outputs):
            continue
        code = flat.operatorCodes[operator.opcodeIndex]
        op = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        operations.append(
            _Operation(op, [int(i) for i in operator.inputs], [int(i) for i in operator.outputs], index)
        )
    labels = {index: tensor.name.decode() for index, tensor in enumerate(graph.tensors)}

    def constant(key: Key) -> Floats | None:
        if key not in constants:
            return None
        tensor = constants[key]
        return _real_constant(tensor, bytes(flat.buffers[tensor.buffer].data))

    nodes = _nodes(operations, int(graph.inputs[0]), set(constants) | shape_keys | {-1}, constant, labels)
    shapes = {
        node.output: tuple(int(n) for n in graph.tensors[int(node.output)].shape or ()) for node in nodes
    }
    return Graph(tuple(nodes), int(graph.inputs[0]), shapes, {key: labels[int(key)] for key in shapes})


def onnx_graph(model: bytes) -> Graph:
    """Read the layers of an ONNX network, with or without QDQ pairs.

    Raises
    ------
    IntegrityError
        It has more than one input.
    """
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(model).graph
    stored = {tensor.name: tensor for tensor in proto.initializer}
    _require_one([value.name for value in proto.input if value.name not in stored])
    # A constant is one when it was quantized and dequantized, too: TensorRT's weights are both in turn.
    quantized = {
        node.output[0]: node
        for node in proto.node
        if node.op_type == "QuantizeLinear" and node.input[0] in stored
    }
    dequantized = {
        node.output[0]: node
        for node in proto.node
        if node.op_type == "DequantizeLinear" and (node.input[0] in stored or node.input[0] in quantized)
    }
    operations = []
    for index, node in enumerate(proto.node):
        if node.output[0] in {*quantized, *dequantized} or node.op_type == "Constant":
            continue
        attributes = {attribute.name: attribute for attribute in node.attribute}
        grouped = "group" in attributes and attributes["group"].i > 1
        transposed = "transB" in attributes and bool(attributes["transB"].i)
        operations.append(
            _Operation(node.op_type, list(node.input), list(node.output), index, grouped, transposed)
        )
    constants = (
        {""}
        | set(stored)
        | set(quantized)
        | set(dequantized)
        | {node.output[0] for node in proto.node if node.op_type == "Constant"}
    )

    def constant(key: Key) -> Floats | None:
        if key in stored:
            return np.asarray(numpy_helper.to_array(stored[str(key)]), np.float64)
        if key not in dequantized:
            return None
        node = dequantized[str(key)]
        before = quantized.get(node.input[0])
        value, scale, *zero = (
            np.asarray(numpy_helper.to_array(stored[name]), np.float64)
            for name in (node.input[0] if before is None else before.input[0], *node.input[1:])
        )
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        if scale.size > 1:
            shape = [1] * value.ndim
            shape[axis] = -1
            scale, zero = scale.reshape(shape), [one.reshape(shape) for one in zero]
        if before is not None:
            # TensorRT's zero points are 0.
            value = np.clip(np.rint(value / scale), -128, 127)
        return np.asarray((value - (zero[0] if zero else 0)) * scale)

    source = next(value.name for value in proto.input if value.name not in stored)
    nodes = _nodes(operations, source, constants, constant, {})
    return Graph(tuple(nodes), source, {})


def matched(reference: Graph, other: Graph) -> dict[int, int]:
    """Find the layers of one network in another file of it.

    Returns
    -------
    dict
        Number of a layer of `other` -> number of its counterpart in `reference`. Layers without one are
        missing.
    """
    tensors: dict[Key, Key] = {other.input: reference.input}
    pairs: dict[int, int] = {}
    free = dict(enumerate(reference.nodes))
    for number, node in enumerate(other.nodes):
        sources = [tensors.get(key) for key in node.inputs]
        fed_alike = [
            index
            for index, candidate in free.items()
            if candidate.kind == node.kind and _same_sources(sources, candidate)
        ]
        found = _closest(node, [(index, free[index]) for index in fed_alike])
        if found is None:
            label = _bare(other.labels.get(node.output, ""))
            found = next(
                (
                    index
                    for index, candidate in free.items()
                    if label
                    and candidate.kind == node.kind
                    and _bare(reference.labels.get(candidate.output, "")) == label
                ),
                None,
            )
        if found is not None:
            pairs[number] = found
            tensors[node.output] = free.pop(found).output
    return pairs


def consumers(graph: Graph, key: Key) -> list[int]:
    """Return the numbers of the layers that read a layer's output."""
    return [number for number, node in enumerate(graph.nodes) if key in node.inputs]


def _require_one(inputs: Sequence[str]) -> None:
    if len(inputs) != 1:
        raise IntegrityError(
            "the network cannot be compared layer by layer", got=f"{len(inputs)} inputs", allowed="one"
        )


def _real_constant(tensor: Any, data: bytes) -> Floats:
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.TensorType
    dtypes = {
        kinds.FLOAT32: np.float32, kinds.FLOAT16: np.float16, kinds.INT8: np.int8, kinds.UINT8: np.uint8,
        kinds.INT16: np.int16, kinds.INT32: np.int32, kinds.INT64: np.int64,
    }  # fmt: skip
    if tensor.type not in dtypes:
        return np.zeros(0)
    values = np.frombuffer(data, dtypes[tensor.type]).reshape([int(n) for n in tensor.shape])
    details = tensor.quantization
    if details is None or details.scale is None or not len(details.scale):
        return values.astype(np.float64)
    scale = np.asarray(details.scale, np.float64)
    zero = np.asarray(details.zeroPoint, np.float64)
    if scale.size > 1:
        shape = [1] * values.ndim
        shape[details.quantizedDimension] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return np.asarray((values - zero) * scale)


def _nodes(
    operations: Sequence[_Operation],
    source: Key,
    constants: set[Any],
    constant: Any,
    labels: Mapping[Any, str],
) -> list[Node]:
    """Gather operations into layers."""
    live, readers = _live(operations, source, constants)
    # Where each tensor's numbers come from, as far as a layer or the network's input.
    origin: dict[Key, Key] = {source: source}
    draft: list[dict[str, Any]] = []
    of_output: dict[Key, dict[str, Any]] = {}
    for operation in operations:
        inputs = [key for key in operation.inputs if key in live and key not in constants]
        if not inputs:
            continue
        first = inputs[0]
        layer = of_output.get(origin.get(first, first))
        bias = _is_bias(operation, inputs, layer, readers)
        fused = operation.op in SAME and (
            operation.op not in ACTIVATIONS or (layer is not None and len(readers[first]) == 1)
        )
        if fused or bias or operation.op in MOVED:
            for output in operation.outputs:
                origin[output] = origin.get(first, first)
            if (fused or bias) and layer is not None and layer["output"] == first:
                layer["output"] = operation.outputs[0]
            continue
        weights = next((key for key in operation.inputs if key not in inputs and key in constants), None)
        kind = KINDS.get(operation.op, operation.op.lower())
        values = None
        if kind in WEIGHTED and weights is not None:
            kind, values = _weights(operation, constant(weights))
        third = operation.inputs[2] if len(operation.inputs) > 2 else None
        layer = {
            "kind": kind,
            "inputs": tuple(origin.get(key, key) for key in inputs),
            "output": operation.outputs[0],
            "weights": values,
            "bias": third if values is not None and third not in (None, -1, "") else None,
            "operation": operation.index if isinstance(source, int) else operation.outputs[0],
            "label": _layer_name(
                [
                    labels.get(key, "")
                    for key in (operation.outputs[0], weights if values is not None else None)
                ],
                kind,
            ),
        }
        draft.append(layer)
        for output in operation.outputs:
            origin[output] = operation.outputs[0]
            of_output[output] = layer
    # Inputs name a layer by its first tensor so far; what it holds after its activation is its output.
    last = {layer_key: layer["output"] for layer_key, layer in of_output.items()} | {source: source}
    nodes = [
        Node(
            name=layer["label"],
            kind=layer["kind"],
            inputs=tuple(last.get(key, key) for key in layer["inputs"]),
            output=layer["output"],
            weights=layer["weights"],
            bias=layer["bias"],
            operation=layer["operation"],
        )
        for layer in draft
    ]
    return _without_common_suffix(nodes)


def _live(
    operations: Sequence[_Operation], source: Key, constants: set[Any]
) -> tuple[set[Key], dict[Key, list[_Operation]]]:
    """Find the tensors that depend on the input, and which operations read each of them."""
    live = {source}
    readers: dict[Key, list[_Operation]] = {}
    for operation in operations:
        activations = [key for key in operation.inputs if key in live and key not in constants]
        if activations:
            live.update(operation.outputs)
            for key in activations:
                readers.setdefault(key, []).append(operation)
    return live, readers


def _is_bias(
    operation: _Operation, inputs: Sequence[Key], layer: Mapping[str, Any] | None, readers: Mapping[Key, Any]
) -> bool:
    """Tell a dense layer's or a convolution's bias, added by an operation of its own."""
    return (
        operation.op in ("ADD", "Add")
        and len(inputs) == 1
        and layer is not None
        and layer["kind"] in WEIGHTED
        and len(readers[inputs[0]]) == 1
    )


def _weights(operation: _Operation, values: Floats) -> tuple[str, Floats]:
    """Bring weights to (taps, inputs, outputs)."""
    if operation.op == "CONV_2D":
        return "conv", values.transpose(1, 2, 3, 0).reshape(-1, values.shape[3], values.shape[0])
    if operation.op == "DEPTHWISE_CONV_2D":
        return "depthwise", values.reshape(-1, 1, values.shape[3])
    if operation.op == "Conv":
        kind = "depthwise" if operation.grouped and values.shape[1] == 1 else "conv"
        flat = values.reshape(values.shape[0], values.shape[1], -1)
        return kind, flat.transpose(2, 1, 0)
    if operation.op == "FULLY_CONNECTED" or operation.transposed:
        values = values.T
    return "dense", values[np.newaxis] if values.ndim == 2 else values.reshape(1, -1, values.shape[-1])


def _same_sources(sources: Sequence[Key | None], candidate: Node) -> bool:
    if None in sources or len(sources) != len(candidate.inputs):
        return False
    if candidate.kind in ("add", "mul"):
        return sorted(map(str, sources)) == sorted(map(str, candidate.inputs))
    return list(sources) == list(candidate.inputs)


def _closest(node: Node, candidates: Sequence[tuple[int, Node]]) -> int | None:
    """Return the candidate whose weights point most nearly the same way; the first where none has weights."""
    weights = node.weights
    if weights is None:
        return candidates[0][0] if candidates else None
    alike = [
        (float(np.vdot(weights, other.weights)) / (_norm(weights) * _norm(other.weights)), -index)
        for index, other in candidates
        if other.weights is not None and other.weights.shape == weights.shape
    ]
    return -max(alike)[1] if alike else None


def _norm(values: Floats) -> float:
    return float(np.linalg.norm(values)) or 1.0


def _bare(label: str) -> frozenset[str]:
    """Return the parts of a fused name, without the model's own name and the counters at their ends."""
    parts = (part.partition("/")[2] or part for part in label.split(";"))
    return frozenset(bare for part in parts if (bare := re.sub(r"\d+$", "", part)))


def _layer_name(labels: Sequence[str], kind: str) -> str:
    """Find a Keras layer's name in a fused one: ``net/a_relu/Relu6;net/a_conv/convolution`` -> ``a_conv``.

    Examples
    --------
    >>> _layer_name(["net/a_relu/Relu6;net/a_conv/convolution"], "conv")
    'a_conv'
    >>> _layer_name(["StatefulPartitionedCall:0", "net/logit/MatMul1"], "dense"), _layer_name([""], "mean")
    ('logit', 'mean')
    """
    parts = [part.split("/") for label in labels for part in label.split(";") if part.count("/") >= 2]
    for words in ("convolution", "depthwise", "MatMul"):
        for part in parts:
            if part[-1].startswith(words):
                return part[-2]
    return parts[0][-2] if parts else kind


def _without_common_suffix(nodes: list[Node]) -> list[Node]:
    """Take off the ``_1`` that Keras puts behind every layer's name when a model is traced again."""
    from dataclasses import replace

    named = [node for node in nodes if node.name != node.kind]
    if not named or not all(re.search(r"_\d+$", node.name) for node in named):
        return nodes
    return [replace(node, name=re.sub(r"_\d+$", "", node.name)) if node in named else node for node in nodes]
