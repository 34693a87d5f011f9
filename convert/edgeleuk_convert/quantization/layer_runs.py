"""Networks that give the values of every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgeleuk.inference.onnx_session import open_session
from edgeleuk_convert.quantization.graph import (
    Graph,
    Key,
    onnx_graph,
    read_flatbuffer,
    tflite_graph,
    write_flatbuffer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Tensor = npt.NDArray[np.float32]


class LayerNetwork(Protocol):
    """A network whose layers' outputs can be read."""

    graph: Graph

    def values(self, real: Tensor) -> dict[Key, Tensor]:
        """Return every layer's output for one (H, W, C) input, in real numbers, and the input as seen."""
        ...


class PowerSums:
    """Powers of one layer's output, channel by channel, summed over images and positions."""

    def __init__(self) -> None:
        self.signal: Any = 0.0
        self.noise: Any = 0.0
        self.own_signal: Any = 0.0
        self.own_noise: Any = 0.0
        self.own_error: Any = 0.0
        self.positions = 0

    def add(self, reference: Tensor, on_same_input: Tensor, quantized: Tensor) -> None:
        """Add one image."""
        exact, given, got = (
            np.asarray(tensor, np.float64).reshape(-1, tensor.shape[-1])
            for tensor in (reference, on_same_input, quantized)
        )
        self.signal = self.signal + (exact**2).sum(axis=0)
        self.noise = self.noise + ((got - exact) ** 2).sum(axis=0)
        self.own_signal = self.own_signal + (given**2).sum(axis=0)
        self.own_noise = self.own_noise + ((got - given) ** 2).sum(axis=0)
        self.own_error = self.own_error + (got - given).sum(axis=0)
        self.positions += len(exact)


class TfliteNetwork:
    """A TFLite network, float or int8, that keeps every tensor."""

    def __init__(self, model: bytes) -> None:
        self.graph = tflite_graph(model)
        self._interpreter = open_interpreter(model, keep=True)
        self._source = self._interpreter.get_input_details()[0]
        self._details = {details["index"]: details for details in self._interpreter.get_tensor_details()}

    def values(self, real: Tensor) -> dict[Key, Tensor]:
        """Run the network on one (H, W, C) input."""
        scale, zero = self._source["quantization"]
        given = real
        if scale:
            limits = np.iinfo(self._source["dtype"])
            given = np.clip(np.rint(real / scale) + zero, limits.min, limits.max)
        self._interpreter.set_tensor(self._source["index"], given[np.newaxis].astype(self._source["dtype"]))
        self._interpreter.invoke()
        keys = (self.graph.input, *(node.output for node in self.graph.nodes))
        return {key: self._real(int(key)) for key in keys}

    def _real(self, index: int) -> Tensor:
        values = self._interpreter.get_tensor(index)
        scale, zero = self._details[index]["quantization"]
        if not scale:
            return np.asarray(values, np.float32)
        return np.asarray((values.astype(np.float32) - zero) * scale, np.float32)


class OnnxNetwork:
    """An ONNX network that gives every layer's output."""

    def __init__(self, model: bytes) -> None:
        import onnx

        self.graph = onnx_graph(model)
        proto = onnx.load_from_string(model)
        self._names = [str(node.output) for node in self.graph.nodes]
        outside = {output.name for output in proto.graph.output}
        proto.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in self._names if name not in outside
        )
        self._session = open_session(proto.SerializeToString())

    def values(self, real: Tensor) -> dict[Key, Tensor]:
        """Run the network on one (H, W, C) input."""
        answers = self._session.run(self._names, {str(self.graph.input): real[np.newaxis]})
        return dict(zip(self._names, answers, strict=True))


class ApartNetwork:
    """A float network cut into its layers: each is given its input, and none feeds another."""

    def __init__(self, model: bytes, graph: Graph) -> None:
        import copy

        flat = read_flatbuffer(model)
        cut = flat.subgraphs[0]
        fed: dict[int, int] = {}
        self._outputs = [int(node.output) for node in graph.nodes]
        for key in self._outputs:
            twin = copy.copy(cut.tensors[key])
            twin.name = f"given_{key}".encode()
            cut.tensors.append(twin)
            fed[key] = len(cut.tensors) - 1
        for operator in cut.operators:
            operator.inputs = [fed.get(int(key), int(key)) for key in operator.inputs]
        cut.inputs = [int(graph.input), *fed.values()]
        cut.outputs = self._outputs
        # They name inputs and outputs that are no more.
        flat.signatureDefs = []
        self._fed = {
            key: index for key, index in fed.items() if any(index in op.inputs for op in cut.operators)
        }
        cut.inputs = [int(graph.input), *self._fed.values()]
        self._input = int(graph.input)
        self._interpreter = open_interpreter(write_flatbuffer(flat), keep=False)

    def values(self, given: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
        """Return every layer's output on the inputs in `given`."""
        for key, index in {self._input: self._input, **self._fed}.items():
            self._interpreter.set_tensor(index, given[key])
        self._interpreter.invoke()
        return {key: self._interpreter.get_tensor(key) for key in self._outputs}


def open_interpreter(model: bytes, *, keep: bool) -> Any:
    """Open a network; with `keep`, every layer's values stay readable."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Delegates keep what is between their operations to themselves.
    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=keep,
    )
    interpreter.allocate_tensors()
    return interpreter


def laid_out_alike(values: Tensor, like: Tensor, *, channels_first: bool) -> Tensor:
    """Bring an ONNX picture (n, C, H, W) to TFLite's (n, H, W, C)."""
    if channels_first and values.ndim == 4:
        # Where all sides are alike, no shape tells.
        moved = values.transpose(0, 2, 3, 1)
        values = moved if moved.shape == like.shape else values
    return np.ascontiguousarray(values, np.float32).reshape(like.shape)
