"""Processes that are started anew: how long until the command answers, loads, and has recorded a cell."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.errors import EdgeleukError
from edgeleuk.io.console import say
from edgeleuk.session import read_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeleuk.bench.networks import Configuration
    from edgeleuk.bundle.contents import Bundle

CHILD = "edgeleuk.bench.child"
# A start is always on the same small slide, so that machines can be compared.
COLD_START_CAMERA = "virtual://?seed=7&width=640&height=480&white_cells_per_field=6&frames=8"
REPETITIONS = 3
# No start takes so long that it is worth waiting for.
TIMEOUT_S = 120.0


@dataclass
class FreshTimes:
    """Figures of fresh processes: one for each time that they were started.

    Attributes
    ----------
    networks : dict of (str, str) to list of dict
        (runtime, precision) -> figures of `edgeleuk.bench.child.measure_network`.
    starts_ms : list of float
        ``edgeleuk --version``.
    cold_starts_ms : list of float
        From the start of ``edgeleuk run`` to its first recorded cell.
    peaks_mb : list of float
        Memory of those runs.
    """

    networks: dict[tuple[str, str], list[dict[str, float]]] = field(default_factory=dict)
    starts_ms: list[float] = field(default_factory=list)
    cold_starts_ms: list[float] = field(default_factory=list)
    peaks_mb: list[float] = field(default_factory=list)

    def network(self, runtime: str, precision: str) -> dict[str, float | None]:
        """Medians of a network's figures; None where its process failed."""
        runs = self.networks.get((runtime, precision), [])
        names = ("load_ms", "first_inference_ms", "peak_rss_mb")
        return {name: median([run[name] for run in runs]) for name in names}

    def to_json(self) -> dict[str, Any]:
        """Return medians of the command's own figures."""
        return {
            "start_ms": median(self.starts_ms),
            "cold_start_ms": median(self.cold_starts_ms),
            "cold_start_camera": COLD_START_CAMERA,
            "peak_rss_mb": max((round(peak, 1) for peak in self.peaks_mb), default=None),
        }


def median(values: Sequence[float]) -> float | None:
    """Median to a hundredth; None of nothing."""
    return round(statistics.median(values), 2) if values else None


def measure_fresh(
    bundle: Bundle,
    pairs: Sequence[tuple[str, str]],
    fastest: Configuration,
    seconds: float,
    *,
    progress: Callable[[int, int], object] = lambda *_: None,
) -> FreshTimes:
    """Start processes in rounds until the time is over: one round at least, three at most.

    Parameters
    ----------
    bundle : Bundle
    pairs : sequence of (runtime, precision)
    fastest : Configuration
        What ``run`` is started with.
    seconds : float
    progress : callable
        Told (processes that have ended, processes at most).
    """
    times = FreshTimes()
    end = time.monotonic() + seconds
    steps: list[Callable[[], None]] = [
        *(lambda pair=pair: _network(bundle, pair, times) for pair in pairs),
        lambda: _start(times),
        lambda: _cold_start(bundle, fastest, times),
    ]
    for done in range(REPETITIONS * len(steps)):
        if done >= len(steps) and time.monotonic() > end:
            break
        steps[done % len(steps)]()
        progress(done + 1, REPETITIONS * len(steps))
    return times


def _network(bundle: Bundle, pair: tuple[str, str], times: FreshTimes) -> None:
    done = _python(CHILD, "network", str(bundle.path), *pair, "1")
    if done is not None:
        times.networks.setdefault(pair, []).append(json.loads(done))


def _start(times: FreshTimes) -> None:
    began = time.perf_counter()
    if _python("edgeleuk", "--version") is not None:
        times.starts_ms.append((time.perf_counter() - began) * 1000)


def _cold_start(bundle: Bundle, fastest: Configuration, times: FreshTimes) -> None:
    with TemporaryDirectory() as name:
        session, peak = Path(name) / "session.db", Path(name) / "peak.json"
        began = time.time()
        done = _python(
            *(CHILD, "command", str(peak), "run", "--json", "--camera", COLD_START_CAMERA),
            *("--bundle", str(bundle.path), "--session", str(session), "--until-cells", "1"),
            *("--runtime", fastest.runtime, "--precision", fastest.precision),
            *("--threads", str(fastest.threads)),
        )
        if done is None:
            return
        first = _first_cell_at(session)
        if first is not None:
            times.cold_starts_ms.append((first - began) * 1000)
        with suppress(OSError, msgspec.DecodeError, KeyError):
            times.peaks_mb.append(msgspec.json.decode(peak.read_bytes())["peak_rss_mb"])


def _first_cell_at(session: Path) -> float | None:
    """Return when the first cell was judged, in s since the Unix epoch."""
    with suppress(EdgeleukError), read_session(session) as reader:
        for frame in reader.rows("frames"):
            if frame["judged"]:
                return float(str(frame["captured_at"])) + float(str(frame["latency_ms"])) / 1000
    return None


def _python(module: str, *words: str) -> str | None:
    """Run a module in a process of its own; None, with its last words on standard error, if that fails."""
    # Settings of the caller's are not what is measured.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EDGELEUK_")}
    try:
        done = subprocess.run(  # noqa: S603 - this Python, with words of our own
            [sys.executable, "-m", module, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        say(f"warning: {module} {words[0]} was ended after {TIMEOUT_S:.0f} s and is not among the figures")
        return None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing on standard error"])[-1]
        say(f"warning: {module} {words[0]} failed and is not among the figures: {last}")
        return None
    return done.stdout
