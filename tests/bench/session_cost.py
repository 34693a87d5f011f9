"""What a session costs a card: bytes written and kept for each frame, and what a night of them comes to.

Records the virtual slide once, 1280x960 with about 1.6 new cells a frame, and hands what the run recorded to
sessions of their own at ten frames a second, as a camera would. Written is what the kernel was given for the
disk (`write_bytes` of /proc/self/io: log, file and journal of them, in whole pages), kept is the file once it
is closed. Prints JSON on standard output; exits 3 when a bar is missed.

    python tests/bench/session_cost.py [--frames 300] [--folder DIR]

The folder has to be on a disk: what lies in memory is not written.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from edgeleuk.commands.run import RunOptions
from edgeleuk.commands.run import run as run_command
from edgeleuk.io.settings import RunSettings
from edgeleuk.session import SessionWriter, create_session, read_session, resume_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeleuk.results import FrameResult

CAMERA = "virtual://?seed=11"
FPS = 10.0
NIGHT_FRAMES = 8 * 3600 * FPS
KB, GB = 1e3, 1e9
# So often the frames are recorded before those that are measured, where a sample of the cells is kept.
WARM = 8
# Of a frame, kB written and kept; of a night, GB.
BARS = {
    "new cells": (80.0, 45.0),
    "no new cell": (2.0, 1.0),
}
NIGHT_BARS = {"new cells": (23.0, 13.0), "doubtful": (10.0, 5.0)}


@dataclass(frozen=True)
class Recorded:
    """A frame as the run handed it to its session."""

    result: FrameResult
    arguments: tuple[Any, ...]


def recorded(frames: int, folder: Path) -> tuple[list[Recorded], dict[str, Any]]:
    """Run over the virtual slide; return what was recorded, and the settings of the session."""
    found: list[Recorded] = []
    record = SessionWriter.record_frame

    def listen(session: SessionWriter, result: FrameResult, *arguments: Any) -> None:
        found.append(Recorded(result, arguments))
        record(session, result, *arguments)

    path = folder / "recorded.db"
    settings = RunSettings(runtime="litert", px_per_um=13.0)
    with mock.patch.object(SessionWriter, "record_frame", listen):
        _, error = run_command(
            CAMERA, "default", settings, RunOptions(session=path, frames=frames, draw=False)
        )
    if error is not None:
        raise error
    with read_session(path) as reader:
        facts = dict(reader.settings)
    path.unlink()
    return found, facts


def without_new_cells(frames: list[Recorded]) -> Iterator[Recorded]:
    """Yield the frames as they are where the stage rests: all cells known, the field remembered."""
    for frame in frames:
        _, _, placed = frame.arguments
        seen = tuple(replace(cell, is_new=False) for cell in frame.result.cells)
        rests = None if placed is None else placed._replace(texture=None, moves=())
        yield Recorded(replace(frame.result, cells=seen), ([], (), rests))


def bytes_written() -> int:
    """How many bytes this process had written to disks so far."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


class Meter:
    """Counts what a session costs from a moment on: bytes written, and the file's growth."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written, self._kept = bytes_written(), path.stat().st_size
        self.longest_log = 0

    def look(self) -> None:
        """See how long the log is."""
        log = self._path.with_name(self._path.name + "-wal")
        self.longest_log = max(self.longest_log, log.stat().st_size)

    def of_each(self, frames: int) -> dict[str, float]:
        """Return kB a frame, of a session that is closed."""
        return {
            "written_kb": round((bytes_written() - self._written) / frames / KB, 2),
            "kept_kb": round((self._path.stat().st_size - self._kept) / frames / KB, 2),
            "longest_log_mb": round(self.longest_log / 1e6, 1),
        }


def cost(path: Path, frames: list[Recorded], settings: dict[str, Any], warm: int = 0) -> dict[str, float]:
    """Record frames at the pace of a camera; return kB a frame, without what came before them.

    That is the empty session, and the frames `warm` times over: of the sample that ``doubtful`` keeps a night
    has not much more.
    """
    with create_session(path, settings) as session:
        for time_over in range(warm):
            for number, frame in enumerate(frames):
                record(session, frame, time_over * len(frames) + number, time_over)
        session.flush()
    first = warm * len(frames)
    meter = Meter(path)
    with resume_session(path, settings) as session:
        begun = time.monotonic()
        for number, frame in enumerate(frames):
            time.sleep(max(0.0, begun + number / FPS - time.monotonic()))
            record(session, frame, first + number, warm)
            meter.look()
    found = meter.of_each(len(frames))
    with read_session(path) as reader:
        assert reader.counts().processed == first + len(frames)
        assert reader.verify().broken is None
    path.unlink()
    return found


def record(session: SessionWriter, frame: Recorded, sequence: int, time_over: int) -> None:
    """Record a frame once more, its cells with numbers of their own."""
    judged, truth, placed = frame.arguments
    others = [replace(cell, track=cell.track + 1_000_000 * time_over) for cell in judged]
    session.record_frame(replace(frame.result, sequence=sequence), others, truth, placed)


def night(of_frame: dict[str, float]) -> dict[str, float]:
    """Return the GB of eight hours at ten frames a second."""
    return {name: round(of_frame[f"{name}_kb"] * KB * NIGHT_FRAMES / GB, 1) for name in ("written", "kept")}


def measure(frames: int, folder: Path, report: Callable[[str], object]) -> dict[str, Any]:
    """Measure every case."""
    found, settings = recorded(frames, folder)
    new = sum(cell.is_new for frame in found for cell in frame.result.cells) / len(found)
    views = sum(len(frame.arguments[0]) for frame in found) / len(found)
    resting = list(without_new_cells(found))
    cases: dict[str, Any] = {}
    for name, frames_of, warm, more in (
        ("new cells", found, 0, {}),
        ("no new cell", resting, 0, {}),
        ("doubtful", found, WARM, {"pictures": "doubtful"}),
        ("none", found, 0, {"pictures": "none"}),
        ("new cells, by frame", found, 0, {"durability": "frame"}),
        ("no new cell, by frame", resting, 0, {"durability": "frame"}),
    ):
        of = settings | {"pictures": "all", "durability": "second"} | more
        cases[name] = cost(folder / "session.db", frames_of, of, warm)
        report(f"{name:<24} {cases[name]['written_kb']:>8} kB written {cases[name]['kept_kb']:>8} kB kept")
    return {
        "frames": len(found),
        "new_cells_a_frame": round(new, 2),
        "judged_views_a_frame": round(views, 2),
        "cases": cases,
        "night_gb": {name: night(cases[name]) for name in ("new cells", "doubtful", "none")},
    }


def judged(result: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Return what was measured beside its bar."""
    rows = []
    for name, bars in BARS.items():
        for what, bar in zip(("written", "kept"), bars, strict=True):
            rows.append((f"{name}: kB {what} a frame", result["cases"][name][f"{what}_kb"], bar))
    for name, bars in NIGHT_BARS.items():
        for what, bar in zip(("written", "kept"), bars, strict=True):
            rows.append((f"{name}: GB {what} in 8 h", result["night_gb"][name][what], bar))
    return rows


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="On the disk that is to be measured.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder or Path.cwd()) as scratch:
        result = measure(options.frames, Path(scratch), lambda line: print(line, file=sys.stderr))
    rows = judged(result)
    missed = [row for row in rows if row[1] > row[2]]
    verdict = "fail" if missed else "pass"
    print(json.dumps({"schema_version": 1, **result, "verdict": verdict}))
    for what, value, bar in rows:
        print(f"{'MISSED' if value > bar else 'met   '} {what:<32} {value:g}, bar {bar:g}", file=sys.stderr)
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
