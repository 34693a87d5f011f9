"""Mend int8 networks that fail the gate: better ranges, equalized channels, biases, some float layers.

Each step is judged; the first that does not fail ends the search. A step that does not suffice stays where it
brought int8 nearer to float on the calibration images, so that the next begins from there. Networks that pass
are left alone, unless the channels are equalized, for all share one float reference.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.bundle.manifest import MODEL_FILES
from edgeleuk.classifier.classifier import open_networks
from edgeleuk.errors import CheckFailedError
from edgeleuk.inference.quantization import real_ends
from edgeleuk_convert.bundling.pack import KINDS
from edgeleuk_convert.environment import silenced
from edgeleuk_convert.quantization.agreement import LEAST_CORRELATION, agreement_of, correlation_text
from edgeleuk_convert.quantization.audit import audit_with_float, require_kept_promises
from edgeleuk_convert.quantization.bias_correction import without_mean_errors
from edgeleuk_convert.quantization.calibration_data import answers
from edgeleuk_convert.quantization.equalization import TOLERANCE, equalized
from edgeleuk_convert.quantization.graph import consumers, matched, tflite_graph
from edgeleuk_convert.quantization.layer_noise import measure
from edgeleuk_convert.quantization.mixed_precision import (
    observed_ranges,
    surroundings,
    to_onnx_mixed,
    to_tflite_mixed,
)
from edgeleuk_convert.quantization.onnx import to_onnx_float32
from edgeleuk_convert.quantization.prepare import (
    ONNX_MEMBER,
    REFERENCE_MEMBER,
    TENSORRT_MEMBER,
    TFLITE_MEMBER,
    Quantizer,
    subset,
)
from edgeleuk_convert.quantization.tflite import to_tflite_float32, with_features

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk_convert.bundling.converted import Converted
    from edgeleuk_convert.quantization.agreement import Agreement
    from edgeleuk_convert.quantization.audit import NetworkAudit
    from edgeleuk_convert.quantization.calibration_data import Tensors
    from edgeleuk_convert.quantization.layer_noise import Measured
    from edgeleuk_convert.quantization.mixed_precision import Ranges
    from edgeleuk_convert.quantization.onnx import OnnxCalibration

# Calibration images by which layers are ranked and biases corrected.
MEASURED_IMAGES = 32
# Layers whose output stays in float, try after try; half of a network at most.
FLOAT_LAYERS = (1, 2, 4, 8, 16, 32)
TIMED_IMAGES, TIMED_ROUNDS = 20, 9
# Float networks that are kept for the next try: to make one takes longer than to quantize it.
KEPT_NETWORKS = 6


@dataclass(frozen=True, slots=True)
class AcceptanceVerdict:
    """What a gate says of networks.

    Attributes
    ----------
    verdict : str
        ``pass``, ``fail``, or ``undecided``: then images are missing, which no conversion brings.
    reasons : tuple of str
    """

    verdict: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """Networks that are tried.

    Attributes
    ----------
    step : str
        ``ranges``, ``equalization``, ``bias`` or ``float``.
    networks : mapping of str to bytes
        By member, the float reference among them.
    quantizer : Quantizer
        Of the network that they were made of.
    clipped : mapping of str to bool
        Members whose ranges are not from least to largest.
    float_layers : mapping of str to tuple of str
        Names of the layers in float, by member.
    note : str
        What was done, for people.
    """

    step: str
    networks: Mapping[str, bytes]
    quantizer: Quantizer
    clipped: Mapping[str, bool]
    float_layers: Mapping[str, tuple[str, ...]]
    note: str


def repair(
    tensors: Tensors,
    converted: Converted,
    judge: Callable[[Mapping[str, bytes]], AcceptanceVerdict],
    *,
    progress: Callable[[str], None],
    onnx_calibration: OnnxCalibration = "minmax",
) -> tuple[Converted, dict[str, Any]]:
    """Try one remedy after the other until the gate no longer fails.

    Parameters
    ----------
    tensors : Tensors
        Calibration images, preprocessed: (n, H, W, C) uint8.
    converted : Converted
        What `convert_networks` made, not strictly: repair begins with the network that it prepared.
    judge : callable
        Given the float reference and one int8 network by their members' names, tells whether that may pass.
    progress : callable
        Told what begins.
    onnx_calibration : str
        As for the conversion.

    Returns
    -------
    Converted
        The first networks that do not fail; where all do, those nearest to float.
    dict
        ``needed``, ``step`` (None where nothing helped), ``reasons`` that are left, ``tried`` (each with its
        verdict, reasons and the networks' correlation and distance from float), ``float_layers``, and
        ``cost`` by network: bytes and milliseconds a cell, before and after, and their ratios.
    """
    bench = _Bench(tensors, converted, judge, progress, onnx_calibration)
    before = bench.best
    if bench.verdict(before).verdict != "fail":
        return converted, {"needed": False, "step": None, "tried": []}
    tried = [bench.facts(before)]
    chosen = None
    for steps in (bench.better_ranges, bench.equalization, bench.bias, bench.in_float):
        for candidate in steps():
            tried.append(bench.facts(candidate))
            if tried[-1]["verdict"] != "fail":
                chosen = candidate
                break
            bench.keep_if_nearer(candidate)
        if chosen:
            break
    final = chosen or bench.best
    unchanged = [of for of in converted.agreements if of.member not in bench.members]
    agreements = tuple(sorted((*bench.agreements(final), *unchanged), key=lambda of: of.member))
    audits = bench.audits(final, converted)
    require_kept_promises(audits)
    report = {
        "needed": True,
        "step": chosen.step if chosen else None,
        "tried": tried,
        "reasons": list(bench.verdict(final).reasons),
        "float_layers": {MODEL_FILES[name].key: list(of) for name, of in final.float_layers.items() if of},
        "cost": bench.cost(before, final),
    }
    return replace(converted, networks=dict(final.networks), agreements=agreements, audits=audits), report


def outputs_of(
    networks: Mapping[str, bytes], contract: InputContract, tensors: Tensors
) -> dict[str, npt.NDArray[np.float32]]:
    """Run networks on the device's runtimes: member name -> (n, K) outputs."""
    with open_networks(networks, contract) as opened:
        return {
            name: answers(opened[model.key], tensors)
            for name, model in MODEL_FILES.items()
            if name in networks
        }


class _Bench:
    """What is worked on, what is best so far, and the tools."""

    def __init__(
        self,
        tensors: Tensors,
        converted: Converted,
        judge: Callable[[Mapping[str, bytes]], AcceptanceVerdict],
        progress: Callable[[str], None],
        onnx_calibration: OnnxCalibration,
    ) -> None:
        prepared = converted.prepared
        self.output, self.contract = prepared.output, prepared.input
        self._onnx_calibration = onnx_calibration
        self.tensors = tensors
        start = Quantizer(prepared, tensors, converted.networks)
        self.real = start.real
        self._judge = judge
        self._progress = progress
        self._judged: dict[bytes, AcceptanceVerdict] = {}
        self._ranges: dict[bytes, Ranges] = {}
        self._floats: dict[bytes, bytes] = {}
        self.members = [
            name for name in (TFLITE_MEMBER, ONNX_MEMBER, TENSORRT_MEMBER) if name in converted.networks
        ]
        plainly = dict.fromkeys(self.members, False)
        self.best = Candidate(
            "none", dict(converted.networks), start, plainly, dict.fromkeys(self.members, ()), "as converted"
        )

    def better_ranges(self) -> Iterator[Candidate]:
        """Choose each activation's range for the least error of rounding and clipping together."""
        self._progress("repair: better ranges")
        failing = self._failing()
        built = {name: self._built(name, self.best.quantizer, clipped=True) for name in failing}
        yield replace(
            self.best,
            step="ranges",
            networks={**self.best.networks, **built},
            clipped={**self.best.clipped, **dict.fromkeys(failing, True)},
            note="ranges of the least squared error",
        )

    def equalization(self) -> Iterator[Candidate]:
        """Equalize channels; the float reference becomes the equalized network, which answers the same."""
        with silenced():
            even, count = equalized(self.best.quantizer.prepared.model)
        if not count:
            return
        self._progress("repair: cross-layer equalization")
        quantizer = self.best.quantizer.with_model(even)
        answers = [
            outputs_of(of, self.contract, self.tensors)[REFERENCE_MEMBER]
            for of in (self.best.quantizer.reference, quantizer.reference)
        ]
        difference = float(np.abs(answers[1] - answers[0]).max())
        if not difference <= TOLERANCE * (1 + float(np.abs(answers[0]).max())):
            raise CheckFailedError(
                "the equalized network does not answer as the float network does",
                got=f"a difference of {difference:.3g}",
                allowed=TOLERANCE,
                cure="report the network",
            )
        networks = {**self.best.networks, **quantizer.reference}
        for name in self.members:
            networks[name] = self._built(name, quantizer, clipped=self.best.clipped[name])
        yield replace(
            self.best,
            step="equalization",
            networks=networks,
            quantizer=quantizer,
            note=f"channels between {count} pairs of layers; float moved by {difference:.1e}",
        )

    def bias(self) -> Iterator[Candidate]:
        """Take the mean error that a layer adds out of its bias, and the whole network's out of the last."""
        self._progress("repair: bias correction")
        networks = dict(self.best.networks)
        for name in self._failing():
            measured = self._measured(name)
            ends = _ends(networks[REFERENCE_MEMBER])
            errors = {
                layer.node.bias: layer.own_error
                for layer in measured.layers
                if layer.node.bias is not None and layer.number not in ends
            }
            networks[name] = without_mean_errors(name, networks[name], errors)
            outputs = outputs_of(subset(networks, REFERENCE_MEMBER, name), self.contract, self.tensors)
            whole = (outputs[name] - outputs[REFERENCE_MEMBER]).mean(axis=0).astype(np.float64)
            last = {
                layer.node.bias: whole
                for layer in measured.layers
                if layer.node.bias is not None and layer.number in ends and len(layer.own_error) == len(whole)
            }
            networks[name] = without_mean_errors(name, networks[name], last)
        yield replace(self.best, step="bias", networks=networks, note="measured mean errors taken out")

    def in_float(self) -> Iterator[Candidate]:
        """Leave the layers that add the most noise in float, more with each try."""
        failing = self._failing()
        begin, worst = self.best, {}
        for name in failing:
            graph = tflite_graph(begin.networks[REFERENCE_MEMBER])
            # What leaves the network is int8, whatever made it.
            hidden = [
                layer.number
                for layer in self._measured(name).worst_first()
                if layer.number not in _ends(begin.networks[REFERENCE_MEMBER])
            ]
            worst[name] = (graph, hidden)
        for count in FLOAT_LAYERS:
            if all(2 * count > len(graph.nodes) for graph, _ in worst.values()):
                return
            self._progress(f"repair: {count} of the worst layers in float")
            networks, names = dict(begin.networks), dict(begin.float_layers)
            for name, (graph, hidden) in worst.items():
                around = surroundings(graph, hidden[:count])
                names[name] = tuple(graph.nodes[number].name for number in sorted(around))
                networks[name] = self._built(
                    name, begin.quantizer, clipped=begin.clipped[name], in_float=around
                )
            most = max(len(names[name]) for name in failing)
            yield replace(
                begin, step="float", networks=networks, float_layers=names, note=f"{most} layers in float"
            )

    def verdict(self, candidate: Candidate) -> AcceptanceVerdict:
        """Judge each int8 network by itself; the worst counts."""
        found = [self._verdict_of(name, candidate.networks) for name in self.members]
        order = ("fail", "undecided", "pass")
        worst = min((judgement.verdict for judgement in found), key=order.index)
        return AcceptanceVerdict(worst, tuple(reason for judgement in found for reason in judgement.reasons))

    def facts(self, candidate: Candidate) -> dict[str, Any]:
        """Say what a try came to."""
        judgement = self.verdict(candidate)
        outputs = outputs_of(candidate.networks, self.contract, self.tensors)
        return {
            "step": candidate.step,
            "note": candidate.note,
            "verdict": judgement.verdict,
            "reasons": list(judgement.reasons),
            "networks": {
                MODEL_FILES[name].key: {
                    "correlation": self._agreement(name, candidate.networks, outputs).correlation,
                    "rms_difference": _distance(outputs[name], outputs[REFERENCE_MEMBER]),
                    "size_bytes": len(candidate.networks[name]),
                }
                for name in self.members
            },
        }

    def keep_if_nearer(self, candidate: Candidate) -> None:
        """Go on from a try if its worst network is nearer to float than the best one's so far."""
        distances = []
        for one in (candidate, self.best):
            outputs = outputs_of(one.networks, self.contract, self.tensors)
            distances.append(
                max(_distance(outputs[name], outputs[REFERENCE_MEMBER]) for name in self.members)
            )
        if distances[0] < distances[1]:
            self.best = candidate

    def agreements(self, candidate: Candidate) -> tuple[Agreement, ...]:
        """Say how each network follows the float one."""
        outputs = outputs_of(candidate.networks, self.contract, self.tensors)
        return tuple(self._agreement(name, candidate.networks, outputs) for name in self.members)

    def audits(self, candidate: Candidate, converted: Converted) -> tuple[NetworkAudit, ...]:
        """Look into the mended files, as a conversion looks into its own."""
        looked = {
            name: audit_with_float(name, candidate.networks[name], KINDS[name], self.contract)
            for name in self.members
        }
        return tuple(looked.get(of.member, of) for of in converted.audits)

    def cost(self, before: Candidate, after: Candidate) -> dict[str, Any]:
        """Compare sizes, and times in turns, so that whatever else the machine does hits both."""
        facts = {}
        for name in self.members:
            old, new = before.networks[name], after.networks[name]
            pair = [subset(of.networks, name) for of in (before, after)]
            times = _times_ms(pair, self.contract, self.tensors[:TIMED_IMAGES])
            facts[MODEL_FILES[name].key] = {
                "size_bytes": len(new),
                "size_bytes_before": len(old),
                "size_ratio": len(new) / len(old),
                "ms": times[1],
                "ms_before": times[0],
                "time_ratio": times[1] / times[0],
            }
        return facts

    def _failing(self) -> list[str]:
        return [name for name in self.members if self._verdict_of(name, self.best.networks).verdict == "fail"]

    def _verdict_of(self, name: str, networks: Mapping[str, bytes]) -> AcceptanceVerdict:
        pair = subset(networks, REFERENCE_MEMBER, name)
        digest = _digest(*pair.values())
        if digest not in self._judged:
            agreed = self._agreement(name, pair, outputs_of(pair, self.contract, self.tensors))
            if not agreed.correlation >= LEAST_CORRELATION:
                found = correlation_text(agreed.correlation)
                reason = f"{name}: correlation with float {found}, not {LEAST_CORRELATION}"
                self._judged[digest] = AcceptanceVerdict("fail", (reason,))
            else:
                self._judged[digest] = self._judge(pair)
        return self._judged[digest]

    def _agreement(
        self, name: str, networks: Mapping[str, bytes], outputs: Mapping[str, npt.NDArray[np.float32]]
    ) -> Agreement:
        reference = outputs[REFERENCE_MEMBER]
        return agreement_of(name, len(networks[name]), outputs[name], reference, self.output, strict=False)

    def _measured(self, name: str) -> Measured:
        networks = self.best.networks
        return measure(networks[REFERENCE_MEMBER], name, networks[name], self.real[:MEASURED_IMAGES])

    def _built(
        self,
        name: str,
        quantizer: Quantizer,
        *,
        clipped: bool,
        in_float: Collection[int] = (),
    ) -> bytes:
        """Quantize as a conversion does, or with better ranges, or with some layers in float."""
        if not clipped and not in_float:
            return quantizer.build(name, onnx_calibration=self._onnx_calibration)
        numbered = tflite_graph(quantizer.reference[REFERENCE_MEMBER])
        tensorrt = name == TENSORRT_MEMBER

        def quantize(model: Any) -> bytes:
            twin = self._float_network(model, to_tflite_float32)
            # The same layers, whatever numbers another conversion may have given them.
            pairs = matched(numbered, tflite_graph(twin))
            kept = [number for number, counterpart in pairs.items() if counterpart in in_float]
            ranges = self._ranges_of(twin, clipped=clipped, symmetric=tensorrt)
            if name != TFLITE_MEMBER:
                float_onnx = self._float_network(model, to_onnx_float32)
                return to_onnx_mixed(float_onnx, twin, ranges, kept, self.real, tensorrt=tensorrt)
            ends = real_ends(self.contract.scale, self.contract.offset)
            return to_tflite_mixed(twin, ranges, kept, ends)

        return quantizer.build_with(name, quantize)

    def _float_network(self, model: Any, convert: Callable[[Any], bytes]) -> bytes:
        """Convert a network, or take what was made of the same weights: every try begins with the same."""
        weights = (of.tobytes() for of in model.get_weights())
        digest = _digest(convert.__name__.encode(), *weights)
        found = self._floats.pop(digest, None) or convert(with_features(model))
        self._floats[digest] = found
        while len(self._floats) > KEPT_NETWORKS:
            del self._floats[next(iter(self._floats))]
        return found

    def _ranges_of(self, twin: bytes, *, clipped: bool, symmetric: bool) -> Ranges:
        digest = _digest(twin, bytes([clipped, symmetric]))
        if digest not in self._ranges:
            self._ranges[digest] = observed_ranges(twin, self.real, clipped=clipped, symmetric=symmetric)
        return self._ranges[digest]


def _ends(reference: bytes) -> set[int]:
    """Return the numbers of the layers whose output leaves the network: the answer, the pooled features."""
    from edgeleuk_convert.quantization.graph import read_flatbuffer

    graph = tflite_graph(reference)
    outputs = {int(key) for key in read_flatbuffer(reference).subgraphs[0].outputs}
    return {
        number
        for number, node in enumerate(graph.nodes)
        if node.output in outputs or not consumers(graph, node.output)
    }


def _distance(outputs: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean((outputs.astype(np.float64) - reference) ** 2)))


def _digest(*parts: bytes) -> bytes:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.digest()


def _times_ms(
    sets: Sequence[Mapping[str, bytes]], contract: Any, tensors: npt.NDArray[np.uint8]
) -> list[float]:
    """Return the median time of a cell for each of some networks, run in turns."""
    rounds: list[list[float]] = [[] for _ in sets]
    with ExitStack() as stack:
        opened = [stack.enter_context(open_networks(networks, contract)) for networks in sets]
        runtimes = [next(iter(of.values())) for of in opened]
        for _ in range(TIMED_ROUNDS + 1):
            for runtime, times in zip(runtimes, rounds, strict=True):
                start = time.perf_counter()
                runtime.predict(tensors)
                times.append((time.perf_counter() - start) * 1000 / len(tensors))
    # The first round warms up.
    return [float(np.median(times[1:])) for times in rounds]
