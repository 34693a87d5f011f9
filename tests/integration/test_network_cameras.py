"""Cameras that serve one client, know only UDP, or answer without end: FFmpeg's own server among them."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from mjpeg_server import Faults, part, smear
from rtsp_server import serve_udp

from edgeleuk.capture import SourceEvent, decoded, open_source
from edgeleuk.capture.http_camera import open_http
from edgeleuk.capture.rtsp import open_rtsp
from edgeleuk.errors import CameraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeleuk.capture import FrameSource


class _Chunks:
    """Writes what FFmpeg's muxer gives as the chunks of an HTTP answer."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client

    def write(self, data: bytes) -> int:
        self._client.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        return len(data)


@contextmanager
def one_client(name: str, codec: str, stall_after: int = -1) -> Iterator[int]:
    """Serve one client as ``ffmpeg -listen 1`` does: it names no type, and hears no other."""
    import av

    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        client, _ = listening.accept()
        listening.close()
        with client, suppress(OSError, av.error.FFmpegError):
            client.recv(4096)
            client.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            with av.open(_Chunks(client), "w", format=name) as out:  # type: ignore[call-overload]  # see `write`
                stream = out.add_stream(codec, rate=20)
                stream.width, stream.height = 160, 120
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                for number in range(400):
                    pixels = np.full((120, 160, 3), (200, number % 250, 10), np.uint8)
                    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                    frame.pts = number
                    for packet in stream.encode(frame):
                        out.mux(packet)
                    time.sleep(0.02)
                    if number == stall_after:
                        ended.wait(20)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(listening.getsockname()[1])
    ended.set()
    thread.join(20)


def seen(source: FrameSource, count: int) -> tuple[int, list[SourceEvent]]:
    """Decode so many frames; return how many there were, and the events before them."""
    events: list[SourceEvent] = []
    frames = 0
    for item in source.frames():
        if isinstance(item, SourceEvent):
            events.append(item)
            continue
        assert decoded(item).pixels.shape == (120, 160, 3)
        frames += 1
        if frames == count:
            break
    return frames, events


@pytest.mark.parametrize(
    ("name", "codec"), [("mpjpeg", "mjpeg"), ("mjpeg", "mjpeg"), ("mpegts", "mpeg2video"), ("flv", "flv")]
)
def test_one_connection_is_handed_on(name: str, codec: str) -> None:
    with one_client(name, codec) as port, open_source(f"http://127.0.0.1:{port}/") as source:
        assert source.live
        assert seen(source, 5)[0] == 5


def test_a_connection_that_is_handed_on_falls_silent() -> None:
    with (
        one_client("mpegts", "mpeg2video", stall_after=60) as port,
        open_http(f"http://127.0.0.1:{port}/", timeout_s=0.5) as source,
        pytest.raises(CameraError, match=r"/ died: got no answer within .* s; check the cable"),
    ):
        seen(source, 100)


def test_a_camera_that_knows_only_udp_is_opened_and_named() -> None:
    with serve_udp() as camera, open_source(f"rtsp://127.0.0.1:{camera.port}/live") as source:
        frames, events = seen(source, 5)
        assert frames == 5
        assert [event.kind for event in events] == ["udp"]
        assert "TCP" in camera.transports[0]
        assert "client_port" in camera.transports[-1]


@contextmanager
def server_that(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """Answer each connection so, until it breaks."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.recv(4096)
            answer(client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        listening.close()


def drip(client: socket.socket, begin: bytes, drop: bytes) -> None:
    """Send a little, often enough that no read has to wait for long."""
    client.sendall(begin)
    while True:
        client.sendall(drop)
        time.sleep(0.05)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n\r\n"
ENDLESS = {
    "100 Continue for ever": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a header that drips": (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "a first byte of nothing": (OK % b"application/octet-stream", b"\n"),
    "a video without pictures": (OK % b"video/mp2t", b"\x47\x1f\xff\x10" + b"\xff" * 184),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_an_opening_over_http_has_one_deadline(case: str) -> None:
    begin, drop = ENDLESS[case]
    ended = threading.Event()

    def answer(client: socket.socket) -> None:
        try:
            drip(client, begin, drop)
        finally:
            ended.set()

    with server_that(answer) as port:
        with pytest.raises(CameraError, match=r"cannot be opened: got (not done after 1|no answer)"):
            open_http(f"http://127.0.0.1:{port}/", deadline_s=1.0)
        # The connection is let go of: a camera that serves one client is free again.
        assert ended.wait(10)


@pytest.mark.parametrize("begin", [b"", b"RTSP/1.0 200 OK\r\nX: "])
def test_an_opening_over_rtsp_has_one_deadline(begin: bytes) -> None:
    with (
        server_that(lambda client: drip(client, begin, b"a" if begin else b"")) as port,
        pytest.raises(CameraError, match=r"cannot be opened: got (not done after 1|no answer)"),
    ):
        open_rtsp(f"rtsp://127.0.0.1:{port}/", deadline_s=1.0)


def test_a_picture_whose_bytes_drip_is_not_waited_for() -> None:
    begin = (OK % b"multipart/x-mixed-replace;boundary=frame") + b"--frame\r\n\r\n\xff\xd8\xff\xe0"
    with (
        server_that(lambda client: drip(client, begin, b"x")) as port,
        open_http(f"http://127.0.0.1:{port}/", timeout_s=0.2) as source,
        pytest.raises(CameraError, match="died: got no whole picture within"),
    ):
        next(iter(source.frames()))


def test_a_stream_that_calls_itself_text_is_one_if_it_looks_like_one() -> None:
    jpeg = cv2.imencode(".jpg", smear(160, 120))[1].tobytes()
    with (
        server_that(lambda client: drip(client, OK % b"text/plain", part(jpeg, Faults()))) as port,
        open_http(f"http://127.0.0.1:{port}/") as source,
    ):
        assert seen(source, 3)[0] == 3


def test_a_camera_slower_than_the_longest_silence_is_waited_for() -> None:
    jpeg = cv2.imencode(".jpg", smear(160, 120))[1].tobytes()
    sent = part(jpeg, Faults())

    def slowly(client: socket.socket) -> None:
        client.sendall(OK % b"multipart/x-mixed-replace;boundary=frame")
        while True:
            client.sendall(sent)
            time.sleep(0.4)

    with (
        server_that(slowly) as port,
        open_http(f"http://127.0.0.1:{port}/", timeout_s=0.25) as source,
    ):
        assert seen(source, 4)[0] == 4
