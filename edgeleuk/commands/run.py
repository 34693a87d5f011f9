"""``edgeleuk run``: open the parts, watch the camera, show what is seen, leave a session and a picture."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edgeleuk.bench.choosing import Held, settled
from edgeleuk.bundle.known_error import known_error
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.capture import ReconnectPolicy, is_simulated, is_simulated_source, open_camera, open_reader
from edgeleuk.capture.discovery import control_settings, find_camera
from edgeleuk.classifier.self_test import open_tested_classifier
from edgeleuk.commands.flat_field import open_correction
from edgeleuk.counting.intervals import (
    counting_facts,
    counting_text,
    precise_enough,
    share_text,
    sightings_text,
    way_on_text,
)
from edgeleuk.errors import EdgeleukError, UsageError
from edgeleuk.io.atomic import require_apart
from edgeleuk.io.console import printable, recordable, say
from edgeleuk.io.images import require_picture, write_png
from edgeleuk.io.pictures.limit import allow_megapixels
from edgeleuk.io.signals import stop_on_signals
from edgeleuk.pipeline.engine import Engine, accept, unchanged
from edgeleuk.pipeline.run import run as run_pipeline
from edgeleuk.results import Check, Counted, Decision, check_of
from edgeleuk.session import read_session
from edgeleuk.session.open import create_session, require_no_folder, resume_session
from edgeleuk.stage.watching import FocusingReader
from edgeleuk.version import RESEARCH_USE, __version__
from edgeleuk.vision.annotate import annotate
from edgeleuk.vision.quality import quality_check
from edgeleuk.vision.stream import StreamWatch
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeleuk.capture import FrameReader, FrameSource
    from edgeleuk.counting.intervals import KnownError
    from edgeleuk.frames import RgbImage
    from edgeleuk.io.settings import RunSettings
    from edgeleuk.results import FrameResult, SessionSummary
    from edgeleuk.session.writer import SessionWriter
    from edgeleuk.stage.base import Mover

REFRESHES_PER_S = 4
# Without a terminal a line now and then shows that it is alive.
LINE_EVERY_S = 5.0
RECENT_CELLS = 8
# Frames that wait for their turn where every one is wanted; not decoded, where the camera sends JPEGs.
MOST_WAITING = 32


class Walk(Protocol):
    """Moves the stage under a camera, and draws the slide; see `edgeleuk.commands.scan.SlideScan`."""

    def over(self, source: FrameSource, stop: threading.Event, first: int) -> FrameSource:
        """Make a source of the fields that are left, from that number on."""
        ...

    def seen(self, result: FrameResult, pixels: RgbImage) -> None:
        """Look at a field that is recorded."""
        ...

    def save(self, path: Path) -> None:
        """Write the picture of the slide."""
        ...


def run(
    camera: str | None,
    bundle: str,
    settings: RunSettings,
    *,
    session: Path | None,
    frames: int | None,
    picture: Path | None,
    show: bool,
    resume: bool = False,
    walk: Walk | None = None,
    focus: Mover | None = None,
    step_known: bool = True,
) -> tuple[SessionSummary, EdgeleukError | None]:
    """Watch `camera` until it ends, `frames` are processed, or the user stops it.

    Parameters
    ----------
    camera : str or None
        URI of a source; None takes the only camera there is.
    bundle : str
        A bundle's path, or ``default``.
    settings : RunSettings
    session : Path, optional
        Where to record; by default ``session-YYYYmmdd-HHMMSS.db`` in the working folder.
    frames : int, optional
    picture : Path, optional
        PNG of the last field with cells; by default the session's path with ``.png``.
    resume : bool
        Go on with the session, if there is one; else a session that exists is refused.
    walk : Walk, optional
        Who moves the stage under the camera, and draws the slide; else the picture is the last field.
    focus : Mover, optional
        A stage that keeps the camera in focus; see `edgeleuk.stage.watching`.
    step_known : bool
        Whether somebody told the length of its steps.
    show : bool
        Draw a live table on standard error.

    Returns
    -------
    summary : SessionSummary
    error : EdgeleukError or None
        What ended the run before its time; all that the summary counts is recorded all the same.
    """
    if frames is not None and frames < 1:
        raise UsageError("the number of frames is out of range", got=frames, allowed="1 or more")
    if resume and session is None:
        raise UsageError("the session to go on with is not given", cure="pass it with --session")
    allow_megapixels(settings.most_megapixels)
    uri = find_camera(camera)
    path = session or Path(time.strftime("session-%Y%m%d-%H%M%S.db"))
    require_no_folder(path)
    drawn = picture or path.with_suffix(".png")
    require_apart(drawn, path, "--picture")
    require_picture(drawn, "--picture")
    correct = unchanged if settings.flat_field is None else open_correction(Path(settings.flat_field))
    opened = read_bundle(bundle)
    settings = settled(settings, opened, _held(path) if resume else None)
    error_rates = known_error(opened, opened.model_name(settings.runtime, settings.precision))
    facts = {
        "edgeleuk": __version__,
        "bundle": opened.manifest.name,
        "bundle_sha256": opened.sha256,
        "known_error": {"reason": error_rates} if isinstance(error_rates, str) else error_rates.to_json(),
        **msgspec.to_builtins(settings),
    }
    error = None
    policy = ReconnectPolicy(tries=settings.reconnects)
    # Until the camera is open there is nothing to finish; from then on, even the picture is.
    with (
        open_tested_classifier(
            opened,
            runtime=settings.runtime,
            precision=settings.precision,
            threads=settings.threads,
            abstain=settings.abstain,
        ) as classifier,
        open_camera(uri, policy, control_settings(settings)) as source,
        stop_on_signals() as stop,
        (resume_session if resume else create_session)(
            path, {"camera": recordable(source.uri), "simulated": is_simulated_source(source), **facts}
        ) as writer,
    ):
        past = writer.resume_state()
        watch = StreamWatch(camera=source.live or is_simulated(source.uri))
        view = _View(source.uri, simulated=is_simulated_source(source))
        with ExitStack() as stack, _shown(view, show=show):
            try:
                watched = source
                if walk is not None:
                    watched = stack.enter_context(walk.over(source, stop, past.next_sequence))
                run_pipeline(
                    watched,
                    Engine(
                        classifier,
                        FieldTracker.resumed(writer.earlier_fields()),
                        correct=correct,
                        gate=quality_check if settings.gate else accept,
                        watch=watch.look,
                        crop=classifier.crop,
                    ),
                    writer,
                    frames=frames,
                    px_per_um=settings.px_per_um,
                    waiting=MOST_WAITING if settings.every_frame else 1,
                    read=open_reader if focus is None else _in_focus(focus, stop, step_known),
                    enough=_enough(settings),
                    on_frame=view.update if walk is None else _both(view.update, walk.seen),
                    past=past,
                    stop=stop,
                )
            except EdgeleukError as caught:
                error = caught
        summary = writer.summary
        if summary is None:
            assert error is not None
            raise error
        try:
            summary = replace(summary, counting=_counting(summary, writer, error_rates, settings))
        except EdgeleukError as unread:
            # The counts themselves are known, and what ended the run matters more.
            error = error or unread
        try:
            (view if walk is None else walk).save(drawn)
        except UsageError as unsaved:
            # What ended the run matters more than its picture.
            error = error or unsaved
    return summary, error


def _held(session: Path) -> Held | None:
    """Return the runtime that a session was recorded with, where there is one yet."""
    if not session.is_file():
        return None
    with read_session(session) as reader:
        before = reader.settings.get("runtime")
    return Held(before, f"the session {session}") if isinstance(before, str) else None


def _both(*listeners: Callable[[FrameResult, RgbImage], None]) -> Callable[[FrameResult, RgbImage], None]:
    def tell(result: FrameResult, pixels: RgbImage) -> None:
        for listener in listeners:
            listener(result, pixels)

    return tell


def _in_focus(
    stage: Mover, stop: threading.Event, step_known: bool
) -> Callable[[FrameSource, int], FrameReader]:
    def read(source: FrameSource, waiting: int) -> FrameReader:
        return FocusingReader(source, waiting, stage, stop, step_known=step_known)

    return read


def _enough(settings: RunSettings) -> Callable[[Counted], str | None]:
    """End a run when the share of blasts is known well enough, or so many cells are counted."""
    points, cells = settings.until_points, settings.until_cells

    def enough(counted: Counted) -> str | None:
        if points is not None and precise_enough(counted, points):
            return f"the exact 95 % interval is within +-{points:g} points"
        if cells is not None and counted.total >= cells:
            return f"{cells} cells are counted"
        return None

    return enough


def _counting(
    summary: SessionSummary, writer: SessionWriter, error: KnownError | str, settings: RunSettings
) -> dict[str, Any]:
    called = None if isinstance(error, str) else writer.called(error.threshold)
    return counting_facts(summary.counted, called, error, until_points=settings.until_points)


def summary_text(summary: SessionSummary) -> str:
    """Say what a session came to."""
    cells: Any = summary.to_json()["cells"]
    lines = [
        f"session   {printable(str(summary.session))}" + ("   SIMULATED" if summary.simulated else ""),
        f"camera    {printable(summary.camera)}, ended: {printable(summary.ended)}",
        f"frames    {summary.captured} captured, {summary.processed} processed, {summary.dropped} dropped,"
        f" {summary.rejected} rejected, {summary.fps:.1f} a second",
        f"cells     {summary.unique} counted once each: {summary.counted.text()}",
        f"sightings {sightings_text(cells)}",
        *way_on_text(cells["uncertain_by_reason"]),
    ]
    if summary.rejected_by_reason:
        reasons = sorted(summary.rejected_by_reason.items(), key=lambda item: -item[1])
        lines.insert(3, "rejected  " + ", ".join(f"{count} {reason}" for reason, count in reasons))
    lines += share_text(summary.counted.share_facts())
    if summary.counting is not None:
        lines += counting_text(summary.counting)
    if summary.latency_ms:
        lines.append(
            "latency   " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in summary.latency_ms.items())
        )
    if summary.truth is not None:
        lines.append("truth     " + _truth_text(summary))
    return "\n".join([*lines, RESEARCH_USE])


def _truth_text(summary: SessionSummary) -> str:
    truth: Any = summary.truth
    cells, called = truth["cells"], truth["called"]
    return (
        f"the slide is simulated and showed {cells['blast']} whole blasts and {cells['normal']} normal cells;"
        f" of those found, {called['blast']['blast']} of {sum(called['blast'].values())} blasts and"
        f" {called['normal']['normal']} of {sum(called['normal'].values())} normal cells were called so"
    )


class _View:
    """What a person wants to see of the run so far."""

    def __init__(self, camera: str, *, simulated: bool) -> None:
        self.camera = printable(camera)
        self.simulated = simulated
        self.frames = 0
        self.cells: Counter[Decision] = Counter()
        self.doubts: Counter[Check] = Counter()
        self.recent: list[tuple[int, str, float, float, str]] = []
        self.started = time.monotonic()
        self.last: FrameResult | None = None
        self._picture: tuple[RgbImage, FrameResult] | None = None
        self._lock = threading.Lock()

    def update(self, result: FrameResult, pixels: RgbImage) -> None:
        with self._lock:
            self.frames += 1
            self.last = result
            for cell in result.cells:
                if cell.is_new:
                    prediction = cell.prediction
                    self.cells[prediction.decision] += 1
                    if prediction.decision is Decision.UNCERTAIN:
                        self.doubts[check_of(prediction.reason)] += 1
                    row = (
                        cell.track,
                        prediction.decision.value,
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
            of = self.cells
            counted = Counted(
                of[Decision.BLAST], of[Decision.NORMAL], of[Decision.UNCERTAIN], dict(self.doubts)
            )
            cells = counted.text()
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


@contextmanager
def _shown(view: _View, *, show: bool) -> Iterator[None]:
    if not show:
        yield
        return
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        live = Live(
            get_renderable=view.table,
            console=Console(stderr=True),
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

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
