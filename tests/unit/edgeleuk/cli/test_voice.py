"""Verbose, quiet and a log file: what is said, what is left out, what is written down."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edgeleuk.batch.process_pool import ProcessWorkers
from edgeleuk.batch.worker import Standard
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.io.console import lose_voice, set_voice, shared_voice, warn
from edgeleuk.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Outcome

RUN = ("run", "--camera", "virtual://?width=320&height=240", "--frames", "1", "--runtime", "litert")
MISSING = ("verify", "none.edgeleuk")


def test_quiet_leaves_results_and_a_log_keeps_the_notes(
    edgeleuk: Callable[..., Outcome], tmp_path: Path
) -> None:
    loud = edgeleuk(*RUN, "--session", "a.db")
    assert "picture   a.png" in loud.err
    still = edgeleuk("--log-file", "log.txt", *RUN, "--session", "b.db", "--quiet")
    assert (still.code, still.err) == (0, "")
    assert "counted once each" in still.out
    first, *lines = (tmp_path / "log.txt").read_text().splitlines()
    assert first == "# Written by edgeleuk."
    assert any(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}[+-]\d{4} picture   b\.png", line) for line in lines)
    failed = edgeleuk(*MISSING, "--quiet", "--log-file=log.txt")
    assert failed.code == 2
    assert "error: there is no such bundle" in failed.err
    after = (tmp_path / "log.txt").read_text().splitlines()
    # A later command adds to the file.
    assert after[: len(lines) + 1] == [first, *lines]
    assert "error: there is no such bundle" in after[-1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--framse", "3"), "No such option: --framse"),
        (("run", "--framse", "3"), "No such option: --framse"),
        (("run", "--frames", "three"), "Invalid value for '--frames'"),
        (("camera", "prob"), "No such command 'prob'"),
        (("clasify",), "No such command 'clasify'"),
        (("camera", "flat-field"), "Missing option '--out'"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_what_the_parser_says_is_written_down_once(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, words: tuple[str, ...], sentence: str, first: bool
) -> None:
    log = ("--log-file", "log.txt")
    outcome = edgeleuk(*log, *words) if first else edgeleuk(*words, *log)
    assert (outcome.code, outcome.out) == (2, "")
    assert sentence in outcome.err
    _, line = (tmp_path / "log.txt").read_text().splitlines()
    assert f" error: {sentence}" in line


def test_a_parser_writes_down_no_password(edgeleuk: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = edgeleuk("run", "rtsp://me:secret@host/stream", "--log-file", "log.txt")
    assert outcome.code == 2
    written = (tmp_path / "log.txt").read_text()
    assert "host/stream" in written
    assert "secret" not in written + outcome.err


def test_worker_processes_speak_as_the_command_does(tmp_path: Path) -> None:
    bundle = read_bundle("default")
    standard = Standard(__version__, bundle.sha256, "litert", "int8", None, "band")
    with (tmp_path / "log.txt").open("a", encoding="utf-8") as log:
        set_voice(quiet=True, log=log)
        try:
            with ProcessWorkers(1, bundle.path.read_bytes(), standard) as workers:
                assert workers._pool.submit(shared_voice).result() == shared_voice()
                workers._pool.submit(warn, "from a worker").result()
        finally:
            lose_voice()
    assert (tmp_path / "log.txt").read_text().endswith(" warning: from a worker\n")


def test_verbose_tells_the_cause_of_an_error(edgeleuk: Callable[..., Outcome]) -> None:
    assert "Traceback" not in edgeleuk(*MISSING).err
    told = edgeleuk(*MISSING, "-v")
    assert told.code == 2
    assert "Traceback" in told.err
    assert told.err.splitlines()[-1].startswith("error: there is no such bundle")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-v", "--quiet"), "--verbose and --quiet exclude each other"),
        (("--log-file",), "--log-file names no file"),
        (("--log-file", "none/log.txt"), "none/log.txt cannot be written"),
        (("--log-file", "mine.txt"), "mine.txt exists, and edgeleuk did not make it"),
    ],
)
def test_bad_global_options_are_one_sentence(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    outcome = edgeleuk("inspect", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert sentence in outcome.err
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_no_library_talks_on_a_normal_run(tmp_path: Path) -> None:
    """A process of its own, because LiteRT says it once in each."""
    code = (
        "import os\n"
        "from edgeleuk.bundle.reading import read_bundle\n"
        "from edgeleuk.inference.litert import LiteRtRuntime\n"
        "from edgeleuk.io.console import set_voice\n"
        "set_voice(verbose={verbose})\n"
        "bundle = read_bundle('default')\n"
        "LiteRtRuntime(bundle.members['model.int8.tflite'], bundle.manifest.input)\n"
        "os.write(2, b'after\\n')\n"
    )
    for verbose, expected in ((True, True), (False, False)):
        done = subprocess.run(
            [sys.executable, "-c", code.format(verbose=verbose)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("XNNPACK delegate" in done.stderr) is expected
        assert done.stderr.endswith("after\n")


def test_warnings_of_the_start_are_kept(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from edgeleuk.inference import start_notices

    monkeypatch.setattr(start_notices, "_started", False)
    with start_notices.quiet_start():
        os.write(2, b"INFO: a delegate was made\nERROR: bad model\n")
    with start_notices.quiet_start():
        os.write(2, b"INFO: later\n")
    assert capfd.readouterr().err == "ERROR: bad model\nINFO: later\n"
