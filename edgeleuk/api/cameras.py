"""A camera in Python: frame after frame, judged, until the source ends."""

from __future__ import annotations

import queue
import tempfile
import threading
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeleuk.api.results import FrameResult
from edgeleuk.capture import is_simulated_source
from edgeleuk.commands.run import RunOptions, run
from edgeleuk.errors import InterruptedBeforeRecordError
from edgeleuk.io.settings import RunSettings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from edgeleuk.capture import FrameSource
    from edgeleuk.frames import RgbImage
    from edgeleuk.io.settings import RuntimeChoice
    from edgeleuk.results import FrameResult as PipelineFrame

# How often a waiting thread looks whether it is still wanted.
_LOOK_S = 0.1


def watch(
    uri: str,
    *,
    bundle: str | Path = "default",
    session: str | Path | None = None,
    px_per_um: float | None = None,
    runtime: RuntimeChoice | None = None,
    precision: Literal["int8", "float32"] | None = None,
    quality_check: bool | None = None,
) -> Generator[FrameResult]:
    """Watch a camera, a film or a folder, and yield each frame that was judged.

    The camera is opened with the first frame that is asked for. It is closed when the source ends, when the
    generator is closed, and when the loop is left by an error. A live camera does not wait: while the loop
    is busy, frames are dropped and the newest one wins.

    Parameters
    ----------
    uri : str
        As of ``edgeleuk run --camera``: ``v4l2:///dev/video0``, ``dir://FOLDER``, ``virtual://?seed=1``, ...
    bundle : str or Path
        Path of a bundle, or ``default``.
    session : str or Path, optional
        Where to record; must not exist. Without it a temporary session is used and removed.
    px_per_um, runtime, precision, quality_check : optional
        As the flags of ``edgeleuk run``.

    Yields
    ------
    FrameResult
        A cell that is seen again keeps its ``track``; count those that are ``is_new``. Rejected frames are
        not yielded; a session lists them.

    Raises
    ------
    CameraError
        The camera cannot be opened, or died.
    DataRefusedError
        Not one picture of a folder or a film could be used.
    UsageError, BundleError, CheckFailedError, SessionError
        As ``edgeleuk run``.

    Examples
    --------
    >>> import edgeleuk
    >>> for frame in edgeleuk.watch("virtual://?seed=1&frames=1", runtime="litert"):
    ...     print(frame.width, frame.height)
    1280 960
    """
    flags = {
        "px_per_um": px_per_um,
        "runtime": runtime,
        "precision": precision,
        "quality_check": quality_check,
    }
    settings = load_settings(RunSettings, flags=flags)
    return _frames(uri, str(bundle), settings, None if session is None else Path(session))


def _frames(uri: str, bundle: str, settings: RunSettings, session: Path | None) -> Generator[FrameResult]:
    """Run the pipeline on a thread of its own, and hand its results over one by one."""
    results: queue.Queue[FrameResult | BaseException | None] = queue.Queue(1)
    stop = threading.Event()

    def put(item: FrameResult | BaseException | None) -> None:
        while not stop.is_set():
            try:
                results.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return

    def work() -> None:
        end: BaseException | None = None
        try:
            with tempfile.TemporaryDirectory(prefix="edgeleuk-") as name:
                _watched(uri, bundle, settings, session or Path(name) / "session.db", put, stop)
        except BaseException as error:  # noqa: BLE001 - raised again where the frames are wanted
            end = error
        put(end)

    thread = threading.Thread(target=work, name="edgeleuk-watch", daemon=True)
    thread.start()
    try:
        while isinstance(item := results.get(), FrameResult):
            yield item
        if item is not None:
            raise item
    finally:
        stop.set()
        thread.join()


def _watched(
    uri: str,
    bundle: str,
    settings: RunSettings,
    session: Path,
    put: Callable[[FrameResult], None],
    stop: threading.Event,
) -> None:
    """Watch a source as ``edgeleuk run`` does, until it ends or `stop` is set."""

    def listener(source: FrameSource) -> Callable[[PipelineFrame, RgbImage], None]:
        simulated = is_simulated_source(source)

        def on_frame(result: PipelineFrame, pixels: RgbImage) -> None:
            known = {of.name: getattr(result, of.name) for of in fields(result)}
            put(FrameResult(**known, rgb=pixels, simulated=simulated))

        return on_frame

    options = RunOptions(session, draw=False, listener=listener, stop=stop)
    with suppress(InterruptedBeforeRecordError):
        _, error = run(uri, bundle, settings, options)
        if error is not None:
            raise error
