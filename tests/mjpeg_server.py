"""A real MJPEG camera on 127.0.0.1: ``multipart/x-mixed-replace`` over HTTP, with faults on request.

Every picture carries its number and the moment it was made, painted as big black and white blocks that
survive JPEG, so that a reader can tell from the pixels alone how far behind it is.
"""

from __future__ import annotations

import argparse
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

# One row of blocks for each number; 48 bits of milliseconds last for 8,900 years.
COUNTER_BITS, CLOCK_BITS = 24, 48


@dataclass
class Faults:
    """What goes wrong, each after a number of frames; 0 means never.

    ``no_length`` is a flag: OpenFlexure's server, among others, sends pictures without Content-Length.
    """

    close_after: int = 0
    truncate_every: int = 0
    stall_after: int = 0
    die_inside_after: int = 0
    no_length: int = 0


def block_px(width: int) -> int:
    """Side of one block in a picture of this width."""
    return min(20, width // CLOCK_BITS)


def paint(pixels: npt.NDArray[np.uint8], counter: int, millis: int) -> None:
    """Write a counter and a time in milliseconds into the top left corner of an (H, W, 3) picture."""
    side = block_px(pixels.shape[1])
    for row, (number, bits) in enumerate(((counter, COUNTER_BITS), (millis, CLOCK_BITS))):
        digits = np.array([number >> bit & 1 for bit in range(bits)], np.uint8) * 255
        blocks = np.kron(digits[None], np.ones((side, side), np.uint8))
        pixels[row * side : (row + 1) * side, : blocks.shape[1]] = blocks[..., None]


def read_paint(pixels: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Read the counter and the milliseconds back."""
    side = block_px(pixels.shape[1])
    numbers = []
    for row, bits in enumerate((COUNTER_BITS, CLOCK_BITS)):
        middle = row * side + side // 2
        digits = pixels[middle, side // 2 : bits * side : side, 1] > 127
        numbers.append(sum(1 << bit for bit, digit in enumerate(digits) if digit))
    return numbers[0], numbers[1]


def smear(width: int, height: int, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Draw a made-up field with something to compress: pink discs on a bright, noisy ground."""
    import cv2

    random = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), (225, 218, 222), np.uint8)
    for _ in range(width * height // 4000):
        centre = int(random.integers(width)), int(random.integers(height))
        cv2.circle(pixels, centre, int(random.integers(18, 26)), (214, 160, 170), -1, cv2.LINE_AA)
    noise = random.normal(0, 3, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


class Camera:
    """The picture maker: one thread, one current JPEG, any number of viewers.

    Parameters
    ----------
    width, height : int
    fps : float
    faults : Faults
    """

    def __init__(
        self, width: int = 640, height: int = 480, fps: float = 30.0, faults: Faults | None = None
    ) -> None:
        self.faults = faults or Faults()
        self.size = width, height
        self.fps = fps
        self.changed = threading.Condition()
        self.counter, self.jpeg = -1, b""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._make, name="pictures", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        with self.changed:
            self.changed.notify_all()
        self._thread.join(5)

    @property
    def closed(self) -> bool:
        return self._stop.is_set()

    def _make(self) -> None:
        import cv2

        ground = smear(*self.size)
        due = time.monotonic()
        while not self._stop.is_set():
            paint(ground, self.counter + 1, int(time.time() * 1000))
            bgr = np.ascontiguousarray(ground[..., ::-1])
            jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
            with self.changed:
                self.counter, self.jpeg = self.counter + 1, jpeg
                self.changed.notify_all()
            due = max(due + 1 / self.fps, time.monotonic() - 1)
            self._stop.wait(max(0.0, due - time.monotonic()))


class Handler(BaseHTTPRequestHandler):
    """``/stream`` is the camera, ``/page`` a web page, ``/private`` wants user:secret, the rest is 404."""

    protocol_version = "HTTP/1.0"
    camera: Camera

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""

    def do_GET(self) -> None:
        if self.path == "/page":
            self._send(200, "text/html", b"<html><body>a page, not a stream</body></html>" * 50)
        elif self.path == "/private" and self.headers.get("Authorization") != "Basic dXNlcjpzZWNyZXQ=":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
        elif self.path in ("/stream", "/private"):
            with suppress(BrokenPipeError, ConnectionResetError):
                self._stream(self.camera.faults)
        else:
            self._send(404, "text/plain", b"nothing here")

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, faults: Faults) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        camera, last, sent = self.camera, -1, 0
        while not camera.closed:
            with camera.changed:
                while camera.counter == last and not camera.closed:
                    camera.changed.wait(1)
                last, jpeg = camera.counter, camera.jpeg
            if faults.close_after and sent >= faults.close_after:
                return
            if faults.stall_after and sent >= faults.stall_after:
                camera._stop.wait(60)
                return
            if faults.truncate_every and sent % faults.truncate_every == faults.truncate_every - 1:
                jpeg = jpeg[: len(jpeg) // 2]
            length = "" if faults.no_length else f"Content-Length: {len(jpeg)}\r\n"
            head = f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n"
            if faults.die_inside_after and sent >= faults.die_inside_after:
                self.wfile.write(head.encode() + jpeg[: len(jpeg) // 3])
                return
            self.wfile.write(head.encode() + jpeg + b"\r\n")
            sent += 1


@contextmanager
def serve(
    width: int = 640, height: int = 480, fps: float = 30.0, faults: Faults | None = None
) -> Iterator[str]:
    """Serve a camera from this process; yields ``http://127.0.0.1:PORT``."""
    camera = Camera(width, height, fps, faults)
    handler = type("BoundHandler", (Handler,), {"camera": camera})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        camera.close()
        server.shutdown()
        server.server_close()
        thread.join(5)


def main() -> None:
    """Serve until killed; the first line printed is the address."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--fps", type=float, default=30.0)
    for fault in Faults.__dataclass_fields__:
        parser.add_argument(f"--{fault.replace('_', '-')}", type=int, default=0)
    options = vars(parser.parse_args())
    size = {name: options.pop(name) for name in ("width", "height", "fps")}
    with serve(**size, faults=Faults(**options)) as address:
        print(address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
