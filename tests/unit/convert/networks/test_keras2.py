"""Networks of Keras 2, in every form that it saved them in, become networks of Keras 3 that answer alike."""

from __future__ import annotations

import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from foreign import SIDE, pictures

from edgeleuk.errors import MissingDependencyError, UsageError
from edgeleuk_convert.networks.ends import activation_name
from edgeleuk_convert.networks.loading import load_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, of NumPy
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning"),
]


@pytest.fixture(scope="module")
def keras2() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tf_keras
    return tf_keras


def teachable(keras: Any) -> Any:
    """Build as Teachable Machine does: a Sequential of Sequentials around a MobileNet's blocks."""
    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(image)
    x = layers.BatchNormalization(axis=[3])(layers.Conv2D(4, 3, strides=2, use_bias=False)(x))
    x = layers.ReLU(6.0)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
    trunk = keras.Sequential([keras.Model(image, x), layers.GlobalAveragePooling2D()])
    top = keras.Sequential(
        [layers.Dense(5, activation="relu", input_shape=(4,)), layers.Dense(2, "softmax", use_bias=False)]
    )
    return keras.Sequential([trunk, top])


def preprocessed(keras: Any) -> Any:
    """Build with preprocess_input in it, and layers called by functions."""
    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(image)
    x = layers.LeakyReLU(alpha=0.2)(layers.Conv2D(4, 3)(layers.RandomFlip()(x)))
    gate = keras.activations.swish(layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    x = layers.Dropout(0.3)(x * layers.Reshape((1, 1, 4))(gate))
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(layers.Flatten()(x)))


def caffe(keras: Any) -> Any:
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.applications.vgg16.preprocess_input(image)
    x = keras.layers.Conv2D(4, 3, kernel_initializer=keras.initializers.RandomNormal(0, 0.005))(x)
    return keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(x)))


def normalized(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.04, 0.05, 0.06])(x)
    x = layers.Conv2D(4, 3, dtype="mixed_float16")(x)
    return keras.Model(image, layers.Dense(2, dtype="float32")(layers.GlobalAveragePooling2D()(x)))


def with_hard_sigmoid(keras: Any) -> Any:
    """Build with Keras 2's hard sigmoid, which is another function than Keras 3's."""
    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3, activation="hard_sigmoid")(layers.Rescaling(1 / 255)(image))
    x = layers.Activation("hard_sigmoid")(layers.Conv2D(4, 3)(x))
    return keras.Model(image, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))


def untranslated(keras: Any) -> Any:
    """Build with a function that Keras 3 has no operation for."""
    import tensorflow as tf

    image = keras.Input((SIDE, SIDE, 3))
    x = tf.image.adjust_contrast(image, 2.0)
    x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(0.01)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(1, activation="sigmoid")(x))


def recurrent(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.AveragePooling2D(4)(layers.Rescaling(1 / 255)(image))
    x = layers.Reshape((7, 7 * 3))(x[:, 1:, :-1])
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    return keras.Model(image, layers.Dense(2, activation="softmax")(layers.GRU(4)(x)))


KINDS: dict[str, tuple[Callable[[Any], Any], str, str, float]] = {
    "teachable": (teachable, "ZeroPadding2D", "softmax", 1e-5),
    "preprocessed": (preprocessed, "Rescaling", "sigmoid", 1e-5),
    "caffe": (caffe, "DepthwiseConv2D", "linear", 1e-3),
    "normalized": (normalized, "Rescaling", "linear", 2e-2),
    "hard sigmoid": (with_hard_sigmoid, "Rescaling", "linear", 1e-5),
    "recurrent": (recurrent, "Rescaling", "softmax", 1e-5),
    "untranslated": (untranslated, "GraphLayer", "sigmoid", 1e-5),
}


# Keras 2 could not save the reversal of channels as .keras, and takes half a minute to save recurrent layers.
NOT_SAVED = (("caffe", "x.keras"), ("recurrent", "x"))
SAVED = [(name, form) for name in KINDS for form in ("x.h5", "x.keras", "x") if (name, form) not in NOT_SAVED]


@pytest.mark.parametrize(("name", "form"), SAVED)
def test_every_form_answers_alike(keras2: Any, name: str, form: str, tmp_path: Path) -> None:
    build, first, last, within = KINDS[name]
    keras2.utils.set_random_seed(3)
    model = build(keras2)
    model.compile("adam", "mse")
    save(model, tmp_path / form)
    loaded = load_network(tmp_path / form)
    images = pictures(8).astype(np.float32)
    wanted = np.asarray(model(images, training=False))
    assert np.ptp(wanted, axis=0).max() > 1e-4
    assert np.asarray(loaded.model(images, training=False)) == pytest.approx(wanted, abs=within)
    layers = loaded.model.layers
    assert {type(layer).__module__.split(".")[0] for layer in layers} <= {"keras", "edgeleuk_convert"}
    assert (type(layers[1]).__name__, activation_name(layers[-1])) == (first, last)
    assert loaded.notes[0].startswith("read with tf-keras 2.")


def save(model: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path, save_format=None if path.suffix else "tf")


def test_a_layer_that_keras_3_lacks_is_named_where_a_graph_stands_for_it(keras2: Any, tmp_path: Path) -> None:
    untranslated(keras2).save(tmp_path / "x.h5")
    notes = load_network(tmp_path / "x.h5").notes
    assert any(
        "kept as a graph, for Keras 3 has no layer for its tf.image.adjust_contrast" in of for of in notes
    )


def test_a_sequential_network_may_be_a_list_of_layers(keras2: Any, tmp_path: Path) -> None:
    import h5py

    layers = keras2.layers
    first = layers.Rescaling(1 / 255, input_shape=(SIDE, SIDE, 3))
    model = keras2.Sequential([first, layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")])
    model.save(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"] = config["config"]["layers"][1:]
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = b"2.2.4"
    loaded = load_network(tmp_path / "x.h5")
    images = pictures(8).astype(np.float32)
    wanted = np.asarray(model(images, training=False))
    assert np.asarray(loaded.model(images, training=False)) == pytest.approx(wanted, abs=1e-6)
    assert loaded.notes[0].endswith("Keras 2.2.4 wrote it")


def test_weights_alone_are_named(keras2: Any, tmp_path: Path) -> None:
    caffe(keras2).save_weights(tmp_path / "x.h5")
    with pytest.raises(UsageError, match="holds weights without the network that they belong to"):
        load_network(tmp_path / "x.h5")


def of_a_lambda(keras: Any) -> Any:
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(2, 3)(keras.layers.Lambda(lambda x: x / 255.0)(image))
    return keras.Model(image, keras.layers.Dense(1, activation="sigmoid")(keras.layers.Flatten()(x)))


@pytest.mark.parametrize("form", ["x.h5", "x.keras"])
def test_code_in_a_file_is_not_run(keras2: Any, form: str, tmp_path: Path) -> None:
    of_a_lambda(keras2).save(tmp_path / form)
    with pytest.raises(UsageError, match=r"has a Lambda, whose code is not run from a file: got lambda"):
        load_network(tmp_path / form)


def test_the_graph_of_an_exported_lambda_needs_no_code(keras2: Any, tmp_path: Path) -> None:
    model = of_a_lambda(keras2)
    save(model, tmp_path / "x")
    loaded = load_network(tmp_path / "x")
    images = pictures(8).astype(np.float32)
    wanted = np.asarray(model(images, training=False))
    assert np.asarray(loaded.model(images, training=False)) == pytest.approx(wanted, abs=1e-5)
    kinds = [type(layer).__name__ for layer in loaded.model.layers]
    assert kinds == ["InputLayer", "Rescaling", "GraphLayer", "Activation"]


def test_without_tf_keras_it_is_said_how_to_install_it(
    keras2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caffe(keras2).save(tmp_path / "x.h5")
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeleuk\[workstation\]'"):
        load_network(tmp_path / "x.h5")
