"""V4L2 devices asked by ioctl: what they are, what pictures they send, which controls they have.

The layouts are those of ``linux/videodev2.h``; the structures used here are the same on 32 and 64 bits.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import CameraError
from edgeleuk.io.closing import Closing
from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CAPABILITY = struct.Struct("=16s32s32sIII3I")
FORMAT = struct.Struct("=III32sII3I")
SIZE = struct.Struct("=III6I2I")
INTERVAL = struct.Struct("=5I6I2I")
CONTROL = struct.Struct("=II32siiiiI2I")
VALUE = struct.Struct("=Ii")

_READ, _WRITE = 2, 1


def request(direction: int, number: int, layout: struct.Struct) -> int:
    """Return the number of an ioctl, as the kernel's ``_IOC`` makes it (the same on x86 and ARM)."""
    return direction << 30 | layout.size << 16 | ord("V") << 8 | number


QUERYCAP = request(_READ, 0, CAPABILITY)
ENUM_FMT = request(_READ | _WRITE, 2, FORMAT)
G_CTRL = request(_READ | _WRITE, 27, VALUE)
S_CTRL = request(_READ | _WRITE, 28, VALUE)
QUERYCTRL = request(_READ | _WRITE, 36, CONTROL)
ENUM_FRAMESIZES = request(_READ | _WRITE, 74, SIZE)
ENUM_FRAMEINTERVALS = request(_READ | _WRITE, 75, INTERVAL)

_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE, and V4L2_CAP_VIDEO_CAPTURE
_CAP_STREAMING = 0x04000000
_CAP_DEVICE_CAPS = 0x80000000
_DISCRETE = 1
_NEXT_CTRL = 0x80000000
_DISABLED, _READ_ONLY, _WRITE_ONLY = 0x0001, 0x0004, 0x0040
_KINDS = {1: "integer", 2: "switch", 3: "menu", 9: "integer menu"}
_MOST = 256  # of anything that is numbered: a driver that never says EINVAL must not hang us.

# Nodes that hand out pictures, but only to a program that sets up a whole chain of them: libcamera's.
_NO_CAMERAS = frozenset(
    {"unicam", "rp1-cfe", "pispbe", "bcm2835-isp", "bcm2835-codec", "tegra-video", "rpivid", "rpi-hevc-dec"}
)


@dataclass(frozen=True, slots=True)
class Capability:
    """What a device says of itself.

    Attributes
    ----------
    driver, card, bus : str
        Its driver, its name, and where it is plugged in.
    is_camera : bool
        It hands out pictures, and needs nobody to set it up first.
    """

    driver: str
    card: str
    bus: str
    is_camera: bool


@dataclass(frozen=True, slots=True)
class PictureSize:
    """A size in pixels, with the frame rates that it can have, highest first; none where it does not say."""

    width: int
    height: int
    fps: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """A pixel format.

    Attributes
    ----------
    fourcc : str
        As ``MJPG`` or ``YUYV``.
    description : str
    sizes : tuple of PictureSize
        All, or the least and the greatest where `stepwise`.
    stepwise : bool
    """

    fourcc: str
    description: str
    sizes: tuple[PictureSize, ...]
    stepwise: bool


class ListedControl(Printed, frozen=True, kw_only=True):
    """A control of a camera, as it says itself."""

    name: str
    kind: str
    least: int
    greatest: int
    step: int
    default: int
    value: int | None


class DeviceControl(ListedControl, frozen=True, kw_only=True):
    """A control, with its range in the driver's own units; its `value` is None where it cannot be read.

    Attributes
    ----------
    number : int
        ``V4L2_CID_...``.
    writable : bool
    """

    number: int
    writable: bool


class V4l2Device(Closing):
    """An open device. Several may be open at once: asking one, or setting it, disturbs no stream.

    Parameters
    ----------
    path : str
    ioctl : callable
        As ``fcntl.ioctl``, which fills its third argument.

    Raises
    ------
    CameraError
        It is not there, may not be opened, or is no V4L2 device.
    """

    def __init__(self, path: str, *, ioctl: Callable[[int, int, bytearray], object] = fcntl.ioctl) -> None:
        self.path = path
        self._ioctl = ioctl
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise device_error(path, error) from None
        try:
            self.capability = self._query()
        except OSError as error:
            os.close(self._fd)
            raise device_error(path, error) from None

    def close(self) -> None:
        """Close the device."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def formats(self) -> tuple[PictureFormat, ...]:
        """Return what it can send, in its own order."""
        found: list[PictureFormat] = []
        for answer in self._numbered(ENUM_FMT, FORMAT, lambda index: (index, _CAPTURE, 0, b"", *[0] * 5)):
            pixel_format = answer[4]
            sizes, stepwise = self._sizes(pixel_format)
            fourcc = struct.pack("<I", pixel_format & 0x7FFFFFFF).decode("latin-1").rstrip()
            found.append(PictureFormat(fourcc, _text(answer[3]), sizes, stepwise))
        return tuple(found)

    def controls(self) -> tuple[DeviceControl, ...]:
        """Return the controls that are numbers, switches or menus, with what they stand at."""
        found: list[DeviceControl] = []
        number = 0
        while len(found) < _MOST:
            try:
                answer = self._ask(QUERYCTRL, CONTROL, number | _NEXT_CTRL, 0, b"", *[0] * 7)
            except OSError:
                break
            if answer[0] <= number:
                break
            number, kind, name, least, greatest, step, default, flags = answer[:8]
            if kind not in _KINDS or flags & _DISABLED:
                continue
            value = None if flags & _WRITE_ONLY else self._value(number)
            found.append(
                DeviceControl(
                    number=number,
                    name=_text(name),
                    kind=_KINDS[kind],
                    least=least,
                    greatest=greatest,
                    step=step,
                    default=default,
                    value=value,
                    writable=not flags & _READ_ONLY,
                )
            )
        return tuple(found)

    def read(self, number: int) -> int:
        """Read a control.

        Raises
        ------
        CameraError
            It cannot be read.
        """
        try:
            return int(self._ask(G_CTRL, VALUE, number, 0)[1])
        except OSError as error:
            raise device_error(self.path, error) from None

    def write(self, number: int, value: int) -> None:
        """Write a control; the driver may round it, so it wants to be read back.

        Raises
        ------
        CameraError
            The driver refused.
        """
        try:
            self._ask(S_CTRL, VALUE, number, value)
        except OSError as error:
            raise device_error(self.path, error) from None

    def _query(self) -> Capability:
        driver, card, bus, _, everything, here, *_ = self._ask(QUERYCAP, CAPABILITY, b"", b"", b"", *[0] * 6)
        flags = here if everything & _CAP_DEVICE_CAPS else everything
        is_camera = bool(flags & _CAPTURE and flags & _CAP_STREAMING) and _text(driver) not in _NO_CAMERAS
        return Capability(_text(driver), _text(card), _text(bus), is_camera)

    def _sizes(self, pixel_format: int) -> tuple[tuple[PictureSize, ...], bool]:
        found: dict[tuple[int, int], PictureSize] = {}
        stepwise = False
        for answer in self._numbered(ENUM_FRAMESIZES, SIZE, lambda index: (index, pixel_format, 0, *[0] * 8)):
            stepwise = answer[2] != _DISCRETE
            ends = [(answer[3], answer[4])]
            if stepwise:
                ends = [(answer[3], answer[6]), (answer[4], answer[7])]
            for width, height in ends:
                fps = tuple(sorted(self._rates(pixel_format, width, height), reverse=True))
                found[width, height] = PictureSize(width, height, fps)
            if stepwise:
                break
        return tuple(found.values()), stepwise

    def _rates(self, pixel_format: int, width: int, height: int) -> set[float]:
        found: set[float] = set()
        for answer in self._numbered(
            ENUM_FRAMEINTERVALS, INTERVAL, lambda index: (index, pixel_format, width, height, *[0] * 9)
        ):
            intervals = [answer[5:7]] if answer[4] == _DISCRETE else [answer[5:7], answer[7:9]]
            found |= {round(below / above, 3) for above, below in intervals if above}
            if answer[4] != _DISCRETE:
                break
        return found

    def _value(self, number: int) -> int | None:
        try:
            return int(self._ask(G_CTRL, VALUE, number, 0)[1])
        except OSError:
            return None

    def _numbered(
        self, what: int, layout: struct.Struct, question: Callable[[int], tuple[object, ...]]
    ) -> Iterator[tuple[Any, ...]]:
        """Ask for the first, the second and so on, until the driver says that there is none."""
        for index in range(_MOST):
            try:
                yield self._ask(what, layout, *question(index))
            except OSError:
                return

    def _ask(self, what: int, layout: struct.Struct, *question: object) -> tuple[Any, ...]:
        if self._fd < 0:
            raise OSError(errno.ENODEV, "closed")
        buffer = bytearray(layout.pack(*question))
        self._ioctl(self._fd, what, buffer)
        return layout.unpack(buffer)


def device_error(path: str, error: OSError) -> CameraError:
    """Say why a device did not do as told, and what helps."""
    code, reason = error.errno, error.strerror or type(error).__name__
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return CameraError(
            f"there is no camera at {path}", cure="plug it in; `edgeleuk camera list` shows what is there"
        )
    if code in (errno.EACCES, errno.EPERM):
        return CameraError(
            f"the camera {path} may not be opened",
            got=reason,
            cure="join the group `video`: sudo usermod -aG video $USER, then log in again",
        )
    if code == errno.EBUSY:
        return CameraError(
            f"the camera {path} is in use",
            got=reason,
            cure=f"close the other program that uses it: `fuser -v {path}` names it",
        )
    if code in (errno.ENOTTY, errno.EINVAL, errno.EISDIR, errno.ENOTDIR):
        return CameraError(
            f"{path} is no camera", got=reason, cure="`edgeleuk camera list` shows what is there"
        )
    if code == errno.ERANGE:
        return CameraError(f"the camera {path} refused a value", got=reason)
    return CameraError(f"the camera {path} failed", got=reason, cure="plug it out and in again")


def device_paths(root: Path = Path("/dev")) -> list[tuple[str, str]]:
    """Return (node, steady name) of each video device; the node itself where it has no steady name.

    ``/dev/video0`` may be another camera after the next start; ``/dev/v4l/by-id`` names follow the camera,
    ``by-path`` names the socket that it is plugged into.
    """
    steady: dict[Path, Path] = {}
    for folder in ("by-path", "by-id"):
        for link in sorted((root / "v4l" / folder).glob("*")):
            steady[link.resolve()] = link
    nodes = [node for node in root.glob("video*") if node.name.removeprefix("video").isdecimal()]
    nodes.sort(key=lambda node: int(node.name.removeprefix("video")))
    return [(str(node), str(steady.get(node.resolve(), node))) for node in nodes]


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")
