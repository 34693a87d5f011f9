"""``rtsp://`` cameras: over TCP, which loses nothing, and over UDP where a camera knows nothing else."""

from __future__ import annotations

import time
from contextlib import suppress

from edgeleuk.capture.base import OPEN_DEADLINE_S, OPEN_TIMEOUT_S, READ_TIMEOUT_S, SourceEvent
from edgeleuk.capture.deadline import Opening, opened_within
from edgeleuk.capture.video import VideoSource
from edgeleuk.errors import CameraError
from edgeleuk.io.uris import public_uri, split_credentials

# Whoever answers so would answer the same to UDP.
_FINAL = ("refused", "401", "403", "404", "unreachable", "No route", "Name or service", "resolution")
_WAITS_S = (0.1, 0.5, 1.5)
_UDP = "the camera does not send over TCP: it is opened over UDP, where parts of pictures may be lost"


def open_rtsp(uri: str, *, deadline_s: float = OPEN_DEADLINE_S) -> VideoSource:
    """Open a network camera; see `VideoSource` for the errors.

    Parameters
    ----------
    uri : str
        May hold a user and a password.
    deadline_s : float
        Of the whole opening, both tries included.
    """
    split_credentials(uri)
    public = public_uri(uri)

    def opener(opening: Opening) -> VideoSource:
        return _open(uri, public, opening)

    return opened_within(public, deadline_s, opener)


def _open(uri: str, public: str, opening: Opening) -> VideoSource:
    try:
        return _opened(uri, public, "tcp", opening)
    except CameraError as error:
        if any(text in str(error.got) for text in _FINAL):
            raise
        # Where nothing at all came, a second try is enough.
        waits_s = _WAITS_S[:1] if "no answer" in str(error.got) else _WAITS_S
        source = _opened_over_udp(uri, public, waits_s, opening)
        if source is None:
            raise
    source.notes = (SourceEvent("udp", _UDP),)
    return source


def _opened_over_udp(
    uri: str, public: str, waits_s: tuple[float, ...], opening: Opening
) -> VideoSource | None:
    """Open it a second time; a server may need a moment until it has forgotten the first."""
    for wait_s in waits_s:
        time.sleep(wait_s)
        if opening.is_over():
            break
        with suppress(CameraError):
            return _opened(uri, public, "udp", opening)
    return None


def _opened(uri: str, public: str, transport: str, opening: Opening) -> VideoSource:
    return VideoSource(
        uri,
        public,
        file=False,
        options={"rtsp_transport": transport},
        open_timeout_s=min(OPEN_TIMEOUT_S, opening.left_s()),
        read_timeout_s=READ_TIMEOUT_S,
    )
