"""The networks that can be trained, by name.

All take bytes (as float32, 0 to 255) and end in one number named ``logit``. They are built from
operations that int8 TFLite has: convolution, addition, ReLU6, mean, fully connected.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeleuk.bundle.manifest import InputContract

# A network or a tensor of Keras, which has no types.
Keras: TypeAlias = Any

# Name on the command line -> "module:function" that builds it.
ARCHITECTURES: dict[str, str] = {
    "resnet": "edgeleuk_convert.architectures:build_resnet",
}

OUTPUT_NAME = "logit"

# (channels, residual blocks) of each stage of `resnet`; every stage halves the picture.
RESNET_STAGES = ((32, 2), (48, 2), (72, 2), (96, 2))


def build(name: str, contract: InputContract, *, dtype: str = "float32", dropout: float = 0.2) -> Keras:
    """Build an untrained network.

    Parameters
    ----------
    name : str
        A key of `ARCHITECTURES`.
    contract : InputContract
        Gives the shape of the input.
    dtype : str
        ``float32``, or ``mixed_bfloat16`` to train faster; the weights are float32 in both.
    dropout : float
        Share of the pooled features that is dropped in training.

    Returns
    -------
    keras.Model
        (n, H, W, C) float32 bytes -> (n, 1) float32 logit.
    """
    if name not in ARCHITECTURES:
        raise UsageError("unknown architecture", got=name, allowed=", ".join(sorted(ARCHITECTURES)))
    module, _, function = ARCHITECTURES[name].partition(":")
    builder: Callable[..., Keras] = getattr(import_module(module), function)
    return builder(contract, dtype=dtype, dropout=dropout)


def build_resnet(contract: InputContract, *, dtype: str, dropout: float) -> Keras:
    """Build the compact residual net: four stages of 3x3 residual blocks, global average pooling.

    At 128x128x2 it has 0.61 million parameters and needs 71 million multiply-adds a cell.
    """
    import keras
    from keras import layers

    def conv(x: Keras, channels: int, size: int, stride: int, name: str, *, padding: str = "same") -> Keras:
        x = layers.Conv2D(
            channels, size, stride, padding, use_bias=False, kernel_initializer="he_normal",
            name=f"{name}_conv", dtype=dtype,
        )(x)  # fmt: skip
        return layers.BatchNormalization(momentum=0.95, name=f"{name}_norm", dtype=dtype)(x)

    def relu6(x: Keras, name: str) -> Keras:
        return layers.ReLU(6.0, name=name, dtype=dtype)(x)

    inputs = keras.Input(contract.shape, name="cell")
    x = layers.Rescaling(1 / 64, -2.0, name="rescaling", dtype=dtype)(inputs)
    # Without padding, so that the rescaling folds into this convolution when it becomes int8.
    x = relu6(conv(x, 16, 3, 2, "stem", padding="valid"), "stem_relu")
    for stage, (channels, blocks) in enumerate(RESNET_STAGES, start=1):
        for block in range(1, blocks + 1):
            name = f"stage{stage}_block{block}"
            stride = 2 if block == 1 else 1
            shortcut = conv(x, channels, 1, stride, f"{name}_shortcut") if block == 1 else x
            x = relu6(conv(x, channels, 3, stride, f"{name}_a"), f"{name}_a_relu")
            x = conv(x, channels, 3, 1, f"{name}_b")
            x = relu6(layers.Add(name=f"{name}_add", dtype=dtype)([shortcut, x]), f"{name}_relu")
    x = layers.GlobalAveragePooling2D(name="pool", dtype=dtype)(x)
    x = layers.Dropout(dropout, name="dropout", dtype=dtype)(x)
    logit = layers.Dense(1, name=OUTPUT_NAME, dtype="float32")(x)
    return keras.Model(inputs, logit, name="resnet")


def multiply_adds(model: Keras) -> int:
    """Count the multiply-adds of the convolutions and dense layers for one cell."""
    import math

    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        positions = math.prod(layer.output.shape[1:-1])
        total += positions * math.prod(kernel.shape)
    return total
