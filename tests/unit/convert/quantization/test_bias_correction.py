"""What is done to a network before it is rounded to int8: float would not notice, int8 does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.bundle.manifest import InputContract
from edgeleuk.inference.quantization import look_up, real_table
from edgeleuk_convert.quantization.bias_correction import (
    rounding_error,
    with_corrected_biases,
    without_rescaling,
)
from edgeleuk_convert.quantization.tflite import with_features

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CONTRACT = InputContract(
    height=16, width=16, channels=("red", "green", "blue"), normalise=True, px_per_um=6, crop_px_per_um=18.5
)


def network(*, rescaled: bool = True, depthwise: bool = True) -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 64, -2.0)(inputs) if rescaled else inputs
    x = layers.Conv2D(8, 3, use_bias=False, name="first_conv")(x)
    x = layers.BatchNormalization(name="first_norm")(x)
    x = layers.ReLU(6.0)(x)
    if depthwise:
        x = layers.DepthwiseConv2D(3, use_bias=False, name="second_conv")(x)
        x = layers.BatchNormalization(name="second_norm")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 2, layer.gamma.shape).astype(np.float32))
            layer.beta.assign(rng.uniform(-1, 3, layer.beta.shape).astype(np.float32))
    return model


def cells(n: int = 12) -> npt.NDArray[np.float32]:
    """Return a little texture on a flat ground of 150."""
    rng = np.random.default_rng(2)
    return np.clip(150 + rng.normal(0, 6, (n, 16, 16, 3)), 0, 255).astype(np.float32)


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 99))
def test_rounding_moves_no_weight_by_more_than_half_a_step(taps: int, channels: int, seed: int) -> None:
    weights = np.random.default_rng(seed).normal(0, 1, (taps, channels))
    step = np.abs(weights).max(axis=0) / 127
    assert (np.abs(rounding_error(weights)) <= step / 2 + 1e-9).all()
    # The largest of a channel is on the grid already.
    assert rounding_error(weights)[np.abs(weights).argmax(axis=0), np.arange(channels)] == pytest.approx(0)


def test_the_rescaling_moves_into_the_contract() -> None:
    model = network()
    bare, contract = without_rescaling(model, CONTRACT)
    assert (contract.scale, contract.offset) == (1 / 64, -2.0)
    real = cells() * np.float32(contract.scale) + np.float32(contract.offset)
    np.testing.assert_allclose(
        np.asarray(bare(real, training=False)), np.asarray(model(cells(), training=False)), atol=1e-5
    )
    answer, features = with_features(bare)(real, training=False)
    np.testing.assert_allclose(np.asarray(answer), np.asarray(bare(real, training=False)), atol=1e-6)
    assert features.shape == (len(real), 8)
    plain = network(rescaled=False)
    assert without_rescaling(plain, CONTRACT) == (plain, CONTRACT)


def rounded(model: Any) -> Any:
    """Round the folded weights of every convolution, as int8 does."""
    import keras
    from keras import layers

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for name in ("first", "second"):
        conv, norm = copy.get_layer(f"{name}_conv"), copy.get_layer(f"{name}_norm")
        factor = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
        kernel = conv.kernel.numpy().astype(np.float64)
        depthwise = isinstance(conv, layers.DepthwiseConv2D)
        taps = (
            kernel.reshape(-1, kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[3]) * factor
        )
        conv.kernel.assign(((taps + rounding_error(taps)) / factor).reshape(kernel.shape).astype(np.float32))
    return copy


def test_rounded_channels_are_right_on_average() -> None:
    """Without its centre at zero, so that the input's mean is large."""
    import keras

    model = network()
    corrected = with_corrected_biases(model, cells())
    assert corrected is not model

    def channels(of: Any) -> npt.NDArray[np.float64]:
        tap = keras.Model(of.input, of.get_layer("first_norm").output)
        return np.asarray(tap(cells(), training=False), np.float64).mean(axis=(0, 1, 2))

    errors = [np.abs(channels(rounded(one)) - channels(model)).max() for one in (model, corrected)]
    assert errors[1] < 0.02 * errors[0]
    np.testing.assert_array_equal(model.get_layer("first_norm").beta, network().get_layer("first_norm").beta)


def test_a_network_without_batch_norms_stays_as_it_is() -> None:
    import keras
    from keras import layers

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(layers.Conv2D(2, 3)(inputs))))
    assert with_corrected_biases(model, np.zeros((2, 8, 8, 3), np.float32)) is model


@pytest.mark.parametrize(
    ("factors", "moves"), [((1 / 58, 1 / 57, 1 / 57.5), True), ((1 / 58, 1 / 12, 1 / 57), False)]
)
def test_channels_move_into_the_contract_where_bytes_stay_apart(
    factors: tuple[float, ...], moves: bool
) -> None:
    """int8 has one scale for all channels, in which the bytes of a weak one would fall together."""
    import keras
    from keras import layers

    image = keras.Input((16, 16, 3))
    rescaled = layers.DepthwiseConv2D(1, name="rescaling")(image)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, padding="same")(rescaled)))
    model.get_layer("rescaling").set_weights(
        [np.array(factors, np.float32).reshape(1, 1, 3, 1), np.array([-2, -1.5, -2], np.float32)]
    )
    bare, contract = without_rescaling(model, CONTRACT)
    assert (bare is model) != moves
    assert isinstance(contract.scale, tuple) == moves
    real = look_up(real_table(contract.scale, contract.offset), cells().astype(np.uint8))
    wanted = np.asarray(model(cells().astype(np.uint8).astype(np.float32), training=False))
    np.testing.assert_allclose(np.asarray(bare(real, training=False)), wanted, atol=1e-4)
