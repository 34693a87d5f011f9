"""``edgeleuk review SESSION``: where a review stands, and the page on which it is done."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from edgeleuk.commands.serving import require_serve
from edgeleuk.errors import EdgeleukError
from edgeleuk.io.console import say
from edgeleuk.io.signals import stop_on_signals
from edgeleuk.review.desk import ReviewDesk
from edgeleuk.session.kept_pictures import pictures_text

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.review.neighbours import Neighbours
    from edgeleuk.review.state import ReviewState
    from edgeleuk.serve.address import ServeOptions


def review_facts(session: Path) -> ReviewState:
    """Say where the review of a session stands.

    Raises
    ------
    UsageError, SessionError
        See `ReviewDesk`.
    """
    with ReviewDesk(session, writes=False) as desk:
        return desk.state()


def serve_review(session: Path, options: ServeOptions, bundle: str) -> ReviewState:
    """Serve the page of a review until somebody ends it.

    Parameters
    ----------
    session : Path
    options : ServeOptions
    bundle : str
        That judged the session, for the neighbours; where it is another one, the page goes without them.

    Returns
    -------
    ReviewState
        Where the review stands then.

    Raises
    ------
    MissingDependencyError, UsageError
        See `RunPage`.
    SessionError
        See `ReviewDesk`.
    """
    require_serve()
    from edgeleuk.review.router import review_router
    from edgeleuk.serve.access import Access
    from edgeleuk.serve.app import create_app
    from edgeleuk.serve.pages import review_page
    from edgeleuk.serve.server import announce, open_socket, serve_in_thread, tls_files

    tls = tls_files(options)
    access = Access.of(options.host, secure=tls is not None)
    with contextlib.ExitStack() as opened:
        desk = opened.enter_context(ReviewDesk(session))
        if (left_out := pictures_text(desk.settings)) is not None:
            say(f"review    {left_out}")
        listener = opened.enter_context(contextlib.closing(open_socket(options)))
        found = _neighbours(desk, bundle)
        if not isinstance(found, str):
            opened.callback(found.close)
        router = review_router(desk, review_page, found, alone=True)
        app = create_app(None, access=access, routers=[router])
        # Whoever reads the address may end it at once.
        with stop_on_signals() as stop, serve_in_thread(app, listener, options.host, tls) as served:
            announce(served, access)
            say("review    until Ctrl-C", always=True)
            stop.wait()
        return desk.state()


def _neighbours(desk: ReviewDesk, bundle: str) -> Neighbours | str:
    """Return what finds neighbours, or why there are none: a review does without."""
    from edgeleuk.review.neighbours import Neighbours, bundle_of

    try:
        return Neighbours.of_bundle(bundle_of(desk.settings, bundle), desk.crop)
    except EdgeleukError as error:
        return str(error)
