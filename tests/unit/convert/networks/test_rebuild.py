"""Networks of every kind become one: flat, float32, channels last; and answer as they did before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from foreign import SIDE, pictures

from edgeleuk.errors import UsageError
from edgeleuk_convert.networks.loading import load_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, of NumPy
    pytest.mark.filterwarnings("ignore:The structure of `inputs`:UserWarning"),  # a list of one
]
TRAINING_ONLY = ("Dropout", "RandomFlip", "RandomRotation", "GaussianNoise", "ActivityRegularization")


def head(x: Any, end: str | None = "sigmoid", classes: int = 1) -> Any:
    from keras import layers

    return layers.Dense(classes, activation=end)(layers.GlobalAveragePooling2D()(x))


def spread(model: Any) -> Any:
    """Give a network weights under which its answers differ from picture to picture."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if hasattr(layer, "layers"):
            spread(layer)
        elif type(layer).__name__ in ("BatchNormalization", "PReLU", "GroupNormalization"):
            layer.set_weights([rng.uniform(0.2, 1.2, w.shape) for w in layer.get_weights()])
    return model


def augmented() -> Any:
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)), layers.RandomFlip(), layers.RandomRotation(0.1),
            layers.Rescaling(1 / 255), layers.GaussianNoise(0.1), layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(), layers.Dense(2), layers.Dropout(0.3), layers.Activation("softmax"),
        ]
    )  # fmt: skip


def nested() -> Any:
    import keras
    from keras import layers

    inner = keras.Input((SIDE, SIDE, 3))
    trunk = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(layers.Normalization(
        mean=[100.0, 110.0, 120.0], variance=[900.0, 1600.0, 2500.0]
    )(inner)))  # fmt: skip
    backbone = keras.Model(inner, trunk, name="backbone")
    top = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2, activation="softmax")])
    return keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), backbone, layers.GlobalAveragePooling2D(), layers.Dropout(0.5), top]
    )


def shared() -> Any:
    """Build a network that calls a layer twice."""
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3))
    conv = layers.Conv2D(3, 3, padding="same", activation="relu")
    x = conv(layers.Rescaling(1 / 255)(image))
    return keras.Model(image, head(layers.Add()([x, conv(x)])))


def of_policy(policy: str) -> Callable[[], Any]:
    def build() -> Any:
        import keras
        from keras import layers

        image = keras.Input((SIDE, SIDE, 3))
        x = layers.Rescaling(1 / 255, dtype=policy)(image)
        x = layers.Conv2D(4, 3, activation="relu", dtype=policy)(x)
        x = layers.GlobalAveragePooling2D(dtype=policy)(layers.BatchNormalization(dtype=policy)(x))
        return keras.Model(image, layers.Dense(1, activation="sigmoid", dtype="float32")(x))

    return build


def channels_first() -> Any:
    """Build what networks with channels first consist of: joins, squeeze and excitation, PReLU."""
    import keras
    from keras import layers

    first: dict[str, Any] = {"data_format": "channels_first"}
    image = keras.Input((3, SIDE, SIDE))
    x = layers.ZeroPadding2D(1, **first)(image)
    x = layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3, **first)(x))
    x = layers.PReLU(shared_axes=[2, 3])(x)
    y = layers.SeparableConv2D(4, 3, padding="same", activation="relu", **first)(x)
    x = layers.MaxPooling2D(**first)(layers.Concatenate(axis=1)([x, y]))
    gate = layers.Reshape((8, 1, 1))(layers.Dense(8)(layers.GlobalAveragePooling2D(**first)(x)))
    x = layers.Multiply()([x, layers.Activation("sigmoid")(gate)])
    x = layers.ReLU()(layers.LayerNormalization(axis=1)(x))
    x = layers.AveragePooling2D(2, **first)(x)
    both = layers.Concatenate()([layers.Flatten()(x), layers.Flatten(**first)(x)])
    return keras.Model(image, layers.Dense(2)(both))


def turned_at_start() -> Any:
    import keras
    from keras import layers

    image = keras.Input((3, SIDE, SIDE))
    x = layers.Rescaling(1 / 127.5, -1)(layers.Permute((2, 3, 1))(image))
    return keras.Model(image, head(layers.Conv2D(4, 3)(x)))


def of_bytes() -> Any:
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3), dtype="uint8", batch_size=4)
    return keras.Model(image, head(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image))))


def as_caffe_wants() -> Any:
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3))
    x = image[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    return keras.Model(image, head(layers.Rescaling(0.01)(layers.Conv2D(4, 3)(x))))


def preprocessed(name: str, factor: float = 1.0) -> Callable[[], Any]:
    """Build with one of Keras's own preprocess_input in it."""

    def build() -> Any:
        import keras
        from keras import layers

        image = keras.Input((SIDE, SIDE, 3))
        x = getattr(keras.applications, name).preprocess_input(image)
        return keras.Model(image, head(layers.Rescaling(factor)(layers.Conv2D(4, 3)(x))))

    return build


def by_operators() -> Any:
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3))
    return keras.Model(image, head(layers.Conv2D(4, 3)(image / 127.5 - 1.0)))


def ends_in_a_picture() -> Any:
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3))
    x = layers.MaxPooling2D(4)(layers.Conv2D(4, 3, padding="same")(layers.Rescaling(1 / 255)(image)))
    return keras.Model(image, layers.Conv2D(2, SIDE // 4, activation="softmax")(x))


def ends_in(end: str, classes: int) -> Callable[[], Any]:
    def build() -> Any:
        import keras
        from keras import layers

        image = keras.Input((SIDE, SIDE, 3))
        x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image))
        return keras.Model(image, head(x, end, classes))

    return build


def answers_in_a_list() -> Any:
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3))
    return keras.Model([image], [head(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image)))])


def gray() -> Any:
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 1))
    return keras.Model(image, head(layers.Conv2D(4, 3)(layers.Normalization(mean=90, variance=400)(image))))


@dataclass(frozen=True)
class Kind:
    """How a kind is built, what is said of it, what comes first and last in it, how near it comes."""

    build: Callable[[], Any]
    note: str | None
    first: str
    last: str
    within: float = 1e-5


KINDS = {
    "augmented": Kind(augmented, None, "Rescaling", "softmax"),
    "nested": Kind(nested, "Normalization", "DepthwiseConv2D", "softmax"),
    "shared": Kind(shared, None, "Rescaling", "sigmoid"),
    "mixed_float16": Kind(of_policy("mixed_float16"), "from mixed_float16", "Rescaling", "sigmoid", 0.01),
    "bfloat16": Kind(of_policy("bfloat16"), "from bfloat16", "Rescaling", "sigmoid", 0.05),
    "channels first": Kind(channels_first, "channels come last", "ZeroPadding2D", "linear", 1e-4),
    "turned at start": Kind(turned_at_start, "channels come last", "Rescaling", "sigmoid"),
    "bytes": Kind(of_bytes, "any batch; it was built for 4", "Rescaling", "sigmoid"),
    "caffe": Kind(as_caffe_wants, None, "DepthwiseConv2D", "sigmoid"),
    "caffe, by Keras": Kind(preprocessed("vgg16", 0.01), None, "DepthwiseConv2D", "sigmoid"),
    "torch, by Keras": Kind(preprocessed("densenet"), None, "Rescaling", "sigmoid"),
    "-1 to 1, by Keras": Kind(preprocessed("mobilenet_v2"), None, "Rescaling", "sigmoid"),
    "operators": Kind(by_operators, None, "Rescaling", "sigmoid"),
    "a picture out": Kind(ends_in_a_picture, r"shape \(n, 1, 1, 2\) is flattened", "Rescaling", "softmax"),
    "logits": Kind(ends_in("linear", 20), None, "Rescaling", "linear"),
    "sigmoid of two": Kind(ends_in("sigmoid", 2), None, "Rescaling", "sigmoid"),
    "a list": Kind(answers_in_a_list, None, "Rescaling", "sigmoid"),
    "gray": Kind(gray, "Normalization", "Rescaling", "sigmoid"),
}  # fmt: skip


def in_own_form(model: Any, images: np.ndarray) -> np.ndarray:
    shape = tuple(model.inputs[0].shape)[1:]
    images = images if 3 in shape else images[..., :1]
    return images.transpose(0, 3, 1, 2) if shape[0] == 3 else images


def compiled(model: Any, images: np.ndarray) -> np.ndarray:
    """Answer as the network was built; XLA convolves channels first on any processor."""
    import tensorflow as tf

    run = tf.function(lambda x: model(x, training=False), autograph=False, jit_compile=True)
    answer = run(tf.constant(images, model.inputs[0].dtype))
    return np.asarray(tf.cast(answer[0] if isinstance(answer, list) else answer, tf.float32)).reshape(
        len(images), -1
    )


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_flat_in_float32_and_answers_as_before(name: str, tmp_path: Path) -> None:
    import keras

    from edgeleuk_convert.networks.ends import activation_name

    keras.utils.set_random_seed(3)
    kind = KINDS[name]
    model = spread(kind.build())
    model.save(tmp_path / "x.keras")
    loaded = load_network(tmp_path / "x.keras")
    images = pictures(8)[:4].astype(np.float32)
    images = images if model.inputs[0].shape[-1] != 1 else images[..., :1]
    wanted = compiled(model, in_own_form(model, images))
    found = np.asarray(loaded.model(images, training=False))
    assert np.ptp(wanted, axis=0).max() > 1e-4
    assert found == pytest.approx(wanted, abs=kind.within)
    assert loaded.difference < 0.05
    assert loaded.model.inputs[0].dtype == "float32"
    assert loaded.model.input_shape == (None, *images.shape[1:])
    layers = loaded.model.layers
    assert {layer.compute_dtype for layer in layers} == {"float32"}
    assert not [layer.name for layer in layers if hasattr(layer, "layers")]
    assert not [layer for layer in layers if type(layer).__name__ in TRAINING_ONLY]
    assert (type(layers[1]).__name__, activation_name(layers[-1])) == (kind.first, kind.last)
    if kind.note is None:
        assert loaded.notes == ()
    else:
        assert any(re.search(kind.note, note) for note in loaded.notes)


def test_a_tanh_of_one_number_becomes_the_sigmoid_that_says_the_same(tmp_path: Path) -> None:
    model = ends_in("tanh", 1)()
    model.save(tmp_path / "x.keras")
    loaded = load_network(tmp_path / "x.keras")
    images = pictures(8).astype(np.float32)
    wanted = (1 + np.asarray(model(images, training=False))) / 2
    assert np.asarray(loaded.model(images, training=False)) == pytest.approx(wanted, abs=1e-6)
    assert loaded.model.layers[-1].activation.__name__ == "sigmoid"
    assert "its tanh at the end, -1 to 1, became the sigmoid that says the same, 0 to 1" in loaded.notes


def test_a_tanh_of_many_is_refused(tmp_path: Path) -> None:
    ends_in("tanh", 3)().save(tmp_path / "x.keras")
    with pytest.raises(UsageError, match="ends in a tanh of 3 numbers: allowed a sigmoid"):
        load_network(tmp_path / "x.keras")


def of_any_size() -> Any:
    import keras
    from keras import layers

    image = keras.Input((None, None, 3))
    return keras.Model(image, head(layers.Conv2D(4, 3)(image)))


@pytest.mark.parametrize("form", ["x.keras", "x"])
def test_a_size_is_chosen(form: str, tmp_path: Path) -> None:
    model = of_any_size()
    model.export(tmp_path / form, verbose=False) if form == "x" else model.save(tmp_path / form)
    with pytest.raises(UsageError, match=r"takes images of any size: .*; pass --size"):
        load_network(tmp_path / form)
    loaded = load_network(tmp_path / form, size=(SIDE, 40))
    assert loaded.model.input_shape == (None, SIDE, 40, 3)
    assert any("takes 32x40 px" in note for note in loaded.notes)


def test_a_fixed_size_is_not_changed(tmp_path: Path) -> None:
    ends_in("sigmoid", 1)().save(tmp_path / "x.keras")
    assert load_network(tmp_path / "x.keras", size=SIDE).model.input_shape == (None, SIDE, SIDE, 3)
    with pytest.raises(UsageError, match="got 64x64, allowed 32x32; leave out --size"):
        load_network(tmp_path / "x.keras", size=64)


def two_outputs() -> Any:
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(image))
    first, second = layers.Dense(1, name="stage")(x), layers.Dense(2, activation="softmax", name="blast")(x)
    return keras.Model(image, {"stage": first, "blast": second})


@pytest.mark.parametrize("form", ["x.keras", "x"])
def test_an_output_is_chosen(form: str, tmp_path: Path) -> None:
    model = two_outputs()
    model.export(tmp_path / form, verbose=False) if form == "x" else model.save(tmp_path / form)
    with pytest.raises(UsageError, match=r"has 2 outputs: got (stage, blast|blast, stage); choose one with"):
        load_network(tmp_path / form)
    with pytest.raises(UsageError, match="no such output: got other"):
        load_network(tmp_path / form, output="other")
    images = pictures(8).astype(np.float32)
    wanted = np.asarray(model(images, training=False)["blast"])
    found = np.asarray(load_network(tmp_path / form, output="blast").model(images, training=False))
    assert found == pytest.approx(wanted, abs=1e-6)
