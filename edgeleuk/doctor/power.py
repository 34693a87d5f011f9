"""Checks of heat and of the supply: what makes a board slow, or lets it fall over."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeleuk.doctor.findings import counted, failure, ok, warning
from edgeleuk.io.kernel import SINCE_START, first_number, read_zones, throttled_bits, throttled_text

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.doctor.findings import Finding
    from edgeleuk.doctor.machine import Machine

# Where no zone tells its own limit: a Pi slows down from 80 degrees on, others from about 95.
PI_HOT_C, HOT_C = 80.0, 95.0
# What a Pi 5 was promised by its supply in mA; with less, all its USB ports get 600 mA together.
PI_5_SUPPLY_MA = 5000
_UNDER_VOLTAGE = 0
_SUPPLY = "use the supply that is made for this board, and a short, thick cable; unplug what draws much"
_COOL = "give it a heat sink or a fan, and air around its case"
# Drivers that name their usual way of working so.
_POWERSAVE_IS_USUAL = ("intel_pstate", "intel_cpufreq", "amd-pstate", "amd-pstate-epp")


def temperature(machine: Machine) -> list[Finding]:
    """Read the thermometers."""
    zones = read_zones(machine.root)
    if not zones:
        return [ok("temperature", "nothing here tells it")]
    usual = PI_HOT_C if machine.is_pi() else HOT_C
    hottest = max(zones, key=lambda zone: zone.celsius - (zone.slows_from or usual))
    limit = hottest.slows_from or usual
    text = f"{hottest.celsius:.0f} C at {hottest.name}; it slows down from {limit:.0f} C"
    if hottest.celsius >= limit:
        return [warning("temperature", text, _COOL)]
    return [ok("temperature", text)]


def supply(machine: Machine) -> list[Finding]:
    """Ask a Raspberry Pi whether its voltage fell, and a Jetson whether its current was cut."""
    said = machine.output("vcgencmd", "get_throttled")
    bits = throttled_bits(said or machine.text("sys/devices/platform/soc/soc:firmware/get_throttled"))
    alarmed = [
        path
        for path, name in machine.texts("sys/class/hwmon", "hwmon*/name").items()
        if name == "rpi_volt" and _beside(machine, path.parent, "in0_lcrit_alarm") == "1"
    ]
    if alarmed or (bits is not None and bits >> _UNDER_VOLTAGE & 1):
        return [
            failure(
                "supply",
                "the voltage is too low at this moment: pictures and sessions may be damaged",
                _SUPPLY,
            )
        ]
    told = any(re.search(r"[Uu]nder-?voltage detected", line) for line in machine.kernel_log() or ())
    if told or (bits is not None and bits >> _UNDER_VOLTAGE + SINCE_START & 1):
        return [warning("supply", "the voltage was too low since the start", _SUPPLY)]
    cut = {
        path.name.partition("_")[0]: int(count)
        for path, count in machine.texts("sys/class/hwmon", "hwmon*/oc*_event_cnt").items()
        if count.isdecimal() and int(count)
    }
    if cut:
        named = ", ".join(f"{name} {counted(count, 'time')}" for name, count in cut.items())
        text = f"the board was slowed down because it drew too much current ({named})"
        return [warning("supply", text, f"{_SUPPLY}; or choose a lower mode with `sudo nvpmodel -m`")]
    promised = machine.data("proc/device-tree/chosen/power/max_current")
    promised_ma = int.from_bytes(promised, "big") if len(promised) == 4 else None
    if promised_ma is not None and promised_ma < PI_5_SUPPLY_MA:
        text = f"the supply promises {promised_ma} mA: USB gets 600 mA in all, too little for some cameras"
        return [warning("supply", text, "use a supply of 5 V and 5 A, or a USB hub with a supply of its own")]
    if bits is None:
        return [ok("supply", "nothing here tells of it")]
    return [ok("supply", "the voltage held since the start")]


def throttling(machine: Machine) -> list[Finding]:
    """See whether the processor is, or was, slower than it can be."""
    bits = throttled_bits(
        machine.output("vcgencmd", "get_throttled")
        or machine.text("sys/devices/platform/soc/soc:firmware/get_throttled")
    )
    # Under-voltage has a line of its own.
    named = [word for word in throttled_text(bits or 0) if not word.startswith("under-voltage")]
    if named:
        return [warning("throttling", f"the processor: {', '.join(named)}", _COOL)]
    governors = machine.texts("sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_governor")
    slow = [
        path
        for path, governor in governors.items()
        if governor == "powersave"
        and _beside(machine, path.parent, "scaling_driver") not in _POWERSAVE_IS_USUAL
    ]
    if slow:
        text = f"{counted(len(slow), 'core')} kept at the lowest clock (governor powersave)"
        cure = "echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        return [warning("throttling", text, cure)]
    mode = re.search(r"NV Power Mode: *(\S+)", machine.output("nvpmodel", "-q") or "")
    return [ok("throttling", f"none; power mode {mode[1]}" if mode else "none that anything here tells of")]


def battery(machine: Machine) -> list[Finding]:
    """See whether a laptop is plugged in; there is no line where there is no battery."""
    for path, kind in machine.texts("sys/class/power_supply", "*/type").items():
        if kind != "Battery" or _beside(machine, path.parent, "scope") == "Device":
            continue
        status = _beside(machine, path.parent, "status") or "unknown"
        share = first_number(_beside(machine, path.parent, "capacity"), 0, 100)
        text = f"{status.lower()}" + ("" if share is None else f", {share:.0f} % full")
        if status == "Discharging":
            return [
                warning(
                    "battery", f"{text}: a run ends with it, and the clock is lower", "plug the supply in"
                )
            ]
        return [ok("battery", text)]
    return []


def _beside(machine: Machine, folder: Path, name: str) -> str | None:
    """Read a file of the same folder."""
    return machine.text(str((folder / name).relative_to(machine.root)))
