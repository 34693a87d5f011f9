"""What `edgeleuk teach` costs with 200 labels on two cores: processor time, time on the clock, peak memory.

    python tests/bench/teach_cost.py [--data DIR]

Labels are Jiangxi's and CellaVision's cells and, to make them 200, BCISC's. A loaded machine makes the clock
run: the bar holds for the processor's time, which on an idle one the clock does not exceed. Prints bars on
standard error and JSON on standard output; exits 3 when one is missed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LABELS, CORES, PARTS = 200, 2, 5
MOST_S, MOST_MB = 60.0, 600.0
SCALES = {"jiangxi": "6.2", "cellavision": "9.5"}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDGELEUK_DATA", "../shared/data")))
    asked = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory() as folder:
        files = make_labels(asked.data, Path(folder))
        words = [word for file in files for word in ("--labels", str(file))]
        out = ["--out", str(Path(folder) / "lab.edgeleuk"), "--json", "--force"]
        begun = time.monotonic()
        # This process is small: what the child inherits of its peak is less than the child's own.
        child = subprocess.Popen(
            [sys.executable, "-m", "edgeleuk", "teach", "default", *words, *out], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        said = json.loads(child.stdout.read())
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - begun
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    bars = {
        f"{said['cells']} labels: at most {MOST_S:g} s of processor time": (f"{cpu:.1f} s", cpu <= MOST_S),
        f"{said['cells']} labels: at most {MOST_MB:g} MB": (f"{peak:.0f} MB", peak <= MOST_MB),
    }
    for name, (measured, met) in bars.items():
        print(f"{'met   ' if met else 'MISSED'} {measured:>10}  {name}", file=sys.stderr)
    print(
        json.dumps(
            {
                "schema_version": 1,
                "cells": said["cells"],
                "slides": said["slides"],
                "user_s": round(usage.ru_utime, 1),
                "system_s": round(usage.ru_stime, 1),
                "wall_s": round(wall, 1),
                "load": os.getloadavg()[0],
                "peak_mb": round(peak),
                "exit_code": os.waitstatus_to_exitcode(status),
                "bars": {name: {"measured": said, "met": met} for name, (said, met) in bars.items()},
            }
        )
    )
    return 0 if all(met for _, met in bars.values()) else 3


def make_labels(data: Path, work: Path) -> list[Path]:
    """Import pictures until there are enough cells."""
    made: list[Path] = []
    kinds = data / "wbc_masks/kinds.csv"
    for name, scale in SCALES.items():
        folder = work / name
        folder.mkdir()
        with kinds.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["path"].startswith(f"{name}/")]
        for number, row in enumerate(rows):
            place = folder / f"{row['kind']}_{number % PARTS}-{number}.png"
            shutil.copyfile(data / "wbc_masks" / row["path"], place)
        made.append(imported(folder, work / f"{name}.labels", "--px-per-um", scale))
    folder = work / "bcisc"
    folder.mkdir()
    pictures = sorted((data / "white_cells/bcisc/crops").glob("*.jpg"))
    count = LABELS - sum(cells_in(file) for file in made)
    # Every so many of them, that all classes and slides are there; nearly all hold a whole cell.
    for number in range(count):
        picture = pictures[number * len(pictures) // count]
        shutil.copyfile(picture, folder / picture.name)
    made.append(imported(folder, work / "bcisc.labels"))
    return made


def imported(folder: Path, out: Path, *more: str) -> Path:
    """Import a folder whose pictures are named by label and slide."""
    words = ["labels", "import", str(folder), "--names", "{label}_{slide}-*", "--by", "A", "--out", str(out)]
    edgeleuk(*words, *more)
    return out


def cells_in(file: Path) -> int:
    """Count the cells of a file of labels."""
    return int(json.loads(edgeleuk("labels", "list", str(file), "--json"))["cells"])


def edgeleuk(*words: str) -> str:
    """Run the command line."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeleuk", *words], check=True, capture_output=True, text=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
