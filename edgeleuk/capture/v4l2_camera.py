"""``v4l2:///dev/v4l/by-id/...``: cameras on USB, through PyAV, with their controls by ioctl."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from edgeleuk.capture.base import READ_TIMEOUT_S
from edgeleuk.capture.controls import Control, ControlRange, Reading, Value
from edgeleuk.capture.v4l2 import V4l2Device, device_error
from edgeleuk.capture.video import VideoSource
from edgeleuk.errors import CameraError, UsageError
from edgeleuk.io.uris import public_uri

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from av import Packet, VideoStream

    from edgeleuk.capture.v4l2 import PictureFormat, PictureSize

# FourCC -> FFmpeg's name, the one we would rather have first: of JPEGs only the newest is decoded, and USB
# carries more of them. Raw sensor data and H.264 are not asked for.
FORMATS = {
    "MJPG": "mjpeg",
    "JPEG": "mjpeg",
    "YUYV": "yuyv422",
    "UYVY": "uyvy422",
    "NV12": "nv12",
    "YU12": "yuv420p",
    "RGB3": "rgb24",
    "BGR3": "bgr24",
}
# Without a wish, no larger than what a small board keeps up with, and no slower than a stage wants to see.
_MOST_PIXELS = 1920 * 1200
_LEAST_FPS = 5.0
_OPTIONS = ("format", "width", "height", "fps")
_EXAMPLE = "write it like v4l2:///dev/video0?width=1280&height=720&fps=30&format=mjpeg"
# FFmpeg waits for a picture without end; asked not to wait, it is asked again this often.
_ASK_EVERY_S = 0.002
# A picture does not wait longer for its reader.
_LONGEST_WAIT_S = 60.0
_NO_WAITING = {"fflags": "+4"}  # AVFMT_FLAG_NONBLOCK, which has no name there

# V4L2_CID_...
_EXPOSURE_AUTO, _EXPOSURE_ABSOLUTE = 0x009A0901, 0x009A0902
_AUTOGAIN, _GAIN = 0x00980912, 0x00980913
_AUTO_WHITE_BALANCE, _WHITE_BALANCE_TEMPERATURE = 0x0098090C, 0x0098091A
_EXPOSURE_MANUAL = 1


@dataclass(frozen=True, slots=True)
class Mode:
    """What is asked of a camera; None leaves it to the driver.

    Attributes
    ----------
    format : str
        FFmpeg's name.
    width, height : int or None
    fps : float or None
    """

    format: str
    width: int | None = None
    height: int | None = None
    fps: float | None = None


def open_v4l2(uri: str) -> V4l2Source:
    """Open ``v4l2:///dev/...?width=1280&height=720&fps=30&format=mjpeg``, every key optional.

    Raises
    ------
    UsageError
        An unknown key, or what the camera does not send.
    CameraError
        It is not there, may not be opened, or is in use.
    """
    path, wishes = parse_v4l2(uri)
    device = V4l2Device(path)
    try:
        _require_camera(device)
        return V4l2Source(device, uri, choose_mode(device.formats(), wishes, path))
    except BaseException:
        device.close()
        raise


def parse_v4l2(uri: str) -> tuple[str, dict[str, str]]:
    """Take an address apart into the device's path and what is wished of its pictures.

    Examples
    --------
    >>> parse_v4l2("v4l2:///dev/video0?width=640&height=480")
    ('/dev/video0', {'width': '640', 'height': '480'})
    """
    path, _, query = uri.split("://", 1)[1].partition("?")
    if not path.startswith("/"):
        raise UsageError("not the address of a V4L2 camera", got=public_uri(uri), cure=_EXAMPLE)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise UsageError("a camera's options are key=value", got=query, cure=_EXAMPLE) from None
    for key, text in pairs:
        if key not in _OPTIONS:
            raise UsageError(
                "unknown option of a V4L2 camera", got=key, allowed=", ".join(_OPTIONS), cure=_EXAMPLE
            )
        number = text.replace(".", "", 1) if key == "fps" else text
        if key != "format" and not (number.isdecimal() and float(text) > 0):
            raise UsageError(f"bad value for {key} of a camera", got=repr(text), cure=_EXAMPLE)
    return path, dict(pairs)


def choose_mode(formats: Sequence[PictureFormat], wishes: Mapping[str, str], where: str) -> Mode:
    """Choose among what a camera offers: what is wished; else JPEGs, large but not too large, and fast.

    Raises
    ------
    UsageError
        It does not offer what is wished.
    CameraError
        It sends nothing that we know.
    """
    offered = {FORMATS[each.fourcc]: each for each in reversed(formats) if each.fourcc in FORMATS}
    if not offered:
        raise CameraError(
            f"{where} sends no pictures that edgeleuk can read",
            got=", ".join(each.fourcc for each in formats) or "nothing",
            allowed=", ".join(FORMATS),
            cure="a sensor on a ribbon cable is opened as picamera://0",
        )
    name = wishes.get("format") or next(name for name in FORMATS.values() if name in offered)
    if name not in offered:
        raise UsageError(f"{where} does not send this format", got=name, allowed=", ".join(offered))
    chosen = offered[name]
    width, height = (int(wishes[key]) if key in wishes else None for key in ("width", "height"))
    fps = float(wishes["fps"]) if "fps" in wishes else None
    sizes = [each for each in _fitting(chosen, width, height) if fps is None or _has_rate(each, fps)]
    if not sizes and (chosen.sizes or chosen.stepwise):
        listed = ", ".join(
            f"{each.width}x{each.height} at {'/'.join(f'{rate:g}' for rate in each.fps)}"
            for each in chosen.sizes
        )
        got = "x".join("any" if side is None else str(side) for side in (width, height))
        raise UsageError(
            f"{where} does not send this size and rate as {name}",
            got=got + (f" at {fps:g}" if fps else ""),
            allowed=listed,
        )
    if not sizes:
        return Mode(name, width, height, fps)
    best = max(sizes, key=_worth)
    return Mode(name, best.width, best.height, fps or max(best.fps, default=None))


def _require_camera(device: V4l2Device) -> None:
    if not device.capability.is_camera:
        raise CameraError(
            f"{device.path} is no camera by itself",
            got=f"{device.capability.card} ({device.capability.driver})",
            cure="`edgeleuk camera list` shows the cameras; those on a ribbon cable are picamera://0",
        )


def _fitting(chosen: PictureFormat, width: int | None, height: int | None) -> list[PictureSize]:
    if not chosen.stepwise:
        return [
            each for each in chosen.sizes if width in (None, each.width) and height in (None, each.height)
        ]
    # Any size in between: without a wish, the greatest of the two ends.
    least, greatest = chosen.sizes[0], chosen.sizes[-1]
    width, height = width or greatest.width, height or greatest.height
    fits = least.width <= width <= greatest.width and least.height <= height <= greatest.height
    return [type(least)(width, height, greatest.fps)] if fits else []


def _has_rate(size: PictureSize, fps: float) -> bool:
    return not size.fps or any(abs(each - fps) < 0.02 * fps for each in size.fps)


def _worth(size: PictureSize) -> tuple[bool, bool, int, float]:
    fast = not size.fps or max(size.fps) >= _LEAST_FPS
    pixels = size.width * size.height
    small = pixels <= _MOST_PIXELS
    # Of those that are all too large, the least.
    return small, fast, pixels if small else -pixels, max(size.fps, default=0.0)


class V4l2Source(VideoSource):
    """A camera on USB; opened by `open_v4l2`.

    Parameters
    ----------
    device : V4l2Device
        Closed with the source.
    uri : str
    mode : Mode

    Raises
    ------
    CameraError
        It is in use, or took another size than it offered.
    """

    def __init__(self, device: V4l2Device, uri: str, mode: Mode) -> None:
        self._device = device
        self.controls = V4l2Controls(device)
        options = {"input_format": mode.format, **_NO_WAITING}
        if mode.width and mode.height:
            options["video_size"] = f"{mode.width}x{mode.height}"
        if mode.fps:
            options["framerate"] = f"{mode.fps:g}"
        # PyAV's own errors are of OSError's kind, and hold its number.
        super().__init__(device.path, uri, file=False, container="v4l2", options=options)
        self._packets: Iterator[Packet[VideoStream]] = self._container.demux(self._stream)
        got = self._stream.codec_context
        # The driver may take the nearest size that it likes.
        if mode.width and (got.width, got.height) != (mode.width, mode.height):
            self._container.close()
            raise CameraError(
                f"{uri} took another size",
                got=f"{got.width}x{got.height}",
                allowed=f"{mode.width}x{mode.height}",
                cure="ask for a size that `edgeleuk camera list` shows",
            )

    def close(self) -> None:
        """Close the stream and the device."""
        self._closed = True
        with self._busy:
            # It holds a packet, whose memory ends with the container.
            self._packets = iter(())
        super().close()
        self._device.close()

    def _explained(self, error: OSError) -> CameraError:
        return device_error(self._device.path, error)

    def _next(self, _: object) -> Packet[Any] | None:
        """Next packet, as a copy: the buffers are the driver's, and few."""
        import av

        give_up_at = time.monotonic() + READ_TIMEOUT_S
        while not self._closed:
            with self._busy, suppress(BlockingIOError):
                packet = None if self._closed else self._received()
                if packet is None:
                    return None
                if packet.size and not packet.is_corrupt:
                    copy = av.Packet(bytes(packet))
                    copy.pts, copy.time_base = packet.pts, packet.time_base
                    return copy
                del packet
            if time.monotonic() > give_up_at:
                raise CameraError(
                    f"{self.uri} died", got=f"no picture within {READ_TIMEOUT_S:g} s", cure="check its cable"
                )
            time.sleep(_ASK_EVERY_S)
        return None

    def _taken_s(self, packet: Packet[Any], arrived_s: float) -> float | None:
        """Return the driver's own time of a picture: up to 32 of them wait for a reader that is kept busy."""
        if packet.pts is None or packet.time_base is None:
            return None
        taken_s = float(packet.pts * packet.time_base)
        # Drivers tell the time of the steady clock; some old ones that of the wall clock, or none.
        return taken_s if 0 <= arrived_s - taken_s < _LONGEST_WAIT_S else None

    def _received(self) -> Packet[VideoStream] | None:
        import av

        try:
            return next(self._packets, None)
        except BlockingIOError:
            # An exception ends a generator.
            self._packets = self._container.demux(self._stream)
            raise
        except (av.error.FFmpegError, OSError) as error:
            raise self._error("died", error, READ_TIMEOUT_S) from None


class V4l2Controls:
    """Exposure, gain and white balance of a V4L2 device; see `CameraControls`.

    Parameters
    ----------
    device : V4l2Device
    """

    def __init__(self, device: V4l2Device) -> None:
        self._device = device
        self._known = {each.number: each for each in device.controls() if each.writable}
        self._taken: dict[int, int] = {}
        # Held while values are read and written: `release` comes from another thread.
        self._busy = threading.Lock()

    def ranges(self) -> dict[Control, ControlRange]:
        """See `CameraControls.ranges`."""
        found = {}
        for control, (switch, number, unit, per_unit) in _CONTROLS.items():
            if (known := self._known.get(number)) is not None:
                found[control] = ControlRange(
                    known.least / per_unit,
                    known.greatest / per_unit,
                    max(known.step, 1) / per_unit,
                    unit,
                    automatic=switch in self._known,
                )
            elif switch in self._known:
                found[control] = ControlRange(0, 0, 0, unit, parts=0, automatic=True)
        return found

    def read(self) -> dict[Control, Reading]:
        """See `CameraControls.read`."""
        found = {}
        for control in self.ranges():
            switch, number, _, per_unit = _CONTROLS[control]
            value = (self._device.read(number) / per_unit,) if number in self._known else ()
            automatic = switch in self._known and self._device.read(switch) != _off(switch)
            found[control] = Reading(value, automatic)
        return found

    def set(self, control: Control, value: Value) -> None:
        """See `CameraControls.set`."""
        _, number, _, per_unit = _CONTROLS[control]
        with self._busy:
            # A driver refuses the value while its automatic mode is on.
            self._switch_off(control)
            self._device.write(number, round(value[0] * per_unit))

    def lock(self, control: Control) -> None:
        """See `CameraControls.lock`."""
        value = self.read()[control].value
        if value:
            # Many cameras jump back to the last value that they were given.
            self.set(control, value)
        else:
            with self._busy:
                self._switch_off(control)

    def release(self) -> None:
        """See `CameraControls.release`."""
        with self._busy:
            for switch, before in self._taken.items():
                # The camera may be gone.
                with suppress(CameraError):
                    self._device.write(switch, before)
            self._taken.clear()

    def _switch_off(self, control: Control) -> None:
        switch = _CONTROLS[control][0]
        if switch in self._known:
            before = self._device.read(switch)
            if before != _off(switch):
                self._device.write(switch, _off(switch))
                self._taken.setdefault(switch, before)


# Control -> (number of its automatic mode, of its value, unit, device units in one of ours).
_CONTROLS = {
    Control.EXPOSURE_MS: (_EXPOSURE_AUTO, _EXPOSURE_ABSOLUTE, "ms", 10),
    Control.GAIN: (_AUTOGAIN, _GAIN, "device units", 1),
    Control.WHITE_BALANCE: (_AUTO_WHITE_BALANCE, _WHITE_BALANCE_TEMPERATURE, "K", 1),
}


def _off(switch: int) -> int:
    return _EXPOSURE_MANUAL if switch == _EXPOSURE_AUTO else 0
