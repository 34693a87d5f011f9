"""Checks of the board, the system, the memory, and the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.doctor.findings import counted, failure, ok, warning
from edgeleuk.io.kernel import board_name, cpu_name, cpuinfo_values, memory_mb, system_name

if TYPE_CHECKING:
    from edgeleuk.doctor.findings import Finding
    from edgeleuk.doctor.machine import Machine

# The wheels of OpenCV, of PyAV and of the runtimes are built for it: `manylinux_2_28`.
LEAST_GLIBC = (2, 28)
# What has wheels of all that the device needs.
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
ARCHITECTURES = ("aarch64", "x86_64")
# A run needs about 300 MB, the system of a board as much.
LEAST_MEMORY_MB = 900
LEAST_AVAILABLE_MB = 300
SOFTWARE_S = 20.0
_NEW_SYSTEM = "install the 64-bit Raspberry Pi OS, Debian 12 or Ubuntu 22.04, or later ones"
_SWAPPED = 0.5


def board(machine: Machine) -> list[Finding]:
    """Name the board and its processor."""
    cores = len(cpuinfo_values(machine.root, "processor"))
    counted = f", {cores} core{'s' * (cores != 1)}" if cores else ""
    name = board_name(machine.root) or ("a container" if machine.is_container() else "a board without a name")
    return [ok("board", f"{name}: {cpu_name(machine.root) or 'a processor without a name'}{counted}")]


def operating_system(machine: Machine) -> list[Finding]:
    """Hold system, C library and Python against the wheels that are needed."""
    found, error, _ = machine.probe("software", timeout_s=SOFTWARE_S)
    name = system_name(machine.root) or "a system without a name"
    if not found or "error" in found:
        reason = (found or {}).get("error") or error
        return [failure("system", f"{name}: its Python does not tell what it is: {reason}", _REINSTALL)]
    findings = [_system(name, found)]
    version = ".".join(found["python"].split(".")[:2])
    where = "in a virtual environment" if found["virtual_environment"] else "the system's own"
    if version in PYTHONS:
        findings.append(ok("python", f"{found['python']}, {where}"))
    else:
        text = f"{found['python']}: not all libraries have wheels for it, but for {', '.join(PYTHONS)}"
        findings.append(
            failure(
                "python", text, f"make an environment with Python {PYTHONS[1]} and install edgeleuk there"
            )
        )
    return findings


_REINSTALL = "make a new environment with `python3 -m venv .venv`, and install edgeleuk there"


def _system(name: str, found: dict[str, object]) -> Finding:
    architecture, bits = str(found["architecture"]), found["bits"]
    if bits != 64:
        text = f"{name}: its Python has {bits} bits, for which there are no wheels"
        return failure("system", text, _NEW_SYSTEM)
    if architecture not in ARCHITECTURES:
        text = f"{name}: there are no wheels for {architecture}, but for {' and '.join(ARCHITECTURES)}"
        return failure("system", text, "use a board with a 64-bit processor of ARM, Intel or AMD")
    glibc = found["glibc"]
    if not glibc:
        text = f"{name}: its C library is not glibc, for which the wheels are built"
        return failure("system", text, _NEW_SYSTEM)
    if tuple(int(part) for part in str(glibc).split(".")[:2]) < LEAST_GLIBC:
        text = f"{name}: its glibc {glibc} is older than the wheels need, which is 2.28"
        return failure("system", text, _NEW_SYSTEM)
    return ok("system", f"{name}, {architecture}, glibc {glibc}: there are wheels for it")


def memory(machine: Machine) -> list[Finding]:
    """Look whether a run has room."""
    total, available = (memory_mb(machine.root, key) for key in ("MemTotal", "MemAvailable"))
    if total is None:
        return [ok("memory", "the kernel does not tell it")]
    if total < LEAST_MEMORY_MB:
        text = f"{_size(total)} in all, of which a run and its system need {_size(LEAST_MEMORY_MB)}"
        return [warning("memory", text, "use a board with 1 GB or more, and no desktop on it")]
    if available is not None and available < LEAST_AVAILABLE_MB:
        text = f"{_size(available)} of {_size(total)} are free, and a run needs {_size(LEAST_AVAILABLE_MB)}"
        return [
            warning("memory", text, "close other programs: `ps aux --sort=-rss | head` names the largest")
        ]
    free = "" if available is None else f", {_size(available)} free"
    return [ok("memory", f"{_size(total)}{free}")]


def swap(machine: Machine) -> list[Finding]:
    """Look whether the machine has run out of memory before."""
    killed = [line for line in machine.kernel_log() or () if "Out of memory: Killed process" in line]
    if killed:
        text = f"the kernel ended {counted(len(killed), 'program')} for want of memory since the start"
        cure = (
            "`sudo dmesg | grep -i 'killed process'` names them; close other programs, or use a larger board"
        )
        return [warning("swap", text, cure)]
    total, free = (memory_mb(machine.root, key) for key in ("SwapTotal", "SwapFree"))
    if not total:
        return [ok("swap", "none: what does not fit into the memory ends, and wears no card")]
    used = total - (free or 0)
    if used > _SWAPPED * total:
        text = f"{_size(used)} of {_size(total)} are in use: that slows a run and wears a card"
        return [warning("swap", text, "close other programs, or use a board with more memory")]
    return [ok("swap", f"{_size(used)} of {_size(total)} in use")]


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
