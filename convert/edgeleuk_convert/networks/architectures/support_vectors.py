"""A network that is taken as it is, and support vectors on what it sees within the cell and its nucleus.

In Keras the two are one network, so that it is trained, judged and saved as any other. For the device it is
parted at its map: what comes before becomes int8, what comes after runs in NumPy
(`edgeleuk.bundle.support_vectors`), for it divides by areas and takes roots, and costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.support_vectors import LEAST_VARIANCE, LEAST_WEIGHT, SupportVectors
from edgeleuk.errors import UsageError
from edgeleuk.inference.preprocessing import MASKS

if TYPE_CHECKING:
    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk_convert.networks.architectures import Keras

MAP, FEATURES, STANDARD, VECTORS, LOGIT = "map", "pooled", "standard", "vectors", "logit"
# Only where the support vectors lie in fewer directions than there are features.
PROJECTION = "projection"
# Keras adds it to the variance; next to nothing, for deviations are checked to be above 0.
EPSILON = 1e-9


def with_support_vectors(trunk: Keras, contract: InputContract, support: SupportVectors, name: str) -> Keras:
    """Put pooling and support vectors behind a network that ends in (n, h, w, C).

    Parameters
    ----------
    trunk : keras.Model
    contract : InputContract
        Of `trunk`, with one mask at least.
    support : SupportVectors
    name : str

    Returns
    -------
    keras.Model
        (n, H, W, channels) float32 bytes -> (n, 1) float32 logit.
    """
    import keras
    from keras import layers, ops

    masks = [index for index, channel in enumerate(contract.channels) if channel in MASKS]
    _, rows, columns, channels = trunk.output.shape
    if not masks or contract.height % rows or contract.width % columns:
        raise UsageError(
            f"the input does not suit {name}",
            got=f"{contract.height}x{contract.width}, channels {', '.join(contract.channels)}",
            allowed=f"a mask among the channels, sides that the map's {rows}x{columns} places divide",
        )
    places = rows * columns
    maps = layers.Reshape((places, channels), name=MAP)(trunk.output)
    blocks = layers.AveragePooling2D((contract.height // rows, contract.width // columns), name="shares")(
        trunk.input
    )
    parts = []
    for index in masks:
        share = ops.reshape(blocks[..., index], (-1, places, 1)) / 255.0
        share = share / (ops.sum(share, axis=1, keepdims=True) + LEAST_WEIGHT)
        mean = ops.sum(share * maps, axis=1, keepdims=True)
        variance = ops.sum(share * ops.square(maps - mean), axis=1)
        parts += [ops.reshape(mean, (-1, channels)), ops.sqrt(variance + LEAST_VARIANCE)]
    features = layers.Concatenate(name=FEATURES)(parts)
    z = layers.BatchNormalization(epsilon=EPSILON, center=False, scale=False, name=STANDARD)(features)
    if support.projection is not None:
        z = layers.Dense(support.projection.shape[1], use_bias=False, name=PROJECTION)(z)
    width = features.shape[-1]
    product = layers.Dense(len(support.weights), name=VECTORS)(z)
    squares = ops.sum(ops.square(z), axis=-1, keepdims=True)
    # exp(-|z - v|^2 / F), the product being (2 z v - |v|^2) / F.
    kernel = ops.exp(ops.minimum(product - squares / width, 0.0))
    model = keras.Model(trunk.input, layers.Dense(1, name=LOGIT)(kernel), name=name)
    vectors = support.vectors.astype(np.float32)
    model.get_layer(STANDARD).set_weights([support.mean, support.deviation**2])
    if support.projection is not None:
        model.get_layer(PROJECTION).set_weights([support.projection.astype(np.float32)])
    model.get_layer(VECTORS).set_weights([2 * vectors.T / width, -(vectors**2).sum(axis=1) / width])
    model.get_layer(LOGIT).set_weights([support.weights[:, None], np.array([support.bias], np.float32)])
    return model


def split_trunk_and_head(model: Keras) -> tuple[Keras, SupportVectors | None]:
    """Part a network at its map.

    Returns
    -------
    keras.Model
        Ends in the map, (n, places * channels); the network itself where there is nothing to part.
    SupportVectors or None
    """
    import keras
    from keras import layers

    names = {layer.name for layer in model.layers}
    if not {MAP, FEATURES, STANDARD, VECTORS, LOGIT} <= names:
        return model, None
    flat = layers.Flatten(name="flat_map")(model.get_layer(MAP).input)
    mean, variance = model.get_layer(STANDARD).get_weights()
    kernel, _ = model.get_layer(VECTORS).get_weights()
    weights, bias = model.get_layer(LOGIT).get_weights()
    support = SupportVectors(
        mean=mean,
        deviation=np.sqrt(variance),
        vectors=(kernel.T * mean.size / 2).astype(np.float16),
        weights=weights[:, 0],
        bias=float(bias[0]),
        projection=model.get_layer(PROJECTION).get_weights()[0].astype(np.float16)
        if PROJECTION in names
        else None,
    )
    return keras.Model(model.input, flat, name=model.name), support


def pooling(model: Keras) -> Keras:
    """Return the part of a network that gives its pooled features, (n, F)."""
    import keras

    return keras.Model(model.input, model.get_layer(FEATURES).output)


def trunk_of(model: Keras) -> Keras:
    """Return the part of a network before its map, ending in (n, h, w, C)."""
    import keras

    return keras.Model(model.input, model.get_layer(MAP).input)


def unfound(trunk: Keras, contract: InputContract) -> SupportVectors:
    """Return one support vector that says nothing, until there are some."""
    masks = sum(channel in MASKS for channel in contract.channels)
    width = max(masks, 1) * 2 * trunk.output.shape[-1]
    return SupportVectors(
        np.zeros(width, np.float32),
        np.ones(width, np.float32),
        np.zeros((1, width), np.float16),
        np.zeros(1, np.float32),
        0.0,
    )
