"""A slide of the virtual microscope as OME-TIFF and OME-Zarr: seams, places of cells, memory, time.

Prints each bar on standard error and JSON on standard output; exits 3 when one is missed. With
`--fields-only` the fields are taken without focus, network and session: so a large area is measured in less
time, and without the bars of cells and of time.

    python tests/bench/slide.py [--area 1x1] [--fields-only] [--stack 5@0.8]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import ome_types  # noqa: E402
from bars import judged, plan_of, scan_options  # noqa: E402
from shapely.geometry import shape  # noqa: E402
from slides import corner_of  # noqa: E402
from virtual_stage import VirtualStage  # noqa: E402

from edgeleuk.commands.run import RunOptions  # noqa: E402
from edgeleuk.commands.scan import scan  # noqa: E402
from edgeleuk.commands.slide import SlideOptions  # noqa: E402
from edgeleuk.commands.slide_fields import FieldKeeper  # noqa: E402
from edgeleuk.io.settings import RunSettings  # noqa: E402
from edgeleuk.session import create_session  # noqa: E402
from edgeleuk.slide.spool import FieldSpool, ScanFacts  # noqa: E402
from edgeleuk.stage.mapping import calibrate  # noqa: E402
from edgeleuk.stage.resuming import Begun  # noqa: E402
from edgeleuk.stage.stacking import parse_stack, take_planes  # noqa: E402
from edgeleuk.virtual.microscope import Stand, VirtualMicroscope  # noqa: E402
from edgeleuk.virtual.render import VirtualSlide  # noqa: E402
from edgeleuk.virtual.serving import MjpegServer  # noqa: E402

if TYPE_CHECKING:
    from edgeleuk.stage.scanning import ScanPlan

SIZE = (1280, 960)
PX_PER_UM = 13.0
STAND = Stand(focus_um=7.0, tilt_x=0.004, tilt_y=-0.003, backlash_um=3.0, turned_degrees=2.0)
# Of a process that writes a slide, and of a scan's own time.
MOST_MB, MOST_SHARE = 300, 0.15
# What `wait4` tells of a child's memory may be its parent's; its own status knows better.
_COMMAND = """
from edgeleuk.cli.app import main
try:
    main()
finally:
    import re, sys
    print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""


def scanned(
    microscope: VirtualMicroscope, plan: ScanPlan, folder: Path, slide: SlideOptions
) -> dict[str, float]:
    """Scan with camera, stage, network and session; seconds of the scan, and of keeping its fields."""
    stage = VirtualStage(microscope, take_out_um=6.0)
    stage.move(x_um=-10.0, y_um=-10.0)
    stage.move(x_um=0.0, y_um=0.0)
    kept_s = kept_cpu_s = 0.0
    keep = FieldKeeper.keep

    def timed(self: FieldKeeper, *field: Any) -> Any:
        nonlocal kept_s, kept_cpu_s
        began, cpu = time.monotonic(), time.thread_time()
        frame = keep(self, *field)
        kept_s += time.monotonic() - began
        kept_cpu_s += time.thread_time() - cpu
        return frame

    FieldKeeper.keep = timed  # type: ignore[method-assign]
    # The slide is written by a process of its own afterwards, where its memory can be told.
    FieldKeeper.write = lambda self, *_: (self.close(), (None, None))[1]  # type: ignore[method-assign]
    began = time.monotonic()
    with MjpegServer(lambda: stage().pixels, "127.0.0.1", 0, fps=25.0) as server:
        camera = f"http://127.0.0.1:{server.port}/stream"
        options = RunOptions(folder / "s.db", draw=False)
        _, error = scan(camera, "default", RunSettings(), stage, plan, options, slide)
    if error is not None:
        raise error
    return {"scan": time.monotonic() - began - kept_s, "keeping": kept_s, "keeping, processor": kept_cpu_s}


def fields_alone(microscope: VirtualMicroscope, plan: ScanPlan, folder: Path, slide: SlideOptions) -> None:
    """Take the fields in focus, and an empty session."""
    level = Stand(backlash_um=STAND.backlash_um, turned_degrees=STAND.turned_degrees)
    microscope.stand = level
    mapping = calibrate(*(VirtualStage(microscope),) * 2, 12.5)
    stage = VirtualStage(microscope, take_out_um=6.0)
    stage.move(x_um=-10.0, y_um=-10.0)
    fields = plan.fields(mapping, SIZE, (0.0, 0.0))
    begun = Begun((0.0, 0.0), mapping.matrix, (plan.width_um, plan.height_um, plan.overlap))
    facts = ScanFacts(begun, SIZE, "jpeg", "", simulated=True, stack=slide.stack)
    with FieldSpool.create(slide.fields, fields, facts) as spool:
        for field in fields:
            if field.number % 200 == 0:
                print(f"{field.number} of {len(fields)} fields", file=sys.stderr, flush=True)
            stage.move(x_um=field.x_um, y_um=field.y_um)
            if slide.stack is None:
                spool.add(field.number, stage().pixels, is_lossless=False)
                continue
            _, planes = take_planes(stage, stage, slide.stack, stage())
            others = dict(enumerate(planes.pixels))
            spool.add(field.number, others.pop(slide.stack.middle), is_lossless=False, others=others)
            stage.move(z_um=planes.z_um)
    with create_session(folder / "s.db", {}):
        pass


def written(session: Path, slide: SlideOptions) -> tuple[dict[str, Any], dict[str, float], float]:
    """Write the slide by the command; what it prints, seconds, and MB of memory at most."""
    words = [sys.executable, "-c", _COMMAND, "slide", session, slide.path, "--fields", slide.fields, "--json"]
    began, before = time.monotonic(), _processor_s()
    done = subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)
    took = {"writing": time.monotonic() - began}
    took["writing, processor"] = _processor_s() - before
    if done.returncode:
        sys.exit(f"edgeleuk slide failed: {done.stderr}")
    return json.loads(done.stdout), took, int(done.stderr.split()[-1]) / 1024


def _processor_s() -> float:
    """Processor time of all programs that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def as_zarr(session: Path, slide: SlideOptions) -> dict[str, float]:
    """Write the same slide as OME-Zarr; seconds, MB of memory at most, bytes and files."""
    other = SlideOptions(slide.path.with_name("z.ome.zarr"), spool=slide.fields)
    _, took, most_mb = written(session, other)
    sizes = [path.stat().st_size for path in other.path.rglob("*") if path.is_file()]
    return {**took, "memory": most_mb, "bytes": sum(sizes), "files": len(sizes)}


def really_shown(microscope: VirtualMicroscope, spool: FieldSpool) -> tuple[dict[int, tuple[int, int]], int]:
    """Where the picture of each field really lies, px of the virtual slide, and how many came too late.

    A camera behind a busy network may send a picture that was taken before the stage moved: it shows the
    field before. The slide has to lay it where it belongs, which is held against here.
    """
    found: dict[int, tuple[int, int]] = {}
    late, before = 0, None
    for kept in spool.fields():
        corner = corner_of(microscope, kept.place.x_um, kept.place.y_um)
        seen = spool.picture(kept.place.number).astype(np.int16)
        shown = [one for one in (corner, before) if one is not None]
        off = [float(np.abs(seen - microscope.slide._slide(*one, *SIZE)).mean()) for one in shown]
        best = shown[int(np.argmin(off))]
        late += best != corner
        found[kept.place.number], before = best, corner
    return found, late


def places(shown: dict[int, tuple[int, int]], slide: Path) -> tuple[float, float, tuple[int, int]]:
    """Largest seam and largest error of a field's place, px; where the slide's corner is."""
    [annotation] = ome_types.from_tiff(slide).structured_annotations
    fields = [dict(field.attributes) for field in annotation.value.any_elements[0].children]
    off = np.array([[float(field[key]) for key in "XY"] for field in fields]) - [
        shown[int(field["Number"])] for field in fields
    ]
    at = {(int(field["Row"]), int(field["Column"])): n for n, field in enumerate(fields)}
    seams = [
        np.abs(off[n] - off[at[other]]).max()
        for (row, column), n in at.items()
        for other in ((row, column - 1), (row - 1, column))
        if other in at
    ]
    middle = np.median(off, axis=0)
    origin = (round(-float(middle[0])), round(-float(middle[1])))
    return float(max(seams)), float(np.hypot(*(off - middle).T).max()), origin


def cells_off(microscope: VirtualMicroscope, geojson: Path, origin: tuple[int, int]) -> list[float]:
    """How far the middle of each outline lies from that of the true cell, px."""
    found = []
    for cell in json.loads(geojson.read_bytes())["features"]:
        middle = shape(cell["geometry"]).centroid
        x_um, y_um = ((at + by) / PX_PER_UM for at, by in zip((middle.x, middle.y), origin, strict=True))
        truth = microscope.slide.field(x_um, y_um, width=400, height=400).truth
        found.append(min((float(np.hypot(one.x - 200, one.y - 200)) for one in truth), default=np.inf))
    return found


def main() -> int:
    """Scan, write, and judge."""
    parser = scan_options(__doc__, "1x1")
    parser.add_argument("--fields-only", action="store_true")
    parser.add_argument("--stack", type=parse_stack, help="PLANES@UM of each field, all kept: 5@0.8")
    options = parser.parse_args()
    plan, area = plan_of(options.area)
    cv2.setNumThreads(1)
    microscope = VirtualMicroscope(VirtualSlide(options.seed), STAND, *SIZE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide = SlideOptions(folder / "s.ome.tiff", keep_fields=True, stack=options.stack)
        seconds: dict[str, float] = {}
        if options.fields_only:
            fields_alone(microscope, plan, folder, slide)
        else:
            seconds = scanned(microscope, plan, folder, slide)
        facts, writing, most_mb = written(folder / "s.db", slide)
        seconds |= writing
        zarr = as_zarr(folder / "s.db", slide)
        with FieldSpool(slide.fields) as spool:
            shown, late = really_shown(microscope, spool)
        seam, field, origin = places(shown, slide.path)
        off = cells_off(microscope, slide.geojson, origin)
        sizes = {path.name: path.stat().st_size for path in (slide.path, slide.fields)}
    bars = {
        "seams <= 1 px": (seam, seam <= 1),
        "places of fields, and so of their cells, <= 2 px": (field, field <= 2),
        f"memory of the process <= {MOST_MB} MB": (most_mb, most_mb <= MOST_MB),
        f"the same for OME-Zarr <= {MOST_MB} MB": (zarr["memory"], zarr["memory"] <= MOST_MB),
    }
    if not options.fields_only:
        share = (seconds["keeping"] + seconds["writing"]) / seconds["scan"]
        bars[f"time of the scan's own <= {MOST_SHARE}"] = (share, share <= MOST_SHARE)
    result = {
        **area,
        "fields_only": options.fields_only,
        "slide": facts,
        "fields_shown_late": late,
        "bytes": sizes,
        "zarr": zarr,
        "seconds": seconds,
        "load": os.getloadavg()[0],
        # By the segmentation, which has its own idea of a cell's middle.
        "cells_off_px": {f"p{share}": float(np.percentile(off, share)) for share in (50, 95, 100)}
        if off
        else {},
    }
    return judged(result, bars)


if __name__ == "__main__":
    sys.exit(main())
