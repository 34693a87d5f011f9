"""Who may speak with the page's server: every request, stream and WebSocket passes here, or is refused.

Refused are a strange ``Host`` (DNS rebinding), what another site's page sends (cross-site forms, frames,
pictures and WebSockets), who does not know the token where there is one, and bodies that are large or slow.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import secrets
import socket
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_NAMES = frozenset({"localhost"})
# What a person may send: a note, a label. A page's answer may be far larger.
MOST_BODY_BYTES = 16_384
BODY_WITHIN_S = 10.0
# Of a WebSocket that is closed: policy violation.
POLICY = 1008
# The page asks nobody else for anything, runs no script but its own, and stands in no other site's frame.
SAFETY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
        b" connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_READS = ("GET", "HEAD")


@dataclass(frozen=True)
class Access:
    """Who may see the page.

    Attributes
    ----------
    token : str or None
        What everybody has to know; None on a loopback address, which nobody else reaches.
    hosts : frozenset of str
        Names under which the server may be asked for, in lower case, without a port.
    any_address : bool
        Whether any IP address may be asked for, as of a server on all of them: no name can be rebound to
        the server then. Else only loopback addresses may.
    secure : bool
        Whether the server speaks TLS: then the cookie is sent nowhere else.
    """

    token: str | None = field(default=None, repr=False)
    hosts: frozenset[str] = LOOPBACK_NAMES
    any_address: bool = False
    secure: bool = False

    @classmethod
    def of(cls, host: str, *, secure: bool = False, token: str | None = None) -> Access:
        """Return the access to a server that is bound to `host`: with a token, unless it is loopback.

        By default it is a new one.
        """
        if is_loopback(host):
            return cls(secure=secure)
        own = socket.gethostname().lower()
        names = {*LOOPBACK_NAMES, host.lower(), own, f"{own}.local"}
        return cls(token or secrets.token_urlsafe(24), frozenset(names), any_address=True, secure=secure)

    def knows(self, token: str | None) -> bool:
        """Whether that is the token, compared in constant time."""
        if self.token is None:
            return True
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    def serves(self, host: str) -> bool:
        """Whether that is one of the server's names or addresses; `host` is a ``Host`` header.

        Examples
        --------
        >>> [Access().serves(host) for host in ("localhost:8000", "[::1]:80", "127.0.0.1", "rebound.example")]
        [True, True, True, False]
        """
        name = _host_name(host)
        if name is None:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self.hosts
        return self.any_address or address.is_loopback or name in self.hosts


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that is bound to `host`.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "lab-pi")]
    [True, True, True, False, False]
    """
    if host.lower() in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Refusal(NamedTuple):
    status: int
    why: str


class _Caller:
    """What a request says of who sends it."""

    def __init__(self, scope: Scope) -> None:
        headers: dict[str, str] = {}
        self.hosts = 0
        for name, value in scope["headers"]:
            text = value.decode("latin-1")
            # Several cookies may come in several lines; of anything else the last line is as good as any.
            key = name.decode("latin-1").lower()
            self.hosts += key == "host"
            headers[key] = f"{headers[key]}; {text}" if key == "cookie" and key in headers else text
        self.headers = headers
        self.method: str = scope.get("method", "GET")
        self.websocket = scope["type"] == "websocket"
        self.path: str = scope["path"]
        self.query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
        server = scope.get("server")
        self.port = server[1] if server else 0

    @property
    def cookie_name(self) -> str:
        # Cookies know no ports, and two runs may be served by one machine.
        return f"edgeleuk-{self.port}"

    def token_in_address(self) -> str | None:
        return dict(self.query).get("token")

    @property
    def brings_token(self) -> bool:
        """Whether a person opens the address with the token."""
        return self.method in _READS and self.token_in_address() is not None

    def tokens(self) -> list[str]:
        """Return what may be the token: of the cookie, of the header that programs send, of the address."""
        found = [
            value.strip()
            for part in self.headers.get("cookie", "").split(";")
            for name, _, value in [part.partition("=")]
            if name.strip() == self.cookie_name
        ]
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            found.append(value.strip())
        if (told := self.token_in_address()) is not None:
            found.append(told)
        return found

    def refusal(self, access: Access) -> _Refusal | None:
        """Return why it is refused; None of one that is welcome."""
        host = self.headers.get("host", "")
        if self.hosts != 1 or not access.serves(host):
            return _Refusal(
                421, "this server is not known by that name: use the address that edgeleuk printed"
            )
        if not self._same_site(host):
            return _Refusal(403, "another site's page may not use this server")
        if not any(access.knows(token) for token in [None, *self.tokens()]):
            return _Refusal(401, "open the address that edgeleuk printed, with its token, or scan its code")
        if self.method not in _READS and not self.websocket:
            kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                return _Refusal(415, "what is sent has to be application/json")
        return None

    def _same_site(self, host: str) -> bool:
        """Whether the page that asks is this server's own, or nobody's: a person's, or a program's."""
        origin = self.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return False
        site = self.headers.get("sec-fetch-site", "none")
        # A link that somebody follows only shows the page.
        followed = self.method in _READS and self.headers.get("sec-fetch-mode") == "navigate"
        return site in ("none", "same-origin") or (followed and not self.websocket)


class Guard:
    """Lets through who may speak with the server; an ASGI middleware around all of it.

    Parameters
    ----------
    app : ASGI application
    access : Access
    """

    def __init__(self, app: Application, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request or WebSocket through, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        caller = _Caller(scope)
        refusal = caller.refusal(self._access)
        if caller.websocket:
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": POLICY, "reason": refusal.why[:120]})
            return
        send = _safely(send)
        if refusal is None and self._access.token is not None and caller.brings_token:
            await self._welcome(caller, send)
            return
        body = await _body(caller, receive) if refusal is None else refusal
        if isinstance(body, _Refusal):
            await _refuse(body, caller, send)
            return
        await self._app(scope, _replayed(body, receive), send)

    async def _welcome(self, caller: _Caller, send: Send) -> None:
        """Keep the token as a cookie, and lead on to the address without it.

        The page leads on by itself: a browser that followed a link from elsewhere would not send a strict
        cookie along with a redirect.
        """
        rest = urlencode([(name, value) for name, value in caller.query if name != "token"])
        # One slash at its beginning: two would lead to another server.
        path = "/" + quote(caller.path.lstrip("/\\"))
        to = escape(path + (f"?{rest}" if rest else ""), quote=True)
        cookie = f"{caller.cookie_name}={self._access.token}; Path=/; HttpOnly; SameSite=Strict"
        page = (
            f'<!DOCTYPE html><html lang="en"><title>edgeleuk</title>'
            f'<meta http-equiv="refresh" content="0;url={to}"><a href="{to}">edgeleuk</a></html>'
        )
        headers = [
            (b"set-cookie", (cookie + "; Secure" * self._access.secure).encode()),
            (b"cache-control", b"no-store"),
        ]
        await _answer(200, "text/html; charset=utf-8", page.encode(), send, headers)


async def _body(caller: _Caller, receive: Receive) -> bytes | _Refusal:
    """Read what is sent, within bounds."""
    too_large = _Refusal(413, f"what is sent is too large: at most {MOST_BODY_BYTES} bytes are read")
    length = caller.headers.get("content-length")
    if length is not None and not (length.isascii() and length.isdigit() and int(length) <= MOST_BODY_BYTES):
        return too_large
    if caller.method in _READS:
        if (length or "0") != "0" or "transfer-encoding" in caller.headers:
            return _Refusal(400, "nothing may be sent along with a question")
        return b""
    try:
        return await asyncio.wait_for(_read(receive, too_large), BODY_WITHIN_S)
    except asyncio.TimeoutError:
        return _Refusal(408, f"what is sent has to arrive within {BODY_WITHIN_S:.0f} s")


async def _read(receive: Receive, too_large: _Refusal) -> bytes | _Refusal:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return _Refusal(400, "the connection ended too early")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BODY_BYTES:
            return too_large
        more = message.get("more_body", False)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Hand out a body that has been read, then what else comes: that the caller has gone."""
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _safely(send: Send) -> Send:
    """Add the headers that every answer has."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", [])}
            more = [(name, value) for name, value in SAFETY_HEADERS if name not in present]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return with_headers


async def _refuse(refusal: _Refusal, caller: _Caller, send: Send) -> None:
    # What was not read must not be taken for the next request.
    headers = [(b"connection", b"close"), (b"cache-control", b"no-store")]
    if "text/html" in caller.headers.get("accept", ""):
        page = f'<!DOCTYPE html><html lang="en"><title>edgeleuk</title><p>{escape(refusal.why)}</p></html>'
        await _answer(refusal.status, "text/html; charset=utf-8", page.encode(), send, headers)
        return
    body = json.dumps({"detail": refusal.why}).encode()
    await _answer(refusal.status, "application/json", body, send, headers)


async def _answer(
    status: int, kind: str, body: bytes, send: Send, headers: list[tuple[bytes, bytes]]
) -> None:
    own = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})


def _host_name(host: str) -> str | None:
    """Return the name or address of a ``Host`` header, in lower case; None of what is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return None if parts.username is not None or parts.path or not parts.hostname else parts.hostname
