"""Layers of every kind that networks are made of: both converters take them, or name what they cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeleuk.bundle.manifest import InputContract, OutputContract
from edgeleuk.errors import CheckFailedError
from edgeleuk.inference import open_runtime
from edgeleuk_convert.environment import silenced
from edgeleuk_convert.quantization.bias_correction import with_unrolled_recurrence
from edgeleuk_convert.quantization.onnx import to_onnx_float32
from edgeleuk_convert.quantization.prepare import prepare_for_int8
from edgeleuk_convert.quantization.tflite import to_tflite_float32

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIDE = 16
CONTRACT = InputContract(
    height=SIDE,
    width=SIDE,
    channels=("red", "green", "blue"),
    normalise=False,
    px_per_um=1,
    crop_px_per_um=18.5,
)


def attention(x: Any) -> Any:
    from keras import layers

    x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4)(x))
    x = layers.LayerNormalization()(x)
    return layers.GlobalAveragePooling1D()(layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)]))


def recurrent(kind: str) -> Callable[[Any], Any]:
    def build(x: Any) -> Any:
        from keras import layers

        x = layers.Reshape((4, 32))(layers.Conv2D(8, 4, strides=4)(x))
        both = layers.Bidirectional(layers.GRU(3)) if kind == "both" else getattr(layers, kind)(5)
        return both(x)

    return build


def stacked(*build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def of(x: Any) -> Any:
        from keras import layers

        for make in build:
            x = make(x)
        return layers.GlobalAveragePooling2D()(x)

    return of


def layer(name: str, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
    def of(x: Any) -> Any:
        import keras

        return getattr(keras.layers, name)(*arguments, **options)(x)

    return of


KINDS: dict[str, Callable[[Any], Any]] = {
    "gelu": stacked(layer("Conv2D", 8, 3, activation="gelu")),
    "grouped": stacked(layer("Conv2D", 8, 3), layer("Conv2D", 8, 3, groups=4, strides=2, padding="same")),
    "dilated": stacked(layer("Conv2D", 8, 3, dilation_rate=2, padding="same")),
    "transposed": stacked(layer("Conv2DTranspose", 4, 3, strides=2)),
    "enlarged": stacked(layer("UpSampling2D", interpolation="bilinear"), layer("Conv2D", 4, 3)),
    "group norm": stacked(layer("Conv2D", 8, 3), layer("GroupNormalization", 4)),
    "attention": attention,
    "LSTM": recurrent("LSTM"),
    "both ways": recurrent("both"),
    "swish": stacked(
        layer("Conv2D", 8, 3, activation="swish"), layer("AveragePooling2D", 3, 2, padding="same")
    ),
}


def network(build: Callable[[Any], Any]) -> Any:
    import keras

    keras.utils.set_random_seed(3)
    image = keras.Input((SIDE, SIDE, 3))
    return keras.Model(image, keras.layers.Dense(1, name="answer")(build(image)))


def pictures() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(5).integers(0, 255, (3, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_both_converters_answer_as_keras_does(kind: str) -> None:
    model = network(KINDS[kind])
    wanted = np.asarray(model(pictures().astype(np.float32), training=False))
    prepared = prepare_for_int8(model, CONTRACT, OutputContract(kind="logit"))
    with silenced():
        files = {"litert": to_tflite_float32(prepared.model), "onnxruntime": to_onnx_float32(prepared.model)}
        for runtime, file in files.items():
            with open_runtime(runtime, file, CONTRACT) as opened:
                found = opened.predict(pictures()).outputs
            assert found == pytest.approx(wanted, rel=1e-3, abs=1e-3), runtime


def test_recurrence_is_written_out_once() -> None:
    model = network(recurrent("LSTM"))
    unrolled = with_unrolled_recurrence(model)
    assert unrolled is not model
    assert with_unrolled_recurrence(unrolled) is unrolled
    plain = network(KINDS["dilated"])
    assert with_unrolled_recurrence(plain) is plain


def test_what_a_converter_cannot_do_is_named_with_its_layer() -> None:
    import keras

    def strange(x: Any) -> Any:
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.layers.Activation(keras.ops.erfinv, name="strange")(x)

    model = network(strange)
    with silenced(), pytest.raises(CheckFailedError, match=r"ONNX .*: got Erfinv in the layer strange"):
        to_onnx_float32(model)
    with silenced(), pytest.raises(CheckFailedError, match=r"TFLite's .*: got .*[Ee]rfinv") as caught:
        to_tflite_float32(model)
    assert "\n" not in str(caught.value)


def test_a_loop_that_tflite_lacks_is_named() -> None:
    with silenced(), pytest.raises(CheckFailedError, match=r"got TensorList\w+ in the layer lstm") as caught:
        to_tflite_float32(network(recurrent("LSTM")))
    assert "\n" not in str(caught.value)
