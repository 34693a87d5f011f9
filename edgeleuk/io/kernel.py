"""What the kernel tells of a machine in files below a root, of which none need be there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

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
class Zone:
    """One thermometer: its name, what it shows, and from where on the kernel slows down (degrees C)."""

    name: str
    celsius: float
    slows_from: float | None = None


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


def throttled_bits(said: str | None) -> int | None:
    """Read the bits of ``throttled=0x50005``, as vcgencmd says it, or of the kernel's ``50005``.

    Examples
    --------
    >>> throttled_bits("throttled=0x50005"), throttled_bits("50005"), throttled_bits("many")
    (327685, 327685, None)
    """
    with suppress(ValueError):
        bits = int((said or "").rpartition("=")[2].strip(), 16)
        if 0 <= bits < 1 << 32:
            return bits
    return None


def board_name(root: Path) -> str | None:
    """Return the name of the board, as the device tree or the firmware of a PC has it."""
    return first_text(
        root,
        "proc/device-tree/model",
        "sys/firmware/devicetree/base/model",
        "sys/devices/virtual/dmi/id/product_name",
        "sys/class/dmi/id/product_name",
    )


def kernel_text(path: Path) -> str | None:
    """Read a file of the kernel's; None where that cannot be done."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The device tree ends its strings with a zero.
    return text.replace("\0", "").strip() or None


def first_text(root: Path, *names: str) -> str | None:
    """Read the first of some files that is there and holds something."""
    return next((text for name in names if (text := kernel_text(root / name)) is not None), None)


def first_number(text: str | None, least: float, most: float) -> float | None:
    """Read the first word as a number; None if it is none, or none that can be."""
    with suppress(ValueError, IndexError):
        value = float((text or "").split()[0])
        if least <= value <= most:
            return value
    return None


def cpuinfo_values(root: Path, *keys: str) -> list[str]:
    """Return what ``/proc/cpuinfo`` has behind these keys, of each core."""
    lines = (kernel_text(root / "proc/cpuinfo") or "").splitlines()
    pairs = [line.partition(":") for line in lines]
    return [value.strip() for key in keys for name, _, value in pairs if name.strip() == key]


def cpu_name(root: Path) -> str | None:
    """Return the name of the first core's processor."""
    named = cpuinfo_values(root, "model name", "Model name", "Hardware")
    if named and named[0]:
        return named[0]
    implementer, part = (cpuinfo_values(root, key)[:1] for key in ("CPU implementer", "CPU part"))
    if not implementer or not part:
        return None
    known = ARM_PARTS.get(part[0].lower()) if implementer[0].lower() == ARM else None
    return known or f"implementer {implementer[0]}, part {part[0]}"


def int8_dot_product(root: Path) -> str | None:
    """Look it up among the first core's features; None where none are told."""
    told = cpuinfo_values(root, "flags", "Features")
    if not told:
        return None
    features = set(told[0].split())
    return next((name for name in DOT_PRODUCTS if name in features), NO_DOT_PRODUCT)


def memory_mb(root: Path, key: str = "MemTotal") -> int | None:
    """Read one size of ``/proc/meminfo`` in megabytes."""
    lines = (kernel_text(root / "proc/meminfo") or "").splitlines()
    kib = next((line.partition(":")[2] for line in lines if line.startswith(f"{key}:")), None)
    value = first_number(kib, 0, 1e12)
    return None if value is None else round(value * 1024 / 1e6)


def system_name(root: Path) -> str | None:
    """Return the name of the distribution."""
    lines = (kernel_text(root / "etc/os-release") or "").splitlines()
    return next(
        (line.partition("=")[2].strip('"') or None for line in lines if line.startswith("PRETTY_NAME=")), None
    )


def sorted_folders(parent: Path, pattern: str) -> list[Path]:
    """Return what is below a folder; nothing where it cannot be listed."""
    try:
        return sorted(parent.glob(pattern))
    except OSError:
        return []


def read_zones(root: Path) -> tuple[Zone, ...]:
    """Read the thermometers."""
    zones = []
    for folder in sorted_folders(root / "sys/class/thermal", "thermal_zone*"):
        # In thousandths. Zones that are switched off show 0 K, or numbers beyond any board.
        value = first_number(first_text(folder, "temp"), -60_000, 200_000)
        if value is None:
            continue
        trips = [
            limit / 1000
            for kind in sorted_folders(folder, "trip_point_*_type")
            if kernel_text(kind) == "passive"
            and (limit := first_number(kernel_text(kind.with_name(kind.name[:-4] + "temp")), 1, 200_000))
            is not None
        ]
        name = first_text(folder, "type") or folder.name
        zones.append(Zone(name, value / 1000, min(trips, default=None)))
    return tuple(zones)
