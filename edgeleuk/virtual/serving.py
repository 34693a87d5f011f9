"""A virtual camera behind a real address: MJPEG over HTTP, as OpenFlexure microscopes serve it."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import cv2

from edgeleuk.errors import HardwareError
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeleuk.frames import RgbImage
    from edgeleuk.virtual.microscope import VirtualMicroscope

_QUALITY = 92


def serve_stand(
    steps: Callable[[], tuple[int, int, int]],
    lamps: Callable[[], Mapping[str, float]],
    um_per_step: float,
    microscope: VirtualMicroscope,
    host: str,
    port: int,
    fps: float = 10.0,
) -> MjpegServer:
    """Serve what a microscope sees where its motors are, in the light of its first lamp.

    The lamp was left on at half its power, which is right, until the board is told otherwise.
    """
    begun = time.monotonic()
    lit, exposure = False, 0

    def look() -> RgbImage:
        nonlocal lit, exposure
        x, y, z = (um_per_step * count for count in steps())
        level = next(iter(lamps().values()), 0.0)
        lit = lit or level > 0
        lamp = 2 * level if lit else 1.0
        exposure += 1
        now_s = time.monotonic() - begun
        return microscope.look(x, y, z, lamp=lamp, exposure=exposure, time_s=now_s).pixels

    return MjpegServer(look, host, port, fps)


class MjpegServer(Closing):
    """Serves what a microscope sees to anyone who asks, on ``/`` and ``/stream``.

    Parameters
    ----------
    look : callable
        () -> (H, W, 3) uint8, RGB: what is seen now. Called by one thread at a time.
    host, port : str, int
        Port 0 takes a free one; see `port`.
    fps : float

    Raises
    ------
    HardwareError
        The port is taken, or may not be used.
    """

    def __init__(self, look: Callable[[], RgbImage], host: str, port: int, fps: float = 10.0) -> None:
        self._look = look
        self._fps = fps
        self._closing = threading.Event()
        self._drawing = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._stream(self)

            def log_message(self, *_: object) -> None:
                """Keep standard error for what matters."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise HardwareError(
                f"the camera cannot be served on {host}:{port}",
                got=error.strerror,
                cure="choose another port; 0 takes a free one",
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="mjpeg-server", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _stream(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path.split("?")[0] not in ("/", "/stream"):
            handler.send_error(404)
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        # So that no session of it is taken for a slide's.
        handler.send_header("X-Edgeleuk-Simulated", "1")
        handler.end_headers()
        due = time.monotonic()
        try:
            while not self._closing.wait(max(0.0, due - time.monotonic())):
                with self._drawing:
                    taken_s = time.monotonic()
                    jpeg = self._picture()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n"
                stamp = f"X-Timestamp: {taken_s:.6f}\r\n\r\n"
                handler.wfile.write((head + stamp).encode() + jpeg + b"\r\n")
                due = max(due + 1 / self._fps, time.monotonic())
        except OSError:
            # Whoever watched has gone.
            return

    def _picture(self) -> bytes:
        bgr = cv2.cvtColor(self._look(), cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
