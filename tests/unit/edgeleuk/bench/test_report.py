"""Limits, comparisons and stored results: what is said of a measurement once it is made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from edgeleuk.bench.comparison import compared, comparison_text, read_result
from edgeleuk.bench.limits import Limit, hold, parse_limits
from edgeleuk.bench.machine import SLOW_INT8
from edgeleuk.bench.operators import added_up
from edgeleuk.bench.plot import WIDTH, draw, nice_step, save_plot
from edgeleuk.bench.report import bench_text
from edgeleuk.bench.results import BenchResult, Validity
from edgeleuk.bench.store import write_result
from edgeleuk.errors import CheckFailedError, UsageError
from edgeleuk.io.kernel import NO_DOT_PRODUCT

if TYPE_CHECKING:
    from pathlib import Path


def row(runtime: str, precision: str, threads: int, ms: float, **more: Any) -> dict[str, Any]:
    return {
        "runtime": runtime,
        "precision": precision,
        "threads": threads,
        "p50_ms": ms,
        "p90_ms": ms * 1.1,
        "p95_ms": ms * 1.2,
        "p99_ms": ms * 1.4,
        "cells_per_s": 1000 / ms,
        "spread": 0.02,
        "calls": 100,
        "self_test": "ok",
        "load_ms": 100.0,
        "first_inference_ms": 20.0,
        "peak_rss_mb": 90.0,
        **more,
    }


def state() -> dict[str, Any]:
    return {
        "temperature_c": "unavailable",
        "zones": "unavailable",
        "clock_mhz": 2400.0,
        "clocks_mhz": [2400.0],
        "governor": "performance",
        "load_1min": 0.5,
        "throttled": "0x0",
        "throttled_bits": [],
        "throttle_count": 0,
        "tegrastats": "unavailable",
    }


def printed() -> dict[str, Any]:
    rows = [row("litert", "int8", 1, 10.0), row("onnxruntime", "int8", 1, 20.0)]
    names = ("capture", "decode", "segment", "classify")
    return {
        "schema_version": 1,
        "edgeleuk": "0.2.0",
        "bundle": {"name": "default", "file": "default.edgeleuk", "sha256": "ab" * 32},
        "machine": {
            "cpu": "A",
            "board": "unavailable",
            "architecture": "x86_64",
            "cores": 2,
            "memory_mb": 8000,
            "system": "Debian",
            "kernel": "6.1",
            "python": "3.11",
            "power_mode": "unavailable",
            "int8_dot_product": "avx512_vnni",
            "packages": {"numpy": "2.4.6"},
            "key": "0" * 16,
        },
        "before": state(),
        "after": state(),
        "seconds": 20.0,
        "rounds": 10,
        "others_share": 0.37,
        "results": rows,
        "fastest": rows[0],
        "classify": [row("litert", "int8", 1, 30.0)],
        "batches": [{**row("litert", "int8", 1, 20.0), "cells": 2}],
        "stages": {name: {"mean_ms": 5.0, "p50_ms": 4.0, "p95_ms": 9.0, "share": 0.25} for name in names},
        "pipeline": {
            "runtime": "litert",
            "precision": "int8",
            "threads": 1,
            "camera": "virtual://",
            "pictures": "as they came",
            "frames": 10,
            "rejected": 0,
            "cells": 3,
            "fps": 50.0,
            "frame_ms": 20.0,
            "work_ms": 30.0,
            "latency_ms": {"p50": 25.0, "p95": 30.0, "p99": 31.0},
        },
        "operators": {"onnxruntime int8": [{"op": "Conv", "calls": 33.0, "ms": 19.5, "share": 0.97}]},
        "start_ms": 300.0,
        "cold_start_ms": None,
        "cold_start_camera": "virtual://",
        "peak_rss_mb": 160.0,
        "verdict": "suspect",
        "reasons": ["other load: 37 % of the cores"],
    }


def result() -> BenchResult:
    return msgspec.convert(printed(), BenchResult)


@pytest.mark.parametrize(
    "text",
    [
        "p50_ms=10",
        "p95_ms=12",
        "cells_per_s=100",
        "fps=50",
        "peak_rss_mb=160",
        "classify_p95_ms=36",
        "start_ms=300",
    ],
)
def test_limits_that_are_kept(text: str) -> None:
    hold(result(), parse_limits([text]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p95_ms=11.9", "p95_ms is 12, allowed at most 11.9"),
        ("cells_per_s=101", "cells_per_s is 100, allowed at least 101"),
        ("fps=60", "fps is 50, allowed at least 60"),
        ("peak_rss_mb=100", "peak_rss_mb is 160, allowed at most 100"),
        ("cold_start_ms=100", "cold_start_ms was not measured, allowed at most 100"),
    ],
)
def test_limits_that_are_not_kept(text: str, said: str) -> None:
    with pytest.raises(CheckFailedError, match=r"litert int8, 1 thread\)") as caught:
        hold(result(), parse_limits([text]))
    assert said in str(caught.value)
    assert caught.value.exit_code == 3


def test_all_broken_limits_are_named() -> None:
    with pytest.raises(CheckFailedError, match=r"p50_ms is 10.*; fps is 50"):
        hold(result(), [Limit("p50_ms", 1), Limit("p99_ms", 100), Limit("fps", 1000)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p95_ms", "a limit is NAME=VALUE: got p95_ms"),
        ("", "a limit is NAME=VALUE"),
        ("speed=3", "the limit names no figure: got speed, allowed p50_ms, p90_ms"),
        ("=3", "the limit names no figure"),
        ("p95_ms=", "the limit of p95_ms is no number: got '', allowed 0 or more"),
        ("p95_ms=fast", "is no number"),
        ("p95_ms=-1", "is no number"),
        ("p95_ms=nan", "is no number"),
        ("p95_ms=inf", "is no number"),
    ],
)
def test_limits_that_are_none(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        parse_limits(["p50_ms=1", text])


def old(tmp_path: Path, change: Any = None) -> Any:
    stored = printed()
    if change is not None:
        change(stored)
    write_result(tmp_path / "old.json", stored)
    return read_result(tmp_path / "old.json")


def test_the_same_twice_is_noise(tmp_path: Path) -> None:
    comparison = compared(result(), old(tmp_path), "old.json")
    assert comparison.mismatches == ()
    assert [one.change for one in comparison.rows] == ["noise", "noise"]
    assert all(one.p50_ratio == one.p95_ratio == 1 for one in comparison.rows)


@pytest.mark.parametrize(
    ("before_ms", "spread", "change"),
    [
        (20.0, 0.02, "faster"),
        (5.0, 0.02, "slower"),
        (10.2, 0.02, "noise"),
        (8.0, 0.3, "noise"),
        (8.0, 0.1, "slower"),
    ],
)
def test_faster_slower_and_noise(tmp_path: Path, before_ms: float, spread: float, change: str) -> None:
    def altered(stored: dict[str, Any]) -> None:
        stored["results"][0] = row("litert", "int8", 1, before_ms, spread=spread)

    comparison = compared(result(), old(tmp_path, altered), "old.json")
    assert comparison.rows[0].change == change
    assert comparison.rows[0].p50_ratio == pytest.approx(10 / before_ms, abs=1e-4)
    assert change in comparison_text(comparison)


def test_another_machine_is_marked(tmp_path: Path) -> None:
    def altered(stored: dict[str, Any]) -> None:
        stored["machine"]["cpu"] = "B"
        stored["machine"]["packages"] = {"numpy": "1.26", "onnxruntime": "1.20"}
        stored["bundle"] = {"name": "other", "sha256": "cd" * 32}
        stored["results"].pop()

    comparison = compared(result(), old(tmp_path, altered), "old.json")
    assert comparison.mismatches == (
        "cpu is A, was B",
        "numpy is 2.4.6, was 1.26",
        "onnxruntime is not there, was 1.20",
        "the bundle is default, was other, another file",
    )
    assert comparison.only_new == ("onnxruntime int8 1",)
    text = comparison_text(comparison)
    assert "MISMATCH: cpu is A, was B" in text
    assert "suspect: old: other load: 37 %" in text


def test_nothing_in_common(tmp_path: Path) -> None:
    def altered(stored: dict[str, Any]) -> None:
        stored["results"] = [row("litert", "int8", 64, 10.0)]

    comparison = compared(result(), old(tmp_path, altered), "old.json")
    assert comparison.only_old == ("litert int8 64",)
    assert "nothing was measured in both" in comparison_text(comparison)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no result of edgeleuk bench"),
        (b"\xff\xfe{}", "is no result of edgeleuk bench"),
        (b"[]", "is no result of edgeleuk bench"),
        (b'{"schema_version": 1}', "is no result of edgeleuk bench.*results"),
        (
            json.dumps({**printed(), "schema_version": 99}).encode(),
            "another schema version: got 99, allowed 1",
        ),
        (
            json.dumps({**printed(), "results": [row("litert", "int8", 1, 1.0, p50_ms=0)]}).encode(),
            "expected p50_ms above 0",
        ),
        (json.dumps({**printed(), "results": [{"runtime": "litert"}]}).encode(), "missing required field"),
    ],
)
def test_results_that_are_none(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "old.json"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_result(file)


def test_a_result_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such result"):
        read_result(tmp_path / "old.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_result(tmp_path)


def test_a_result_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_result(tmp_path / "taken", result())
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]
    with pytest.raises(UsageError, match="cannot be written"):
        write_result(tmp_path / "missing" / "r.json", result())


def test_the_text_tells_everything() -> None:
    text = bench_text(result())
    for word in (
        "litert",
        "onnxruntime",
        "12.00",
        "temperature unavailable",
        "segment",
        "25.0 %",
        "Conv",
        "160 MB",
    ):
        assert word in text
    assert text.endswith("verdict   SUSPECT: other load: 37 % of the cores")
    valid = msgspec.structs.replace(result(), verdict=Validity.VALID, reasons=(), operators=None)
    assert bench_text(valid).endswith("verdict   VALID")


def test_the_text_says_where_int8_is_not_faster() -> None:
    slow = printed()
    slow["machine"]["int8_dot_product"] = NO_DOT_PRODUCT
    assert f"int8      {SLOW_INT8}\n" in bench_text(msgspec.convert(slow, BenchResult))
    assert SLOW_INT8 not in bench_text(result())


def test_the_picture_grows_with_the_rows(tmp_path: Path) -> None:
    few, larger = result(), printed()
    larger["results"] *= 3
    larger["machine"]["cpu"] = "Prozessor \N{GREEK SMALL LETTER MU}"
    many = msgspec.convert(larger, BenchResult)
    assert draw(few).shape[1] == WIDTH
    assert draw(many).shape[0] > draw(few).shape[0]
    assert len(np.unique(draw(few).reshape(-1, 3), axis=0)) > 4
    save_plot(tmp_path / "plot.png", few)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("most", [0.004, 0.1, 1.0, 9.99, 10.0, 123.0, 5000.0])
def test_steps_part_an_axis_in_few(most: float) -> None:
    assert 2 <= most / nice_step(most) <= 10.0001


def test_operations_are_added_up_without_the_first_runs() -> None:
    def event(name: str, op: str, at: int, us: int, category: str = "Node") -> dict[str, Any]:
        return {"cat": category, "name": name, "ts": at, "dur": us, "args": {"op_name": op}}

    events = []
    for run in range(4):
        us = 1_000_000 if run == 0 else 100
        events += [
            event("a_kernel_time", "Conv", 10 * run, us),
            event("b_kernel_time", "Conv", 10 * run + 1, us),
            event("c_kernel_time", "Add", 10 * run + 2, us // 2),
            event("a_fence_before", "Conv", 10 * run, 7),
            event("model_run", "", 10 * run, 999, "Session"),
        ]
    conv, add = added_up(events, 1, 4)
    assert (conv.op, conv.calls, conv.ms, conv.share) == ("Conv", 2, 0.2, 0.8)
    assert (add.op, add.calls, add.ms, add.share) == ("Add", 1, 0.05, 0.2)
    assert added_up([], 1, 4) == []
