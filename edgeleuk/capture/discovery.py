"""``edgeleuk camera list``, and how ``run`` finds its camera and what it sets on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.capture.base import SOURCES
from edgeleuk.capture.controls import Control, ControlKeeper
from edgeleuk.capture.pi import pi_cameras
from edgeleuk.capture.usb import USB, unreadable_cameras
from edgeleuk.capture.v4l2 import ListedControl, V4l2Device, device_paths
from edgeleuk.errors import CameraError, MissingDependencyError
from edgeleuk.io.console import say
from edgeleuk.io.plugins import CAMERAS, installed_plugins
from edgeleuk.io.settings import white_balance_of
from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from edgeleuk.io.settings import RunSettings

_NONE_FOUND = "no camera was found"
_NETWORK = "network cameras are not looked for: pass theirs with --camera http://HOST/STREAM"


def find_camera(camera: str | None) -> str:
    """Return the address of a camera: as given, of a number, or of the only camera there is.

    Raises
    ------
    CameraError
        None is given, and there is none or more than one.
    """
    if camera and camera.isdecimal() and not Path(camera).exists():
        node = f"/dev/video{int(camera)}"
        steady = next((name for path, name in device_paths() if path == node), node)
        say(
            f"warning: the number {camera} may be another camera after the next start;"
            f" this one's address is v4l2://{steady}"
        )
        return f"v4l2://{node}"
    if camera:
        return camera
    listed = list_cameras().cameras
    found = [each.uri for each in listed if each.error is None]
    if not found and listed:
        raise CameraError(f"{_NONE_FOUND} that can be used", got=listed[0].error)
    if not found:
        raise CameraError(_NONE_FOUND, cure=f"plug one in, or try --camera virtual://; {_NETWORK}")
    if len(found) > 1:
        raise CameraError(
            f"there are {len(found)} cameras",
            got="none chosen",
            allowed=", ".join(found),
            cure="pass --camera",
        )
    say(f"camera    {found[0]}, the only one found")
    return found[0]


def control_settings(settings: RunSettings) -> ControlKeeper:
    """Make what sets the controls of a camera as the settings say."""
    asked = {
        Control.EXPOSURE_MS: () if settings.exposure_ms is None else (settings.exposure_ms,),
        Control.GAIN: () if settings.gain is None else (settings.gain,),
        Control.WHITE_BALANCE: white_balance_of(settings.white_balance),
    }
    return ControlKeeper({name: value for name, value in asked.items() if value}, lock=settings.lock)


class FrameSize(Printed, frozen=True, kw_only=True):
    """A size that a camera offers, and its rates."""

    width: int
    height: int
    fps: list[float]


class PixelFormat(Printed, frozen=True, kw_only=True):
    """A format that a camera offers; of a stepwise one, sizes between those listed as well."""

    fourcc: str
    description: str
    stepwise: bool
    sizes: list[FrameSize]


class FoundCamera(Printed, frozen=True, kw_only=True, omit_defaults=True):
    """A camera, with what it can do, or with the error that kept it from answering."""

    uri: str
    node: str | None = None
    name: str
    driver: str | None = None
    bus: str | None = None
    formats: list[PixelFormat] | None = None
    controls: list[ListedControl] | None = None
    error: str | None = None


class CameraPlugin(Printed, frozen=True, kw_only=True, omit_defaults=True):
    """A scheme that an installed package adds, and why it is not used, where that is so."""

    scheme: str
    package: str
    error: str | None = None


class CameraList(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk camera list --json`` prints."""

    schema_version: int = 1
    cameras: list[FoundCamera]
    plugins: list[CameraPlugin] = msgspec.field(default_factory=list)


def list_cameras(root: Path = Path("/dev"), usb: Path = USB) -> CameraList:
    """Find the cameras on USB and on ribbon cables, and ask each what it can do.

    Plug-ins are named and not asked: their code is loaded when a camera of theirs is opened.

    Parameters
    ----------
    root : Path
        Where the devices are.
    usb : Path
        Where the kernel lists what is plugged in on USB.

    Returns
    -------
    CameraList
    """
    cameras: list[dict[str, Any]] = []
    for node, steady in device_paths(root):
        try:
            with V4l2Device(node) as device:
                if device.capability.is_camera:
                    cameras.append({"uri": f"v4l2://{steady}", "node": node, **_facts(device)})
        except CameraError as error:
            cameras.append({"uri": f"v4l2://{steady}", "node": node, "name": node, "error": str(error)})
    try:
        cameras += [
            {"uri": f"picamera://{number}", "name": name, "formats": [], "controls": []}
            for number, name in pi_cameras()
        ]
    except (CameraError, MissingDependencyError) as error:
        cameras.append({"uri": "picamera://", "name": "cameras on ribbon cables", "error": str(error)})
    cameras += [
        {"uri": f"usb:{each.bus}", "bus": each.bus, "name": each.name, "error": each.why}
        for each in unreadable_cameras(usb)
    ]
    plugins = [
        CameraPlugin(scheme=each.scheme, package=each.package, error=str(each.error) if each.error else None)
        for each in installed_plugins(CAMERAS, SOURCES)
    ]
    return CameraList(cameras=msgspec.convert(cameras, list[FoundCamera]), plugins=plugins)


def cameras_text(found: CameraList) -> str:
    """Say what cameras there are."""
    lines: list[str] = []
    for camera in found.cameras:
        lines.append(f"{camera.uri}   {camera.name}")
        if camera.error is not None:
            lines.append(f"  {camera.error}")
            continue
        for each in camera.formats or ():
            sizes = ", ".join(f"{size.width}x{size.height}" + _rates_text(size.fps) for size in each.sizes)
            between = " (and between)" if each.stepwise else ""
            lines.append(f"  {each.fourcc:<5} {sizes}{between}")
        lines += [
            f"  {one.name}: {one.value} ({one.least} to {one.greatest}, step {one.step})"
            for one in camera.controls or ()
        ]
    lines = lines or [_NONE_FOUND, _NETWORK]
    for plugin in found.plugins:
        lines.append(f"{plugin.scheme}://   by the plug-in {plugin.package}")
        if plugin.error is not None:
            lines.append(f"  {plugin.error}")
    return "\n".join(lines)


def _facts(device: V4l2Device) -> dict[str, Any]:
    return {
        "name": device.capability.card,
        "driver": device.capability.driver,
        "bus": device.capability.bus,
        "formats": [
            {
                "fourcc": each.fourcc,
                "description": each.description,
                "stepwise": each.stepwise,
                "sizes": [
                    {"width": size.width, "height": size.height, "fps": list(size.fps)} for size in each.sizes
                ],
            }
            for each in device.formats()
        ],
        "controls": [
            {name: getattr(each, name) for name in ListedControl.__struct_fields__}
            for each in device.controls()
        ],
    }


def _rates_text(fps: list[float]) -> str:
    return f" at {max(fps):g}" if fps else ""
