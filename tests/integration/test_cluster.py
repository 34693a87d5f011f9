"""A real Dask cluster of two workers on the loopback: the same file as alone, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from archives import begin_classify, classify, make_archive, wait_for_lines

from edgeleuk import __version__, cluster
from edgeleuk.cluster import ClusterWorkers
from edgeleuk.errors import HardwareError, IntegrityError, MissingDependencyError
from edgeleuk.judging import Standard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STANDARD = Standard(__version__, "ab" * 32, "litert", "int8", None, "band")


@contextmanager
def started(*words: str, folder: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{words[0]}", *words[1:], "--no-dashboard"],
        # The folder comes first where Python looks for modules.
        cwd=folder,
        env=os.environ if folder is None else {**os.environ, "PYTHONPATH": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def scheduler() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with started("scheduler", "--host", "127.0.0.1", "--port", str(port)):
        until = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < until
            time.sleep(0.05)
        yield f"tcp://127.0.0.1:{port}"


@contextmanager
def worker(address: str, folder: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with started("worker", address, "--nthreads", "1", "--no-nanny", folder=folder) as process:
        yield process


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("archive"), 90)


def test_the_file_of_a_cluster_is_the_file_of_one_machine(archive: Path, tmp_path: Path) -> None:
    alone, out = tmp_path / "alone.jsonl", tmp_path / "cluster.jsonl"
    assert classify(archive, "--out", alone).returncode == 0
    with scheduler() as address, worker(address) as first, worker(address):
        with begin_classify(archive, "--scheduler", address, "--out", out, "--json") as process:
            wait_for_lines(out, process)
            # In the middle of its work; the other one takes it over.
            first.send_signal(signal.SIGKILL)
            stdout, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
        assert json.loads(stdout)["pictures"]["classified"] == 95
        assert out.read_bytes() == alone.read_bytes()
        # What one began the other goes on with.
        kept = b"".join(alone.read_bytes().splitlines(keepends=True)[:70])
        out.write_bytes(kept)
        done = classify(archive, "--scheduler", address, "--out", out)
        assert done.returncode == 0, done.stderr
    assert out.read_bytes() == alone.read_bytes()


def test_a_scheduler_that_dies_leaves_what_is_done(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    with (
        scheduler() as address,
        worker(address),
        begin_classify(archive, "--scheduler", address, "--out", out) as process,
    ):
        wait_for_lines(out, process)
        port = address.rsplit(":", 1)[1]
        kill_listener(int(port))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 6, err
    assert "is lost" in err
    assert "run the same command" in err
    assert out.read_bytes().endswith(b"\n")


def kill_listener(port: int) -> None:
    import psutil

    (pid,) = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port
    }
    os.kill(pid, signal.SIGKILL)


def test_a_worker_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edgeleuk").mkdir()
    (tmp_path / "edgeleuk" / "__init__.py").write_text('__version__ = "0.0.9"\n')
    monkeypatch.setattr(cluster, "ANSWER_S", 1)
    with scheduler() as address:
        with pytest.raises(HardwareError, match=r"has no workers; start some with `dask worker"):
            ClusterWorkers(address, b"", STANDARD)
        monkeypatch.setattr(cluster, "ANSWER_S", 30)
        with (
            worker(address, tmp_path),
            pytest.raises(IntegrityError, match=r"runs another version of edgeleuk: got 0\.0\.9, .* install"),
        ):
            ClusterWorkers(address, b"", STANDARD)


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_S", 1)
    with pytest.raises(HardwareError, match=r"does not answer: got nothing within 1 s; start it with"):
        ClusterWorkers("tcp://127.0.0.1:9", b"", STANDARD)


def test_an_address_that_is_none(archive: Path) -> None:
    done = classify(archive, "--scheduler", "somewhere")
    assert (done.returncode, "got somewhere, allowed tcp://HOST:PORT" in done.stderr) == (2, True)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeleuk\[cluster\]'") as caught:
        ClusterWorkers("tcp://127.0.0.1:9", b"", STANDARD)
    assert caught.value.exit_code == 5
