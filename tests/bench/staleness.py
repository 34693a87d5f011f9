"""How far a consumer of 100 ms is behind a camera: a 1280x960 MJPEG stream at 30 frames a second.

The camera is another process that paints its clock into each picture; the delay is read from the pixels
when the consumer gets the decoded frame, so it holds the network, the reader and the decoder. Prints a line
on standard error and JSON on standard output; exits 3 when a bar is missed.

    python tests/bench/staleness.py [--seconds 60] [--in-order] [--no-length]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]

from mjpeg_server import read_paint  # noqa: E402

from edgeleuk.capture import open_source  # noqa: E402
from edgeleuk.pipeline.engine import Engine  # noqa: E402
from edgeleuk.pipeline.run import run  # noqa: E402
from edgeleuk.session import create_session  # noqa: E402

CONSUMER_S = 0.1
BAR_MS = 150.0
BAR_GROWTH_MB = 5.0


class Slow:
    """A consumer that reads the clock in the picture, then takes its 100 ms."""

    placed = None

    def __init__(self) -> None:
        self.behind_ms: list[float] = []
        self.counters: list[int] = []
        self.rss_mb: list[float] = []

    def segment(self, pixels: Any, *, px_per_um: float | None = None) -> list[Any]:
        counter, millis = read_paint(pixels)
        self.behind_ms.append(time.time() * 1000 - millis)
        self.counters.append(counter)
        self.rss_mb.append(rss_mb())
        time.sleep(CONSUMER_S)
        return []

    def classify(self, crops: Any) -> list[Any]:
        return []

    def consensus(self, views: Any) -> Any:
        return views[0]

    def update(self, pixels: Any, cells: Any) -> list[Any]:
        return []


def rss_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--in-order", action="store_true", help="for comparison: read every frame, as files are"
    )
    parser.add_argument("--no-length", action="store_true", help="a camera that sends no Content-Length")
    options = parser.parse_args()
    slow = Slow()
    engine = Engine(slow, slow, segment=slow.segment, estimate_scale=lambda _: None)
    stop = threading.Event()
    command = [sys.executable, str(HERE / "mjpeg_server.py"), "--width=1280", "--height=960", "--fps=30"]
    command.append(f"--no-length={int(options.no_length)}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as camera:
        assert camera.stdout is not None
        address = camera.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as folder, open_source(f"{address}/stream") as source:
            if options.in_order:
                source.live = False  # type: ignore[misc]
            with create_session(Path(folder) / "staleness.db", {}) as session:
                threading.Timer(options.seconds, stop.set).start()
                summary = run(source, engine, session, stop=stop)
        camera.kill()
    p50, p95, p99 = np.percentile(slow.behind_ms, (50, 95, 99))
    # The first second holds what is loaded once.
    growth = slow.rss_mb[-1] - slow.rss_mb[min(10, len(slow.rss_mb) - 1)]
    reasons = []
    if p95 > BAR_MS:
        reasons.append(f"p95 {p95:.0f} ms is over {BAR_MS:.0f} ms")
    if growth > BAR_GROWTH_MB:
        reasons.append(f"memory grew by {growth:.1f} MB")
    if slow.counters != sorted(set(slow.counters)):
        reasons.append("a frame came twice or late")
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if reasons and load > cores:
        reasons.append(f"load average {load:.1f} on {cores} cores: measure again when nothing else runs")
    result = {
        "schema_version": 1,
        "content_length": not options.no_length,
        "seconds": round(summary.duration_s, 1),
        "behind_ms": {
            name: round(float(value), 1)
            for name, value in (("p50", p50), ("p95", p95), ("p99", p99), ("max", max(slow.behind_ms)))
        },
        "frames": summary.to_json()["frames"],
        "camera_fps": round(summary.captured / summary.duration_s, 2),
        "rss_growth_mb": round(growth, 2),
        "load_average": round(load, 2),
        "bar_ms": BAR_MS,
        "verdict": "fail" if reasons else "pass",
        "reasons": reasons,
    }
    print(json.dumps(result))
    print(
        f"behind p50 {p50:.0f} ms, p95 {p95:.0f} ms; {result['verdict']} {'; '.join(reasons)}",
        file=sys.stderr,
    )
    return 3 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
