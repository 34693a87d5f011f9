"""What Arm's compiler Vela makes of a network for an Ethos-U: memory, cycles, what it leaves."""

from __future__ import annotations

import csv
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgeleuk.errors import CheckFailedError, MissingDependencyError, UsageError, extra_cure

MODULE, PROGRAM = "ethosu", "vela"
ACCELERATORS = (
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512",
    "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048",
)  # fmt: skip
TIMEOUT_S = 600
KIB = 1024


@dataclass(frozen=True, slots=True)
class VelaReport:
    """What Vela says, under its own default system and memory mode.

    Attributes
    ----------
    accelerator : str
    system, memory_mode : str
        Vela's names.
    sram_bytes, flash_bytes : int
        Of the compiled network.
    npu_operators, cpu_operators : int
        After Vela has fused and removed what it can.
    cpu_reasons : tuple of str
        Kinds of operations of the file that the NPU does not take.
    cycles : int
        Of one inference, estimated.
    inference_s : float
        The same, at the system's clock.
    """

    accelerator: str
    system: str
    memory_mode: str
    sram_bytes: int
    flash_bytes: int
    npu_operators: int
    cpu_operators: int
    cpu_reasons: tuple[str, ...]
    cycles: int
    inference_s: float


def vela_report(model: bytes, accelerator: str) -> VelaReport:
    """Compile a network with Vela, and return its report.

    Parameters
    ----------
    model : bytes
    accelerator : str
        One of `ACCELERATORS`.

    Raises
    ------
    UsageError
        There is no such accelerator.
    MissingDependencyError
        Vela is neither installed nor found as a program.
    CheckFailedError
        Vela cannot compile the network.
    """
    if accelerator not in ACCELERATORS:
        raise UsageError("there is no such Ethos-U", got=repr(accelerator), allowed=", ".join(ACCELERATORS))
    command = _command()
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "network.tflite"
        file.write_bytes(model)
        words = [*command, str(file), "--accelerator-config", accelerator, "--output-dir", name]
        try:
            done = subprocess.run(  # noqa: S603 - Vela, of the packages or of the path
                words, capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise CheckFailedError("Vela does not come to an end with this network") from None
        summaries = sorted(Path(name).glob("network_summary_*.csv"))
        if done.returncode or not summaries:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise CheckFailedError(
                "Vela cannot compile this network", got=said, cure="look at it with the program `vela` itself"
            )
        with summaries[0].open(newline="") as rows:
            row = next(csv.DictReader(rows))
    return _report(accelerator, row, done.stdout)


def _command() -> list[str]:
    if importlib.util.find_spec(MODULE) is not None:
        return [sys.executable, "-m", "ethosu.vela"]
    if program := shutil.which(PROGRAM):
        return [program]
    raise MissingDependencyError("Vela is not installed", cure=extra_cure("vela"))


def _report(accelerator: str, row: dict[str, str], said: str) -> VelaReport:
    counts = {
        unit: int(found[1])
        for unit in ("CPU", "NPU")
        if (found := re.search(rf"{unit} operators = (\d+)", said))
    }
    reasons = re.findall(r"operator: (\w+)", said)
    return VelaReport(
        accelerator,
        row["system_config"],
        row["memory_mode"],
        round(float(row["sram_memory_used"]) * KIB),
        round((float(row["on_chip_flash_memory_used"]) + float(row["off_chip_flash_memory_used"])) * KIB),
        counts.get("NPU", 0),
        counts.get("CPU", 0),
        tuple(dict.fromkeys(reasons)),
        int(row["cycles_total"]),
        float(row["inference_time"]),
    )
