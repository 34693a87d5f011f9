"""The networks: size, shape, and only operations that int8 has."""

from __future__ import annotations

import numpy as np
import pytest

from edgeleuk.bundle.manifest import InputContract
from edgeleuk.errors import UsageError
from edgeleuk_convert.architectures import ARCHITECTURES, OUTPUT_NAME, build, multiply_adds

INT8_LAYERS = {
    "Add", "BatchNormalization", "Conv2D", "Dense", "Dropout",
    "GlobalAveragePooling2D", "InputLayer", "ReLU", "Rescaling",
}  # fmt: skip


def contract(size: int = 128, channels: tuple[str, ...] = ("luminance", "mask")) -> InputContract:
    """Return an input contract of another shape."""
    return InputContract(
        height=size, width=size, channels=channels, normalise=True, px_per_um=7.4, crop_px_per_um=18.5  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_small_enough_for_the_edge(name: str) -> None:
    model = build(name, contract())
    assert model.count_params() < 1_000_000
    assert multiply_adds(model) < 80e6
    assert {type(layer).__name__ for layer in model.layers} <= INT8_LAYERS
    assert all(layer.max_value == 6 for layer in model.layers if type(layer).__name__ == "ReLU")


@pytest.mark.parametrize(
    ("size", "channels"), [(96, ("luminance", "mask")), (128, ("red", "green", "blue", "mask"))]
)
def test_shape_comes_from_the_contract(size: int, channels: tuple[str, ...]) -> None:
    shape = contract(size, channels)
    model = build("resnet", shape)
    assert model.input_shape == (None, *shape.shape)
    assert model.output_shape == (None, 1)
    assert model.layers[-1].name == OUTPUT_NAME
    answer = np.asarray(model(np.full((2, *shape.shape), 255, np.float32), training=False))
    assert np.isfinite(answer).all()


def test_mixed_precision_keeps_float_weights() -> None:
    model = build("resnet", contract(32), dtype="mixed_bfloat16")
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.layers[-1].compute_dtype == "float32"


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(UsageError, match="unknown architecture: got vgg, allowed resnet"):
        build("vgg", contract())


def test_multiply_adds_by_hand() -> None:
    model = build("resnet", contract(32))
    stem = 15 * 15 * (3 * 3 * 2 * 16)
    assert multiply_adds(model) > stem
    assert multiply_adds(build("resnet", contract(64))) > 3 * multiply_adds(model)
