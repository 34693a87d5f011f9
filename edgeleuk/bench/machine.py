"""What machine this is and how it fares: read from files and commands, of which none need be there.

Every file is looked for below `root`, every command on ``PATH``. What has no source, or says what cannot be,
is None here and ``unavailable`` in what is printed.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from edgeleuk.bench.results import MachineFacts, StateFacts
from edgeleuk.version import __version__

ROOT = Path("/")
UNAVAILABLE = "unavailable"
# A command of a board that hangs must not hang us.
COMMAND_TIMEOUT_S = 3.0
PACKAGES = ("ai-edge-litert", "tflite-runtime", "onnxruntime", "numpy", "opencv-python-headless")
# Bits of `vcgencmd get_throttled`: what is so now; 16 higher, what was so since the board was started.
# Source: the Raspberry Pi documentation, "vcgencmd".
THROTTLED_BITS = {
    0: "under-voltage",
    1: "clock capped",
    2: "throttled",
    3: "soft temperature limit",
}
SINCE_START = 16
# What multiplies bytes and adds them in 32 bits in one step, as the kernel names it: x86, then arm64.
DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "asimddp")
NO_DOT_PRODUCT = "none"
SLOW_INT8 = "int8 is not faster here: no VNNI / dotprod"
# arm64 tells numbers alone. Source: Linux, arch/arm64/include/asm/cputype.h.
ARM = "0x41"
ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd42": "Cortex-A78AE",
}


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
class Zone:
    """One thermometer: its name, what it shows, and from where on the kernel slows down (degrees C)."""

    name: str
    celsius: float
    slows_from: float | None = None


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
        cpu=_cpu_name(root),
        board=_first(
            root,
            "proc/device-tree/model",
            "sys/firmware/devicetree/base/model",
            "sys/devices/virtual/dmi/id/product_name",
            "sys/class/dmi/id/product_name",
        ),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=_memory_mb(root),
        system=_system(root),
        kernel=platform.release(),
        python=platform.python_version(),
        power_mode=_power_mode(),
        packages={"edgeleuk": __version__} | _versions(),
        int8_dot_product=_int8_dot_product(root),
    )


def read_state(root: Path = ROOT) -> MachineState:
    """Read how the machine fares."""
    load = _number(_first(root, "proc/loadavg"), 0, 1e6)
    return MachineState(
        load_1min=load,
        zones=_zones(root),
        clocks_mhz=read_clocks(root),
        governors=tuple(
            dict.fromkeys(
                governor
                for folder in _cpufreq(root)
                if (governor := _first(folder, "scaling_governor")) is not None
            )
        ),
        throttled=_throttled(root),
        throttle_count=_throttle_count(root),
        tegrastats=_first_line(["tegrastats", "--interval", "200"]),
    )


def read_clocks(root: Path = ROOT) -> tuple[float, ...]:
    """Read the clock of each core in MHz; cheap enough to be asked in between."""
    khz = [_number(_first(folder, "scaling_cur_freq"), 1e3, 2e7) for folder in _cpufreq(root)]
    clocks = [value / 1000 for value in khz if value is not None]
    if not clocks:
        # x86 without cpufreq, as in a virtual machine.
        mhz = [_number(value, 1, 2e4) for value in _cpuinfo(root, "cpu MHz")]
        clocks = [value for value in mhz if value is not None]
    return tuple(clocks)


def read_cpu_time(root: Path = ROOT) -> CpuTime:
    """Read how busy the cores were since the machine was started, and this process with its children."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    words = (_text(root / "proc/stat") or "").partition("\n")[0].split()
    # cpu user nice system idle iowait irq softirq steal; what follows is in user already.
    ticks = [_number(word, 0, 1e18) for word in words[1:9]]
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


def throttled_text(bits: int) -> list[str]:
    """Name the bits of a Raspberry Pi's throttling.

    Examples
    --------
    >>> throttled_text(0x50005)
    ['under-voltage', 'throttled', 'under-voltage since the start', 'throttled since the start']
    """
    now = [name for bit, name in THROTTLED_BITS.items() if bits >> bit & 1]
    then = [
        f"{name} since the start" for bit, name in THROTTLED_BITS.items() if bits >> bit + SINCE_START & 1
    ]
    return now + then


def shown(values: dict[str, Any]) -> dict[str, Any]:
    """Put ``unavailable`` where there is None."""
    return {name: UNAVAILABLE if value is None else value for name, value in values.items()}


def machine_facts(machine: Machine) -> MachineFacts:
    """Return what is printed of a machine."""
    return msgspec.convert(shown(msgspec.to_builtins(machine)) | {"key": machine.key()}, MachineFacts)


def mean(values: tuple[float, ...]) -> float | None:
    """Return the mean, or None of nothing."""
    return round(math.fsum(values) / len(values), 1) if values else None


def _text(path: Path) -> str | None:
    """Read a file of the kernel's; None where that cannot be done."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The device tree ends its strings with a zero.
    return text.replace("\0", "").strip() or None


def _first(root: Path, *names: str) -> str | None:
    return next((text for name in names if (text := _text(root / name)) is not None), None)


def _number(text: str | None, least: float, most: float) -> float | None:
    """Read the first word as a number; None if it is none, or none that can be."""
    with suppress(ValueError, IndexError):
        value = float((text or "").split()[0])
        if least <= value <= most:
            return value
    return None


def _cpuinfo(root: Path, *keys: str) -> list[str]:
    lines = (_text(root / "proc/cpuinfo") or "").splitlines()
    pairs = [line.partition(":") for line in lines]
    return [value.strip() for key in keys for name, _, value in pairs if name.strip() == key]


def _cpu_name(root: Path) -> str | None:
    named = _cpuinfo(root, "model name", "Model name", "Hardware")
    if named and named[0]:
        return named[0]
    implementer, part = (_cpuinfo(root, key)[:1] for key in ("CPU implementer", "CPU part"))
    if not implementer or not part:
        return None
    known = ARM_PARTS.get(part[0].lower()) if implementer[0].lower() == ARM else None
    return known or f"implementer {implementer[0]}, part {part[0]}"


def _int8_dot_product(root: Path) -> str | None:
    """Look it up among the first core's features; None where none are told."""
    told = _cpuinfo(root, "flags", "Features")
    if not told:
        return None
    features = set(told[0].split())
    return next((name for name in DOT_PRODUCTS if name in features), NO_DOT_PRODUCT)


def _memory_mb(root: Path) -> int | None:
    lines = (_text(root / "proc/meminfo") or "").splitlines()
    kib = next((line.partition(":")[2] for line in lines if line.startswith("MemTotal:")), None)
    value = _number(kib, 1, 1e12)
    return None if value is None else round(value * 1024 / 1e6)


def _system(root: Path) -> str | None:
    lines = (_text(root / "etc/os-release") or "").splitlines()
    return next(
        (line.partition("=")[2].strip('"') or None for line in lines if line.startswith("PRETTY_NAME=")), None
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _folders(parent: Path, pattern: str) -> list[Path]:
    try:
        return sorted(parent.glob(pattern))
    except OSError:
        return []


def _cpufreq(root: Path) -> list[Path]:
    return _folders(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq")


def _zones(root: Path) -> tuple[Zone, ...]:
    zones = []
    for folder in _folders(root / "sys/class/thermal", "thermal_zone*"):
        # In thousandths. Zones that are switched off show 0 K, or numbers beyond any board.
        value = _number(_first(folder, "temp"), -60_000, 200_000)
        if value is None:
            continue
        trips = [
            limit / 1000
            for kind in _folders(folder, "trip_point_*_type")
            if _text(kind) == "passive"
            and (limit := _number(_text(kind.with_name(kind.name[:-4] + "temp")), 1, 200_000)) is not None
        ]
        name = _first(folder, "type") or folder.name
        zones.append(Zone(name, value / 1000, min(trips, default=None)))
    return tuple(zones)


def _throttle_count(root: Path) -> int | None:
    files = _folders(root / "sys/devices/system/cpu", "cpu[0-9]*/thermal_throttle/*_throttle_count")
    counts = [count for file in files if (count := _number(_text(file), 0, 1e18)) is not None]
    return int(math.fsum(counts)) if counts else None


def _throttled(root: Path) -> int | None:
    said = _output(["vcgencmd", "get_throttled"])
    text = (
        said.partition("=")[2]
        if said
        else _first(root, "sys/devices/platform/soc/soc:firmware/get_throttled")
    )
    with suppress(ValueError):
        bits = int((text or "").strip(), 16)
        if 0 <= bits < 1 << 32:
            return bits
    return None


def _power_mode() -> str | None:
    lines = (_output(["nvpmodel", "-q"]) or "").splitlines()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("NV Power Mode")]
    return named[0] or None if named else None


def _output(words: list[str]) -> str | None:
    """Run a command and return what it says; None where there is none, or it fails."""
    path = shutil.which(words[0])
    if path is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the board's own command, without anything of the user's
            [path, *words[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout.decode(errors="replace").strip() or None) if done.returncode == 0 else None


def _first_line(words: list[str]) -> str | None:
    """Return the first line of a command that goes on for ever."""
    path = shutil.which(words[0])
    if path is None:
        return None
    timeout = shutil.which("timeout")
    said: bytes | None = None
    try:
        done = subprocess.run(  # noqa: S603 - as above
            [*([timeout, "1"] if timeout else []), path, *words[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        said = done.stdout
    except subprocess.TimeoutExpired as late:
        said = late.stdout
    except OSError:
        return None
    lines = (said or b"").decode(errors="replace").splitlines()
    return next((line.strip() for line in lines if line.strip()), None)
