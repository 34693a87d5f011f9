"""A small network trained in seconds on drawn cells, and faults planted in it that float does not notice."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeleuk.bundle.manifest import Envelope, InputContract, OutputContract

if TYPE_CHECKING:
    from edgeleuk_convert.training.record import TrainingRecord

CONTRACT = InputContract(
    height=32,
    width=32,
    channels=("red", "green", "blue", "mask"),
    normalise=True,
    px_per_um=2.0,
    crop_px_per_um=18.5,
)
FACTOR = 1000.0
CHANNEL = 3


@lru_cache
def drawn_cells(first: int, count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Draw cells of the virtual slide: (n, 32, 32, 4) and whether each is a blast."""
    from edgeleuk.inference.preprocessing import to_batch
    from edgeleuk.virtual.cells import single_cell

    labels = [("blast", "normal")[seed % 2] for seed in range(first, first + count)]
    crops = [single_cell(label, seed) for seed, label in enumerate(labels, start=first)]
    return to_batch(crops, CONTRACT), np.array([label == "blast" for label in labels])


@lru_cache(maxsize=1)
def _weights() -> tuple[npt.NDArray[np.float32], ...]:
    import keras

    model = untrained()
    model.compile(
        keras.optimizers.Adam(3e-3), keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False
    )
    tensors, truth = drawn_cells(1000, 96)
    model.fit(
        tensors.astype(np.float32), truth.astype(np.float32)[:, None], epochs=30, batch_size=16, verbose=0
    )
    return tuple(model.get_weights())


def untrained() -> Any:
    """Build it: a chain of two layers without an activation between them, then a residual stream."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)

    def norm(x: Any, name: str) -> Any:
        return layers.BatchNormalization(momentum=0.8, name=f"{name}_norm")(x)

    inputs = keras.Input(CONTRACT.shape, name="cell")
    x = layers.Rescaling(1 / 64, -2.0, name="rescaling")(inputs)
    x = layers.Conv2D(8, 3, 2, use_bias=False, name="stem_conv")(x)
    x = layers.ReLU(6.0, name="stem_relu")(norm(x, "stem"))
    x = norm(layers.Conv2D(8, 1, use_bias=False, name="project_conv")(x), "project")
    x = layers.Conv2D(12, 3, 2, use_bias=False, name="expand_conv")(x)
    x = layers.ReLU(6.0, name="expand_relu")(norm(x, "expand"))
    stream = norm(layers.Conv2D(12, 1, use_bias=False, name="stream_conv")(x), "stream")
    branch = layers.Conv2D(12, 3, padding="same", use_bias=False, name="inner_conv")(stream)
    branch = layers.ReLU(6.0, name="inner_relu")(norm(branch, "inner"))
    branch = norm(layers.Conv2D(12, 1, use_bias=False, name="branch_conv")(branch), "branch")
    x = layers.Add(name="join")([stream, branch])
    x = layers.Conv2D(16, 1, use_bias=False, name="top_conv")(x)
    x = layers.ReLU(6.0, name="top_relu")(norm(x, "top"))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(1, name="logit")(x), name="small")


def trained() -> Any:
    """Return a fresh copy of the trained network."""
    model = untrained()
    model.set_weights(_weights())
    return model


def with_fault(model: Any, producers: tuple[str, ...], readers: tuple[str, ...]) -> Any:
    """Make one channel of `producers` a thousand times as large, and divide it again where it is read."""
    for name in producers:
        layer = model.get_layer(f"{name}_norm")
        for weight in (layer.gamma, layer.beta):
            values = weight.numpy()
            values[CHANNEL] *= FACTOR
            weight.assign(values)
    for name in readers:
        kernel = model.get_layer(f"{name}_conv").kernel
        values = kernel.numpy()
        values[:, :, CHANNEL] /= FACTOR
        kernel.assign(values)
    return model


def chain_fault() -> Any:
    """Plant a fault that equalization can mend: one layer feeds one other, with nothing in between."""
    return with_fault(trained(), ("project",), ("expand",))


def stream_fault() -> Any:
    """Plant one that it cannot: what is too large is read at two places and added to."""
    return with_fault(trained(), ("stream", "branch"), ("inner", "top"))


def record() -> TrainingRecord:
    """Return a record of the network, as far as a conversion asks for it."""
    from edgeleuk_convert.training.record import TrainingRecord

    return TrainingRecord(
        architecture="resnet",
        parameters=untrained().count_params(),
        input=CONTRACT,
        output=OutputContract(kind="logit"),
        envelope=Envelope(area_um2=(0, 1000)),
        settings={},
        training_subjects=(),
        held_out_subjects=(),
        training_hashes=(),
        tools={},
    )
