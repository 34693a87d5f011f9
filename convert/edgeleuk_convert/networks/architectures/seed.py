"""The three networks this project grew from, as they were described, parameter for parameter.

Nearly all of their parameters lie in one dense layer behind a flattened picture. They are here to be
compared with, at their own size of 200x200.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk_convert.networks.architectures import OUTPUT_NAME, Keras

if TYPE_CHECKING:
    from edgeleuk.bundle.manifest import InputContract

INCEPTION_FILTERS = 5
RESIDUAL_FILTERS = 20


def build_seed_baseline(contract: InputContract, *, dtype: str, dropout: float) -> Keras:
    """Build two convolutions, each with batch norm, pooling and dropout, then a dense layer of 128."""
    inputs, x = _bytes(contract, dtype)
    for number, channels in enumerate((32, 16), start=1):
        x = _pooled(_conv(x, channels, 3, f"conv{number}", dtype), f"conv{number}", dtype, dropout)
    return _ended(inputs, x, (128,), "seed-baseline", dtype)


def build_seed_inception(contract: InputContract, *, dtype: str, dropout: float) -> Keras:
    """Build one module of three branches, a convolution, then dense layers of 1200, 600 and 150."""
    from keras import layers

    inputs, x = _bytes(contract, dtype)
    small = _conv(_conv(x, INCEPTION_FILTERS, 1, "small_reduce", dtype), INCEPTION_FILTERS, 3, "small", dtype)
    large = _conv(_conv(x, INCEPTION_FILTERS, 1, "large_reduce", dtype), INCEPTION_FILTERS, 5, "large", dtype)
    pooled = layers.MaxPooling2D(3, 1, padding="same", name="pool", dtype=dtype)(x)
    pooled = _conv(pooled, INCEPTION_FILTERS, 1, "pooled", dtype)
    x = layers.Concatenate(name="join", dtype=dtype)([small, large, pooled])
    x = _pooled(_conv(x, 16, 3, "conv", dtype), "conv", dtype, dropout)
    return _ended(inputs, x, (1200, 600, 150), "seed-inception", dtype)


def build_seed_resnet(contract: InputContract, *, dtype: str, dropout: float) -> Keras:  # noqa: ARG001  # it has none
    """Build one residual block at full size, then dense layers of 120, 120 and 150."""
    from keras import layers

    inputs, x = _bytes(contract, dtype)
    shortcut = _conv(x, RESIDUAL_FILTERS, 1, "shortcut", dtype, activation=None)
    x = _conv(x, RESIDUAL_FILTERS, 3, "a", dtype)
    x = _conv(x, RESIDUAL_FILTERS, 3, "b", dtype, activation=None)
    x = layers.Add(name="add", dtype=dtype)([shortcut, x])
    x = layers.ReLU(name="relu", dtype=dtype)(x)
    return _ended(inputs, x, (120, 120, 150), "seed-resnet", dtype)


def _bytes(contract: InputContract, dtype: str) -> tuple[Keras, Keras]:
    import keras
    from keras import layers

    inputs = keras.Input(contract.shape, name="cell")
    return inputs, layers.Rescaling(1 / 255, name="rescaling", dtype=dtype)(inputs)


def _conv(
    x: Keras, channels: int, size: int, name: str, dtype: str, *, activation: str | None = "relu"
) -> Keras:
    from keras import layers

    return layers.Conv2D(
        channels, size, padding="same", activation=activation, name=f"{name}_conv", dtype=dtype
    )(x)


def _pooled(x: Keras, name: str, dtype: str, dropout: float) -> Keras:
    from keras import layers

    x = layers.BatchNormalization(name=f"{name}_norm", dtype=dtype)(x)
    x = layers.MaxPooling2D(2, name=f"{name}_pool", dtype=dtype)(x)
    return layers.Dropout(dropout, name=f"{name}_dropout", dtype=dtype)(x)


def _ended(inputs: Keras, x: Keras, dense: tuple[int, ...], name: str, dtype: str) -> Keras:
    import keras
    from keras import layers

    x = layers.Flatten(name="flatten", dtype=dtype)(x)
    for number, units in enumerate(dense, start=1):
        x = layers.Dense(units, activation="relu", name=f"dense{number}", dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(1, name=OUTPUT_NAME, dtype="float32")(x), name=name)
