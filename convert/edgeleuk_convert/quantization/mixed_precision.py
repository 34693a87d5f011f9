"""int8 with ranges of one's own and with some layers left in float: TFLite by ai-edge-quantizer, and ONNX.

TensorFlow's converter knows neither. What stays in float stays so with all that reads or writes its output,
because a tensor between two int8 layers would be rounded again. 16-bit layers would be the other way, but
LiteRT has no fast kernels for them: an int16x8 network took 16 to 33 times as long as an int8 one.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.errors import MissingDependencyError, extra_cure
from edgeleuk_convert.quantization.graph import Key, consumers, matched, onnx_graph, tflite_graph
from edgeleuk_convert.quantization.layer_runs import TfliteNetwork
from edgeleuk_convert.quantization.onnx import prepared, to_onnx_int8

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy.typing as npt

    from edgeleuk_convert.quantization.calibration_data import RealTensors
    from edgeleuk_convert.quantization.graph import Graph

    Tensor = npt.NDArray[np.float32]
    Ranges = dict[Key, tuple[float, float]]

# Numbers of a tensor that are kept of each image to choose its range by.
SAMPLES = 1024
# Shares of the whole range that are tried at either end.
SHARES = np.linspace(0.2, 1.0, 33)
LEVELS = 255


def observed_ranges(model: bytes, real: RealTensors, *, clipped: bool, symmetric: bool = False) -> Ranges:
    """Run a float network on calibration images and find a range for each layer's output.

    Parameters
    ----------
    model : bytes
        TFLite, float32.
    real : RealTensors
        (n, H, W, C) float32.
    clipped : bool
        Choose the range whose 255 steps give the least mean squared error, clipping included (Nagel et al.,
        "A White Paper on Neural Network Quantization", 2021, section 3.1); else from least to largest.
    symmetric : bool
        From ``-high`` to ``high``.

    Returns
    -------
    dict
        Tensor of `tflite_graph` -> (low, high).
    """
    network = TfliteNetwork(model)
    least: dict[Key, float] = {}
    largest: dict[Key, float] = {}
    kept: dict[Key, list[Tensor]] = {}
    generator = np.random.default_rng(0)
    for row in range(len(real)):
        for key, values in network.values(real[row : row + 1][0]).items():
            flat = values.ravel()
            least[key] = min(least.get(key, 0.0), float(flat.min()))
            largest[key] = max(largest.get(key, 0.0), float(flat.max()))
            # One image may not fill the memory, nor may the most frequent place be all that is seen.
            kept.setdefault(key, []).append(
                flat if flat.size <= SAMPLES else flat[generator.integers(0, flat.size, SAMPLES)]
            )
    if symmetric:
        largest = {key: max(largest[key], -least[key]) for key in largest}
        least = {key: -high for key, high in largest.items()}
    if not clipped:
        return {key: (least[key], largest[key]) for key in least}
    best = best_symmetric_range if symmetric else best_range
    return {key: best(np.concatenate(kept[key]), least[key], largest[key]) for key in least}


def best_range(values: Tensor, least: float, largest: float) -> tuple[float, float]:
    """Return the part of ``least`` to ``largest``, 0 within, that 255 steps render with the least error.

    Examples
    --------
    >>> best_range(np.linspace(0, 1, 1001, dtype=np.float32), 0.0, 1.0)
    (0.0, 1.0)
    """
    best, error = (least, largest), _rounding(values, least, largest)
    # One end, then the other: 65 tries in place of a thousand.
    for lows, highs in ((SHARES, [1.0]), ([1.0], SHARES)):
        low0, high0 = best
        for low_share in lows:
            for high_share in highs:
                low, high = low0 * float(low_share), high0 * float(high_share)
                tried = _rounding(values, low, high)
                if tried < error:
                    best, error = (low, high), tried
    return best


def best_symmetric_range(values: Tensor, least: float, largest: float) -> tuple[float, float]:
    """Return the same for a range from ``-largest`` to `largest`, cut alike at both ends.

    Examples
    --------
    >>> best_symmetric_range(np.linspace(0, 1, 1001, dtype=np.float32), -1.0, 1.0)
    (-1.0, 1.0)
    """
    # Of equals the widest.
    share = float(min(SHARES[::-1], key=lambda share: _rounding(values, least * share, largest * share)))
    return least * share, largest * share


def surroundings(graph: Graph, numbers: Collection[int]) -> set[int]:
    """Return layers with all that read their outputs: between these the outputs can stay in float."""
    around = set(numbers)
    for number in numbers:
        around.update(consumers(graph, graph.nodes[number].output))
    return around


def to_tflite_mixed(
    float_model: bytes, ranges: Ranges, in_float: Collection[int], input_range: tuple[float, float]
) -> bytes:
    """Quantize a float network with given ranges, some layers left in float.

    Parameters
    ----------
    float_model : bytes
        TFLite.
    ranges : dict
        From `observed_ranges` of it.
    in_float : collection of int
        Numbers of layers of `tflite_graph`.
    input_range : (low, high)
        Real values of bytes 0 and 255.

    Returns
    -------
    bytes
        A flatbuffer with int8 input and output.

    Raises
    ------
    MissingDependencyError
        ai-edge-quantizer is not installed.
    """
    try:
        from ai_edge_quantizer import qtyping, quantizer
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
    except ImportError as error:
        raise MissingDependencyError(
            "ai-edge-quantizer is not installed",
            got=str(error),
            cure=f"install it with: {extra_cure('workstation')}",
        ) from error
    from edgeleuk_convert.quantization.graph import read_flatbuffer, write_flatbuffer

    graph = tflite_graph(float_model)
    tensors = read_flatbuffer(float_model).subgraphs[0].tensors
    every = qtyping.TFLOperationName.ALL_SUPPORTED
    work = quantizer.Quantizer(float_model)
    work.add_static_config(".*", every, activation_num_bits=8, weight_num_bits=8)
    for number in sorted(in_float):
        name = tensors[int(graph.nodes[number].output)].name.decode()
        work.update_quantization_recipe(
            f"^{re.escape(name)};?$", every, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    of_tensor = {**ranges, graph.input: input_range}
    known = {
        tensors[int(key)].name.decode(): _statistics(low, high, len(tensors[int(key)].shape))
        for key, (low, high) in of_tensor.items()
    }
    with warnings.catch_warnings():
        # It looks at the network with every tensor kept, and LiteRT warns of the memory that takes.
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors", category=UserWarning)
        made = bytes(work.quantize(known, enable_progress_report=False).quantized_model)
    # It may put weights behind the flatbuffer, where TFLite Micro does not find them.
    return write_flatbuffer(read_flatbuffer(made))


def to_onnx_mixed(
    float_model: bytes,
    reference: bytes,
    ranges: Ranges,
    in_float: Collection[int],
    real: RealTensors,
    *,
    tensorrt: bool = False,
) -> bytes:
    """Quantize a float ONNX network with the ranges and the float layers of its TFLite twin.

    Parameters
    ----------
    float_model : bytes
        From `to_onnx_float32`.
    reference : bytes
        The same network, TFLite float32.
    ranges : dict
        From `observed_ranges` of `reference`.
    in_float : collection of int
        Numbers of layers of `reference`.
    real : RealTensors
        Calibration images, (n, H, W, C) float32, for what has no counterpart.
    tensorrt : bool
        As TensorRT wants it.
    """
    import onnx

    ready = prepared(float_model)
    proto = onnx.load_from_string(ready)
    of_output = {name: node.name for node in proto.graph.node for name in node.output}
    of_float, graph = tflite_graph(reference), onnx_graph(ready)
    given, excluded = {}, []
    for number, counterpart in matched(of_float, graph).items():
        node, twin = graph.nodes[number], of_float.nodes[counterpart]
        if counterpart in in_float:
            excluded += _between(proto, of_output, str(node.operation), str(node.output))
        elif twin.output in ranges:
            given[str(node.output)] = ranges[twin.output]
    return to_onnx_int8(float_model, real, excluded=excluded, given=given, tensorrt=tensorrt)


def _statistics(low: float, high: float, rank: int) -> dict[str, Any]:
    """Write a range as ai-edge-quantizer does: one number in as many dimensions as the tensor has."""
    shape = (1,) * rank
    return {"min": np.full(shape, low, np.float32), "max": np.full(shape, high, np.float32)}


def _between(proto: Any, of_output: Mapping[str, str], first: str, last: str) -> list[str]:
    """Return the names of a layer's operations: from its first one to its activation's."""
    nodes = {node.name: node for node in proto.graph.node}
    names = [of_output[last]]
    while names[-1] != of_output[first]:
        names.append(of_output[nodes[names[-1]].input[0]])
    return names


def _rounding(values: Tensor, low: float, high: float) -> float:
    """Return the mean squared error of 255 steps from `low` to `high`, clipping included."""
    step = (high - low) / LEVELS
    if step <= 0:
        return float(np.mean(values.astype(np.float64) ** 2))
    rendered = np.clip(np.rint((values - low) / step), 0, LEVELS) * step + low
    return float(np.mean((rendered - values) ** 2, dtype=np.float64))
