"""What a converted network promises is looked up in its file: planted violations are found and named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from foreign import BYTES, SIDE, dense, pictures, separable
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edgeleuk.errors import CheckFailedError
from edgeleuk.inference.quantization import Affine
from edgeleuk_convert.environment import silenced
from edgeleuk_convert.networks.loading import functional
from edgeleuk_convert.quantization.audit import audit, audit_text, input_error_bytes, require_kept_promises
from edgeleuk_convert.quantization.bias_correction import without_rescaling
from edgeleuk_convert.quantization.calibration_data import ReachingInput, calibration_input
from edgeleuk_convert.quantization.onnx import prepared, to_onnx_float32, to_onnx_int8
from edgeleuk_convert.quantization.tflite import to_tflite_float32, to_tflite_int8

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeleuk_convert.quantization.audit import Kind, NetworkAudit

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, of NumPy
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning"),  # TFLite, always
]
REAL = calibration_input(pictures(8), BYTES)


@pytest.fixture(scope="module")
def network() -> Any:
    return without_rescaling(functional(dense()), replace(BYTES, scale=255.0))[0]


@pytest.fixture(scope="module")
def float_onnx(network: Any) -> bytes:
    with silenced():
        return to_onnx_float32(network)


@pytest.fixture(scope="module")
def files(network: Any, float_onnx: bytes) -> dict[Kind, bytes]:
    with silenced():
        return {
            "float": to_tflite_float32(network),
            "int8": to_tflite_int8(network, REAL),
            "onnx-int8": to_onnx_int8(float_onnx, REAL),
            "onnx-tensorrt": to_onnx_int8(float_onnx, REAL, tensorrt=True),
        }


def found(model: bytes, kind: Kind, **options: Any) -> NetworkAudit:
    return audit("the file", model, kind, BYTES, **options)


@pytest.mark.parametrize("kind", ["float", "int8", "onnx-int8", "onnx-tensorrt"])
def test_what_the_converters_write_keeps_its_promises(files: dict[Kind, bytes], kind: Kind) -> None:
    of_file = found(files[kind], kind)
    require_kept_promises([of_file])
    assert of_file.findings == ()
    assert (of_file.input_error_bytes == 0.0) == (kind in ("int8", "onnx-int8"))
    assert sum(of_file.operations.values()) > 4
    assert (audit_text([of_file.to_json()]) == "") == (kind == "float")


def test_bytes_around_zero_stay_exact_for_tensorrt(float_onnx: bytes) -> None:
    centred = replace(BYTES, offset=-128.0)
    with silenced():
        model = to_onnx_int8(float_onnx, calibration_input(pictures(8), centred), tensorrt=True)
    assert audit("the file", model, "onnx-tensorrt", centred).input_error_bytes == 0.0


def test_a_network_that_stayed_in_float_is_not_int8(files: dict[Kind, bytes]) -> None:
    of_file = found(files["float"], "int8")
    assert any(finding.startswith("CONV_2D at ") for finding in of_file.findings)
    assert any(finding.endswith("is float32") for finding in of_file.findings)
    with pytest.raises(
        CheckFailedError, match=r"the file breaks what a bundle promises: got .*; and \d+ more"
    ):
        require_kept_promises([of_file])
    assert CheckFailedError.exit_code == 3


def test_a_layer_that_int8_lacks_is_named() -> None:
    """A sine has no int8 kernel: the converter leaves it in float without a word."""
    import keras

    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, name="before")(image)
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.sin(x))
    model = keras.Model(image, keras.layers.Dense(1)(x))
    with silenced():
        file = to_tflite_int8(model, REAL)
    of_file = found(file, "int8")
    (finding,) = [finding for finding in of_file.findings if finding.startswith("SIN")]
    assert finding.endswith("computes in float")
    kept = {name.partition(" at ")[2] for name in of_file.float_operations if name.startswith("SIN")}
    assert found(file, "int8", kept=kept).findings == ()


def test_operations_of_tensorflow_are_refused(network: Any) -> None:
    import tensorflow as tf

    class WithDeterminant(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((1, 4, 4), tf.float32)])
        def call(self, x: Any) -> Any:
            return tf.linalg.det(x)

    module = WithDeterminant()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.call.get_concrete_function()], module)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS,
    ]  # fmt: skip
    with silenced():
        file = converter.convert()
    (finding,) = found(file, "float").findings
    assert finding.startswith("FlexMatrixDeterminant at ")
    assert finding.endswith("no operation of TFLite's own")


def test_weights_with_one_scale_are_named(network: Any, float_onnx: bytes) -> None:
    import tensorflow as tf
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([REAL[row : row + 1]] for row in range(len(REAL)))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel = True
    with silenced():
        file = converter.convert()
    assert any("CONV_2D have 1 scales for 6 channels" in text for text in found(file, "int8").findings)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        images = (REAL[row : row + 1] for row in range(len(REAL)))

        def get_next(self) -> Any:
            image = next(self.images, None)
            return None if image is None else {"input": image}

    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder, silenced():
        paths = Path(folder, "a.onnx"), Path(folder, "b.onnx")
        paths[0].write_bytes(prepared(float_onnx))
        quantize_static(
            *paths, Reader(), quant_format=QuantFormat.QDQ, per_channel=False,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        per_tensor = paths[1].read_bytes()
    assert any(
        "Conv0" in text and "1 scales for 6" in text for text in found(per_tensor, "onnx-int8").findings
    )


def test_an_input_that_rounds_bytes_is_named(network: Any) -> None:
    dark = (REAL[:] / 2).astype(np.float32)
    with silenced():
        file = to_tflite_int8(network, dark)
        whole = to_tflite_int8(network, ReachingInput(dark, 0.0, 255.0))
    (finding,) = found(file, "int8").findings
    assert "rounds bytes by up to 127" in finding
    assert found(whole, "int8").findings == ()


def changed(model: bytes, change: Callable[[Any], None]) -> bytes:
    import onnx

    proto = onnx.load_from_string(model)
    change(proto)
    data: bytes = proto.SerializeToString()
    return data


def asymmetric(proto: Any) -> None:
    from onnx import numpy_helper

    node = next(node for node in proto.graph.node if node.op_type == "QuantizeLinear")
    for tensor in proto.graph.initializer:
        if tensor.name == node.input[2]:
            tensor.CopyFrom(numpy_helper.from_array(np.int8(3), tensor.name))


def older(proto: Any) -> None:
    proto.opset_import[0].version = 17


def strange(proto: Any) -> None:
    proto.graph.node[-1].domain = "com.example"


def quantized_before_relu(proto: Any) -> None:
    """Put a quantizing and a dequantizing node between the first convolution and its ReLU."""
    from onnx import helper

    graph = proto.graph
    relu = next(node for node in graph.node if node.op_type == "Relu")
    quantizer = next(node for node in graph.node if node.op_type == "QuantizeLinear" and len(node.input) > 2)
    parameters = list(quantizer.input[1:])
    index = list(graph.node).index(relu)
    graph.node.insert(index, helper.make_node("QuantizeLinear", [relu.input[0], *parameters], ["planted_q"]))
    graph.node.insert(
        index + 1, helper.make_node("DequantizeLinear", ["planted_q", *parameters], ["planted"])
    )
    next(node for node in graph.node if node.op_type == "Relu").input[0] = "planted"


def integer_bias(proto: Any) -> None:
    from onnx import helper, numpy_helper

    graph = proto.graph
    conv = next(node for node in graph.node if node.op_type == "Conv")
    graph.initializer.append(numpy_helper.from_array(np.arange(6, dtype=np.int32), "planted_bias"))
    graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "planted_scale"))
    graph.initializer.append(numpy_helper.from_array(np.int32(0), "planted_zero"))
    inputs = ["planted_bias", "planted_scale", "planted_zero"]
    graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, ["planted_real"]))
    conv.input[2] = "planted_real"


def unquantized_input(proto: Any) -> None:
    """Let the first convolution take what the last dequantizing node in front of it was given in float."""
    graph = proto.graph
    makers = {output: node for node in graph.node for output in node.output}
    conv = next(node for node in graph.node if node.op_type == "Conv")
    conv.input[0] = makers[makers[conv.input[0]].input[0]].input[0]


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        ("onnx-tensorrt", asymmetric, "has the zero point 3"),
        ("onnx-tensorrt", quantized_before_relu, "Conv0 "),
        ("onnx-tensorrt", integer_bias, "bias planted_bias is int32"),
        ("onnx-tensorrt", unquantized_input, "Conv0 "),
        ("onnx-int8", unquantized_input, "Conv0 "),
        ("onnx-int8", older, "opset 17 instead of 18"),
        ("onnx-int8", strange, "is of com.example"),
    ],
)
def test_planted_in_onnx(
    files: dict[Kind, bytes], kind: Kind, change: Callable[[Any], None], sentence: str
) -> None:
    findings = found(changed(files[kind], change), kind).findings
    assert any(sentence in finding for finding in findings), findings


def test_a_network_for_cpus_breaks_the_rules_of_tensorrt(files: dict[Kind, bytes]) -> None:
    findings = "; ".join(found(files["onnx-int8"], "onnx-tensorrt").findings)
    assert "makes uint8" in findings
    assert "is int32" in findings


def test_what_is_excluded_stays_in_float_and_is_not_a_finding(float_onnx: bytes) -> None:
    with silenced():
        file = to_onnx_int8(float_onnx, REAL, excluded=["Conv0"])
    assert any(finding.startswith("Conv0 ") for finding in found(file, "onnx-int8").findings)
    of_file = found(file, "onnx-int8", kept={"Conv0"})
    assert of_file.findings == ()
    assert any(name.startswith("Conv0 ") for name in of_file.float_operations)
    with pytest.raises(ValueError, match="expected nodes of the prepared graph, got Conv9"), silenced():
        to_onnx_int8(float_onnx, REAL, excluded=["Conv9"])


def test_float_beside_the_weights_is_listed() -> None:
    """A swish stays in float in ONNX, and nobody promised otherwise."""
    with silenced():
        file = to_onnx_int8(to_onnx_float32(separable()), REAL)
    of_file = found(file, "onnx-int8")
    assert of_file.findings == ()
    assert any(name.startswith("Mul") for name in of_file.float_operations)


@given(st.floats(0.001, 4), st.integers(-255, 0))
def test_bytes_have_integers_of_their_own_where_the_scales_agree(scale: float, zero: int) -> None:
    contract = replace(BYTES, scale=scale, offset=scale * zero)
    assert input_error_bytes(Affine(scale, -128 - zero), contract) < 0.01
    assert input_error_bytes(Affine(scale * 1.1, -128), replace(contract, offset=0.0)) > 0.4
