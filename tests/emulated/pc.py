"""The product on emulated PCs without fast int8: does it say there what it says here?

Runs this very environment under QEMU, on a Haswell (AVX2, no VNNI) and a Nehalem (SSE4.2): `edgeleuk verify`,
the main job, cells, and the int8 ONNX network against the bundle's stored answers. Works on any x86-64
machine; on one with VNNI it shows what most others see. Emulated times mean nothing, and none are given. It
prints bars on standard error and JSON on standard output; it exits 3 when one is missed, 5 when something has
to be installed first, 1 when a tool fails.

    python tests/emulated/pc.py
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from common import (  # noqa: E402
    REPOSITORY,
    MissingToolError,
    compare,
    compare_runs,
    finish,
    judge_here,
    make_material,
    recorded,
    run_words,
    say,
)
from guest import exact  # noqa: E402

WORK = REPOSITORY / "runs" / "emulated_pc"
QEMU = "qemu-x86_64"
# AVX2 came to it with this one; before, a Haswell runs the kernels of a Nehalem.
LEAST_QEMU = (7, 2)
MOST_MOVED = 0.001  # of a correlation


class Processor(NamedTuple):
    """A processor to emulate.

    Attributes
    ----------
    cpu : str
        QEMU's name.
    what : str
        What it is here for.
    saturates : bool
        Whether sums saturate there that are not asked to be exact. Without AVX2 there are other kernels, that
        do not, but round otherwise: the self-test allows for that.
    """

    cpu: str
    what: str
    saturates: bool


PROCESSORS = (Processor("Haswell", "AVX2, no VNNI", True), Processor("Nehalem", "SSE4.2", False))


def check_tools() -> None:
    """Tell what is missing, and what brings it."""
    if platform.machine() != "x86_64":
        raise MissingToolError(f"this environment is of {platform.machine()}, and no PC's: run it on x86-64")
    if shutil.which(QEMU) is None:
        raise MissingToolError(f"{QEMU} not found: install with `apt-get install qemu-user`")
    said = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    version = said.partition("version ")[2].split(" ")[0].split(".")[:2]
    if tuple(int(part) for part in version if part.isdigit()) < LEAST_QEMU:
        raise MissingToolError(f"QEMU {'.'.join(version)} emulates no AVX2: use 7.2 or newer, as of bookworm")


def python(processor: Processor, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    """Run this Python on a processor; return its standard output.

    Raises
    ------
    RuntimeError
        It ended with another code than one of `codes`; the message has what it said.
    """
    done = subprocess.run(
        [QEMU, "-cpu", processor.cpu, sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    if done.returncode not in codes:
        lines = (done.stdout + done.stderr).strip().splitlines()
        # What QEMU leaves out of a processor, it says of each process.
        said = [line for line in lines if "TCG doesn't support" not in line]
        raise RuntimeError(
            f"{processor.cpu}: {' '.join(arguments)} ended with {done.returncode}: " + "\n".join(said[-12:])
        )
    return done.stdout


def emulate(processor: Processor, here: Any, cells: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Do everything on one processor."""
    folder = WORK / processor.cpu
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    material = str(WORK / "material/material.npz")
    say(f"  {processor.cpu}: self-test")
    # It ends with 3 where a network moved, which is a result here.
    verified = json.loads(python(processor, "-m", "edgeleuk", "verify", "default", "--json", codes=(0, 3)))
    say(f"  {processor.cpu}: the int8 ONNX network")
    python(processor, str(HERE / "guest.py"), "exact", material, str(folder / "exact.npz"))
    # Floats are emulated one by one: the self-test has to do for those networks.
    say(f"  {processor.cpu}: the same crops")
    python(processor, str(HERE / "guest.py"), "judge", material, str(folder / "judged.npz"), "int8")
    say(f"  {processor.cpu}: main job")
    words = run_words(str(WORK / "material/fields"), str(folder / "session.db"))
    python(processor, "-m", "edgeleuk", *words)
    return {
        "saturates": processor.saturates,
        "self_test": verified["results"],
        "onnx": compare_exact(np.load(WORK / "exact.npz"), np.load(folder / "exact.npz")),
        "crops": compare(here, dict(np.load(folder / "judged.npz"))),
        "run": compare_runs(cells, recorded(folder / "session.db")),
    }


def compare_exact(here: Any, there: Any) -> dict[str, float]:
    """Compare the int8 ONNX network with what is stored, and how it agrees with the float one."""
    return {
        "from_stored": largest(there["int8"], there["stored"]),
        "inexact_from_stored": largest(there["inexact"], there["stored"]),
        "correlation_here": correlation(here),
        "correlation": correlation(there),
    }


def largest(one: Any, other: Any) -> float:
    """Return the largest difference."""
    return float(np.abs(one - other).max())


def correlation(found: Any) -> float:
    """Return how the int8 network's answers go with the float one's."""
    return float(np.corrcoef(found["int8"][:, -1], found["float32"][:, -1])[0, 1])


def bars_of(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Tell what was asked, and whether it was met."""
    bars: dict[str, dict[str, Any]] = {}
    for name, result in results.items():
        tests, run, crops, onnx = (result[key] for key in ("self_test", "run", "crops", "onnx"))
        moved = [test["model"] for test in tests if test["status"] != "ok"]
        bars[f"{name}: self-test"] = {
            "measured": ", ".join(moved) or f"{len(tests)} checks",
            "met": bool(tests) and not moved,
        }
        if result["saturates"]:
            bars[f"{name}: int8 ONNX against the stored answers, 0"] = {
                "measured": onnx["from_stored"],
                "met": onnx["from_stored"] == 0,
            }
            # Else the processor is not what it should be, and the bar above says nothing.
            bars[f"{name}: it differs where sums are not asked to be exact"] = {
                "measured": round(onnx["inexact_from_stored"], 4),
                "met": onnx["inexact_from_stored"] > 0,
            }
        else:
            bars[f"{name}: int8 ONNX, asked to be exact or not: one answer"] = {
                "measured": f"{onnx['from_stored']:.4f} from the stored ones",
                "met": onnx["from_stored"] == onnx["inexact_from_stored"],
            }
        bars[f"{name}: correlation of int8 with float, within .001"] = {
            "measured": f"{onnx['correlation']:.6f}, {onnx['correlation_here']:.6f} here",
            "met": abs(onnx["correlation"] - onnx["correlation_here"]) <= MOST_MOVED,
        }
        networks = [value for value in crops.values() if isinstance(value, dict)]
        differ = run["decisions_that_differ"] + sum(one["decisions_that_differ"] for one in networks)
        bars[f"{name}: the same cells, no decision differs"] = {
            "measured": f"{run['cells'][1]} of {run['cells'][0]} cells, {differ} differ",
            "met": run["cells"][0] == run["cells"][1] > 0 and differ == 0,
        }
        bars[f"{name}: input tensors are the same"] = {
            "measured": crops["input_steps"],
            "met": crops["input_steps"] == 0,
        }
    return bars


def main() -> int:
    try:
        check_tools()
    except MissingToolError as error:
        say(f"error: {error}")
        return 5
    begun = time.monotonic()
    say("material")
    make_material(WORK / "material")
    say("this machine")
    here, cells = judge_here(WORK)
    exact(np.load(WORK / "material/material.npz"), WORK / "exact.npz")
    with ThreadPoolExecutor(len(PROCESSORS)) as pool:
        jobs = {processor: pool.submit(emulate, processor, here, cells) for processor in PROCESSORS}
        results = {f"{one.cpu} ({one.what})": job.result() for one, job in jobs.items()}
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
