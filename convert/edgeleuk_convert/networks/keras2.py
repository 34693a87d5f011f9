"""Networks of Keras 2, in the words of Keras 3: settings renamed, functions of TensorFlow as operations."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk_convert.networks.sources import HARD_SIGMOID, LayerFacts, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeleuk_convert.networks.sources import Caller

# Settings that Keras 3 does not have, and that change nothing in use.
_GONE = frozenset(
    {
        "autocast", "batch_input_shape", "fused", "implementation", "input_dim", "input_shape", "ragged",
        "renorm", "renorm_clipping", "renorm_momentum", "sparse", "time_major", "virtual_batch_size",
    }
)  # fmt: skip
_RENAMED = {"alpha": "negative_slope"}
# Layers within a layer.
_WITHIN = ("layer", "backward_layer", "cell")
# Layers of ConvNeXt, which Keras does not offer by name.
_UNNAMED = ("LayerScale", "StochasticDepth")
_FUNCTION_LAYERS = ("TFOpLambda", "SlicingOpLambda")


class UntranslatableError(Exception):
    """Keras 3 has nothing that does the same; the message names the layer."""


class Keras2:
    """Networks of tf-keras."""

    def walk(self, network: Any, tensors: list[Any], call: Caller) -> list[Any]:
        """Call every node of a network's graph in order, with tensors of the new network."""
        import tensorflow as tf

        known: dict[int, Any] = {}
        for old, new in zip(network.inputs, tensors, strict=True):
            known[id(old)] = new

        def renewed(value: Any) -> Any:
            return known[id(value)] if hasattr(value, "_keras_history") else value

        for depth in sorted(network._nodes_by_depth, reverse=True):  # noqa: SLF001 - the graph itself
            for node in network._nodes_by_depth[depth]:  # noqa: SLF001
                if node.is_input:
                    continue
                args = _mapped(renewed, node.call_args)
                kwargs = _mapped(renewed, node.call_kwargs)
                answers = call(node.layer, *args, **kwargs)
                listed = answers if isinstance(answers, (list, tuple)) else [answers]
                for old, new in zip(tf.nest.flatten(node.outputs), listed, strict=True):
                    known[id(old)] = new
        return [known[id(old)] for old in network.outputs]

    def inner(self, operation: Any) -> Any | None:
        """Return the graph of a network within the network; None where it is none."""
        import tf_keras

        graph = isinstance(operation, tf_keras.Model) and getattr(operation, "_nodes_by_depth", None)
        return operation if graph else None

    def describe(self, operation: Any) -> LayerFacts | Operation:
        """Tell what a node of the graph does.

        Raises
        ------
        UntranslatableError
            Keras 3 has nothing that does the same.
        """
        from keras import layers

        kind = type(operation).__name__
        if kind in _FUNCTION_LAYERS:
            return _function(operation)
        made = getattr(layers, _plain(kind), None)
        if kind in _UNNAMED:
            made = getattr(importlib.import_module("keras.src.applications.convnext"), kind)
        if made is None:
            raise UntranslatableError(f"{kind} ({operation.name})")
        moments = None
        if kind == "Normalization":
            moments = (np.asarray(operation.mean), np.asarray(operation.variance))
        return LayerFacts(
            _plain(kind),
            operation.name,
            _config(_plain(kind), operation.get_config()),
            list(operation.get_weights()),
            made.from_config,
            moments,
        )


def _plain(kind: str) -> str:
    """Leave off what old versions wrote behind a layer's name."""
    return {"BatchNormalizationV1": "BatchNormalization", "SyncBatchNormalization": "BatchNormalization"}.get(
        kind, kind
    )


def _config(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer's settings as Keras 3 wants them."""
    kept = {key: _as_list(value) for key, value in config.items() if key not in _GONE}
    if kind in ("DepthwiseConv2D", "DepthwiseConv1D", "SeparableConv2D", "SeparableConv1D"):
        kept.pop("groups", None)
    if kind == "LeakyReLU":
        kept = {_RENAMED.get(key, key): value for key, value in kept.items()}
    if kind == "BatchNormalization" and isinstance(kept.get("axis"), list):
        (kept["axis"],) = kept["axis"]
    for key in _WITHIN:
        if isinstance(inside := kept.get(key), dict):
            kept[key] = _serialized(inside)
    if isinstance(cells := kept.get("cells"), list):
        kept["cells"] = [_serialized(cell) for cell in cells]
    if kept.get("recurrent_activation") == "hard_sigmoid":
        # Keras 3 calls another function so.
        raise UntranslatableError(f"{kind} with Keras 2's hard_sigmoid ({kept.get('name')})")
    if kept.get("activation") == "hard_sigmoid":
        kept["activation"] = HARD_SIGMOID
    return kept


def _serialized(inside: Mapping[str, Any]) -> dict[str, Any]:
    kind = _plain(inside["class_name"])
    return {
        "module": "keras.layers",
        "class_name": kind,
        "registered_name": None,
        "config": _config(kind, inside["config"]),
    }


def _as_list(value: Any) -> Any:
    """Return a tracked list of TensorFlow's as an ordinary one."""
    return [_as_list(of) for of in value] if isinstance(value, (list, tuple)) else value


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """Change every part of nested arguments, slices and ellipses left whole."""
    if isinstance(value, dict):
        if set(value) >= {"start", "stop", "step"}:
            return slice(*(change(value[key]) for key in ("start", "stop", "step")))
        if value.get("class_name") == "__ellipsis__":
            return Ellipsis
        return {key: _mapped(change, of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(change, of) for of in value]
    return change(value)


def _function(layer: Any) -> Operation:
    """Translate a function of TensorFlow that was called on a tensor of the network."""
    from keras import ops

    symbol = layer.get_config()["function"]
    if symbol not in _FUNCTIONS:
        raise UntranslatableError(f"tf.{symbol} ({layer.name})")
    name, parameters = _FUNCTIONS[symbol]
    function = _own(name) or getattr(ops, name)

    def applied(*args: Any, **kwargs: Any) -> Any:
        # Both name their parameters otherwise, and have them in the same order.
        kwargs.pop("name", None)
        given = [*args, *(kwargs.pop(key) for key in parameters[len(args) :] if key in kwargs)]
        try:
            return function(*given, **{key: value for key, value in kwargs.items() if value is not None})
        except (TypeError, ValueError) as error:
            raise UntranslatableError(f"tf.{symbol} ({layer.name})") from error

    arithmetic = _ARITHMETIC.get(name)
    return Operation(layer.name, arithmetic, applied, {"dtype": "float32"} if arithmetic == "Cast" else {})


_ARITHMETIC = {
    "true_divide": "Divide", "subtract": "Subtract", "multiply": "Multiply", "add": "Add", "add_bias": "Add",
    "cast": "Cast", "get_item": "GetItem",
}  # fmt: skip
_BOTH, _OF = ("x", "y"), ("input_tensor", "axis", "keepdims")
# What TensorFlow calls a function -> what Keras 3 calls it, and TensorFlow's names of its parameters.
_FUNCTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "math.truediv": ("true_divide", _BOTH), "math.divide": ("true_divide", _BOTH),
    "realdiv": ("true_divide", _BOTH), "__operators__.truediv": ("true_divide", _BOTH),
    "math.subtract": ("subtract", _BOTH), "subtract": ("subtract", _BOTH),
    "__operators__.sub": ("subtract", _BOTH), "math.multiply": ("multiply", _BOTH),
    "multiply": ("multiply", _BOTH), "__operators__.mul": ("multiply", _BOTH), "math.add": ("add", _BOTH),
    "add": ("add", _BOTH), "__operators__.add": ("add", _BOTH),
    "nn.bias_add": ("add_bias", ("value", "bias", "data_format")), "cast": ("cast", ("x", "dtype")),
    "__operators__.getitem": ("get_item", ("tensor", "slice_spec")), "identity": ("copy", ("input",)),
    "math.negative": ("negative", ("x",)), "math.pow": ("power", _BOTH), "math.abs": ("abs", ("x",)),
    "math.sqrt": ("sqrt", ("x",)), "math.square": ("square", ("x",)), "math.exp": ("exp", ("x",)),
    "math.maximum": ("maximum", _BOTH), "math.minimum": ("minimum", _BOTH),
    "math.reduce_mean": ("mean", _OF), "reduce_mean": ("mean", _OF), "math.reduce_max": ("max", _OF),
    "reduce_max": ("max", _OF), "math.reduce_sum": ("sum", _OF), "reduce_sum": ("sum", _OF),
    "clip_by_value": ("clip", ("t", "clip_value_min", "clip_value_max")),
    "concat": ("concatenate", ("values", "axis")), "reshape": ("reshape", ("tensor", "shape")),
    "transpose": ("transpose", ("a", "perm")), "expand_dims": ("expand_dims", ("input", "axis")),
    "squeeze": ("squeeze", ("input", "axis")), "linalg.matmul": ("matmul", ("a", "b")),
    "nn.relu": ("relu", ("features",)), "nn.relu6": ("relu6", ("features",)),
    "math.sigmoid": ("sigmoid", ("x",)), "nn.sigmoid": ("sigmoid", ("x",)), "math.tanh": ("tanh", ("x",)),
    "nn.tanh": ("tanh", ("x",)), "nn.silu": ("scaled_silu", ("features", "beta")),
    "nn.swish": ("scaled_silu", ("features", "beta")), "nn.softmax": ("softmax", ("logits", "axis")),
    "nn.gelu": ("gelu", ("features", "approximate")), "nn.elu": ("elu", ("features",)),
    "nn.leaky_relu": ("leaky_relu", ("features", "alpha")), "math.softplus": ("softplus", ("features",)),
    "nn.softplus": ("softplus", ("features",)),
}  # fmt: skip


def _own(name: str) -> Callable[..., Any] | None:
    """Return what Keras 3 writes with more than one function."""
    from keras import ops

    def add_bias(value: Any, bias: Any, data_format: str | None = None) -> Any:
        if data_format not in (None, "NHWC", "channels_last"):
            raise ValueError(data_format)
        return ops.add(value, np.asarray(bias, np.float32))

    def scaled_silu(features: Any, beta: float = 1.0) -> Any:
        within = features if beta == 1 else ops.multiply(features, beta)
        return ops.multiply(features, ops.sigmoid(within))

    def get_item(tensor: Any, slice_spec: Any) -> Any:
        return tensor[tuple(slice_spec) if isinstance(slice_spec, list) else slice_spec]

    own: dict[str, Callable[..., Any]] = {
        "add_bias": add_bias, "scaled_silu": scaled_silu, "get_item": get_item,
    }  # fmt: skip
    return own.get(name)
