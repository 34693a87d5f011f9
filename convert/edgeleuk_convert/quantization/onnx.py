"""Keras to ONNX (tf2onnx), and ONNX to int8 for CPUs and for TensorRT (ONNX Runtime's static QDQ)."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from edgeleuk.errors import CheckFailedError, EdgeleukError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from edgeleuk_convert.quantization.calibration_data import RealTensors

    Image = npt.NDArray[np.float32]

# The highest that tf2onnx writes.
OPSET = 18
OUTPUT_NAMES = ("output", "features")
BATCH_NAME = "n"
# How the range of a tensor comes from its values.
OnnxCalibration = Literal["minmax", "entropy", "percentile"]

# With the 128 bins that ONNX Runtime would take, entropy has one range to choose from.
BINS = 2048
QUANTIZED_BINS = 128
PERCENTILE = 99.999
# Images whose tensors are in memory together.
_TOGETHER = 4
# These move numbers about without computing.
MOVING = (
    "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Gather", "Cast", "Slice",
    "Concat", "Constant", "Split",
)  # fmt: skip
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


class _Scheme(NamedTuple):
    """How a target wants its network quantized; activations and weights name members of `QuantType`."""

    activations: str
    operations: tuple[str, ...] = ()
    options: tuple[tuple[str, object], ...] = ()


_CPU = _Scheme("QUInt8")
_FUSED = ("Conv", "MatMul", "Gemm", "Add", "MaxPool", "AveragePool", "GlobalAveragePool")
# Every zero point 0, nothing between a convolution and its ReLU, biases in float.
_TENSORRT = _Scheme(
    "QInt8",
    _FUSED,
    (
        ("ActivationSymmetric", True),
        ("WeightSymmetric", True),
        ("AddQDQPairToWeight", True),
        ("DedicatedQDQPair", True),
        ("QuantizeBias", False),
        ("OpTypesToExcludeOutputQuantization", list(_FUSED)),
    ),
)


def to_onnx_float32(model: Any) -> bytes:
    """Convert without quantization: input (n, H, W, C) float32 named ``input``, output ``output``.

    A second output, where `model` has one, is named ``features``.
    """
    import tensorflow as tf
    import tf2onnx

    _, height, width, channels = model.input_shape
    signature = [tf.TensorSpec((None, height, width, channels), tf.float32, name="input")]
    plain = _without_compiled_groups(model)
    # tf2onnx's from_keras fails on models of Keras 3; from_function does not.
    function = tf.function(lambda tensors: plain(tensors, training=False))
    try:
        proto, _ = tf2onnx.convert.from_function(
            function, input_signature=signature, opset=OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
        )
        _refuse_unknown_operations(proto)
        _rename_outputs(proto, OUTPUT_NAMES[: len(model.outputs)])
        # Its own names hold a counter, so that no two runs would give the same bytes.
        return compacted(proto.SerializeToString())
    except EdgeleukError:
        raise
    except Exception as error:  # tf2onnx raises whatever its parts raise, and writes what ONNX refuses
        raise CheckFailedError(
            "tf2onnx refuses the network",
            got=(str(error).strip().splitlines() or [type(error).__name__])[0],
            cure="replace the layers concerned by ones that ONNX has",
        ) from error


def to_onnx_int8(
    float_model: bytes,
    real: RealTensors,
    *,
    calibration: OnnxCalibration = "minmax",
    excluded: Collection[str] = (),
    given: Mapping[str, tuple[float, float]] | None = None,
    tensorrt: bool = False,
) -> bytes:
    """Quantize for CPUs: unsigned activations, signed weights per channel; or for TensorRT.

    Parameters
    ----------
    float_model : bytes
        From `to_onnx_float32`.
    real : RealTensors
        (n, H, W, C) float32, such as `calibration_input` gives; taken a few at a time.
    calibration : str
        ``minmax``, ``entropy`` (Kullback-Leibler) or ``percentile``. Of tensors with few values, such as the
        answer, least and greatest count in any case.
    excluded : collection of str
        Nodes of `prepared` that stay in float, such as ``Conv3``.
    given : mapping of str to (low, high), optional
        Ranges of tensors of `prepared`, in place of those that calibration finds.
    tensorrt : bool
        Symmetric int8 throughout, weights kept in float with QDQ behind them; of a range in `given` the end
        that is further from 0 counts.
    """
    scheme = _TENSORRT if tensorrt else _CPU
    return _quantized(float_model, real, calibration, excluded, scheme, given or {})


def prepared(float_model: bytes) -> bytes:
    """Fold batch norms and transposes away; nodes are named by operation and number: ``Conv0``, ``Conv1``."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        source, ready = Path(folder, "float.onnx"), Path(folder, "ready.onnx")
        source.write_bytes(float_model)
        # Static shapes need no symbolic inference, and so no sympy.
        quant_pre_process(source, ready, skip_symbolic_shape=True)
        return _with_short_node_names(ready.read_bytes())


def with_shared_weights_unsigned(model: bytes, least_readers: int = 2) -> bytes:
    """Write int8 weights that several nodes read as uint8 with a zero point of 128: the same numbers.

    A session that asks for exact sums turns all weights so where the processor needs it, and fails over those
    that it meets a second time. All others stay signed: there are faster kernels for them. With a
    `least_readers` of 1 no weights stay signed.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, numpy_helper

    proto = onnx.load_from_string(model)
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    read = Counter(source for node in proto.graph.node for source in node.input)
    dequantizing: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            dequantizing.setdefault(node.input[0], []).append(node)
    for name, nodes in dequantizing.items():
        weights = stored[name]
        # One node may dequantize for many, or each have its own.
        if (
            sum(read[node.output[0]] for node in nodes) < least_readers
            or weights.data_type != TensorProto.INT8
        ):
            continue
        values = numpy_helper.to_array(weights).astype(np.int16) + 128
        weights.CopyFrom(numpy_helper.from_array(values.astype(np.uint8), name))
        scale = numpy_helper.to_array(stored[nodes[0].input[1]])
        zero = numpy_helper.from_array(np.full(scale.shape, 128, np.uint8), f"{name}_unsigned_zero_point")
        proto.graph.initializer.append(zero)
        for node in nodes:
            node.input[:] = [name, node.input[1], zero.name]
    data: bytes = proto.SerializeToString()
    return data


def compacted(model: bytes) -> bytes:
    """Give everything inside the graph a short name: long ones are a tenth of a small network's file."""
    import onnx

    proto = onnx.load_from_string(model)
    graph = proto.graph
    outside = [value.name for value in (*graph.input, *graph.output)]
    short = {name: name for name in ("", *outside)}
    _name_nodes(graph)
    for node in graph.node:
        node.doc_string = ""
        for names in (node.input, node.output):
            names[:] = [short.setdefault(name, f"t{len(short)}") for name in names]
    # Optimizers leave constants that nothing uses, and write them in the order of sets: another one in every
    # process.
    used = [tensor for tensor in graph.initializer if tensor.name in short]
    place = {name: number for number, name in enumerate(short)}
    used.sort(key=lambda tensor: place[tensor.name])
    for tensor in used:
        tensor.name = short[tensor.name]
    del graph.initializer[:]
    graph.initializer.extend(used)
    for value in (*graph.input, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            # All that is open is the batch. tf2onnx names it by a counter that hangs on the order of sets.
            if dimension.dim_param:
                dimension.dim_param = BATCH_NAME
    del graph.value_info[:]
    graph.doc_string = ""
    onnx.checker.check_model(proto, full_check=True)
    data: bytes = proto.SerializeToString()
    return data


def _erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """Write the complementary error function, of which gelu is made, as 1 - Erf: ONNX has no other."""
    import numpy as np

    shape, dtype = context.get_shape(node.output[0]), context.get_dtype(node.output[0])
    sources, results = list(node.input), list(node.output)
    context.remove_node(node.name)
    erf = context.make_node("Erf", sources, shapes=[shape], dtypes=[dtype])
    one = context.make_const(f"{name}_one", np.ones(1, np.float32))
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], outputs=results, name=name, shapes=[shape], dtypes=[dtype]
    )


def _without_compiled_groups(model: Any) -> Any:
    """Return a network whose grouped convolutions are plain operations.

    Keras compiles them by XLA, into a function that no converter looks into.
    """
    import keras
    import tensorflow as tf
    from keras import layers

    def is_grouped(layer: Any) -> bool:
        return type(layer) is layers.Conv2D and layer.groups > 1

    if not any(is_grouped(layer) for layer in model.layers):
        return model

    class PlainConv2D(layers.Conv2D):  # type: ignore[misc]
        def convolution_op(self, inputs: Any, kernel: Any) -> Any:
            return tf.nn.conv2d(
                inputs, kernel, list(self.strides), self.padding.upper(), dilations=list(self.dilation_rate)
            )

    def cloned(layer: Any) -> Any:
        kind = PlainConv2D if is_grouped(layer) else layer.__class__
        return kind.from_config(layer.get_config())

    plain = keras.models.clone_model(model, clone_function=cloned)
    plain.set_weights(model.get_weights())
    return plain


def _refuse_unknown_operations(proto: Any) -> None:
    """Name what tf2onnx only logs that it cannot do, with the layer that it stands in."""
    import onnx

    unknown: dict[str, str] = {}
    for node in proto.graph.node:
        if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type):
            unknown.setdefault(node.op_type, "/".join(node.name.split("/")[1:2]) or node.name)
    if unknown:
        raise CheckFailedError(
            "ONNX has no operation for a part of the network",
            got=", ".join(f"{operation} in the layer {layer}" for operation, layer in unknown.items()),
            cure="replace the layers concerned by ones that ONNX has",
        )


class _Reader:
    """Feeds calibration tensors as ONNX Runtime asks for them."""

    def __init__(self, images: Iterator[Image]) -> None:
        self._images = images

    def get_next(self) -> dict[str, Image] | None:
        image = next(self._images, None)
        return None if image is None else {"input": image}


def _quantized(
    float_model: bytes,
    real: RealTensors,
    calibration: OnnxCalibration,
    excluded: Collection[str],
    scheme: _Scheme,
    given: Mapping[str, tuple[float, float]],
) -> bytes:
    import numpy as np
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.registry import QDQRegistry

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it recommends what is done here anyway
    try:
        ready = prepared(float_model)
        known = {node.name for node in onnx.load_from_string(ready).graph.node}
        if unknown := sorted(set(excluded) - known):
            msg = f"expected nodes of the prepared graph, got {', '.join(unknown)}"
            raise ValueError(msg)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "ready.onnx")
            path.write_bytes(ready)
            operations = scheme.operations or tuple(sorted(QDQRegistry))
            overrides = {
                name: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
                for name, (low, high) in given.items()
            }
            ranges = _ranges(path, real, calibration, operations)
            if scheme is _TENSORRT:
                overrides = _bytes_as_they_are(path, ranges) | overrides
            quantizer = QDQQuantizer(
                load_model_with_shape_infer(path),
                True,  # weights per channel
                False,  # of eight bits, not seven
                QuantType.QInt8,
                QuantType[scheme.activations],
                ranges,
                [],
                sorted(excluded),
                list(operations),
                dict(scheme.options) | {"TensorQuantOverrides": overrides},
            )
            quantizer.quantize_model()
            # Saving sorts the nodes.
            quantizer.model.save_model_to_file(str(path), False)
            made = path.read_bytes()
            return compacted(with_shared_weights_unsigned(made) if scheme is _CPU else made)
    finally:
        logger.setLevel(level)


def _ranges(model: Path, real: RealTensors, calibration: OnnxCalibration, operations: Sequence[str]) -> Any:
    """Run the images through the network, a few at a time, and return the range of each tensor."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import TensorData, TensorsData, create_calibrator

    method = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }[calibration]
    options: dict[str, object] = {"symmetric": False}
    if calibration != "minmax":
        options |= {"num_bins": BINS, "num_quantized_bins": QUANTIZED_BINS, "percentile": PERCENTILE}
    calibrator = create_calibrator(
        model,
        list(operations),
        augmented_model_path=str(model.with_name("augmented.onnx")),
        calibrate_method=method,
        extra_options=options,
    )
    for start in range(0, len(real), _TOGETHER):
        rows = range(start, min(start + _TOGETHER, len(real)))
        calibrator.collect_data(_Reader(real[row : row + 1] for row in rows))
    ranges = calibrator.compute_data()
    if calibration == "minmax":
        return ranges
    histograms = calibrator.collector.get_histogram_dict()
    pictures = _moved_input(model)
    ends = {}
    for name, found in ranges.items():
        histogram, _, least, most = histograms[name][:4]
        # Of a picture every byte counts.
        whole = histogram.sum() < BINS or name in pictures
        low, high = (least, most) if whole else found.range_value
        ends[name] = TensorData(lowest=least.dtype.type(low), highest=least.dtype.type(high))
    return TensorsData(CalibrationMethod.MinMax, ends)


def _bytes_as_they_are(model: Path, ranges: Any) -> dict[str, list[dict[str, Any]]]:
    """Give the input steps of one byte, where zero lies in the middle of the bytes.

    A symmetric range up to the byte 0 would be cut into 254 steps for 255, and round nearly every byte. From
    -127 to 127 all are exact: QuantizeLinear goes on to -128.
    """
    import numpy as np

    overrides = {}
    for name in _moved_input(model) & set(ranges.keys()):
        low, high = (float(np.ravel(end)[0]) for end in ranges[name].range_value)
        step = (high - low) / 255
        if max(-low, high) <= 128.5 * step:
            end = np.float32(127 * step)
            overrides[name] = [{"rmin": -end, "rmax": end}]
    return overrides


def _moved_input(model: Path) -> set[str]:
    """Return the names of the input and of what it is when it was moved about."""
    import onnx

    graph = onnx.load(model).graph
    names = {graph.input[0].name}
    for node in graph.node:
        if node.op_type in MOVING and node.input and node.input[0] in names:
            names.update(node.output)
    return names


def _with_short_node_names(model: bytes) -> bytes:
    import onnx

    proto = onnx.load_from_string(model)
    _name_nodes(proto.graph)
    data: bytes = proto.SerializeToString()
    return data


def _name_nodes(graph: Any) -> None:
    """Name nodes by operation and number; those that only change the number format need no name."""
    numbers: Counter[str] = Counter()
    for node in graph.node:
        node.name = "" if node.op_type in _QUANTIZERS else f"{node.op_type}{numbers[node.op_type]}"
        numbers[node.op_type] += 1


def _rename_outputs(proto: Any, names: Sequence[str]) -> None:
    graph = proto.graph
    new = {output.name: name for output, name in zip(graph.output, names, strict=True)}
    for node in graph.node:
        node.output[:] = [new.get(output, output) for output in node.output]
        node.input[:] = [new.get(source, source) for source in node.input]
    for output in graph.output:
        output.name = new[output.name]
