"""The other end of a peer's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from contest import Peer

TURNS = Path(__file__).resolve().parent / "turns.py"
# Longer than the slowest opening and the slowest turn.
PATIENCE_S = 300.0
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}


class FailedError(Exception):
    """A peer could not be opened, or ended."""


class PeerProcess:
    """A peer that waits for its turn.

    Parameters
    ----------
    peer : Peer
    folder : Path
        With what it is given; its log goes there too.

    Raises
    ------
    FailedError
        It could not be opened.
    """

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.peer = peer
        self._log = folder / f"{peer.key}.log"
        environment = {
            **os.environ,
            # Nothing is looked for elsewhere, installed or sent: what is measured is what is there.
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
            "YOLO_CONFIG_DIR": str(folder),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "CUDA_VISIBLE_DEVICES": "-1",
            **({} if peer.threads == "all cores" else ONE_THREAD),
        }
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(TURNS), peer.key, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        self.facts = self._answer()
        if "missing" in self.facts:
            self.close()
            raise FailedError(self.facts["missing"])

    def turn(self, first: int, last: int) -> dict[str, Any]:
        """Let it do cells or fields `first` to `last`; return the seconds and what was found."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended: the answer will tell
            print(json.dumps([first, last]), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        watch = threading.Timer(PATIENCE_S, self._process.kill)
        watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        if not line:
            self.close()
            last = (self._log.read_text(encoding="utf-8").strip().splitlines() or ["no last words"])[-1]
            raise FailedError(f"ended ({self._process.returncode}): {last}")
        answer: dict[str, Any] = json.loads(line)
        return answer
