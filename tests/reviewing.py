"""A session of many cells, and its page of review on a real socket."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.frames import Box, CellCrop
from edgeleuk.results import CellResult, Decision, FrameResult, Prediction
from edgeleuk.review import ReviewDesk
from edgeleuk.review.router import review_router
from edgeleuk.serve.access import Access
from edgeleuk.serve.address import ServeOptions
from edgeleuk.serve.app import create_app
from edgeleuk.serve.pages import review_page
from edgeleuk.serve.server import open_socket, serve_in_thread
from edgeleuk.session import JudgedCell, create_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.review.neighbours import Neighbours

OF_FRAME = 25
# What the machine says of one cell after the other.
CALLS = (
    Prediction(Decision.BLAST, 0.99),
    Prediction(Decision.NORMAL, 0.01),
    Prediction(Decision.NORMAL, 0.4),
    Prediction(Decision.UNCERTAIN, 0.5, "probability between 0.4 and 0.6"),
)


def many_cells(path: Path, cells: int) -> Path:
    """Record a session of so many cells, a few to the field, each with pixels of its own."""
    with create_session(path, {"camera": "test://"}) as writer:
        for frame in range(-(-cells // OF_FRAME)):
            tracks = range(frame * OF_FRAME, min(cells, (frame + 1) * OF_FRAME))
            boxes = [
                Box(10 + 90 * (track % 5), 10 + 90 * (track % OF_FRAME // 5), 32, 32) for track in tracks
            ]
            calls = [CALLS[track % len(CALLS)] for track in tracks]
            shown = tuple(
                CellResult(track, True, box, 80.0, 50.0, call)
                for track, box, call in zip(tracks, boxes, calls, strict=True)
            )
            judged = [
                JudgedCell(track, box, 1024, 600, 80.0, 50.0, call, _crop(track))
                for track, box, call in zip(tracks, boxes, calls, strict=True)
            ]
            result = FrameResult(frame, 1e9 + frame, "test://", 640, 480, 13.0, shown, (), (), 1.0)
            writer.record_frame(result, judged)
    return path


def _crop(track: int) -> CellCrop:
    pixels = np.random.default_rng(track).integers(0, 255, (32, 32, 3), np.uint8)
    return CellCrop(pixels, np.full((32, 32), 255, np.uint8), 13.0)


class Page:
    """What a browser asks of the server."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask for something."""
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def json(self, path: str) -> Any:
        """Ask for something that has to be there."""
        status, data = self.get(path)
        assert status == 200, data
        return json.loads(data)

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """Send something."""
        headers = {"content-type": "application/json"}
        self._connection.request("POST", path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


@contextmanager
def review_served(session: Path, neighbours: Neighbours | str = "none") -> Iterator[Page]:
    """Serve the review of a session while the block lasts."""
    listener = open_socket(ServeOptions())
    with ReviewDesk(session) as desk:
        app = create_app(
            None, access=Access(), routers=[review_router(desk, review_page, neighbours, alone=True)]
        )
        with serve_in_thread(app, listener, "127.0.0.1") as served:
            page = Page(served.port)
            try:
                yield page
            finally:
                page.close()
