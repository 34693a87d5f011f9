"""What rebuilding a network has to know of Keras 3: its graph, and its layers' settings and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

# Keras 2 clips .2 x + .5 to 0 ... 1 by this name; Keras 3 clips x / 6 + .5.
HARD_SIGMOID = "hard_sigmoid of Keras 2"

Caller = Callable[..., Any]


@dataclass(frozen=True)
class LayerFacts:
    """One layer of a network, in the words of Keras 3.

    Attributes
    ----------
    kind : str
        Class name.
    name : str
    config : dict
        For `make`.
    weights : list of numpy.ndarray
        In the layer's own order.
    make : callable
        Builds the layer of a configuration.
    moments : tuple of numpy.ndarray or None
        Mean and variance of a ``Normalization``, which are no weights where they were given.
    """

    kind: str
    name: str
    config: dict[str, Any]
    weights: list[Any]
    make: Callable[[dict[str, Any]], Any]
    moments: tuple[Any, Any] | None = None


@dataclass(frozen=True)
class Operation:
    """What stands in a network's graph and is no layer.

    Attributes
    ----------
    name : str
    arithmetic : str or None
        ``Add``, ``Subtract``, ``Multiply``, ``Divide``, ``Cast``, ``GetItem`` or ``Stack``, where it is one.
    apply : callable
        Does the same to tensors of the new network, given the old arguments with new tensors in them.
    options : mapping
        Of the operation itself.
    """

    name: str
    arithmetic: str | None
    apply: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """A kind of Keras whose networks can be rebuilt."""

    def walk(self, network: Any, tensors: list[Any], call: Caller) -> list[Any]:
        """Call every node of a network's graph in order, with tensors of the new network."""

    def inner(self, operation: Any) -> Any | None:
        """Return the graph of a network within the network; None where it is none."""

    def describe(self, operation: Any) -> LayerFacts | Operation:
        """Tell what a node of the graph does."""


class Keras3:
    """Networks of Keras 3."""

    _ARITHMETIC: Mapping[str, str] = {
        "Add": "Add", "Subtract": "Subtract", "Multiply": "Multiply", "TrueDivide": "Divide",
        "Divide": "Divide", "Cast": "Cast", "GetItem": "GetItem", "Stack": "Stack",
    }  # fmt: skip

    def walk(self, network: Any, tensors: list[Any], call: Caller) -> list[Any]:
        """Call every node of a network's graph in order, with tensors of the new network."""
        from keras import tree

        packed = tensors if len(tensors) > 1 else tensors[0]
        return list(tree.flatten(network._run_through_graph(packed, call_fn=call)))  # noqa: SLF001

    def inner(self, operation: Any) -> Any | None:
        """Return the graph of a network within the network; None where it is none."""
        import keras

        if isinstance(operation, keras.Sequential):
            return operation._functional  # noqa: SLF001 - a Sequential network has no graph of its own
        return operation if isinstance(operation, keras.Model) and operation.inputs else None

    def describe(self, operation: Any) -> LayerFacts | Operation:
        """Tell what a node of the graph does."""
        from keras import layers

        kind = type(operation).__name__
        if not isinstance(operation, layers.Layer):
            return Operation(
                operation.name, self._ARITHMETIC.get(kind), _fresh(operation), _options(operation)
            )
        moments = None
        if isinstance(operation, layers.Normalization):
            moments = (np.asarray(operation.mean), np.asarray(operation.variance))
        return LayerFacts(
            kind,
            operation.name,
            operation.get_config(),
            [np.asarray(weight) for weight in operation.weights],
            type(operation).from_config,
            moments,
        )


def _fresh(operation: Any) -> Any:
    """Copy an operation, so that it counts the nodes of the new network alone."""
    try:
        return type(operation).from_config(_options(operation))
    except (TypeError, ValueError, NotImplementedError):
        return operation


def _options(operation: Any) -> dict[str, Any]:
    try:
        options: dict[str, Any] = dict(operation.get_config())
    except NotImplementedError:
        return {}
    options.pop("name", None)
    if str(options.get("dtype")) in ("float16", "bfloat16"):
        options["dtype"] = "float32"
    return options
