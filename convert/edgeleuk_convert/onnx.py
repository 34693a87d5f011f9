"""Keras to ONNX (tf2onnx), and ONNX to int8 with U8 activations for CPUs (ONNX Runtime's static QDQ)."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

# The highest that tf2onnx writes.
OPSET = 18
OUTPUT_NAMES = ("output", "features")
BATCH_NAME = "n"


def to_onnx_float32(model: Any) -> bytes:
    """Convert without quantization: input (n, H, W, C) float32 named ``input``, output ``output``.

    A second output, where `model` has one, is named ``features``.
    """
    import tensorflow as tf
    import tf2onnx

    _, height, width, channels = model.input_shape
    signature = [tf.TensorSpec((None, height, width, channels), tf.float32, name="input")]
    # tf2onnx's from_keras fails on models of Keras 3; from_function does not.
    function = tf.function(lambda tensors: model(tensors, training=False))
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    _rename_outputs(proto, OUTPUT_NAMES[: len(model.outputs)])
    # Its own names hold a counter, so that no two runs would give the same bytes.
    return compacted(proto.SerializeToString())


def to_onnx_int8(float_model: bytes, tensors: npt.NDArray[np.float32]) -> bytes:
    """Quantize to int8: unsigned activations, signed weights per channel, ranges min-max of `tensors`.

    Parameters
    ----------
    float_model : bytes
        From `to_onnx_float32`.
    tensors : (n, H, W, C) float32
        Real input of the calibration images.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        source, ready, target = (Path(folder, name) for name in ("float.onnx", "ready.onnx", "int8.onnx"))
        source.write_bytes(float_model)
        logger = logging.getLogger()
        level = logger.level
        logger.setLevel(logging.ERROR)  # it recommends what is done here anyway
        try:
            # Static shapes need no symbolic inference, and so no sympy.
            quant_pre_process(source, ready, skip_symbolic_shape=True)
            quantize_static(
                ready,
                target,
                _Reader(tensors),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        finally:
            logger.setLevel(level)
        return compacted(target.read_bytes())


def compacted(model: bytes) -> bytes:
    """Give everything inside the graph a short name: long ones are a tenth of a small network's file."""
    import onnx

    proto = onnx.load_from_string(model)
    graph = proto.graph
    outside = [value.name for value in (*graph.input, *graph.output)]
    short = {name: name for name in ("", *outside)}
    for node in graph.node:
        node.name = ""
        node.doc_string = ""
        for names in (node.input, node.output):
            names[:] = [short.setdefault(name, f"t{len(short)}") for name in names]
    for tensor in graph.initializer:
        tensor.name = short.setdefault(tensor.name, f"t{len(short)}")
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


class _Reader:
    """Feeds calibration tensors one at a time, as ONNX Runtime asks for them."""

    def __init__(self, tensors: npt.NDArray[np.float32]) -> None:
        self._tensors = iter(tensors)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        tensor = next(self._tensors, None)
        return None if tensor is None else {"input": tensor[None]}


def _rename_outputs(proto: Any, names: Sequence[str]) -> None:
    graph = proto.graph
    new = {output.name: name for output, name in zip(graph.output, names, strict=True)}
    for node in graph.node:
        node.output[:] = [new.get(output, output) for output in node.output]
        node.input[:] = [new.get(source, source) for source in node.input]
    for output in graph.output:
        output.name = new[output.name]
