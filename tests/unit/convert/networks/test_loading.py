"""Networks from anywhere are loaded, or refused in one sentence that names what is in the way."""

from __future__ import annotations

import json
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from foreign import BYTES, SIDE, dense, pictures, separable

from edgeleuk.classifier.classifier import open_networks
from edgeleuk.errors import EdgeleukError, IntegrityError, UsageError
from edgeleuk_convert.commands.options import parse_size
from edgeleuk_convert.environment import silenced
from edgeleuk_convert.networks import file_kinds, keras_files
from edgeleuk_convert.networks.loading import functional, hash_of, load_network
from edgeleuk_convert.quantization.bias_correction import activation_of, last_layer
from edgeleuk_convert.quantization.onnx import to_onnx_float32
from edgeleuk_convert.quantization.tflite import to_tflite_float32

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, of NumPy
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning"),
    pytest.mark.filterwarnings("ignore:The object being serialized includes a:UserWarning"),
    pytest.mark.filterwarnings("ignore:Layer .* does not have a .quantize.:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built:UserWarning"),
]


@pytest.mark.parametrize("form", ["x.keras", "x.h5", "x.hdf5", "x"])
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
    assert loaded.model.count_params() == model.count_params()
    assert activation_of(last_layer(loaded.model)) == activation_of(last_layer(functional(model)))
    assert len(loaded.sha256) == 64


def test_a_file_is_what_its_content_is(tmp_path: Path) -> None:
    model = dense()
    model.save(tmp_path / "x.keras")
    model.save(tmp_path / "y.h5")
    (tmp_path / "unzipped").mkdir()
    with zipfile.ZipFile(tmp_path / "x.keras") as archive:
        archive.extractall(tmp_path / "unzipped")
    (tmp_path / "x.keras").rename(tmp_path / "archive.h5")
    (tmp_path / "y.h5").rename(tmp_path / "hdf5.keras")
    images = pictures(8).astype(np.float32)
    wanted = np.asarray(model(images, training=False))
    for name in ("archive.h5", "hdf5.keras", "unzipped"):
        found = np.asarray(load_network(tmp_path / name).model(images, training=False))
        assert found == pytest.approx(wanted, abs=1e-6), name


def test_a_graph_gives_its_rescaling_and_its_activation_back(tmp_path: Path) -> None:
    separable().export(tmp_path / "x", verbose=False)
    loaded = load_network(tmp_path / "x")
    kinds = [type(layer).__name__ for layer in loaded.model.layers]
    assert kinds == ["InputLayer", "Rescaling", "GraphLayer", "Activation"]
    rescaling = loaded.model.layers[1]
    assert (rescaling.scale, rescaling.offset) == pytest.approx((1 / 127.5, -1))
    assert loaded.notes == ("an exported graph, without layers of its own",)


def test_a_graph_can_be_copied_cut_and_converted(tmp_path: Path) -> None:
    import keras

    dense().export(tmp_path / "x", verbose=False)
    model = load_network(tmp_path / "x").model
    images = pictures(8).astype(np.float32)
    wanted = np.asarray(model(images, training=False))
    copy = keras.models.clone_model(model)
    copy.set_weights([weight * 0 for weight in model.get_weights()])
    assert np.ptp(np.asarray(copy(images, training=False))) == 0
    copy.set_weights(model.get_weights())
    assert np.asarray(copy(images, training=False)) == pytest.approx(wanted, abs=1e-6)
    logits = keras.Model(model.input, model.layers[-1].input)
    with silenced():
        flat = to_tflite_float32(logits)
        onnx = to_onnx_float32(logits)
    with open_networks({"model.float32.tflite": flat}, BYTES) as networks:
        found = networks["reference"].predict(pictures(8)).outputs
    assert 1 / (1 + np.exp(-found)) == pytest.approx(wanted, abs=1e-5)
    assert len(onnx) > 1000


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


def a_function(path: Path) -> None:
    import keras

    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Flatten()(image)
    keras.Model(image, keras.layers.Dense(1, activation=lambda x: x / 2)(x)).save(path)


def of_a_module(files: dict[str, bytes]) -> None:
    """Let a network ask for a class of Python's own library."""
    config = json.loads(files["config.json"])
    config["config"]["layers"][2] |= {"module": "subprocess", "class_name": "Popen", "registered_name": None}
    files["config.json"] = json.dumps(config).encode()


def quantized(path: Path) -> None:
    model = dense()
    model.quantize("int8")
    model.save(path)


def ends(shape: tuple[int | None, ...], *, inputs: int = 1, outputs: int = 1, pooled: bool = True) -> Any:
    """Build a network of odd ends."""
    import keras
    from keras import layers

    images = [keras.Input(shape, name=f"in{number}") for number in range(inputs)]
    x = layers.Add()(images) if inputs > 1 else images[0]
    if len(shape) == 3:
        x = layers.GlobalAveragePooling2D()(x) if pooled else layers.MaxPooling2D()(x)
    answers = [layers.Dense(1, name=f"out{number}")(x) for number in range(outputs)]
    return keras.Model(images if inputs > 1 else images[0], answers if outputs > 1 else answers[0])


def ends_of_any_channels() -> Any:
    import keras

    image = keras.Input((SIDE, SIDE, None))
    return keras.Model(image, keras.layers.Reshape((1,))(keras.ops.mean(image, axis=(1, 2, 3))))


def never_built() -> Any:
    import keras

    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])


def picture_out() -> Any:
    return ends((SIDE, SIDE, 3), pooled=False)


def another_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["cells"] = np.zeros(3)


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


def written(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def archived(*names: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "{}")

    return make


def folder(*names: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        for name in names:
            (path / name).write_bytes(b"\xff" * 50)

    return make


def subclassed(path: Path) -> None:
    import keras

    class Mine(keras.Model):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.end = keras.layers.Dense(1)

        def call(self, x: Any) -> Any:
            return self.end(keras.ops.mean(x, axis=(1, 2)))

    model = Mine()
    model(np.zeros((1, SIDE, SIDE, 3), np.float32))
    model.save(path)


def weights_only(path: Path) -> None:
    dense().save_weights(path)


def repacked(change: Callable[[dict[str, bytes]], None]) -> Callable[[Path], None]:
    """Save a network, and change the files in its archive."""

    def make(path: Path) -> None:
        dense().save(path)
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        change(files)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)

    return make


def without_variables(files: dict[str, bytes]) -> None:
    import io

    import h5py

    buffer = io.BytesIO(files["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        del file["layers/conv2d/vars/0"], file["layers/conv2d/vars/1"]
    files["model.weights.h5"] = buffer.getvalue()


def of_the_future(files: dict[str, bytes]) -> None:
    config = json.loads(files["config.json"])
    config["config"]["layers"][2]["config"]["wavelength"] = 3
    files["config.json"] = json.dumps(config).encode()
    files["metadata.json"] = b'{"keras_version": "3.99.0"}'


def truncated(name: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        make(path.with_name(name))
        data = path.with_name(name).read_bytes()
        path.write_bytes(data[: len(data) // 2])

    return cut


def checkpoint(path: Path) -> None:
    path.with_name(path.name + ".index").write_bytes(b"1")


def architecture(path: Path) -> None:
    path.write_text(dense().to_json(), encoding="utf-8")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
REFUSED: dict[str, tuple[str, Callable[[Path], None], type[EdgeleukError], str]] = {
    "custom layer": ("x.keras", custom, UsageError, "of its own making: got Squash,"),
    "custom layer, h5": ("x.h5", custom, UsageError, "of its own making: got Squash,"),
    "lambda": ("x.keras", a_lambda, UsageError, "has a Lambda, whose code is not run from a file"),
    "lambda, h5": ("x.h5", a_lambda, UsageError, "has a Lambda, whose code is not run from a file"),
    "a function": ("x.keras", a_function, UsageError, "has a Lambda, whose code is not run from a file"),
    "a module": ("x.keras", repacked(of_a_module), UsageError, "of its own making: got Popen,"),
    "quantized": ("x.keras", quantized, UsageError, "was quantized by Keras already: got int8;"),
    "subclass": ("x.keras", subclassed, UsageError, r"a class of its own: got Mine, .*model\.export"),
    "two inputs": ("x.keras", saved(lambda: ends((SIDE, SIDE, 3), inputs=2)), UsageError, "has 2 inputs"),
    "never built": ("x.keras", saved(never_built), UsageError, "was never built: .*; give it a keras.Input"),
    "two outputs": ("x.keras", saved(lambda: ends((SIDE, SIDE, 3), outputs=2)), UsageError, "--output"),
    "two inputs, exported": ("x", exported(lambda: ends((SIDE, SIDE, 3), inputs=2)), UsageError, "2 inputs"),
    "no image": ("x.keras", saved(lambda: ends((14,))), UsageError, r"takes no image: got an input of shape"),
    "no image, exported": ("x", exported(lambda: ends((14,))), UsageError, "takes no image: got an"),
    "any channels": (
        "x.keras", saved(ends_of_any_channels), UsageError, "takes any number of channels",
    ),
    "a picture out": ("x.keras", saved(picture_out), UsageError, "gives no list of numbers"),
    "NaN": ("x.keras", saved(lambda: spoilt(np.nan)), UsageError, "not finite: got 1 of .* the layer dense"),
    "infinity": ("x.h5", saved(lambda: spoilt(np.inf)), UsageError, "not finite: got 1 of .* in the layer"),
    "NaN, exported": ("x", exported(lambda: spoilt(np.nan)), UsageError, "finite: got 1 of .* in .*dense"),
    "weights": ("x.weights.h5", weights_only, UsageError, "holds weights without the network"),
    "another HDF5": ("x.h5", another_hdf5, UsageError, "an HDF5 file without a network: got cells,"),
    "empty": ("x.keras", written(b""), IntegrityError, "x.keras is empty: got 0 bytes"),
    "cut off": ("x.keras", truncated("y.keras", saved(dense)), IntegrityError, "is a damaged archive"),
    "cut off, h5": ("x.h5", truncated("y.h5", saved(dense)), IntegrityError, "is a damaged HDF5 file"),
    "no weights": (
        "x.keras", archived("config.json", "metadata.json"), IntegrityError, "without its model.weights.h5",
    ),
    "no config": (
        "x.keras", archived("model.weights.h5", "metadata.json"), IntegrityError, "without its config.json",
    ),
    "bad weights": (
        "x.keras", repacked(lambda files: files.update({"model.weights.h5": b"1"})), IntegrityError,
        "model.weights.h5 is a damaged HDF5 file",
    ),
    "bad config": (
        "x.keras", repacked(lambda files: files.update({"config.json": b"{"})), IntegrityError,
        "config.json has a damaged configuration",
    ),
    "layer without weights": ("x.keras", repacked(without_variables), IntegrityError, "lacks weights: got 0"),
    "of a later Keras": (
        "x.keras", repacked(of_the_future), UsageError, r"by Keras 3\.99\.0, and Keras 3.* cannot rebuild",
    ),
    "PyTorch": ("x.pt", archived("x/data.pkl", "x/version"), UsageError, "a network of PyTorch"),
    "old PyTorch": ("x.pth", written(pickle.dumps(0x1950A86A20F9469CFC6C, 2)), UsageError, "of PyTorch"),
    "NumPy": ("x.npz", archived("a.npy"), UsageError, "an archive of NumPy arrays"),
    "a zipped network": ("x.zip", archived("a/b.h5"), UsageError, "unzip it"),
    "another archive": ("x.zip", archived("a.txt"), UsageError, "a ZIP archive without a network"),
    "TFLite": ("x.h5", written(b"\x1c\0\0\0TFL3" + bytes(9)), UsageError, "a TFLite network, conv"),
    "ONNX": ("x.onnx", written(b"\x08\x08\x12\x02tf:\x80"), UsageError, "an ONNX network"),
    "pickle": ("x.pkl", written(pickle.dumps({"a": 1})), UsageError, "a pickled Python object"),
    "joblib": ("x.joblib", written(b"\x78\x9c\xff\xff\x80"), UsageError, "a Python object of joblib"),
    "frozen": ("x.pb", written(b"\x0a\xff\x01\x0a"), UsageError, "a frozen graph of TensorFlow"),
    "gzip": ("x.keras", written(b"\x1f\x8b\x08\0"), UsageError, "compressed with gzip"),
    "safetensors": ("x.keras", written(b"\x10" + bytes(7) + b'{"a":{}}'), UsageError, "of safetensors"),
    "picture": ("x.keras", written(b"\x89PNG\r\n"), UsageError, "is a picture"),
    "checkpoint": ("x.ckpt", checkpoint, UsageError, "a checkpoint of TensorFlow"),
    "checkpoint's folder": ("x", folder("checkpoint"), UsageError, "folder of a TensorFlow checkpoint"),
    "LFS": ("x.keras", written(LFS), UsageError, "a pointer of Git LFS .*; fetch it with: git lfs pull"),
    "web page": ("x.h5", written(b"\n<!DOCTYPE html><html>"), UsageError, "a web page and not the network"),
    "architecture": ("x.json", architecture, UsageError, "the architecture of a network without its weights"),
    "text": ("x.keras", written(b"epochs: 3\n"), UsageError, "x.keras is a text"),
    "unknown": ("x.keras", written(b"\xfe\xdc\xba\x98"), UsageError, "begins with fe dc ba 98"),
    "empty folder": ("x", folder(), UsageError, "is no SavedModel"),
    "a folder of files": ("x", folder("a.keras"), UsageError, "pass the file: .*x/a.keras"),
    "torn folder": ("x", folder("saved_model.pb"), IntegrityError, "is a damaged SavedModel"),
    "unzipped, torn": ("x", folder("config.json"), IntegrityError, "an unzipped .keras file without its"),
    "TensorFlow.js": ("x", folder("model.json"), UsageError, "a network of TensorFlow.js"),
    "one file of a folder": ("saved_model.pb", written(b"\x08\x01\x11"), UsageError, "pass its folder"),
    "missing": ("x.keras", lambda _: None, UsageError, "no such network"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case: str, tmp_path: Path) -> None:
    name, make, error, sentence = REFUSED[case]
    path = tmp_path / name
    make(path)
    with pytest.raises(error, match=sentence) as caught:
        load_network(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_too_large_a_network_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dense()
    model.save(tmp_path / "x.keras")
    model.save(tmp_path / "x.h5")
    model.export(tmp_path / "x", verbose=False)
    monkeypatch.setattr(keras_files, "LARGEST_WEIGHTS", model.count_params() - 1)
    for name in ("x.keras", "x.h5", "x"):
        with pytest.raises(UsageError, match="too large for a device: got 0 MB of float weights, allowed"):
            load_network(tmp_path / name)


def test_an_optimizer_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = dense()
    model.compile("adam", "binary_crossentropy")
    model.train_on_batch(np.zeros((2, SIDE, SIDE, 3)), np.zeros((2, 1)))
    model.save(tmp_path / "x.keras")
    model.save(tmp_path / "x.h5")
    # A count of steps and a number of the optimizer's beside.
    monkeypatch.setattr(keras_files, "LARGEST_WEIGHTS", model.count_params() + 2)
    for name in ("x.keras", "x.h5"):
        assert load_network(tmp_path / name).model.count_params() == model.count_params()


@pytest.mark.parametrize(("text", "size"), [("96", (96, 96)), ("96x128", (96, 128)), ("4096X1", (4096, 1))])
def test_a_size_is_read(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "x", "96x", "1x2x3", "-5", "96.5", "4097"])
def test_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--size is no size: got .*allowed 224 or 224x320, 1 to 4096 px"):
        parse_size(text)


def test_an_error_is_cut_before_a_configuration() -> None:
    assert file_kinds.first_line(ValueError("a b. config={'x': 1}")) == "a b."
    assert file_kinds.first_line(ValueError("x" * 999)) == "x" * 160 + " ..."
    assert file_kinds.first_line(ValueError()) == "ValueError"
