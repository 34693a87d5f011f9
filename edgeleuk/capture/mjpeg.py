"""``http(s)://`` cameras that push JPEGs, without FFmpeg: a frame is there the moment its last byte arrives.

`MultipartParser` turns bytes into pictures and knows no socket; `MjpegSource` reads the socket.
"""

from __future__ import annotations

import math
import re
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.capture.base import JpegFrame
from edgeleuk.capture.camera_clock import CameraClock
from edgeleuk.capture.http_body import CHECK, connection_error
from edgeleuk.capture.rhythm import Rhythm
from edgeleuk.errors import CameraError
from edgeleuk.io.clock import moment
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from edgeleuk.capture.http_body import HttpBody

# A part, or what is skipped between two pictures, must not grow without end.
MOST_BYTES = 64_000_000
_MOST_HEADER_BYTES = 16_384
# A whole frame, if it is there: each read has to wait for Python's lock.
_READ_BYTES = 262_144

# Some cameras send a picture in ten seconds. In times of the longest silence: how long the first pictures may
# take, and one whose bytes drip; and in usual intervals, what makes a silence.
_FIRST_PICTURES = 2.5
_DRIPS = 6.0
_UNUSUAL = 4.0
_MOST_PATIENCE = 24.0
_NOTICEABLE = 0.2

_NEXT_PICTURE = b"\xff\xd8\xff"
# In entropy-coded data: neither a stuffed FF, nor fill, nor a restart marker.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_BOUNDARY_END = re.compile(rb"(?:--)?[ \t]{0,8}\r?\n")
# More than what may stand around a boundary's name in its line.
_AROUND = 24
_BLANK_LINE = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"(?i)\ncontent-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?\n")
# As mjpg-streamer, uStreamer and the ESP32's camera server write it.
_STAMP = re.compile(rb"(?i)\nx-timestamp[ \t]*:[ \t]*(\d{1,12}(?:\.\d{1,9})?)[ \t]*\r?\n")
_OTHER_TYPE = re.compile(rb"(?i)\ncontent-type[ \t]*:[ \t]*(?![ \t]|image/|application/octet-stream)")


class BrokenStreamError(ValueError):
    """The bytes are no stream of pictures, and waiting for more will not help."""


class Picture(NamedTuple):
    """A JPEG, perhaps damaged, and the time that its camera put beside it, in seconds of whatever clock."""

    data: bytes
    stamp_s: float | None = None


class MultipartParser:
    r"""Bytes in, JPEGs out: ``multipart/x-mixed-replace`` as cameras really send it.

    A part with Content-Length is taken as it is. Without one it ends at the JPEG's own end marker, found by
    walking its segments (thumbnails have end markers, too), or at a boundary that comes first. As long as no
    boundary was seen (some cameras announce another one than they send), a JPEG starts a part as well.

    Parameters
    ----------
    boundary : bytes
        As announced, with or without leading dashes; empty if it was not.
    most_bytes : int
        Of one part.

    Examples
    --------
    >>> parser = MultipartParser(b"frame")
    >>> parser.feed(b"--frame\r\nContent-Length: 4\r\n\r\n\xff\xd8\xff")
    []
    >>> parser.feed(b"\xd9\r\n--frame")
    [Picture(data=b'\xff\xd8\xff\xd9', stamp_s=None)]
    """

    def __init__(self, boundary: bytes, *, most_bytes: int = MOST_BYTES) -> None:
        name = boundary.strip().lstrip(b"-")
        self._needle = b"--" + name if name else b""
        # A short name occurs in pictures by chance: then only at the beginning of a line.
        self._wants_line = len(name) < 4
        self._most_bytes = most_bytes
        # So that the first boundary, too, stands at the beginning of a line.
        self._buffer = bytearray(b"\r\n")
        self._bounded = False
        self._skipped = 0
        self._parts = self._parse()

    def feed(self, data: bytes) -> list[Picture]:
        """Return the pictures that these bytes complete.

        Returns
        -------
        list of Picture
            Each from its first byte on.

        Raises
        ------
        BrokenStreamError
            A part is too large, or there are no pictures at all.
        """
        self._buffer += data
        pictures = []
        for picture in self._parts:
            if picture is None:
                break
            pictures.append(picture)
        return pictures

    def _parse(self) -> Generator[Picture | None, None, None]:
        """Yield pictures, and None where more bytes are wanted."""
        while True:
            header = b""
            if (yield from self._seek()):
                header = yield from self._header()
                if not header:
                    continue
            if (length := _LENGTH.search(header)) is not None:
                end = int(length[1])
                while len(self._buffer) < end:
                    self._limit(end)
                    yield None
            else:
                end = yield from self._picture_end()
            part = bytes(self._buffer[:end]).lstrip()
            self._skip(end)
            if part and _OTHER_TYPE.search(header) is None:
                self._skipped = 0
                stamp = _STAMP.search(header)
                yield Picture(part, None if stamp is None else float(stamp[1]))

    def _seek(self) -> Generator[None, None, bool]:
        """Skip to the next part; True if it begins with a boundary, whose line's end stays in the buffer."""
        while True:
            boundary = self._find_boundary(0)
            picture = -1 if self._bounded else self._buffer.find(_NEXT_PICTURE)
            if boundary is not None and not -1 < picture < boundary[0]:
                self._bounded = True
                self._skip(boundary[1] - 1)
                return True
            if picture >= 0:
                self._skip(picture)
                return False
            self._skip(len(self._buffer) - len(self._needle) - _AROUND)
            yield

    def _skip(self, count: int) -> None:
        del self._buffer[: max(count, 0)]
        self._skipped += max(count, 0)
        self._limit(self._skipped)

    def _limit(self, count: int) -> None:
        if count > self._most_bytes:
            raise BrokenStreamError(f"{count / 1e6:.3g} MB without a picture")

    def _header(self) -> Generator[None, None, bytes]:
        """Take the header with its blank line; empty if there is none in what follows a boundary."""
        while (found := _BLANK_LINE.search(self._buffer, 0, _MOST_HEADER_BYTES)) is None:
            if len(self._buffer) >= _MOST_HEADER_BYTES:
                return b""
            yield
        header = bytes(self._buffer[: found.end()])
        del self._buffer[: found.end()]
        return header

    def _picture_end(self) -> Generator[None, None, int]:
        """Where the part at the beginning of the buffer ends."""
        walk = _JpegWalk()
        searched = 0
        while True:
            boundary = self._find_boundary(searched)
            searched = max(0, len(self._buffer) - len(self._needle) - _AROUND)
            end = walk.end(self._buffer)
            if walk.lost and not self._bounded:
                end = self._buffer.find(_NEXT_PICTURE, walk.at)
            if boundary is not None:
                return boundary[0] if end < 0 else min(end, boundary[0])
            if end >= 0:
                return end
            self._limit(len(self._buffer))
            yield

    def _find_boundary(self, start: int) -> tuple[int, int] | None:
        """Beginning and end of the next whole boundary line, with the line end before it."""
        buffer, needle = self._buffer, self._needle
        at = buffer.find(needle, start) if needle else -1
        while at >= 0:
            if (rest := _BOUNDARY_END.match(buffer, at + len(needle))) is not None:
                begin = at
                while begin > max(0, at - 6) and buffer[begin - 1] == ord("-"):
                    begin -= 1
                is_line = begin > 0 and buffer[begin - 1] == ord("\n")
                if is_line:
                    begin -= 2 if buffer[max(begin - 2, 0) : begin] == b"\r\n" else 1
                if is_line or not self._wants_line:
                    return begin, rest.end()
            at = buffer.find(needle, at + 1)
        return None


class _JpegWalk:
    """Finds the end of a JPEG that is still arriving; `lost` where it is none, or damaged."""

    def __init__(self) -> None:
        self.at = 0
        self.lost = False
        self._begun = self._entropy = False

    def end(self, data: bytearray) -> int:
        """Return the place behind the end marker, -1 before it is there; `data` only ever grows."""
        while not self.lost:
            if self._entropy:
                found = _MARKER.search(data, self.at)
                if found is None:
                    self.at = max(self.at, len(data) - 1)
                    return -1
                self.at, self._entropy = found.start(), False
            if data[self.at : self.at + 2] == b"\xff\xd9" and self._begun:
                return self.at + 2
            if not self._step(bytes(data[self.at : self.at + 4])):
                return -1
        return -1

    def _step(self, here: bytes) -> bool:
        """Go to the next marker; False if the bytes that tell where it is are still missing."""
        if not self._begun:
            blank = len(here) - len(here.lstrip())
            self._begun = here[blank : blank + 2] == b"\xff\xd8"
            self.lost = not self._begun and len(here) >= blank + 2
            self.at += blank + 2 * self._begun
            return self._begun or blank > 0
        if len(here) < 2:
            return False
        if here[0] != 0xFF or here[1] in (0x00, 0xD8):
            self.lost = True
        elif here[1] == 0xFF:
            self.at += 1
        elif here[1] == 0x01 or 0xD0 <= here[1] <= 0xD7:
            self.at += 2
        elif len(here) < 4:
            return False
        else:
            length = int.from_bytes(here[2:], "big")
            self.lost = length < 2
            self.at += 2 + length
            self._entropy = here[1] == 0xDA
        return True


class MjpegSource(Closing):
    """A camera that pushes JPEGs over HTTP; opened by `edgeleuk.capture.http_camera.open_http`.

    Parameters
    ----------
    body : HttpBody
        Of an answer that has begun.
    uri : str
    boundary : bytes
        As in `MultipartParser`.
    timeout_s : float
        The longest silence of a camera whose pictures come at least as often; it grows with their distance.
    """

    def __init__(self, body: HttpBody, uri: str, boundary: bytes, *, timeout_s: float) -> None:
        self.uri = uri
        self.live = True
        self.format = "mjpeg"
        self.simulated = body.simulated
        self._timeout_s = timeout_s
        self._limit_s = timeout_s
        self._rhythm = Rhythm()
        self._clock = CameraClock()
        self._came_after_s = -math.inf
        self._body = body
        body.be_endless()
        self._wait_at_most(_FIRST_PICTURES * timeout_s)
        self._parser = MultipartParser(boundary)
        # Held while the body is read: it must not be closed under the reader's hands.
        self._busy = threading.Lock()
        self._closed = False

    def frames(self) -> Iterator[JpegFrame]:
        """Yield each frame; see `FrameSource.frames`."""
        sequence = 0
        last_s = time.monotonic()
        while data := self._read():
            now = moment()
            try:
                pictures = self._parser.feed(data)
            except BrokenStreamError as error:
                raise CameraError(f"{self.uri} sends no stream of JPEGs", got=error, cure=CHECK) from None
            if pictures:
                self._keep_time(now[1] - last_s, first=sequence == 0)
                last_s = now[1]
            elif now[1] - last_s > _DRIPS * self._limit_s:
                got = f"no whole picture within {_DRIPS * self._limit_s:g} s"
                raise CameraError(f"{self.uri} died", got=got, cure="check the camera and the network")
            for picture in pictures:
                yield JpegFrame(picture.data, sequence, *now, self.uri, self._taken_s(picture, now[1]))
                sequence += 1
        if not self._closed:
            raise CameraError(f"{self.uri} closed the stream", cure="check the camera, then run again")

    def close(self) -> None:
        """Close the connection; a read that is under way in another thread ends at once."""
        self._closed = True
        self._body.end()
        with self._busy:
            self._body.close()

    def _keep_time(self, interval_s: float, *, first: bool) -> None:
        """Wait for the next picture as long as this camera's pictures make it reasonable."""
        if not first:
            self._rhythm.add(interval_s)
        usual_s = self._rhythm.usual_s
        if usual_s is not None:
            longest_s = _MOST_PATIENCE * self._timeout_s
            self._wait_at_most(min(max(self._timeout_s, _UNUSUAL * usual_s), longest_s))

    def _taken_s(self, picture: Picture, arrived_s: float) -> float:
        """When a picture was taken or still on its way: it may have waited here, or at the camera."""
        taken_s = None if picture.stamp_s is None else self._clock.taken_s(picture.stamp_s, arrived_s)
        came_after_s = self._came_after_s
        return came_after_s if taken_s is None else min(taken_s, came_after_s)

    def _wait_at_most(self, seconds: float) -> None:
        if abs(seconds - self._limit_s) > _NOTICEABLE * self._limit_s:
            self._limit_s = seconds
            self._body.wait_at_most(seconds)

    def _read(self) -> bytes:
        """Whatever has arrived, at least one byte; none at the end, or after `close`."""
        with self._busy:
            try:
                data = b"" if self._closed else self._body.read(_READ_BYTES)
            except OSError as error:
                if self._closed:
                    return b""
                raise connection_error(self.uri, "died", error, self._limit_s) from None
            self._came_after_s = self._body.caught_up_s
            return data
