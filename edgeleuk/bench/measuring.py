"""One measurement of a device, from the networks to the whole command, and what is said of it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from edgeleuk.bench.comparison import SCHEMA_VERSION
from edgeleuk.bench.fresh import measure_fresh
from edgeleuk.bench.machine import (
    ROOT,
    machine_facts,
    others_share,
    read_clocks,
    read_cpu_time,
    read_machine,
    read_state,
)
from edgeleuk.bench.networks import (
    BATCHES,
    classify_case,
    configurations,
    network_case,
    not_run,
    open_networks,
    time_cases,
)
from edgeleuk.bench.operators import MOST_ROWS, profile_operators
from edgeleuk.bench.results import BenchResult
from edgeleuk.bench.stages import DEFAULT_CAMERA, time_stages
from edgeleuk.bench.store import keep
from edgeleuk.bench.verdict import judge
from edgeleuk.bundle.acceptance import refuse_rejected
from edgeleuk.capture import ReconnectPolicy, open_camera
from edgeleuk.classifier.self_test import MOVED, OK
from edgeleuk.errors import CheckFailedError, MissingDependencyError, UsageError
from edgeleuk.inference import available_runtimes
from edgeleuk.io.console import progress_line
from edgeleuk.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeleuk.bench.fresh import FreshTimes
    from edgeleuk.bench.networks import Case, Configuration, OpenNetwork, Timing
    from edgeleuk.bench.stages import StageTimes
    from edgeleuk.bundle.contents import Bundle

# How the time is shared out; fresh processes take what is left, and a round of them whatever it takes.
NETWORKS_SHARE, STAGES_SHARE = 0.5, 0.25


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """What is measured, and how long.

    Attributes
    ----------
    runtime, precision : str, optional
        Only these; without either the result is stored for `run --runtime auto`.
    threads : int, optional
        1, 2, 4 threads and so on up to so many; by default, up to the cores.
    seconds : float
        About so long in all, 1 to 3600.
    camera : str, optional
        URI of what the stages are timed on; by default a virtual slide.
    operators : bool
        Time the operations of the ONNX networks.

    Raises
    ------
    UsageError
        `seconds` is out of range.
    """

    runtime: str | None = None
    precision: str | None = None
    threads: int | None = None
    seconds: float = 20.0
    camera: str | None = None
    operators: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.seconds <= 3600:
            raise UsageError("the seconds are out of range", got=self.seconds, allowed="1 to 3600")

    @property
    def everything(self) -> bool:
        """Whether all networks are measured."""
        return self.runtime is None and self.precision is None


def measure(bundle: Bundle, options: MeasureOptions, *, root: Path = ROOT) -> BenchResult:
    """Measure what this device does with a bundle.

    Parameters
    ----------
    bundle : Bundle
    options : MeasureOptions
    root : Path
        Where the kernel's files are.

    Raises
    ------
    UsageError, MissingDependencyError
        As `configurations` and `profile_operators`.
    CheckFailedError
        The bundle was rejected, or no network passed the self-test.
    CameraError
        As `time_stages`.
    """
    refuse_rejected(bundle)
    wanted = configurations(
        bundle, runtime=options.runtime, precision=options.precision, threads=options.threads
    )
    if options.camera is not None:
        # One that cannot be opened says so before the rest is measured.
        open_camera(options.camera, ReconnectPolicy(tries=0)).close()
    machine = read_machine(root)
    before, cpu_before = read_state(root), read_cpu_time(root)
    ended = time.monotonic() + options.seconds
    clocks: list[float] = []
    reasons = not_run(bundle) if options.everything else {}
    networks = _opened(bundle, wanted, None if options.runtime else reasons)
    cases, fastest, stages = _timed(bundle, networks, options, lambda: _note_clock(clocks, root))
    profiles = _profiles(bundle, wanted) if options.operators else None
    pairs = list(dict.fromkeys(one.configuration[:2] for one in cases.networks))
    with progress_line("fresh processes") as tell:
        fresh = measure_fresh(bundle, pairs, fastest.configuration, ended - time.monotonic(), progress=tell)
    others = others_share(cpu_before, read_cpu_time(root))
    after = read_state(root)
    spreads = cases.spreads()
    verdict = judge(before, after, clocks_mhz=clocks, others=others, rounds=cases.rounds, spreads=spreads)
    facts = {
        "schema_version": SCHEMA_VERSION,
        "edgeleuk": __version__,
        "bundle": {
            "name": bundle.manifest.name,
            "file": str(bundle.path),
            "sha256": bundle.sha256,
        },
        "machine": machine_facts(machine),
        "before": before.printed(),
        "after": after.printed(),
        "seconds": options.seconds,
        "rounds": cases.rounds,
        "others_share": None if others is None else round(others, 4),
        **_figures(cases, fastest, stages, fresh),
        "not_run": reasons,
        "operators": profiles,
        "verdict": verdict.verdict,
        "reasons": verdict.reasons,
    }
    result = msgspec.convert(facts, BenchResult)
    stored = keep(bundle, machine, result) if options.everything else None
    return msgspec.structs.replace(result, stored=None if stored is None else str(stored))


def _note_clock(clocks: list[float], root: Path) -> None:
    """Note the clock of the core that is at work: others may sleep, and their clocks with them."""
    if now := read_clocks(root):
        clocks.append(max(now))


def _opened(
    bundle: Bundle, wanted: Sequence[Configuration], reasons: dict[str, str] | None
) -> list[OpenNetwork]:
    """Load the networks; where `reasons` is given, note there why a runtime cannot be used, and go on."""
    networks: list[OpenNetwork] = []
    with ExitStack() as stack:
        stack.callback(_close, networks)
        for pair in dict.fromkeys(one[:2] for one in wanted):
            try:
                networks += open_networks(bundle, [one for one in wanted if one[:2] == pair])
            except MissingDependencyError as error:
                if reasons is None:
                    raise
                reasons[pair[0]] = str(error)
        if not networks:
            raise MissingDependencyError(
                "no runtime of the bundle's can be used", got="; ".join((reasons or {}).values())
            )
        stack.pop_all()
    return networks


def _close(networks: Sequence[OpenNetwork]) -> None:
    for network in networks:
        network.classifier.close()


def _timed(
    bundle: Bundle,
    networks: Sequence[OpenNetwork],
    options: MeasureOptions,
    between: Callable[[], object],
) -> tuple[_Cases, OpenNetwork, StageTimes]:
    """Time the networks, and the stages of the pipeline with the fastest of them."""
    try:
        _require_passed(bundle, networks)
        with progress_line("networks") as tell:
            cases = _Cases.of(bundle, networks)
            cases.time(NETWORKS_SHARE * options.seconds, between, tell)
        fastest = cases.fastest(cases.rows())
        camera, seconds = options.camera or DEFAULT_CAMERA, STAGES_SHARE * options.seconds
        with progress_line("pipeline") as tell:
            stages = time_stages(camera, fastest.classifier, seconds, progress=tell)
    finally:
        _close(networks)
    return cases, fastest, stages


class _Cases(NamedTuple):
    """All that is timed in rounds, and what it took."""

    networks: Sequence[OpenNetwork]
    cases: list[Case]
    timings: list[Timing]

    @classmethod
    def of(cls, bundle: Bundle, networks: Sequence[OpenNetwork]) -> _Cases:
        """One cell for each; batches, and cells judged whole, with one thread."""
        single = [network for network in networks if network.configuration.threads == 1]
        cases = [network_case(bundle, network) for network in networks]
        cases += [network_case(bundle, network, cells) for network in single for cells in BATCHES]
        cases += [classify_case(bundle, network) for network in single]
        return cls(networks, cases, [])

    def time(self, seconds: float, between: Callable[[], object], tell: Callable[[int, int], object]) -> None:
        self.timings.extend(time_cases(self.cases, seconds, between=between, progress=tell))

    @property
    def rounds(self) -> int:
        return len(self.timings[0].rounds_ms)

    def spreads(self) -> dict[str, float]:
        """Spread of the cases of one cell: what verdicts and choices hang on."""
        return {
            case.name: timing.spread
            for case, timing in zip(self.cases[: len(self.networks)], self.timings, strict=False)
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row for each network and number of threads."""
        return [
            {
                **network.configuration._asdict(),
                **timing.to_json(),
                "self_test": OK if network.moved is None else MOVED,
            }
            for network, timing in zip(self.networks, self.timings, strict=False)
        ]

    def fastest(self, rows: Sequence[dict[str, Any]]) -> OpenNetwork:
        """Return the network with the least p50 of those that passed."""
        passed = [index for index, network in enumerate(self.networks) if network.moved is None]
        return self.networks[min(passed, key=lambda index: rows[index]["p50_ms"])]

    def batches(self) -> list[dict[str, Any]]:
        """One row for each network and number of cells at once, with one thread."""
        single = [network.configuration for network in self.networks if network.configuration.threads == 1]
        at_once = self.timings[len(self.networks) : len(self.networks) + len(single) * len(BATCHES)]
        ones = {
            network.configuration: timing
            for network, timing in zip(self.networks, self.timings, strict=False)
        }
        rows = []
        for number, one in enumerate(single):
            of_one = at_once[number * len(BATCHES) : (number + 1) * len(BATCHES)]
            rows += [
                {**one._asdict(), "cells": timing.cells, **timing.to_json()}
                for timing in (ones[one], *of_one)
            ]
        return rows

    def classify(self, fastest: OpenNetwork) -> list[dict[str, Any]]:
        """One row for each network, from crop to prediction with one thread; that of the fastest first."""
        single = [network.configuration for network in self.networks if network.configuration.threads == 1]
        rows = [
            {**one._asdict(), **timing.to_json()}
            for one, timing in zip(single, self.timings[-len(single) :], strict=True)
        ]
        return sorted(rows, key=lambda row: not _is_network(row, fastest.configuration))


def _is_network(row: dict[str, Any], configuration: Configuration) -> bool:
    return (row["runtime"], row["precision"]) == configuration[:2]


def _figures(cases: _Cases, fastest: OpenNetwork, stages: StageTimes, fresh: FreshTimes) -> dict[str, Any]:
    rows = [{**row, **fresh.network(row["runtime"], row["precision"])} for row in cases.rows()]
    best = fastest.configuration
    return {
        "results": rows,
        "fastest": rows[[network.configuration for network in cases.networks].index(best)],
        "classify": cases.classify(fastest),
        "batches": cases.batches(),
        "stages": stages.stages(),
        "pipeline": {**best._asdict(), **stages.facts()},
        **fresh.to_json(),
    }


def _require_passed(bundle: Bundle, networks: Sequence[OpenNetwork]) -> None:
    if all(network.moved is not None for network in networks):
        found = dict.fromkeys(network.moved for network in networks)
        raise CheckFailedError(
            f"no network of {bundle.path.name} passed the self-test on this machine",
            got="; ".join(map(str, found)),
            cure="look at all of it with `edgeleuk verify`",
        )


def _profiles(bundle: Bundle, wanted: Sequence[Configuration]) -> dict[str, list[dict[str, Any]]]:
    """Time the operations of each ONNX network that is measured, with one thread."""
    onnx = [one for one in wanted if one.runtime == "onnxruntime" and one.threads == 1]
    if not onnx:
        where = "onnxruntime" in available_runtimes()
        raise UsageError(
            "operations are timed by ONNX Runtime alone",
            got="no ONNX network among those that are measured" if where else "it is not installed",
            cure="leave --runtime and --precision out, or name onnxruntime's",
        )
    return {
        f"{one.runtime} {one.precision}": [
            {**row._asdict(), "ms": round(row.ms, 4), "share": round(row.share, 4)}
            for row in profile_operators(bundle, one)[:MOST_ROWS]
        ]
        for one in onnx
    }
