"""What a person sees of a run while it lasts: a table on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from edgeleuk.io.console import printable, say, shows_progress
from edgeleuk.io.images import write_png
from edgeleuk.pipeline.counts import Tally
from edgeleuk.results import Counted
from edgeleuk.version import RESEARCH_USE
from edgeleuk.vision.annotate import annotate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.frames import RgbImage
    from edgeleuk.results import FrameResult

REFRESHES_PER_S = 4
# Without a terminal a line now and then shows that it is alive.
LINE_EVERY_S = 5.0
RECENT_CELLS = 8


class LiveView:
    """What a person wants to see of the run so far."""

    def __init__(self, camera: str, *, simulated: bool) -> None:
        self.camera = printable(camera)
        self.simulated = simulated
        self.frames = 0
        self.tally = Tally(Counted())
        self.recent: list[tuple[int, str, float, float, str]] = []
        self.started = time.monotonic()
        self.last: FrameResult | None = None
        self._picture: tuple[RgbImage, FrameResult] | None = None
        self._lock = threading.Lock()

    def update(self, result: FrameResult, pixels: RgbImage) -> None:
        """Take in a frame that is recorded."""
        with self._lock:
            self.frames += 1
            self.last = result
            for cell in result.cells:
                if cell.is_new:
                    prediction = cell.prediction
                    self.tally.add(prediction, 1)
                    row = (
                        cell.track,
                        prediction.decision.value if prediction.kind is None else prediction.kind.value,
                        prediction.probability,
                        cell.area_um2,
                        prediction.reason or "",
                    )
                    self.recent = [row, *self.recent[: RECENT_CELLS - 1]]
            if self._picture is None or result.cells:
                self._picture = (pixels, result)

    def save(self, path: Path) -> None:
        """Write the last field that showed cells, annotated."""
        if self._picture is None:
            return
        pixels, result = self._picture
        write_png(path, annotate(pixels, result, simulated=self.simulated), "--picture")
        say(f"picture   {printable(str(path))}")

    def line(self) -> str:
        """Everything in one line."""
        with self._lock:
            cells = self.tally.counted.text()
            latency = f", {self.last.latency_ms:.0f} ms each" if self.last else ""
            rate = self.frames / max(time.monotonic() - self.started, 1e-9)
            return f"  {self.frames} frames, {rate:.1f} a second{latency}; {cells}"

    def table(self) -> Any:
        """Return the line and the last cells as a table, for a terminal."""
        from rich.table import Table

        title = f"{self.camera}{'   SIMULATED' * self.simulated}"
        table = Table(title=title, caption=f"{self.line().strip()}\n{RESEARCH_USE}", min_width=70)
        for column in ("cell", "called", "P(blast)", "area um2"):
            table.add_column(column, justify="right")
        table.add_column("why uncertain")
        for track, decision, probability, area, reason in list(self.recent):
            table.add_row(str(track), decision, f"{probability:.3f}", f"{area:.0f}", reason)
        return table


class _Terminal:
    """A terminal that may have gone: then the table is lost, and neither its thread nor the run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def shown(view: LiveView, *, show: bool) -> Iterator[None]:
    """Show the view on standard error while the block lasts."""
    if not show:
        yield
        return
    if shows_progress():
        from rich.console import Console
        from rich.live import Live

        live = Live(
            get_renderable=view.table,
            console=Console(file=cast("TextIO", _Terminal(sys.stderr))),
            refresh_per_second=REFRESHES_PER_S,
            transient=True,
        )
        with live:
            yield
        return
    done = threading.Event()

    def report() -> None:
        while not done.wait(LINE_EVERY_S):
            say(view.line())

    thread = threading.Thread(target=report, name="display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
