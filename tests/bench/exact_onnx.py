"""What exact int8 sums cost in ONNX Runtime, and a crop to its prediction beside an older checkout.

Interleaved rounds, one thread. The shipped int8 ONNX network with and without exact sums, with its weights
signed as they are stored and unsigned, beside LiteRT; each with its largest difference from the answers that
are stored. With `--before`, crop to prediction in fresh processes of this tree and of that one in turn. It
states figures and holds them to no limit, but that exact sums are exact; prints them on standard error and
JSON on standard output, and exits 3 when they are not.

    python tests/bench/exact_onnx.py [--before ../older-checkout]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "convert"), str(ROOT / "calibration")]

from edgeleuk.bench.machine import machine_facts, read_machine  # noqa: E402
from edgeleuk.bench.networks import Case, time_cases  # noqa: E402
from edgeleuk.bundle.golden import decode_golden  # noqa: E402
from edgeleuk.bundle.manifest import GOLDEN  # noqa: E402
from edgeleuk.bundle.reading import read_bundle  # noqa: E402
from edgeleuk.classifier.classifier import open_network  # noqa: E402
from edgeleuk.inference.onnx_session import open_session  # noqa: E402
from edgeleuk_convert.quantization.onnx import with_shared_weights_unsigned  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

INT8 = "model.int8.onnx"
LITERT = ("model.int8.tflite", "model.float32.tflite")
SECONDS = 30.0
PROCESSES = 7
# Run in a checkout of any age: p50 of a crop to its prediction, in ms, by runtime.
CLASSIFY = """
import json, time
from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.classifier import open_classifier
bundle, found = read_bundle("default"), {}
crop = golden_crops_of(bundle)[:1]
for runtime in ("litert", "onnxruntime"):
    classifier = open_classifier(bundle, runtime=runtime)
    taken = []
    for _ in range(120):
        begun = time.perf_counter()
        classifier.classify(crop)
        taken.append((time.perf_counter() - begun) * 1000)
    classifier.close()
    found[runtime] = sorted(taken[20:])[50]
print(json.dumps(found))
"""


def inexact_session(model: bytes) -> Any:
    """Open a network as somebody does who asks for nothing."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def networks() -> dict[str, Any]:
    """Time the networks in turn, each on one cell."""
    bundle = read_bundle("default")
    golden, contract = decode_golden(bundle.members[GOLDEN]), bundle.manifest.input
    stored = golden.networks[INT8]["usual"].answer.outputs
    signed = bundle.members[INT8]
    unsigned = with_shared_weights_unsigned(signed, least_readers=1)
    openers: dict[str, Callable[[], Any]] = {
        "signed weights, exact": lambda: open_session(signed),
        "signed weights": lambda: inexact_session(signed),
        "unsigned weights, exact": lambda: open_session(unsigned),
        "unsigned weights": lambda: inexact_session(unsigned),
    }
    cases, differences = [], {}
    for name, opener in openers.items():
        network: Any = open_network(bundle.members, INT8, contract)
        # All else is the product's own: what is fed, and what is read.
        getattr(network, "network", network)._session = opener()
        differences[name] = float(np.abs(network.predict(golden.tensors).outputs - stored).max())
        cases.append(Case(name, 1, lambda network=network: network.predict(golden.tensors[:1])))
    for name in LITERT:
        litert = open_network(bundle.members, name, contract)
        cases.append(Case(name, 1, lambda litert=litert: litert.predict(golden.tensors[:1])))
    timings = time_cases(cases, SECONDS)
    found = {case.name: timing.to_json() for case, timing in zip(cases, timings, strict=True)}
    fastest = found["signed weights"]["p50_ms"]
    return {
        name: {
            "p50_ms": row["p50_ms"],
            "spread": row["spread"],
            "to_signed_weights": round(row["p50_ms"] / fastest, 3),
            "from_stored": differences.get(name),
        }
        for name, row in found.items()
    }


def classified(tree: Path) -> dict[str, float]:
    """Ask a fresh process of a checkout for its crop to prediction."""
    done = subprocess.run(
        [sys.executable, "-c", CLASSIFY],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def crop_to_prediction(before: Path) -> dict[str, Any]:
    """Compare two checkouts, whose processes take turns."""
    rounds = [(classified(before), classified(ROOT)) for _ in range(PROCESSES)]
    found = {}
    for runtime in rounds[0][0]:
        ratios = [now[runtime] / was[runtime] for was, now in rounds]
        found[runtime] = {
            "before_ms": round(statistics.median(was[runtime] for was, _ in rounds), 3),
            "ms": round(statistics.median(now[runtime] for _, now in rounds), 3),
            "ratio": round(statistics.median(ratios), 4),
            "ratios": [round(ratio, 3) for ratio in sorted(ratios)],
        }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    before = parser.parse_args().before
    if before is not None and not (before / "edgeleuk").is_dir():
        print(f"error: {before} is no checkout of edgeleuk", file=sys.stderr)
        return 2
    rows = networks()
    crops = None if before is None else crop_to_prediction(before.resolve())
    exact = all(rows[name]["from_stored"] == 0 for name in rows if "exact" in name)
    machine = machine_facts(read_machine()).to_json()
    print(json.dumps({"schema_version": 1, "machine": machine, "networks": rows, "crops": crops}))
    for name, row in rows.items():
        differs = "" if row["from_stored"] is None else f", {row['from_stored']:.4g} from the stored answers"
        said = f"{row['p50_ms']:7.2f} ms  {row['to_signed_weights']:5.2f}  {name}{differs}"
        print(said, file=sys.stderr)
    for runtime, row in (crops or {}).items():
        said = f"{row['ms']:7.2f} ms, {row['before_ms']:.2f} before, {row['ratio']:.3f}"
        print(f"{said}  a crop to its prediction, {runtime}", file=sys.stderr)
    print(f"{'met   ' if exact else 'MISSED'}  exact sums give the stored answers", file=sys.stderr)
    return 0 if exact else 3


if __name__ == "__main__":
    sys.exit(main())
