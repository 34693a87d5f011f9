"""Bounds on connections: how many there may be, and how long one may take to say what it wants."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

# A page keeps two connections, and opens some for pictures.
MOST_CONNECTIONS = 96
# Connections that have not come so far: of TLS, those that agree on keys.
MOST_BEGUN = 48
HEADERS_WITHIN_S = 10.0


class BoundedListener(socket.socket):
    """A listening socket that knows which of its connections have only begun."""

    _begun: list[socket.socket]

    def accept(self) -> tuple[socket.socket, Any]:
        """Take a connection; where too many have only begun, the oldest of them is ended."""
        accepted, address = super().accept()
        # What is closed has no number any more.
        self._begun = [one for one in getattr(self, "_begun", []) if one.fileno() >= 0]
        while len(self._begun) >= MOST_BEGUN:
            with contextlib.suppress(OSError):
                self._begun.pop(0).shutdown(socket.SHUT_RDWR)
        self._begun.append(accepted)
        return accepted, address

    def made(self, number: int) -> None:
        """Take in that the connection with that file number has come further."""
        self._begun = [one for one in getattr(self, "_begun", []) if one.fileno() not in (number, -1)]


class Connections:
    """The connections of one server, and those of them that have asked for nothing yet.

    Parameters
    ----------
    listener : socket
        Where they come from.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.silent: dict[BoundedProtocol, asyncio.TimerHandle] = {}
        self._listener = listener
        self._open: set[asyncio.Transport] = set()

    def admit(self, transport: asyncio.Transport) -> bool:
        """Take in a new connection; at the limit another gives way, or this one."""
        if isinstance(self._listener, BoundedListener):
            self._listener.made(transport.get_extra_info("socket").fileno())
        if len(self._open) >= MOST_CONNECTIONS:
            self._clear_up()
        if len(self._open) >= MOST_CONNECTIONS:
            oldest = next(iter(self.silent), None)
            if oldest is None:
                transport.abort()
                return False
            oldest.give_up()
        self._open.add(transport)
        return True

    def drop(self, transport: asyncio.Transport) -> None:
        """Count a connection no more."""
        self._open.discard(transport)

    def _clear_up(self) -> None:
        """Forget connections that are closed, and end those that are to be and are not read from.

        A WebSocket has its connection from here, and this hears no more of it.
        """
        for one in [one for one in self._open if one.is_closing()]:
            # What is closed has no number any more, and cannot be ended again.
            if one.get_extra_info("socket").fileno() >= 0:
                one.abort()
            self._open.discard(one)


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 whose connections are counted.

    At the limit the connection that has waited longest without having asked for anything gives way, so that
    connections which are opened and left do not keep anybody out. Where all have asked, the new one is
    closed.

    Parameters
    ----------
    connections : Connections
        Of the server.
    """

    def __init__(self, *args: Any, connections: Connections, **options: Any) -> None:
        super().__init__(*args, **options)
        self._all = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        if self._all.admit(transport):
            self._expect()

    def give_up(self) -> None:
        """End the connection at once."""
        self._heard()
        self._all.drop(self.transport)
        self.transport.abort()

    def handle_events(self) -> None:
        """Handle what has come; a request is whole once its headers are."""
        before = self.scope
        super().handle_events()
        if self.scope is not before:
            self._heard()

    def on_response_complete(self) -> None:
        """Expect the next request."""
        super().on_response_complete()
        # It has to come whole, too: one that is begun ends the keep-alive timer. One that came along with
        # this is under way already.
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol.connection_lost`."""
        self._heard()
        self._all.drop(self.transport)
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._heard()
        self._all.silent[self] = self.loop.call_later(HEADERS_WITHIN_S, self.give_up)

    def _heard(self) -> None:
        timer = self._all.silent.pop(self, None)
        if timer is not None:
            timer.cancel()
