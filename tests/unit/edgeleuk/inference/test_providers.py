"""CUDA and TensorRT by a stand-in that has all of them but the arithmetic; see tests/provider_stand_in.

Commands run in processes of their own, which import the stand-in in place of onnxruntime. Texts of errors are
those of the real wheel, which was tried without CUDA, without a driver and without TensorRT.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import pytest
from outcome import Outcome

from edgeleuk.bundle.golden import decode_golden, encode_golden
from edgeleuk.bundle.manifest import GOLDEN, INT8_ONNX, TENSORRT_ONNX
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.writing import describe_members, write_bundle
from edgeleuk.virtual.cells import single_cell

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[4]
STAND_IN = ROOT / "tests" / "provider_stand_in"


@pytest.fixture(scope="module")
def for_tensorrt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle with its ONNX network as TensorRT's too: the stand-in computes what it is given."""
    shipped = read_bundle("default")
    members = {name: data for name, data in shipped.members.items() if not name.startswith("model.float")}
    members[TENSORRT_ONNX] = members[INT8_ONNX]
    golden = decode_golden(members[GOLDEN])
    networks = {name: of for name, of in golden.networks.items() if name in members}
    networks[TENSORRT_ONNX] = networks[INT8_ONNX]
    hashes = {name: of for name, of in golden.made_with.members.items() if name in members}
    made_with = msgspec.structs.replace(golden.made_with, members=hashes | {TENSORRT_ONNX: hashes[INT8_ONNX]})
    members[GOLDEN] = encode_golden(dataclasses.replace(golden, networks=networks, made_with=made_with))
    path = tmp_path_factory.mktemp("bundle") / "lab.edgeleuk"
    write_bundle(path, msgspec.structs.replace(shipped.manifest, members=describe_members(members)), members)
    return path


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    path = tmp_path / "cell.png"
    cv2.imwrite(str(path), single_cell("blast", 1).pixels[:, :, ::-1])
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "sessions.jsonl"


@pytest.fixture
def edgeleuk(tmp_path: Path, log: Path) -> Callable[..., Outcome]:
    """Run the command line where the stand-in is installed."""

    def call(*words: object, fault: str = "", stand_in: bool = True, **variables: str) -> Outcome:
        python_path = os.pathsep.join(
            [*([str(STAND_IN)] if stand_in else []), os.environ.get("PYTHONPATH", str(ROOT))]
        )
        environment = {name: value for name, value in os.environ.items() if name != "EDGELEUK_DATA"}
        environment |= {"PYTHONPATH": python_path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        environment |= {"STAND_IN_FAULT": fault, "STAND_IN_LOG": str(log)} | variables
        done = subprocess.run(
            [sys.executable, "-m", "edgeleuk", *map(str, words)],
            capture_output=True, cwd=tmp_path, env=environment, text=True, timeout=120, check=False,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


def sessions(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def engines(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "edgeleuk" / "engines").glob("*/*.engine"))


def probability(done: Outcome) -> float:
    assert done.code == 0, done.err
    return float(json.loads(done.out)["files"][0]["cells"][0]["probability"])


def test_cuda_runs_all_of_the_network_and_is_recorded(
    edgeleuk: Callable[..., Outcome], cell: Path, log: Path
) -> None:
    done = edgeleuk("classify", cell, "--runtime", "cuda", "--json")
    beside = edgeleuk("classify", cell, "--runtime", "onnxruntime", "--json", stand_in=False)
    assert probability(done) == probability(beside)
    assert json.loads(done.out)["runtime"] == "cuda"
    (session,) = sessions(log)
    assert session["provider"] == "CUDAExecutionProvider"
    assert session["strict"]
    assert session["enable_fallback"] == 0
    assert session["options"] == {"use_tf32": "0"}


@pytest.mark.parametrize("runtime", ["cuda", "tensorrt"])
@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("library", {"cuda": "libcublasLt.so.13", "tensorrt": "libnvinfer.so.10"}),
        ("partly", "it takes only a part of the network, and the rest would be left to the processor"),
        ("silent", "ONNX Runtime gave the network to the processor"),
    ],
)
def test_a_provider_that_cannot_run_is_named_with_its_cause(
    edgeleuk: Callable[..., Outcome],
    cell: Path,
    for_tensorrt: Path,
    runtime: str,
    fault: str,
    cause: str | dict[str, str],
) -> None:
    words = ("classify", cell, "--bundle", for_tensorrt, "--runtime", runtime, "--json")
    done = edgeleuk(*words, fault=fault)
    named = cause if isinstance(cause, str) else f"{cause[runtime]}: cannot open shared object file"
    assert done.code == 5, done.err
    assert done.out == ""
    last = done.err.splitlines()[-1]
    assert last.startswith(f"error: the runtime {runtime} cannot run here: got {named}; ")
    # ONNX Runtime's own log is not shown beside it.
    assert "onnxruntime:Default" not in done.err


def test_wrong_answers_do_not_pass_the_self_test(
    edgeleuk: Callable[..., Outcome], cell: Path, for_tensorrt: Path
) -> None:
    for runtime in ("cuda", "tensorrt"):
        words = ("classify", cell, "--bundle", for_tensorrt, "--runtime", runtime)
        done = edgeleuk(*words, fault="wrong")
        assert done.code == 3, done.err
        assert f"on {runtime}: differs by up to" in done.err


def test_an_engine_is_built_once_and_told_of(
    edgeleuk: Callable[..., Outcome], cell: Path, for_tensorrt: Path, tmp_path: Path, log: Path
) -> None:
    words = ("classify", cell, "--bundle", for_tensorrt, "--runtime", "tensorrt", "--json")
    first = edgeleuk(*words)
    (engine,) = engines(tmp_path)
    assert f"builds an engine for this network and board: minutes, once; it is kept in {engine.parent}" in (
        first.err
    )
    again = edgeleuk(*words)
    assert "builds an engine" not in again.err
    assert probability(first) == probability(again)
    said = sessions(log)
    assert [one["engine"] for one in said if "engine" in one] == ["built", "kept"]
    options = said[0]["options"]
    height, width, channels = read_bundle("default").manifest.input.shape
    assert options["trt_int8_enable"] == "1"
    assert options["trt_profile_min_shapes"] == f"input:1x{height}x{width}x{channels}"
    assert options["trt_profile_max_shapes"] == f"input:16x{height}x{width}x{channels}"


def test_an_engine_of_another_driver_goes_when_a_new_one_is_built(
    edgeleuk: Callable[..., Outcome], cell: Path, for_tensorrt: Path, tmp_path: Path
) -> None:
    words = ("classify", cell, "--bundle", for_tensorrt, "--runtime", "tensorrt")
    assert edgeleuk(*words).code == 0
    (engine,) = engines(tmp_path)
    network, machine = engine.parent.name.split("-")
    engine.parent.rename(engine.parent.with_name(f"{network}-{'0' * 16}"))
    other = engine.parent.with_name(f"{'f' * 16}-{machine}")
    other.mkdir()
    assert edgeleuk(*words).code == 0
    # That of another network stays.
    assert {path.name for path in engine.parent.parent.iterdir()} == {engine.parent.name, other.name}


def test_a_damaged_engine_is_built_again_and_said(
    edgeleuk: Callable[..., Outcome], cell: Path, for_tensorrt: Path, tmp_path: Path
) -> None:
    words = ("classify", cell, "--bundle", for_tensorrt, "--runtime", "tensorrt")
    assert edgeleuk(*words).code == 0
    (engine,) = engines(tmp_path)
    engine.write_bytes(b"half of an eng")
    done = edgeleuk(*words)
    assert done.code == 0, done.err
    assert f"warning: the engine in {engine.parent} cannot be used and is built again" in done.err
    assert engine.read_bytes() == b"an engine"


def test_a_cache_that_cannot_be_written_hinders_nothing(
    edgeleuk: Callable[..., Outcome], cell: Path, for_tensorrt: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    words = ("classify", cell, "--bundle", for_tensorrt, "--runtime", "tensorrt")
    done = edgeleuk(*words, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert done.code == 0, done.err
    assert "warning: TensorRT's engine cannot be kept, and is built at every start" in done.err


def test_a_bundle_without_a_network_for_tensorrt_says_how_it_gets_one(
    edgeleuk: Callable[..., Outcome], cell: Path
) -> None:
    done = edgeleuk("classify", cell, "--runtime", "tensorrt")
    assert done.code == 2
    assert "carries no int8 network for tensorrt" in done.err
    assert "convert the network again with --tensorrt" in done.err


def test_run_and_batches_take_a_provider(
    edgeleuk: Callable[..., Outcome], for_tensorrt: Path, tmp_path: Path
) -> None:
    camera = "virtual://?seed=1&width=480&height=360&frames=2"
    done = edgeleuk("run", "--camera", camera, "--runtime", "cuda", "--session", "s.db", "--json")
    assert done.code == 0, done.err
    folder = tmp_path / "night"
    folder.mkdir()
    for seed in range(4):
        cv2.imwrite(str(folder / f"{seed}.png"), single_cell("blast", seed).pixels[:, :, ::-1])
    words = ("--bundle", for_tensorrt, "--runtime", "tensorrt", "--jobs", 2, "--json")
    batch = edgeleuk("classify", folder, "--out", "r.jsonl", *words)
    assert batch.code == 0, batch.err
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert {line["runtime"] for line in lines if "runtime" in line} == {"tensorrt"}


def test_bench_measures_what_runs_and_names_what_does_not(
    edgeleuk: Callable[..., Outcome], tmp_path: Path
) -> None:
    words = ("bench", "--seconds", 1, "--threads", 1, "--json")
    done = edgeleuk(*words, fault="library")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert {row["runtime"] for row in result["results"]} == {"litert", "onnxruntime", "openvino"}
    assert result["not_run"]["tensorrt"].endswith("carries no network for it")
    assert "the runtime cuda cannot run here: got libcublasLt.so.13" in result["not_run"]["cuda"]
    named = edgeleuk(*words, "--runtime", "cuda", fault="library")
    assert named.code == 5
    assert "got libcublasLt.so.13" in named.err


def test_verify_goes_on_where_a_provider_lacks_a_library(
    edgeleuk: Callable[..., Outcome], for_tensorrt: Path
) -> None:
    done = edgeleuk("verify", for_tensorrt, fault="library")
    assert done.code == 0, done.err
    for member, runtime in ((INT8_ONNX, "cuda"), (TENSORRT_ONNX, "tensorrt")):
        assert f"not installed {member} on {runtime}  (the runtime {runtime} cannot run here" in done.out


@pytest.mark.parametrize("runtime", ["cuda", "tensorrt"])
def test_a_wheel_without_the_provider_is_named(
    edgeleuk: Callable[..., Outcome], cell: Path, runtime: str
) -> None:
    for words in (
        ("classify", cell),
        ("run", "--camera", "virtual://?frames=1", "--session", "s.db"),
        ("bench", "--seconds", 1),
    ):
        done = edgeleuk(*words, "--runtime", runtime, stand_in=False)
        assert done.code == 5, done.err
        assert f"the runtime {runtime} is not installed: got an onnxruntime without" in done.err
