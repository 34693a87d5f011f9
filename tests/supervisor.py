"""What systemd does for one service, for tests on machines where it does not run.

A program is started with ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC``. Once it has said READY=1, it must send
WATCHDOG=1 within the watchdog's time, or it gets SIGABRT and SIGCONT, and SIGKILL when it has not ended some
time after that. Whatever ends it, but exit code 0 and 130, starts it anew: ``Restart=on-failure``.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ENDS_WELL = (0, 130)


class Supervisor:
    """Runs a program until it ends well, or is told to stop.

    Parameters
    ----------
    command : sequence of str
    folder : Path
        Its working folder, where its output goes, too.
    watchdog_s, abort_s : float
        ``WatchdogSec=`` and ``TimeoutAbortSec=``.

    Attributes
    ----------
    said : list of str
        The lines of all notifications, in their order.
    ends : list of int
        What each run of the program ended with; the negative number of a signal.
    aborted : int
        How often the watchdog had to act.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, watchdog_s: float = 10.0, abort_s: float = 10.0
    ) -> None:
        self.said: list[str] = []
        self.ends: list[int] = []
        self.aborted = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command
        self._folder = folder
        self._watchdog_s = watchdog_s
        self._abort_s = abort_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor")
        self._thread.start()

    @property
    def output(self) -> str:
        """What the program wrote so far."""
        return (self._folder / "output").read_text(errors="replace")

    def wait(self, seconds: float = 120) -> list[int]:
        """Wait until it ends by itself; return `ends`."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), self.output
        return self.ends

    def stop(self) -> list[int]:
        """Stop it in order, as ``systemctl stop`` does; return `ends`."""
        self._stop.set()
        return self.wait()

    def close(self) -> None:
        """End whatever is left."""
        self._stop.set()
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()
        self._thread.join()

    def _run(self) -> None:
        path = self._folder / "notify"
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
            (self._folder / "output").open("wb") as output,
        ):
            manager.bind(str(path))
            while not self._stop.is_set() and (not self.ends or self.ends[-1] not in ENDS_WELL):
                environ = os.environ | {
                    "NOTIFY_SOCKET": str(path),
                    "WATCHDOG_USEC": str(round(1e6 * self._watchdog_s)),
                }
                self.process = subprocess.Popen(
                    self._command, cwd=self._folder, env=environ, stdout=output, stderr=output
                )
                self.ends.append(self._watched(self.process, manager))

    def _watched(self, process: subprocess.Popen[bytes], manager: socket.socket) -> int:
        due_s = kill_s = float("inf")
        stopping = False
        while process.poll() is None:
            readable, _, _ = select.select([manager], [], [], 0.05)
            lines = manager.recv(4096).decode().splitlines() if readable else []
            self.said += lines
            now_s = time.monotonic()
            if "READY=1" in lines or "WATCHDOG=1" in lines:
                due_s = now_s + self._watchdog_s
            if "STOPPING=1" in lines:
                due_s = float("inf")
            if now_s > due_s:
                self.aborted += 1
                due_s, kill_s = float("inf"), now_s + self._abort_s
                process.send_signal(signal.SIGABRT)
                process.send_signal(signal.SIGCONT)
            if self._stop.is_set() and not stopping:
                stopping = True
                process.send_signal(signal.SIGTERM)
            if now_s > kill_s:
                kill_s = float("inf")
                process.kill()
        return process.wait()


@contextmanager
def supervised(command: Sequence[str], folder: Path, **times: float) -> Iterator[Supervisor]:
    """Run a program under a supervisor while the block lasts."""
    supervisor = Supervisor(command, folder, **times)
    try:
        yield supervisor
    finally:
        supervisor.close()
