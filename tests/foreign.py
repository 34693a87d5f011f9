"""Networks as others write them, small, and pictures to train, calibrate and compare them with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeleuk.bundle.manifest import InputContract
from edgeleuk.inference.preprocessing import to_batch
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.dataset.cnmc import load_cells
from edgeleuk_convert.dataset.tensors import load_tensors

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SIDE = 32
BYTES = InputContract(
    height=SIDE, width=SIDE, channels=("red", "green", "blue"), normalise=False, px_per_um=1.4,
    crop_px_per_um=18.5,
)  # fmt: skip


def pictures(number: int = 24) -> npt.NDArray[np.uint8]:
    """Return (n, 32, 32, 3) drawn cells, blasts and normal cells in turn, some of them blurred."""
    cells = to_batch(
        [single_cell(label, seed) for seed in range(number // 4) for label in ("blast", "normal")], BYTES
    )
    return np.concatenate([cells, [cv2.GaussianBlur(cell, (0, 0), 1.5) for cell in cells]])


def dense(*, activation: str | None = "sigmoid", seed: int = 3) -> Any:
    """Build a Sequential network that flattens, is dense, and ends in one sigmoid."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(6, 3, activation="relu", bias_initializer="ones"),
            layers.BatchNormalization(momentum=0.8),
            layers.MaxPooling2D(3),
            layers.Flatten(),
            layers.Dense(10, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1, activation=activation),
        ],
        name="dense",
    )


def separable(*, classes: int = 3, seed: int = 3) -> Any:
    """Build a functional network of separable convolutions with swish, that ends in a softmax."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.SeparableConv2D(8, 3, strides=2, padding="same", activation="swish")(x)
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.SeparableConv2D(12, 3, activation="swish")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax")(x), name="separable")


def trained(model: Any) -> Any:
    """Let a network see the pictures for a few steps, so that it tells some of them apart."""
    import keras

    classes = model.output_shape[-1]
    images = pictures().astype(np.float32)
    labels = np.arange(len(images)) % 2
    if classes > 2:
        labels[len(images) // 2 :] = 2  # the blurred ones
    loss = "binary_crossentropy" if classes == 1 else "sparse_categorical_crossentropy"
    model.compile(optimizer=keras.optimizers.Adam(0.003), loss=loss)
    model.fit(images, labels.astype(np.float32), epochs=15, batch_size=8, verbose=0)
    return model


def taught(model: Any, folder: Path) -> Any:
    """Let a network see real cells for a few steps; blasts are class 0 of three, and the only one of one."""
    cells = load_cells(folder).labelled
    images = load_tensors(cells, BYTES).astype(np.float32)
    blast = np.array([cell.label == "blast" for cell in cells])
    single = model.output_shape[-1] == 1
    loss = "binary_crossentropy" if single else "sparse_categorical_crossentropy"
    model.compile(optimizer="adam", loss=loss)
    model.fit(images, (blast if single else ~blast).astype(np.float32), epochs=6, batch_size=16, verbose=0)
    return model
