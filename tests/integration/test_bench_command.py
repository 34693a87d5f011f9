"""``edgeleuk bench`` for real, shortly: what it tells hangs together. No figure is held to a clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from edgeleuk.cli.schemas import PRINTED

if TYPE_CHECKING:
    from pathlib import Path

CAMERA = "virtual://?seed=7&width=480&height=360&white_cells_per_field=8"
WORDS = ("--seconds", "2", "--threads", "2", "--camera", CAMERA)


def bench(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeleuk", "bench", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def result(folder: Path) -> Any:
    done = bench(folder, *WORDS, "--json", "--ops", "--out", "old.json", "--plot", "plot.png")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    # As the published schema has it, and nothing besides.
    assert json.loads(msgspec.json.encode(msgspec.json.decode(done.stdout, type=PRINTED["bench"]))) == told
    return told


def test_it_has_what_others_rely_on(result: Any) -> None:
    assert result["schema_version"] == 1
    wanted = {"runtime", "precision", "threads", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "cells_per_s"}
    rows = result["results"]
    assert all(wanted <= set(row) for row in rows)
    found = {(row["runtime"], row["precision"], row["threads"]) for row in rows}
    pairs = {("litert", "int8"), ("onnxruntime", "int8"), ("litert", "float32")}
    pairs |= {("openvino", "int8"), ("openvino", "float32")}
    assert found == {(*pair, threads) for pair in pairs for threads in (1, 2)}
    assert result["verdict"] in ("valid", "suspect")
    assert (result["verdict"] == "suspect") == bool(result["reasons"])
    assert result["machine"]["cores"] >= 1
    assert set(result["not_run"]) == {"cuda", "tensorrt"}
    assert "an onnxruntime without libonnxruntime_providers_cuda.so" in result["not_run"]["cuda"]


def test_figures_hang_together(result: Any) -> None:
    for row in [*result["results"], *result["classify"], *result["batches"]]:
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["cells_per_s"] > 0
    assert result["fastest"] in result["results"]
    assert result["fastest"]["p50_ms"] == min(row["p50_ms"] for row in result["results"])
    # OpenVINO's sums of bytes saturate on x86 without VNNI.
    own = [row for row in result["results"] if row["runtime"] != "openvino"]
    assert all(row["self_test"] == "ok" for row in own)
    assert all(row["peak_rss_mb"] > 0 for row in result["results"])
    assert result["rounds"] >= 3
    assert {row["cells"] for row in result["batches"]} == {1, 2, 8}
    assert result["start_ms"] > 0
    assert result["cold_start_ms"] > 0
    assert result["peak_rss_mb"] > min(row["peak_rss_mb"] for row in result["results"])
    share = result["others_share"]
    assert share is None or 0 <= share <= 1


def test_stages_are_all_of_a_frame(result: Any) -> None:
    stages = result["stages"]
    assert {"capture", "decode", "quality_check", "segment", "crop", "classify", "record"} < set(stages)
    assert sum(stage["share"] for stage in stages.values()) == pytest.approx(1, abs=1e-3)
    (operations,) = result["operators"].values()
    assert operations[0]["share"] == max(row["share"] for row in operations)


def test_it_leaves_what_was_asked_for(result: Any, folder: Path) -> None:
    assert (folder / "plot.png").stat().st_size > 1000
    stored = json.loads((folder / "old.json").read_text())
    assert stored["results"] == result["results"]
    (kept,) = (folder / "cache" / "edgeleuk").glob("bench-*.json")
    assert str(kept) == result["stored"]


def test_it_compares_and_holds_to_limits(result: Any, folder: Path) -> None:
    words = ("--seconds", "1", "--threads", "1", "--runtime", "litert", "--precision", "int8")
    done = bench(
        folder, *words, "--camera", CAMERA, "--compare", "old.json", "--json",
        "--limit", "p95_ms=0", "--limit", "cells_per_s=1e9", "--limit", "peak_rss_mb=1e6",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "a benchmark limit is not kept by the fastest (litert int8, 1 thread): p95_ms is" in done.stderr
    assert "cells_per_s is" in done.stderr
    assert "peak_rss_mb" not in done.stderr
    told = json.loads(done.stdout)
    assert told["stored"] is None
    assert msgspec.json.decode(done.stdout, type=PRINTED["bench"]).to_json()["comparison"] is not None
    assert told["comparison"]["mismatches"] == []
    (row,) = told["comparison"]["rows"]
    assert row["p50_ratio"] > 0
    assert row["change"] in ("faster", "slower", "noise")
    assert len(told["comparison"]["only_old"]) == len(result["results"]) - 1


def test_people_get_a_table(folder: Path) -> None:
    done = bench(folder, "--seconds", "1", "--threads", "1", "--precision", "int8", "--camera", CAMERA)
    assert done.returncode == 0, done.stderr
    for word in ("a cell through the network", "fastest", "segment", "start", "memory", "verdict"):
        assert word in done.stdout
