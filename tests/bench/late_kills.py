"""Whether anything is lost when a long session is killed late, and goes on.

A run over the virtual slide, and a scan of a simulated microscope over real transports, are each killed by
SIGKILL again and again, but not before they hold so many frames. After each kill the hash chain must be
sound, and every link that was seen before must stand where it stood. At the end the counts, and what is said
of each cell, must be those of a session that nobody disturbed. The microscope shows a place always alike,
noise and focus included, so that nothing but the kills can make a difference.

Called by ``python tests/bench/recovery.py --after 2000``.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeleuk.session import read_session
from edgeleuk.session.verify import verify_session
from edgeleuk.virtual.microscope import DEPTH_OF_FIELD_UM, Stand, VirtualMicroscope
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.virtual.serving import MjpegServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from edgeleuk.frames import RgbImage

ROOT = Path(__file__).resolve().parents[2]
CAMERA = "virtual://?seed=11&width=320&height=240&px_per_um=6.5&white_cells_per_field=6&fps=0"
# Of a field of the scan, with the overlap of the plan, in micrometres.
WIDTH, HEIGHT, PX_PER_UM, OVERLAP = 480, 360, 13.0, 0.3
UM_PER_STEP = 0.1
# So many frames come between two kills, and after the last.
BETWEEN = 12
SAID = ("frame", "x", "y", "w", "h", "area_px", "decision", "probability", "reason", "views")
RUNNING = (sys.executable, "-m", "edgeleuk")


def run_command(frames: int) -> list[str]:
    """Return the command of a run that ends after so many frames, without its session."""
    return [*RUNNING, "run", "--camera", CAMERA, "--frames", str(frames), "--runtime", "litert"]


def scan_command(frames: int, http: int, wire: int) -> list[str]:
    """Return the command of a scan of at least so many fields, without its session."""
    rows = math.ceil(math.sqrt(frames))
    width, height = (
        (rows - 1) * (1 - OVERLAP) * side / PX_PER_UM + side / PX_PER_UM for side in (WIDTH, HEIGHT)
    )
    area = f"{width / 1000:.4f}x{height / 1000:.4f}"
    return [
        *(*RUNNING, "scan", "--area", area, "--overlap", str(OVERLAP)),
        *("--camera", f"http://127.0.0.1:{http}/stream", "--stage", f"socket://127.0.0.1:{wire}"),
        *("--um-per-step", str(UM_PER_STEP), "--backlash-um", "0"),
    ]


def serve_microscope(http: int, wire_port: int) -> None:
    """Be a microscope that shows a place always alike, on these ports, until it is killed."""
    from edgeleuk_firmware_bridge.commands import stage as commands

    board = commands.simulated_board("sangaboard")
    slide = VirtualSlide(4, white_cells_per_field=8.0)
    microscope = VirtualMicroscope(slide, Stand(focus_um=4.0, tilt_x=0.0002), WIDTH, HEIGHT)
    shown: tuple[tuple[int, int, int], RgbImage] | None = None

    def look() -> RgbImage:
        nonlocal shown
        steps = board.position()
        if shown is None or shown[0] != steps:
            x, y, z = (UM_PER_STEP * count for count in steps)
            focus = microscope.focus_um(x, y)
            # Within the depth of field a picture is as sharp as in its middle.
            z = focus if abs(z - focus) < DEPTH_OF_FIELD_UM / 2 else z
            place = abs(hash(steps[:2])) % 2**31
            shown = steps, microscope.look(x, y, z, exposure=place).pixels
        return shown[1]

    with commands.served(board, f":{wire_port}") as wire, MjpegServer(look, "127.0.0.1", http, fps=25.0):
        print("ready", flush=True)
        wire.wait()


@contextlib.contextmanager
def microscope(ports: Sequence[int]) -> Iterator[None]:
    """Start such a microscope, its stage at the beginning."""
    words = [sys.executable, str(Path(__file__).with_name("recovery.py")), "--microscope", *map(str, ports)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.wait()


def kept_ports(folder: Path) -> list[int]:
    """Choose free ports once: the address of a camera is the session's."""
    file = folder / "ports.json"
    if not file.exists():
        with socket.socket() as one, socket.socket() as other:
            for each in (one, other):
                each.bind(("127.0.0.1", 0))
            file.write_text(json.dumps([each.getsockname()[1] for each in (one, other)]), encoding="ascii")
    ports: list[int] = json.loads(file.read_text(encoding="ascii"))
    return ports


def frames_of(path: Path) -> int:
    """Count the frames on the disk; 0 of a session that is not there yet."""
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(path, timeout=5)) as connection:
        try:
            return int(connection.execute("SELECT COUNT(*) FROM frames").fetchone()[0])
        except sqlite3.Error:
            return 0


def links_of(path: Path) -> list[bytes]:
    """Return the links of the hash chain, in order."""
    with contextlib.closing(sqlite3.connect(path, timeout=5)) as connection:
        return [row[0] for row in connection.execute("SELECT link FROM chain ORDER BY id")]


def started(command: Sequence[str], session: Path) -> subprocess.Popen[bytes]:
    """Begin or go on with a session."""
    log = session.with_suffix(".log").open("ab")
    with log:
        words = [*command, "--session", str(session), "--resume", "--json"]
        return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log)


def killed(command: Sequence[str], session: Path, at: int, pause_s: float) -> dict[str, Any] | None:
    """Kill it a moment after it holds `at` frames; return what is wrong then, or None where nothing is."""
    process = started(command, session)
    while (here := frames_of(session)) < at:
        assert process.poll() is None, f"ended before {at} frames: see {session.with_suffix('.log')}"
        time.sleep(0.05 if here > at - 200 else 1.0)
    seen = links_of(session)
    time.sleep(pause_s)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it had ended before it was killed"
    broken = verify_session(session).broken
    lost = links_of(session)[: len(seen)] != seen
    return {"frames": frames_of(session), "broken": broken, "lost": lost} if broken or lost else None


def said_of_cells(path: Path) -> list[list[Any]]:
    """Return what is said of each cell; tracks are numbered anew after a resume, and are left out."""
    with read_session(path) as reader:
        return sorted(([row[key] for key in SAID] for row in reader.rows("cells")), key=repr)


def compared(whole: Path, cut: Path) -> dict[str, Any]:
    """Compare a session that was killed with one that was not."""
    found: dict[str, Any] = {}
    for name, path in (("undisturbed", whole), ("killed", cut)):
        with read_session(path) as reader:
            counts, tallies = reader.counts(), reader.tallies()
            broken = reader.verify().broken
            sequences = [row["sequence"] for row in reader.rows("frames")]
        found[name] = {
            "frames": counts.processed + counts.rejected,
            "rejected": counts.rejected,
            "missing_frames": len(set(range(len(sequences))) - set(sequences)),
            "cells": counts.cells,
            **tallies._asdict(),
            "broken": broken,
        }
    before, after = said_of_cells(whole), said_of_cells(cut)
    found["cells_said_otherwise"] = sum(each not in after for each in before)
    found["same"] = found["undisturbed"] == found["killed"] and before == after
    return found


def kill_late(
    command: Sequence[str],
    folder: Path,
    name: str,
    kills: int,
    after: int,
    between: int = BETWEEN,
    world: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> dict[str, Any]:
    """Record a session undisturbed, and another with so many kills; compare the two.

    Both are kept in `folder` with a note of the kills, so that what was stopped goes on there.
    """
    whole, cut, notes = (folder / f"{name}-{part}" for part in ("whole.db", "killed.db", "kills.jsonl"))
    with world():
        assert started(command, whole).wait() == 0, f"see {whole.with_suffix('.log')}"
    print(f"{name}: {frames_of(whole)} frames undisturbed", file=sys.stderr, flush=True)
    notes.touch()
    with world():
        for number in range(len(notes.read_text(encoding="utf-8").splitlines()), kills):
            at = max(after + number * between, frames_of(cut) + 1)
            wrong = killed(command, cut, at, random.Random(number).uniform(0, 0.4))
            note = {"frames": frames_of(cut), "wrong": wrong}
            with notes.open("a", encoding="utf-8") as file:
                file.write(json.dumps(note) + "\n")
            print(f"{name}: kill {number + 1}, {note}", file=sys.stderr, flush=True)
        assert started(command, cut).wait() == 0, f"see {cut.with_suffix('.log')}"
    noted = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    return {
        "kills": len(noted),
        "first_kill_at": noted[0]["frames"] if noted else None,
        "wrong_after_a_kill": [note for note in noted if note["wrong"]],
        **compared(whole, cut),
    }


def measure_late(after: int, run_kills: int, scan_kills: int, folder: Path) -> dict[str, Any]:
    """Kill a run and a scan late; return what came of both, and the reasons why it is not good enough."""
    result: dict[str, Any] = {}
    if run_kills:
        command = run_command(after + BETWEEN * (run_kills + 3) * 2)
        result["run"] = kill_late(command, folder, "run", run_kills, after, 2 * BETWEEN)
    if scan_kills:
        ports = kept_ports(folder)
        command = scan_command(after + BETWEEN * (scan_kills + 3), *ports)
        result["scan"] = kill_late(
            command, folder, "scan", scan_kills, after, world=lambda: microscope(ports)
        )
    result["reasons"] = [
        f"{name}: {why}"
        for name, found in result.items()
        for why, is_so in (
            ("something was lost or broken after a kill", bool(found["wrong_after_a_kill"])),
            ("not as the session that nobody disturbed", not found["same"]),
        )
        if is_so
    ]
    return result
