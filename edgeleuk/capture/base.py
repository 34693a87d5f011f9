"""What every source of pictures keeps to, and the table that finds it by its URI."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.frames import Frame
from edgeleuk.io.clock import now
from edgeleuk.io.closing import Closing
from edgeleuk.io.nearest import did_you_mean
from edgeleuk.io.plugins import CAMERAS, find_plugin, installed_plugins
from edgeleuk.io.uris import is_simulated, public_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

# The longest silence of a network camera, and the longest opening, whatever it consists of.
OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0
OPEN_DEADLINE_S = 12.0
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class EncodedFrame(Protocol):
    """A picture that has arrived and is not decoded yet, because most of a camera's never need to be."""

    @property
    def sequence(self) -> int:
        """Number at the source, as in `Frame`."""
        ...

    def decode(self) -> Frame:
        """Decode it.

        Raises
        ------
        FrameRejectedError
            The bytes are damaged.
        """
        ...


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """Something worth a line in the session that is no frame: a file skipped, a camera that came back.

    Attributes
    ----------
    kind : str
        One word, for counting.
    text : str
        One sentence, for reading.
    at : float
        As `edgeleuk.io.clock.now` tells it: it may be recorded much later, once a picture comes again.
    """

    kind: str
    text: str
    at: float = field(default_factory=now, compare=False)


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """One JPEG of a stream, as it came; an `EncodedFrame`.

    Attributes
    ----------
    data : bytes
    sequence, captured_at, captured_monotonic, source, taken_monotonic
        As in `Frame`.
    """

    data: bytes
    sequence: int
    captured_at: float
    captured_monotonic: float
    source: str
    taken_monotonic: float | None = None

    def decode(self) -> Frame:
        """Decode it; see `EncodedFrame.decode`."""
        from edgeleuk.io.pictures.decoding import PictureRefusedError, decode_jpeg_frame

        where = f"{self.source} frame {self.sequence}"
        try:
            pixels = decode_jpeg_frame(self.data, where)
        except PictureRefusedError as error:
            raise FrameRejectedError(error.reason, where) from None
        return Frame(
            pixels,
            self.sequence,
            self.captured_at,
            self.captured_monotonic,
            self.source,
            taken_monotonic=self.taken_monotonic,
        )


SourceItem = Frame | EncodedFrame | SourceEvent


class FrameSource(Closing, Protocol):
    """Where pictures come from.

    A source is opened when it is made, so that a camera which cannot be opened says so at once. One that
    draws its pictures has an attribute ``simulated`` that is True.
    """

    @property
    def uri(self) -> str:
        """Its address, without the password."""
        ...

    @property
    def live(self) -> bool:
        """True: a camera, which does not wait, so the newest frame wins. False: every frame is processed."""
        ...

    def frames(self) -> Iterator[SourceItem]:
        """Yield what arrives, in order, once.

        It ends when a folder or a file does. A live source never ends: it raises.

        Raises
        ------
        CameraError
            The camera died.
        """
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...


class FrameRejectedError(DataRefusedError):
    """One picture is unreadable. The pipeline counts it by its reason and goes on.

    Parameters
    ----------
    reason : str
        Few words, the same for all pictures with the same fault.
    where : str
        Which picture.
    """

    def __init__(self, reason: str, where: str) -> None:
        self.reason = reason
        super().__init__(f"a picture was rejected, {reason}", got=where)


SOURCES: dict[str, str] = {
    "dir": "edgeleuk.capture.folder:open_folder",
    "file": "edgeleuk.capture.video:open_file",
    "gstreamer": "edgeleuk.capture.gstreamer:open_gstreamer",
    "http": "edgeleuk.capture.http_camera:open_http",
    "https": "edgeleuk.capture.http_camera:open_http",
    "openflexure": "edgeleuk.capture.openflexure:open_openflexure",
    "picamera": "edgeleuk.capture.pi:open_pi",
    "rtsp": "edgeleuk.capture.rtsp:open_rtsp",
    "v4l2": "edgeleuk.capture.v4l2_camera:open_v4l2",
    "virtual": "edgeleuk.capture.scripted:open_virtual",
}


def open_source(uri: str) -> FrameSource:
    """Open a camera, a file or a folder by its URI, or a file or a folder by its path.

    Parameters
    ----------
    uri : str
        ``dir://folder``, ``file://video.mp4``, ``http://``, ``https://``, ``rtsp://``, ``v4l2://``,
        ``picamera://``, ``openflexure://``, ``gstreamer:``, ``virtual://``, the scheme of a plug-in, or a
        path that exists.

    Raises
    ------
    UsageError
        The scheme is unknown.
    CameraError
        It cannot be opened.
    DataRefusedError
        A folder without pictures.
    MissingDependencyError
        What a Pi camera or GStreamer needs is not installed.
    PluginError
        The plug-in of this scheme cannot be used.
    """
    if uri.lower().startswith("gstreamer:"):
        # A pipeline may hold :// itself, and is no address.
        uri = "gstreamer://" + uri.split(":", 1)[1].removeprefix("//")
    if re.match(r"[a-z0-9+.-]+://", uri, re.IGNORECASE) is None:
        path = Path(uri)
        if not uri or not path.exists():
            raise UsageError(
                "neither a camera URI nor an existing path", got=repr(public_uri(uri)), allowed=_allowed()
            )
        uri = f"{'dir' if _is_pictures(path) else 'file'}://{uri}"
    scheme, rest = uri.split("://", 1)
    scheme = scheme.lower()
    if scheme not in SOURCES:
        if (plugin := find_plugin(CAMERAS, scheme, SOURCES)) is not None:
            module = importlib.import_module("edgeleuk.capture.plugin")
            of_plugin: FrameSource = module.open_plugin(plugin, uri)
            return of_plugin
        near = did_you_mean(scheme, SOURCES)
        raise UsageError("unknown camera URI", got=public_uri(uri), allowed=_allowed(), cure=near)
    if scheme == "file" and _is_pictures(local_path(rest)):
        scheme = "dir"
    name, function = SOURCES[scheme].split(":")
    source: FrameSource = getattr(importlib.import_module(name), function)(f"{scheme}://{rest}")
    return source


def local_path(text: str) -> Path:
    """Path of a ``dir://`` or ``file://`` URI's rest; ``%20`` is understood where no such name exists."""
    path = Path(text)
    return path if path.exists() else Path(unquote(text))


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts ``field2`` before ``field10``; the name itself decides between 1 and 01."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], path.name


def is_simulated_source(source: FrameSource) -> bool:
    """Whether a source that is open draws its pictures, or says that whoever sends them does."""
    return is_simulated(source.uri) or bool(getattr(source, "simulated", False))


def decoded(item: Frame | EncodedFrame) -> Frame:
    """Turn what a source yields into a frame; see `EncodedFrame.decode` for the error."""
    return item if isinstance(item, Frame) else item.decode()


def _is_pictures(path: Path) -> bool:
    # Pictures that are not read are named by a folder: FFmpeg would take some of them for videos.
    from edgeleuk.io.pictures.headers import NOT_READ

    return path.is_dir() or path.suffix.lower() in {*PICTURE_SUFFIXES, *NOT_READ}


def _allowed() -> str:
    added = [each.scheme for each in installed_plugins(CAMERAS, SOURCES) if each.error is None]
    return ", ".join(f"{scheme}://" for scheme in (*SOURCES, *added)) + ", a path"
