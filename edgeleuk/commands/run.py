"""``edgeleuk run``: open the parts, watch the camera, show what is seen, leave a session and a picture."""

from __future__ import annotations

import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from edgeleuk.bench.choosing import Held, settled
from edgeleuk.bundle.known_error import known_error, known_kinds
from edgeleuk.bundle.trusted import read_trusted_bundle
from edgeleuk.capture import ReconnectPolicy, is_simulated, is_simulated_source, open_camera, open_reader
from edgeleuk.capture.discovery import control_settings, find_camera
from edgeleuk.classifier.self_test import open_tested_classifier
from edgeleuk.commands.attending import attended_run
from edgeleuk.commands.flat_field import open_correction
from edgeleuk.commands.live_view import LiveView, shown
from edgeleuk.commands.save_video import AnnotatedVideo, require_video
from edgeleuk.commands.serving import RunPage, attended
from edgeleuk.control.store import control_path
from edgeleuk.control.watch import ControlWatch, laboratory_range, require_control
from edgeleuk.counting.intervals import (
    counting_facts,
    precise_enough,
    share_to_know,
)
from edgeleuk.errors import EdgeleukError, UsageError
from edgeleuk.fleet.publisher import RunPublisher
from edgeleuk.io.atomic import require_apart
from edgeleuk.io.console import recordable
from edgeleuk.io.images import require_picture
from edgeleuk.io.pictures.limit import allow_megapixels
from edgeleuk.io.signals import stop_on_signals
from edgeleuk.pipeline.engine import Engine, accept, unchanged
from edgeleuk.pipeline.run import PipelineOptions
from edgeleuk.pipeline.run import run as run_pipeline
from edgeleuk.serve.live import RunFacts
from edgeleuk.session import read_session
from edgeleuk.session.open import begun, create_session, resume_session, session_to_write
from edgeleuk.stage.watching import FocusingReader
from edgeleuk.updates.starts import first_start
from edgeleuk.version import __version__
from edgeleuk.vision.quality import quality_check
from edgeleuk.vision.stream import StreamWatch
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.capture import FrameReader, FrameSource
    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.commands.attending import Attendants, Walk
    from edgeleuk.control.watch import LaboratoryRange
    from edgeleuk.counting.confusion import KnownKinds
    from edgeleuk.counting.intervals import KnownError
    from edgeleuk.fleet.address import Broker
    from edgeleuk.frames import RgbImage
    from edgeleuk.io.settings import RunSettings
    from edgeleuk.pipeline.run import Attendant
    from edgeleuk.results import Counted, FrameResult, SessionSummary
    from edgeleuk.serve.address import ServeOptions
    from edgeleuk.session.resume_state import ResumeState
    from edgeleuk.session.writer import SessionWriter
    from edgeleuk.updates.starts import FirstStart

    FieldListener = Callable[[FrameResult, RgbImage], None]
    from edgeleuk.stage.base import Mover

# Frames that wait for their turn where every one is wanted; not decoded, where the camera sends JPEGs.
MOST_WAITING = 32


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one run is asked for, beside the camera, the bundle and the settings.

    Attributes
    ----------
    session : Path, optional
        Where to record; by default ``session-YYYYmmdd-HHMMSS.db`` in the working folder.
    frames : int, optional
        Stop after so many processed frames.
    picture : Path, optional
        PNG of the last field with cells; by default the session's path with ``.png``.
    draw : bool
        Whether a picture is wanted at all.
    show : bool
        Draw a live table on standard error.
    resume : bool
        Go on with the session, if there is one; else a session that exists is refused.
    walk : Walk, optional
        Who moves the stage under the camera, and draws the slide; else the picture is the last field.
    focus : Mover, optional
        A stage that keeps the camera in focus; see `edgeleuk.stage.watching`.
    step_known : bool
        Whether somebody told the length of its steps.
    video : Path, optional
        MP4 of every judged field, annotated; see `edgeleuk.commands.save_video`.
    listener : callable, optional
        Given the camera once it is open, returns who else is told of each judged field.
    stop : threading.Event, optional
        Ends the run when it is set; by default signals do.
    control : str, optional
        The laboratory's file of control sessions, or ``default``; see `edgeleuk.control`.
    control_required : bool
        Refuse to begin without limits, and end the run where its first fields are out of range.
    serve : ServeOptions, optional
        Where the run is shown in a browser; see `edgeleuk.serve`.
    broker : Broker, optional
        Who is told of the run while it goes on; see `edgeleuk.fleet`.
    autofocus : bool
        Whether `focus` keeps the camera in focus by itself, or only moves when the page asks for it.
    attendant : Attendant, optional
        Who else attends to the run while it goes on.

    Raises
    ------
    UsageError
        The frames are out of range, there is no session to go on with, or no file to control by.
    """

    session: Path | None = None
    frames: int | None = None
    picture: Path | None = None
    draw: bool = True
    show: bool = False
    resume: bool = False
    walk: Walk | None = None
    focus: Mover | None = None
    step_known: bool = True
    video: Path | None = None
    listener: Callable[[FrameSource], FieldListener] | None = None
    stop: threading.Event | None = None
    control: str | None = None
    control_required: bool = False
    serve: ServeOptions | None = None
    broker: Broker | None = None
    autofocus: bool = True
    attendant: Attendant | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise UsageError("the number of frames is out of range", got=self.frames, allowed="1 or more")
        if self.resume and self.session is None:
            raise UsageError("the session to go on with is not given", cure="pass it with --session")
        if self.control_required and self.control is None:
            raise UsageError("the control sessions are not given", cure="pass their file with --control")


class _Job(NamedTuple):
    """One run, checked and settled, before anything but the bundle is open."""

    uri: str
    path: Path
    picture: Path
    bundle: Bundle
    settings: RunSettings
    correct: Callable[[RgbImage], RgbImage]
    known_error: KnownError | str
    known_kinds: KnownKinds
    options: RunOptions

    def facts(self, source: FrameSource) -> dict[str, Any]:
        """Return what a session records of it when it begins."""
        known = self.known_error
        return {
            "camera": recordable(source.uri),
            "simulated": is_simulated_source(source),
            "edgeleuk": __version__,
            "bundle": self.bundle.manifest.name,
            "bundle_sha256": self.bundle.sha256,
            "known_error": {"reason": known} if isinstance(known, str) else known.to_json(),
            "known_kinds": self.known_kinds.to_json(),
            **msgspec.to_builtins(self.settings),
            # Readers of before know it by this name.
            "gate": self.settings.quality_check,
        }


class _Watching(NamedTuple):
    """Who looks at every run, and from where on."""

    view: LiveView
    control: ControlWatch
    resume_from: ResumeState
    page: RunPage | None
    start: FirstStart
    attendants: Attendants


def run(
    camera: str | None, bundle: str, settings: RunSettings, options: RunOptions
) -> tuple[SessionSummary, EdgeleukError | None]:
    """Watch `camera` until it ends, so many frames are processed, or the user stops it.

    Parameters
    ----------
    camera : str or None
        URI of a source; None takes the only camera there is.
    bundle : str
        A bundle's path, or ``default``.
    settings : RunSettings
    options : RunOptions

    Returns
    -------
    summary : SessionSummary
    error : EdgeleukError or None
        What ended the run before its time; all that the summary counts is recorded all the same.
    """
    # A port that is taken is told before anything takes time.
    with (
        nullcontext() if options.serve is None else RunPage(options.serve) as page,
        first_start(bundle) as start,
    ):
        outcome = _run(_prepared(camera, bundle, settings, options), page, start)
        start.ended(outcome[1])
        return outcome


def _run(job: _Job, page: RunPage | None, start: FirstStart) -> tuple[SessionSummary, EdgeleukError | None]:
    """Open what is needed, and watch."""
    settings, options = job.settings, job.options
    policy = ReconnectPolicy(tries=settings.reconnects)
    open_session = resume_session if options.resume else create_session
    # Until the camera is open there is nothing to finish; from then on, even the picture is.
    with (
        open_tested_classifier(
            job.bundle,
            runtime=settings.runtime,
            precision=settings.precision,
            threads=settings.threads,
            abstain=settings.abstain,
        ) as classifier,
        open_camera(job.uri, policy, control_settings(settings)) as source,
        stop_on_signals() if options.stop is None else nullcontext(options.stop) as stop,
        nullcontext(_laboratory(job, source)) as laboratory,
        open_session(job.path, job.facts(source), bounds=settings.storage_bounds()) as writer,
    ):
        view = LiveView(source.uri, simulated=is_simulated_source(source))
        resume_from = writer.resume_state()
        control = ControlWatch(
            writer, laboratory, required=options.control_required, first=resume_from.next_sequence
        )
        with attended_run(writer, stop, options.attendant) as attendants:
            watching = _Watching(view, control, resume_from, page, start, attendants)
            error = _watched(job, classifier, source, writer, watching, stop)
        return _finished(job, writer, watching, error or attendants.crashes.error())


def _laboratory(job: _Job, source: FrameSource) -> LaboratoryRange | None:
    """Read what the run is to be held against, before its session is begun."""
    if job.options.control is None:
        return None
    found = laboratory_range(
        control_path(job.options.control),
        job.bundle.sha256,
        job.settings.px_per_um,
        simulated=is_simulated_source(source),
    )
    if job.options.control_required:
        require_control(found)
    return found


def _prepared(camera: str | None, bundle: str, settings: RunSettings, options: RunOptions) -> _Job:
    """Check and settle all that can be before the camera is open."""
    allow_megapixels(settings.most_megapixels)
    uri = find_camera(camera)
    path = options.session or Path(time.strftime("session-%Y%m%d-%H%M%S.db"))
    path = session_to_write(path, resume=options.resume)
    picture = options.picture or path.with_suffix(".png")
    if options.draw:
        require_apart(picture, path, "--picture")
        require_picture(picture, "--picture")
    if options.video is not None:
        require_video(options.video, resume=options.resume)
    correct = unchanged if settings.flat_field is None else open_correction(Path(settings.flat_field))
    opened = read_trusted_bundle(bundle)
    settings = settled(settings, opened, _held(path) if options.resume else None)
    error_rates = known_error(opened, opened.model_name(settings.runtime, settings.precision))
    kinds = known_kinds(opened)
    if settings.until_of == "white" and not kinds.asked:
        raise UsageError(
            "the bundle names no kinds of cells",
            got="--until-of white",
            allowed="lymphoid",
            cure="pass --until-of lymphoid, or a bundle that names kinds",
        )
    return _Job(uri, path, picture, opened, settings, correct, error_rates, kinds, options)


def _watched(
    job: _Job,
    classifier: Classifier,
    source: FrameSource,
    writer: SessionWriter,
    watching: _Watching,
    stop: threading.Event,
) -> EdgeleukError | None:
    """Run the pipeline to its end; return what ended it before its time."""
    settings, options = job.settings, job.options
    walk, focus = options.walk, options.focus
    view, control, resume_from, page, start, attendants = watching
    watch = StreamWatch(camera=source.live or is_simulated(source.uri))
    with ExitStack() as stack, shown(view, show=options.show):
        try:
            listeners: list[FieldListener] = [view.update, control.seen, start.seen, attendants.signs.seen]
            if options.listener is not None:
                listeners.append(options.listener(source))
            if walk is not None:
                listeners.append(walk.seen)
            if options.video is not None:
                film = AnnotatedVideo(options.video, simulated=is_simulated_source(source))
                listeners.append(stack.enter_context(film).seen)
            read = open_reader if focus is None else _in_focus(focus, stop, options)
            if options.broker is not None:
                simulated = is_simulated_source(source)
                told = RunPublisher(job.path, options.broker, writer.note, simulated=simulated)
                attendants.add(stack.enter_context(told))
                listeners.append(told.seen)
            if page is not None:
                facts = RunFacts(
                    recordable(source.uri),
                    job.path,
                    job.bundle.manifest.name,
                    simulated=is_simulated_source(source),
                    until_points=settings.until_points,
                    until_of=settings.until_of,
                    kinds=job.known_kinds,
                )
                state = stack.enter_context(page.of_run(facts, writer, stop, focus))
                listeners.append(state.seen)
                attendants.add(state)
                attendants.signs.paused = state.paused.is_set
                read = attended(read, state)
            if walk is not None:
                source = stack.enter_context(walk.over(source, stop, resume_from.next_sequence))
            tracker = FieldTracker()

            def recall(so_far: Callable[[], SessionSummary]) -> None:
                tracker.recall(writer.earlier_fields(), lambda: attendants.recalling(so_far))

            run_pipeline(
                source,
                Engine(
                    classifier,
                    tracker,
                    correct=job.correct,
                    quality_check=quality_check if settings.quality_check else accept,
                    watch=watch.look,
                    crop=classifier.crop,
                ),
                writer,
                PipelineOptions(
                    frames=options.frames,
                    px_per_um=settings.px_per_um,
                    waiting=MOST_WAITING if settings.every_frame else 1,
                    read=read,
                    enough=_enough(settings, control, job.known_kinds),
                    resume_from=resume_from,
                    recall=recall,
                    attendant=attendants,
                ),
                on_frame=_all(listeners),
                stop=stop,
            )
        except EdgeleukError as caught:
            return caught
    return control.error


def _finished(
    job: _Job, writer: SessionWriter, watching: _Watching, error: EdgeleukError | None
) -> tuple[SessionSummary, EdgeleukError | None]:
    """Add the intervals to the summary, and write the picture."""
    summary = writer.summary
    if summary is None:
        assert error is not None
        raise error
    view, control = watching.view, watching.control
    summary = replace(summary, control=control.outcome)
    try:
        summary = replace(summary, counting=_counting(summary, writer, job))
    except EdgeleukError as unread:
        # The counts themselves are known, and what ended the run matters more.
        error = error or unread
    try:
        if job.options.draw:
            (job.options.walk or view).save(job.picture)
    except UsageError as unsaved:
        # What ended the run matters more than its picture.
        error = error or unsaved
    return summary, error


def _held(session: Path) -> Held | None:
    """Return the runtime that a session was recorded with, where there is one yet."""
    if not begun(session):
        return None
    with read_session(session) as reader:
        before = reader.settings.get("runtime")
    return Held(before, f"the session {session}") if isinstance(before, str) else None


def _all(listeners: list[FieldListener]) -> FieldListener:
    def tell(result: FrameResult, pixels: RgbImage) -> None:
        for listener in listeners:
            listener(result, pixels)

    return tell


def _in_focus(
    stage: Mover, stop: threading.Event, options: RunOptions
) -> Callable[[FrameSource, int], FrameReader]:
    def read(source: FrameSource, waiting: int) -> FrameReader:
        known, unasked = options.step_known, options.autofocus
        return FocusingReader(source, waiting, stage, stop, step_known=known, unasked=unasked)

    return read


def _enough(
    settings: RunSettings, control: ControlWatch, kinds: KnownKinds
) -> Callable[[Counted], str | None]:
    """End a run when enough is known of the share of blasts, or counted, or when it must not count."""
    points, cells = settings.until_points, settings.until_cells
    share_of = share_to_know(settings.until_of, kinds)

    def enough(counted: Counted) -> str | None:
        if control.ends is not None:
            return control.ends
        if points is not None and precise_enough(counted, points, share_of):
            return f"the exact 95 % interval is within +-{points:g} points"
        if cells is not None and counted.total >= cells:
            return f"{cells} cells are counted"
        return None

    return enough


def _counting(summary: SessionSummary, writer: SessionWriter, job: _Job) -> dict[str, Any]:
    error, settings = job.known_error, job.settings
    called = None if isinstance(error, str) else writer.called(error.threshold)
    return counting_facts(
        summary.counted,
        called,
        error,
        until_points=settings.until_points,
        until_of=settings.until_of,
        kinds=job.known_kinds,
    )
