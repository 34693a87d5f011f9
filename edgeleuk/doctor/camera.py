"""Checks of the cameras: may they be opened, do they send, does the bus carry it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgeleuk.doctor.findings import counted, failure, ok, warning

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.doctor.findings import Finding
    from edgeleuk.doctor.machine import Machine

# A camera that hangs must not hang us; opening one may take ten seconds.
PROBE_S = 25.0
LIST_S = 15.0
PROBE_SECONDS = "1"
_USB_FULL_SPEED = 12
_VIDEO_CLASS = "0e"
# Names of the sensors on ribbon cables, as their drivers have them.
_SENSOR = re.compile(r"^(imx|ov|arducam|ar0|gc|sc)\d", re.IGNORECASE)
_PICAMERA = "usr/lib/python3/dist-packages/picamera2"
_NO_PI = "sudo apt install python3-picamera2, and `python3 -m venv --system-site-packages .venv`"
_CABLE = "plug it into another port with another cable, or into a hub with a supply of its own"
# What the kernel says -> what it means, and what helps.
_USB_ERRORS = (
    (
        re.compile(
            r"[Nn]ot enough bandwidth|Failed to submit URB \d+ \(-28\)|no space.*uvcvideo", re.IGNORECASE
        ),
        "its USB bus has no room for the camera's pictures",
        "choose MJPG or a smaller size, or plug other cameras and disks into another port",
    ),
    (
        re.compile(r"over-?current", re.IGNORECASE),
        "a USB port was switched off because too much current was drawn",
        "use a hub with a supply of its own",
    ),
    (
        re.compile(
            r"uvcvideo.*\((-71|-110)\)|uvcvideo.*: -(71|110)\b|device descriptor read/\S+ error -(71|110)"
        ),
        "a USB device does not answer as it should",
        _CABLE,
    ),
)


def permission(machine: Machine) -> list[Finding]:
    """See whether this user may open the cameras."""
    nodes = [machine.shown(path) for path in machine.files("dev", "video[0-9]*")]
    closed = [node for node in nodes if not may_open(machine, node)]
    if not nodes or not closed:
        return [ok("permission", "every camera may be opened")] if nodes else []
    return [
        failure("permission", f"{closed[0]} may not be opened by this user", group_cure(machine, closed[0]))
    ]


def may_open(machine: Machine, node: str) -> bool:
    """Whether this user may read and write a device, by group or by what the desktop gave."""
    said = [machine.said("test", flag, node) for flag in ("-r", "-w")]
    return all(each is None or each.code == 0 for each in said)


def group_cure(machine: Machine, node: str) -> str:
    """Say how this user comes to a device: by its group, which holds from the next login on."""
    group = machine.output("stat", "-c", "%G", node) or "video"
    user = machine.output("id", "-un") or ""
    members = re.search(
        rf"^{re.escape(group)}:[^:]*:[^:]*:(.*)$", machine.text("etc/group") or "", re.MULTILINE
    )
    if members and user and user in members[1].split(","):
        return f"you are in the group {group} since your last login: log out and in again, or restart"
    if machine.is_container():
        return f"start the container with --device {node} --group-add {group}"
    if group == "tty":
        unit = f"`sudo systemctl disable --now serial-getty@{node.rpartition('/')[2]}`"
        return f"a login console holds this port: on a Pi `sudo raspi-config`, Serial Port; elsewhere {unit}"
    if group == "root":
        return f"a udev rule is missing: sudo apt install udev, and plug it in again; {node} belongs to root"
    return f"sudo usermod -aG {group} $USER, then log out and in again"


def found(machine: Machine) -> list[Finding]:
    """List the cameras, and see whether each sends a picture."""
    listed, error, said = machine.own("camera", "list", timeout_s=LIST_S)
    if not listed:
        hangs = said is not None and said.code is None
        cure = f"a camera hangs its driver: {_CABLE}" if hangs else "try `edgeleuk -v camera list`"
        return [failure("list", f"the cameras cannot be listed: {error}", cure)]
    cameras = [each for each in listed["cameras"] if each["uri"] != "picamera://"]
    findings = [finding for each in cameras if (finding := _camera(machine, each)) is not None]
    if machine.camera is not None and machine.camera not in [each["uri"] for each in cameras]:
        findings.append(_sends(machine, "configured", None, "the camera of the settings"))
    if findings or cameras or _sensors(machine):
        return findings
    unbound = _unbound(machine)
    if unbound:
        text = f"{unbound} is on USB, and no driver has made it a /dev/video"
        return [
            failure(
                "camera",
                text,
                "sudo modprobe uvcvideo; without such a module, install the kernel's extra modules",
            )
        ]
    if machine.is_container():
        text = "none in this container, to which `--device /dev/video0` hands one on"
        return [ok("camera", text)]
    text = "none is plugged in; network cameras are not looked for"
    return [warning("camera", text, "plug one in, or name a network camera as `camera` in edgeleuk.toml")]


def _camera(machine: Machine, camera: dict[str, Any]) -> Finding | None:
    """Let one camera send a picture; nothing of one that may not be opened, which has its own line."""
    node, name = camera.get("node"), camera["name"]
    if node and not may_open(machine, node):
        return None
    if camera["uri"].startswith("usb:"):
        # Nothing here reads it: whether it is wanted at all, nobody knows.
        why, _, cure = camera["error"].partition("; ")
        return warning(camera["uri"], f"{name}: {why}", cure)
    if camera.get("error"):
        return _failed(str(node or name), camera["error"])
    if camera.get("formats") == [] and camera["uri"].startswith("v4l2://"):
        text = f"{name} tells no pixel format: {camera['uri']}"
        return failure(str(node), text, "plug it out and in again; see `sudo dmesg | tail`")
    speed = _usb_speed(machine, node)
    if speed is not None and speed <= _USB_FULL_SPEED:
        text = f"{name} runs at {speed:g} Mbit/s, too slow for pictures of this size"
        return warning(
            str(node), text, "plug it into a port for USB 2 or 3, without an old hub or a long cable"
        )
    return _sends(machine, str(node or camera["uri"]), camera["uri"], name, camera.get("formats") or ())


def _sends(
    machine: Machine, title: str, uri: str | None, name: str, formats: Sequence[dict[str, Any]] = ()
) -> Finding:
    # Without an address, that of the settings is taken, which may hold a password.
    words = ("camera", "probe", *([uri] if uri else []), "--seconds", PROBE_SECONDS)
    sent, error, said = machine.own(*words, timeout_s=PROBE_S)
    if said is not None and said.code is None:
        text = f"{name} sends no picture within {PROBE_S:.0f} s, although it may be opened"
        return failure(title, text, f"plug it out and in again; if it hangs again, {_CABLE}")
    if not sent:
        return _failed(title, error)
    rate = "" if sent["fps"] is None else f" at {sent['fps']:.0f} a second"
    kind = f" {sent['format']}" if sent["format"] else ""
    text = f"{name} sends {sent['width']}x{sent['height']}{kind}{rate}"
    offered = ", ".join(each["fourcc"] for each in formats)
    more = (f", of {offered}" if offered else "") + (f"; {uri}" if uri and uri != title else "")
    if sent["rejected"] > sent["frames"] // 2:
        text = f"{name}: {sent['rejected']} of {sent['frames']} pictures were damaged"
        return warning(title, text, f"choose a smaller size or rate; or {_CABLE}")
    return ok(title, text + more)


def _failed(title: str, error: str) -> Finding:
    """Take a sentence with its cure apart; who uses a camera already is no fault of it."""
    text, _, cure = error.partition("; ")
    if "No space left on device" in text:
        _, meaning, bandwidth_cure = _USB_ERRORS[0]
        return failure(title, f"{meaning} ({text})", bandwidth_cure)
    if "is in use" in text:
        return warning(
            title,
            f"{text.partition(':')[0]}, so no picture was taken of it",
            cure or "close the other program",
        )
    return failure(
        title, text, cure or "plug it out and in again; `edgeleuk camera list` shows what is there"
    )


def bus(machine: Machine) -> list[Finding]:
    """Look for what the kernel says of USB."""
    lines = machine.kernel_log()
    if lines is None:
        return []
    for pattern, meaning, cure in _USB_ERRORS:
        said = [
            line
            for line in lines
            if pattern.search(line) and re.search(r"usb|uvc|hub|xhci", line, re.IGNORECASE)
        ]
        if said:
            message = re.sub(r"^.*?(kernel: |\] )", "", said[-1]).strip()
            return [
                warning("usb", f"{meaning}; the kernel says so {counted(len(said), 'time')}: {message}", cure)
            ]
    return [ok("usb", "the kernel reports no errors of USB since the start")]


def ribbon(machine: Machine) -> list[Finding]:
    """See whether a camera on a ribbon cable can be used; there is no line where none can be."""
    is_wanted = (machine.camera or "").startswith("picamera:")
    if not machine.is_pi() or (machine.is_container() and not is_wanted):
        return []
    sensors = _sensors(machine)
    # Who uses another camera can do without.
    state = failure if is_wanted or (sensors and machine.camera is None) else warning
    library, error, _ = machine.probe("picamera", timeout_s=PROBE_S)
    reason = error or (library or {}).get("error", "")
    if reason or not library:
        cure = (library or {}).get("cure") or "try `python3 -c 'import picamera2'`"
        return [state("ribbon", reason.partition("; ")[0] or "picamera2 says nothing", cure)]
    if not sensors:
        return [ok("ribbon", "no camera is on the ribbon cable")]
    if library["installed"]:
        return [ok("ribbon", f"{sensors[0]}, through picamera2")]
    if (machine.root / _PICAMERA).exists():
        text = f"{sensors[0]} is there, but this environment does not see the system's picamera2"
        return [state("ribbon", text, "make it anew: `python3 -m venv --system-site-packages .venv`")]
    return [state("ribbon", f"{sensors[0]} is there, but picamera2 is not", _NO_PI)]


def _sensors(machine: Machine) -> list[str]:
    """Return the names of the sensors on ribbon cables, as the kernel knows them."""
    named = machine.texts("sys/class/video4linux", "v4l-subdev*/name").values()
    return [name.split()[0] for name in named if _SENSOR.match(name)]


def _usb_speed(machine: Machine, node: str | None) -> float | None:
    """Return the Mbit/s of the USB device behind a node; the interface's folder lies in the device's."""
    name = (node or "").rpartition("/")[2]
    text = machine.text(f"sys/class/video4linux/{name}/device/../speed") if name else None
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text) else None


def _unbound(machine: Machine) -> str | None:
    """Name a camera on USB that has no driver."""
    for path, kind in machine.texts("sys/bus/usb/devices", "*/bInterfaceClass").items():
        if kind == _VIDEO_CLASS and not _has(path.parent, "video4linux") and not _has(path.parent, "driver"):
            return (
                machine.text(
                    f"{path.parent.parent.relative_to(machine.root)}/{path.parent.name.split(':')[0]}/product"
                )
                or "a camera"
            )
    return None


def _has(folder: Path, name: str) -> bool:
    return (folder / name).exists()
