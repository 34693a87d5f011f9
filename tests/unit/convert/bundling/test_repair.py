"""int8 networks that fail are mended: by equalization where that can do it, else by layers in float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import planting
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk_convert.bundling.converted import Converted, Recipe
from edgeleuk_convert.bundling.pack import convert_networks
from edgeleuk_convert.bundling.repair import AcceptanceVerdict, outputs_of, repair
from edgeleuk_convert.bundling.repair_report import repair_text
from edgeleuk_convert.quantization.equalization import equalized, pairs
from edgeleuk_convert.quantization.graph import tflite_graph
from edgeleuk_convert.quantization.mixed_precision import best_range, surroundings
from edgeleuk_convert.quantization.prepare import REFERENCE_MEMBER, prepare_for_int8

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning"),
]

MEMBERS = ("model.int8.tflite", "model.int8.onnx")
HELD_OUT = 60
MOST_FLIPS = 1
# Nearer to the threshold cells may flip by the training alone, which no two kinds of processor do alike.
CLEAR = 0.5


def flips(networks: Mapping[str, bytes], converted: Converted) -> dict[str, int]:
    tensors, _ = planting.drawn_cells(0, HELD_OUT)
    outputs = outputs_of(networks, converted.input, tensors)
    said = {name: of[:, -1] for name, of in outputs.items()}
    clear = np.abs(said[REFERENCE_MEMBER]) > CLEAR
    return {
        name: int(np.count_nonzero(((of > 0) != (said[REFERENCE_MEMBER] > 0))[clear]))
        for name, of in said.items()
        if name != REFERENCE_MEMBER and name in networks
    }


def mended(model: Any, *, tensorrt: bool = False) -> tuple[Converted, Converted, dict[str, Any]]:
    tensors, _ = planting.drawn_cells(5000, 24)
    before = convert_networks(
        model,
        planting.record(),
        tensors,
        progress=lambda _: None,
        recipe=Recipe(tensorrt=tensorrt),
        strict=False,
    )

    def judge(networks: Mapping[str, bytes]) -> AcceptanceVerdict:
        found = flips(networks, before)
        verdict = "fail" if max(found.values()) > MOST_FLIPS else "pass"
        return AcceptanceVerdict(verdict, tuple(f"{name}: {count} flips" for name, count in found.items()))

    after, report = repair(tensors, before, judge, progress=lambda _: None)
    return before, after, report


def test_the_faults_are_hidden_from_float() -> None:
    tensors = planting.drawn_cells(0, HELD_OUT)[0].astype(np.float32)
    sound, truth = (
        np.asarray(planting.trained()(tensors, training=False)),
        planting.drawn_cells(0, HELD_OUT)[1],
    )
    # So few drawn cells teach little; that it has learnt, and says both, is what matters here.
    assert np.mean((sound[:, 0] > 0) == truth) > 0.55
    assert 0.2 < np.mean(sound[:, 0] > 0) < 0.8
    for faulty in (planting.chain_fault(), planting.stream_fault()):
        np.testing.assert_allclose(np.asarray(faulty(tensors, training=False)), sound, atol=1e-4)


def test_what_passes_is_left_alone() -> None:
    before, after, report = mended(planting.trained())
    assert after is before
    assert report == {"needed": False, "step": None, "tried": []}
    assert repair_text(report) == "repair: not needed"


def test_equalization_mends_a_channel_between_two_layers() -> None:
    before, after, report = mended(planting.chain_fault(), tensorrt=True)
    # The gate catches it in both formats.
    assert min(flips(before.networks, before).values()) > MOST_FLIPS
    assert max(flips(after.networks, after).values()) <= MOST_FLIPS
    assert report["step"] == "equalization"
    assert [tried["step"] for tried in report["tried"]] == ["none", "ranges", "equalization"]
    assert [tried["verdict"] for tried in report["tried"]] == ["fail", "fail", "pass"]
    assert report["float_layers"] == {}
    assert {agreement.member for agreement in after.agreements} == set(after.networks)
    for key in ("tflite_int8", "onnx_int8", "tensorrt_int8"):
        assert report["tried"][-1]["networks"][key]["correlation"] > 0.99
        assert report["cost"][key]["size_ratio"] == pytest.approx(1, abs=0.02)
    assert "equalization" in repair_text(report)


def test_float_layers_mend_what_equalization_cannot() -> None:
    before, after, report = mended(planting.stream_fault())
    assert min(flips(before.networks, before).values()) > MOST_FLIPS
    assert max(flips(after.networks, after).values()) <= MOST_FLIPS
    assert report["step"] == "float"
    assert [tried["step"] for tried in report["tried"]][:4] == ["none", "ranges", "equalization", "bias"]
    for key in ("tflite_int8", "onnx_int8"):
        assert {"stream_conv", "join"} & set(report["float_layers"][key])
        assert report["cost"][key]["size_ratio"] > 1.01
        assert report["cost"][key]["time_ratio"] > 0
    assert "layers in float" in repair_text(report)
    # What goes in and comes out is int8 all the same, so that bytes still become the input by themselves.
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=after.networks[MEMBERS[0]])
    sides = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert {side["dtype"] for side in sides} == {np.int8}


def test_where_nothing_helps_the_nearest_is_kept_and_said() -> None:
    import keras
    from keras import layers

    # As few layers as there can be: two to equalize, one that may stay in float.
    keras.utils.set_random_seed(4)
    image = keras.Input(planting.CONTRACT.shape)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, 2, activation="relu")(image))
    model = keras.Model(image, layers.Dense(1)(x))
    tensors, _ = planting.drawn_cells(5000, 24)
    before = convert_networks(model, planting.record(), tensors, progress=lambda _: None, strict=False)
    after, report = repair(
        tensors, before, lambda _: AcceptanceVerdict("fail", ("never",)), progress=lambda _: None,
    )  # fmt: skip
    assert report["needed"]
    assert report["step"] is None
    assert [tried["step"] for tried in report["tried"]] == ["none", "ranges", "equalization", "bias", "float"]
    assert {tried["verdict"] for tried in report["tried"]} == {"fail"}
    assert set(after.networks) == set(before.networks)
    assert "nothing helped" in repair_text(report)


@settings(max_examples=15)
@given(st.floats(1e-3, 1e3), st.integers(0, 50))
def test_equalizing_moves_no_answer(scale: float, seed: int) -> None:
    import keras
    from keras import layers

    rng = np.random.default_rng(seed)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.LeakyReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(3, 1),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    model.set_weights([rng.normal(0, 1, values.shape) for values in model.get_weights()])
    first = model.layers[0].kernel
    first.assign(first.numpy() * np.array([1, scale, 1, 1], np.float32))
    even, count = equalized(model)
    assert count == 3
    cells = rng.normal(0, 1, (2, 8, 8, 2)).astype(np.float32)
    exact = np.asarray(model(cells, training=False))
    np.testing.assert_allclose(
        np.asarray(even(cells, training=False)), exact, atol=1e-4 * (1 + np.abs(exact).max())
    )


def test_relu6_two_readers_and_reuse_stop_equalization() -> None:
    import keras
    from keras import layers

    assert [pair.first.name for pair in pairs(planting.untrained())] == ["project_conv"]
    inputs = keras.Input((8, 8, 2))
    twice = layers.Conv2D(2, 1)
    x = layers.Conv2D(2, 1)(twice(twice(inputs)))
    model = keras.Model(inputs, layers.Add()([x, layers.Conv2D(2, 1)(x)]))
    assert equalized(model) == (model, 0)


@given(st.integers(0, 99), st.floats(0, 100))
def test_a_chosen_range_is_within_what_was_seen_and_holds_zero(seed: int, outlier: float) -> None:
    values = np.append(np.random.default_rng(seed).normal(0, 1, 500), outlier).astype(np.float32)
    least, largest = float(min(values.min(), 0)), float(max(values.max(), 0))
    low, high = best_range(values, least, largest)
    assert least <= low <= 0 <= high <= largest


def test_float_layers_take_what_reads_them_along() -> None:
    record = planting.record()
    prepared = prepare_for_int8(planting.untrained(), record.input, record.output)
    graph = tflite_graph(prepared.reference()[REFERENCE_MEMBER])
    names = {node.name: number for number, node in enumerate(graph.nodes)}
    around = surroundings(graph, [names["stream_conv"]])
    assert {graph.nodes[number].name for number in around} == {"stream_conv", "inner_conv", "join"}
