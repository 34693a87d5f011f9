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
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgeleuk.bundle.manifest import MODEL_FILES
from edgeleuk.inference.onnx_session import open_session
from edgeleuk.inference.quantization import look_up, real_table
from edgeleuk_convert.quantization.graph import (
    Graph,
    Key,
    Node,
    matched,
    onnx_graph,
    read_flatbuffer,
    tflite_graph,
    write_flatbuffer,
)
from edgeleuk_convert.quantization.tflite import silenced
from edgeleuk_convert.training.checkpoint import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk_convert.dataset.cnmc import LabelledCell

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


class _Network(Protocol):
    """A network whose layers' outputs can be read."""

    graph: Graph

    def values(self, real: Tensor) -> dict[Key, Tensor]:
        """Return every layer's output for one (H, W, C) input, in real numbers, and the input as seen."""
        ...


def measure(
    reference: bytes,
    member: str,
    model: bytes,
    real: Tensor,
    *,
    progress: Callable[[int, int], None] | None = None,
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
    network: _Network = _OnnxNetwork(model) if member.endswith(".onnx") else TfliteNetwork(model)
    graph, other = float_network.graph, network.graph
    pairs = matched(graph, other)
    counterpart = {of_float: number for number, of_float in pairs.items()}
    apart = _ApartNetwork(reference, graph)
    weigh = importance(graph)
    sums = {number: _Sums() for number in counterpart}
    for row, tensor in enumerate(real):
        of_float = float_network.values(tensor)
        of_int8 = network.values(tensor)
        seen = dict(of_float)
        if other.input in of_int8:
            seen[graph.input] = of_int8[other.input]
        for number, index in counterpart.items():
            key = graph.nodes[number].output
            seen[key] = _laid_out_alike(
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


def rank_bundle(
    members: Mapping[str, bytes],
    contract: InputContract,
    cells: Sequence[LabelledCell],
    out: Path | None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Rank the layers of a bundle's int8 networks.

    Parameters
    ----------
    members : mapping of str to bytes
        Of the bundle; the float reference among them.
    contract : InputContract
    cells : sequence of LabelledCell
        Spread over these, `IMAGES` are looked at.
    out : Path, optional
        Folder for ``layers.png``.
    progress : callable, optional
        Told (done, total).

    Returns
    -------
    dict
        What `ranking` returns, ``layers_images``, and ``layers_plot`` where there is one.
    """
    from edgeleuk_convert.training.trainer import load_tensors

    chosen = [cells[index] for index in np.unique(np.linspace(0, len(cells) - 1, IMAGES).astype(int))]
    real = look_up(real_table(contract.scale, contract.offset), load_tensors(chosen, contract))
    names = [name for name, model in MODEL_FILES.items() if name in members and model.precision == "int8"]
    measured = {}
    for turn, name in enumerate(names):

        def report(done: int, _: int, turn: int = turn) -> None:
            if progress is not None:
                progress(turn * len(real) + done, len(names) * len(real))

        with silenced():
            measured[MODEL_FILES[name].key] = measure(
                members[REFERENCE_MEMBER], name, members[name], real, progress=report
            )
    result = ranking(measured) | {"layers_images": len(real)}
    if out is None:
        return result
    plot = out / "layers.png"
    replace_file(plot, layers_figure(measured))
    return result | {"layers_plot": str(plot)}


def layers_text(result: Mapping[str, Any]) -> str:
    """Say which layers are worst."""
    rows = result["layers"]
    lines = [
        "signal to quantization noise, worst first (what the layer adds, with all before it, weights):",
        f"  {'network':<12} {'layer':<28} {'kind':<11} {'adds':>6} {'in all':>7}  weights",
    ]
    for row in rows[:WORST_LAYERS]:
        worst = row["weight_channels_worst"][:1]
        weights = f"{worst[0]['sqnr_db']:.1f} (channel {worst[0]['channel']})" if worst else "-"
        lines.append(
            f"  {row['network']:<12} {row['name']:<28} {row['op']:<11} {row['own_sqnr_db']:>6.1f}"
            f" {row['sqnr_db']:>7.1f}  {weights}"
        )
    lines += [f"  plot: {result['layers_plot']}"] if "layers_plot" in result else []
    unmatched = {key: count for key, count in result["layers_unmatched"].items() if count}
    lines += [f"  {count} layers of {key} have no counterpart in float" for key, count in unmatched.items()]
    return "\n".join(lines)


def layers_figure(measured: Mapping[str, Measured]) -> bytes:
    """Draw SQNR along each network; the three layers that add the most noise are red.

    Raises
    ------
    MissingDependencyError
        Matplotlib is not installed.
    """
    from edgeleuk_convert.reports.report_plots import BLAST, COLOURS, GREY, new_figure, png

    longest = max((len(of_network.layers) for of_network in measured.values()), default=1)
    figure = new_figure(max(6.0, 1.5 + 0.19 * longest), 3.6 * len(measured))
    for axes, (key, of_network) in zip(
        figure.subplots(len(measured), squeeze=False)[:, 0], measured.items(), strict=True
    ):
        layers = of_network.layers
        places = range(len(layers))
        axes.plot(places, [layer.sqnr_db for layer in layers], color=GREY, label="output, all noise")
        axes.plot(
            places,
            [layer.own_sqnr_db for layer in layers],
            "o-",
            color=COLOURS[0],
            markersize=3.5,
            label="output, what the layer adds",
        )
        weighted = [
            (place, layer.weight_sqnr_db.min())
            for place, layer in enumerate(layers)
            if layer.weight_sqnr_db is not None
        ]
        if weighted:
            axes.plot(
                *zip(*weighted, strict=True),
                "x",
                color=COLOURS[2],
                markersize=4,
                label="weights, worst channel",
            )
        worst = {layer.number for layer in of_network.worst_first()[:3]}
        red = [place for place, layer in enumerate(layers) if layer.number in worst]
        axes.plot(
            red, [layers[place].own_sqnr_db for place in red], "o", color=BLAST, markersize=7, label="worst"
        )
        axes.set_xticks(places, [layer.name for layer in layers], rotation=90, fontsize=6)
        # What is exact would press all else to the floor.
        axes.set(
            ylabel="SQNR (dB)", title=key, ylim=(min(-3, *(layer.own_sqnr_db for layer in layers)) - 2, 70)
        )
        axes.legend(fontsize=7, loc="upper right")
    return png(figure)


class _Sums:
    """Powers of one layer's output, channel by channel, summed over images and positions."""

    def __init__(self) -> None:
        self.signal: Any = 0.0
        self.noise: Any = 0.0
        self.own_signal: Any = 0.0
        self.own_noise: Any = 0.0
        self.own_error: Any = 0.0
        self.positions = 0

    def add(self, reference: Tensor, on_same_input: Tensor, quantized: Tensor) -> None:
        """Add one image."""
        exact, given, got = (
            np.asarray(tensor, np.float64).reshape(-1, tensor.shape[-1])
            for tensor in (reference, on_same_input, quantized)
        )
        self.signal = self.signal + (exact**2).sum(axis=0)
        self.noise = self.noise + ((got - exact) ** 2).sum(axis=0)
        self.own_signal = self.own_signal + (given**2).sum(axis=0)
        self.own_noise = self.own_noise + ((got - given) ** 2).sum(axis=0)
        self.own_error = self.own_error + (got - given).sum(axis=0)
        self.positions += len(exact)


class TfliteNetwork:
    """A TFLite network, float or int8, that keeps every tensor."""

    def __init__(self, model: bytes) -> None:
        self.graph = tflite_graph(model)
        self._interpreter = _interpreter(model, keep=True)
        self._source = self._interpreter.get_input_details()[0]
        self._details = {details["index"]: details for details in self._interpreter.get_tensor_details()}

    def values(self, real: Tensor) -> dict[Key, Tensor]:
        """Run the network on one (H, W, C) input."""
        scale, zero = self._source["quantization"]
        given = real
        if scale:
            limits = np.iinfo(self._source["dtype"])
            given = np.clip(np.rint(real / scale) + zero, limits.min, limits.max)
        self._interpreter.set_tensor(self._source["index"], given[np.newaxis].astype(self._source["dtype"]))
        self._interpreter.invoke()
        keys = (self.graph.input, *(node.output for node in self.graph.nodes))
        return {key: self._real(int(key)) for key in keys}

    def _real(self, index: int) -> Tensor:
        values = self._interpreter.get_tensor(index)
        scale, zero = self._details[index]["quantization"]
        if not scale:
            return np.asarray(values, np.float32)
        return np.asarray((values.astype(np.float32) - zero) * scale, np.float32)


class _OnnxNetwork:
    """An ONNX network that gives every layer's output."""

    def __init__(self, model: bytes) -> None:
        import onnx

        self.graph = onnx_graph(model)
        proto = onnx.load_from_string(model)
        self._names = [str(node.output) for node in self.graph.nodes]
        outside = {output.name for output in proto.graph.output}
        proto.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in self._names if name not in outside
        )
        self._session = open_session(proto.SerializeToString())

    def values(self, real: Tensor) -> dict[Key, Tensor]:
        """Run the network on one (H, W, C) input."""
        answers = self._session.run(self._names, {str(self.graph.input): real[np.newaxis]})
        return dict(zip(self._names, answers, strict=True))


class _ApartNetwork:
    """A float network cut into its layers: each is given its input, and none feeds another."""

    def __init__(self, model: bytes, graph: Graph) -> None:
        import copy

        flat = read_flatbuffer(model)
        cut = flat.subgraphs[0]
        fed: dict[int, int] = {}
        self._outputs = [int(node.output) for node in graph.nodes]
        for key in self._outputs:
            twin = copy.copy(cut.tensors[key])
            twin.name = f"given_{key}".encode()
            cut.tensors.append(twin)
            fed[key] = len(cut.tensors) - 1
        for operator in cut.operators:
            operator.inputs = [fed.get(int(key), int(key)) for key in operator.inputs]
        cut.inputs = [int(graph.input), *fed.values()]
        cut.outputs = self._outputs
        # They name inputs and outputs that are no more.
        flat.signatureDefs = []
        self._fed = {
            key: index for key, index in fed.items() if any(index in op.inputs for op in cut.operators)
        }
        cut.inputs = [int(graph.input), *self._fed.values()]
        self._input = int(graph.input)
        self._interpreter = _interpreter(write_flatbuffer(flat), keep=False)

    def values(self, given: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
        """Return every layer's output on the inputs in `given`."""
        for key, index in {self._input: self._input, **self._fed}.items():
            self._interpreter.set_tensor(index, given[key])
        self._interpreter.invoke()
        return {key: self._interpreter.get_tensor(key) for key in self._outputs}


def _interpreter(model: bytes, *, keep: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Delegates keep what is between their operations to themselves.
    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=keep,
    )
    interpreter.allocate_tensors()
    return interpreter


def _laid_out_alike(values: Tensor, like: Tensor, *, channels_first: bool) -> Tensor:
    """Bring an ONNX picture (n, C, H, W) to TFLite's (n, H, W, C)."""
    if channels_first and values.ndim == 4:
        # Where all sides are alike, no shape tells.
        moved = values.transpose(0, 2, 3, 1)
        values = moved if moved.shape == like.shape else values
    return np.ascontiguousarray(values, np.float32).reshape(like.shape)


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
