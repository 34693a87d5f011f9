"""A real Dask cluster of two workers on the loopback: the same file as alone, and what is refused."""

from __future__ import annotations

import hashlib
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
from teaching_heads import drawn_cells, taught, taught_heads

from edgeleuk.batch import dask_cluster
from edgeleuk.batch.dask_cluster import ClusterWorkers
from edgeleuk.batch.worker import Picture, Standard
from edgeleuk.bundle.reading import DEFAULT_PATH, read_bundle
from edgeleuk.bundle.writing import write_bundle
from edgeleuk.errors import HardwareError, IntegrityError, MissingDependencyError
from edgeleuk.version import __version__
from edgeleuk_convert.teaching.rebuilding import rebuilt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CELLS = 60
STANDARD = Standard(__version__, "ab" * 32, "litert", "int8", None, "band")


@contextmanager
def started(*words: str, folder: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{words[0]}", *words[1:], "--no-dashboard"],
        # The folder comes first where Python looks for modules.
        cwd=folder,
        env={**os.environ, **({} if folder is None else {"PYTHONPATH": ""})},
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
    return make_archive(tmp_path_factory.mktemp("archive"), CELLS)


@pytest.fixture(scope="module")
def alone(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The results of this machine."""
    out = tmp_path_factory.mktemp("out") / "alone.jsonl"
    assert classify(archive, "--out", out).returncode == 0
    return out.read_bytes()


# By default Dask forgives a task three lost workers; with 0 it takes the first for the task's fault.
@pytest.mark.parametrize("forgiven", ["3", "0"])
def test_the_file_of_a_cluster_is_the_file_of_one_machine(
    archive: Path, alone: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgiven: str
) -> None:
    out = tmp_path / "cluster.jsonl"
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", forgiven)
    with (
        scheduler() as address,
        worker(address) as first,
        worker(address),
        begin_classify(archive, "--scheduler", address, "--out", out, "--json") as process,
    ):
        wait_for_lines(out, process)
        # In the middle of its work; the other one takes it over.
        first.send_signal(signal.SIGKILL)
        stdout, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert json.loads(stdout)["pictures"]["classified"] == CELLS + 5
    assert out.read_bytes() == alone


def test_what_one_machine_began_a_cluster_goes_on_with(archive: Path, alone: bytes, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    out.write_bytes(b"".join(alone.splitlines(keepends=True)[:50]))
    with scheduler() as address:
        with worker(address):
            done = classify(archive, "--scheduler", address, "--out", out)
        assert done.returncode == 0, done.stderr
    assert out.read_bytes() == alone


def test_a_cluster_names_kinds_as_one_machine_does(tmp_path: Path) -> None:
    """By a bundle whose heads were taught drawn cells: the larger ones are no lymphocytes to it."""
    shipped = read_bundle("default")
    lab = tmp_path / "lab.edgeleuk"
    write_bundle(lab, *rebuilt(shipped, taught_heads(shipped, drawn_cells(shipped)), taught(shipped), ()))
    cells = make_archive(tmp_path / "cells", 4)
    words = (cells, "--bundle", lab, "--runtime", "litert", "--json")
    with scheduler() as address, worker(address):
        together = classify(*words, "--scheduler", address)
    assert together.returncode == 0, together.stderr
    facts = json.loads(together.stdout)
    assert facts == json.loads(classify(*words).stdout)
    kinds = facts["cells"]["other_by_kind"]
    assert set(kinds) <= {"neutrophil", "monocyte"}
    assert sum(kinds.values()) == facts["cells"]["other"] > 0
    white = facts["white_cells"]["white_cells"]
    assert white["n"] == sum(of["count"] for of in white["kinds"].values()) > 0


def test_a_cluster_without_workers_is_given_up(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "ALONE_S", 0.5)
    bundle = DEFAULT_PATH.read_bytes()
    standard = STANDARD._replace(bundle_sha256=hashlib.sha256(bundle).hexdigest())
    batch = [Picture(str(archive / "field.jpg"))]
    with (
        scheduler() as address,
        worker(address) as only,
        ClusterWorkers(address, bundle, standard) as workers,
    ):
        only.kill()
        with pytest.raises(HardwareError, match=r"is lost: got no worker is left.* run the same command"):
            workers.finish(batch, workers.begin(batch))


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
    monkeypatch.setattr(dask_cluster, "ANSWER_S", 1)
    with scheduler() as address:
        with pytest.raises(HardwareError, match=r"has no workers; start some with `dask worker"):
            ClusterWorkers(address, b"", STANDARD)
        monkeypatch.setattr(dask_cluster, "ANSWER_S", 30)
        with (
            worker(address, tmp_path),
            pytest.raises(IntegrityError, match=r"runs another version of edgeleuk: got 0\.0\.9, .* install"),
        ):
            ClusterWorkers(address, b"", STANDARD)


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "ANSWER_S", 1)
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
