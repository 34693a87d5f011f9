"""Whether each cell is counted once: scans of virtual slides, against the slides' own list of cells.

A serpentine of fields at 20, 35 and 50 % overlap, whose steps miss by up to 3 % of a field, and which goes
back over old ground now and then. A cell is true when some field showed it whole. Prints each bar on
standard error and JSON on standard output; exits 3 when one is missed.

    python tests/bench/counting.py [--columns 8] [--rows 6]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from edgeleuk.virtual.render import VirtualSlide  # noqa: E402
from edgeleuk.vision.segmentation import segment  # noqa: E402
from edgeleuk.vision.tracking import FieldTracker  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH, HEIGHT, SCALE = 1280, 960, 13.0
JITTER = 0.03
MOST_DUPLICATES, MOST_ERROR = 0.005, 0.01


def path(columns: int, rows: int, overlap: float, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Stage positions in um: a serpentine that jitters, and goes three fields back after every tenth."""
    step = np.array([WIDTH, HEIGHT]) / SCALE * (1 - overlap)
    places = [
        np.array([column if row % 2 == 0 else columns - 1 - column, row]) * step
        for row in range(rows)
        for column in range(columns)
    ]
    for number, place in enumerate(places):
        again = [number - 1, number - 2, number - 3] if number % 10 == 9 else []
        for visited in [*again, number]:
            jitter = rng.uniform(-JITTER, JITTER, 2) * np.array([WIDTH, HEIGHT]) / SCALE
            x, y = (place if visited == number else places[visited]) + jitter
            yield float(x), float(y)


def scan(seed: int, overlap: float, columns: int, rows: int) -> dict[str, Any]:
    """One slide: cells counted, and how often each true one was."""
    slide = VirtualSlide(seed=seed, white_cells_per_field=4.0)
    tracker = FieldTracker()
    rng = np.random.default_rng(seed)
    whole: set[int] = set()
    counted: set[int] = set()
    owners: defaultdict[int, Counter[int]] = defaultdict(Counter)
    fields = 0
    for x, y in path(columns, rows, overlap, rng):
        field = slide.field(x, y, width=WIDTH, height=HEIGHT)
        cells = segment(field.pixels, px_per_um=SCALE)
        fields += 1
        for true in field.truth:
            reach = 1.15 * true.radius_px
            if reach < true.x < WIDTH - reach and reach < true.y < HEIGHT - reach:
                whole.add(true.identity)
        for sighting, cell in zip(tracker.update(field.pixels, cells), cells, strict=True):
            if cell.touches_border:
                continue
            counted.add(sighting.track)
            cx, cy = cell.box.centre
            near = min(field.truth, key=lambda t: np.hypot(t.x - cx, t.y - cy), default=None)
            if near is not None and np.hypot(near.x - cx, near.y - cy) < near.radius_px:
                owners[sighting.track][near.identity] += 1
    identities = Counter(owner.most_common(1)[0][0] for owner in owners.values())
    return {
        "overlap": overlap,
        "fields": fields,
        "true": len(whole),
        "counted": len(counted),
        "duplicates": sum(times - 1 for times in identities.values()),
        "invented": len(counted) - len(owners),
        "lost": len(whole - set(identities)),
    }


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--rows", type=int, default=6)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = []
    for seed in (1, 2):
        for overlap in (0.2, 0.35, 0.5):
            row = scan(seed, overlap, options.columns, options.rows)
            print(row, file=sys.stderr)
            rows.append(row)
    bars = {}
    for overlap in (0.2, 0.35, 0.5):
        own = [row for row in rows if row["overlap"] == overlap]
        true = sum(row["true"] for row in own)
        duplicates = sum(row["duplicates"] for row in own) / true
        error = abs(sum(row["counted"] for row in own) - true) / true
        bars[f"overlap {overlap}: duplicates <= {MOST_DUPLICATES}"] = (duplicates, MOST_DUPLICATES)
        bars[f"overlap {overlap}: count error <= {MOST_ERROR}"] = (error, MOST_ERROR)
    result = {
        "schema_version": 1,
        "scans": rows,
        "bars": {name: round(v, 5) for name, (v, _) in bars.items()},
    }
    print(json.dumps(result))
    for name, (value, bar) in bars.items():
        print(f"{'met   ' if value <= bar else 'MISSED'} {value:.4f}  {name}", file=sys.stderr)
    return 0 if all(value <= bar for value, bar in bars.values()) else 3


if __name__ == "__main__":
    sys.exit(main())
