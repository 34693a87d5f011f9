"""A page's server as tests need it: real, on a port of its own, with a run that the test feeds."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.frames import Box
from edgeleuk.results import CellResult, Counted, Decision, FrameResult, Prediction, SessionSummary
from edgeleuk.serve.access import Access
from edgeleuk.serve.address import ServeOptions
from edgeleuk.serve.app import create_app
from edgeleuk.serve.live import LiveState, RunFacts
from edgeleuk.serve.server import Served, open_socket, serve_in_thread, tls_files
from edgeleuk.serve.worker import PageWorker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fastapi import APIRouter

    from edgeleuk.frames import RgbImage
    from edgeleuk.serve.desk import StageDesk


class FedRun:
    """A run whose fields and ticks come from the test; what it records is kept."""

    def __init__(self, folder: Path, desk: StageDesk | None = None) -> None:
        self.noted: list[tuple[str, str]] = []
        self.stop = threading.Event()
        self.state = LiveState(
            RunFacts("virtual://", folder / "s.db", "default", simulated=True), self._note, self.stop, desk
        )
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._fields = 0

    def _note(self, kind: str, text: str) -> None:
        self.noted.append((kind, text))
        self.state.heard(len(self.noted), 1000.0, kind, text)

    def field(self, pixels: RgbImage, *cells: CellResult) -> None:
        height, width = pixels.shape[:2]
        self._fields += 1
        found = FrameResult(self._fields, 1000.0, "test", width, height, 10.0, cells, (), (), 5.0)
        self.state.seen(found, pixels)

    def tick(self) -> None:
        self.state.tick(lambda: summary_of(self._fields))

    def _tick(self) -> None:
        while not self._ends.wait(0.01):
            self.tick()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Tick as a run does, on a thread of its own."""
        self._thread.start()
        try:
            yield
        finally:
            self._ends.set()
            self._thread.join()


def summary_of(processed: int, counted: Counted | None = None) -> SessionSummary:
    return SessionSummary(
        session="s.db",
        camera="virtual://",
        ended="",
        started_at=1000.0,
        duration_s=2.0,
        simulated=True,
        captured=processed,
        processed=processed,
        dropped=0,
        rejected=0,
        detected=0,
        seen_before=0,
        excluded=0,
        counted=counted or Counted(),
    )


def cell_of(track: int, decision: Decision = Decision.BLAST, *, new: bool = True) -> CellResult:
    return CellResult(track, new, Box(20, 20, 30, 30), 90.0, 60.0, Prediction(decision, 0.9))


def noise(seed: int = 0, height: int = 240, width: int = 320) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


class Site(NamedTuple):
    """A server under test."""

    run: FedRun
    served: Served
    access: Access

    @property
    def base(self) -> str:
        return f"http{'s' * self.served.secure}://127.0.0.1:{self.served.port}"

    @property
    def socket(self) -> str:
        return self.base.replace("http", "ws", 1)


@contextmanager
def site(
    folder: Path,
    access: Access | None = None,
    options: ServeOptions | None = None,
    routers: Sequence[APIRouter] = (),
    desk: StageDesk | None = None,
) -> Iterator[Site]:
    """Serve a fed run on a free port of this machine."""
    access = access or Access()
    options = options or ServeOptions()
    run = FedRun(folder, desk)
    app = create_app(run.state, access=access, routers=routers)
    with (
        open_socket(options) as listener,
        serve_in_thread(app, listener, options.host, tls_files(options)) as served,
        PageWorker(run.state),
        run.going_on(),
    ):
        yield Site(run, served, access)
