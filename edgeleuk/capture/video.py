"""Videos of files, ``rtsp://`` and HTTP through PyAV: typed errors, time-outs, undecoded packets."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.capture.base import (
    OPEN_TIMEOUT_S,
    READ_TIMEOUT_S,
    FrameRejectedError,
    JpegFrame,
    SourceEvent,
    local_path,
)
from edgeleuk.capture.http_body import connection_error
from edgeleuk.capture.recordings import cut_of
from edgeleuk.errors import CameraError
from edgeleuk.frames import Frame
from edgeleuk.io.clock import moment
from edgeleuk.io.closing import Closing
from edgeleuk.io.uris import public_uri

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

    from edgeleuk.capture.http_body import HttpBody

_CHECK = "check the address with a browser or a player"
_CHECK_FILE = "check that a video player shows it"
_CUT = "copy it again from where it was recorded, or mend it with a tool such as `untrunc`"
# Substrings of FFmpeg's sentences -> what the user can do about it.
_CURES = {
    "refused": "switch the camera on, and check its address and port",
    "404": "check the part of the address after the host",
    "401": "put user and password into the address: http://user:password@host/",
    "Invalid data": "give the address of the stream itself, not of a web page that shows it",
    "End of file": "check that the camera sends video",
}


@dataclass(frozen=True, slots=True)
class _Picture:
    """One picture of an inter-coded stream: decoded, because the next ones need it, but not yet RGB."""

    picture: VideoFrame | None
    sequence: int
    captured_at: float
    captured_monotonic: float
    taken_monotonic: float | None
    source: str

    def decode(self) -> Frame:
        if self.picture is None or self.picture.is_corrupt:
            raise FrameRejectedError("damaged video frame", f"{self.source} frame {self.sequence}")
        pixels = np.ascontiguousarray(self.picture.to_ndarray(format="rgb24"), np.uint8)
        arrived = self.captured_at, self.captured_monotonic
        return Frame(pixels, self.sequence, *arrived, self.source, taken_monotonic=self.taken_monotonic)


class VideoSource(Closing):
    """A video file or a network stream.

    Parameters
    ----------
    address : str
        What FFmpeg opens; may hold a password.
    uri : str
        The same without it.
    file : bool
        A local file, which ends; a network stream that knows its length is one as well.
    container : str, optional
        FFmpeg's name of the format, where the address does not tell.
    options : mapping, optional
        FFmpeg's options.
    body : HttpBody, optional
        A connection that is open already, which is read in the place of the address, and closed with it.
    open_timeout_s, read_timeout_s : float

    Raises
    ------
    CameraError
        It cannot be opened, with the reason.
    """

    def __init__(
        self,
        address: str,
        uri: str,
        *,
        file: bool,
        container: str | None = None,
        options: Mapping[str, str] | None = None,
        body: HttpBody | None = None,
        open_timeout_s: float = OPEN_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        import av

        self.uri = uri
        self.notes: Sequence[SourceEvent] = ()
        self._body = body
        self._read_timeout_s = read_timeout_s
        # Held while FFmpeg works: closing a container under a reader's hands is a segmentation fault.
        self._busy = threading.Lock()
        self._closed = False
        # Frames looked at to guess the frame rate would reach the consumer late.
        options = {"fpsprobesize": "0", **(options or {})}
        if address.startswith("http"):
            # FFmpeg would obey the environment's proxy, which knows no camera nearby.
            options["http_proxy"] = ""
        began_s = time.monotonic()
        try:
            place: Any = address if body is None else body
            self._container: InputContainer = av.open(
                place,
                format=container,
                options=options,
                timeout=(open_timeout_s, read_timeout_s),
            )
        except (av.error.FFmpegError, OSError) as error:
            # FFmpeg's RTSP calls it invalid data when nothing came in time.
            late = time.monotonic() - began_s >= open_timeout_s
            raise self._error("cannot be opened", error, open_timeout_s, late=late) from None
        if not self._container.streams.video:
            self._container.close()
            raise CameraError(f"{uri} holds no video", cure=_CHECK_FILE if file else _CHECK)
        self._stream: VideoStream = self._container.streams.video[0]
        # A stream in a format of files may say that it lasts no time.
        self.live = not file and not self._container.duration
        # Frame threads hold back as many frames as there are threads: fine in a file, late on a camera.
        self._stream.thread_type = "SLICE" if self.live else "AUTO"
        self.format = f"{self._stream.codec_context.name} {self._stream.codec_context.pix_fmt or ''}".strip()

    def frames(self) -> Iterator[JpegFrame | _Picture | SourceEvent]:
        """Yield each frame; see `FrameSource.frames`."""
        yield from self.notes
        packets = self._container.demux(self._stream)
        is_jpeg = self._stream.codec_context.name == "mjpeg"
        sequence = 0
        while (packet := self._next(packets)) is not None:
            now = moment()
            taken_s = self._taken_s(packet, now[1])
            if is_jpeg:
                if packet.size:
                    # Without its end marker a damaged packet is rejected, as it should be.
                    data = b"" if packet.is_corrupt else bytes(packet)
                    yield JpegFrame(data, sequence, *now, self.uri, taken_s)
                    sequence += 1
                continue
            for picture in self._decode(packet):
                yield _Picture(picture, sequence, *now, taken_s, self.uri)
                sequence += 1
        if self.live and not self._closed:
            raise CameraError(f"{self.uri} closed the stream", cure="check the camera, then run again")
        if sequence == 0 and not self._closed:
            said = "; ".join(note.text for note in self.notes)
            raise CameraError(f"{self.uri} holds no picture", got=said or None, cure=_CHECK_FILE)

    def close(self) -> None:
        """Close the container; waits for a read that is under way, at most as long as its time-out."""
        self._closed = True
        if self._body is not None:
            self._body.end()
        if self._busy.acquire(timeout=self._read_timeout_s + 1):
            self._container.close()
            if self._body is not None:
                self._body.close()
            self._busy.release()

    def _next(self, packets: Iterator[Packet[VideoStream]]) -> Packet[VideoStream] | None:
        """Next packet; None at the end, or after `close`."""
        import av

        with self._busy:
            if self._closed:
                return None
            try:
                return next(packets, None)
            except (av.error.FFmpegError, OSError) as error:
                raise self._error("died", error, self._read_timeout_s) from None

    def _taken_s(self, packet: Packet[Any], arrived_s: float) -> float | None:  # noqa: ARG002 - as `_explained`
        """When a picture was taken, as `Frame` has it; None where nobody knows."""
        return None

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame] | list[None]:
        """Pictures that a packet completes; one None for a damaged packet."""
        import av

        with self._busy:
            if self._closed:
                return []
            try:
                return [
                    frame
                    for frame in self._stream.codec_context.decode(packet)
                    if isinstance(frame, av.VideoFrame)
                ]
            except av.error.FFmpegError:
                return [None]

    def _explained(self, error: OSError) -> CameraError | None:  # noqa: ARG002 - a subclass knows its device
        """Say a system's error in a sentence, where the generic one does not help."""
        return None

    def _error(self, what: str, error: Exception, timeout_s: float, *, late: bool = False) -> CameraError:
        """Say it without FFmpeg's own sentence, which repeats the address with its password."""
        if isinstance(error, OSError) and (explained := self._explained(error)) is not None:
            return explained
        if self._body is not None and self._body.error is not None:
            # The connection knows more than FFmpeg, which it came through.
            return connection_error(self.uri, what, self._body.error, timeout_s)
        reason = getattr(error, "strerror", None) or type(error).__name__
        if late or "Immediate exit" in reason:
            return CameraError(
                f"{self.uri} {what}",
                got=f"no answer within {timeout_s:.3g} s",
                cure="check the cable and the network",
            )
        cure = next((cure for text, cure in _CURES.items() if text in reason), _CHECK)
        return CameraError(f"{self.uri} {what}", got=reason, cure=cure)


def open_file(uri: str) -> VideoSource:
    """Open ``file://video.mp4``.

    Raises
    ------
    CameraError
        There is no such file, or it holds no video.
    """
    path: Path = local_path(uri.split("://", 1)[1])
    if not path.is_file():
        raise CameraError(
            "there is no such video file", got=public_uri(str(path)), cure="check the path after file://"
        )
    cut = cut_of(path)
    try:
        # The file protocol by name, lest a colon in the file's name be taken for another one.
        source = VideoSource(f"file:{path}", f"file://{path}", file=True)
    except CameraError as error:
        if cut is not None or "End of file" in str(error.got):
            raise _cut_error(path, cut or "it ends before its first picture") from None
        raise CameraError(error.what, got=error.got, cure=_CHECK_FILE) from None
    if cut is not None:
        source.notes = (SourceEvent("cut", f"the recording was cut: {cut}; what is there is shown"),)
    return source


def _cut_error(path: Path, cut: str) -> CameraError:
    return CameraError(f"the recording {path} was cut and cannot be read", got=cut, cure=_CUT)
