"""The three ideas of the seed, built for the edge: several stages, global pooling, ReLU6, no dense bulk.

Each is made of operations that int8 TFLite has, and is far below a million parameters. The layers that
they share, and the end that every network of the project has, stand here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk_convert.networks.architectures import OUTPUT_NAME, Keras

if TYPE_CHECKING:
    from edgeleuk.bundle.manifest import InputContract

# Channels of each stage of `baseline`: two plain convolutions, then (but for the last) a pooling.
BASELINE_STAGES = (32, 64, 96, 128)

# Channels of each stage of `inception`: two modules, then (but for the last) a pooling.
INCEPTION_STAGES = (48, 96, 144, 192)

# (channels, residual blocks) of each stage of `resnet`; every stage halves the picture.
RESNET_STAGES = ((32, 2), (48, 2), (72, 2), (96, 2))


def build_baseline(contract: InputContract, *, dtype: str, dropout: float) -> Keras:
    """Build the plain net: four stages of two 3x3 convolutions, pooled in between."""
    from keras import layers

    inputs, x = stem(contract, 16, dtype)
    for stage, channels in enumerate(BASELINE_STAGES, start=1):
        x = layers.MaxPooling2D(2, padding="same", name=f"stage{stage}_pool", dtype=dtype)(x)
        for step in ("a", "b"):
            x = conv_relu6(x, channels, 3, name=f"stage{stage}_{step}", dtype=dtype)
    return ended(inputs, x, "baseline", dtype=dtype, dropout=dropout)


def build_inception(contract: InputContract, *, dtype: str, dropout: float) -> Keras:
    """Build the net of modules: three branches each, 1x1-3x3, 1x1-5x5, pooling-1x1, concatenated."""
    from keras import layers

    inputs, x = stem(contract, 24, dtype)
    for stage, channels in enumerate(INCEPTION_STAGES, start=1):
        x = layers.MaxPooling2D(2, padding="same", name=f"stage{stage}_pool", dtype=dtype)(x)
        for module in (1, 2):
            name = f"stage{stage}_module{module}"
            small = conv_relu6(x, channels * 3 // 8, 1, name=f"{name}_small_reduce", dtype=dtype)
            small = conv_relu6(small, channels // 2, 3, name=f"{name}_small", dtype=dtype)
            large = conv_relu6(x, channels // 8, 1, name=f"{name}_large_reduce", dtype=dtype)
            large = conv_relu6(large, channels // 4, 5, name=f"{name}_large", dtype=dtype)
            pooled = layers.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool", dtype=dtype)(x)
            pooled = conv_relu6(pooled, channels // 4, 1, name=f"{name}_pooled", dtype=dtype)
            x = layers.Concatenate(name=f"{name}_join", dtype=dtype)([small, large, pooled])
    return ended(inputs, x, "inception", dtype=dtype, dropout=dropout)


def build_resnet(contract: InputContract, *, dtype: str, dropout: float) -> Keras:
    """Build the compact residual net: four stages of 3x3 residual blocks.

    At 128x128x4 it has 0.61 million parameters and needs 72 million multiply-adds a cell.
    """
    from keras import layers

    inputs, x = stem(contract, 16, dtype)
    for stage, (channels, blocks) in enumerate(RESNET_STAGES, start=1):
        for block in range(1, blocks + 1):
            name = f"stage{stage}_block{block}"
            stride = 2 if block == 1 else 1
            shortcut = x
            if block == 1:
                shortcut = conv_norm(x, channels, 1, stride, name=f"{name}_shortcut", dtype=dtype)
            x = conv_relu6(x, channels, 3, stride, name=f"{name}_a", dtype=dtype)
            x = conv_norm(x, channels, 3, name=f"{name}_b", dtype=dtype)
            x = layers.Add(name=f"{name}_add", dtype=dtype)([shortcut, x])
            x = layers.ReLU(6.0, name=f"{name}_relu", dtype=dtype)(x)
    return ended(inputs, x, "resnet", dtype=dtype, dropout=dropout)


def stem(contract: InputContract, channels: int, dtype: str) -> tuple[Keras, Keras]:
    """Return the input, and what the first convolution makes of it at half the size."""
    import keras
    from keras import layers

    inputs = keras.Input(contract.shape, name="cell")
    x = layers.Rescaling(1 / 64, -2.0, name="rescaling", dtype=dtype)(inputs)
    # Without padding, so that the rescaling folds into this convolution when it becomes int8.
    return inputs, conv_relu6(x, channels, 3, 2, name="stem", dtype=dtype, padding="valid")


def conv_relu6(
    x: Keras, channels: int, size: int, stride: int = 1, *, name: str, dtype: str, padding: str = "same"
) -> Keras:
    """Apply convolution, batch norm and ReLU6."""
    from keras import layers

    x = conv_norm(x, channels, size, stride, name=name, dtype=dtype, padding=padding)
    return layers.ReLU(6.0, name=f"{name}_relu", dtype=dtype)(x)


def conv_norm(
    x: Keras, channels: int, size: int, stride: int = 1, *, name: str, dtype: str, padding: str = "same"
) -> Keras:
    """Apply a convolution without bias, then batch norm; two of these folded are one int8 operation."""
    from keras import layers

    x = layers.Conv2D(
        channels, size, stride, padding, use_bias=False, kernel_initializer="he_normal",
        name=f"{name}_conv", dtype=dtype,
    )(x)  # fmt: skip
    return layers.BatchNormalization(momentum=0.95, name=f"{name}_norm", dtype=dtype)(x)


def ended(inputs: Keras, x: Keras, name: str, *, dtype: str, dropout: float) -> Keras:
    """Pool over the picture, drop out, and end in one number."""
    import keras
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="pool", dtype=dtype)(x)
    x = layers.Dropout(dropout, name="dropout", dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(1, name=OUTPUT_NAME, dtype="float32")(x), name=name)
