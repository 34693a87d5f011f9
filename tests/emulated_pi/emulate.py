"""The wheel on an emulated Raspberry Pi 4 and 5: does it run there, and does it say the same as here?

Builds arm64 roots of Debian bookworm and trixie, installs the wheel from the package index, runs
`edgeleuk verify` and `edgeleuk run` there, compares cells and tensors with this machine's, and counts
instructions by stage. Emulated times mean nothing, and none are given. Prints bars on standard error and JSON
on standard output; exits 3 when one is missed, 5 when something has to be installed first, 1 when a tool
fails.

    python tests/emulated_pi/emulate.py
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(REPOSITORY), str(HERE)]

from boards import BOARDS, PI_4, Board, disguise  # noqa: E402
from guest import ALONE, PX_PER_UM, judge  # noqa: E402
from roots import RELEASES, MissingToolError, Root, check_tools  # noqa: E402

from edgeleuk.virtual.render import VirtualSlide  # noqa: E402
from edgeleuk.vision.crops import crop_cell  # noqa: E402
from edgeleuk.vision.segmentation import segment  # noqa: E402

WORK = REPOSITORY / "runs" / "emulated_pi"
CAME_ON = "Created TensorFlow Lite XNNPACK delegate"
FIELDS = 4
# Bars: instructions of int8 to those of float32, LiteRT.
MOST_INT8 = {"A76": 0.40, "A72": 0.90}


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


def emulate(
    root: Root, board: Board, here: Any, cells: list[tuple[Any, ...]], plugin: bool
) -> dict[str, Any]:
    """Do everything on one board."""
    say(f"  {root.release} on {board.name}: self-test")
    disguise(root.path, board)
    verified = root.python(board.cpu, "-c", VERIFY)
    say(f"  {root.release} on {board.name}: main job")
    for file in (root.path / "root").glob("session.db*"):
        file.unlink()
    ran = root.python(board.cpu, "-m", "edgeleuk", *run_words("/material/fields", "/root/session.db"))
    say(f"  {root.release} on {board.name}: the same crops")
    root.python(board.cpu, "/material/guest.py", "judge", "/material/material.npz", "/root/judged.npz")
    there = dict(np.load(root.path / "root/judged.npz"))
    result = {
        "python": root.python(board.cpu, "-c", "import platform; print(platform.python_version())").strip(),
        "xnnpack": CAME_ON in verified and CAME_ON in ran,
        "self_test": [line.strip() for line in verified.splitlines() if line.startswith("  ")],
        "run": compare_runs(cells, recorded(root.path / "root/session.db")),
        "crops": compare(here, there),
    }
    if plugin:
        say(f"  {root.release} on {board.name}: instructions")
        result["instructions"] = count(root, board)
    return result


# `verify` ends with 3 where a network moved, which is a result here.
VERIFY = """
import sys
from edgeleuk.cli import main
sys.argv[1:] = ["verify", "default"]
try:
    main()
except SystemExit:
    pass
"""


def count(root: Root, board: Board) -> dict[str, Any]:
    """Count the instructions of each stage, one thread at work."""
    words = ("/material/guest.py", "count", "/material/material.npz", "/root/stages.json")
    root.python(board.cpu, *words, plugin=("-plugin", "file=/count.so,out=/root/marks"))
    stages = json.loads((root.path / "root/stages.json").read_text())
    names = stages["stages"]
    found: dict[str, int] = {}
    for line in (root.path / "root/marks").read_text().splitlines():
        number, instructions = (int(word) for word in line.split())
        if number:
            found[names[number]] = instructions
    ratios = {
        runtime: found[f"{runtime} int8"] / found[f"{runtime} float32"]
        for runtime in ("litert", ALONE, "onnxruntime")
        if f"{runtime} float32" in found
    }
    return {"cells": stages["cells"], "stages": found, "int8_to_float32": ratios}


def one_root(release: str, wheel: Path, here: Any, cells: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Build a root, and emulate both boards in it."""
    root = Root(release, WORK / f"{release}.root")
    say(f"  {release}: building the root")
    root.build()
    disguise(root.path, PI_4)
    say(f"  {release}: installing the wheel")
    root.install(wheel, PI_4.cpu)
    shutil.copytree(WORK / "material", root.path / "material", dirs_exist_ok=True)
    shutil.copy(HERE / "guest.py", root.path / "material")
    shutil.copy(WORK / "count.so", root.path)
    # Both Pythons run the same kernels: to count them once is enough.
    return {board.name: emulate(root, board, here, cells, release == RELEASES[0]) for board in BOARDS}


def bars_of(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Tell what was asked, and whether it was met."""
    bars: dict[str, dict[str, Any]] = {}
    for release, boards in results.items():
        for name, result in boards.items():
            run, crops = result["run"], result["crops"]
            differ = run["decisions_that_differ"] + crops["litert_int8"]["decisions_that_differ"]
            same = run["cells"][0] == run["cells"][1] > 0
            bars[f"{release} {name}: XNNPACK is on"] = {
                "measured": result["xnnpack"],
                "met": result["xnnpack"],
            }
            lines = result["self_test"]
            passed = len(lines) > 0 and all(line.startswith("ok ") for line in lines)
            bars[f"{release} {name}: self-test"] = {"measured": f"{len(lines)} checks", "met": passed}
            bars[f"{release} {name}: the same cells, no decision differs"] = {
                "measured": f"{run['cells'][1]} of {run['cells'][0]} cells, {differ} differ",
                "met": same and differ == 0,
            }
            steps = max(crops["input_steps"], crops["output_steps"])
            bars[f"{release} {name}: tensors within one step"] = {"measured": steps, "met": steps <= 1}
            if "instructions" in result:
                ratio = result["instructions"]["int8_to_float32"]["litert"]
                most = MOST_INT8[name]
                bars[f"{name}: instructions, int8 to float32 <= {most}"] = {
                    "measured": round(ratio, 3),
                    "met": ratio <= most,
                }
    return bars


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the instructions of each stage as Markdown."""
    counted = {name: result["instructions"] for name, result in results[RELEASES[0]].items()}
    lines = [
        f"| millions of instructions | {' | '.join(counted)} |",
        f"|---|{'---|' * len(counted)}",
    ]
    for stage in next(iter(counted.values()))["stages"]:
        values = " | ".join(f"{found['stages'][stage] / 1e6:.1f}" for found in counted.values())
        lines.append(f"| {stage} | {values} |")
    for runtime in ("litert", ALONE, "onnxruntime"):
        if all(runtime in found["int8_to_float32"] for found in counted.values()):
            values = " | ".join(f"{found['int8_to_float32'][runtime]:.2f}" for found in counted.values())
            lines.append(f"| {runtime.rstrip(',')}: int8 to float32 | {values} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--afresh", action="store_true", help="build the roots anew")
    asked = parser.parse_args()
    try:
        check_tools()
    except MissingToolError as error:
        say(f"error: {error}")
        return 5
    begun = time.monotonic()
    if asked.afresh:
        for release in RELEASES:
            shutil.rmtree(WORK / f"{release}.root", ignore_errors=True)
    say("material, wheel and plugin")
    make_material(WORK / "material")
    shutil.rmtree(WORK / "wheel", ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(WORK / "wheel"), str(REPOSITORY)],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = (WORK / "wheel").glob("*.whl")
    subprocess.run(
        [
            "gcc",
            "-O2",
            "-Wall",
            "-Wextra",
            "-shared",
            "-fPIC",
            "-o",
            str(WORK / "count.so"),
            str(HERE / "count.c"),
        ],
        check=True,
    )
    say("this machine")
    judge(np.load(WORK / "material/material.npz"), WORK / "here.npz")
    here = dict(np.load(WORK / "here.npz"))
    for file in WORK.glob("here.db*"):
        file.unlink()
    words = run_words(str(WORK / "material/fields"), str(WORK / "here.db"))
    subprocess.run(
        [sys.executable, "-m", "edgeleuk", *words], check=True, capture_output=True, cwd=REPOSITORY
    )
    cells = recorded(WORK / "here.db")
    with ThreadPoolExecutor(len(RELEASES)) as pool:
        jobs = {release: pool.submit(one_root, release, wheel, here, cells) for release in RELEASES}
        results = {release: job.result() for release, job in jobs.items()}
    bars = bars_of(results)
    whole = {
        "schema_version": 1,
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "results": results,
        "bars": bars,
    }
    (WORK / "result.json").write_text(json.dumps(whole, indent=1) + "\n")
    print(json.dumps(whole))
    say(table(results))
    for release, boards in results.items():
        for name, result in boards.items():
            for line in result["self_test"]:
                if not line.startswith("ok"):
                    say(f"note   {release} {name}: {line}")
    for name, bar in bars.items():
        say(f"{'met   ' if bar['met'] else 'MISSED'} {bar['measured']!s:>24}  {name}")
    say(f"{whole['minutes']} minutes")
    return 0 if all(bar["met"] for bar in bars.values()) else 3


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (subprocess.CalledProcessError, RuntimeError) as error:
        say(f"error: {error}")
        sys.exit(1)
