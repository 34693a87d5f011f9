"""Cameras on USB that are there and make no ``/dev/video``: what they are, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

USB = Path("/sys/bus/usb/devices")
# A class and a subclass of interfaces, by the USB's own list and by the USB3 Vision standard.
_VIDEO_CLASS = "0e"
_VISION = ("ef", "05")
_TOUPTEK = "0547"
# The same number was a chip maker's before: its own development boards are no cameras.
_NO_CAMERAS = re.compile(r"2131|2235|1002|1006")
_SEE = "docs/plugins.md tells of both ways"


@dataclass(frozen=True, slots=True)
class UnreadableCamera:
    """A camera that no address of edgeleuk's own opens.

    Attributes
    ----------
    bus : str
        Where it is plugged in, as ``1-2``.
    name : str
        As it calls itself, with its two numbers.
    why : str
        Why it is not among the others, and what to do.
    """

    bus: str
    name: str
    why: str


def unreadable_cameras(root: Path = USB) -> list[UnreadableCamera]:
    """Return the cameras on USB that speak another language than USB video (UVC).

    Parameters
    ----------
    root : Path
        Where the kernel lists what is plugged in.
    """
    found = []
    for device in sorted(root.glob("*")) if root.is_dir() else ():
        vendor, product = _text(device / "idVendor"), _text(device / "idProduct")
        if not vendor:
            continue
        interfaces = {
            (_text(each / "bInterfaceClass"), _text(each / "bInterfaceSubClass"))
            for each in root.glob(f"{device.name}:*")
        }
        if any(kind == _VIDEO_CLASS for kind, _ in interfaces):
            continue
        why = ""
        if _VISION in interfaces:
            why = (
                "it speaks USB3 Vision (GenICam), not USB video (UVC), so the kernel makes no /dev/video; "
                f"install its maker's GenTL producer and a plug-in for genicam://; {_SEE}"
            )
        elif vendor == _TOUPTEK and not _NO_CAMERAS.fullmatch(product):
            why = (
                "it looks like a camera of ToupTek, also sold as AmScope, Swift and others, which speaks its"
                " maker's own language, not USB video (UVC), so the kernel makes no /dev/video of it; use a"
                " model that is UVC, or a plug-in that calls the maker's library;"
                f" {_SEE}"
            )
        if why:
            words = [_text(device / "manufacturer"), _text(device / "product")]
            name = " ".join(word for word in words if word) or "a camera on USB"
            found.append(UnreadableCamera(device.name, f"{name} ({vendor}:{product})", why))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
