"""Where the weights and the zero points of a packed network lie in its file, for tests that damage them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """Bytes of a file that hold one tensor's int8 weights."""

    offset: int
    length: int


def weight_spans(name: str, model: bytes) -> list[Span]:
    """Return the int8 weights of a TFLite or an ONNX file."""
    return _tflite_spans(model) if name.endswith(".tflite") else _onnx_spans(model)


def some_weights(name: str, model: bytes, count: int, seed: int = 0) -> list[int]:
    """Return offsets of weight bytes, evenly at random over all of them."""
    spans = weight_spans(name, model)
    ends = np.cumsum([span.length for span in spans])
    chosen = np.random.default_rng(seed).integers(ends[-1], size=count)
    offsets = []
    for position in chosen:
        index = int(np.searchsorted(ends, position, side="right"))
        span = spans[index]
        offsets.append(span.offset + int(position) - (int(ends[index]) - span.length))
    return offsets


def flipped(model: bytes, offset: int) -> bytes:
    """Flip the top bit of one byte."""
    return model[:offset] + bytes([model[offset] ^ 0x80]) + model[offset + 1 :]


def with_zero_point(model: bytes, tensor: int, by: int) -> bytes:
    """Move the zero point of one tensor of a flatbuffer."""
    from ai_edge_litert import schema_py_generated as schema

    parsed = schema.Model.GetRootAs(model, 0)
    offset = _offset_of(parsed.Subgraphs(0).Tensors(tensor).Quantization().ZeroPointAsNumpy(), model)
    moved = int.from_bytes(model[offset : offset + 8], "little", signed=True) + by
    return model[:offset] + moved.to_bytes(8, "little", signed=True) + model[offset + 8 :]


def tflite_tensors(model: bytes) -> dict[str, int]:
    """Return the input, the narrowest output, and what a depthwise convolution half way gives, by index.

    Its ReLU6 clips at the zero point; after an addition, writer and reader would agree on a wrong one.
    """
    from ai_edge_litert import schema_py_generated as schema

    parsed = schema.Model.GetRootAs(model, 0)
    graph = parsed.Subgraphs(0)
    outputs = sorted(graph.OutputsAsNumpy(), key=lambda index: graph.Tensors(index).ShapeAsNumpy()[-1])
    codes = [parsed.OperatorCodes(index).BuiltinCode() for index in range(parsed.OperatorCodesLength())]
    depthwise = [
        operator
        for operator in map(graph.Operators, range(graph.OperatorsLength()))
        if codes[operator.OpcodeIndex()] == schema.BuiltinOperator.DEPTHWISE_CONV_2D
    ]
    middle = depthwise[len(depthwise) // 2].Outputs(0)
    return {"input": int(graph.Inputs(0)), "middle": int(middle), "output": int(outputs[0])}


def _tflite_spans(model: bytes) -> list[Span]:
    from ai_edge_litert import schema_py_generated as schema

    parsed = schema.Model.GetRootAs(model, 0)
    graph = parsed.Subgraphs(0)
    spans = []
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        buffer = parsed.Buffers(tensor.Buffer())
        if tensor.Type() == schema.TensorType.INT8 and buffer.DataLength():
            spans.append(Span(_offset_of(buffer.DataAsNumpy(), model), buffer.DataLength()))
    return spans


def _onnx_spans(model: bytes) -> list[Span]:
    import onnx

    # Scales' zero points are int8 too, and mostly zeros: found by what stands around them they would be
    # mistaken for each other, so only what is longer than any of them is taken.
    weights = [
        tensor.raw_data
        for tensor in onnx.load_from_string(model).graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and any(tensor.raw_data)
    ]
    return [Span(model.index(data), len(data)) for data in weights]


def _offset_of(part: np.ndarray, whole: bytes) -> int:
    start = np.frombuffer(whole, np.uint8).__array_interface__["data"][0]
    return int(part.__array_interface__["data"][0]) - int(start)
