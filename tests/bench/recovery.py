"""How soon a camera that was away is found again, and whether a cell is counted twice over it.

A real server process walks over the virtual slide; a real ``edgeleuk run`` watches it. The server is killed
for a while, stopped (connected, but silent), and started anew with another resolution. Measured from the
moment it is back (it listens, or goes on) to the first frame that the run recorded. Each recorded cell is
matched with the true cell that lay there: a true cell with two tracks was counted twice. Prints a line for
each case on standard error and JSON on standard output; exits 3 when a bar is missed.

    python tests/bench/recovery.py [--away 60]

With ``--after`` it measures something else: whether anything is lost when a long session is killed late; see
`late_kills`. About an hour on two cores; with ``--folder`` it goes on where it was stopped.

    python tests/bench/recovery.py --after 2000 [--kills 10] [--scan-kills 20] [--folder DIR]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE / "bench")]

from late_kills import measure_late, serve_microscope  # noqa: E402
from mjpeg_server import serve  # noqa: E402

from edgeleuk.capture.virtual import VirtualSource, parse_virtual  # noqa: E402
from edgeleuk.session import read_session  # noqa: E402

BAR_S = 3.0
FPS = 10.0
# The stage rests on each field, then moves on.
REST_S = 1.0
# A frame on its way while the stage moves may show either field.
DOUBT_S = 1.0
FRAMES_BETWEEN = 50
SIZES = {"first": "width=640&height=480&px_per_um=13", "other": "width=480&height=360&px_per_um=9.75"}


@dataclass(frozen=True)
class Case:
    """What happens to the server, and to the stage meanwhile."""

    name: str
    how: str  # killed, silent
    away_s: float
    size: str = "first"
    moved: int = 0


def slide(size: str) -> VirtualSource:
    """Return the slide as a camera of this size sees it."""
    uri = f"virtual://?seed=5&white_cells_per_field=9&{SIZES[size]}"
    return VirtualSource(uri, parse_virtual(uri))


def serve_slide(size: str, first: int, port: int, log: Path) -> None:
    """Serve the fields from `first` on, and note in `log` which one is seen from when on."""
    source, random = slide(size), np.random.default_rng()
    width, height = source.settings.width, source.settings.height
    # A sensor's noise: without it the picture would count as frozen; so many that none comes soon again.
    noises = itertools.cycle([random.integers(0, 5, (height, width, 3), np.uint8) for _ in range(31)])
    began, shown, pixels = time.time(), -1, np.zeros((height, width, 3), np.uint8)

    def field() -> Any:
        nonlocal shown, pixels
        number = first + int((time.time() - began) / REST_S)
        if number != shown:
            pixels, shown = source._field(number).pixels, number
            with log.open("a", encoding="ascii") as file:
                file.write(json.dumps([time.time(), size, number]) + "\n")
        return cv2.subtract(pixels, next(noises))

    with serve(width, height, FPS, field=field, port=port) as address:
        print(address, flush=True)
        threading.Event().wait()


class Server:
    """The server's process, which can be taken away and brought back."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "fields.jsonl"
        self.log.touch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    def start(self, size: str, first: int) -> None:
        command = [sys.executable, __file__, "--serve", size, str(first), str(self.port), str(self.log)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def shown(self) -> list[tuple[float, str, int]]:
        return [tuple(json.loads(line)) for line in self.log.read_text(encoding="ascii").splitlines()]


def wait_for_frames(session: Path, after: float, at_least: int, timeout_s: float) -> float | None:
    """Return when the first of the frames came that arrived `after`, processed or rejected by the gate."""
    give_up = time.time() + timeout_s
    while time.time() < give_up:
        if session.exists():
            with read_session(session) as reader:
                times = [float(str(row["captured_at"])) for row in reader.rows("frames")]
            times = [each for each in times if each > after]
            if len(times) >= at_least:
                return min(times)
        time.sleep(0.3)
    return None


def counted_twice(session: Path, shown: list[tuple[float, str, int]]) -> dict[str, int]:
    """Match recorded cells with true ones."""
    slides = {size: slide(size) for size in SIZES}
    truth: dict[tuple[str, int], Any] = {}
    for _, size, number in shown:
        truth.setdefault((size, number), slides[size]._field(number).truth)
    with read_session(session) as reader:
        frames = {row["sequence"]: float(str(row["captured_at"])) for row in reader.rows("frames")}
        cells = list(reader.rows("cells"))
    tracks: dict[int, set[int]] = defaultdict(set)
    unmatched = 0
    for cell in cells:
        at = frames[cell["frame"]]
        before = [each for each in shown if each[0] < at]
        possible = [each for each in before[-2:] if each is before[-1] or before[-1][0] > at - DOUBT_S]
        x, y = cell["x"] + cell["w"] / 2, cell["y"] + cell["h"] / 2
        near = [
            (math.hypot(true.x - x, true.y - y) / true.radius_px, true.identity)
            for _, size, number in possible
            for true in truth[size, number]
        ]
        distance, identity = min(near, default=(math.inf, -1))
        if distance <= 1:
            tracks[identity].add(cell["track"])
        else:
            unmatched += 1
    return {
        "counted": len(cells),
        "true_cells": len(tracks),
        "counted_twice": sum(len(each) - 1 for each in tracks.values()),
        "no_true_cell": unmatched,
    }


def take_away(case: Case, server: Server) -> float:
    """Let the server be away as the case says; return when it was back."""
    assert server.process is not None
    if case.how == "silent":
        os.kill(server.process.pid, signal.SIGSTOP)
        time.sleep(case.away_s)
        back = time.time()
        os.kill(server.process.pid, signal.SIGCONT)
        return back
    server.kill()
    time.sleep(case.away_s)
    server.start(case.size, server.shown()[-1][2] + case.moved)
    return time.time()


def measure(cases: list[Case], folder: Path) -> tuple[dict[str, Any], list[dict[str, object]]]:
    """Run all cases in one session; return what came of it, and the session's events."""
    session, server = folder / "s.db", Server(folder)
    server.start("first", 0)
    command = [
        sys.executable,
        "-m",
        "edgeleuk",
        "run",
        "--runtime",
        "litert",
        "--session",
        str(session),
        "--json",
    ]
    command += ["--camera", f"http://127.0.0.1:{server.port}/stream"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=HERE.parent)
    results = []
    try:
        for case in cases:
            assert wait_for_frames(session, time.time(), FRAMES_BETWEEN, 90) is not None, "no frames come"
            back = take_away(case, server)
            first = wait_for_frames(session, back, 1, 30)
            after_s = math.inf if first is None else first - back
            results.append({"case": case.name, "back_after_s": round(after_s, 2), "at": round(back, 2)})
            print(f"{case.name:<36} {after_s:.2f} s", file=sys.stderr)
        wait_for_frames(session, time.time(), FRAMES_BETWEEN, 90)
    finally:
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=60)
        server.kill()
    with read_session(session) as reader:
        events = list(reader.rows("events"))
    cells = counted_twice(session, server.shown())
    return {"cases": results, "cells": cells, "frames": json.loads(out)["frames"]}, events


def late(after: int, kills: int, scan_kills: int, folder: Path | None) -> int:
    """Kill late, print, and judge."""
    with tempfile.TemporaryDirectory() as temporary:
        kept = folder or Path(temporary)
        kept.mkdir(parents=True, exist_ok=True)
        result = measure_late(after, kills, scan_kills, kept)
    verdict = "fail" if result["reasons"] else "pass"
    print(json.dumps({"schema_version": 1, "after": after, **result, "verdict": verdict}))
    print(f"{verdict} {'; '.join(result['reasons'])}", file=sys.stderr)
    return 3 if result["reasons"] else 0


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--away", type=float, default=20.0, help="seconds of the long absence")
    parser.add_argument("--events", action="store_true", help="print what the session says of it, too")
    parser.add_argument("--serve", nargs=4, metavar=("SIZE", "FIRST", "PORT", "LOG"), help=argparse.SUPPRESS)
    parser.add_argument("--after", type=int, help="kill a run and a scan once they hold so many frames")
    parser.add_argument("--kills", type=int, default=10, help="of the run, with --after")
    parser.add_argument("--scan-kills", type=int, default=20, help="of the scan, with --after")
    parser.add_argument("--folder", type=Path, help="where the killed sessions are kept, with --after")
    parser.add_argument("--microscope", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.microscope:
        serve_microscope(*options.microscope)
        return 0
    if options.after is not None:
        return late(options.after, options.kills, options.scan_kills, options.folder)
    if options.serve:
        size, first, port, log = options.serve
        serve_slide(size, int(first), int(port), Path(log))
        return 0
    cases = [
        Case("killed, 2 s", "killed", 2.0),
        Case(f"killed, {options.away:g} s", "killed", options.away),
        Case("silent, 3 s", "silent", 3.0),
        Case("silent, 12 s", "silent", 12.0),
        Case("another resolution, on new fields", "killed", 2.0, "other", 3),
    ]
    with tempfile.TemporaryDirectory() as folder:
        result, events = measure(cases, Path(folder))
    if options.events:
        for row in events:
            print(f"{row['at']:.2f} {row['kind']}: {row['text']}", file=sys.stderr)
    twice = result["cells"]["counted_twice"]
    reasons = [
        f"{each['case']}: back after {each['back_after_s']} s"
        for each in result["cases"]
        if each["back_after_s"] > BAR_S
    ]
    reasons += [f"{twice} cells were counted twice"] * (twice > 0)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if reasons and load > cores:
        reasons.append(f"load average {load:.1f} on {cores} cores: measure again when nothing else runs")
    result |= {
        "schema_version": 1,
        "bar_s": BAR_S,
        "load_average": round(load, 2),
        "verdict": "fail" if reasons else "pass",
        "reasons": reasons,
    }
    print(json.dumps(result))
    print(f"{result['cells']}; {result['verdict']} {'; '.join(reasons)}", file=sys.stderr)
    return 3 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
