"""A real MJPEG camera on 127.0.0.1: ``multipart/x-mixed-replace`` over HTTP, with faults on request.

Every picture carries its number and the moment it was made, painted as big black and white blocks that
survive JPEG, so that a reader can tell from the pixels alone how far behind it is.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

# One row of blocks for each number; 48 bits of milliseconds last for 8,900 years.
COUNTER_BITS, CLOCK_BITS = 24, 48


@dataclass
class Faults:
    """What goes wrong, each after a number of frames; 0 means never.

    The others are flags, ways in which real cameras send: ``no_length`` (OpenFlexure's, among others) leaves
    Content-Length out, ``thumbnail`` puts a whole JPEG into the picture's header, ``garbage`` puts bytes
    between the parts, ``misnamed`` announces another boundary than it sends.
    """

    close_after: int = 0
    truncate_every: int = 0
    stall_after: int = 0
    die_inside_after: int = 0
    no_length: int = 0
    lf_only: int = 0
    chunked: int = 0
    quoted: int = 0
    thumbnail: int = 0
    garbage: int = 0
    misnamed: int = 0


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


def with_thumbnail(jpeg: bytes) -> bytes:
    """Put a small JPEG, with its own end marker, into an APP1 segment, as cameras do."""
    import cv2

    small = cv2.imencode(".jpg", np.full((16, 16, 3), 99, np.uint8))[1].tobytes()
    return jpeg[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + jpeg[2:]


def part(jpeg: bytes, faults: Faults) -> bytes:
    """One picture as it goes over the wire."""
    length = "" if faults.no_length else f"Content-Length: {len(jpeg)}\r\n"
    head, tail = f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode(), b"\r\n"
    if faults.lf_only:
        head, tail = head.replace(b"\r", b""), b"\n"
    return head + jpeg + tail + (b"\x00junk\xff\r\n--fram\r\n" if faults.garbage else b"")


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
    field : callable, optional
        Returns what is to be seen now, (H, W, 3) RGB; by default a drawn field with its number and time.
    """

    def __init__(
        self,
        width: int = 640,
        height: int = 480,
        fps: float = 30.0,
        faults: Faults | None = None,
        field: Callable[[], npt.NDArray[np.uint8]] | None = None,
    ) -> None:
        self.field = field
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
            if self.field is None:
                paint(ground, self.counter + 1, int(time.time() * 1000))
            else:
                ground = self.field()
            bgr = np.ascontiguousarray(ground[..., ::-1])
            jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
            with self.changed:
                self.counter, self.jpeg = self.counter + 1, jpeg
                self.changed.notify_all()
            due = max(due + 1 / self.fps, time.monotonic() - 1)
            self._stop.wait(max(0.0, due - time.monotonic()))


class Handler(BaseHTTPRequestHandler):
    """A camera's web server.

    ``/stream`` is the camera, ``/page`` a web page, ``/private`` wants user:secret, so does ``/digest`` with
    Digest, ``/forbidden`` is 403, ``/moved`` leads to ``/private``, ``/loop`` to itself, the rest is 404.
    """

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
        elif self.path == "/digest" and not self._is_digest():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Digest realm="camera", nonce="n1", qop="auth"')
            self.end_headers()
        elif self.path in ("/moved", "/loop"):
            self.send_response(302)
            self.send_header("Location", "/private" if self.path == "/moved" else "/loop")
            self.end_headers()
        elif self.path == "/forbidden":
            self._send(403, "text/plain", b"not you")
        elif self.path in ("/stream", "/private", "/digest"):
            with suppress(BrokenPipeError, ConnectionResetError):
                self._stream(self.camera.faults)
        else:
            self._send(404, "text/plain", b"nothing here")

    def _is_digest(self) -> bool:
        """RFC 2617 with qop=auth."""
        said = dict(re.findall(r'(\w+)="?([^",]+)"?', self.headers.get("Authorization", "")))
        a1, a2 = (hashlib.md5(text.encode()).hexdigest() for text in ("user:camera:secret", "GET:/digest"))
        rest = (said.get("nonce", ""), said.get("nc", ""), said.get("cnonce", ""), "auth", a2)
        return said.get("response") == hashlib.md5(":".join((a1, *rest)).encode()).hexdigest()

    def _write(self, data: bytes, faults: Faults) -> None:
        if not faults.chunked:
            self.wfile.write(data)
            return
        for begin in range(0, len(data), 5000):
            chunk = data[begin : begin + 5000]
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, faults: Faults) -> None:
        if faults.chunked:
            self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        boundary = "other" if faults.misnamed else "frame"
        boundary = f'"--{boundary}"' if faults.quoted else boundary
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={boundary}")
        if faults.chunked:
            self.send_header("Transfer-Encoding", "chunked")
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
            if faults.thumbnail:
                jpeg = with_thumbnail(jpeg)
            data = part(jpeg, faults)
            if faults.die_inside_after and sent >= faults.die_inside_after:
                self.wfile.write(data[: len(data) // 3])
                return
            self._write(data, faults)
            sent += 1


@contextmanager
def serve(
    width: int = 640,
    height: int = 480,
    fps: float = 30.0,
    faults: Faults | None = None,
    field: Callable[[], npt.NDArray[np.uint8]] | None = None,
    port: int = 0,
) -> Iterator[str]:
    """Serve a camera from this process; yields ``http://127.0.0.1:PORT``."""
    camera = Camera(width, height, fps, faults, field)
    handler = type("BoundHandler", (Handler,), {"camera": camera})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
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
