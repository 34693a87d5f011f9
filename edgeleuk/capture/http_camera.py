"""``http(s)://`` cameras: one connection, handed on to whoever can read what comes.

Cameras are asked once: many serve one client, and refuse the second time. What they call their stream is
believed less than its first bytes.
"""

from __future__ import annotations

import functools
import http.client
import re
import socket
import ssl
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit

from edgeleuk.capture.base import OPEN_DEADLINE_S, READ_TIMEOUT_S
from edgeleuk.capture.deadline import opened_within
from edgeleuk.capture.http_body import CHECK, HttpBody, connection_error
from edgeleuk.capture.mjpeg import MjpegSource
from edgeleuk.errors import CameraError
from edgeleuk.io.uris import public_uri, split_credentials

if TYPE_CHECKING:
    from edgeleuk.capture.deadline import Opening
    from edgeleuk.capture.video import VideoSource

_STATUS_CURES = {
    401: "put the right user and password into the address: http://user:password@host/",
    403: "allow this user the stream in the camera's settings, or give another one in the address",
    404: "check the part of the address after the host",
    503: "close other viewers: many cameras serve only one or two",
}
# Certainly no video; FFmpeg is asked about the rest. Playlists are sent as text by some.
_NO_VIDEO = re.compile(r"text/|image/|application/(json|xml|xhtml\+xml|javascript|pdf)$")
_PLAYLISTS = (".m3u8", ".mpd")
_PLAYLIST_TYPES = re.compile(r"application/(vnd\.apple\.mpegurl|x-mpegurl|dash\+xml)$|audio/(x-)?mpegurl$")
_MOST_BOUNDARY_BYTES = 256
_LEAST_BYTES = 6
_FIRST_READ_BYTES = 65_536


def open_http(
    uri: str, *, timeout_s: float = READ_TIMEOUT_S, deadline_s: float = OPEN_DEADLINE_S
) -> MjpegSource | VideoSource:
    """Ask a network camera what it sends, and open that: JPEGs without FFmpeg, other video with it.

    No proxy is asked: cameras are near. Certificates are verified; ``SSL_CERT_FILE`` names one's own.

    Parameters
    ----------
    uri : str
        May hold a user and a password; they go to this host only, also when it sends us elsewhere.
    timeout_s : float
        The longest silence.
    deadline_s : float
        Of the whole opening.

    Raises
    ------
    CameraError
        It cannot be opened, or what it sends is no video.
    """
    public = public_uri(uri)

    def opener(opening: Opening) -> MjpegSource | VideoSource:
        return _open(uri, public, timeout_s, opening)

    return opened_within(public, deadline_s, opener)


def _open(uri: str, public: str, timeout_s: float, opening: Opening) -> MjpegSource | VideoSource:
    from edgeleuk.capture.video import VideoSource

    address, *credentials = split_credentials(uri)
    response = _answer(public, address, credentials, timeout_s, opening)
    body = HttpBody(response, opening.connection)
    try:
        kind = response.headers.get_content_type() if "Content-Type" in response.headers else ""
        if kind.startswith("multipart/"):
            boundary = response.headers.get_boundary() or ""
            return MjpegSource(body, public, boundary.encode("latin-1", "replace"), timeout_s=timeout_s)
        if _is_playlist(address, kind) or _is_seekable(response, kind):
            # Many requests, or jumps within a file, are FFmpeg's own business.
            body.close()
            return VideoSource(uri, public, file=False, open_timeout_s=opening.left_s())
        begin = _looked_at(public, body, timeout_s)
        boundary_seen = _boundary(begin)
        if not boundary_seen:
            _refuse_other(public, kind)
        if boundary_seen or begin.startswith(b"\xff\xd8\xff"):
            return MjpegSource(body, public, boundary_seen, timeout_s=timeout_s)
        return VideoSource(public, public, file=False, body=body, open_timeout_s=opening.left_s())
    except BaseException:
        body.close()
        raise


def _refuse_other(public: str, kind: str) -> None:
    if _NO_VIDEO.match(kind):
        cure = "give the address of the stream itself, not of a page or a picture that shows it"
        raise CameraError(f"{public} sends no video", got=kind, cure=cure)


def _answer(
    public: str, address: str, credentials: list[str], timeout_s: float, opening: Opening
) -> http.client.HTTPResponse:
    """Ask, and take the header of the answer."""
    opener = _opener(address, *credentials, opening=opening)
    request = urllib.request.Request(address, headers={"User-Agent": "edgeleuk"})  # noqa: S310 - no other scheme
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout_s)
    except HTTPError as error:
        error.close()
        status = f"{error.code} {http.client.responses.get(error.code, '')}".strip()
        cure = _STATUS_CURES.get(error.code, CHECK)
        raise CameraError(f"{public} cannot be opened", got=status, cure=cure) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise connection_error(public, "cannot be opened", error, timeout_s) from None
    return response


def _is_playlist(address: str, kind: str) -> bool:
    return urlsplit(address).path.endswith(_PLAYLISTS) or _PLAYLIST_TYPES.match(kind) is not None


def _is_seekable(response: http.client.HTTPResponse, kind: str) -> bool:
    """Whether it is a video file on a web server, which may be asked again for another part."""
    ranges = response.headers.get("Accept-Ranges", "").strip().lower() == "bytes"
    return ranges and response.headers.get("Content-Length") is not None and not _NO_VIDEO.match(kind)


def _looked_at(public: str, body: HttpBody, timeout_s: float) -> bytes:
    """Look at the first bytes of what comes: a whole line, where it begins like a boundary."""
    begin = b""
    try:
        while len(begin) < _LEAST_BYTES or (_may_be_boundary(begin) and len(begin) < _MOST_BOUNDARY_BYTES):
            data = body.read(_FIRST_READ_BYTES)
            if not data:
                break
            begin += data
    except OSError as error:
        raise connection_error(public, "cannot be opened", error, timeout_s) from None
    if not begin:
        raise CameraError(f"{public} sends no video", got="an empty answer", cure=CHECK)
    body.put_back(begin)
    return begin.lstrip(b"\r\n")


def _may_be_boundary(begin: bytes) -> bool:
    line = begin.lstrip(b"\r\n")
    return line.startswith(b"--") and b"\n" not in line


def _boundary(begin: bytes) -> bytes:
    """Return the boundary that a stream begins with, and does not announce; empty if it does not."""
    found = re.match(
        rb"--([^\r\n]{1,200}?)[ \t]*\r?\n[A-Za-z-]+[ \t]*:|--([^\r\n]{1,200}?)[ \t]*\r?\n?$", begin
    )
    return b"" if found is None else found[1] or found[2]


class _Watched:
    """Lets a connection of ``http.client`` tell an opening of its socket, before anything is sent on it."""

    def __init__(self, *args: Any, opening: Opening, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._opening = opening
        self._create_connection = self._connected

    def connect(self: Any) -> None:
        super().connect()  # type: ignore[misc]  # of the connection that it is mixed into
        self._opening.connection = self.sock

    def _connected(self, *where: Any) -> socket.socket:
        # Here, so that a TLS handshake that never ends is known of as well.
        made = socket.create_connection(*where)
        self._opening.keep(made)
        return made


class _Connection(_Watched, http.client.HTTPConnection):
    pass


class _TlsConnection(_Watched, http.client.HTTPSConnection):
    pass


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, opening: Opening) -> None:
        super().__init__()
        self._opening = opening

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_Connection, opening=self._opening), req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, opening: Opening) -> None:
        super().__init__()
        self._opening = opening

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        make = functools.partial(_TlsConnection, opening=self._opening)
        return self.do_open(make, req, context=ssl.create_default_context())


def _opener(address: str, user: str, password: str, *, opening: Opening) -> urllib.request.OpenerDirector:
    """Make an opener for http and https alone, that tells this address's host alone the password."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        _HttpHandler(opening),
        _HttpsHandler(opening),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    if user:
        passwords, root = urllib.request.HTTPPasswordMgrWithPriorAuth(), urljoin(address, "/")
        # A camera may send us from its http to its https.
        for place in (root, root.replace("http://", "https://", 1)):
            passwords.add_password(None, place, user, password, is_authenticated=True)
        opener.add_handler(urllib.request.HTTPBasicAuthHandler(passwords))
        opener.add_handler(urllib.request.HTTPDigestAuthHandler(passwords))
    return opener
