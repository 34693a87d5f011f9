"""What machine this is and how it fares: read from files and commands, of which none need be there.

Every file is looked for below `root`, every command on ``PATH``. What has no source, or says what cannot be,
is None here and ``unavailable`` in what is printed.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from edgeleuk.bench.results import MachineFacts, StateFacts
from edgeleuk.io.kernel import (
    Zone,
    board_name,
    cpu_name,
    cpuinfo_values,
    first_number,
    first_text,
    int8_dot_product,
    kernel_text,
    memory_mb,
    read_zones,
    sorted_folders,
    system_name,
    throttled_bits,
    throttled_text,
)
from edgeleuk.io.programs import run_program
from edgeleuk.version import __version__

ROOT = Path("/")
UNAVAILABLE = "unavailable"
# A command of a board that hangs must not hang us.
COMMAND_TIMEOUT_S = 3.0
FIRST_LINE_S = 1.0
PACKAGES = (
    "ai-edge-litert",
    "tflite-runtime",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "numpy",
    "opencv-python-headless",
)
SLOW_INT8 = "int8 is not faster here: no VNNI / dotprod"


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change while it is measured.

    Attributes
    ----------
    cpu, board : str or None
        Names, as the kernel has them.
    architecture : str
    cores : int
        That this process may use.
    memory_mb : int or None
    system : str or None
        Of the distribution.
    kernel, python : str
    power_mode : str or None
        Of a Jetson (``nvpmodel``).
    packages : dict of str to str
        Versions of what figures hang on.
    int8_dot_product : str or None
        Which of `DOT_PRODUCTS` the processor has, or `NO_DOT_PRODUCT`.
    """

    cpu: str | None
    board: str | None
    architecture: str
    cores: int
    memory_mb: int | None
    system: str | None
    kernel: str
    python: str
    power_mode: str | None
    packages: dict[str, str]
    int8_dot_product: str | None = None

    def key(self) -> str:
        """Tell machines apart, and the same one with other packages: 16 hex digits."""
        parts = (
            self.cpu,
            self.board,
            self.architecture,
            self.cores,
            self.power_mode,
            self.packages,
            # A hypervisor may hide it of one and the same processor.
            self.int8_dot_product,
        )
        return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class MachineState:
    """How the machine fares at one moment.

    Attributes
    ----------
    load_1min : float or None
    zones : tuple of Zone
    clocks_mhz : tuple of float
        Of each core that tells.
    governors : tuple of str
        Each once.
    throttled : int or None
        Bits as in `THROTTLED_BITS`.
    throttle_count : int or None
        How often an x86 core was slowed down since the start.
    tegrastats : str or None
        A line of it, on a Jetson.
    """

    load_1min: float | None = None
    zones: tuple[Zone, ...] = ()
    clocks_mhz: tuple[float, ...] = ()
    governors: tuple[str, ...] = ()
    throttled: int | None = None
    throttle_count: int | None = None
    tegrastats: str | None = None

    def printed(self) -> StateFacts:
        """Return what is printed; what has no source is ``unavailable``."""
        temperature = max((zone.celsius for zone in self.zones), default=None)
        bits = None if self.throttled is None else throttled_text(self.throttled)
        return msgspec.convert(
            shown(
                {
                    "load_1min": self.load_1min,
                    "temperature_c": temperature,
                    "zones": {zone.name: zone.celsius for zone in self.zones} or None,
                    "clock_mhz": mean(self.clocks_mhz),
                    "clocks_mhz": self.clocks_mhz or None,
                    "governor": ", ".join(self.governors) or None,
                    "throttled": None if self.throttled is None else hex(self.throttled),
                    "throttled_bits": bits,
                    "throttle_count": self.throttle_count,
                    "tegrastats": self.tegrastats,
                }
            ),
            StateFacts,
        )


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds that the cores of a machine, and this process with its children, were busy so far.

    Attributes
    ----------
    busy_s, total_s : float
        Of all cores together; None where the kernel does not tell.
    own_s : float
    """

    busy_s: float | None
    total_s: float | None
    own_s: float


def read_machine(root: Path = ROOT) -> Machine:
    """Read what machine this is."""
    return Machine(
        cpu=cpu_name(root),
        board=board_name(root),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=memory_mb(root),
        system=system_name(root),
        kernel=platform.release(),
        python=platform.python_version(),
        power_mode=_power_mode(),
        packages={"edgeleuk": __version__} | _versions(),
        int8_dot_product=int8_dot_product(root),
    )


def read_state(root: Path = ROOT) -> MachineState:
    """Read how the machine fares."""
    load = first_number(first_text(root, "proc/loadavg"), 0, 1e6)
    return MachineState(
        load_1min=load,
        zones=read_zones(root),
        clocks_mhz=read_clocks(root),
        governors=tuple(
            dict.fromkeys(
                governor
                for folder in _cpufreq(root)
                if (governor := first_text(folder, "scaling_governor")) is not None
            )
        ),
        throttled=_throttled(root),
        throttle_count=_throttle_count(root),
        tegrastats=_first_line(["tegrastats", "--interval", "200"]),
    )


def read_clocks(root: Path = ROOT) -> tuple[float, ...]:
    """Read the clock of each core in MHz; cheap enough to be asked in between."""
    khz = [first_number(first_text(folder, "scaling_cur_freq"), 1e3, 2e7) for folder in _cpufreq(root)]
    clocks = [value / 1000 for value in khz if value is not None]
    if not clocks:
        # x86 without cpufreq, as in a virtual machine.
        mhz = [first_number(value, 1, 2e4) for value in cpuinfo_values(root, "cpu MHz")]
        clocks = [value for value in mhz if value is not None]
    return tuple(clocks)


def read_cpu_time(root: Path = ROOT) -> CpuTime:
    """Read how busy the cores were since the machine was started, and this process with its children."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    words = (kernel_text(root / "proc/stat") or "").partition("\n")[0].split()
    # cpu user nice system idle iowait irq softirq steal; what follows is in user already.
    ticks = [first_number(word, 0, 1e18) for word in words[1:9]]
    known = [tick for tick in ticks if tick is not None]
    if words[:1] != ["cpu"] or len(known) < len(ticks) or len(known) < 4:
        return CpuTime(None, None, own)
    hertz = os.sysconf("SC_CLK_TCK")
    total = math.fsum(known)
    return CpuTime((total - math.fsum(known[3:5])) / hertz, total / hertz, own)


def others_share(before: CpuTime, after: CpuTime) -> float | None:
    """Return the share of the machine's cores that others used in between, 0 to 1.

    None where the kernel does not tell, or no time has passed. What a hypervisor gave to other machines
    counts as used by others.
    """
    if before.total_s is None or after.total_s is None or before.busy_s is None or after.busy_s is None:
        return None
    total = after.total_s - before.total_s
    if total <= 0:
        return None
    others = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return min(max(others / total, 0.0), 1.0)


def shown(values: dict[str, Any]) -> dict[str, Any]:
    """Put ``unavailable`` where there is None."""
    return {name: UNAVAILABLE if value is None else value for name, value in values.items()}


def machine_facts(machine: Machine) -> MachineFacts:
    """Return what is printed of a machine."""
    return msgspec.convert(shown(msgspec.to_builtins(machine)) | {"key": machine.key()}, MachineFacts)


def mean(values: tuple[float, ...]) -> float | None:
    """Return the mean, or None of nothing."""
    return round(math.fsum(values) / len(values), 1) if values else None


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _cpufreq(root: Path) -> list[Path]:
    return sorted_folders(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq")


def _throttle_count(root: Path) -> int | None:
    files = sorted_folders(root / "sys/devices/system/cpu", "cpu[0-9]*/thermal_throttle/*_throttle_count")
    counts = [count for file in files if (count := first_number(kernel_text(file), 0, 1e18)) is not None]
    return int(math.fsum(counts)) if counts else None


def _throttled(root: Path) -> int | None:
    said = _output(["vcgencmd", "get_throttled"])
    return throttled_bits(said or first_text(root, "sys/devices/platform/soc/soc:firmware/get_throttled"))


def _power_mode() -> str | None:
    lines = (_output(["nvpmodel", "-q"]) or "").splitlines()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("NV Power Mode")]
    return named[0] or None if named else None


def _output(words: list[str]) -> str | None:
    """Run a command and return what it says; None where there is none, or it fails."""
    said = run_program(words, COMMAND_TIMEOUT_S)
    return (said.out.strip() or None) if said and said.code == 0 else None


def _first_line(words: list[str]) -> str | None:
    """Return the first line of a command that goes on for ever."""
    said = run_program(words, FIRST_LINE_S)
    return next((line.strip() for line in said.out.splitlines() if line.strip()), None) if said else None
