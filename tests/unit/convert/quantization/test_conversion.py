"""Others' networks become every file that a bundle may hold, and each answers as the float network does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from foreign import BYTES, dense, pictures, separable, trained

from edgeleuk.bundle.manifest import Envelope, OutputContract
from edgeleuk.classifier.classifier import open_networks
from edgeleuk.errors import CheckFailedError
from edgeleuk.inference.log_odds import log_odds
from edgeleuk_calibration.probability import sigmoid
from edgeleuk_convert.bundling.converted import Recipe
from edgeleuk_convert.bundling.pack import convert_networks
from edgeleuk_convert.environment import silenced
from edgeleuk_convert.networks.loading import functional, load_network
from edgeleuk_convert.quantization.batch_norm import with_convolved_norms
from edgeleuk_convert.quantization.bias_correction import activation_of, last_layer, without_activation
from edgeleuk_convert.quantization.calibration_data import calibration_input
from edgeleuk_convert.quantization.onnx import to_onnx_float32, to_onnx_int8
from edgeleuk_convert.quantization.tflite import to_tflite_float32
from edgeleuk_convert.training.record import TrainingRecord

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk_convert.bundling.converted import Converted

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, of NumPy
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning"),  # TFLite, always
]
PROBABILITY = OutputContract(kind="probability")
SOFTMAX = OutputContract(kind="softmax", labels=("normal", "blast", "other"), positive="blast")


def record_of(model: Any, output: OutputContract) -> TrainingRecord:
    return TrainingRecord(
        architecture=model.name, parameters=model.count_params(), input=BYTES, output=output,
        envelope=Envelope(area_um2=(20, 400)), settings={}, training_subjects=(), held_out_subjects=(),
        training_hashes=(), tools={}, training_known=False,
    )  # fmt: skip


def converted(model: Any, output: OutputContract, recipe: Recipe) -> Converted:
    return convert_networks(
        model, record_of(model, output), pictures(), progress=lambda _: None, recipe=recipe
    )


def probabilities(model: Any, output: OutputContract) -> np.ndarray:
    return sigmoid(log_odds(np.asarray(model(pictures().astype(np.float32), training=False)), output))


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    return {"dense": functional(trained(dense())), "separable": trained(separable())}


@pytest.mark.parametrize(("name", "output"), [("dense", PROBABILITY), ("separable", SOFTMAX)])
def test_every_file_of_every_style(networks: dict[str, Any], name: str, output: OutputContract) -> None:
    recipe = Recipe(tensorrt=True, also=("float16", "dynamic", "int16x8", "uint8-io"))
    result = converted(networks[name], output, recipe)
    assert set(result.networks) == {
        "model.float32.tflite", "model.int8.tflite", "model.int8.onnx", "model.int8.tensorrt.onnx",
    }  # fmt: skip
    assert set(result.also) == set(recipe.also)
    assert {found.member for found in result.audits} == {*result.networks, *result.also}
    # The device computes the sigmoid and the softmax.
    assert result.output.kind == ("logits" if output.kind == "softmax" else "logit")
    assert (result.output.labels, result.output.positive) == (output.labels, output.positive)
    wanted = probabilities(networks[name], output)
    assert np.ptp(wanted) > 0.1
    for key, runtime in open_networks(result.networks, result.input).items():
        answers = runtime.predict(pictures()).outputs
        found = sigmoid(log_odds(answers, result.output))
        assert found == pytest.approx(wanted, abs=1e-4 if key == "reference" else 0.08), key
    sizes = {agreement.member: agreement.size_bytes for agreement in result.agreements}
    assert sizes["float16"] < sizes["model.float32.tflite"] * 1.3
    audits = {found.member: found for found in result.audits}
    for member in ("model.int8.tflite", "int16x8", "uint8-io"):
        assert audits[member].float_operations == ()


def test_a_saved_model_converts_too(tmp_path: Path, networks: dict[str, Any]) -> None:
    networks["separable"].export(tmp_path / "exported", verbose=False)
    loaded = load_network(tmp_path / "exported").model
    result = converted(loaded, SOFTMAX, Recipe(tensorrt=True))
    # Its softmax was found in the graph and taken off, and its rescaling moved into the contract.
    assert result.output.kind == "logits"
    assert result.input.scale == pytest.approx(1 / 127.5)
    wanted = probabilities(networks["separable"], SOFTMAX)
    for runtime in open_networks(result.networks, result.input).values():
        found = sigmoid(log_odds(runtime.predict(pictures()).outputs, result.output))
        assert found == pytest.approx(wanted, abs=0.08)


@pytest.mark.parametrize(("name", "output"), [("dense", PROBABILITY), ("separable", SOFTMAX)])
def test_a_bare_network_answers_the_same(networks: dict[str, Any], name: str, output: OutputContract) -> None:
    bare, contract = without_activation(networks[name], output)
    assert activation_of(last_layer(bare)) == "linear"
    assert activation_of(last_layer(networks[name])) != "linear"
    assert probabilities(bare, contract) == pytest.approx(probabilities(networks[name], output), abs=1e-5)
    assert without_activation(bare, contract) == (bare, contract)


def test_an_activation_layer_is_taken_off_too() -> None:
    import keras

    inner = separable()
    logits = without_activation(inner, SOFTMAX)[0]
    model = keras.Model(logits.input, keras.layers.Softmax()(logits.output))
    bare, contract = without_activation(model, SOFTMAX)
    assert contract.kind == "logits"
    assert probabilities(bare, contract) == pytest.approx(probabilities(inner, SOFTMAX), abs=1e-5)


@pytest.mark.parametrize("name", ["dense", "separable"])
def test_a_norm_behind_an_activation_becomes_a_convolution(networks: dict[str, Any], name: str) -> None:
    from keras import layers

    turned = with_convolved_norms(networks[name])
    kinds = [type(layer) for layer in turned.layers]
    assert layers.BatchNormalization not in kinds
    assert kinds.count(layers.DepthwiseConv2D) == 1
    images = pictures(8).astype(np.float32)
    found, wanted = (np.asarray(model(images, training=False)) for model in (turned, networks[name]))
    assert found == pytest.approx(wanted, abs=1e-5)
    assert with_convolved_norms(turned) is turned


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}, {"scale": False, "center": False}])
def test_norms_without_scale_or_centre(options: dict[str, bool]) -> None:
    import keras
    from keras import layers

    image = keras.Input((4, 4, 3))
    norm = layers.BatchNormalization(
        moving_mean_initializer="ones", moving_variance_initializer=keras.initializers.Constant(9), **options
    )
    model = keras.Model(image, norm(layers.ReLU()(image)))
    pixels = np.arange(48, dtype=np.float32).reshape(1, 4, 4, 3)
    assert np.asarray(with_convolved_norms(model)(pixels)) == pytest.approx(
        np.asarray(model(pixels, training=False)), abs=1e-5
    )


def test_a_norm_behind_a_bare_convolution_stays() -> None:
    import keras
    from keras import layers

    image = keras.Input((4, 4, 3))
    model = keras.Model(image, layers.BatchNormalization()(layers.Conv2D(2, 3)(image)))
    assert with_convolved_norms(model) is model


def test_a_network_that_died_in_training_is_refused(networks: dict[str, Any]) -> None:
    import keras

    dead = keras.models.clone_model(networks["dense"])
    dead.layers[-1].kernel.assign(np.zeros(dead.layers[-1].kernel.shape, np.float32))
    with pytest.raises(CheckFailedError, match=r"tells no calibration image from another: got \[0.5\]"):
        converted(dead, PROBABILITY, Recipe())


@pytest.mark.parametrize("calibration", ["minmax", "entropy", "percentile"])
def test_every_calibration_gives_ranges_of_its_own(networks: dict[str, Any], calibration: str) -> None:
    with silenced():
        float_onnx = to_onnx_float32(without_activation(networks["separable"], SOFTMAX)[0])
        real = calibration_input(pictures(8), BYTES)
        files = {
            method: to_onnx_int8(float_onnx, real, calibration=method)  # type: ignore[arg-type]
            for method in dict.fromkeys(("minmax", calibration))
        }
        again = to_onnx_int8(float_onnx, real, calibration=calibration)  # type: ignore[arg-type]
    assert files[calibration] == again
    assert (files[calibration] == files["minmax"]) == (calibration == "minmax")


def test_a_network_of_tensorflows_own_operations_is_refused_by_name() -> None:
    import keras

    image = keras.Input(BYTES.shape)
    x = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(1)(keras.ops.erfinv(x / 300)))
    with pytest.raises(CheckFailedError, match=r"converter refuses the network: got .*Erfinv"), silenced():
        to_tflite_float32(model)
