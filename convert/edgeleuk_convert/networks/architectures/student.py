"""A trunk that is taught what a larger one sees: dense convolutions, few at full size, ReLU6.

The first layers halve the picture at once, and nothing is convolved channel by channel: 8-bit dot products
gain on neither. Blocks are bottlenecks with a shortcut. Its map has the teacher's channels, so that pooling
and heads are the teacher's own. Source of the blocks: He et al., "Deep residual learning", CVPR 2016.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk_convert.networks.architectures.edge import conv_norm, conv_relu6, stem
from edgeleuk_convert.networks.architectures.support_vectors import unfound, with_support_vectors

if TYPE_CHECKING:
    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk_convert.networks.architectures import Keras

STEM_CHANNELS = 16
# (channels, channels within a block, blocks) of each stage; every stage halves the picture.
STAGES = ((32, 16, 1), (80, 48, 3), (160, 64, 3))
MAP_CHANNELS = 112
# Scales and moves the map's channels; begins as the teacher's.
MAP_NORM = "see_norm"


def build_student(contract: InputContract, *, dtype: str, dropout: float) -> Keras:
    """Build the trunk with support vectors that are still to be found; `dropout` has nothing to drop.

    At 192x192x5 it has 430,000 parameters and needs 131 million multiply-adds a cell.
    """
    import keras
    from keras import layers

    del dropout
    inputs, x = stem(contract, STEM_CHANNELS, dtype)
    for stage, (channels, inner, blocks) in enumerate(STAGES, start=1):
        x = conv_relu6(x, channels, 3, 2, name=f"stage{stage}", dtype=dtype)
        for block in range(1, blocks + 1):
            name, before = f"stage{stage}_block{block}", x
            x = conv_relu6(x, inner, 1, name=f"{name}_a", dtype=dtype)
            x = conv_relu6(x, inner, 3, name=f"{name}_b", dtype=dtype)
            x = conv_norm(x, channels, 1, name=f"{name}_c", dtype=dtype)
            x = layers.Add(name=f"{name}_add", dtype=dtype)([before, x])
            x = layers.ReLU(6.0, name=f"{name}_relu", dtype=dtype)(x)
    x = conv_norm(x, MAP_CHANNELS, 1, name=MAP_NORM.removesuffix("_norm"), dtype=dtype)
    trunk = keras.Model(inputs, x)
    return with_support_vectors(trunk, contract, unfound(trunk, contract), "student")
