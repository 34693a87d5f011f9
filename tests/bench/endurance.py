"""Whether memory grows over a long run: 100,000 frames of the virtual slide, without a pause.

Starts `edgeleuk run`, looks at its resident memory as frames are recorded, and prints the growth after the
first 1,000. Small fields, so that it takes an hour or so; what grows with frames and cells does not ask for
their size. Prints JSON on standard output; exits 3 when the bar is missed.

    python tests/bench/endurance.py [--frames 100000]
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CAMERA = "virtual://?seed=3&width=320&height=240&px_per_um=6.5&white_cells_per_field=6"
FIRST = 1000
BAR_MB = 20.0


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def recorded(session: Path) -> tuple[int, int]:
    """Frames and cells on the disk."""
    try:
        connection = sqlite3.connect(f"file:{session}?mode=ro", uri=True, timeout=5)
        query = "SELECT (SELECT COALESCE(MAX(sequence) + 1, 0) FROM frames), (SELECT COUNT(*) FROM cells)"
        frames, cells = connection.execute(query).fetchone()
        connection.close()
    except sqlite3.Error:
        return 0, 0
    return frames, cells


def main() -> int:
    """Run, watch, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--every-s", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        session = Path(folder) / "long.db"
        command = [
            sys.executable,
            "-m",
            "edgeleuk",
            "run",
            "--runtime",
            "litert",
            "--camera",
            CAMERA,
            "--session",
            str(session),
        ]
        running = subprocess.Popen(
            [*command, "--frames", str(options.frames), "--json"], cwd=ROOT, stdout=subprocess.PIPE
        )
        rows: list[tuple[int, int, float]] = []
        while running.poll() is None:
            time.sleep(options.every_s)
            try:
                rows.append((*recorded(session), rss_mb(running.pid)))
            except (OSError, ValueError, IndexError):
                break
            if len(rows) % 30 == 1:
                print(rows[-1], file=sys.stderr, flush=True)
        out, _ = running.communicate()
        summary = json.loads(out)
    rows = [row for row in rows if row[2] > 0]
    settled = [row for row in rows if row[0] >= FIRST]
    growth = max(row[2] for row in settled) - settled[0][2]
    result = {
        "schema_version": 1,
        "frames": summary["frames"],
        "cells": summary["cells"]["unique"],
        "rss_mb_after_first": settled[0],
        "rss_mb_largest": max(settled, key=lambda row: row[2]),
        "growth_mb": round(growth, 1),
        "rows": rows[:: max(1, len(rows) // 50)],
    }
    print(json.dumps(result))
    print(
        f"{'met   ' if growth < BAR_MB else 'MISSED'} {growth:.1f} MB  growth < {BAR_MB:g}", file=sys.stderr
    )
    return 0 if growth < BAR_MB else 3


if __name__ == "__main__":
    sys.exit(main())
