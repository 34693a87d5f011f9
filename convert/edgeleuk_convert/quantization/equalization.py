"""Cross-layer equalization: give the channels between two layers one range, which float does not notice.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
2019, section 4.1. Where nothing but positively homogeneous layers, ``f(s x) = s f(x)`` for ``s > 0``,
stands between two layers with weights, channel i may be divided by ``s_i`` in the first and multiplied by
it in the second; ``s_i = sqrt(r1_i r2_i) / r2_i`` makes the ranges ``r1_i``, ``r2_i`` of its weights alike.

The paper puts ReLU in the place of ReLU6, which changes the network. Here ReLU6 stays, and what is on its two
sides is not equalized: the float network is the one that was trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# The ranges of a chain of layers depend on one another: pass over it until they stand still.
SWEEPS = 20
SETTLED = 1e-3
# What equalization may change of the answer, as a share of the largest.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Pair:
    """Two layers with weights and what is between them.

    Attributes
    ----------
    first : keras.layers.Layer
        Convolution.
    norm : keras.layers.BatchNormalization or None
        Right behind it.
    second : keras.layers.Layer
        Convolution or dense layer, the only one that reads the first's channels.
    """

    first: Any
    norm: Any
    second: Any


def equalized(model: Any) -> tuple[Any, int]:
    """Return a copy of a network with equalized channels, and between how many pairs of layers.

    Parameters
    ----------
    model : keras.Model
        Functional or sequential. In float the copy gives the same answers.

    Returns
    -------
    keras.Model, int
        `model` itself and 0 where nothing can be equalized.
    """
    import keras

    names = [tuple(layer and layer.name for layer in (p.first, p.norm, p.second)) for p in pairs(model)]
    if not names:
        return model, 0
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    chain = [Pair(*(name and copy.get_layer(name) for name in of_pair)) for of_pair in names]
    norms = _norms_behind(copy)
    for _ in range(SWEEPS):
        if max(_equalize(pair, norms) for pair in chain) < SETTLED:
            break
    return copy, len(chain)


def pairs(model: Any) -> list[Pair]:
    """Find where a channel's scale may be moved from one layer to the next."""
    from keras import layers

    readers = _readers(model)
    found = []
    for first in model.layers:
        if not isinstance(first, (layers.Conv2D, layers.DepthwiseConv2D)) or _grouped(first):
            continue
        # What is used twice has two readers, or two inputs.
        if not _homogeneous_activation(first) or len(_calls(first)) != 1:
            continue
        norm, layer = None, _only_reader(first, readers)
        if (
            isinstance(layer, layers.BatchNormalization)
            and layer.scale
            and layer.center
            and _is_linear(first)
        ):
            norm, layer = layer, _only_reader(layer, readers)
        while layer is not None and _is_homogeneous(layer):
            layer = _only_reader(layer, readers)
        ends = isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense))
        if ends and not _grouped(layer) and len(_calls(layer)) == 1:
            channels = first.output.shape[-1]
            # A flattening between them makes many inputs of one channel.
            if layer.input.shape[-1] == channels or isinstance(layer, layers.Dense):
                found.append(Pair(first, norm, layer))
    return found


def _equalize(pair: Pair, norms: Mapping[str, Any]) -> float:
    """Move the scales of one pair; return by how much the furthest moved, as a logarithm."""
    channels = pair.first.output.shape[-1]
    r1 = _output_ranges(pair.first, pair.norm)
    r2 = _input_ranges(pair.second, norms.get(pair.second.name), channels)
    live = (r1 > 0) & (r2 > 0)
    s = np.ones(channels)
    s[live] = np.sqrt(r1[live] / r2[live])
    # Powers of two change no digit of a float: what is rounded stays as it was.
    s = np.exp2(np.rint(np.log2(s)))
    _scale_output(pair.first, pair.norm, 1 / s)
    _scale_input(pair.second, s)
    return float(np.abs(np.log(s)).max())


def _output_ranges(layer: Any, norm: Any) -> Floats:
    """Return the largest weight of each output channel, its batch norm folded in."""
    largest = np.abs(_by_output(layer)).max(axis=0)
    return np.asarray(largest * np.abs(_factor(norm)) if norm is not None else largest)


def _input_ranges(layer: Any, norm: Any, channels: int) -> Floats:
    """Return the largest weight that reads each input channel, its batch norm folded in."""
    from keras import layers

    kernel = layer.kernel.numpy().astype(np.float64)
    if isinstance(layer, layers.DepthwiseConv2D):
        factor = 1.0 if norm is None else np.abs(_factor(norm)).reshape(kernel.shape[2:])
        return np.asarray((np.abs(kernel) * factor).max(axis=(0, 1, 3)))
    taps = np.abs(kernel) * (1.0 if norm is None else np.abs(_factor(norm)))
    # Of a flattened picture the channels come round again and again.
    return np.asarray(taps.reshape(-1, channels, kernel.shape[-1]).max(axis=(0, 2)))


def _scale_output(layer: Any, norm: Any, factors: Floats) -> None:
    from keras import layers

    if norm is not None:
        norm.gamma.assign(norm.gamma.numpy() * factors)
        norm.beta.assign(norm.beta.numpy() * factors)
        return
    kernel = layer.kernel.numpy()
    shape = kernel.shape[2:] if isinstance(layer, layers.DepthwiseConv2D) else (kernel.shape[-1],)
    layer.kernel.assign(kernel * factors.reshape(shape))
    if layer.use_bias:
        layer.bias.assign(layer.bias.numpy() * factors)


def _scale_input(layer: Any, factors: Floats) -> None:
    from keras import layers

    kernel = layer.kernel.numpy()
    if isinstance(layer, layers.Dense):
        repeats = kernel.shape[0] // len(factors)
        layer.kernel.assign(kernel * np.tile(factors, repeats)[:, np.newaxis])
    else:
        layer.kernel.assign(kernel * factors[:, np.newaxis])


def _by_output(layer: Any) -> Floats:
    from keras import layers

    kernel = layer.kernel.numpy().astype(np.float64)
    outputs = (
        kernel.shape[2] * kernel.shape[3] if isinstance(layer, layers.DepthwiseConv2D) else kernel.shape[-1]
    )
    return np.asarray(kernel.reshape(-1, outputs))


def _factor(norm: Any) -> Floats:
    variance = norm.moving_variance.numpy().astype(np.float64)
    return np.asarray(norm.gamma.numpy() / np.sqrt(variance + norm.epsilon))


def _norms_behind(model: Any) -> dict[str, Any]:
    """Find the batch norm right behind each layer."""
    from keras import layers

    return {
        source.name: layer
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization)
        and layer.scale
        and (source := getattr(layer.input, "_keras_history", (None,))[0]) is not None
    }


def _readers(model: Any) -> dict[str, list[Any]]:
    """Find the layers that read each layer's output; the network's own output reads its last layer."""
    read: dict[str, list[Any]] = {}
    for layer in model.layers:
        for node in _calls(layer):
            for tensor in node.input_tensors:
                read.setdefault(tensor._keras_history[0].name, []).append(layer)  # noqa: SLF001  # as below
    for tensor in model.outputs:
        read.setdefault(tensor._keras_history[0].name, []).append(None)  # noqa: SLF001  # Keras has no other way
    return read


def _calls(layer: Any) -> list[Any]:
    """Return the places where a layer is used."""
    return list(layer._inbound_nodes)  # noqa: SLF001  # Keras has no other way


def _only_reader(layer: Any, readers: Mapping[str, list[Any]]) -> Any:
    of_layer = readers.get(layer.name, [])
    return of_layer[0] if len(of_layer) == 1 else None


def _grouped(layer: Any) -> bool:
    return getattr(layer, "groups", 1) != 1


def _is_linear(layer: Any) -> bool:
    return getattr(getattr(layer, "activation", None), "__name__", "linear") == "linear"


def _homogeneous_activation(layer: Any) -> bool:
    return getattr(getattr(layer, "activation", None), "__name__", "linear") in (
        "linear",
        "relu",
        "leaky_relu",
    )


def _is_homogeneous(layer: Any) -> bool:
    """Tell layers that work on each channel by itself with f(s x) = s f(x) for s > 0."""
    from keras import layers

    if isinstance(layer, layers.ReLU):
        return layer.max_value is None and not layer.threshold
    if isinstance(layer, layers.Activation):
        return _homogeneous_activation(layer)
    return isinstance(
        layer,
        (
            layers.MaxPooling2D, layers.AveragePooling2D, layers.GlobalAveragePooling2D,
            layers.GlobalMaxPooling2D, layers.ZeroPadding2D, layers.Dropout, layers.LeakyReLU, layers.Flatten,
        ),
    )  # fmt: skip
