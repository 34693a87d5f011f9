"""The wheel on an emulated Raspberry Pi 4 and 5: does it run there, and does it say the same as here?

Builds arm64 roots of Debian bookworm and trixie, installs the wheel from the package index, runs
`edgeleuk verify` and `edgeleuk run` there, compares cells and tensors with this machine's, and counts
instructions by stage. Emulated times mean nothing, and none are given. Prints bars on standard error and JSON
on standard output; exits 3 when one is missed, 5 when something has to be installed first, 1 when a tool
fails.

    python tests/emulated/pi.py
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from binfmt import arm64_programs  # noqa: E402
from boards import BOARDS, PI_4, Board, disguise  # noqa: E402
from common import (  # noqa: E402
    REPOSITORY,
    MissingToolError,
    compare,
    compare_runs,
    compare_taught,
    finish,
    judge_here,
    make_material,
    recorded,
    run_words,
    say,
    teach_here,
    teach_words,
)
from guest import ALONE  # noqa: E402
from roots import CAMERA_SITE, QEMU, RELEASES, Root, check_tools  # noqa: E402

WORK = REPOSITORY / "runs" / "emulated_pi"
RECIPE = REPOSITORY / "examples" / "raspberry_pi_os" / "00-edgeleuk"
CAME_ON = "Created TensorFlow Lite XNNPACK delegate"
# Bars: instructions of int8 to those of float32, LiteRT.
MOST_INT8 = {"A76": 0.40, "A72": 0.90}


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


# picamera2 lies beside the wheel, as with `--system-site-packages`.
LIST = """
import sys
sys.path.append("{site}")
from edgeleuk.cli.app import main
sys.argv[1:] = ["camera", "list", "--json"]
main()
"""


def camera_error(root: Root) -> str:
    """List the cameras with the real picamera2 installed, which does not load beside numpy 2."""
    say(f"  {root.release}: picamera2")
    root.install_camera_library(PI_4.cpu)
    said = root.python(PI_4.cpu, "-c", LIST.format(site=CAMERA_SITE))
    (camera,) = json.loads(said[said.index("{") :])["cameras"]
    return str(camera["error"])


# `verify` ends with 3 where a network moved, which is a result here.
VERIFY = """
import sys
from edgeleuk.cli.app import main
sys.argv[1:] = ["verify", "default"]
try:
    main()
except SystemExit:
    pass
"""


def taught(root: Root, here: dict[str, Any]) -> dict[str, Any]:
    """Teach the shipped bundle by the wheel alone, and let what comes of it pass its self-test."""
    say(f"  {root.release} on {PI_4.name}: teaching")
    out = "/root/lab.edgeleuk"
    (root.path / out.lstrip("/")).unlink(missing_ok=True)
    said = root.python(PI_4.cpu, "-m", "edgeleuk", *teach_words("/material/lab.labels", out))
    there, _ = json.JSONDecoder().raw_decode(said, said.index("{"))
    verified = root.python(PI_4.cpu, "-c", VERIFY.replace("default", out))
    lines = [line.strip() for line in verified.splitlines() if line.startswith("  ")]
    return compare_taught(here, there) | {"self_test": lines}


def image_made(root: Root, wheel: Path) -> dict[str, Any]:
    """Run the last step of the image's recipe, then what its unit starts, on a drawn slide."""
    say(f"  {root.release}: the image's recipe")
    share = root.path / "usr/local/share/edgeleuk"
    shutil.rmtree(share, ignore_errors=True)
    shutil.rmtree(root.path / "opt/edgeleuk", ignore_errors=True)
    share.mkdir(parents=True)
    shutil.copy(wheel, share)
    shutil.copy(RECIPE / "files" / "edgeleuk.toml", share)
    with arm64_programs(QEMU):
        root.script(PI_4.cpu, (RECIPE / "02-run-chroot.sh").read_text())
        unit = (root.path / "etc/systemd/system/edgeleuk.service").read_text()
        (start,) = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("ExecStart=")]
        config = 'camera = "virtual://?seed=7&width=640&height=480&frames=2"\nruntime = "litert"\n'
        (root.path / "root" / "service.toml").write_text(config)
        here = start.replace("/etc/edgeleuk/edgeleuk.toml", "/root/service.toml")
        said = root.script(
            PI_4.cpu, f"export STATE_DIRECTORY=/root/state; mkdir -p /root/state; {here} --json"
        )
    wanted = root.path / "etc/systemd/system/multi-user.target.wants/edgeleuk.service"
    counted = json.loads(said[said.index("{") : said.rindex("}") + 1])
    return {"enabled": wanted.is_symlink(), "cells": counted["cells"]["unique"], "starts": start}


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


def one_root(
    release: str, wheel: Path, here: Any, cells: list[tuple[Any, ...]], teaching: dict[str, Any]
) -> dict[str, Any]:
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
    found = {board.name: emulate(root, board, here, cells, release == RELEASES[0]) for board in BOARDS}
    found[PI_4.name]["teach"] = taught(root, teaching)
    if release == RELEASES[0]:
        found[PI_4.name]["camera_error"] = camera_error(root)
    else:
        found[PI_4.name]["image"] = image_made(root, wheel)
    return found


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
            if "teach" in result:
                teaching = result["teach"]
                passed = bool(teaching["self_test"]) and all(
                    line.startswith("ok ") for line in teaching["self_test"]
                )
                bars[f"{release} {name}: `teach` runs, as here within .03"] = {
                    "measured": f"{teaching['cells']} cells, {teaching['largest_difference']:.3f}",
                    "met": passed and teaching["largest_difference"] <= 0.03,
                }
            if "camera_error" in result:
                error = result["camera_error"]
                met = "numpy.dtype size changed" in error and "simplejpeg>=1.9" in error
                bars[f"{release}: a picamera2 that does not load is named, with the cure"] = {
                    "measured": error,
                    "met": met,
                }
            if "image" in result:
                image = result["image"]
                bars[f"{release}: the image's recipe runs, and what its unit starts counts cells"] = {
                    "measured": image["cells"],
                    "met": image["enabled"] and image["cells"] > 0,
                }
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
    here, cells = judge_here(WORK)
    teaching = teach_here(WORK)
    with ThreadPoolExecutor(len(RELEASES)) as pool:
        jobs = {release: pool.submit(one_root, release, wheel, here, cells, teaching) for release in RELEASES}
        results = {release: job.result() for release, job in jobs.items()}
    say(table(results))
    for release, boards in results.items():
        for name, result in boards.items():
            for line in result["self_test"]:
                if not line.startswith("ok"):
                    say(f"note   {release} {name}: {line}")
    whole = {
        "schema_version": 1,
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "results": results,
        "bars": bars_of(results),
    }
    return finish(WORK, whole)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (subprocess.CalledProcessError, RuntimeError) as error:
        say(f"error: {error}")
        sys.exit(1)
