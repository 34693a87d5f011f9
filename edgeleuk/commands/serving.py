"""``run --serve``: the page of a run, from the port that is taken first to the last numbers shown."""

from __future__ import annotations

import time
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import MissingDependencyError, extra_cure
from edgeleuk.io.closing import Closing
from edgeleuk.stage.watching import FocusingReader

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from edgeleuk.capture import FrameReader, FrameSource
    from edgeleuk.serve.address import ServeOptions
    from edgeleuk.serve.live import LiveState, RunFacts
    from edgeleuk.session.writer import SessionWriter
    from edgeleuk.stage.base import Mover

    Read = Callable[[FrameSource, int], FrameReader]

_NEEDED = ("fastapi", "segno", "uvicorn", "websockets")
# Whoever looks is to see how it ended.
_LAST_WORD_S = 1.0


class RunPage(Closing):
    """The page of a run: its port is taken at once, and it is served as long as the run goes on.

    Parameters
    ----------
    options : ServeOptions

    Raises
    ------
    MissingDependencyError
        The extra ``serve`` is not installed.
    UsageError
        The port is taken, or the certificate cannot be used.
    """

    def __init__(self, options: ServeOptions) -> None:
        require_serve()
        from edgeleuk.serve.access import Access
        from edgeleuk.serve.server import open_socket, tls_files

        self._host = options.host
        self._tls = tls_files(options)
        self._access = Access.of(options.host, secure=self._tls is not None, token=options.token)
        self._listener = open_socket(options)

    def close(self) -> None:
        """Give the port back."""
        self._listener.close()

    @contextmanager
    def of_run(
        self, facts: RunFacts, writer: SessionWriter, stop: threading.Event, stage: Mover | None = None
    ) -> Iterator[LiveState]:
        """Serve a run while the block lasts, and show in the end what it came to."""
        from edgeleuk.review.desk import ReviewDesk
        from edgeleuk.review.router import review_router
        from edgeleuk.serve.app import create_app
        from edgeleuk.serve.desk import StageDesk
        from edgeleuk.serve.live import LiveState
        from edgeleuk.serve.pages import review_page
        from edgeleuk.serve.server import announce, serve_in_thread
        from edgeleuk.serve.worker import PageWorker

        desk = None if stage is None else StageDesk(stage, getattr(stage, "lamp", None))
        state = LiveState(facts, writer.note, stop, desk, _events_before(writer))
        writer.heard = state.heard
        # With a connection of its own: readers and the run write in turn.
        review = ReviewDesk(writer.path)
        app = create_app(state, access=self._access, routers=[review_router(review, review_page)])
        with review, serve_in_thread(app, self._listener, self._host, self._tls) as served:
            with PageWorker(state):
                announce(served, self._access)
                try:
                    yield state
                finally:
                    writer.heard = None
                    if desk is not None:
                        desk.close()
                    state.end(writer.summary)
            until_s = time.monotonic() + _LAST_WORD_S
            while state.listeners + state.viewers and time.monotonic() < until_s:
                time.sleep(0.02)


def require_serve() -> None:
    """See that the page's libraries are there.

    Raises
    ------
    MissingDependencyError
        The extra ``serve`` is not installed.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"the page needs {' and '.join(missing)}, which is not installed", cure=extra_cure("serve")
        )


def attended(read: Read, state: LiveState) -> Read:
    """Return a way to read a source that can be paused, and whose stage does what the page asks."""
    from edgeleuk.serve.reader import AttendedReader

    desk = state.desk

    def nothing() -> None:
        return None

    def opened(source: FrameSource, waiting: int) -> FrameReader:
        reader = read(source, waiting)
        if desk is not None and isinstance(reader, FocusingReader):
            desk.focus = reader.look_for_focus
        return AttendedReader(reader, state.paused, nothing if desk is None else desk.work, live=source.live)

    return opened


def _events_before(writer: SessionWriter) -> list[Any]:
    """Return what a session that goes on has in its log."""
    from edgeleuk.serve.live import Event
    from edgeleuk.session import read_session

    with read_session(writer.path) as reader:
        return [
            Event(int(str(row["id"])), float(str(row["at"])), str(row["kind"]), str(row["text"]))
            for row in reader.rows("events")
        ]
