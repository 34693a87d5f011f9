"""Addresses of cameras: what of them may be shown, and what goes over the wire.

A password must never be seen, so that what is doubtful is hidden: rather a stream's name too many than a
password.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from edgeleuk.errors import CameraError

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN = "***"
# Of files and of what is made here, only what is named a secret is one.
_LOCAL = ("dir", "file", "v4l2", "picamera", "virtual")
# What the name of a secret has in it.
_TELLING = (
    r"pass|pwd|psw|token|key|secret|auth|sid|sess|sign?|cred|jwt|cookie|\bpin|\bcode\b|login(?!use)"
    r"|[-_]pw|^pw"
)
_SECRET_NAME = re.compile(rf"(?i){_TELLING}")
# In a path, too: some recorders want /user=admin_password=..._channel=1.
_SECRET_IN_PATH = re.compile(r"(?i)((?:pass|pwd|psw|token|secret|auth|key)[\w.-]*=)[^&;/?#\s]*")
# What cameras are asked for; the value of any other key may be a secret.
# fmt: off
_HARMLESS = frozenset((
    "action", "cam", "camera", "channel", "channelid", "chn", "ch", "codec", "codecs",
    "compression", "container", "delay", "device", "encoder", "format", "fps", "framerate",
    "height", "img", "input", "loginuse", "mode", "n", "name", "picture", "port", "profile",
    "proto", "protocol", "q", "quality", "rate", "real_stream", "req_fps", "resolution", "res",
    "rotation", "size", "snapshot", "stream", "streamtype", "subtype", "transport",
    "transportmode", "type", "unicast", "user", "username", "usr", "v", "view", "video",
    "videocodec", "width", "x",
))
# fmt: on
_SMALL_NUMBER = re.compile(r"\d{1,3}")
# Where an address is well formed, its query holds no password's @.
_WELL_FORMED = re.compile(
    r"(?:[^/?#@:]*(?::[^/?#@]*)?@)?(?:\[[^\]/@]*\]|[^/:?#@\[\]]+)(?::\d{1,5})?(?:/[^?#@]*)?(?=[?#]|$)"
)
# An @ behind these may end a password that has them in it.
_DOUBTFUL = re.compile(r"[^/:?#@]*:\d+[?#].*@|[^?#]*#.*@")


def public_uri(uri: str) -> str:
    """Take what may be a secret out of an address, for logs, errors and records.

    Hidden are the password, and in a query what is not known to be harmless. An address that is not well
    formed is hidden up to its last @. ``gstreamer:`` pipelines are taken apart into their addresses and
    properties.

    Examples
    --------
    >>> public_uri("rtsp://admin:s3/cr@et@10.0.0.5/live?token=abc&channel=1")
    'rtsp://admin:***@10.0.0.5/live?token=***&channel=1'
    >>> public_uri("gstreamer:rtspsrc location=rtsp://admin:s3cret@h/ user-pw=s3cret ! appsink")
    'gstreamer:rtspsrc location=rtsp://admin:***@h/ user-pw=*** ! appsink'
    """
    if uri.lower().startswith("gstreamer:"):
        return uri[:10] + public_pipeline(uri[10:])
    scheme, separator, rest = uri.partition("://")
    if not separator:
        # A mistyped address is one as well: rtsp:/admin:s3cret@host
        scheme, rest = "", uri
    whole = _WELL_FORMED.match(rest)
    if whole is None or _DOUBTFUL.match(rest):
        place, query = rest, ""
    else:
        place, query = rest[: whole.end()], rest[whole.end() :]
    place = _SECRET_IN_PATH.sub(rf"\1{HIDDEN}", _without_password(place))
    return f"{scheme}{separator}{place}{_public_query(query, local=scheme.lower() in _LOCAL)}"


def public_text(text: str) -> str:
    """Take what may be a secret out of the addresses in a text that others wrote.

    Examples
    --------
    >>> public_text("Got unexpected extra argument(s) (http://admin:s3cret@h/x)")
    'Got unexpected extra argument(s) (http://admin:***@h/x)'
    """
    return re.sub(
        r"\w[\w+.-]*:/[^\s\"']*|[^\s\"'(:]+:[^\s\"']*@[^\s\"']+", lambda found: public_uri(found[0]), text
    )


def public_pipeline(pipeline: str) -> str:
    """Take what may be a secret out of a GStreamer pipeline: passwords in addresses and in properties."""
    pipeline = re.sub(
        rf"(?i)([\w-]*(?:{_TELLING}|header)[\w-]*\s*=\s*)(?:\"[^\"]*\"|'[^']*'|[^\s\"']+)",
        rf"\1{HIDDEN}",
        pipeline,
    )
    elements = re.split(r"(\s!\s)", pipeline)
    elements = [re.sub(r"(?s)(://[^:/@\s]*):.*@", rf"\1:{HIDDEN}@", element) for element in elements]
    return re.sub(r"\w[\w+.-]*://[^\s\"']+", lambda found: public_uri(found[0]), "".join(elements))


def split_credentials(uri: str) -> tuple[str, str, str]:
    """Take user and password out of a URI, and escape what HTTP cannot carry.

    Examples
    --------
    >>> split_credentials("http://admin:s3%20cret@10.0.0.5:81/a b?x=1")
    ('http://10.0.0.5:81/a%20b?x=1', 'admin', 's3 cret')

    Raises
    ------
    CameraError
        There is no host, or a port that is no number.
    """
    url = urlsplit("")
    with suppress(ValueError):
        parts = urlsplit(uri)
        url = parts if parts.port != 0 else url
    credentials, _, host = url.netloc.rpartition("@")
    if not url.hostname:
        # What could not be taken apart may show its password: it is left out.
        raise CameraError(
            f"{uri.partition(':')[0]}://... is no address of a camera",
            cure="write it like http://host:port/path, with %2F %23 %3F for / # ? in a password",
        )
    user, _, password = credentials.partition(":")
    target = quote(url._replace(scheme="", netloc="", fragment="").geturl(), safe="/?%:=~+!$,;'@()*[]&")
    return f"{url.scheme}://{host}{target or '/'}", unquote(user), unquote(password)


def _without_password(place: str) -> str:
    """Hide what stands before the last @, but for the user's name."""
    before, at, host = place.rpartition("@")
    if not at:
        return place
    user, colon, _ = before.partition(":")
    return f"{user}:{HIDDEN}@{host}" if colon else f"{HIDDEN}@{host}"


def _public_query(query: str, *, local: bool) -> str:
    """Hide the values of a query and a fragment, but for those that say nothing."""

    def value(found: re.Match[str]) -> str:
        mark, key, equals, text = found.groups()
        secret = _SECRET_NAME.search(unquote(key)) is not None
        if equals:
            plain = unquote(key).lower() in _HARMLESS and "@" not in unquote(text)
            shown = not secret and (local or plain or _SMALL_NUMBER.fullmatch(text) is not None)
            return f"{mark}{key}={text if shown or not text else HIDDEN}"
        shown = local or key.lower() in _HARMLESS or _SMALL_NUMBER.fullmatch(key) is not None
        return f"{mark}{key if shown or not key else HIDDEN}"

    return re.sub(r"([?&;#])([^=&;#]*)(=?)([^&;#]*)", value, query)


def is_simulated(uri: str) -> bool:
    """Whether a source draws its pictures instead of taking them."""
    return uri.startswith("virtual:")


def is_simulated_session(settings: Mapping[str, object], summary: Mapping[str, object] | None = None) -> bool:
    """Whether a session was recorded from such a source, at least in part."""
    said = settings.get("simulated") or (summary or {}).get("simulated")
    return bool(said) or is_simulated(str(settings.get("camera", "")))
