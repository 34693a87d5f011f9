"""What is measured, in which order, and which runtime comes out as the fastest that may be believed."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from weights import flipped, some_weights

from edgeleuk.bench import choosing, measuring, networks
from edgeleuk.bench.choosing import choose_runtime
from edgeleuk.bench.fresh import FreshTimes
from edgeleuk.bench.machine import SLOW_INT8, UNAVAILABLE, read_machine
from edgeleuk.bench.networks import Case, Configuration, Timing, configurations, thread_counts, time_cases
from edgeleuk.bench.operators import profile_operators
from edgeleuk.bench.report import bench_text
from edgeleuk.bench.stages import STAGES, time_stages
from edgeleuk.bench.store import keep, kept, result_path, start_path
from edgeleuk.bundle.golden import decode_golden, encode_golden
from edgeleuk.bundle.manifest import GOLDEN
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.writing import describe_members, write_bundle
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk.errors import CameraError, CheckFailedError, MissingDependencyError, UsageError
from edgeleuk.io.images import write_png
from edgeleuk.io.kernel import NO_DOT_PRODUCT
from edgeleuk.virtual.render import VirtualSlide

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcome import Outcome

    from edgeleuk.bundle.contents import Bundle

CAMERA = "virtual://?seed=7&width=480&height=360&white_cells_per_field=8"
TFLITE, ONNX = "model.int8.tflite", "model.int8.onnx"


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return read_bundle("default")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Networks that were to be timed, of each time; ONNX Runtime always comes out as the faster one."""
    asked: list[int] = []

    def timed(cases: list[Case], _: float) -> list[Timing]:
        asked.append(len(cases))
        return [Timing(1, ((3.0 if "onnx" in case.name else 4.0,),) * 3) for case in cases]

    monkeypatch.setattr(choosing, "time_cases", timed)
    return asked


def write_cells(bundle: Bundle, folder: Path, count: int) -> None:
    """Write the first golden cells as pictures."""
    folder.mkdir(exist_ok=True)
    for number, crop in enumerate(decode_golden(bundle.members[GOLDEN]).crops[:count]):
        write_png(folder / f"{number}.png", crop.pixels * crop.mask[..., None].astype(bool))


def damaged(bundle: Bundle, folder: Path, *names: str) -> Bundle:
    """Flip weights of networks; all hashes are right, so that only the self-test can tell."""
    members = dict(bundle.members)
    for name in names:
        for offset in some_weights(name, members[name], 3000):
            members[name] = flipped(members[name], offset)
    vectors = replace(decode_golden(members[GOLDEN]), made_with=None)
    members[GOLDEN] = encode_golden(vectors)
    manifest = msgspec.structs.replace(bundle.manifest, members=describe_members(members))
    write_bundle(folder / "x.edgeleuk", manifest, members)
    return read_bundle(folder / "x.edgeleuk")


def stored(bundle: Bundle, times_ms: dict[str, float], **more: Any) -> dict[str, Any]:
    """A result as `bench` stores it."""
    machine = read_machine()
    return {
        "schema_version": 1,
        "results": [
            {
                "runtime": runtime,
                "precision": "int8",
                "threads": 1,
                "p50_ms": ms,
                "p95_ms": ms,
                "cells_per_s": 1000 / ms,
                **more.get(runtime, {}),
            }
            for runtime, ms in times_ms.items()
        ],
        "machine": {"key": machine.key()},
        "verdict": "valid",
        "reasons": more.get("reasons", []),
        "bundle": {"name": bundle.manifest.name, "sha256": bundle.sha256},
    }


def test_thread_counts_double_up_to_the_most() -> None:
    assert thread_counts(1) == [1]
    assert thread_counts(2) == [1, 2]
    assert thread_counts(4) == [1, 2, 4]
    assert thread_counts(6) == [1, 2, 4, 6]
    assert thread_counts()[-1] == len(os.sched_getaffinity(0))


def test_every_network_of_the_bundle_is_measured(shipped: Bundle) -> None:
    found = configurations(shipped, threads=2)
    pairs = {
        *(("litert", "int8"), ("onnxruntime", "int8"), ("openvino", "int8")),
        *(("litert", "float32"), ("openvino", "float32")),
    }
    assert set(found) == {Configuration(*pair, threads) for pair in pairs for threads in (1, 2)}
    assert configurations(shipped, runtime="onnxruntime", threads=1) == [
        Configuration("onnxruntime", "int8", 1)
    ]
    only = configurations(shipped, precision="float32", threads=1)
    assert only == [Configuration("litert", "float32", 1), Configuration("openvino", "float32", 1)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"runtime": "tflite"}, "unknown runtime: got tflite, allowed litert, onnxruntime"),
        ({"precision": "int4"}, "unknown precision: got int4, allowed int8, float32"),
        ({"threads": 0}, "threads is out of range: got 0, allowed 1 to 64"),
        ({"threads": 65}, "threads is out of range"),
        (
            {"runtime": "onnxruntime", "precision": "float32"},
            "carries no float32 network for onnxruntime: allowed int8 for litert, int8 for onnxruntime",
        ),
    ],
)
def test_what_cannot_be_measured(shipped: Bundle, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configurations(shipped, **asked)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "no runtime of the bundle's is installed: allowed none; install it with: pip install"),
        ({"runtime": "cuda"}, "the runtime cuda is not installed: got an onnxruntime without"),
    ],
)
def test_no_runtime(
    shipped: Bundle, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(networks, "available_runtimes", lambda: ())
    with pytest.raises(MissingDependencyError, match=said) as caught:
        configurations(shipped, **asked)
    assert caught.value.exit_code == 5


def test_rounds_are_interleaved_and_begin_with_each_case_in_turn() -> None:
    order: list[str] = []
    cases = [Case(name, cells, lambda name=name: order.append(name)) for name, cells in (("a", 1), ("b", 4))]
    rounds: list[None] = []
    timings = time_cases(cases, 0.0, between=lambda: rounds.append(None))
    assert [len(timing.rounds_ms) for timing in timings] == [3, 3]
    assert len(rounds) == 3
    # A warm-up of each; then in each turn a call that is not timed, and with no time left one that is.
    assert "".join(order) == "ab" + "aabb" + "bbaa" + "aabb"
    for timing, cells in zip(timings, (1, 4), strict=True):
        told = timing.to_json()
        assert told["calls"] == timing.calls == 3
        assert timing.cells == cells
        assert told["p50_ms"] <= told["p90_ms"] <= told["p95_ms"] <= told["p99_ms"]


def test_stages_of_the_real_pipeline_add_up(shipped: Bundle) -> None:
    classifier = open_classifier(shipped)
    done: list[int] = []
    times = time_stages(CAMERA, classifier, 1.0, progress=lambda now, _: done.append(now))
    classifier.close()
    stages = times.stages()
    assert tuple(stages) == STAGES
    assert sum(stage["share"] for stage in stages.values()) == pytest.approx(1, abs=1e-4)
    assert stages["segment"]["mean_ms"] > 0
    assert stages["decode"]["mean_ms"] > 0
    assert stages["record"]["mean_ms"] > 0
    assert all(stage["p50_ms"] <= stage["p95_ms"] for stage in stages.values())
    facts = times.facts()
    assert facts["frames"] == len(times.frames_ms) == times.summary.captured - 1
    assert facts["pictures"] == "drawn before and packed as JPEG"
    assert done


def test_stages_of_a_folder(shipped: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "fields"
    folder.mkdir()
    for number in range(3):
        write_png(folder / f"{number}.png", VirtualSlide(seed=number).field(0, 0).pixels[:480, :640])
    classifier = open_classifier(shipped)
    times = time_stages(f"dir://{folder}", classifier, 60.0)
    assert times.facts()["frames"] == 2
    assert times.facts()["pictures"] == "as they came"
    for name in ("1.png", "2.png"):
        (folder / name).unlink()
    with pytest.raises(CameraError, match=r"too few pictures of dir://.*: got 1 in 60 s, allowed 2 or more"):
        time_stages(f"dir://{folder}", classifier, 60.0)
    classifier.close()


def test_operations_of_a_network(shipped: Bundle) -> None:
    rows = profile_operators(shipped, Configuration("onnxruntime", "int8", 1))
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert rows == sorted(rows, key=lambda row: -row.ms)
    assert any("Conv" in row.op for row in rows)
    assert all(float(row.calls).is_integer() for row in rows)


def test_operations_without_onnx_runtime(shipped: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeleuk.bench.operators.available_runtimes", lambda: ("litert",))
    with pytest.raises(MissingDependencyError, match="timed by ONNX Runtime, which is not installed"):
        profile_operators(shipped, Configuration("onnxruntime", "int8", 1))
    with pytest.raises(UsageError, match="no ONNX network among those that are measured"):
        measuring._profiles(shipped, [Configuration("litert", "int8", 1)])


def test_a_machine_that_says_nothing_but_that_it_is_throttled(
    shipped: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "vcgencmd"
    command.write_text("#!/bin/sh\necho throttled=0x4\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    root = tmp_path / "root"
    (root / "sys/class/thermal/thermal_zone0").mkdir(parents=True)
    (root / "sys/class/thermal/thermal_zone0/temp").write_text("odd")
    options = measuring.MeasureOptions("litert", "int8", threads=1, seconds=1, camera=CAMERA)
    result = measuring.measure(shipped, options, root=root)
    assert result.verdict == "suspect"
    assert "throttled: throttled" in result.reasons
    assert result.machine.cpu == result.before.temperature_c == UNAVAILABLE
    assert result.after.throttled_bits == ("throttled",)
    assert result.others_share is None
    assert "temperature unavailable" in bench_text(result)


def test_nothing_of_fresh_processes_is_none() -> None:
    times = FreshTimes()
    assert times.network("litert", "int8")["load_ms"] is None
    assert times.to_json()["cold_start_ms"] is None
    assert times.to_json()["peak_rss_mb"] is None


def test_a_stored_result_decides(shipped: Bundle) -> None:
    for fast, slow in (("litert", "onnxruntime"), ("onnxruntime", "litert")):
        assert keep(shipped, read_machine(), stored(shipped, {fast: 5.0, slow: 50.0}))
        choice = choose_runtime(shipped, "int8", 1)
        assert choice.runtime == fast
        assert f"5.0 ms a cell, {slow} 50.0 ms, as `edgeleuk bench` measured" in choice.why


def test_a_suspect_result_is_said_to_be(shipped: Bundle) -> None:
    result = stored(shipped, {"litert": 5.0, "onnxruntime": 50.0}, reasons=["other load: 37 % of the cores"])
    keep(shipped, read_machine(), result)
    assert "which is suspect (other load: 37 % of the cores)" in choose_runtime(shipped, "int8", 1).why


def test_what_did_not_pass_the_self_test_is_not_taken(shipped: Bundle) -> None:
    result = stored(shipped, {"litert": 5.0, "onnxruntime": 50.0}, litert={"self_test": "moved"})
    keep(shipped, read_machine(), result)
    choice = choose_runtime(shipped, "int8", 1)
    assert choice.runtime == "onnxruntime"
    assert "the only one that passed the self-test" in choice.why


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", None])
def test_without_a_stored_result_it_is_measured(
    shipped: Bundle, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    path = result_path(shipped, read_machine())
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    choice = choose_runtime(shipped, "int8", 1)
    assert choice.runtime in ("litert", "onnxruntime")
    assert "measured for 1 s at this start" in choice.why
    assert (f"{path} cannot be used" in caplog.text) == (content is not None)


def test_it_is_measured_once_for_each_number_of_threads(shipped: Bundle, no_measuring: list[int]) -> None:
    assert "measured for 1 s at this start" in choose_runtime(shipped, "int8", 1).why
    again = choose_runtime(shipped, "int8", 1)
    assert again.runtime == "onnxruntime"
    assert "3.0 ms a cell, litert 4.0 ms, as an earlier start measured" in again.why
    assert len(no_measuring) == 1
    choose_runtime(shipped, "int8", 2)
    assert len(no_measuring) == 2


def test_what_bench_measured_comes_first(shipped: Bundle, no_measuring: list[int]) -> None:
    choose_runtime(shipped, "int8", 1)
    keep(shipped, read_machine(), stored(shipped, {"litert": 5.0, "onnxruntime": 50.0}))
    assert choose_runtime(shipped, "int8", 1).runtime == "litert"
    assert len(no_measuring) == 1


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "no text": lambda _: b"\xff\xfe",
    "another bundle": lambda data: data.replace(b'"bundle_sha256":"', b'"bundle_sha256":"0'),
    "another schema": lambda data: data.replace(b'"schema_version":1', b'"schema_version":2'),
    "a time of 0": lambda data: data.replace(b"3.0", b"0.0"),
    "neither time nor reason": lambda data: data.replace(b"3.0", b"null"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_choice_is_measured_again_and_said(
    shipped: Bundle,
    caplog: pytest.LogCaptureFixture,
    no_measuring: list[int],
    damage: Callable[[bytes], bytes],
) -> None:
    choose_runtime(shipped, "int8", 1)
    path = start_path(shipped, read_machine(), "int8", 1)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert choose_runtime(shipped, "int8", 1).runtime == "onnxruntime"
    assert f"{path} cannot be used, so that the runtimes are measured" in caplog.text
    assert len(no_measuring) == 2
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


def test_another_runtime_is_measured_too(
    shipped: Bundle, monkeypatch: pytest.MonkeyPatch, no_measuring: list[int]
) -> None:
    choose_runtime(shipped, "int8", 1)
    path = start_path(shipped, read_machine(), "int8", 1)
    path.write_bytes(path.read_bytes().replace(b'"litert"', b'"tensorrt"'))
    assert "at this start" in choose_runtime(shipped, "int8", 1).why
    monkeypatch.setattr(networks, "available_runtimes", lambda: ("litert",))
    assert "the only one that is installed" in choose_runtime(shipped, "int8", 1).why
    assert len(no_measuring) == 2


def test_a_cache_that_takes_nothing_is_said(
    shipped: Bundle,
    cache: Path,
    caplog: pytest.LogCaptureFixture,
    no_measuring: list[int],
) -> None:
    cache.write_text("no folder")
    for count in (1, 2):
        assert choose_runtime(shipped, "int8", 1).runtime == "onnxruntime"
        assert len(no_measuring) == count
        said = caplog.text
        assert "the fastest runtime cannot be kept, and is measured at every start: " in said


def test_a_user_without_a_home(
    shipped: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    no_measuring: list[int],
) -> None:
    def fail(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.expanduser", fail)
    assert choose_runtime(shipped, "int8", 1).runtime == "onnxruntime"
    assert "Could not determine home directory.; set XDG_CACHE_HOME" in caplog.text
    assert no_measuring == [2]


@pytest.mark.parametrize(
    ("dot_product", "said"), [(NO_DOT_PRODUCT, True), ("avx_vnni", False), (None, False)]
)
def test_a_choice_says_where_int8_is_not_faster(
    shipped: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    no_measuring: list[int],
    dot_product: str | None,
    said: bool,
) -> None:
    machine = replace(read_machine(), int8_dot_product=dot_product)
    monkeypatch.setattr(choosing, "read_machine", lambda: machine)
    assert choose_runtime(shipped, "int8", 1).why.endswith(SLOW_INT8) == said
    # What float32 takes does not hang on it.
    assert SLOW_INT8 not in choose_runtime(shipped, "float32", 1).why
    assert len(no_measuring) == 1


def test_results_of_other_machines_and_threads_are_not_used(shipped: Bundle) -> None:
    result = stored(shipped, {"litert": 5.0, "onnxruntime": 50.0})
    result["machine"]["key"] = "another"
    keep(shipped, read_machine(), result)
    assert kept(shipped, read_machine()) is None
    keep(shipped, read_machine(), stored(shipped, {"litert": 5.0, "onnxruntime": 50.0}))
    assert choosing._stored(shipped, read_machine(), [Configuration("litert", "int8", 2)]) is None


def test_a_cache_that_cannot_be_written_hinders_nothing(shipped: Bundle, cache: Path) -> None:
    cache.write_text("no folder")
    assert keep(shipped, read_machine(), stored(shipped, {"litert": 5.0})) is None
    assert kept(shipped, read_machine()) is None


def test_the_only_runtime_is_taken(shipped: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_runtime(shipped, "float32", 1).runtime == "litert"
    monkeypatch.setattr(networks, "available_runtimes", lambda: ("onnxruntime",))
    choice = choose_runtime(shipped, "int8", 1)
    assert choice.runtime == "onnxruntime"
    assert "the only one that is installed" in choice.why


@pytest.mark.parametrize(("bad", "good"), [(TFLITE, "onnxruntime"), (ONNX, "litert")])
def test_a_network_that_fails_its_self_test_is_passed_over(
    shipped: Bundle, tmp_path: Path, bad: str, good: str
) -> None:
    choice = choose_runtime(damaged(shipped, tmp_path, bad), "int8", 1)
    assert choice.runtime == good
    assert "the only one that passed the self-test" in choice.why


def test_a_runtime_that_cannot_be_opened_is_passed_over(
    shipped: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MissingDependencyError("no TFLite interpreter can be imported")

    monkeypatch.setattr("edgeleuk.inference.litert.LiteRtRuntime.open_interpreter", fail)
    assert choose_runtime(shipped, "int8", 1).runtime == "onnxruntime"


def test_no_network_passes(shipped: Bundle, tmp_path: Path, edgeleuk: Callable[..., Outcome]) -> None:
    bundle = damaged(shipped, tmp_path, TFLITE, ONNX)
    with pytest.raises(
        CheckFailedError, match=r"self-test of x.edgeleuk failed on every runtime: got .*onnx"
    ):
        choose_runtime(bundle, "int8", 1)
    done = edgeleuk("bench", "--bundle", bundle.path, "--precision", "int8", "--threads", 1)
    assert done.code == 3
    assert "no network of x.edgeleuk passed the self-test on this machine" in done.err
    assert done.out == ""


def test_run_takes_the_fastest_says_so_and_goes_on_with_it(
    shipped: Bundle, edgeleuk: Callable[..., Outcome]
) -> None:
    keep(shipped, read_machine(), stored(shipped, {"litert": 50.0, "onnxruntime": 5.0}))
    words = ("run", "--camera", CAMERA, "--session", "s.db", "--runtime", "auto", "--json")
    done = edgeleuk(*words, "--frames", 1)
    assert done.code == 0, done.err
    assert "runtime   onnxruntime: 5.0 ms a cell, litert 50.0 ms" in done.err
    with closing(sqlite3.connect("s.db")) as connection:
        assert connection.execute("SELECT value FROM settings WHERE key = 'runtime'").fetchone() == (
            '"onnxruntime"',
        )
    # Whatever is the fastest by now: one runtime judges all cells of a session.
    keep(shipped, read_machine(), stored(shipped, {"litert": 5.0, "onnxruntime": 50.0}))
    again = edgeleuk(*words, "--frames", 2, "--resume")
    assert again.code == 0, again.err
    assert "runtime   onnxruntime: the session s.db was recorded with it" in again.err


def test_classify_chooses_once_and_says_so(shipped: Bundle, edgeleuk: Callable[..., Outcome]) -> None:
    write_cells(shipped, Path("cells"), 2)
    keep(shipped, read_machine(), stored(shipped, {"litert": 50.0, "onnxruntime": 5.0}))
    done = edgeleuk("classify", "cells/0.png", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["runtime"] == "onnxruntime"
    assert "runtime   onnxruntime: 5.0 ms a cell, litert 50.0 ms" in done.err
    fixed = edgeleuk("classify", "cells/0.png", "--json", "--runtime", "litert")
    assert json.loads(fixed.out)["runtime"] == "litert"
    assert "runtime  " not in fixed.err


def test_results_that_are_gone_on_with_keep_their_runtime(
    shipped: Bundle, edgeleuk: Callable[..., Outcome]
) -> None:
    write_cells(shipped, Path("cells"), 1)
    words = ("classify", "cells", "--out", "r.jsonl", "--jobs", 1, "--json")
    assert edgeleuk(*words, "--runtime", "litert").code == 0
    keep(shipped, read_machine(), stored(shipped, {"litert": 50.0, "onnxruntime": 5.0}))
    write_cells(shipped, Path("cells"), 2)
    done = edgeleuk(*words)
    assert done.code == 0, done.err
    assert "runtime   litert: what stands in r.jsonl was recorded with it" in done.err
    assert json.loads(done.out)["pictures"] == {"found": 2, "classified": 1, "resumed": 1, "unreadable": 0}
    lines = [json.loads(line) for line in Path("r.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["runtime"] for line in lines] == ["litert", "litert"]
    # Another one that is asked for by name is refused, as before.
    other = edgeleuk(*words, "--runtime", "onnxruntime")
    assert other.code == 2
    assert "holds results of another kind: got runtime litert, allowed onnxruntime" in other.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--limit", "speed=1"), 2, "the limit names no figure"),
        (("--compare", "none.json"), 2, "there is no such result"),
        (("--out", "missing/r.json"), 2, "there is no such folder"),
        (("--plot", "."), 2, "a result is a file"),
        (("--seconds", "0.5"), 2, "the seconds are out of range"),
        (("--seconds", "nan"), 2, "the seconds are out of range"),
        (("--bundle", "none.edgeleuk"), 2, "there is no such bundle"),
        (("--precision", "int4"), 2, "unknown precision"),
        (("--camera", "nowhere"), 2, "neither a camera URI nor an existing path"),
        (("--camera", "http://127.0.0.1:1/stream"), 6, "127.0.0.1:1"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(
    edgeleuk: Callable[..., Outcome], words: tuple[str, ...], code: int, said: str
) -> None:
    done = edgeleuk("bench", *words)
    assert done.code == code, done.err
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
