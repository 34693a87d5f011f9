"""What three viewers of the page cost a run: its time for a frame with them, against without.

The run is the product's own, on drawn fields that are held in memory, so that it is as fast as the machine
lets it be. Stretches with three viewers, in a process of their own, follow stretches without, the one and the
other first in turn; each pair gives a ratio. Two viewers read what they get, one reads a kilobyte a second.
Prints a table on standard error and JSON on standard output; exits 3 when the median ratio is over the bar.

    python tests/bench/viewers.py [--pairs 30] [--seconds 4] [--width 1280]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "firmware_bridge")]

from edgeleuk.commands import run as running  # noqa: E402
from edgeleuk.frames import Frame  # noqa: E402
from edgeleuk.io.closing import Closing  # noqa: E402
from edgeleuk.io.settings import RunSettings  # noqa: E402
from edgeleuk.serve.address import ServeOptions  # noqa: E402
from edgeleuk.virtual.microscope import VirtualMicroscope  # noqa: E402
from edgeleuk.virtual.render import VirtualSlide  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.frames import RgbImage

    Pair = tuple["Stretch", "Stretch"]

BAR = 1.05
FIELDS = 24
# Between two stretches, until the one before has died away.
SETTLE_S = 1.0
_ASKS_FOR_NUMBERS = (
    b"GET /api/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_ASKS_FOR_PICTURES = b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n"


class HeldFields(Closing):
    """The same drawn fields again and again, as fast as they are taken; a `FrameSource`."""

    uri = "virtual://held"
    live = False

    def __init__(self, fields: list[RgbImage]) -> None:
        self._fields = fields
        self.taken = 0

    def frames(self) -> Iterator[Frame]:
        while True:
            pixels = self._fields[self.taken % len(self._fields)]
            yield Frame(pixels, self.taken, time.time(), time.monotonic(), f"field {self.taken}", 13.0)
            self.taken += 1

    def close(self) -> None:
        """Nothing is open."""


def drawn(width: int) -> list[RgbImage]:
    microscope = VirtualMicroscope(VirtualSlide(3), width=width, height=width * 3 // 4)
    return [microscope.look(150.0 * (n % 6), 120.0 * (n // 6), 0.0).pixels for n in range(FIELDS)]


class Viewer:
    """One viewer, as bytes on two wires: numbers and pictures."""

    def __init__(self, port: int, *, slow: bool) -> None:
        self._slow = slow
        self._wires = []
        for asks in (_ASKS_FOR_NUMBERS, _ASKS_FOR_PICTURES):
            wire = socket.create_connection(("127.0.0.1", port))
            wire.sendall(asks)
            self._wires.append(wire)
            threading.Thread(target=self._read, args=(wire,), daemon=True).start()

    def _read(self, wire: socket.socket) -> None:
        with suppress(OSError):
            while wire.recv(1024 if self._slow else 1 << 20):
                if self._slow:
                    time.sleep(1)

    def close(self) -> None:
        for wire in self._wires:
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
            wire.close()


def be_viewers(port: int) -> None:
    """Watch, or do not, as standard input says."""
    there: list[Viewer] = []
    for line in sys.stdin:
        while there:
            there.pop().close()
        if line.strip() == "on":
            there = [Viewer(port, slow=slow) for slow in (False, False, True)]


class Stretch(NamedTuple):
    """Milliseconds a frame: on the clock, and of processors by this process alone, whatever else runs."""

    ms: float
    cpu_ms: float


def ms_a_frame(source: HeldFields, seconds: float) -> Stretch:
    """Measure for so long, from frame to frame."""
    first, began_s, cpu_s = source.taken, time.monotonic(), time.process_time()
    time.sleep(seconds)
    # To the end of a frame, or a slow machine's stretch would hold a part of one.
    last = source.taken
    while source.taken == last:
        time.sleep(0.001)
    frames = max(source.taken - first, 1)
    return Stretch(
        1000 * (time.monotonic() - began_s) / frames, 1000 * (time.process_time() - cpu_s) / frames
    )


def measured(source: HeldFields, port: int, pairs: int, seconds: float) -> list[Pair]:
    """Return pairs of stretches, without viewers and with them."""
    found = []
    words = [sys.executable, __file__, "--be-viewers-of", str(port)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, text=True, bufsize=1) as watching:
        assert watching.stdin is not None
        # Until it has begun.
        time.sleep(5)
        for number in range(pairs):
            both: dict[bool, Stretch] = {}
            for watched in (False, True) if number % 2 else (True, False):
                watching.stdin.write("on\n" if watched else "off\n")
                time.sleep(SETTLE_S)
                both[watched] = ms_a_frame(source, seconds)
            found.append((both[False], both[True]))
            alone, with_them = found[-1]
            print(
                f"  {alone.ms:7.1f} ms alone, {with_them.ms:7.1f} ms watched;"
                f" of processors {alone.cpu_ms:7.1f} and {with_them.cpu_ms:7.1f}",
                file=sys.stderr,
            )
        watching.stdin.close()
    return found


def ratio_of(values: list[float]) -> dict[str, float]:
    """Return the median with its notches, as a box plot has them."""
    values = sorted(values)
    middle = statistics.median(values)
    half = 1.57 * (values[3 * len(values) // 4] - values[len(values) // 4]) / len(values) ** 0.5
    return {"ratio": middle, "low": middle - half, "high": middle + half}


def facts(pairs: list[Pair], width: int) -> dict[str, Any]:
    return {
        "width": width,
        "pairs": len(pairs),
        "ms_alone": statistics.median(alone.ms for alone, _ in pairs),
        "ms_watched": statistics.median(watched.ms for _, watched in pairs),
        **ratio_of([watched.ms / alone.ms for alone, watched in pairs]),
        "of_processors": ratio_of([watched.cpu_ms / alone.cpu_ms for alone, watched in pairs]),
        "bar": BAR,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--be-viewers-of", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.be_viewers_of is not None:
        be_viewers(given.be_viewers_of)
        return 0
    source = HeldFields(drawn(given.width))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stop = threading.Event()
    pairs: list[Pair] = []

    def measure() -> None:
        try:
            while source.taken < 5:
                time.sleep(0.1)
            pairs.extend(measured(source, port, given.pairs, given.seconds))
        finally:
            stop.set()

    threading.Thread(target=measure, daemon=True).start()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(running, "open_camera", return_value=source),
    ):
        running.run(
            "virtual://",
            "default",
            RunSettings(runtime="litert", px_per_um=13.0),
            running.RunOptions(Path(folder) / "s.db", draw=False, stop=stop, serve=ServeOptions(port=port)),
        )
    told = facts(pairs, given.width)
    print(json.dumps(told, indent=1))
    return 0 if told["ratio"] <= BAR else 3


if __name__ == "__main__":
    sys.exit(main())
