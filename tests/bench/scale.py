"""How well the scale is estimated: a table of estimate / truth, on drawn fields and on real ones.

Drawn fields are 60 to 600 um wide, of several numbers of pixels; their scale is known. Of real fields nobody
wrote the scale down: it is taken to be the median of all fields of that camera, and each is also seen with
other pixels (magnifications), alone and side by side, where the answer has to change by just that factor.
Prints a table on standard error and JSON on standard output; exits 3 when a bar is missed.

    python tests/bench/scale.py [--seeds 8]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from edgeleuk.frames import Frame  # noqa: E402
from edgeleuk.io.images import read_image  # noqa: E402
from edgeleuk.pipeline.scale import ScaleKeeper  # noqa: E402
from edgeleuk.virtual.render import VirtualSlide  # noqa: E402
from edgeleuk.vision.scale import estimate_px_per_um, is_plausible  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    Rgb = npt.NDArray[np.uint8]

FIRST_SEED = 5000
WIDTHS_UM = (60, 90, 130, 180, 246, 267, 308, 400, 500, 600)
WIDTHS_PX = (640, 1280, 2048, 4056)
# Red cells of people, and of places on one slide, differ by some per cent themselves.
MOST_ERROR, MOST_REAL_ERROR = 0.05, 0.05


class Row(NamedTuple):
    """One line of the table."""

    fields: str
    number: int
    none: int
    within: int
    median: float
    least: float
    most: float
    ms: float


def row(fields: str, pictures: Iterable[tuple[Rgb, float]]) -> Row:
    """Estimate each picture's scale, and compare it with the true one."""
    ratios: list[float] = []
    none = 0
    times = []
    for pixels, true in pictures:
        start = time.perf_counter()
        estimate = estimate_px_per_um(pixels)
        times.append(time.perf_counter() - start)
        if estimate is None:
            none += 1
        else:
            ratios.append(estimate.px_per_um / true)
    seen = np.array(ratios or [np.nan])
    return Row(
        fields,
        len(times),
        none,
        int(np.count_nonzero(np.abs(seen - 1) <= MOST_ERROR)),
        float(np.median(seen)),
        float(seen.min()),
        float(seen.max()),
        float(np.median(times)) * 1e3,
    )


def drawn(seeds: int, width_um: float, width_px: int) -> Iterable[tuple[Rgb, float]]:
    """Drawn fields of one width."""
    scale = width_px / width_um
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        slide = VirtualSlide(seed, px_per_um=scale)
        yield slide.field(1000.0 * seed, 500.0, width=width_px, height=width_px * 3 // 4).pixels, scale


def side_by_side(pictures: Sequence[Rgb], tiles: int) -> list[Rgb]:
    """Fields of one size, so many along each side."""
    n = tiles**2
    return [
        np.vstack([np.hstack(pictures[first + i * tiles : first + (i + 1) * tiles]) for i in range(tiles)])
        for first in range(0, len(pictures) - n + 1, n)
    ]


def real(name: str, pictures: Sequence[Rgb], layouts: Sequence[tuple[int, float]]) -> tuple[float, list[Row]]:
    """Real fields side by side and with other pixels, against the median of all as they are."""
    alone = [e.px_per_um for pixels in pictures if (e := estimate_px_per_um(pixels)) is not None]
    known = float(np.median(alone))
    rows = []
    for tiles, zoom in layouts:
        wide = side_by_side(pictures, tiles)
        seen = [
            p
            if zoom == 1
            else np.asarray(cv2.resize(p, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA))
            for p in wide
        ]
        width_um = seen[0].shape[1] / (known * zoom)
        title = f"{name} {tiles}x{tiles}, x{zoom:g}: {seen[0].shape[1]} px, {width_um:.0f} um"
        rows.append(row(title, ((p.astype(np.uint8), known * zoom) for p in seen)))
    return known, rows


def session(pictures: Sequence[Rgb], known: float) -> float:
    """Error of what a run would use at the end: the median of its fields, in parts of the truth."""
    keeper = ScaleKeeper(None, estimate_px_per_um)
    found = [keeper.of(Frame(pixels, i, 0.0, 0.0, "bench://", None)) for i, pixels in enumerate(pictures)]
    return float("nan") if found[-1] is None else found[-1] / known - 1


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    data = Path(os.environ.get("EDGELEUK_DATA", ROOT / "../shared/data"))
    rows, wrong, sessions = [], 0, {}

    def add(line: Row) -> None:
        rows.append(line)
        print(
            f"{line.fields:44} {line.number:4} fields, {line.none:3} none, {line.within:4} within 5 %:"
            f" median {line.median:.3f}, {line.least:.3f} to {line.most:.3f}; {line.ms:.0f} ms",
            file=sys.stderr,
        )

    for width_um in WIDTHS_UM:
        for width_px in WIDTHS_PX:
            if is_plausible(width_px / width_um):
                add(row(f"drawn {width_um} um, {width_px} px", drawn(options.seeds, width_um, width_px)))
                wrong += rows[-1].number - rows[-1].none - rows[-1].within
    medians = {}
    bccd = sorted((data / "fields_bccd").glob("*.jpg"))[1::2]
    bcisc = [p for p in sorted((data / "white_cells/bcisc/fields").glob("*.jpg")) if "mask" not in p.name]
    for name, files, layouts in (
        ("BCCD", bccd, [(1, 1.0), (1, 0.5), (2, 1.0), (2, 0.5), (4, 1.0), (4, 0.5), (9, 0.5), (9, 0.35)]),
        ("BCISC", bcisc, [(1, 1.0), (1, 0.5), (2, 0.5), (2, 0.3), (4, 0.5), (4, 0.3)]),
    ):
        pictures = [read_image(file) for file in files]
        size = max({p.shape for p in pictures}, key=[p.shape for p in pictures].count)
        pictures = [p for p in pictures if p.shape == size]
        known, found = real(name, pictures, layouts)
        for line in found:
            add(line)
            medians[line.fields] = abs(line.median - 1)
        sessions[name] = session(pictures, known)
    bars = {
        "drawn fields with an estimate that is more than 5 % wrong": (wrong, 0),
        "largest error of a median of real fields": (max(medians.values()), MOST_REAL_ERROR),
    }
    print(json.dumps({"schema_version": 1, "rows": [line._asdict() for line in rows], "sessions": sessions}))
    for name, (value, bar) in bars.items():
        print(f"{'met   ' if value <= bar else 'MISSED'} {value:.4f}  {name} <= {bar}", file=sys.stderr)
    return 0 if all(value <= bar for value, bar in bars.values()) else 3


if __name__ == "__main__":
    sys.exit(main())
