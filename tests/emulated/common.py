"""What both emulations share: the material, what two machines say of it, and what was asked."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(REPOSITORY), str(HERE)]

from guest import PX_PER_UM, judge  # noqa: E402

from edgeleuk.labels.contents import CellEntry, PictureSource, Statement  # noqa: E402
from edgeleuk.labels.file import write_labels  # noqa: E402
from edgeleuk.labels.spool import Spool  # noqa: E402
from edgeleuk.virtual.cells import single_cell  # noqa: E402
from edgeleuk.virtual.render import VirtualSlide  # noqa: E402
from edgeleuk.vision.crops import crop_cell  # noqa: E402
from edgeleuk.vision.segmentation import segment  # noqa: E402

FIELDS = 4
# Of each class, dealt to slides: the least that `teach` takes, and a few more.
LABELLED, SLIDES = 24, 3


class MissingToolError(Exception):
    """Something is missing that has to be installed first."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def make_material(work: Path) -> None:
    """Draw fields and cut cells here: what differs then is what the emulated machine makes of them."""
    work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / "fields", ignore_errors=True)
    (work / "fields").mkdir()
    slide, found, crops, counted = VirtualSlide(seed=11, white_cells_per_field=4.0), 0, [], None
    for place in range(100):
        frame = slide.field(70.0 * place, 0.0)
        cells = [cell for cell in segment(frame.pixels, px_per_um=PX_PER_UM) if not cell.touches_border]
        bgr = cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR)
        if found < FIELDS:
            cv2.imwrite(str(work / "fields" / f"{found:02}.png"), bgr)
            crops += [crop_cell(frame.pixels, cell, PX_PER_UM) for cell in cells]
            found += 1
        if counted is None and len(cells) == 4:
            counted = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        if found == FIELDS and counted is not None:
            break
    arrays: dict[str, Any] = {"crops": len(crops), "jpeg": counted}
    for index, crop in enumerate(crops):
        arrays |= {f"pixels{index}": crop.pixels, f"mask{index}": crop.mask}
    np.savez(work / "material.npz", **arrays)
    make_labels(work / "lab.labels")


def make_labels(path: Path) -> None:
    """Label drawn cells, as a laboratory would its own."""
    path.unlink(missing_ok=True)
    with Spool() as spool:
        entries = []
        for number in range(2 * LABELLED):
            label = ("blast", "normal")[number % 2]
            cell = single_cell(label, 700 + number)
            said = Statement(at=datetime(2026, 3, 1, tzinfo=timezone.utc), by="A", label=label)
            source = PictureSource(path=f"drawn/{number}.png", sha256=f"{number:064x}")
            entries.append(
                CellEntry(
                    identity=spool.add(cell),
                    px_per_um=cell.px_per_um,
                    slide=f"S{number // 2 % SLIDES}",
                    sources=(source,),
                    statements=(said,),
                )
            )
        write_labels(path, entries, spool)


def teach_words(labels: str, out: str) -> list[str]:
    """Return the words that teach the shipped bundle; what it comes to is looked at, good or not."""
    fixed = ["--runtime", "litert", "--force", "--json"]
    return ["teach", "default", "--labels", labels, "--laboratory", "emulated", "--out", out, *fixed]


def compare_taught(here: dict[str, Any], there: dict[str, Any]) -> dict[str, Any]:
    """Compare what two machines were taught by the same labels."""
    pairs = list(zip(here["heads"], there["heads"], strict=True))
    return {
        "cells": there["cells"],
        "heads": [one["head"] for one in there["heads"]],
        "choices": [[one["choice"], other["choice"]] for one, other in pairs],
        "largest_difference": max(
            abs(one["after"]["value"] - other["after"]["value"]) for one, other in pairs
        ),
    }


def run_words(fields: str, session: str) -> list[str]:
    """Return the main job, as one would type it."""
    # An emulated processor cannot tell which runtime is the fastest.
    fixed = ["--px-per-um", f"{PX_PER_UM:g}", "--runtime", "litert"]
    return ["run", "--camera", f"dir://{fields}", *fixed, "--session", session]


def recorded(session: Path) -> list[tuple[Any, ...]]:
    """Return the cells of a session: track, frame, box, decision, probability."""
    with closing(sqlite3.connect(session)) as connection:
        query = "SELECT track, frame, x, y, w, h, decision, probability FROM cells ORDER BY track"
        return connection.execute(query).fetchall()


def compare(here: Any, there: Any) -> dict[str, Any]:
    """Compare what two machines say of the same crops."""
    found: dict[str, Any] = {"crops": len(here["tensors"])}
    inputs = np.abs(here["tensors"].astype(int) - there["tensors"])
    outputs = np.abs(here["raw"].astype(int) - there["raw"])
    found |= {"input_steps": int(inputs.max()), "output_steps": int(outputs.max())}
    found["outputs_that_differ"] = float((outputs > 0).mean())
    for key in (name for name in there if name.endswith("_decisions")):
        network = key.removesuffix("_decisions")
        found[network] = {
            "decisions_that_differ": int((here[key] != there[key]).sum()),
            "largest_difference": float(
                np.abs(here[f"{network}_probabilities"] - there[f"{network}_probabilities"]).max()
            ),
        }
    return found


def compare_runs(here: list[tuple[Any, ...]], there: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Compare the cells of two sessions over the same pictures."""
    boxes = [
        max(abs(a - b) for a, b in zip(one[2:6], two[2:6], strict=True))
        for one, two in zip(here, there, strict=False)
    ]
    return {
        "cells": [len(here), len(there)],
        "decisions_that_differ": sum(one[6] != two[6] for one, two in zip(here, there, strict=False)),
        "largest_difference": max(
            (abs(one[7] - two[7]) for one, two in zip(here, there, strict=False)), default=0.0
        ),
        "boxes_differ_by_px": max(boxes, default=0),
    }


def judge_here(work: Path) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Judge the material on this machine: what is said of the crops, and the cells of the main job."""
    judge(np.load(work / "material/material.npz"), work / "here.npz")
    for file in work.glob("here.db*"):
        file.unlink()
    words = run_words(str(work / "material/fields"), str(work / "here.db"))
    subprocess.run(
        [sys.executable, "-m", "edgeleuk", *words], check=True, capture_output=True, cwd=REPOSITORY
    )
    return dict(np.load(work / "here.npz")), recorded(work / "here.db")


def teach_here(work: Path) -> dict[str, Any]:
    """Teach the shipped bundle on this machine."""
    words = teach_words(str(work / "material/lab.labels"), str(work / "here.edgeleuk"))
    done = subprocess.run(
        [sys.executable, "-m", "edgeleuk", *words], check=True, capture_output=True, text=True, cwd=REPOSITORY
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def finish(work: Path, whole: dict[str, Any]) -> int:
    """Keep and print what was found; return the exit code."""
    (work / "result.json").write_text(json.dumps(whole, indent=1) + "\n")
    print(json.dumps(whole))
    for name, bar in whole["bars"].items():
        say(f"{'met   ' if bar['met'] else 'MISSED'} {bar['measured']!s:>24}  {name}")
    say(f"{whole['minutes']} minutes")
    return 0 if all(bar["met"] for bar in whole["bars"].values()) else 3
