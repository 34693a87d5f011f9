"""Networks answer with their features beside the output, in every format and in either order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeleuk.bundle.manifest import InputContract
from edgeleuk.errors import BundleError
from edgeleuk.inference import open_runtime
from edgeleuk.inference.runtime import output_roles
from edgeleuk_convert.quantization.tflite import with_features

CONTRACT = InputContract(
    height=8, width=8, channels=("luminance", "mask"), normalise=True, px_per_um=1, crop_px_per_um=1
)


@pytest.mark.parametrize(
    ("widths", "roles"),
    [([1], (0, None)), ([2], (0, None)), ([1, 96], (0, 1)), ([96, 1], (1, 0)), ([5, 2], (1, 0))],
)
def test_the_narrower_output_is_the_answer(widths: list[int], roles: tuple[int, int | None]) -> None:
    assert output_roles(widths) == roles


@pytest.mark.parametrize(("widths", "got"), [([], "none"), ([1, 1], "1, 1"), ([1, 2, 3], "1, 2, 3")])
def test_outputs_that_cannot_be_told_apart_are_refused(widths: list[int], got: str) -> None:
    with pytest.raises(BundleError, match=f"cannot be told apart: got widths {got}, allowed one answer"):
        output_roles(widths)


@pytest.fixture(scope="module")
def network() -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    inputs = keras.Input(CONTRACT.shape)
    x = layers.Rescaling(1 / 64, -2.0)(inputs)
    x = layers.Conv2D(6, 3, 2, "valid", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.2)(x)))


@pytest.fixture(scope="module")
def tensors() -> np.ndarray:
    tensors = np.random.default_rng(0).integers(0, 256, (20, *CONTRACT.shape), np.uint8)
    tensors[0], tensors[1] = 0, 255
    return tensors


# TensorFlow's own notice: the representative images are given, it asks for statistics that it does not use.
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")
def test_every_format_gives_output_and_features(network: Any, tensors: np.ndarray) -> None:
    import onnx

    from edgeleuk_convert.environment import silenced
    from edgeleuk_convert.quantization.onnx import to_onnx_float32, to_onnx_int8
    from edgeleuk_convert.quantization.tflite import to_tflite_float32, to_tflite_int8

    real = tensors.astype(np.float32)
    both = with_features(network)
    expected = [np.asarray(part) for part in both(real, training=False)]
    with silenced():
        float_onnx = to_onnx_float32(both)
        models = {
            ("litert", "float32"): to_tflite_float32(both),
            ("litert", "int8"): to_tflite_int8(both, real),
            ("onnxruntime", "float32"): float_onnx,
            ("onnxruntime", "int8"): to_onnx_int8(float_onnx, real),
        }
    assert [output.name for output in onnx.load_from_string(float_onnx).graph.output] == [
        "output",
        "features",
    ]
    for (runtime, precision), model in models.items():
        answer = open_runtime(runtime, model, CONTRACT).predict(tensors)
        assert answer.features is not None
        for found, wanted in zip((answer.outputs, answer.features), expected, strict=True):
            assert found.shape == wanted.shape
            assert found.dtype == np.float32
            tolerance = 1e-4 if precision == "float32" else 0.05 * float(np.ptp(wanted)) + 0.02
            np.testing.assert_allclose(found, wanted, atol=tolerance)


def test_the_weights_are_shared(network: Any) -> None:
    both = with_features(network)
    assert both.layers[-1].bias is network.layers[-1].bias
    assert len(network.outputs) == 1


def test_a_network_without_a_pooling_over_the_picture_stays_as_it_is() -> None:
    import keras
    from keras import layers

    inputs = keras.Input(CONTRACT.shape)
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(inputs)))
    assert with_features(model) is model


def test_a_single_feature_is_none() -> None:
    import keras
    from keras import layers

    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling2D()(inputs)))
    assert with_features(model) is model
