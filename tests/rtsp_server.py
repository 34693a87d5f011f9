"""An RTSP camera on 127.0.0.1 that sends over UDP alone: its own control, FFmpeg's RTP."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

# Payload 26 is JPEG, by RFC 3551.
DESCRIPTION = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\n"
)


class UdpCamera:
    """Serves each client in a thread of its own; `transports` is what they asked for."""

    def __init__(self) -> None:
        self.transports: list[str] = []
        self._closed = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        port = 0
        with client, suppress(OSError):
            while request := client.recv(4096).decode():
                method = request.split()[0]
                number = re.search(r"CSeq: *(\d+)", request)
                status, header, body = "200 OK", "", ""
                if method == "OPTIONS":
                    header = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
                elif method == "DESCRIBE":
                    body = DESCRIPTION
                    header = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
                elif method == "SETUP":
                    asked = re.search(r"Transport: *(.*?)\r\n", request)
                    self.transports.append(asked[1] if asked else "")
                    ports = re.search(r"client_port=(\d+)", self.transports[-1])
                    if ports is None:
                        status = "461 Unsupported transport"
                    else:
                        port = int(ports[1])
                        there = f"RTP/AVP;unicast;client_port={port}-{port + 1};server_port=40000-40001"
                        header = f"Transport: {there}\r\nSession: 1\r\n"
                answer = f"RTSP/1.0 {status}\r\nCSeq: {number[1] if number else 0}\r\n{header}\r\n{body}"
                client.sendall(answer.encode())
                if method == "PLAY":
                    threading.Thread(target=self._send, args=(port,), daemon=True).start()

    def _send(self, port: int) -> None:
        import av

        with av.open(f"rtp://127.0.0.1:{port}", "w", format="rtp") as container:
            stream = container.add_stream("mjpeg", rate=20, options={"huffman": "default"})
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
            stream.codec_context.time_base = Fraction(1, 20)
            for number in range(200):
                if self._closed.wait(0.05):
                    return
                pixels = np.full((120, 160, 3), (200, 40 + number % 100, 10), np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts = number
                for packet in stream.encode(frame):
                    container.mux(packet)


@contextmanager
def serve_udp() -> Iterator[UdpCamera]:
    """Serve it from this process."""
    camera = UdpCamera()
    try:
        yield camera
    finally:
        camera.close()
        time.sleep(0.1)
