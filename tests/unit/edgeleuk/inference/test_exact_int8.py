"""int8 in ONNX Runtime: the exact sums on every processor, whoever opens the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeleuk.bundle.golden import decode_golden
from edgeleuk.bundle.manifest import GOLDEN
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.classifier import open_network
from edgeleuk.inference.onnx_session import open_session
from edgeleuk_convert.quantization.onnx import with_shared_weights_unsigned

ROOT = Path(__file__).resolve().parents[4]
MEMBER = "model.int8.onnx"
# Products of the largest bytes: of unsigned and signed ones, two together no longer fit into 16 bits.
CHANNELS, EXACT = 16, 16 * 255 * 127


def convolution(*, times: int = 1, zero_point: bool = True, together: bool = False) -> bytes:
    """Build convolutions of the same, largest weights, dequantized once or for each."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.full((CHANNELS, CHANNELS, 1, 1), 127, np.int8)
    stored = {
        "as": np.float32(1), "az": np.uint8(0), "os": np.float32(4096), "w": weights,
        "ws": np.ones(CHANNELS, np.float32),
    }  # fmt: skip
    if zero_point:
        stored["wz"] = np.zeros(CHANNELS, np.int8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "as", "az"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "as", "az"], ["xd"]),
    ]
    outputs = []
    for turn in range(times):
        reads = ["w", "ws", *(["wz"] if zero_point else [])]
        own = 0 if together else turn
        if own == turn:
            nodes.append(helper.make_node("DequantizeLinear", reads, [f"wd{own}"], axis=0))
        nodes += [
            helper.make_node("Conv", ["xd", f"wd{own}"], [f"y{turn}"]),
            helper.make_node("QuantizeLinear", [f"y{turn}", "os", "az"], [f"yq{turn}"]),
            helper.make_node("DequantizeLinear", [f"yq{turn}", "os", "az"], [f"yd{turn}"]),
        ]
        outputs.append(helper.make_tensor_value_info(f"yd{turn}", TensorProto.FLOAT, [1, CHANNELS, 8, 8]))
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, 8, 8])],
        outputs,
        [numpy_helper.from_array(np.asarray(values), name) for name, values in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def plain_session(model: bytes) -> Any:
    """Open a file as somebody does who knows nothing of exact sums."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def answer(session: Any) -> list[npt.NDArray[np.float32]]:
    image = np.full((1, CHANNELS, 8, 8), 255, np.float32)
    answers: list[npt.NDArray[np.float32]] = session.run(None, {"x": image})
    return answers


def is_signed(model: bytes) -> bool:
    import onnx

    stored = {tensor.name: tensor.data_type for tensor in onnx.load_from_string(model).graph.initializer}
    return bool(stored["w"] == onnx.TensorProto.INT8)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("zero_point", [True, False])
@pytest.mark.parametrize("times", [1, 2])
def test_sums_are_exact_in_our_sessions(times: int, zero_point: bool, together: bool) -> None:
    """Also where shared weights are dequantized once: in recurrent layers, and layers used twice."""
    model = convolution(times=times, zero_point=zero_point, together=together)
    written = with_shared_weights_unsigned(model)
    # Signed weights have the faster kernels; what is read twice only works unsigned.
    assert is_signed(written) == (times == 1)
    for values in answer(open_session(written)):
        assert values == pytest.approx(EXACT, abs=4096 / 2)
    assert with_shared_weights_unsigned(written) == written


def test_shared_weights_are_exact_whoever_opens_them() -> None:
    for values in answer(plain_session(with_shared_weights_unsigned(convolution(times=2)))):
        assert values == pytest.approx(EXACT, abs=4096 / 2)


def test_the_shipped_network_gives_the_stored_answers() -> None:
    bundle = read_bundle("default")
    golden = decode_golden(bundle.members[GOLDEN])
    with open_network(bundle.members, MEMBER, bundle.manifest.input) as network:
        found = network.predict(golden.tensors)
    stored = golden.networks[MEMBER]["usual"].answer
    np.testing.assert_array_equal(found.outputs, stored.outputs)
    np.testing.assert_array_equal(found.features, stored.features)


def test_one_place_opens_sessions() -> None:
    folders = ("edgeleuk", "convert", "calibration", "firmware_bridge")
    opening = [
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if re.search(r"\bInferenceSession\(", path.read_text(encoding="utf-8"))
    ]
    assert opening == ["edgeleuk/inference/onnx_session.py"]
