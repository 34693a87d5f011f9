"""The service under what befalls it in a night: it is started anew, says why, and counts nothing twice."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from mjpeg_server import serve
from supervisor import supervised

from edgeleuk.errors import EdgeleukError
from edgeleuk.session import read_session
from edgeleuk.session.verify import verify_session
from edgeleuk.virtual.render import VirtualSlide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from supervisor import Supervisor

SLIDE = "virtual://?seed=11&width=640&height=480&frames=30"
SERVICE = (sys.executable, "-m", "edgeleuk", "service", "run", "--config", "edgeleuk.toml", "--json")
SESSION = "night.db"


def configured(folder: Path, camera: str, **settings: object) -> Path:
    """Write the settings of a service; return its session."""
    values = {"camera": camera, "session": SESSION, "runtime": "litert", "reconnects": 1000, **settings}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items()]
    (folder / "edgeleuk.toml").write_text("".join(lines))
    return folder / SESSION


def wait_until(holds: Callable[[], bool], service: Supervisor) -> None:
    until = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < until, service.output
        time.sleep(0.02)


def frames(path: Path) -> int:
    try:
        with read_session(path) as reader:
            counts = reader.counts()
            return counts.processed + counts.rejected
    except EdgeleukError:
        # Not there yet.
        return 0


def events(path: Path) -> list[str]:
    with read_session(path) as reader:
        return [str(row["kind"]) for row in reader.rows("events")]


def cells(path: Path) -> list[Any]:
    """What is said of each cell of a sound session."""
    assert verify_session(path).broken is None
    keys = ("frame", "x", "y", "area_px", "decision", "probability", "views")
    with read_session(path) as reader:
        return sorted([row[key] for key in keys] for row in reader.rows("cells"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The cells of the slide, as a run without any trouble finds them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    session = configured(folder, SLIDE)
    subprocess.run(SERVICE, cwd=folder, check=True, capture_output=True)
    return cells(session)


def test_signs_of_life(tmp_path: Path) -> None:
    session = configured(tmp_path, "virtual://?seed=2&width=480&height=360")
    with supervised(SERVICE, tmp_path) as service:
        wait_until(lambda: "WATCHDOG=1" in service.said, service)
        assert service.said[0] == "READY=1"
        wait_until(
            lambda: any(re.fullmatch(r"STATUS=\d+ fields, .*", line) for line in service.said), service
        )
        assert frames(session) > 0
        assert service.stop() == [0]
    assert "STOPPING=1" in service.said
    assert service.said.index("STOPPING=1") > service.said.index("WATCHDOG=1")


def test_a_stopped_process_is_started_anew_and_counts_as_if_nothing_was(
    tmp_path: Path, undisturbed: list[Any]
) -> None:
    session = configured(tmp_path, SLIDE)
    with supervised(SERVICE, tmp_path) as service:
        wait_until(lambda: frames(session) >= 5, service)
        assert service.process is not None
        service.process.send_signal(signal.SIGSTOP)
        first, *rest = service.wait()
    # Woken up by the watchdog, it writes down why it ends.
    assert (first, rest, service.aborted) == (6, [0], 1), service.output
    kinds = events(session)
    assert kinds.index("watchdog") < kinds.index("resumed")
    assert cells(session) == undisturbed


# A run that tells which of its threads takes the frames.
TELLING = """
import sys, threading
from pathlib import Path
from edgeleuk.cli.app import main

def tell():
    found = []
    # It has no number before it runs.
    while not any(found):
        found = [one.native_id for one in threading.enumerate() if one.name == "newest-frame"]
    Path("thread").write_text(str(found[0]))

if not Path("thread").exists():
    threading.Thread(target=tell, daemon=True).start()
main()
"""
# Of Linux: requests of ptrace, and a flag of waitpid.
SEIZE, INTERRUPT, ALL_CHILDREN = 0x4206, 0x4207, 0x40000000


class Halted:
    """A thread of another process that is stopped, as no signal can: all its others go on."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        ptrace.argtypes = [ctypes.c_long] * 4
        for request in (SEIZE, INTERRUPT):
            if ptrace(request, thread, 0, 0) != 0:
                pytest.skip(f"threads may not be stopped here: {os.strerror(ctypes.get_errno())}")

    def has_ended(self) -> bool:
        """Take note of its end, or its process could not end either."""
        try:
            ended, status = os.waitpid(self._thread, os.WNOHANG | ALL_CHILDREN)
        except ChildProcessError:
            return True
        return ended != 0 and not os.WIFSTOPPED(status)


def test_a_stopped_capture_thread_ends_the_run(tmp_path: Path) -> None:
    session = configured(tmp_path, "virtual://?seed=5&width=480&height=360&fps=5")
    command = (sys.executable, "-c", TELLING, *SERVICE[3:])
    with supervised(command, tmp_path) as service:
        wait_until(lambda: frames(session) >= 3 and (tmp_path / "thread").exists(), service)
        thread = Halted(int((tmp_path / "thread").read_text()))
        wait_until(thread.has_ended, service)
        wait_until(lambda: len(service.ends) == 1, service)
        before = frames(session)
        wait_until(lambda: frames(session) > before, service)
        ends = service.stop()
    assert ends[-1] == 0
    assert ends[0] in (6, -signal.SIGKILL), service.output
    assert "resumed" in events(session)
    assert ends[0] != 6 or "watchdog" in events(session)
    assert verify_session(session).broken is None


def test_a_dead_camera_ends_the_run_until_it_is_back(tmp_path: Path) -> None:
    field = VirtualSlide(seed=4).field(0, 0).pixels
    with ExitStack() as camera:
        address = camera.enter_context(serve(1280, 960, 5, field=lambda: field))
        session = configured(tmp_path, f"{address}/stream")
        with supervised(SERVICE, tmp_path) as service:
            wait_until(lambda: frames(session) >= 3, service)
            camera.close()
            wait_until(lambda: len(service.ends) >= 1, service)
            # It ended in order, before the watchdog had to act, and then found no camera to begin with.
            assert (service.ends[0], service.aborted) == (6, 0), service.output
            counted, before = len(cells(session)), frames(session)
            camera.enter_context(
                serve(1280, 960, 5, field=lambda: field, port=int(address.rpartition(":")[2]))
            )
            wait_until(lambda: frames(session) > before, service)
            assert service.stop()[-1] == 0
    assert {"lost", "watchdog", "resumed"} <= set(events(session))
    # It is one field, over and over: its cells count once.
    assert len(cells(session)) == counted > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=100m", "tmpfs", folder], capture_output=True, check=False
    )
    if not done or done.returncode != 0:
        pytest.skip("a small disk can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_ends_the_run_until_there_is_room(small_disk: Path, undisturbed: list[Any]) -> None:
    session = configured(small_disk, SLIDE)
    filling = small_disk / "filling"
    with supervised(SERVICE, small_disk) as service:
        wait_until(lambda: frames(session) >= 4, service)
        filling.write_bytes(bytes(60_000_000))
        wait_until(
            lambda: "STATUS=the disk is nearly full: the service waits for room" in service.said, service
        )
        assert service.ends == [7]
        before = frames(session)
        filling.unlink()
        wait_until(lambda: frames(session) > before, service)
        assert service.wait() == [7, 0]
    assert "error" in events(session)
    assert cells(session) == undisturbed
