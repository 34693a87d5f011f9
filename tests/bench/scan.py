"""A scan of the virtual slide, tilted, drifting and with play: cells found once, focus kept.

Prints each bar on standard error and JSON on standard output; exits 3 when one is missed.

    python tests/bench/scan.py [--area 5x5]
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bars import judged, plan_of, scan_options  # noqa: E402
from virtual_stage import VirtualStage  # noqa: E402

from edgeleuk.frames import Frame  # noqa: E402
from edgeleuk.stage.autofocus import MOST_FRAMES, autofocus  # noqa: E402
from edgeleuk.stage.mapping import calibrate  # noqa: E402
from edgeleuk.stage.scanning import FocusKeeper, ScanSource  # noqa: E402
from edgeleuk.virtual.microscope import DEPTH_OF_FIELD_UM, Stand, VirtualMicroscope  # noqa: E402
from edgeleuk.virtual.render import VirtualSlide  # noqa: E402
from edgeleuk.vision.quality import quality_check  # noqa: E402
from edgeleuk.vision.segmentation import segment  # noqa: E402
from edgeleuk.vision.tracking import FieldTracker  # noqa: E402

STAND = Stand(
    focus_um=7.0, tilt_x=0.004, tilt_y=-0.003, drift_um_per_s=0.002, backlash_um=3.0, turned_degrees=2.0
)


def walk(
    source: ScanSource, stage: VirtualStage, px_per_um: float, fields: int
) -> tuple[set[int], dict[int, Counter[int]], list[float], Counter[str]]:
    """Scan: cells that were seen whole, tracks and whose they are, defocus of each field, rejected fields."""
    tracker = FieldTracker()
    whole: set[int] = set()
    owners: dict[int, Counter[int]] = {}
    defocus: list[float] = []
    rejected: Counter[str] = Counter()
    for frame in source.frames():
        if not isinstance(frame, Frame):
            continue
        defocus.append(abs(stage.defocus_um))
        if len(defocus) % 200 == 0:
            print(f"{len(defocus)} of {fields} fields", file=sys.stderr, flush=True)
        for true in frame.truth:
            reach = 1.15 * true.radius_px
            if reach < true.x < 1280 - reach and reach < true.y < 960 - reach:
                whole.add(true.identity)
        reason = quality_check(frame.pixels)
        if reason is not None:
            rejected[reason] += 1
            continue
        cells = segment(frame.pixels, px_per_um=px_per_um)
        for one, cell in zip(tracker.update(frame.pixels, cells), cells, strict=True):
            x, y = cell.box.centre
            near = min(frame.truth, key=lambda t: np.hypot(t.x - x, t.y - y), default=None)
            hit = near is not None and np.hypot(near.x - x, near.y - y) < near.radius_px
            if hit and not cell.touches_border:
                owners.setdefault(one.track, Counter())[near.identity] += 1
    return whole, owners, defocus, rejected


def main() -> int:
    """Scan, count, and judge."""
    options = scan_options(__doc__, "5x5").parse_args()
    plan, area = plan_of(options.area)
    cv2.setNumThreads(1)
    microscope = VirtualMicroscope(VirtualSlide(options.seed), STAND)
    stage = VirtualStage(microscope)
    first = autofocus(stage, stage)
    mapping = calibrate(stage, stage, 12.5)
    stage = VirtualStage(microscope, take_out_um=6.0)
    focus = FocusKeeper(stage, stage)
    fields = plan.fields(mapping, (1280, 960), (0.0, 0.0))
    walked = walk(ScanSource("virtual", fields, focus, mapping), stage, mapping.px_per_um, len(fields))
    whole, owners, defocus, rejected = walked
    times = Counter(owner.most_common(1)[0][0] for owner in owners.values())
    found = len(whole & set(times)) / len(whole)
    twice = sum(n - 1 for n in times.values()) / len(whole)
    kept = float(np.mean(np.array(defocus) <= DEPTH_OF_FIELD_UM / 3))
    bars = {
        "cells found >= 0.99": (found, found >= 0.99),
        "cells counted twice <= 0.005": (twice, twice <= 0.005),
        "fields within a third of the depth of field >= 0.99": (kept, kept >= 0.99),
        f"frames of an autofocus <= {MOST_FRAMES}": (float(first.frames), first.frames <= MOST_FRAMES),
        "scale of the mapping within 1 %": (
            scale := abs(mapping.px_per_um / 13 - 1),
            scale <= 0.01,
        ),
        "angle of the mapping within 0.5 degrees": (
            angle := abs(mapping.angle_degrees - STAND.turned_degrees),
            angle <= 0.5,
        ),
    }
    result = {
        **area,
        "fields": len(fields),
        "true_cells": len(whole),
        "rejected": dict(rejected),
        "defocus_um_p99": float(np.percentile(defocus, 99)),
        "focus_frames_a_field": focus.frames / len(fields),
    }
    return judged(result, bars)


if __name__ == "__main__":
    sys.exit(main())
