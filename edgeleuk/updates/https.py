"""Files by HTTPS: certificates are verified, no answer is endless, and what fails is said in a sentence."""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import time
import urllib.request
from base64 import b64encode
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from edgeleuk.bundle.reading import LARGEST_BYTES
from edgeleuk.errors import CameraError, UsageError
from edgeleuk.io.uris import public_uri, split_credentials

if TYPE_CHECKING:
    from http.client import HTTPMessage
    from typing import IO

# The longest silence, and the longest that one file may take.
SILENCE_S, WHOLE_S = 30.0, 1800.0
_AT_ONCE = 1 << 18
# OpenSSL's numbers of what is wrong with a certificate.
_NOT_YET, _EXPIRED = 9, 10


class Address(NamedTuple):
    """An address that may be asked.

    Attributes
    ----------
    url : str
        Without user and password.
    public : str
        As it may be shown.
    headers : dict
        For this host alone.
    plain_http : bool
    """

    url: str
    public: str
    headers: dict[str, str]
    plain_http: bool

    def bundle(self) -> bytes:
        """Fetch what lies there.

        Raises
        ------
        UsageError
            It cannot be fetched.
        """
        data = fetch(self, self.url, LARGEST_BYTES)
        if data is None:
            raise UsageError(f"{self.public} is not there", got="404", cure="check the address")
        return data


def open_address(source: str, *, plain_http: bool) -> Address:
    """Check an address before anybody is asked.

    Raises
    ------
    UsageError
        It is none, or of a scheme that is not taken.
    """
    public = public_uri(source)
    try:
        url, user, password = split_credentials(source)
    except CameraError as error:
        raise UsageError(f"{public} is no address", allowed="https://host/name.edgeleuk") from error
    _require_scheme(url, public, plain_http=plain_http)
    headers = {"User-Agent": "edgeleuk"}
    if user or password:
        headers["Authorization"] = "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    return Address(url, public, headers, plain_http)


def fetch(address: Address, url: str, most_bytes: int) -> bytes | None:
    """Fetch a file of the address's host.

    Parameters
    ----------
    address : Address
    url : str
    most_bytes : int
        A longer answer is refused.

    Returns
    -------
    bytes or None
        None where the host says that there is no such file.

    Raises
    ------
    UsageError
        It cannot be fetched.
    """
    public = public_uri(url)
    request = urllib.request.Request(url)  # noqa: S310 - the scheme is checked
    for name, value in address.headers.items():
        # Not sent on where the host sends us elsewhere.
        request.add_unredirected_header(name, value)
    opener = urllib.request.build_opener(
        _Redirects(plain_http=address.plain_http),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
    )
    try:
        with opener.open(request, timeout=SILENCE_S) as answer:
            return _body(answer, public, most_bytes)
    except HTTPError as error:
        error.close()
        if error.code in {404, 410}:
            return None
        status = f"{error.code} {http.client.responses.get(error.code, '')}".strip()
        raise UsageError(f"{public} cannot be fetched", got=status, cure="check the address") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _unfetched(public, error) from error


def _body(answer: Any, public: str, most_bytes: int) -> bytes:
    """Read an answer that is neither endless, nor cut off, nor too slow."""
    length = answer.headers.get("Content-Length", "")
    wanted = int(length) if length.isdecimal() else None
    if wanted is not None and wanted > most_bytes:
        raise UsageError(f"{public} is too large", got=f"{wanted} bytes", allowed=f"up to {most_bytes}")
    data, end = bytearray(), time.monotonic() + WHOLE_S
    while part := answer.read(_AT_ONCE):
        data += part
        if len(data) > most_bytes:
            raise UsageError(f"{public} is too large", allowed=f"up to {most_bytes} bytes")
        if time.monotonic() > end:
            raise UsageError(f"{public} cannot be fetched", got=f"no end within {WHOLE_S / 60:.0f} minutes")
    if wanted is not None and len(data) < wanted:
        raise UsageError(
            f"{public} ended too early",
            got=f"{len(data)} of {wanted} bytes",
            cure="pull again: nothing was changed",
        )
    return bytes(data)


def _require_scheme(url: str, public: str, *, plain_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and (plain_http or _is_here(parts.hostname))):
        return
    cure = "pass --plain-http to take it all the same: signatures are verified either way"
    raise UsageError(
        f"{public} is not taken from another machine",
        got=f"{parts.scheme}://",
        allowed="https://",
        cure=cure if parts.scheme == "http" else None,
    )


def _is_here(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a host that sends us elsewhere, but never from HTTPS down to HTTP."""

    def __init__(self, *, plain_http: bool) -> None:
        self._plain_http = plain_http

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _require_scheme(newurl, public_uri(newurl), plain_http=self._plain_http)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _unfetched(public: str, error: Exception) -> UsageError:
    """Say why something could not be fetched, and what helps."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        if cause.verify_code in {_NOT_YET, _EXPIRED}:
            when = "is not valid yet" if cause.verify_code == _NOT_YET else "has expired"
            clock = datetime.now(tz=timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
            return UsageError(
                f"the certificate of {public} {when} by this machine's clock",
                got=clock,
                cure="set the clock if it is wrong, as with `timedatectl set-ntp true`, then pull again",
            )
        return UsageError(
            f"the certificate of {public} is not to be trusted",
            got=cause.verify_message,
            cure="if it is your own, name its file in the variable SSL_CERT_FILE",
        )
    if isinstance(cause, TimeoutError):
        got: object = f"no answer within {SILENCE_S:.0f} s"
    else:
        got = getattr(cause, "strerror", None) or cause or type(cause).__name__
    return UsageError(f"{public} cannot be fetched", got=got, cure="check the address and the network")
