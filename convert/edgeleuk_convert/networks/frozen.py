"""Wrap a TensorFlow graph that has no layers into one layer, what it begins and ends with taken out of it.

An exported network is a graph. A sigmoid or a softmax at its end would be rounded to int8 with it, so it
becomes a layer that later steps can take off; a rescaling at its start becomes a layer too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

# What passes numbers on as they are.
_PASSING = ("Identity", "StopGradient", "NoOp", "PreventGradient")
_READING = "/ReadVariableOp"
_RESHAPING = ("Reshape", "Squeeze")
_ENDS = {"Sigmoid": "sigmoid", "Softmax": "softmax"}


@dataclass(frozen=True)
class FrozenGraph:
    """A graph whose weights are constants.

    Attributes
    ----------
    graph : tf.compat.v1.GraphDef
    source, sink : str
        Tensors that the picture goes in at, and the answer comes out of.
    rescaling : tuple of two float
        Scale and offset that the graph would apply to its input first.
    activation : str or None
        ``sigmoid`` or ``softmax`` behind `sink`.
    precisions : frozenset of str
        ``float16`` or ``bfloat16``, where the graph computed in them; it computes in float32.
    """

    graph: Any
    source: str
    sink: str
    rescaling: tuple[float, float]
    activation: str | None
    precisions: frozenset[str]


def freeze(function: Any, output: str | None = None) -> FrozenGraph:
    """Freeze a concrete function with one image input.

    Parameters
    ----------
    function : tf ConcreteFunction
    output : str, optional
        Which of its structured outputs; its only one otherwise.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    structured = function.structured_outputs
    index = sorted(structured).index(output) if output is not None else 0
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    image = next(tensor for tensor in frozen.inputs if tensor.dtype.name != "resource")
    answer, activation = _end(frozen.outputs[index])
    start, rescaling = _start(frozen.graph, image)
    graph, precisions = _in_float32(frozen.graph.as_graph_def())
    return FrozenGraph(graph, start.name, answer.name, rescaling, activation, precisions)


def wrapped(frozen: FrozenGraph, image: Any, name: str) -> Any:
    """Return a Keras network of a frozen graph.

    Parameters
    ----------
    frozen : FrozenGraph
    image : keras tensor
        In the graph's own layout, float32.
    name : str

    Returns
    -------
    keras tensor
        The answer, (n, K) where it is a list of numbers.
    """
    from keras import layers

    x = image
    if frozen.rescaling != (1.0, 0.0):
        x = layers.Rescaling(*frozen.rescaling, name="rescaling")(x)
    layer = frozen_layer()(
        graph=frozen.graph.SerializeToString(),
        source=frozen.source,
        sink=frozen.sink,
        name=name,
        dtype="float32",
    )
    x = layer(x)
    if frozen.activation is not None:
        if x.ndim > 2 and np.prod(x.shape[1:]) == x.shape[-1]:
            x = layers.Flatten(name="flat_answer")(x)
        x = layers.Activation(frozen.activation, name=frozen.activation)(x)
    return x


@cache
def frozen_layer() -> Any:
    """Return the class of the layer that holds a graph, made when asked for: TensorFlow takes seconds."""
    import keras
    import tensorflow as tf
    from keras import layers

    class GraphLayer(layers.Layer):  # type: ignore[misc]
        """Holds a frozen graph; its large constants are weights of the layer.

        Parameters
        ----------
        graph : bytes
            A serialized GraphDef.
        source, sink : str
            Names of tensors in it.
        """

        def __init__(self, *, graph: bytes, source: str, sink: str, **options: Any) -> None:
            super().__init__(**options)
            self.graph, self.source, self.sink = graph, source, sink
            definition = tf.compat.v1.GraphDef.FromString(graph)
            names = _names_of_readers(definition)
            self._held: dict[str, Any] = {}
            for node in definition.node:
                if node.op == "Const" and (values := _weights_of(node)) is not None:
                    self._held[node.name] = self.add_weight(
                        shape=values.shape,
                        initializer=keras.initializers.Zeros(),
                        trainable=False,
                        name=names(node.name),
                        dtype=values.dtype.name,
                        autocast=False,
                    )
                    self._held[node.name].assign(values)
            self.built = True
            self._definition = definition
            self._run = tf.function(self._graph, autograph=False)

        def _graph(self, x: Any) -> Any:
            name = self.source.partition(":")[0]
            kind = next(node for node in self._definition.node if node.name == name)
            fed = {self.source: tf.cast(x, _dtype_of(kind, self.source))}
            fed |= {f"{name}:0": tf.convert_to_tensor(weight) for name, weight in self._held.items()}
            (answer,) = tf.graph_util.import_graph_def(
                self._definition, input_map=fed, return_elements=[self.sink], name=""
            )
            return tf.cast(answer, tf.float32)

        def call(self, x: Any) -> Any:
            """Run the graph."""
            return self._run(x)

        def get_config(self) -> dict[str, Any]:
            """Return what makes a copy."""
            return {**super().get_config(), "graph": self.graph, "source": self.source, "sink": self.sink}

    return GraphLayer


def _in_float32(graph: Any) -> tuple[Any, frozenset[str]]:
    """Make a graph that computes in half precision compute in float32."""
    import tensorflow as tf

    single = tf.float32.as_datatype_enum
    halves = {of.as_datatype_enum: of.name for of in (tf.float16, tf.bfloat16)}
    found: set[str] = set()

    def whole(kind: int) -> int:
        if kind not in halves:
            return kind
        found.add(halves[kind])
        return int(single)

    for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
        for attribute in node.attr.values():
            if attribute.type in halves:
                attribute.type = whole(attribute.type)
            if attribute.HasField("tensor") and attribute.tensor.dtype in halves:
                found.add(halves[attribute.tensor.dtype])
                values = tf.make_ndarray(attribute.tensor).astype(np.float32)
                attribute.tensor.CopyFrom(tf.make_tensor_proto(values))
            if any(kind in halves for kind in attribute.list.type):
                attribute.list.type[:] = [whole(kind) for kind in attribute.list.type]
    for function in graph.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            argument.type = whole(argument.type)
    return graph, frozenset(found)


def _names_of_readers(graph: Any) -> Callable[[str], str]:
    """Return what names a constant by the layer that reads it: one that was a variable has but a number."""
    reader = {source: node for node in graph.node for source in node.input}

    def name_of(constant: str) -> str:
        found = constant
        while found in reader and reader[found].op in _PASSING:
            found = reader[found].name
        return found.removesuffix(_READING).replace("/", "_")

    return name_of


def _weights_of(node: Any) -> Any | None:
    import tensorflow as tf

    tensor = node.attr["value"].tensor
    if tensor.dtype != tf.float32.as_datatype_enum:
        return None
    values = tf.make_ndarray(tensor)
    # Single numbers, as an epsilon, stay in the graph.
    return values if values.ndim else None


def _dtype_of(node: Any, tensor: str) -> Any:
    import tensorflow as tf

    for key in ("dtype", "T", "DstT"):
        if key in node.attr:
            return tf.dtypes.as_dtype(node.attr[key].type)
    raise ValueError(tensor)


def _end(tensor: Any) -> tuple[Any, str | None]:
    """Find the tensor before a sigmoid or a softmax that a graph ends in."""
    found = tensor
    flattens = False
    while True:
        operation = found.op
        if operation.type in _PASSING or (operation.type == "Cast" and found.dtype.name == "float32"):
            found = operation.inputs[0]
        elif operation.type in _RESHAPING and tensor.shape.rank == 2:
            found, flattens = operation.inputs[0], True
        elif operation.type in _ENDS:
            before = operation.inputs[0]
            # The numbers of a picture's places are no list of classes.
            if flattens and before.shape[-1] != tensor.shape[-1]:
                return tensor, None
            return before, _ENDS[operation.type]
        else:
            return tensor, None


def _start(graph: Any, image: Any) -> tuple[Any, tuple[float, float]]:
    """Find the tensor behind a rescaling by single numbers that a graph begins with."""
    scale, offset = 1.0, 0.0
    found = image
    while True:
        readers = [op for op in graph.get_operations() if any(of is found for of in op.inputs)]
        if len(readers) != 1:
            return found, (scale, offset)
        (reader,) = readers
        if reader.type in _PASSING or (reader.type == "Cast" and reader.outputs[0].dtype.name == "float32"):
            found = reader.outputs[0]
            continue
        number = _number_beside(reader, found)
        if number is None:
            return found, (scale, offset)
        if reader.type == "Mul":
            scale, offset = scale * number, offset * number
        elif reader.type == "RealDiv":
            scale, offset = scale / number, offset / number
        else:
            offset += -number if reader.type == "Sub" else number
        found = reader.outputs[0]


def _number_beside(operation: Any, tensor: Any) -> float | None:
    """Return the one number that an operation combines a tensor with, where it does no more."""
    import tensorflow as tf

    if operation.type not in ("Mul", "RealDiv", "Sub", "Add", "AddV2") or len(operation.inputs) != 2:
        return None
    left, right = operation.inputs
    if operation.type in ("RealDiv", "Sub") and left is not tensor:
        return None
    other = right if left is tensor else left
    while other.op.type in (*_PASSING, "Cast"):
        other = other.op.inputs[0]
    if other.op.type != "Const":
        return None
    values = tf.make_ndarray(other.op.get_attr("value"))
    return float(values.reshape(())) if values.size == 1 else None
