"""An ONNX graph with quantizing and dequantizing nodes, and the questions that an audit asks of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from edgeleuk.inference.quantization import Affine
from edgeleuk_convert.quantization.onnx import MOVING, OPSET

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import numpy as np
    import numpy.typing as npt

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# Operation -> axis of its weights that its output channels lie on; Gemm's depends on transB.
_WEIGHTED = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
_ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "PRelu")


class OnnxGraph:
    """What is asked of a graph, by the names of its nodes.

    Parameters
    ----------
    model : bytes
        An ONNX file.
    """

    def __init__(self, model: bytes) -> None:
        import onnx
        from onnx import numpy_helper

        proto = onnx.load_from_string(model)
        self._opsets = {entry.domain: entry.version for entry in proto.opset_import}
        self._nodes = list(proto.graph.node)
        self._outputs = {output.name for output in proto.graph.output}
        self._input = proto.graph.input[0].name
        self._constants: dict[str, npt.NDArray[np.generic]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer
        }
        self._maker = {output: node for node in self._nodes for output in node.output}
        self._users: dict[str, list[Any]] = defaultdict(list)
        for node in self._nodes:
            for source in node.input:
                self._users[source].append(node)

    def operations(self) -> dict[str, int]:
        """Count the operations."""
        return dict(sorted(Counter(node.op_type for node in self._nodes).items()))

    def foreign_operations(self) -> Iterator[str]:
        """Name the operations that are not ONNX's own."""
        for node in self._nodes:
            if node.domain not in ("", "ai.onnx"):
                yield f"{_title(node)} is of {node.domain}, no operation of ONNX's own"

    def opset_findings(self) -> Iterator[str]:
        """Tell of another version of the operations than the one that is written."""
        version = self._opsets.get("", self._opsets.get("ai.onnx"))
        if version != OPSET:
            yield f"opset {version} instead of {OPSET}"

    def float_operations(self) -> tuple[str, ...]:
        """Name the operations that compute and have an input, or weights, that were never quantized.

        An activation right behind what multiplies or adds is a part of it, and quantized with it.
        """
        return tuple(
            _title(node)
            for node in self._nodes
            if node.op_type not in (QUANTIZE, DEQUANTIZE, *MOVING)
            and not self._is_fused(node)
            and any(
                source
                and not self._is_dequantized(source)
                and (source not in self._constants or (place == 1 and node.op_type in _WEIGHTED))
                for place, source in enumerate(node.input)
            )
        )

    def unquantized(self, kept: Collection[str], *, outputs: bool) -> Iterator[str]:
        """Name what multiplies by weights and does not stand between dequantizing and quantizing nodes."""
        for node in self._weighted(kept):
            for source in node.input[:2]:
                if not self._is_dequantized(source):
                    yield f"{_title(node)} takes {source} in float"
            if outputs and not self._is_quantized(node.output[0]):
                yield f"{_title(node)} gives {node.output[0]} in float"

    def per_tensor_weights(self, kept: Collection[str]) -> Iterator[str]:
        """Name weights that have one scale for all their channels."""
        for node in self._weighted(kept):
            weights = self._weights(node.input[1])
            dequantizer = self._maker.get(node.input[1])
            if weights is None or dequantizer is None:
                continue
            axis = 0 if node.op_type == "Gemm" and _attribute(node, "transB") else _WEIGHTED[node.op_type]
            scales, channels = self._constants[dequantizer.input[1]].size, weights.shape[axis]
            if scales != channels:
                title = f"weights {node.input[1]} of {_title(node)}"
                yield f"{title} have {scales} scales for {channels} channels"

    def tensorrt_findings(self) -> Iterator[str]:
        """Name what TensorRT refuses or cannot fuse."""
        for node in self._nodes:
            if node.op_type in (QUANTIZE, DEQUANTIZE):
                zero = self._constants.get(node.input[2]) if len(node.input) > 2 else None
                tensor = node.input[0]
                if zero is not None and zero.any():
                    yield f"{node.op_type} of {tensor} has the zero point {int(zero.reshape(-1)[0])}"
                number = zero.dtype.name if zero is not None else "uint8"
                source = self._constants.get(tensor)
                if node.op_type == DEQUANTIZE and source is not None and source.dtype.name == "int32":
                    yield f"bias {tensor} is int32"
                elif number != "int8":
                    yield f"{node.op_type} of {tensor} makes {number}"
            elif node.op_type in _ACTIVATIONS and self._is_dequantized(node.input[0]):
                quantizer = self._maker.get(self._maker[node.input[0]].input[0])
                before = self._maker.get(quantizer.input[0]) if quantizer is not None else None
                if before is not None and before.op_type in _WEIGHTED:
                    yield f"{_title(before)} is quantized in front of {_title(node)}"

    def input_affine(self) -> Affine | None:
        """Return how the network's input is quantized; None where it is first computed with."""
        tensor = self._input
        while True:
            users = self._users[tensor]
            if all(node.op_type == QUANTIZE for node in users) and users:
                scale, zero = (self._constants[name] for name in users[0].input[1:3])
                return Affine(float(scale), int(zero), zero.dtype.name)
            if len(users) != 1 or users[0].op_type not in MOVING:
                return None
            tensor = users[0].output[0]

    def _weighted(self, kept: Collection[str]) -> Iterator[Any]:
        return (node for node in self._nodes if node.op_type in _WEIGHTED and node.name not in kept)

    def _weights(self, tensor: str) -> npt.NDArray[np.generic] | None:
        """Return constant weights behind their dequantizing node, and behind a quantizing one before that."""
        while tensor in self._maker and self._maker[tensor].op_type in (QUANTIZE, DEQUANTIZE):
            tensor = self._maker[tensor].input[0]
        return self._constants.get(tensor)

    def _is_fused(self, node: Any) -> bool:
        before = self._maker.get(node.input[0]) if node.op_type in _ACTIVATIONS else None
        return (
            before is not None
            and before.op_type in (*_WEIGHTED, "Add")
            and len(self._users[node.input[0]]) == 1
            and self._is_quantized(node.output[0])
        )

    def _is_dequantized(self, tensor: str) -> bool:
        """Tell whether a tensor comes out of a dequantizing node, moved about or not."""
        node = self._maker.get(tensor)
        while node is not None and node.op_type in MOVING and node.input:
            node = self._maker.get(node.input[0])
        return node is not None and node.op_type == DEQUANTIZE

    def _is_quantized(self, tensor: str) -> bool:
        """Tell whether a tensor goes into nothing but quantizing nodes, through an activation or not."""
        users = self._users[tensor]
        return (
            bool(users)
            and tensor not in self._outputs
            and all(
                node.op_type == QUANTIZE
                or (node.op_type in (*_ACTIVATIONS, *MOVING) and self._is_quantized(node.output[0]))
                for node in users
            )
        )


def _title(node: Any) -> str:
    return f"{node.name or node.op_type} ({node.output[0]})"


def _attribute(node: Any, name: str) -> int:
    return next((int(entry.i) for entry in node.attribute if entry.name == name), 0)
