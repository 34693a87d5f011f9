"""SIGTERM and SIGKILL in every state of a run on a real camera: it ends soon, and its session opens clean."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from mjpeg_server import serve

from edgeleuk.errors import EdgeleukError
from edgeleuk.session import read_session
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
SOON_S = 30


class Silent(NamedTuple):
    """A camera that takes a connection, sends `HEAD` or nothing at all, and then keeps silent."""

    address: str
    asked: threading.Semaphore


@contextmanager
def silent(answer: bytes) -> Iterator[Silent]:
    asked = threading.Semaphore(0)
    kept = []

    def serve_all() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                kept.append(connection)
                connection.recv(4096)
                connection.sendall(answer)
                asked.release()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve_all, daemon=True)
        thread.start()
        yield Silent(f"http://127.0.0.1:{server.getsockname()[1]}", asked)
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for connection in kept:
        connection.close()


class Running:
    """Two runs on one camera: one is to be terminated, one to be killed."""

    def __init__(self, address: str, folder: Path, *words: str) -> None:
        self.paths = {number: folder / f"{number.name}.db" for number in (signal.SIGTERM, signal.SIGKILL)}
        self.processes = {
            number: subprocess.Popen(
                [
                    *(
                        sys.executable,
                        "-m",
                        "edgeleuk",
                        "run",
                        "--camera",
                        f"{address}/stream",
                        "--no-quality-check",
                    ),
                    *("--json", "--session", str(path)),
                    *(word.replace("NAME", number.name) for word in words),
                ],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, path in self.paths.items()
        }

    def wait_until(self, holds: Callable[[Path], bool]) -> None:
        until = time.monotonic() + 60
        for number, path in self.paths.items():
            while not holds(path):
                process = self.processes[number]
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until
                time.sleep(0.02)

    def signal(self) -> None:
        for number, process in self.processes.items():
            process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Return exit code and output of the one that was terminated; the other one was killed."""
        ends = {}
        for number, process in self.processes.items():
            ends[number] = process.communicate(timeout=SOON_S)
        assert self.processes[signal.SIGKILL].returncode == -signal.SIGKILL
        out, err = ends[signal.SIGTERM]
        assert "Traceback" not in err
        return self.processes[signal.SIGTERM].returncode, out, err

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.communicate()


@contextmanager
def running(address: str, folder: Path, *words: str) -> Iterator[Running]:
    runs = Running(address, folder, *words)
    try:
        yield runs
    finally:
        runs.close()


def events(path: Path) -> set[object]:
    with read_session(path) as reader:
        return {row["kind"] for row in reader.rows("events")}


def frames(path: Path) -> int:
    try:
        with read_session(path) as reader:
            return reader.counts().processed
    except EdgeleukError:
        # Not there yet.
        return 0


def opens_clean(path: Path, *, finished: bool) -> int:
    found = verify_session(path)
    assert (found.broken, found.finished) == (None, finished)
    return int(found.frames)


def test_while_the_camera_is_being_opened(tmp_path: Path) -> None:
    with silent(b"") as camera, running(camera.address, tmp_path) as runs:
        for _ in range(2):
            assert camera.asked.acquire(timeout=60)
        runs.signal()
        code, out, _ = runs.end()
    assert (code, out) == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_while_the_first_frame_is_awaited(tmp_path: Path) -> None:
    with silent(HEAD) as camera, running(camera.address, tmp_path) as runs:
        runs.wait_until(lambda path: path.exists() and path.with_name(path.name + "-wal").exists())
        for _ in range(2):
            assert camera.asked.acquire(timeout=60)
        time.sleep(0.3)
        runs.signal()
        code, _, err = runs.end()
    assert code == 130, err
    assert "stopped before anything was recorded" in err
    assert opens_clean(runs.paths[signal.SIGTERM], finished=True) == 0
    assert opens_clean(runs.paths[signal.SIGKILL], finished=False) == 0


def test_while_frames_are_processed(tmp_path: Path) -> None:
    with serve(640, 480, 20) as address, running(address, tmp_path) as runs:
        runs.wait_until(lambda path: frames(path) > 0)
        runs.signal()
        code, out, err = runs.end()
    assert code == 0, err
    facts = json.loads(out)
    assert facts["ended"] == "stopped by the user"
    assert 0 < facts["frames"]["processed"] == opens_clean(runs.paths[signal.SIGTERM], finished=True)
    assert opens_clean(runs.paths[signal.SIGKILL], finished=False) > 0


def test_while_a_lost_camera_is_awaited(tmp_path: Path) -> None:
    with ExitStack() as camera:
        address = camera.enter_context(serve(640, 480, 20))
        with running(address, tmp_path) as runs:
            runs.wait_until(lambda path: frames(path) > 0)
            # From now on nobody answers there.
            camera.close()
            # What handle_event it is on the disk while it is awaited.
            runs.wait_until(lambda path: {"lost", "refused"} <= events(path))
            runs.signal()
            code, out, err = runs.end()
    assert code == 0, err
    assert json.loads(out)["ended"] == "stopped by the user"
    for number, path in runs.paths.items():
        assert opens_clean(path, finished=number == signal.SIGTERM) > 0
        assert {"lost", "refused"} <= events(path)


def test_while_it_is_finishing(tmp_path: Path) -> None:
    pipes = [tmp_path / f"{name}.pipe" for name in ("SIGTERM", "SIGKILL")]
    for pipe in pipes:
        os.mkfifo(pipe)
    words = ("--frames", "2", "--picture", "NAME.pipe")
    with serve(640, 480, 20) as address, running(address, tmp_path, *words) as runs:
        # The picture waits for somebody who reads it.
        runs.wait_until(finished)
        time.sleep(0.3)
        runs.signal()
        time.sleep(0.1)
        picture = pipes[0].read_bytes()
        code, out, err = runs.end()
    assert code == 0, err
    assert json.loads(out)["ended"] == "2 frames were processed"
    assert picture.startswith(b"\x89PNG")
    for path in runs.paths.values():
        assert opens_clean(path, finished=True) == 2


def finished(path: Path) -> bool:
    try:
        with read_session(path) as reader:
            return reader.summary is not None
    except EdgeleukError:
        return False
