"""What the service manager is told, over a real socket: life only while frames come."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from served import summary_of

from edgeleuk.errors import CameraError
from edgeleuk.service.notify import LifeSigns, Manager, life_signs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.results import SessionSummary

PIXELS = np.zeros((4, 4, 3), np.uint8)


class Listening:
    """The manager's end of the socket."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        lines = []
        while True:
            try:
                lines += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return lines


@contextmanager
def listening(path: str) -> Iterator[Listening]:
    found = Listening(path)
    with found.socket:
        yield found


def environ(path: str, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": path, **more}


class Run:
    """A run whose clock and frames are those of the test."""

    def __init__(self, manager: Manager) -> None:
        self.now_s = 100.0
        self.frames = 0
        self.noted: list[tuple[str, str]] = []
        self.signs = LifeSigns(manager, lambda *event: self.noted.append(event), clock=lambda: self.now_s)

    def summary(self) -> SessionSummary:
        return summary_of(processed=self.frames)

    def tick(self, seconds: float, frames: int = 0) -> None:
        self.now_s += seconds
        self.frames += frames
        self.signs.tick(self.summary)


def test_life_is_told_while_frames_come_and_at_no_other_time(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listening(path) as manager:
        run = Run(Manager(environ(path, WATCHDOG_USEC="40000000")))
        run.tick(1)
        run.tick(1)
        assert manager.heard() == []
        run.signs.seen(None, PIXELS)  # type: ignore[arg-type]
        assert manager.heard() == ["READY=1", f"MAINPID={os.getpid()}"]
        run.tick(2, frames=3)
        life, status = manager.heard()
        assert (life, status) == ("WATCHDOG=1", "STATUS=3 fields, 0 rejected, 0 cells counted")
        # Not with each frame: eight times within the manager's patience.
        run.tick(1, frames=1)
        assert manager.heard() == []
        run.tick(5, frames=1)
        assert manager.heard()[0] == "WATCHDOG=1"
        # No frame, no life; after three quarters of the patience the run ends.
        for _ in range(29):
            run.tick(1)
        assert manager.heard() == []
        assert run.noted == []
        with pytest.raises(CameraError, match="no frame came for 31 s") as ended:
            run.tick(2)
        assert ended.value.exit_code == 6
        assert [kind for kind, _ in run.noted] == ["watchdog"]


def test_what_a_run_remembers_first_takes_nothing_of_the_patience(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listening(path):
        run = Run(Manager(environ(path, WATCHDOG_USEC="40000000")))
        run.now_s += 50
        run.signs.begin()
        run.tick(29)
        with pytest.raises(CameraError, match="no frame came for 31 s"):
            run.tick(2)


def test_a_paused_run_lives(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listening(path) as manager:
        run = Run(Manager(environ(path, WATCHDOG_USEC="4000000")))
        run.tick(1)
        run.signs.paused = lambda: True
        for _ in range(10):
            run.tick(2)
        said = manager.heard()
    assert said[0] == "READY=1"
    assert said.count("WATCHDOG=1") == 10
    assert "STATUS=paused by the page; 0 fields, 0 rejected, 0 cells counted" in said


def test_a_first_frame_that_is_rejected_is_one(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listening(path) as manager:
        run = Run(Manager(environ(path)))
        run.signs.rejected(PIXELS, "blurred")
        run.signs.rejected(PIXELS, "blurred")
        assert manager.heard()[0] == "READY=1"
        # Without a watchdog nobody is in a hurry.
        run.tick(1e6)
        assert run.noted == []


def test_the_managers_abort_ends_the_run_with_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    noted: list[tuple[str, str]] = []
    with listening(path) as listener:
        manager = Manager(environ(path, WATCHDOG_USEC="4000000"))
        with life_signs(manager, lambda *event: noted.append(event)) as signs:
            os.kill(os.getpid(), signal.SIGABRT)
            with pytest.raises(CameraError, match="watchdog saw no sign of life"):
                signs.tick(lambda: summary_of(0))
        assert noted[0][0] == "watchdog"
        assert listener.heard() == ["STOPPING=1", "STATUS=the session is being closed"]
    assert signal.getsignal(signal.SIGABRT) is signal.SIG_DFL


def test_an_abstract_socket(tmp_path: Path) -> None:
    name = f"edgeleuk-{tmp_path.name}-{os.getpid()}"
    with listening(f"\0{name}") as manager:
        Manager(environ(f"@{name}")).tell("READY=1", "STATUS=runs")
        assert manager.heard() == ["READY=1", "STATUS=runs"]


@pytest.mark.parametrize(
    ("told", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "45000000"}, 45.0),
        ({"WATCHDOG_USEC": "45000000", "WATCHDOG_PID": str(os.getpid())}, 45.0),
        ({"WATCHDOG_USEC": "45000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_whose_watchdog_it_is(told: dict[str, str], watchdog_s: float | None) -> None:
    assert Manager(environ("/run/notify", **told)).watchdog_s == watchdog_s


@pytest.mark.parametrize("address", ["", "relative", "@", "vsock:2:1"])
def test_where_there_is_no_manager_nothing_is_said(address: str) -> None:
    manager = Manager(environ(address, WATCHDOG_USEC="4000000"))
    assert not manager
    assert manager.watchdog_s is None
    manager.tell("READY=1")
    run = Run(manager)
    run.tick(1e6)
    assert run.noted == []


def test_a_manager_that_is_gone_stops_no_run(tmp_path: Path) -> None:
    Manager(environ(str(tmp_path / "gone"))).tell("WATCHDOG=1")
