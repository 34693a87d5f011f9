"""Ratios against reference kernels, which are timed just before and just after each of ours.

Seconds differ from machine to machine and from hour to hour; ratios differ little. Those that were stored
last, in ``ratios.json``, stand beside today's, so that what has become slower shows on any machine.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edgeleuk.bench.machine import machine_facts, read_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORED = Path(__file__).with_name("ratios.json")
# Of both ratios, for machines differ in how fast they decode beside how fast they multiply.
SLOWER = 1.3
CALLS = 12
_SAVED = pytest.StashKey[dict[str, Any]]()

_RNG = np.random.default_rng(0)
_PICTURE = cv2.GaussianBlur(_RNG.integers(0, 256, (480, 640, 3), np.uint8), (0, 0), 1.5)
_PNG = cv2.imencode(".png", _PICTURE)[1]
_MATRIX = _RNG.standard_normal((384, 384)).astype(np.float32)
REFERENCES: dict[str, Callable[[], object]] = {
    "png_decode": lambda: cv2.imdecode(_PNG, cv2.IMREAD_COLOR),
    # Not NumPy's, which takes as many threads as there are.
    "matrix_product": lambda: cv2.gemm(_MATRIX, _MATRIX, 1.0, None, 0.0),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store-ratios", action="store_true", help="store the ratios of this run")


@pytest.fixture(autouse=True)
def beside(benchmark: Any) -> Iterator[None]:
    cv2.setNumThreads(1)
    times: dict[str, list[float]] = {name: [] for name in REFERENCES}
    _time(times)
    yield
    _time(times)
    benchmark.extra_info.update({name: statistics.median(values) for name, values in times.items()})


def _time(times: dict[str, list[float]]) -> None:
    for name, kernel in REFERENCES.items():
        kernel()
        for _ in range(CALLS):
            begun = time.perf_counter()
            kernel()
            times[name].append(time.perf_counter() - begun)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["edgeleuk"] = machine_facts(read_machine()).to_json()


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: object, output_json: dict[str, Any]
) -> None:
    config.stash[_SAVED] = output_json


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    saved = config.stash.get(_SAVED, None)
    if saved is None:
        return
    before = json.loads(STORED.read_text()) if STORED.exists() else {}
    now = {
        row["name"].removeprefix("test_"): {
            name: row["stats"]["median"] / row["extra_info"][name] for name in REFERENCES
        }
        for row in saved["benchmarks"]
    }
    terminalreporter.section("times of a PNG decode (640x480) and of a matrix product (384x384)")
    terminalreporter.line(f"{'kernel':<48} {'ms':>9} {'PNG':>8} {'matrix':>8}  {'before':>17}")
    for row in saved["benchmarks"]:
        name = row["name"].removeprefix("test_")
        ratios, old = now[name], before.get(name)
        shown = " ".join(f"{ratios[reference]:8.3f}" for reference in REFERENCES)
        then, note = f"{'new':>17}", ""
        if old is not None:
            then = " ".join(f"{old[reference]:8.3f}" for reference in REFERENCES)
            changes = [ratios[reference] / old[reference] for reference in REFERENCES]
            note = "SLOWER" if min(changes) > SLOWER else "faster" if max(changes) < 1 / SLOWER else ""
        terminalreporter.line(f"{name:<48} {row['stats']['median'] * 1e3:9.3f} {shown}  {then}  {note}")
    if config.getoption("--store-ratios"):
        kept = {name: {key: round(value, 4) for key, value in row.items()} for name, row in now.items()}
        STORED.write_text(json.dumps(before | kept, indent=1, sort_keys=True) + "\n")
        terminalreporter.line(f"stored in {STORED.name}")
