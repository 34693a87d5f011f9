"""Checks of clock, time zone and language: what results and file names hang on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.doctor.findings import failure, ok, warning
from edgeleuk.io.clock import CLOCK_SET_S
from edgeleuk.io.kernel import first_number

if TYPE_CHECKING:
    from edgeleuk.doctor.findings import Finding
    from edgeleuk.doctor.machine import Machine

_APART_S = 300.0
_LATEST_S = 2.0**40
_SYNC = "sudo timedatectl set-ntp true; without a network, `sudo timedatectl set-time 'YYYY-MM-DD hh:mm'`"
_BATTERY = "add a clock with a battery (RTC), or let the board see a time server at every start"


def clock(machine: Machine) -> list[Finding]:
    """See whether the time is right."""
    now_s = first_number(machine.output("date", "+%s"), 0, _LATEST_S)
    if now_s is not None and now_s < CLOCK_SET_S:
        text = "it stands before 2025: the order of results and the age of a session would be wrong"
        return [failure("clock", text, _SYNC)]
    synchronised = _timedate(machine).get("NTPSynchronized")
    if synchronised == "yes":
        return [ok("clock", "set by a time server")]
    if synchronised == "no":
        return [warning("clock", "no time server has set it since the start", _SYNC)]
    if machine.is_container():
        return [ok("clock", "the host's, which this container cannot ask")]
    return [ok("clock", "nothing here tells whether a time server sets it")]


def own_clock(machine: Machine) -> list[Finding]:
    """See whether the board knows the time after a power cut, without a network."""
    if machine.is_container():
        return []
    clocks = machine.texts("sys/class/rtc", "rtc[0-9]*/since_epoch")
    settings = _timedate(machine)
    synchronised = settings.get("NTPSynchronized") == "yes"
    if not clocks:
        text = "the board has no clock of its own (RTC): after a power cut it needs a time server"
        return [ok("own clock", text) if synchronised else warning("own clock", text, _BATTERY)]
    if settings.get("LocalRTC") == "yes":
        text = "the board's own clock runs in local time, which jumps twice a year"
        return [warning("own clock", text, "sudo timedatectl set-local-rtc 0")]
    now_s = first_number(machine.output("date", "+%s"), 0, _LATEST_S)
    for path, said in clocks.items():
        own_s = first_number(said, 0, _LATEST_S)
        off_s = 0.0 if own_s is None or now_s is None else abs(own_s - now_s)
        if synchronised and off_s > _APART_S:
            text = f"{machine.shown(path.parent)} is {off_s / 3600:.1f} hours off: its battery may be empty"
            cure = "sudo hwclock --systohc; if it is off again after a power cut, change its battery"
            return [warning("own clock", text, cure)]
    text = f"{machine.shown(next(iter(clocks)).parent)} keeps the time without a network"
    return [ok("own clock", text + ", if it has a battery" * machine.is_pi())]


def time_zone(machine: Machine) -> list[Finding]:
    """See whether local times are those of a place."""
    named = machine.environ.get("TZ", "").lstrip(":")
    if named and "/" in named and not (machine.root / "usr/share/zoneinfo" / named).exists():
        text = f"TZ is {named}, which this machine does not know: times are shown in UTC"
        return [
            warning("time zone", text, "sudo apt install tzdata, or correct TZ: `timedatectl list-timezones`")
        ]
    zone = named or _timedate(machine).get("Timezone") or machine.text("etc/timezone")
    if zone in (None, "", "n/a", "Factory"):
        localtime = machine.root / "etc/localtime"
        if localtime.is_symlink() and not localtime.exists():
            text = "/etc/localtime points to nothing: times are shown in UTC"
            return [
                warning("time zone", text, "sudo timedatectl set-timezone Europe/Berlin, or your own place")
            ]
        return [ok("time zone", "none is set, so it is UTC")]
    return [ok("time zone", str(zone))]


def language(machine: Machine) -> list[Finding]:
    """See whether names with letters of any language can be shown."""
    said = machine.said("locale")
    chosen = next(
        (value for key in ("LC_ALL", "LC_CTYPE", "LANG") if (value := machine.environ.get(key))), ""
    )
    if said is not None and "Cannot set LC_" in said.error:
        text = f"{chosen or 'the language that is set'} is not on this machine, so another is used"
        name = chosen if "." in chosen else "en_GB.UTF-8"
        return [warning("language", text, f"sudo locale-gen {name}, or sudo dpkg-reconfigure locales")]
    if chosen in {"", "C", "POSIX"}:
        return [ok("language", "none is set; Python takes UTF-8")]
    charmap = machine.output("locale", "charmap")
    if charmap is not None and charmap.upper().replace("-", "") != "UTF8":
        text = f"{chosen} has {charmap}, in which some names cannot be shown"
        return [
            warning(
                "language",
                text,
                f"export LANG=C.UTF-8, or sudo update-locale LANG={chosen.split('.')[0]}.UTF-8",
            )
        ]
    return [ok("language", chosen)]


def _timedate(machine: Machine) -> dict[str, str]:
    lines = (machine.output("timedatectl", "show") or "").splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}
