"""Signal-to-quantization-noise of every layer of an int8 network: where the damage is done.

``SQNR = 10 log10(sum of x^2 / sum of (x - x_int8)^2)`` in decibels (Lin, Talathi and
Annapureddy, "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, section 3.1); 6 dB are one
bit. Two things make the figure point at the layer at fault:

- What a layer adds is told from what it inherits: the float layer is given the int8 layer's own dequantized
  input, and only what differs then is the layer's *own* noise.
- Each channel counts by how strongly it reaches the answer: by the squares of the weights on its way, summed
  over all ways. A channel that is a thousand times as large as the others, and is divided by a thousand by
  the next layer, would hide in a plain sum that the others were lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk_convert.quantization.graph import (
    Graph,
    Key,
    Node,
    matched,
)
from edgeleuk_convert.quantization.layer_runs import (
    ApartNetwork,
    LayerNetwork,
    OnnxNetwork,
    PowerSums,
    TfliteNetwork,
    laid_out_alike,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from edgeleuk.io.console import Progress

    Floats = npt.NDArray[np.float64]
    Tensor = npt.NDArray[np.float32]

REFERENCE_MEMBER = "model.float32.tflite"
# Where nothing differs.
NOISELESS_DB = 120.0
# How many cells the ranking looks at: it needs no more to be steady.
IMAGES = 32
WORST_CHANNELS = 5
WORST_LAYERS = 10


@dataclass(frozen=True, slots=True)
class LayerNoise:
    """What int8 does to one layer.

    Attributes
    ----------
    name, kind : str
    number : int
        In the float network.
    sqnr_db : float
        Of its output against the float network's, with all that came before.
    own_sqnr_db : float
        Of its output against the float layer's on the same input; of the network's answer without the mean
        error, for its bias takes that of all other layers away.
    weight_sqnr_db : (channels,) float64, optional
        Of each output channel's weights; None where it has none.
    own_error : (channels,) float64
        Mean of its output less the float layer's on the same input.
    node : Node
        In the int8 network.
    """

    name: str
    kind: str
    number: int
    sqnr_db: float
    own_sqnr_db: float
    weight_sqnr_db: Floats | None
    own_error: Floats
    node: Node

    def to_json(self, network: str) -> dict[str, Any]:
        """Return the layer as ``validate --layers --json`` prints it."""
        worst = () if self.weight_sqnr_db is None else np.argsort(self.weight_sqnr_db)[:WORST_CHANNELS]
        return {
            "network": network,
            "name": self.name,
            "op": self.kind,
            "sqnr_db": self.sqnr_db,
            "own_sqnr_db": self.own_sqnr_db,
            "weight_channels_worst": [
                {"channel": int(channel), "sqnr_db": float(self.weight_sqnr_db[channel])}
                for channel in worst
                if self.weight_sqnr_db is not None
            ],
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """Layers of one int8 network in the order of the network, and how many had no counterpart."""

    layers: tuple[LayerNoise, ...]
    unmatched: int

    def worst_first(self) -> list[LayerNoise]:
        """Rank by the noise that each layer adds by itself."""
        return sorted(self.layers, key=lambda layer: layer.own_sqnr_db)


def measure(
    reference: bytes,
    member: str,
    model: bytes,
    real: Tensor,
    *,
    progress: Progress | None = None,
) -> Measured:
    """Compare each layer of an int8 network with the float network's.

    Parameters
    ----------
    reference : bytes
        The float network, TFLite.
    member : str
        ``*.tflite`` or ``*.onnx``.
    model : bytes
        The int8 network.
    real : (n, H, W, C) float32
        Real input.
    progress : callable, optional
        Told (done, total).
    """
    float_network = TfliteNetwork(reference)
    network: LayerNetwork = OnnxNetwork(model) if member.endswith(".onnx") else TfliteNetwork(model)
    graph, other = float_network.graph, network.graph
    pairs = matched(graph, other)
    counterpart = {of_float: number for number, of_float in pairs.items()}
    apart = ApartNetwork(reference, graph)
    weigh = importance(graph)
    sums = {number: PowerSums() for number in counterpart}
    for row, tensor in enumerate(real):
        of_float = float_network.values(tensor)
        of_int8 = network.values(tensor)
        seen = dict(of_float)
        if other.input in of_int8:
            seen[graph.input] = of_int8[other.input]
        for number, index in counterpart.items():
            key = graph.nodes[number].output
            seen[key] = laid_out_alike(
                of_int8[other.nodes[index].output], of_float[key], channels_first=member.endswith(".onnx")
            )
        on_same_input = apart.values(seen)
        for number, total in sums.items():
            key = graph.nodes[number].output
            total.add(of_float[key], on_same_input[key], seen[key])
        if progress is not None:
            progress(row + 1, len(real))
    layers, read = [], _read(graph)
    for number in sorted(counterpart):
        node, theirs = graph.nodes[number], other.nodes[counterpart[number]]
        total, weight = sums[number], weigh[node.output]
        own_noise = total.own_noise
        if node.output not in read:
            # The last bias takes the mean error of the whole network away on purpose.
            own_noise = np.maximum(own_noise - total.own_error**2 / total.positions, 0)
        layers.append(
            LayerNoise(
                name=node.name,
                kind=node.kind,
                number=number,
                sqnr_db=sqnr_db(total.signal @ weight, total.noise @ weight),
                own_sqnr_db=sqnr_db(total.own_signal @ weight, own_noise @ weight),
                weight_sqnr_db=weight_sqnr_db(node, theirs),
                own_error=total.own_error / total.positions,
                node=theirs,
            )
        )
    return Measured(tuple(layers), len(other.nodes) - len(pairs))


def sqnr_db(signal: float, noise: float) -> float:
    """Return 10 log10(signal / noise), at most `NOISELESS_DB`, and that where there is neither.

    Examples
    --------
    >>> sqnr_db(100.0, 1.0), sqnr_db(0.0, 0.0), sqnr_db(0.0, 1.0)
    (20.0, 120.0, -120.0)
    """
    if noise <= 0:
        return NOISELESS_DB
    return float(np.clip(10 * np.log10(max(signal / noise, 1e-12)), -NOISELESS_DB, NOISELESS_DB))


def weight_sqnr_db(node: Node, quantized: Node) -> Floats | None:
    """Return the SQNR of each output channel's weights; None where there are none to compare."""
    if node.weights is None or quantized.weights is None or node.weights.shape != quantized.weights.shape:
        return None
    signal = (node.weights**2).sum(axis=(0, 1))
    noise = ((node.weights - quantized.weights) ** 2).sum(axis=(0, 1))
    return np.array([sqnr_db(s, n) for s, n in zip(signal, noise, strict=True)])


def importance(graph: Graph) -> dict[Key, Floats]:
    """Return, for each layer's output, how strongly each channel reaches the answer.

    The squares of the weights on the way, summed over all ways: what noise of one unit in the channel would
    come to at the end, if signs were random and nothing were clipped. Scaling a channel by s and what reads
    it by 1 / s divides its importance by s^2, so that importance times power stays what it was.
    """
    weigh = {node.output: np.zeros(_channels(graph, node)) for node in graph.nodes}
    read = _read(graph)
    for node in reversed(graph.nodes):
        if node.output not in read:
            weigh[node.output] += 1
        after = weigh[node.output]
        start = 0
        for key in node.inputs:
            if key not in weigh:
                continue
            before = weigh[key]
            if node.kind == "concat" and len(after) > start + len(before) - 1:
                before += after[start : start + len(before)]
                start += len(before)
            elif node.kind == "depthwise" and node.weights is not None:
                # A multiplier makes neighbours of one input's outputs.
                before += ((node.weights**2).sum(axis=(0, 1)) * after).reshape(len(before), -1).sum(axis=1)
            elif node.weights is not None:
                before += _folded((node.weights**2).sum(axis=0) @ after, len(before))
            else:
                before += _folded(after, len(before))
    return weigh


def ranking(measured: Mapping[str, Measured]) -> dict[str, Any]:
    """Return ``layers`` and ``layers_unmatched`` of ``validate --layers --json``, worst layer first."""
    rows = [layer.to_json(key) for key, of_network in measured.items() for layer in of_network.layers]
    return {
        "layers": sorted(rows, key=lambda row: row["own_sqnr_db"]),
        "layers_unmatched": {key: of_network.unmatched for key, of_network in measured.items()},
    }


def _read(graph: Graph) -> set[Key]:
    """Return the outputs that some layer reads."""
    return {key for node in graph.nodes for key in node.inputs}


def _channels(graph: Graph, node: Node) -> int:
    shape = graph.shapes[node.output]
    return shape[-1] if shape else 1


def _folded(values: Floats, channels: int) -> Floats:
    """Sum over what a flattening made of one channel."""
    if len(values) == channels or len(values) % channels:
        return values if len(values) == channels else np.full(channels, values.mean())
    return np.asarray(values.reshape(-1, channels).sum(axis=0))
