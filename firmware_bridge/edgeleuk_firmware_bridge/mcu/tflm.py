"""TFLite Micro on this machine, by the package `tflite-micro`: how large the arena is, what comes out.

It runs in a process of its own (`tflm_worker`): what it has to say it prints on standard error, and a network
that it does not like may end the process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.errors import CheckFailedError, extra_cure
from edgeleuk_firmware_bridge.mcu.memory import Arena, aligned

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE, MODULE = "tflite-micro", "tflite_micro"
WORKER = "edgeleuk_firmware_bridge.mcu.tflm_worker"
# Of a cell, on a slow machine.
TIMEOUT_S = 300
MODEL, INPUTS, OUTPUTS = "model.tflite", "inputs.bin", "outputs.bin"


def tool() -> str | None:
    """Return name and version of the package, or None where it is not installed."""
    if importlib.util.find_spec(MODULE) is None:
        return None
    return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"


def measured_arena(model: bytes, bound: Arena) -> Arena:
    """Let TFLite Micro lay a network out, and tell what it used.

    Parameters
    ----------
    model : bytes
    bound : Arena
        Twice as much is given, and a megabyte.

    Raises
    ------
    CheckFailedError
        TFLite Micro cannot take the network.
    """
    _, said = _work(model, [], 2 * bound.size_bytes + (1 << 20), outputs=0)
    total, head = (re.search(rf"Arena allocation {word} (\d+) bytes", said) for word in ("total", "head"))
    if not total or not head:
        raise CheckFailedError("TFLite Micro does not tell its arena", got=_last_line(said), cure=_CURE)
    return Arena(aligned(int(total[1])), int(head[1]), tool())


def outputs_of(
    model: bytes, inputs: Sequence[bytes], arena_bytes: int, sizes: Sequence[int]
) -> list[tuple[bytes, ...]]:
    """Run a network in an arena of a certain size.

    Parameters
    ----------
    model : bytes
    inputs : sequence of bytes
        A tensor each.
    arena_bytes : int
    sizes : sequence of int
        Bytes of each output.

    Returns
    -------
    list of tuple of bytes
        For each input, every output of the network.

    Raises
    ------
    CheckFailedError
        TFLite Micro cannot run it, or not within so little.
    """
    data, _ = _work(model, inputs, arena_bytes, outputs=len(sizes))
    found, start = [], 0
    for _ in inputs:
        row = []
        for size in sizes:
            row.append(data[start : start + size])
            start += size
        found.append(tuple(row))
    return found


def largest_steps(ours: bytes, theirs: bytes) -> int:
    """Return by how much int8 numbers differ at most.

    Examples
    --------
    >>> largest_steps(bytes([255, 3]), bytes([1, 3]))
    2
    """
    pairs = zip(memoryview(ours).cast("b"), memoryview(theirs).cast("b"), strict=True)
    return max((abs(our - their) for our, their in pairs), default=0)


_CURE = f"install the version of tflite-micro that edgeleuk asks for: {extra_cure('mcu')}"


def _work(model: bytes, inputs: Sequence[bytes], arena_bytes: int, *, outputs: int) -> tuple[bytes, str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / MODEL).write_bytes(model)
        (folder / INPUTS).write_bytes(b"".join(inputs))
        numbers = map(str, (arena_bytes, len(inputs), outputs))
        try:
            done = subprocess.run(  # noqa: S603 - ourselves
                [sys.executable, "-m", WORKER, name, *numbers],
                capture_output=True,
                check=False,
                # Whatever lies in the user's folder is no module.
                cwd=folder,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S * (len(inputs) + 1),
            )
        except subprocess.TimeoutExpired:
            raise CheckFailedError("TFLite Micro does not come to an end with this network") from None
        if done.returncode:
            raise CheckFailedError(
                "TFLite Micro cannot run this network",
                got=_last_line(done.stderr) if done.returncode > 0 else f"a crash, signal {-done.returncode}",
                cure="build it of plainer operations",
            )
        return (folder / OUTPUTS).read_bytes() if outputs else b"", done.stderr


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # The reason comes before what Python makes of it.
    reasons = [line for line in lines if not line.startswith(("Traceback", "File", "RuntimeError"))]
    return (reasons or lines or ["nothing"])[-1]
