"""Where int8 does its damage: layers matched between files, noise measured, the planted fault found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import planting
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.errors import IntegrityError
from edgeleuk_convert.bundling.pack import convert_networks
from edgeleuk_convert.quantization.calibration_data import RealInput
from edgeleuk_convert.quantization.graph import Graph, Node, matched, onnx_graph, tflite_graph
from edgeleuk_convert.quantization.layer_noise import (
    NOISELESS_DB,
    Measured,
    importance,
    measure,
    ranking,
    sqnr_db,
)
from edgeleuk_convert.quantization.prepare import REFERENCE_MEMBER
from edgeleuk_convert.quantization.tflite import to_tflite_float32
from edgeleuk_convert.reports.layer_noise import layers_figure, layers_text

if TYPE_CHECKING:
    from edgeleuk_convert.bundling.converted import Converted

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning"),
]

MEMBERS = ("model.int8.tflite", "model.int8.onnx")
NAMES = [
    "stem_conv", "project_conv", "expand_conv", "stream_conv", "inner_conv", "branch_conv", "join",
    "top_conv", "mean", "logit",
]  # fmt: skip


def converted(model: Any) -> Converted:
    tensors, _ = planting.drawn_cells(5000, 24)
    return convert_networks(model, planting.record(), tensors, progress=lambda _: None, strict=False)


def measured(networks: Converted, member: str) -> Measured:
    tensors, _ = planting.drawn_cells(5000, 24)
    real = RealInput(tensors[:12], networks.input)[:]
    return measure(networks.networks[REFERENCE_MEMBER], member, networks.networks[member], real)


@pytest.fixture(scope="module")
def sound() -> Converted:
    return converted(planting.trained())


@pytest.fixture(scope="module")
def faulty() -> dict[str, Converted]:
    return {"project_conv": converted(planting.chain_fault()), "stream": converted(planting.stream_fault())}


def test_every_layer_has_its_counterpart_in_either_format(sound: Converted) -> None:
    reference = tflite_graph(sound.networks[REFERENCE_MEMBER])
    assert [node.name for node in reference.nodes] == NAMES
    for graph in (tflite_graph(sound.networks[MEMBERS[0]]), onnx_graph(sound.networks[MEMBERS[1]])):
        assert matched(reference, graph) == {number: number for number in range(len(NAMES))}


@pytest.mark.parametrize("member", MEMBERS)
def test_a_sound_network_is_quiet_everywhere(sound: Converted, member: str) -> None:
    of_network = measured(sound, member)
    assert of_network.unmatched == 0
    assert [layer.name for layer in of_network.layers] == NAMES
    assert min(layer.own_sqnr_db for layer in of_network.layers) > 25
    assert min(layer.sqnr_db for layer in of_network.layers) > 15
    weighted = [layer for layer in of_network.layers if layer.weight_sqnr_db is not None]
    assert [layer.name for layer in weighted] == [name for name in NAMES if name not in ("join", "mean")]
    assert min(layer.weight_sqnr_db.min() for layer in weighted if layer.weight_sqnr_db is not None) > 30


@pytest.mark.parametrize("member", MEMBERS)
def test_the_float_network_against_itself_has_no_noise(sound: Converted, member: str) -> None:
    reference = sound.networks[REFERENCE_MEMBER]
    real = RealInput(planting.drawn_cells(5000, 24)[0][:3], sound.input)[:]
    assert {layer.own_sqnr_db for layer in measure(reference, "a.tflite", reference, real).layers} == {
        NOISELESS_DB
    }


@pytest.mark.parametrize("member", MEMBERS)
def test_a_channel_a_thousand_times_too_large_is_found(faulty: dict[str, Converted], member: str) -> None:
    worst = measured(faulty["project_conv"], member).worst_first()
    # What reads it cannot hold a thousandth beside its other weights.
    assert [layer.name for layer in worst[:2]] == ["project_conv", "expand_conv"]
    assert worst[0].own_sqnr_db < 5
    # The pool may be given what no calibration image gave it, and clip it.
    assert next(layer for layer in worst[2:] if layer.kind != "mean").own_sqnr_db > 20
    worst = measured(faulty["stream"], member).worst_first()
    assert {layer.name for layer in worst[:3]} <= {
        "stream_conv",
        "branch_conv",
        "join",
        "inner_conv",
        "top_conv",
    }
    assert worst[0].name in ("stream_conv", "branch_conv", "join")
    assert worst[0].own_sqnr_db < 5


def test_the_ranking_is_told_and_drawn(faulty: dict[str, Converted]) -> None:
    of_networks = {member: measured(faulty["project_conv"], member) for member in MEMBERS}
    result = ranking(of_networks)
    assert len(result["layers"]) == 2 * len(NAMES)
    assert [row["own_sqnr_db"] for row in result["layers"]] == sorted(
        row["own_sqnr_db"] for row in result["layers"]
    )
    assert {row["name"] for row in result["layers"][:2]} == {"project_conv"}
    assert set(result["layers"][0]) == {
        "network", "name", "op", "sqnr_db", "own_sqnr_db", "weight_channels_worst",
    }  # fmt: skip
    worst = result["layers"][0]["weight_channels_worst"]
    assert [row["sqnr_db"] for row in worst] == sorted(row["sqnr_db"] for row in worst)
    assert layers_text(result).count("\n") == 11
    assert layers_figure(of_networks).startswith(b"\x89PNG")


def test_what_computes_shapes_is_no_layer() -> None:
    """Keras's Reshape asks for the batch when it runs: integers that no layer may be fed with."""
    from keras import Model, Sequential, layers

    network = Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(3, 3),
            layers.Reshape((36, 3)),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    reference = to_tflite_float32(Model(network.inputs[0], network.outputs[0]))
    assert {node.kind for node in tflite_graph(reference).nodes}.isdisjoint({"shape", "pack"})
    real = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    found = measure(reference, REFERENCE_MEMBER, reference, real)
    assert all(layer.own_sqnr_db == NOISELESS_DB for layer in found.layers)


def test_more_inputs_than_one_are_refused() -> None:
    import onnx
    from onnx import TensorProto, helper

    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b", "c")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", sides[:2], sides[2:])
    model: onnx.ModelProto = helper.make_model(graph)
    with pytest.raises(IntegrityError, match="2 inputs"):
        onnx_graph(model.SerializeToString())


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_sqnr_is_a_ratio_in_decibels(signal: float, noise: float) -> None:
    assert sqnr_db(10 * signal, noise) == pytest.approx(sqnr_db(signal, noise) + 10, abs=1e-6) or (
        abs(sqnr_db(signal, noise)) > NOISELESS_DB - 11
    )
    assert sqnr_db(signal, noise) == pytest.approx(-sqnr_db(noise, signal), abs=1e-6)


@given(st.integers(0, 5), st.floats(1e-3, 1e3), st.integers(0, 20))
def test_importance_undoes_a_channels_scale(channel: int, scale: float, seed: int) -> None:
    """A channel's power times its importance does not depend on the unit it is written in."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=shape) for shape in ((9, 3, 6), (9, 1, 6), (1, 6, 4))]
    scaled = [values.copy() for values in weights]
    scaled[0][:, :, channel] *= scale
    scaled[1][:, :, channel] /= scale
    before, after = (importance(chain(values)) for values in (weights, scaled))
    expected = before[1].copy()
    expected[channel] /= scale**2
    np.testing.assert_allclose(after[1], expected, rtol=1e-9)
    np.testing.assert_allclose(after[2], before[2], rtol=1e-9)


def chain(weights: list[npt.NDArray[np.float64]]) -> Graph:
    kinds = ("conv", "depthwise", "conv")
    nodes = tuple(
        Node(f"layer{number}", kind, (number,), number + 1, values, None, number)
        for number, (kind, values) in enumerate(zip(kinds, weights, strict=True))
    )
    return Graph(
        nodes,
        0,
        {node.output: (1, 4, 4, node.weights.shape[2]) for node in nodes if node.weights is not None},
    )
