"""Real signals to real processes: each ends in order, once, also when its terminal is gone."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeleuk.io.signals import held_back, interrupted_by_signals

ROOT = Path(__file__).resolve().parents[4]
STOPPED = """
import sys, time
from edgeleuk.io.console import say, set_voice
from edgeleuk.io.signals import interrupted_by_signals, stop_on_signals
set_voice()
with interrupted_by_signals():
    with stop_on_signals() as stop:
        print("ready", flush=True)
        stop.wait(30)
        {between}
    {after}
    say("the summary")
    print("the summary", flush=True)
    open(sys.argv[1], "w").write("lamp off" if stop.is_set() else "never asked")
"""
INTERRUPTED = """
import sys, time
from edgeleuk.io.signals import interrupted_by_signals
with interrupted_by_signals():
    try:
        print("ready", flush=True)
        time.sleep(30)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        {after}
        open(sys.argv[1], "w").write("lamp off")
"""
TWICE = "import os, signal, time; os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.2)"


def started(program: str, left: Path, **options: object) -> subprocess.Popen[str]:
    """Start a program and wait until it handles signals."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(left)],
        cwd=ROOT,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,  # type: ignore[call-overload]
    )
    if process.stdout is not None:
        assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "again"),
    [(signal.SIGINT, "pass"), (signal.SIGTERM, "pass"), (signal.SIGHUP, "pass"), (signal.SIGHUP, TWICE)],
)
def test_a_run_is_finished(tmp_path: Path, number: signal.Signals, again: str) -> None:
    left = tmp_path / "left"
    process = started(STOPPED.format(between=again, after=again), left)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "the summary\n", "the summary\n")
    assert left.read_text() == "lamp off"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_is_interrupted_once(tmp_path: Path, number: signal.Signals) -> None:
    left = tmp_path / "left"
    process = started(INTERRUPTED.format(after=TWICE if number is signal.SIGHUP else "pass"), left)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
    assert left.read_text() == "lamp off"


def test_who_is_told_to_outlive_the_terminal_does(tmp_path: Path) -> None:
    left = tmp_path / "left"
    process = started(
        STOPPED.format(between="pass", after="pass"),
        left,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert left.read_text() == "lamp off"


def test_a_terminal_that_is_gone_takes_nothing_with_it(tmp_path: Path) -> None:
    """The terminal's other end is closed, as when a connection breaks: the kernel sends SIGHUP."""
    left = tmp_path / "left"
    keeper, terminal = pty.openpty()
    settings = termios.tcgetattr(terminal)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, settings)

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(STOPPED.format(between="pass", after="pass")), str(left)],
        cwd=ROOT,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=own_terminal,  # noqa: PLW1509 - nothing else runs in this test
    )
    os.close(terminal)
    seen = b""
    while b"ready" not in seen:
        seen += os.read(keeper, 100)
    os.close(keeper)
    assert process.wait(30) == 0
    assert left.read_text() == "lamp off"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_held_back_comes_behind(number: signal.Signals) -> None:
    steps = []

    def work() -> None:
        with held_back():
            signal.raise_signal(number)
            steps.append("whole")
        steps.append("never")

    with interrupted_by_signals(), pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["whole"]


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with held_back():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_holds_nothing_back() -> None:
    def use() -> None:
        with held_back():
            assert signal.getsignal(signal.SIGINT) is before

    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(use).result()
