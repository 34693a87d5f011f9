"""The networks: size, shape, where they begin, and only operations that int8 has."""

from __future__ import annotations

import importlib
import resource
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgeleuk.bundle.manifest import Envelope, InputContract, OutputContract
from edgeleuk.errors import IntegrityError, MissingDependencyError, UsageError
from edgeleuk.inference.preprocessing import to_batch
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.bundling.pack import convert_networks
from edgeleuk_convert.networks.architectures import (
    ARCHITECTURES,
    OUTPUT_NAME,
    Architecture,
    build,
    default_input,
    list_text,
    memory_warning,
    multiply_adds,
    seed_input,
)
from edgeleuk_convert.networks.architectures import efficientnet_lite as lite
from edgeleuk_convert.networks.architectures.fine_tuning import FineTuning, Optimizers
from edgeleuk_convert.training.plan import TrainingSettings
from edgeleuk_convert.training.record import TrainingRecord

INT8_LAYERS = {
    "Add", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D", "Dense", "DepthwiseConv2D",
    "Dropout", "Flatten", "GlobalAveragePooling2D", "InputLayer", "MaxPooling2D", "ReLU", "Rescaling",
    "Reshape",
}  # fmt: skip
SEEDS = {"seed-baseline": 5_125_969, "seed-inception": 192_815_261, "seed-resnet": 96_037_201}
EDGE = ("baseline", "inception", "resnet")
LITE = ("efficientnet-lite0", "efficientnet-lite0-narrow")

# Logits 0 to 5 and 500 to 502, and the sum of all absolute ones, of `picture()` through the original: its
# forward pass written with torch.nn.functional (torch 2.13.0) over the .pth file, SAME padding as
# TensorFlow pads, batch norm with epsilon 1e-3.
ORIGINAL_LOGITS = (
    0.65084970, 0.20635042, -5.22649670, -2.50015736, -4.01216984, -3.47273564,
    -1.73413944, 1.49627745, 0.57489657,
)  # fmt: skip
ORIGINAL_SUM = 2602.06396
ORIGINAL_CLASS = 506


def contract(size: int = 128, channels: tuple[str, ...] = ("luminance", "mask")) -> InputContract:
    """Return an input contract of another shape."""
    return InputContract(
        height=size, width=size, channels=channels, normalise=True, px_per_um=7.4, crop_px_per_um=18.5  # type: ignore[arg-type]
    )  # fmt: skip


def picture(size: int = 128) -> np.ndarray:
    """Return the fixed input of the proof: (size, size, 3) float32, as the original takes it."""
    y, x, channel = np.mgrid[:size, :size, :3].astype(np.float64)
    waves = np.sin(0.05 * x * (channel + 1) + 0.11 * y) + np.cos(0.003 * x * y + channel)
    return waves.astype(np.float32)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_parameters_are_as_listed(name: str) -> None:
    import keras

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    entry = ARCHITECTURES[name]
    # Inside the scope variables have shapes but no values: the largest network would take 0.8 GB.
    with keras.StatelessScope(initialize_variables=False):
        model = build(name, entry.default_input(), pretrained=False)
        counted, outputs, last = model.count_params(), model.output_shape, model.layers[-1]
        layers = {type(layer).__name__ for layer in model.layers}
    del model
    keras.utils.clear_session()
    assert counted == entry.parameters == SEEDS.get(name, counted)
    assert (outputs, last.name, last.compute_dtype) == ((None, 1), OUTPUT_NAME, "float32")
    assert layers <= INT8_LAYERS
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (
        1 if sys.platform == "darwin" else 1024
    )
    assert taken < 0.3e9


@pytest.mark.parametrize("name", EDGE)
def test_small_enough_for_the_edge(name: str) -> None:
    model = build(name, default_input())
    assert model.count_params() < 1_000_000
    assert multiply_adds(model) < 80e6
    assert all(layer.max_value == 6 for layer in model.layers if type(layer).__name__ == "ReLU")


def test_narrow_cut_is_below_a_million() -> None:
    assert ARCHITECTURES["efficientnet-lite0-narrow"].parameters < 1_000_000


@pytest.mark.parametrize(
    ("size", "channels"), [(96, ("luminance", "mask")), (128, ("red", "green", "blue", "mask"))]
)
@pytest.mark.parametrize("name", [*EDGE, "efficientnet-lite0-narrow"])
def test_shape_comes_from_the_contract(name: str, size: int, channels: tuple[str, ...]) -> None:
    shape = contract(size, channels)
    model = build(name, shape)
    assert model.input_shape == (None, *shape.shape)
    assert model.output_shape == (None, 1)
    answer = np.asarray(model(np.full((2, *shape.shape), 255, np.float32), training=False))
    assert np.isfinite(answer).all()


def test_seed_sees_the_whole_picture_as_it_is() -> None:
    of_seed = seed_input()
    assert of_seed.shape == (200, 200, 3)
    assert (of_seed.normalise, of_seed.rim_um) == (False, 0)
    assert 200 / of_seed.px_per_um == pytest.approx(450 / of_seed.crop_px_per_um)


@pytest.mark.parametrize("name", ["resnet", "efficientnet-lite0-narrow"])
def test_mixed_precision_keeps_float_weights(name: str) -> None:
    model = build(name, contract(32), dtype="mixed_bfloat16", pretrained=False)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.get_layer("pool").compute_dtype == "bfloat16"
    assert model.layers[-1].compute_dtype == "float32"


def test_unknown_name_lists_the_known() -> None:
    known = ", ".join(sorted(ARCHITECTURES))
    with pytest.raises(UsageError, match=f"unknown architecture: got vgg, allowed {known}"):
        build("vgg", contract())


def test_multiply_adds_by_hand() -> None:
    model = build("resnet", contract(32))
    stem = 15 * 15 * (3 * 3 * 2 * 16)
    assert multiply_adds(model) > stem
    assert multiply_adds(build("resnet", contract(64))) > 3 * multiply_adds(model)


def test_list_names_everything() -> None:
    text = list_text()
    assert [line.split()[0] for line in text.splitlines()[1:]] == list(ARCHITECTURES)
    assert len(text.splitlines()) == 1 + len(ARCHITECTURES)
    assert max(map(len, text.splitlines())) < 110
    assert "192,815,261  200x200x3  random" in text
    assert {line.split()[0] for line in text.splitlines() if "ImageNet" in line} == {
        *LITE,
        "efficientnet-lite0-frozen",
    }


def test_builders_can_be_imported() -> None:
    for entry in ARCHITECTURES.values():
        module, _, function = entry.builder.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_large_networks_state_their_memory() -> None:
    warning = memory_warning("seed-inception")
    assert warning is not None
    # 192,815,261 parameters x 4 bytes x (weight, gradient, two moments).
    assert "192,815,261 parameters: training holds 3.1 GB" in warning
    assert "converting to int8 takes about 13 GB" in warning
    assert memory_warning("seed-resnet")
    assert memory_warning("resnet") is None


class TestImageNetWeights:
    @pytest.mark.parametrize(
        "channels",
        [("red", "green", "blue"), ("red", "green", "blue", "mask"), ("mask", "blue", "red", "green")],
    )
    def test_port_gives_the_logits_of_the_original(self, channels: tuple[str, ...]) -> None:
        import keras

        size = 128
        # The row and column more are the zeros with which the original pads an even picture.
        shape = contract(size + 1, channels)
        model = build("efficientnet-lite0", shape)
        features = keras.Model(model.input, model.get_layer("pool").output)
        of_channel = dict(zip(("red", "green", "blue"), np.moveaxis(picture(size), 2, 0), strict=True))
        tensor = np.full((1, *shape.shape), 128, np.float32)
        noise = np.random.default_rng(0).uniform(0, 255, (size, size))
        for index, channel in enumerate(channels):
            tensor[0, :size, :size, index] = noise if channel == "mask" else 128 + 96 * of_channel[channel]
        state = lite.imagenet_state()
        pooled = np.asarray(features(tensor, training=False), np.float64)
        logits = (pooled @ state["_fc.weight"].T + state["_fc.bias"])[0]
        np.testing.assert_allclose([*logits[:6], *logits[500:503]], ORIGINAL_LOGITS, atol=1e-4)
        assert logits.argmax() == ORIGINAL_CLASS
        assert np.abs(logits).sum() == pytest.approx(ORIGINAL_SUM, abs=0.01)

    def test_every_number_of_the_original_has_a_place(self) -> None:
        model = build("efficientnet-lite0", contract(64, ("red", "green", "blue")))
        state = lite.imagenet_state()
        ours = sum(weight.shape.num_elements() for weight in model.weights if "logit" not in weight.path
                   and "seed" not in weight.path)  # fmt: skip
        theirs = sum(a.size for name, a in state.items() if "_fc." not in name and "num_batches" not in name)
        assert ours == theirs

    def test_narrow_cut_has_the_first_layers(self) -> None:
        whole, narrow = (build(name, contract(64)) for name in LITE)
        for layer in narrow.layers:
            if layer.weights and layer.name.startswith(ARCHITECTURES[LITE[1]].backbone):
                for ours, theirs in zip(layer.weights, whole.get_layer(layer.name).weights, strict=True):
                    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
        assert "block10_project_norm" in {layer.name for layer in narrow.layers}
        assert "block11_expand_conv" not in {layer.name for layer in narrow.layers}

    def test_stem_kernel(self) -> None:
        kernel = np.arange(27, dtype=np.float32).reshape(3, 3, 3, 1)
        spread = lite.stem_kernel(kernel, ("blue", "luminance", "mask"))
        np.testing.assert_array_equal(spread[:, :, 0], kernel[:, :, 2])
        np.testing.assert_array_equal(spread[:, :, 1], kernel.sum(axis=2))
        assert not spread[:, :, 2].any()

    def test_none_begins_at_random(self) -> None:
        pretrained = build(LITE[1], contract(32)).get_layer("block3_expand_conv").kernel.numpy()
        random = build(LITE[1], contract(32), pretrained=False).get_layer("block3_expand_conv").kernel.numpy()
        assert np.abs(pretrained - random).max() > 0.1

    def test_unknown_weights(self) -> None:
        with pytest.raises(UsageError, match="unknown weights: got places, allowed imagenet"):
            lite.build_efficientnet_lite0_narrow(contract(32), dtype="float32", dropout=0, weights="places")  # type: ignore[arg-type]

    def test_missing_package_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lite, "PACKAGE", "no_such_weights")
        with pytest.raises(MissingDependencyError, match=r"no-such-weights; .*edgeleuk\[workstation\]"):
            build(LITE[0], contract(32))

    @pytest.mark.parametrize(
        ("attribute", "value", "why"),
        [
            ("WEIGHTS_FILE", "models/other.pth", "cannot be read"),
            ("WEIGHTS_SHA256", "0" * 64, "not the file"),
        ],
    )
    def test_another_file_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, attribute: str, value: str, why: str
    ) -> None:
        monkeypatch.setattr(lite, attribute, value)
        with pytest.raises(IntegrityError, match=why):
            lite.imagenet_state()


class TestFineTuning:
    def test_frozen_backbone_stays_and_thaws(self) -> None:
        import tensorflow as tf

        shape = contract(32)
        model = build(LITE[1], shape)
        how = FineTuning(freeze_epochs=1)
        optimizers = Optimizers(
            model, ARCHITECTURES[LITE[1]].backbone, how, learning_rate=0.01, weight_decay=0.1
        )
        tensors = np.random.default_rng(0).uniform(0, 255, (4, *shape.shape)).astype(np.float32)

        def moved(epoch: float) -> set[str]:
            before = {weight.path: weight.numpy() for weight in model.weights}
            optimizers.set_learning_rate(0.01, epoch)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(tensors, training=True) - 3.0))
            variables = model.trainable_variables
            optimizers.apply(tape.gradient(loss, variables), variables)
            changed = {w.path for w in model.weights if not np.array_equal(w.numpy(), before[w.path])}
            return {path.split("/")[0] for path in changed if "seed_generator" not in path}

        order = [variable.path for variable in model.variables]
        assert optimizers.begin_epoch(0)
        # A checkpoint goes by the order.
        assert [variable.path for variable in model.variables] == order
        assert moved(0.5) == {"top_conv", "top_norm", "logit"}
        assert optimizers.begin_epoch(1)
        thawed = moved(1.5)
        assert {"block5_expand_conv", "block10_project_norm", "top_conv", "logit"} <= thawed
        assert not [name for name in thawed if name.startswith(lite.FROZEN)]
        assert not optimizers.begin_epoch(2)

    def test_network_without_backbone_has_one_optimizer(self) -> None:
        model = build("resnet", contract(32))
        optimizers = Optimizers(model, (), FineTuning(), learning_rate=0.01, weight_decay=0.1)
        assert not optimizers.begin_epoch(0)
        assert len(optimizers.variables) == 2 * len(model.trainable_variables) + 4

    def test_backbone_rises_after_the_thaw(self) -> None:
        assert FineTuning().share(0) == 1
        slow = FineTuning(freeze_epochs=2, factor=0.5)
        assert [slow.share(epoch) for epoch in (0, 1.99, 2, 2.5, 3, 7)] == [0, 0, 0, 0.25, 0.5, 0.5]


class TestSettings:
    def test_architecture_brings_its_input(self) -> None:
        assert TrainingSettings().contract == default_input()
        assert TrainingSettings(architecture="seed-resnet").contract == seed_input()
        assert replace(TrainingSettings(), architecture="seed-resnet").contract == seed_input()
        assert TrainingSettings(architecture="seed-resnet", input=default_input(64)).contract.height == 64

    def test_nothing_to_freeze(self) -> None:
        with pytest.raises(UsageError, match="freeze_epochs is out of range: got 1, allowed 0 to 0"):
            TrainingSettings(architecture="resnet", freeze_epochs=1)
        with pytest.raises(UsageError, match="backbone_learning_rate_factor is out of range"):
            TrainingSettings(architecture="resnet", backbone_learning_rate_factor=0.1)
        assert TrainingSettings(architecture=LITE[0], freeze_epochs=1, backbone_learning_rate_factor=0.1)

    def test_facts_of_an_entry(self) -> None:
        entry = Architecture("module:function", "a test", 10, backbone=("stem",))
        assert (entry.pretrained, entry.training_bytes) == (True, 160)
        assert not Architecture("module:function", "a test", 10).pretrained


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",  # Keras, of NumPy
    "ignore:Statistics for quantized inputs:UserWarning",  # TFLite's converter, always
)
@pytest.mark.parametrize("name", [*EDGE, "efficientnet-lite0-narrow", "seed-baseline"])
def test_becomes_int8(name: str) -> None:
    """Random weights and drawn cells: what is looked at is the operations, not the accuracy."""
    import keras

    shape = default_input(48)
    if name in SEEDS:
        shape = InputContract(
            height=48, width=48, channels=("red", "green", "blue"), normalise=False,
            px_per_um=2, crop_px_per_um=18.5,
        )  # fmt: skip
    keras.utils.set_random_seed(0)
    model = build(name, shape)
    record = TrainingRecord(
        architecture=name, parameters=model.count_params(), input=shape,
        output=OutputContract(kind="probability"), envelope=Envelope(area_um2=(20, 400)),
        settings={}, training_subjects=(), held_out_subjects=(), training_hashes=(), tools={},
    )  # fmt: skip
    tensors = to_batch(
        [single_cell(label, seed) for seed in range(4) for label in ("blast", "normal")], shape
    )
    # A network that was never trained answers alike to all cells; blurring them moves it.
    tensors = np.concatenate([tensors, [cv2.GaussianBlur(tensor, (0, 0), 2) for tensor in tensors]])
    converted = convert_networks(model, record, tensors, progress=lambda _: None)
    assert set(converted.networks) == {"model.float32.tflite", "model.int8.tflite", "model.int8.onnx"}
    audits = {found.member: found for found in converted.audits}
    assert audits["model.int8.tflite"].float_operations == ()
    assert all(found.findings == () for found in audits.values())
    whole = len(converted.networks["model.float32.tflite"])
    for member in ("model.int8.tflite", "model.int8.onnx"):
        assert len(converted.networks[member]) < 0.4 * whole
