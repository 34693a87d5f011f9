"""A camera whose pictures wait for their reader: the stage is never told what lay there before it moved."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, BinaryIO

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.capture import open_source
from edgeleuk.capture.newest import InOrderReader
from edgeleuk.errors import CameraError
from edgeleuk.frames import Frame
from edgeleuk.stage.synchronous_camera import NewestFrameCamera

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEFORE, AFTER = 40, 220


def shown(frame: Frame) -> int:
    """Return which field a picture shows."""
    return min((BEFORE, AFTER), key=lambda grey: abs(int(frame.pixels.mean()) - grey))


class Queued:
    """A camera that hands out pictures that have waited, one under way, then new ones."""

    uri = "test://queued"
    live = True

    def __init__(self, waiting: list[float], *, tells: bool = True) -> None:
        self.waiting = waiting
        self.tells = tells

    def frames(self) -> Iterator[Frame]:
        old = [(BEFORE, -waited_s) for waited_s in self.waiting]
        # The one under way was begun before the stage stood, and arrives afterwards.
        for number, (grey, taken_s) in enumerate([*old, (BEFORE, 0.0), *[(AFTER, 0.0)] * 3]):
            now_s = time.monotonic()
            yield Frame(
                np.full((8, 8, 3), grey, np.uint8),
                number,
                time.time(),
                now_s,
                self.uri,
                taken_monotonic=now_s + taken_s if self.tells else None,
            )

    def close(self) -> None:
        pass


@given(st.lists(st.floats(0.5, 50.0), max_size=40))
def test_no_picture_of_before_whatever_has_waited(waiting: list[float]) -> None:
    source = Queued(waiting)
    camera = NewestFrameCamera(source, threading.Event(), InOrderReader(source))
    assert shown(camera()) == AFTER
    assert camera.taken == len(waiting) + 2


def test_where_the_camera_tells_no_time_one_picture_is_passed_over() -> None:
    source = Queued([], tells=False)
    assert shown(NewestFrameCamera(source, threading.Event(), InOrderReader(source))()) == AFTER


def test_a_camera_that_sends_pictures_of_before_only() -> None:
    source = Queued([1.0] * 400)
    with pytest.raises(
        CameraError, match=r"sends only pictures of before: got 301 .*fewer pictures a second"
    ):
        NewestFrameCamera(source, threading.Event(), InOrderReader(source))()


JPEGS = {
    grey: cv2.imencode(".jpg", np.full((64, 64, 3), grey, np.uint8))[1].tobytes() for grey in (BEFORE, AFTER)
}


class Served:
    """A camera over HTTP; what it sends, and when, is the test's to say."""

    def __init__(self, script: Callable[[Served], None], *, chunked: bool) -> None:
        self.moved, self.queued = threading.Event(), threading.Event()
        self.ended = threading.Event()
        self._file: BinaryIO
        self._chunked = chunked
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1" if chunked else "HTTP/1.0"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                if chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                served._file = self.wfile
                try:
                    script(served)
                except OSError:
                    return

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def send(self, grey: int, stamp_s: float | None = None) -> None:
        jpeg = JPEGS[grey]
        stamp = "" if stamp_s is None else f"X-Timestamp: {stamp_s:.6f}\r\n"
        head = f"--frame\r\nContent-Length: {len(jpeg)}\r\n{stamp}\r\n".encode()
        data = head + jpeg + b"\r\n"
        self._file.write(f"{len(data):x}\r\n".encode() + data + b"\r\n" if self._chunked else data)

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("waiting", [0, 1, 7, 40])
def test_pictures_that_wait_in_a_connection(waiting: int, chunked: bool) -> None:
    """As behind a reader that other work keeps busy: they arrive after the question, and at once."""

    def script(served: Served) -> None:
        for _ in range(waiting + 1):
            served.send(BEFORE)
        served.queued.set()
        served.moved.wait(30)
        # Begun before the stage stood.
        served.send(BEFORE)
        while not served.ended.wait(0.02):
            served.send(AFTER)

    served = Served(script, chunked=chunked)
    try:
        with open_source(served.uri) as source:
            assert served.queued.wait(30)
            camera = NewestFrameCamera(source, threading.Event(), InOrderReader(source))
            served.moved.set()
            assert shown(camera()) == AFTER
    finally:
        served.close()


@pytest.mark.parametrize("waiting", [1, 7])
def test_pictures_that_wait_in_a_camera_that_tells_their_time(waiting: int) -> None:
    """They arrive one by one over a slow network, each later than it was; its clock is another one."""

    def script(served: Served) -> None:
        def stamp_s(late_s: float = 0.0) -> float:
            return time.monotonic() + 1e6 - late_s

        for _ in range(3):
            served.send(BEFORE, stamp_s())
            served.ended.wait(0.02)
        served.ended.wait(0.2)
        served.queued.set()
        served.moved.wait(30)
        moved_s = stamp_s()
        for number in range(waiting):
            served.ended.wait(0.05)
            served.send(BEFORE, moved_s - 0.01 * (waiting - number))
        while not served.ended.wait(0.02):
            served.send(AFTER, stamp_s())

    served = Served(script, chunked=False)
    try:
        with open_source(served.uri) as source:
            camera = NewestFrameCamera(source, threading.Event())
            assert served.queued.wait(30)
            served.moved.set()
            assert shown(camera()) == AFTER
            camera.close()
    finally:
        served.close()
