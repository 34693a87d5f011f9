"""A V4L2 driver that answers ioctls from memory: a microscope camera on USB, as uvcvideo presents one.

`RECORDED` is what a real driver (vivid, of Linux 6.1) answered; it holds our layouts to the kernel's.
"""

from __future__ import annotations

import errno
import struct
from typing import Any

from edgeleuk.capture import v4l2

EXPOSURE_AUTO, EXPOSURE, GAIN = 0x009A0901, 0x009A0902, 0x00980913
AUTO_WHITE_BALANCE, TEMPERATURE = 0x0098090C, 0x0098091A
HUE_GROUP, SECRET = 0x00980001, 0x009A09FF


class Driver:
    """Call `ioctl` in the place of ``fcntl.ioctl``.

    Attributes
    ----------
    values : dict
        Control -> value.
    stubborn : set of int
        Controls that take a new value without an error, and keep the old one.
    """

    def __init__(self, driver: bytes = b"uvcvideo", capabilities: int = 0x04200001) -> None:
        self.driver = driver
        self.capabilities = capabilities
        self.values = {EXPOSURE_AUTO: 3, EXPOSURE: 156, GAIN: 20, AUTO_WHITE_BALANCE: 1, TEMPERATURE: 4600}
        self.stubborn: set[int] = set()
        self.gone = False
        self.written: list[tuple[int, int]] = []
        # number, kind, name, least, greatest, step, default, flags
        self.controls: list[tuple[Any, ...]] = [
            (HUE_GROUP, 6, b"User Controls", 0, 0, 0, 0, 0),
            (AUTO_WHITE_BALANCE, 2, b"White Balance, Automatic", 0, 1, 1, 1, 0),
            (GAIN, 1, b"Gain", 0, 100, 1, 0, 0),
            (TEMPERATURE, 1, b"White Balance Temperature", 2800, 6500, 10, 4600, 0x10),
            (EXPOSURE_AUTO, 3, b"Auto Exposure", 0, 3, 1, 3, 0),
            (EXPOSURE, 1, b"Exposure Time, Absolute", 1, 5000, 1, 156, 0x10),
            (SECRET, 1, b"Disabled", 0, 1, 1, 0, 1),
        ]
        self.formats = [(b"YUYV 4:2:2", b"YUYV"), (b"Motion-JPEG", b"MJPG"), (b"H.264", b"H264")]
        self.sizes: dict[bytes, list[tuple[int, int, tuple[int, ...]]]] = {
            b"YUYV": [(640, 480, (30, 15)), (1280, 960, (7,))],
            b"MJPG": [(640, 480, (30,)), (1280, 960, (30, 15)), (2592, 1944, (15,))],
            b"H264": [(1280, 720, (30,))],
        }

    def ioctl(self, _: int, what: int, buffer: bytearray) -> int:
        if self.gone:
            raise OSError(errno.ENODEV, "No such device")
        answers = {
            v4l2.QUERYCAP: self._query,
            v4l2.ENUM_FMT: self._format,
            v4l2.ENUM_FRAMESIZES: self._size,
            v4l2.ENUM_FRAMEINTERVALS: self._interval,
            v4l2.QUERYCTRL: self._control,
            v4l2.G_CTRL: self._get,
            v4l2.S_CTRL: self._set,
        }
        try:
            buffer[:] = answers[what](bytes(buffer))
        except (IndexError, KeyError):
            raise OSError(errno.EINVAL, "Invalid argument") from None
        return 0

    def _query(self, _: bytes) -> bytes:
        names = self.driver, b"USB Microscope", b"usb-0000:01:00.0-1.2"
        # What the whole device has, and what this node has: uvcvideo's second node sends metadata alone.
        flags = 0x84A00001, self.capabilities
        return v4l2.CAPABILITY.pack(*names, 0x060100, *flags, 0, 0, 0)

    def _format(self, question: bytes) -> bytes:
        index = v4l2.FORMAT.unpack(question)[0]
        text, fourcc = self.formats[index]
        (number,) = struct.unpack("<I", fourcc)
        return v4l2.FORMAT.pack(index, 1, 0, text, number, 0, 0, 0, 0)

    def _size(self, question: bytes) -> bytes:
        index, number = v4l2.SIZE.unpack(question)[:2]
        width, height, _ = self.sizes[struct.pack("<I", number)][index]
        return v4l2.SIZE.pack(index, number, 1, width, height, *[0] * 6)

    def _interval(self, question: bytes) -> bytes:
        index, number, width, height = v4l2.INTERVAL.unpack(question)[:4]
        (rates,) = (fps for w, h, fps in self.sizes[struct.pack("<I", number)] if (w, h) == (width, height))
        return v4l2.INTERVAL.pack(index, number, width, height, 1, 1, rates[index], *[0] * 6)

    def _control(self, question: bytes) -> bytes:
        after = v4l2.CONTROL.unpack(question)[0] & 0x7FFFFFFF
        (found, *_) = [each for each in sorted(self.controls) if each[0] > after] or [()]
        return v4l2.CONTROL.pack(*found[:8], 0, 0) if found else self._none()

    def _none(self) -> bytes:
        raise IndexError

    def _get(self, question: bytes) -> bytes:
        number, _ = v4l2.VALUE.unpack(question)
        return v4l2.VALUE.pack(number, self.values[number])

    def _set(self, question: bytes) -> bytes:
        number, value = v4l2.VALUE.unpack(question)
        automatic = {
            EXPOSURE: self.values[EXPOSURE_AUTO] != 1,
            TEMPERATURE: bool(self.values[AUTO_WHITE_BALANCE]),
        }
        if automatic.get(number):
            raise OSError(errno.EACCES, "Permission denied")
        self.written.append((number, value))
        if number not in self.stubborn:
            self.values[number] = value
        return question


# (number of the ioctl, question, answer)
RECORDED = [
    (
        0x80685600,
        bytes.fromhex("") + bytes(104),
        bytes.fromhex(
            "766976696400000000000000000000007669766964000000000000000000000000000000000000000000000000000000706c6174666f726d3a76697669642d3030300000000000000000000000000000b00106000500208505002005"
        )
        + bytes(12),
    ),  # QUERYCAP
    (
        0xC0405602,
        bytes.fromhex("0000000001") + bytes(59),
        bytes.fromhex(
            "0000000001000000e00100005955595620343a323a320000000000000000000000000000000000000000000059555956"
        )
        + bytes(16),
    ),  # ENUM_FMT
    (
        0xC02C564A,
        bytes.fromhex("0000000059555956") + bytes(36),
        bytes.fromhex("00000000595559560100000040010000b4") + bytes(27),
    ),  # ENUM_FRAMESIZES
    (
        0xC034564B,
        bytes.fromhex("000000005955595640010000b4") + bytes(39),
        bytes.fromhex("000000005955595640010000b4000000010000000100000001") + bytes(27),
    ),  # ENUM_FRAMEINTERVALS
    (
        0xC0445624,
        bytes.fromhex("12099880") + bytes(64),
        bytes.fromhex(
            "13099800010000004761696e0000000000000000000000000000000000000000000000000000000000000000ff000000010000006400000090"
        )
        + bytes(11),
    ),  # QUERYCTRL
    (0xC008561B, bytes.fromhex("130998") + bytes(5), bytes.fromhex("1309980013") + bytes(3)),  # G_CTRL
]
