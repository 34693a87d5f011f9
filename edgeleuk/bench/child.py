"""What has to be measured in a process of its own: the first time of everything, and the memory it takes.

::

    python -m edgeleuk.bench.child network BUNDLE RUNTIME PRECISION THREADS
    python -m edgeleuk.bench.child command FILE WORDS...

The first prints its figures as JSON; the second runs the command line and leaves its peak memory in FILE.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from pathlib import Path


def measure_network(bundle_path: str, runtime: str, precision: str, threads: int) -> dict[str, float]:
    """Load one network for the first time and let it judge a cell."""
    import numpy as np

    from edgeleuk.bundle.trusted import read_trusted_bundle
    from edgeleuk.classifier.classifier import open_network

    began = time.perf_counter()
    bundle = read_trusted_bundle(bundle_path)
    read = time.perf_counter()
    contract = bundle.manifest.input
    name = bundle.model_name(runtime, precision)
    network = open_network(bundle.members, name, contract, runtime=runtime, threads=threads)
    loaded = time.perf_counter()
    network.predict(np.full((1, *contract.shape), 128, np.uint8))
    first = time.perf_counter()
    return {
        "bundle_ms": (read - began) * 1000,
        "load_ms": (loaded - read) * 1000,
        "first_inference_ms": (first - loaded) * 1000,
        "peak_rss_mb": peak_rss_mb(),
    }


def peak_rss_mb() -> float:
    """Return the most memory that this process ever had, in MB.

    Not by `getrusage`: what a process starts with there is the memory of its parent.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kib) * 1024 / 1e6


def _command(file: Path, words: list[str]) -> None:
    sys.argv = ["edgeleuk", *words]
    try:
        runpy.run_module("edgeleuk", run_name="__main__")
    finally:
        file.write_text(json.dumps({"peak_rss_mb": peak_rss_mb()}), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "network":
        path, name, precise, count = sys.argv[2:]
        sys.stdout.write(json.dumps(measure_network(path, name, precise, int(count))))
    else:
        _command(Path(sys.argv[2]), sys.argv[3:])
