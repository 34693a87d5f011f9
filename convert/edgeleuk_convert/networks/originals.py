"""A network as it was saved: what it takes and gives, and how it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk_convert.networks.frozen import freeze
from edgeleuk_convert.networks.keras2 import Keras2
from edgeleuk_convert.networks.keras_files import tf_keras
from edgeleuk_convert.networks.sources import Keras3

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from edgeleuk_convert.networks.frozen import FrozenGraph
    from edgeleuk_convert.networks.keras_files import Stored
    from edgeleuk_convert.networks.sources import Source


@dataclass(frozen=True)
class Original:
    """A network as it was saved.

    Attributes
    ----------
    name : str
        Of its file.
    title : str
        Its own.
    inputs : tuple of (name, shape, dtype)
        Shapes with the batch in front.
    outputs : tuple of str
        Their names.
    call : callable
        Answers a batch in the network's own form with the list of its outputs.
    notes : tuple of str
    network, source : optional
        Its graph of layers, and whose it is; None where there is only a graph of TensorFlow.
    function : optional
        That graph, to be called.
    """

    name: str
    title: str
    inputs: tuple[tuple[str, tuple[int | None, ...], str], ...]
    outputs: tuple[str, ...]
    call: Callable[[Any], list[Any]] = field(repr=False)
    notes: tuple[str, ...] = ()
    network: Any = field(default=None, repr=False)
    source: Source | None = None
    function: Any = field(default=None, repr=False)

    def frozen(self, shape: tuple[int | None, ...], output: int) -> FrozenGraph:
        """Return the network as a graph with its weights in it, whose input has the shape (n, ...)."""
        import tensorflow as tf

        if self.function is not None:
            return freeze(self.function, self.outputs[output])

        def answer(x: Any) -> Any:
            return self.call(x)[output]

        spec = tf.TensorSpec(shape, self.inputs[0][2])
        return freeze(tf.function(answer, autograph=False).get_concrete_function(spec))

    def answers(self, images: npt.NDArray[Any], output: int) -> npt.NDArray[np.float64]:
        """Answer images in the network's own form, (n, ...), whatever batch it was built for."""
        import tensorflow as tf

        batch = self.inputs[0][1][0]
        rows = len(images) if batch is None else batch
        padded = np.concatenate([images, np.zeros((-len(images) % rows, *images.shape[1:]), images.dtype)])

        def call(x: Any) -> Any:
            return self.call(x)[output]

        parts = []
        for start in range(0, len(padded), rows):
            part = tf.constant(padded[start : start + rows].astype(self.inputs[0][2]))
            try:
                answer = call(part)
            except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError):
                # TensorFlow convolves channels first on a processor only where XLA compiles it.
                answer = tf.function(call, autograph=False, jit_compile=True)(part)
            parts.append(np.asarray(tf.cast(answer, tf.float32), np.float64))
        return np.concatenate(parts)[: len(images)]


def layered(model: Any, name: str, stored: Stored) -> Original:
    """Describe a network of Keras 2 or 3 that has layers."""
    source: Source
    notes: tuple[str, ...] = ()
    if stored.is_keras_2:
        source = Keras2()
        notes = (f"read with tf-keras {tf_keras().__version__}; Keras {stored.version} wrote it",)
    else:
        source = Keras3()
    graph = source.inner(model)

    def call(x: Any) -> list[Any]:
        import tensorflow as tf

        # In the order in which both versions of Keras list a network's outputs.
        return list(tf.nest.flatten(model(x, training=False)))

    return Original(
        name,
        model.name,
        () if graph is None else tuple((_name(of), tuple(of.shape), _dtype(of.dtype)) for of in model.inputs),
        () if graph is None else tuple(model.output_names if stored.is_keras_2 else graph.output_names),
        call,
        notes,
        graph,
        source,
    )


def signature(function: Any, name: str) -> Original:
    """Describe an exported network, which is a function of TensorFlow."""
    specs = function.structured_input_signature[1]
    outputs = tuple(sorted(function.structured_outputs))

    def call(x: Any) -> list[Any]:
        answers = function(**{next(iter(specs)): x})
        return [answers[key] for key in outputs]

    return Original(
        name,
        name,
        tuple(
            (key, tuple(spec.shape) if spec.shape.rank is not None else (), spec.dtype.name)
            for key, spec in specs.items()
        ),
        outputs,
        call,
        ("an exported graph, without layers of its own",),
        function=function,
    )


def _name(tensor: Any) -> str:
    return str(tensor.name).partition(":")[0]


def _dtype(dtype: Any) -> str:
    return str(getattr(dtype, "name", dtype))
