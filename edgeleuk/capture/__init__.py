"""Images out of files and cameras: one protocol, one table of URI schemes, newest frame first."""

from __future__ import annotations

from edgeleuk.capture.base import (
    SOURCES,
    EncodedFrame,
    FrameRejectedError,
    FrameSource,
    SourceEvent,
    decoded,
    is_simulated_source,
    open_source,
)
from edgeleuk.capture.newest import FrameReader, open_reader
from edgeleuk.capture.reconnecting import ReconnectPolicy, open_camera
from edgeleuk.io.uris import is_simulated, public_uri

__all__ = [
    "SOURCES",
    "EncodedFrame",
    "FrameReader",
    "FrameRejectedError",
    "FrameSource",
    "ReconnectPolicy",
    "SourceEvent",
    "decoded",
    "is_simulated",
    "is_simulated_source",
    "open_camera",
    "open_reader",
    "open_source",
    "public_uri",
]
