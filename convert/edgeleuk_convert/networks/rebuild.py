"""Rebuild a network layer by layer: flat, in float32, channels last, without what works in training alone.

The steps after this one look at layers. They see none within a network inside the network, none of Keras 2,
and none that computes in half precision; so all are built anew and given their weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeleuk_convert.networks.affine import AffineChain
from edgeleuk_convert.networks.layer_names import LayerNames
from edgeleuk_convert.networks.layouts import Layouts
from edgeleuk_convert.networks.sources import HARD_SIGMOID, LayerFacts, Operation

if TYPE_CHECKING:
    from edgeleuk_convert.networks.sources import Source

# What does nothing once a network is trained. Random layers are known by their name, RandomCrop apart, which
# cuts out the middle.
TRAINING_ONLY = frozenset(
    {
        "ActivityRegularization", "AlphaDropout", "AugMix", "CutMix", "Dropout", "GaussianDropout",
        "GaussianNoise", "Identity", "MixUp", "RandAugment", "SpatialDropout1D", "SpatialDropout2D",
        "SpatialDropout3D", "StochasticDepth",
    }
)  # fmt: skip
# Needed in training alone, and often of somebody's own making.
_TRAINING_KEYS = ("_regularizer", "_constraint", "_initializer")


class Rebuilder:
    """Builds the layers of one network anew.

    Parameters
    ----------
    source : Source
        The Keras that the network is of.

    Attributes
    ----------
    notes : set of str
        What was done beside copying, for people to read.
    precisions : set of str
        Policies of layers that did not compute in float32.
    """

    def __init__(self, source: Source) -> None:
        self.notes: set[str] = set()
        self.precisions: set[str] = set()
        self._source = source
        self._names = LayerNames()
        self._layouts = Layouts(self._names)
        self._affine = AffineChain(self._names)
        self._layers: dict[int, Any] = {}
        self._named: dict[int, Any] = {}

    def rebuild(self, network: Any, image: Any, *, turned: bool, output: int = 0, name: str) -> Any:
        """Return the network on a new image input.

        Parameters
        ----------
        network : keras.Model or tf_keras.Model
            With one input.
        image : keras tensor
            (n, H, W, C) float32.
        turned : bool
            Whether the network itself takes (n, C, H, W).
        output : int
            Which of its outputs.
        name : str
            Of the new network.

        Returns
        -------
        keras.Model
        """
        import keras

        self._names.take(image.name)
        self._affine.begin(image)
        if turned:
            self._layouts.turn(image)
        answers = self._source.walk(network, [image], self._call)
        answer = self._layouts.native(answers[output])
        if answer is image:
            answer = keras.layers.Identity()(answer)
        self._name_operations(answer)
        return keras.Model(image, answer, name=name)

    def _call(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        from keras import tree

        kwargs.pop("training", None)
        if kwargs.get("mask", self) is None:
            kwargs.pop("mask")
        if not args:
            args = (kwargs.pop(next(iter(kwargs))),)
        inner = self._source.inner(node)
        if inner is not None:
            tensors = [tensor for tensor in tree.flatten((args, kwargs)) if hasattr(tensor, "_keras_history")]
            answers = self._source.walk(inner, tensors, self._call)
            return answers if len(answers) > 1 else answers[0]
        known = self._source.describe(node)
        if isinstance(known, Operation):
            return self._operation(known, args, kwargs)
        if _does_nothing(known):
            return args[0]
        if known.config.get("activation") == HARD_SIGMOID:
            bare = replace(known, config={**known.config, "activation": "linear"})
            return self._clipped(
                args[0] if known.kind == "Activation" else self._layer(node, bare, args, kwargs)
            )
        if known.kind == "Pipeline":
            for layer in node.layers:
                args = (self._call(layer, *args),)
            return args[0]
        return self._layer(node, known, args, kwargs)

    def _operation(self, known: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if known.arithmetic == "Cast" and str(known.options.get("dtype", "")).startswith(("float", "bfloat")):
            return args[0]
        operands = [*args, *kwargs.values()][:2]
        found = self._affine.of_operation(known.arithmetic, operands)
        if found is not None and not self._layouts.is_turned(found[0]):
            return self._affine.applied(*found, known.name)
        picture = self._affine.reversed_picture(known.arithmetic, args)
        if picture is not None and known.options.get("axis") == -1 and not self._layouts.is_turned(picture):
            answer = picture[..., ::-1]
            self._affine.continue_through(picture, answer)
            return answer
        args, kwargs = self._layouts.all_native((args, kwargs))
        apply: Any = known.apply
        if hasattr(apply, "symbolic_call"):
            apply.name = self._names.unique(known.name)
            self._named[id(apply)] = apply
        answer = apply(*args, **kwargs)
        if known.arithmetic == "GetItem":
            self._affine.continue_through(args[0], answer)
            self._affine.note_channel(args[0], answer, args[1] if len(args) > 1 else None)
        return answer

    def _layer(self, node: Any, known: LayerFacts, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = self._affine.of_layer(known, args[0])
        if found is not None and not self._layouts.is_turned(args[0]):
            self._note_normalization(known)
            return self._affine.applied(*found, known.name)
        config, args, turned = self._layouts.arrange(known, args)
        if config is None:
            return args[0]
        fresh = id(node) not in self._layers
        if fresh:
            self._layers[id(node)] = known.make(self._adapted(known.name, config))
        layer = self._layers[id(node)]
        answer = layer(*args, **kwargs)
        if fresh:
            layer.set_weights(self._layouts.weights(known, turned=turned))
        if turned and getattr(answer, "ndim", 0) == 4:
            self._layouts.turn(answer)
        if known.kind in ("Resizing", "CenterCrop", "RandomCrop"):
            self._affine.continue_through(args[0], answer)
        return answer

    def _clipped(self, tensor: Any) -> Any:
        """Return Keras 2's hard sigmoid of a tensor."""
        from keras import layers

        steps = (
            layers.Rescaling(0.2, 0.5, name=self._names.unique("hard")),
            layers.ReLU(1.0, name=self._names.unique("clip")),
        )
        turned = self._layouts.is_turned(tensor)
        for step in steps:
            tensor = step(tensor)
            if turned:
                self._layouts.turn(tensor)
        return tensor

    def _note_normalization(self, known: LayerFacts) -> None:
        if known.kind == "Normalization":
            self.notes.add("its Normalization layer became a convolution of one pixel or a Rescaling")

    def _adapted(self, name: str, config: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in config.items() if not key.endswith(_TRAINING_KEYS)}
        if (was := _dtype_name(config.get("dtype"))) not in ("float32", None):
            self.notes.add(f"rebuilt in float32 from {was}")
            self.precisions.add(was)
        return {**in_float32(kept), "name": self._names.unique(name)}

    def _name_operations(self, answer: Any) -> None:
        """Name the operations that came with a translation: Keras counts them over all networks."""
        from keras import layers

        waiting, seen = [answer], set()
        while waiting:
            operation, place, _ = waiting.pop()._keras_history  # noqa: SLF001 - where a tensor comes from
            if (id(operation), place) in seen:
                continue
            seen.add((id(operation), place))
            if not isinstance(operation, layers.Layer) and id(operation) not in self._named:
                self._named[id(operation)] = operation
                operation.name = self._names.unique(type(operation).__name__.lower())
            waiting.extend(operation._inbound_nodes[place].input_tensors)  # noqa: SLF001 - the same


def in_float32(config: Any) -> Any:
    """Return a layer's configuration with every dtype in it, of layers within it too, as float32.

    Examples
    --------
    >>> in_float32({"units": 2, "dtype": {"config": {"name": "mixed_float16"}}, "layer": {"dtype": None}})
    {'units': 2, 'dtype': 'float32', 'layer': {'dtype': 'float32'}}
    """
    if isinstance(config, dict):
        return {key: "float32" if key == "dtype" else in_float32(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(in_float32(value) for value in config)
    return config


def _dtype_name(dtype: Any) -> str | None:
    if isinstance(dtype, dict):
        dtype = dtype.get("config", {}).get("name")
    return None if dtype is None else str(dtype)


def _does_nothing(known: LayerFacts) -> bool:
    """Tell whether a layer does nothing once the network is trained."""
    if known.kind == "Activation":
        return known.config.get("activation") in ("linear", None)
    return known.kind in TRAINING_ONLY or (known.kind.startswith("Random") and known.kind != "RandomCrop")
