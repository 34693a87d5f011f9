"""What the runtimes that a bundle was not validated with make of real cells, and how long they take.

1,500 cells of C-NMC, in the order of their hashes, are judged by each network of a bundle on each
of its runtimes that can be run here, with one thread. Told of each: how many decisions (blast, normal,
other, uncertain) and how many calls (the probability above or below the threshold) differ from LiteRT's of
that precision, how far the answers to the golden cells lie from the stored ones as multiples of the stored
tolerances, and its time for a cell. Times are of one run, all in turn, and given as ratios to LiteRT's.
It prints figures on standard error and JSON on standard output, and exits 3 when a runtime besides the
bundle's own misses 1 % of the decisions.

    python tests/bench/runtimes.py [--cells 1500] [--data DIR] [--bundle FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "convert"), str(ROOT / "calibration")]

from edgeleuk.bench.machine import machine_facts, read_machine  # noqa: E402
from edgeleuk.bench.networks import (  # noqa: E402
    Configuration,
    configurations,
    network_case,
    open_networks,
    time_cases,
)
from edgeleuk.bundle.golden import decode_golden  # noqa: E402
from edgeleuk.bundle.manifest import GOLDEN, MODEL_FILES  # noqa: E402
from edgeleuk.bundle.reading import read_bundle  # noqa: E402
from edgeleuk_convert.dataset.cnmc import load_cells, read_crop  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.bench.networks import OpenNetwork
    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.frames import CellCrop
    from edgeleuk.results import Prediction

CELLS, SECONDS, MOST_FLIPS = 1500, 40.0, 0.01
AT_ONCE = 50


def judged(network: OpenNetwork, crops: Sequence[CellCrop]) -> list[Prediction]:
    """Judge cells a few at a time: all their maps at once would fill the memory."""
    found: list[Prediction] = []
    for start in range(0, len(crops), AT_ONCE):
        found += network.classifier.classify(crops[start : start + AT_ONCE])
    return found


def from_stored(bundle: Bundle, network: OpenNetwork) -> dict[str, dict[str, float]]:
    """Return the difference from the stored answers as multiples of what is stored as its limit."""
    runtime, precision, _ = network.configuration
    vectors = decode_golden(bundle.members[GOLDEN])
    kernels = vectors.networks[bundle.model_name(runtime, precision)].values()
    found = network.classifier.runtime.predict(vectors.tensors)
    told: list[dict[str, dict[str, float]]] = []
    for golden in kernels:
        parts = [("outputs", found.outputs, golden.answer.outputs, golden.outputs)]
        if golden.answer.features is not None:
            parts.append(("features", found.features, golden.answer.features, golden.features))
        told.append(
            {
                name: {
                    "largest": round(float(np.abs(ours - stored).max()) / limit.largest, 3),
                    "mean": round(float(np.abs(ours - stored).mean()) / limit.mean, 3),
                }
                for name, ours, stored, limit in parts
                if limit.largest
            }
        )
    return min(told, key=lambda one: sum(part["mean"] for part in one.values()))


def flips(bundle: Bundle, ours: Sequence[Prediction], litert: Sequence[Prediction]) -> dict[str, Any]:
    """Count what differs between two runtimes' predictions of the same cells."""
    pairs = list(zip(ours, litert, strict=True))
    threshold = bundle.manifest.output.threshold
    moved = np.array([one.probability - other.probability for one, other in pairs])
    crossed = [(one.probability >= threshold) != (other.probability >= threshold) for one, other in pairs]
    return {
        "cells": len(pairs),
        "decisions_flipped": sum(one.decision is not other.decision for one, other in pairs),
        "calls_flipped": sum(crossed),
        "largest_probability_change": round(float(np.abs(moved).max()), 4),
        "mean_probability_change": round(float(np.abs(moved).mean()), 5),
    }


def measure(bundle: Bundle, crops: Sequence[CellCrop]) -> dict[str, Any]:
    """Judge the cells by each network on each runtime, then time all of them in turn."""
    wanted = configurations(bundle, threads=1)
    networks = list(open_networks(bundle, wanted))
    validated = {MODEL_FILES[name].runtime for name in bundle.manifest.model_names}
    of_litert: dict[str, list[Prediction]] = {}
    told: dict[str, dict[str, Any]] = {}
    for network in networks:
        runtime, precision, _ = network.configuration
        predictions = judged(network, crops)
        of_litert.setdefault(precision, predictions)
        told[str(network.configuration)] = {
            **flips(bundle, predictions, of_litert[precision]),
            "self_test": network.moved or "ok",
            "of_stored_tolerance": from_stored(bundle, network),
            "validated": runtime in validated,
        }
        sys.stderr.write(f"{network.configuration}: {told[str(network.configuration)]}\n")
    timings = time_cases([network_case(bundle, network) for network in networks], SECONDS)
    times = {network.configuration: timing for network, timing in zip(networks, timings, strict=True)}
    for one, timing in times.items():
        base = times[Configuration("litert", one.precision, 1)].to_json()["p50_ms"]
        figures = timing.to_json()
        told[str(one)] |= {
            "p50_ms": figures["p50_ms"],
            "spread": figures["spread"],
            "time_to_litert": round(figures["p50_ms"] / base, 3),
        }
        sys.stderr.write(f"{one}: {figures['p50_ms']} ms, {told[str(one)]['time_to_litert']} of LiteRT's\n")
        networks[list(times).index(one)].classifier.close()
    return told


def main() -> None:
    """Measure, print and hold the runtimes to the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=CELLS)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDGELEUK_DATA", "data")) / "cnmc")
    parser.add_argument("--bundle", default="default")
    asked = parser.parse_args()
    bundle = read_bundle(asked.bundle)
    cells = sorted(load_cells(asked.data).cells, key=lambda cell: cell.sha256)[: asked.cells]
    told = measure(bundle, [read_crop(cell) for cell in cells])
    missed = [
        name
        for name, one in told.items()
        if not one["validated"] and one["decisions_flipped"] >= MOST_FLIPS * one["cells"]
    ]
    facts = {"machine": machine_facts(read_machine()), "runtimes": told, "missed": missed}
    sys.stdout.write(json.dumps(facts, indent=1, default=str) + "\n")
    if missed:
        raise SystemExit(3)


if __name__ == "__main__":
    main()
