"""A server in a thread of its own, which never outlives its block and never keeps it waiting for long."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import socket
import ssl
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import segno
import uvicorn

from edgeleuk.errors import EdgeleukError, UsageError
from edgeleuk.io.console import say
from edgeleuk.serve.bounds import BoundedListener, BoundedProtocol, Connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.serve.access import Access
    from edgeleuk.serve.address import ServeOptions

# Who waits in the kernel's queue costs nothing; who finds it full asks again a second later.
_BACKLOG = 1024
_SEND_BUFFER_BYTES = 131_072
_START_WITHIN_S, _END_WITHIN_S = 20.0, 2.0
# A message of a page's WebSocket says one thing.
_MOST_MESSAGE_BYTES = 16_384
_PING_EVERY_S = 5.0
# The server yields to whoever counts cells.
_NICE = 10
_ALL = ("0.0.0.0", "::", "")  # noqa: S104 - only compared with what somebody typed


class Served(NamedTuple):
    """Where the server can be reached.

    Attributes
    ----------
    host : str
    port : int
    secure : bool
        Whether it speaks TLS.
    """

    host: str
    port: int
    secure: bool

    def url(self, access: Access, path: str = "/") -> str:
        """Return the address that a person opens, with the token where there is one."""
        host = _reachable_name() if self.host in _ALL else self.host
        host = f"[{host}]" if ":" in host else host
        token = "" if access.token is None else f"?token={access.token}"
        return f"http{'s' * self.secure}://{host}:{self.port}{path}{token}"


class TlsFiles(NamedTuple):
    """Checked files of a certificate and its key."""

    certificate: str
    key: str | None


def open_socket(options: ServeOptions) -> socket.socket:
    """Take the port, before anything else is begun.

    Raises
    ------
    UsageError
        It is taken, or may not be used, or the host is none of this machine's.
    """
    try:
        found = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        listener = BoundedListener(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Accepted connections have it, too: who reads slowly sees old pictures otherwise.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise UsageError(
            f"the page cannot be served on {options.host}:{options.port}",
            got=error.strerror or str(error),
            cure="choose another port; 0 takes a free one",
        ) from error
    return listener


def tls_files(options: ServeOptions) -> TlsFiles | None:
    """Check the certificate and its key; None where the page is served without TLS.

    Raises
    ------
    UsageError
        They cannot be read, or do not belong together.
    """
    if options.certificate is None:
        return None
    files = TlsFiles(str(options.certificate), None if options.key is None else str(options.key))
    try:
        # With a password nobody could start it in the night.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files, password=_no_password)
    except (OSError, ValueError) as error:
        raise UsageError(
            "the certificate and its key cannot be used",
            got=getattr(error, "strerror", None) or str(error),
            cure="pass a certificate and its key in PEM, without a password, as --tls-cert and --tls-key",
        ) from error
    return files


@contextmanager
def serve_in_thread(
    app: Any, listener: socket.socket, host: str, tls: TlsFiles | None = None
) -> Iterator[Served]:
    """Serve an application while the block lasts.

    Parameters
    ----------
    app : ASGI application
    listener : socket
        See `open_socket`; it is closed at the end.
    host : str
        As it was asked for.
    tls : TlsFiles, optional

    Yields
    ------
    Served
    """
    # Its lines are not for a person, who sees what is wrong on the page.
    log = logging.getLogger("uvicorn")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=partial(BoundedProtocol, connections=Connections(listener)),  # type: ignore[arg-type]
        ws="websockets-sansio",
        ws_max_size=_MOST_MESSAGE_BYTES,
        ws_ping_interval=_PING_EVERY_S,
        ws_ping_timeout=_PING_EVERY_S,
        # A few kB twice a second are not worth a core's time.
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
        backlog=_BACKLOG,
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_serve, args=(server, listener), name="page-server", daemon=True)
    thread.start()
    try:
        if not _started(server, thread):
            raise EdgeleukError("the page's server did not start")
        yield Served(host, int(listener.getsockname()[1]), tls is not None)
    finally:
        server.should_exit = True
        thread.join(_END_WITHIN_S)
        server.force_exit = True
        thread.join(_END_WITHIN_S)
        listener.close()


def announce(served: Served, access: Access) -> None:
    """Tell on standard error where the page is, with a code to be scanned where a tablet may see it."""
    url = served.url(access)
    say(f"page      {url}", always=True)
    if access.token is not None:
        say(code_of(url), always=True)
        if not served.secure:
            say(
                "warning: without --tls-cert the token and the pictures can be read by anyone in this network"
            )


def code_of(url: str) -> str:
    """Return an address as a QR code in lines of text, for a dark or a light terminal."""
    lines = io.StringIO()
    segno.make(url, error="l", micro=False).terminal(lines, compact=True, border=2)
    return lines.getvalue().rstrip("\n")


def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Of this thread alone, on Linux.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    with contextlib.suppress(SystemExit, asyncio.CancelledError):
        server.run(sockets=[listener])
    if server.started and not server.should_exit:
        raise EdgeleukError("the page's server has ended before the run")


def _started(server: uvicorn.Server, thread: threading.Thread) -> bool:
    waited = threading.Event()
    for _ in range(round(_START_WITHIN_S / 0.02)):
        if server.started or not thread.is_alive():
            break
        waited.wait(0.02)
    return bool(server.started)


def _no_password() -> str:
    msg = "the key has a password"
    raise ValueError(msg)


def _reachable_name() -> str:
    """Return an address under which others in the network are likely to reach this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: the kernel only chooses the interface. The address is one for documentation.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
