"""Whether each cell is counted once: scans of virtual slides, against the slides' own list of cells.

A serpentine of fields at 20, 35 and 50 % overlap, whose steps miss by up to 3 % of a field, and which goes
back over old ground now and then. A cell is true when some field showed it whole. Prints each bar on
standard error and JSON on standard output; exits 3 when one is missed.

Then revisits: a scan, as long a way on another part of the slide, and the first scan again in another order,
not quite where it was. No cell may be counted twice, and none lost: as many as both parts show when each is
scanned alone. `--index N` also measures a field's time beside N remembered ones and beside none.

    python tests/bench/counting.py [--columns 8] [--rows 6] [--index 2000]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
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
    from collections.abc import Iterable, Iterator

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
    return {"overlap": overlap} | followed(seed, path(columns, rows, overlap, np.random.default_rng(seed)))


def revisited(seed: int, overlap: float, columns: int, rows: int) -> dict[str, Any]:
    """Go to a part of the slide, to another, and to the first again, in another order and not quite there."""
    rng = np.random.default_rng(seed)
    first = list(path(columns, rows, overlap, rng))
    elsewhere = [(5000 + x, 3000 + y) for x, y in path(columns, rows, overlap, rng)]
    nudged = [(x + float(rng.uniform(-4, 4)), y + float(rng.uniform(-4, 4))) for x, y in first]
    again = [nudged[i] for i in rng.permutation(len(nudged))]
    there = followed(seed, first + again)
    alone = followed(seed, elsewhere)
    whole = followed(seed, first + elsewhere + again)
    return {
        "overlap": overlap,
        "fields": whole["fields"],
        "true": whole["true"],
        "counted": whole["counted"],
        "duplicates": whole["duplicates"],
        # What the segmentation does not find is not lost by the tracking.
        "lost": whole["lost"] - there["lost"] - alone["lost"],
    }


def time_ratio(fields: int) -> dict[str, float]:
    """Time of a field that is seen for the first time with so many in memory, to the time with few."""
    slide = VirtualSlide(seed=3, px_per_um=SCALE)
    tracker = FieldTracker()
    times = []
    for number in range(fields + 40):
        # Apart from each other: each has lost its way, which takes longest.
        place = 100.0 * (number % 50), 80.0 * (number // 50)
        pixels = slide.field(*place, width=640, height=480, exposure=number).pixels
        start = time.perf_counter()
        cells = segment(pixels, px_per_um=SCALE)
        middle = time.perf_counter()
        tracker.update(pixels, cells)
        times.append((middle - start, time.perf_counter() - middle))
    few, many = (np.median(np.array(part), axis=0) * 1e3 for part in (times[20:60], times[-40:]))
    return {
        "fields": fields,
        "segmenting_ms": float(many[0]),
        "tracking_few_ms": float(few[1]),
        "tracking_many_ms": float(many[1]),
        "ratio_of_both": float((few[0] + many[1]) / (few[0] + few[1])),
    }


def followed(seed: int, places: Iterable[tuple[float, float]]) -> dict[str, Any]:
    """Count along a way."""
    slide = VirtualSlide(seed=seed, white_cells_per_field=4.0)
    tracker = FieldTracker()
    whole: set[int] = set()
    counted: set[int] = set()
    owners: defaultdict[int, Counter[int]] = defaultdict(Counter)
    fields = 0
    for x, y in places:
        field = slide.field(x, y, width=WIDTH, height=HEIGHT)
        cells = segment(field.pixels, px_per_um=SCALE)
        fields += 1
        for true in field.truth:
            reach = 1.15 * true.radius_px
            if reach < true.x < WIDTH - reach and reach < true.y < HEIGHT - reach:
                whole.add(true.identity)
        for one, cell in zip(tracker.update(field.pixels, cells), cells, strict=True):
            if cell.touches_border:
                continue
            counted.add(one.track)
            cx, cy = cell.box.centre
            near = min(field.truth, key=lambda t: np.hypot(t.x - cx, t.y - cy), default=None)
            if near is not None and np.hypot(near.x - cx, near.y - cy) < near.radius_px:
                owners[one.track][near.identity] += 1
    identities = Counter(owner.most_common(1)[0][0] for owner in owners.values())
    return {
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
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--revisits-only", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = []
    for seed in () if options.revisits_only else (1, 2):
        for overlap in (0.2, 0.35, 0.5):
            row = scan(seed, overlap, options.columns, options.rows)
            print(row, file=sys.stderr)
            rows.append(row)
    bars: dict[str, tuple[float, float]] = {}
    for overlap in () if options.revisits_only else (0.2, 0.35, 0.5):
        own = [row for row in rows if row["overlap"] == overlap]
        true = sum(row["true"] for row in own)
        duplicates = sum(row["duplicates"] for row in own) / true
        error = abs(sum(row["counted"] for row in own) - true) / true
        bars[f"overlap {overlap}: duplicates <= {MOST_DUPLICATES}"] = (duplicates, MOST_DUPLICATES)
        bars[f"overlap {overlap}: count error <= {MOST_ERROR}"] = (error, MOST_ERROR)
    revisits = []
    for seed, overlap in ((3, 0.2), (4, 0.4)):
        row = revisited(seed, overlap, options.columns, options.rows)
        print(row, file=sys.stderr)
        revisits.append(row)
    bars["revisits: duplicates"] = (sum(row["duplicates"] for row in revisits), 0)
    bars["revisits: lost"] = (sum(row["lost"] for row in revisits), 0)
    timing = time_ratio(options.index) if options.index else None
    print(timing, file=sys.stderr)
    result = {
        "schema_version": 1,
        "scans": rows,
        "revisits": revisits,
        "timing": timing,
        "bars": {name: round(v, 5) for name, (v, _) in bars.items()},
    }
    print(json.dumps(result))
    for name, (value, bar) in bars.items():
        print(f"{'met   ' if value <= bar else 'MISSED'} {value:.4f}  {name}", file=sys.stderr)
    return 0 if all(value <= bar for value, bar in bars.values()) else 3


if __name__ == "__main__":
    sys.exit(main())
