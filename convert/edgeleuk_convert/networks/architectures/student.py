"""A trunk that is taught what a larger one sees: a front of its own, then the larger one's blocks, trimmed.

The front takes the place of the larger trunk's stem and first blocks, which see the cell at full size and do
half of its work. It is dense, halves the picture at once and has ReLU6, as 8-bit dot products like it. The
blocks behind it keep the channels that tell: see `edgeleuk_convert.training.trimming`. Both see half of the
larger trunk's pixels a side, so that their maps have the same places. Source of the front's blocks: He et
al., "Deep residual learning", CVPR 2016.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk_convert.networks.architectures.edge import conv_norm, conv_relu6, stem
from edgeleuk_convert.networks.architectures.efficientnet_lite import NARROW_STAGES, STAGES, inverted_block
from edgeleuk_convert.networks.architectures.support_vectors import unfound, with_support_vectors

if TYPE_CHECKING:
    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk_convert.networks.architectures import Keras

STEM_CHANNELS = 16
# Channels, channels within a block, blocks.
FRONT = (48, 32, 2)
# Stages of the larger trunk that the front takes the place of.
FRONT_STAGES = 3
# How the front's layers begin, and where it ends.
FRONT_LAYERS = ("stem", "front")
FRONT_END = "front_end_norm"
# Block of the larger trunk -> of its channels within, so many stay.
WIDTHS = {5: 160, 6: 208, 7: 208, 8: 256, 9: 208, 10: 208}


def build_student(contract: InputContract, *, dtype: str, dropout: float) -> Keras:
    """Build the trunk with support vectors that are still to be found; `dropout` has nothing to drop.

    At 152x152x5 it has 298,000 parameters and needs 150 million multiply-adds a cell.
    """
    import keras
    from keras import layers

    del dropout
    inputs, x = stem(contract, STEM_CHANNELS, dtype)
    channels, inner, blocks = FRONT
    x = conv_relu6(x, channels, 3, 2, name="front", dtype=dtype)
    for block in range(1, blocks + 1):
        name, before = f"front{block}", x
        x = conv_relu6(x, inner, 1, name=f"{name}_a", dtype=dtype)
        x = conv_relu6(x, inner, 3, name=f"{name}_b", dtype=dtype)
        x = conv_norm(x, channels, 1, name=f"{name}_c", dtype=dtype)
        x = layers.Add(name=f"{name}_add", dtype=dtype)([before, x])
        x = layers.ReLU(6.0, name=f"{name}_relu", dtype=dtype)(x)
    *_, channels = STAGES[FRONT_STAGES - 1]
    x = conv_norm(x, channels, 1, name=FRONT_END.removesuffix("_norm"), dtype=dtype)
    number = min(WIDTHS)
    for blocks, kernel, first_stride, _, channels in STAGES[FRONT_STAGES:NARROW_STAGES]:
        for block in range(blocks):
            stride, name = first_stride if block == 0 else 1, f"block{number}"
            x = inverted_block(x, kernel, stride, WIDTHS[number], channels, name=name, dtype=dtype)
            number += 1
    trunk = keras.Model(inputs, x)
    return with_support_vectors(trunk, contract, unfound(trunk, contract), "student")
