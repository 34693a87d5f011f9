"""Batch norms that no convolution in front of them can take in become convolutions themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk_convert.quantization.bias_correction import activation_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def with_convolved_norms(model: Any) -> Any:
    """Turn each batch norm behind an activation into a depthwise convolution of one pixel with a bias.

    Others' networks often normalise behind the ReLU. No converter can fold that into the convolution before
    it: TFLite multiplies, rounds the product, of which the mean is still a part, to 256 steps, and only then
    subtracts the mean. A convolution does both in 32 bits, with a scale for each channel.

    Parameters
    ----------
    model : keras.Model

    Returns
    -------
    keras.Model
        Answers the same; `model` itself where there is nothing to turn.
    """
    import keras
    from keras import layers

    norms = [layer for layer in model.layers if _stands_alone(layer)]
    if not norms:
        return model
    names = {layer.name for layer in norms}

    def cloned(layer: Any) -> Any:
        if layer.name in names:
            return layers.DepthwiseConv2D(1, name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    def called(layer: Any, *inputs: Any, **options: Any) -> Any:
        # A batch norm was called with a mask, which a convolution does not know.
        return layer(*inputs) if layer.name in names else layer(*inputs, **options)

    turned = keras.models.clone_model(model, clone_function=cloned, call_function=called)
    # A copy's input has another name.
    for layer in (layer for layer in model.layers if layer.weights):
        weights = _of_norm(layer) if layer.name in names else layer.get_weights()
        turned.get_layer(layer.name).set_weights(weights)
    return turned


def _stands_alone(layer: Any) -> bool:
    """Tell whether a layer is a batch norm of pictures that is not right behind a bare convolution."""
    from keras import layers

    if not isinstance(layer, layers.BatchNormalization) or layer.input.ndim != 4:
        return False
    if layer.axis not in (-1, 3):
        return False
    source = getattr(layer.input, "_keras_history", (None,))[0]
    convolutions = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
    return not (isinstance(source, convolutions) and activation_of(source) == "linear")


def _of_norm(norm: Any) -> Sequence[Any]:
    """Return the kernel (1, 1, C, 1) and the bias (C,) that do what a batch norm does in use."""
    variance = norm.moving_variance.numpy().astype(np.float64)
    factor = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        factor *= norm.gamma.numpy()
    bias = -norm.moving_mean.numpy() * factor
    if norm.center:
        bias += norm.beta.numpy()
    return factor.astype(np.float32).reshape(1, 1, -1, 1), bias.astype(np.float32)
