"""How long a bundle's networks take for a cell, all in turn, so that what drifts hits all alike."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeleuk.bench.verdict import LEAST_ROUNDS, spread_of
from edgeleuk.bundle.golden import decode_golden
from edgeleuk.bundle.manifest import GOLDEN, MODEL_FILES
from edgeleuk.classifier.classifier import Classifier, bundle_rules, open_network
from edgeleuk.classifier.self_test import MOVED, result_text, self_test
from edgeleuk.errors import MissingDependencyError, UsageError
from edgeleuk.inference import RUNTIMES, available_runtimes, obstacle, require_runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgeleuk.bundle.contents import Bundle

# A slot of one case in one round holds at least one timed call, and as many as fit.
SLOT_S = 0.1
ROUNDS = 10
BATCHES = (2, 8)
CRITERIA = (50, 90, 95, 99)
MOST_THREADS = 64


class Configuration(NamedTuple):
    """One way to run a bundle's network."""

    runtime: str
    precision: str
    threads: int

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}, {self.threads} thread{'s' * (self.threads > 1)}"


class Case(NamedTuple):
    """One thing that is timed: its name, how many cells a call is for, and the call."""

    name: str
    cells: int
    call: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """What the calls of one case took.

    Attributes
    ----------
    cells : int
        Of one call.
    rounds_ms : tuple of tuple of float
        Each call's time, by round.
    """

    cells: int
    rounds_ms: tuple[tuple[float, ...], ...]

    @property
    def calls(self) -> int:
        """How many there were."""
        return sum(map(len, self.rounds_ms))

    @property
    def spread(self) -> float:
        """How far the rounds differ; see `spread_of`."""
        return spread_of([float(np.median(times)) for times in self.rounds_ms])

    def to_json(self) -> dict[str, Any]:
        """Percentiles of a call in ms, and cells a second."""
        times = np.concatenate([np.asarray(times) for times in self.rounds_ms])
        found = np.percentile(times, CRITERIA)
        figures = {f"p{percent}_ms": round(float(ms), 4) for percent, ms in zip(CRITERIA, found, strict=True)}
        return {
            **figures,
            "cells_per_s": round(self.cells * len(times) * 1000 / float(times.sum()), 3),
            "spread": round(self.spread, 4),
            "calls": len(times),
        }


class OpenNetwork(NamedTuple):
    """A network that is loaded as the product loads it, with what it says of the golden cells.

    Attributes
    ----------
    configuration : Configuration
    classifier : Classifier
    moved : str or None
        What the self-test found to differ.
    """

    configuration: Configuration
    classifier: Classifier
    moved: str | None


def configurations(
    bundle: Bundle, *, runtime: str | None = None, precision: str | None = None, threads: int | None = None
) -> list[Configuration]:
    """List how a bundle's networks can be run here: 1, 2, 4 threads and so on, up to `threads`.

    Parameters
    ----------
    bundle : Bundle
    runtime, precision : str, optional
        Only these.
    threads : int, optional
        At most so many.

    Raises
    ------
    UsageError
        `runtime` or `precision` is unknown, the bundle has no such network, or `threads` is out of range.
    MissingDependencyError
        No runtime is installed for any network that is asked for.
    """
    if runtime is not None:
        require_runtime(runtime)
    precisions = tuple(dict.fromkeys(model.precision for model in MODEL_FILES.values()))
    if precision is not None and precision not in precisions:
        raise UsageError("unknown precision", got=precision, allowed=", ".join(precisions))
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError("threads is out of range", got=threads, allowed=f"1 to {MOST_THREADS}")
    carried = carried_by(bundle)
    wanted = [pair for pair in carried if runtime in (None, pair[0]) and precision in (None, pair[1])]
    if not wanted:
        raise UsageError(
            f"{bundle.path.name} carries no {precision or 'such'} network for {runtime or 'any runtime'}",
            allowed=", ".join(f"{its} for {name}" for name, its in carried),
        )
    installed = [pair for pair in wanted if pair[0] in available_runtimes()]
    if not installed:
        raise MissingDependencyError(
            "no runtime of the bundle's is installed",
            allowed=", ".join(available_runtimes()) or "none",
            cure=RUNTIMES[wanted[0][0]].cure,
        )
    return [
        Configuration(*pair, count)
        for pair in installed
        # Of a GPU's work the processor's threads do none.
        for count in ([1] if RUNTIMES[pair[0]].library else thread_counts(threads))
    ]


def carried_by(bundle: Bundle) -> list[tuple[str, str]]:
    """List the (runtime, precision) that a bundle has a network for, those it was validated with first."""
    models = [MODEL_FILES[name] for name in bundle.manifest.model_names]
    validated = [(model.runtime, model.precision) for model in models]
    others = [(runtime, model.precision) for model in models for runtime in model.runtimes]
    # A second network of one runtime and precision (TensorRT's on the processor) is never run.
    return list(dict.fromkeys(validated + others))


def not_run(bundle: Bundle) -> dict[str, str]:
    """Say of each runtime that cannot be measured here why, as far as files tell."""
    carried = {runtime for runtime, _ in carried_by(bundle)}
    reasons = {name: str(error) for name in RUNTIMES if (error := obstacle(name)) is not None}
    for name in RUNTIMES:
        if name not in reasons and name not in carried:
            reasons[name] = f"{bundle.path.name} carries no network for it"
    return reasons


def thread_counts(most: int | None = None) -> list[int]:
    """Double from 1 to `most`, which is always in it; by default to the cores that this process may use."""
    most = most or len(os.sched_getaffinity(0))
    return [*(1 << power for power in range(most.bit_length()) if 1 << power < most), most]


def open_networks(bundle: Bundle, wanted: Sequence[Configuration]) -> Iterator[OpenNetwork]:
    """Load networks one after the other; each passes the self-test or is marked, once for all threads."""
    moved: dict[tuple[str, str], str | None] = {}
    rules = bundle_rules(bundle)
    for one in wanted:
        name = bundle.model_name(one.runtime, one.precision)
        network = open_network(
            bundle.members, name, bundle.manifest.input, runtime=one.runtime, threads=one.threads
        )
        classifier = Classifier(network, bundle.manifest, rules)
        pair = (one.runtime, one.precision)
        if pair not in moved:
            found = [result for result in self_test(bundle, name, classifier) if result.status == MOVED]
            moved[pair] = "; ".join(map(result_text, found)) or None
        yield OpenNetwork(one, classifier, moved[pair])


def network_case(bundle: Bundle, network: OpenNetwork, cells: int = 1) -> Case:
    """Make a case of input tensors -> the network's answer, for so many cells at once."""
    golden = decode_golden(bundle.members[GOLDEN]).tensors
    tensors = np.ascontiguousarray(golden[np.arange(cells) % len(golden)])
    title = f"{network.configuration}" + (f", {cells} cells at once" if cells > 1 else "")
    return Case(title, cells, lambda: network.classifier.runtime.predict(tensors))


def classify_case(bundle: Bundle, network: OpenNetwork) -> Case:
    """Make a case of one crop -> its prediction: with preprocessing, gate, forest and judgement."""
    crops = decode_golden(bundle.members[GOLDEN]).crops[:1]
    return Case(f"classify with {network.configuration}", 1, lambda: network.classifier.classify(crops))


def time_cases(
    cases: Sequence[Case],
    seconds: float,
    *,
    between: Callable[[], object] = lambda: None,
    progress: Callable[[int, int], object] = lambda *_: None,
) -> list[Timing]:
    """Time calls in rounds, in each of which every case has its turn.

    Each round begins with another case. Each turn begins with a call that is not timed: it brings the caches
    back and waits for what the case before left running.

    Parameters
    ----------
    cases : sequence of Case
    seconds : float
        About so long; three rounds at least.
    between : callable
        Called after each round.
    progress : callable
        Told (rounds done, rounds in all).
    """
    times: list[list[tuple[float, ...]]] = [[] for _ in cases]
    slot = min(SLOT_S, seconds / max(len(cases), 1) / ROUNDS)
    started = time.perf_counter()
    for case in cases:
        case.call()
    rounds, longest = 0, 0.0
    while rounds < LEAST_ROUNDS or time.perf_counter() - started + longest < seconds:
        began = time.perf_counter()
        for turn in range(len(cases)):
            index = (turn + rounds) % len(cases)
            times[index].append(_timed(cases[index].call, slot))
        rounds += 1
        longest = max(longest, time.perf_counter() - began)
        between()
        left = seconds - (time.perf_counter() - started)
        progress(rounds, max(rounds + int(left / longest), rounds, LEAST_ROUNDS))
    return [Timing(case.cells, tuple(taken)) for case, taken in zip(cases, times, strict=True)]


def _timed(call: Callable[[], object], slot_s: float) -> tuple[float, ...]:
    call()
    taken: list[float] = []
    end = time.perf_counter() + slot_s
    while not taken or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    return tuple(taken)
