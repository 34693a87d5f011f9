"""Networks from anywhere are loaded, or refused in one sentence that names what is in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from foreign import SIDE, dense, pictures, separable

from edgeleuk.errors import EdgeleukError, IntegrityError, UsageError
from edgeleuk_convert.networks.loading import hash_of, load_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, of NumPy
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning"),
]


@pytest.mark.parametrize("form", ["x.keras", "x.h5", "x"])
@pytest.mark.parametrize("build", [dense, separable])
def test_every_form_of_a_network_answers_alike(build: Callable[[], Any], form: str, tmp_path: Path) -> None:
    model = build()
    path = tmp_path / form
    model.export(path, verbose=False) if form == "x" else model.save(path)
    loaded = load_network(path)
    images = pictures(8).astype(np.float32)
    found, wanted = (np.asarray(of(images, training=False)) for of in (loaded.model, model))
    assert found == pytest.approx(wanted, abs=1e-5)
    assert loaded.model.input_shape == (None, SIDE, SIDE, 3)
    assert len(loaded.sha256) == 64


def test_a_hash_depends_on_every_file_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    before = hash_of(tmp_path)
    (tmp_path / "a" / "y").write_bytes(b"")
    after = hash_of(tmp_path)
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "z")
    assert len({before, after, hash_of(tmp_path)}) == 3


def custom(path: Path) -> None:
    import keras

    class Squash(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x / 2

    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Flatten()(Squash()(image))
    keras.Model(image, keras.layers.Dense(1)(x)).save(path)


def a_lambda(path: Path) -> None:
    import keras

    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Flatten()(keras.layers.Lambda(lambda x: x / 2)(image))
    keras.Model(image, keras.layers.Dense(1)(x)).save(path)


def ends(shape: tuple[int | None, ...], *, inputs: int = 1, outputs: int = 1, flat: bool = True) -> Any:
    """Build a network of odd ends."""
    import keras
    from keras import layers

    images = [keras.Input(shape, name=f"in{number}") for number in range(inputs)]
    x = layers.Add()(images) if inputs > 1 else images[0]
    if len(shape) == 3:
        x = layers.GlobalAveragePooling2D(keepdims=not flat)(x)
    answers = [layers.Dense(1, name=f"out{number}")(x) for number in range(outputs)]
    return keras.Model(images if inputs > 1 else images[0], answers if outputs > 1 else answers[0])


def saved(model: Callable[[], Any]) -> Callable[[Path], None]:
    return lambda path: model().save(path)


def exported(model: Callable[[], Any]) -> Callable[[Path], None]:
    return lambda path: model().export(path, verbose=False)


def spoilt(value: float) -> Any:
    model = dense()
    layer = model.get_layer("dense") if "dense" in [of.name for of in model.layers] else model.layers[-1]
    weights = layer.kernel.numpy()
    weights[0, 0] = value
    layer.kernel.assign(weights)
    return model


def half() -> Any:
    import keras

    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(2, 3, dtype="mixed_float16", name="half")(image)
    return keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x)))


def unreadable(path: Path) -> None:
    path.write_bytes(b"PK" + bytes(100))


def empty_folder(path: Path) -> None:
    path.mkdir()


def torn_folder(path: Path) -> None:
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"\xff" * 50)


REFUSED: dict[str, tuple[str, Callable[[Path], None], type[EdgeleukError], str]] = {
    "custom layer": ("x.keras", custom, UsageError, "a layer of its own making: got Squash,"),
    "custom layer, h5": ("x.h5", custom, UsageError, "a layer of its own making: got Squash,"),
    "lambda": ("x.keras", a_lambda, UsageError, "a layer of its own making: got Lambda,"),
    "two inputs": ("x.keras", saved(lambda: ends((SIDE, SIDE, 3), inputs=2)), UsageError, "has 2 inputs"),
    "two outputs": ("x.keras", saved(lambda: ends((SIDE, SIDE, 3), outputs=2)), UsageError, "has 2 outputs"),
    "two inputs, exported": ("x", exported(lambda: ends((SIDE, SIDE, 3), inputs=2)), UsageError, "2 inputs"),
    "any size": ("x.keras", saved(lambda: ends((None, None, 3))), UsageError, "takes images of any size"),
    "any size, exported": ("x", exported(lambda: ends((None, None, 3))), UsageError, "images of any size"),
    "no image": ("x.keras", saved(lambda: ends((14,))), UsageError, r"takes no image: got an input of shape"),
    "a picture out": (
        "x.keras", saved(lambda: ends((SIDE, SIDE, 3), flat=False)), UsageError, "gives no list of numbers",
    ),
    "half precision": ("x.keras", saved(half), UsageError, "computes in float16 in the layer half"),
    "NaN": ("x.keras", saved(lambda: spoilt(np.nan)), UsageError, "not finite: got 1 of .* the layer dense"),
    "infinity": ("x.h5", saved(lambda: spoilt(np.inf)), UsageError, "not finite: got 1 of .* in the layer"),
    "NaN, exported": ("x", exported(lambda: spoilt(np.nan)), UsageError, "not finite: got 1 of .* in dense"),
    "damaged": ("x.keras", unreadable, IntegrityError, "no Keras network, or a damaged one"),
    "empty folder": ("x", empty_folder, UsageError, "no SavedModel"),
    "torn folder": ("x", torn_folder, IntegrityError, "is no SavedModel, or a damaged one"),
    "missing": ("x.keras", lambda _: None, UsageError, "no such network"),
    "another ending": ("x.pt", unreadable, UsageError, "wrong ending: got x.pt, allowed .keras, .h5"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case: str, tmp_path: Path) -> None:
    name, make, error, sentence = REFUSED[case]
    path = tmp_path / name
    make(path)
    with pytest.raises(error, match=sentence) as caught:
        load_network(path)
    assert "\n" not in str(caught.value)
