"""Simulated boards on TCP and on a pty, each served by a thread of its own."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import tty
from typing import TYPE_CHECKING, Protocol

from edgeleuk.errors import UsageError
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    from pathlib import Path

# A line at 115200 baud takes about this long.
TICK_S = 0.002


class Wire(Protocol):
    """A simulated board, or one behind a wire that fails."""

    def receive(self, data: bytes) -> bytes:
        """Take bytes; return what is answered at once."""
        ...

    def due(self) -> bytes:
        """Return what is said by itself now."""
        ...


class Server(Closing):
    """A board that is being served until it is closed.

    Attributes
    ----------
    url : str
        What a driver opens.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """End; to a client it looks as if the board was unplugged."""
        self._ended.set()
        if self._thread:
            self._thread.join(5)

    def wait(self) -> None:
        """Wait until it is closed."""
        self._ended.wait()

    def start(self) -> Server:
        """Serve from now on."""
        self._thread = threading.Thread(target=self._serve, name=self.url, daemon=True)
        self._thread.start()
        return self

    def _serve(self) -> None:
        raise NotImplementedError


class _TcpServer(Server):
    def __init__(self, board: Wire, host: str, port: int) -> None:
        try:
            self._listener = socket.create_server((host, port))
        except (OSError, OverflowError) as error:
            raise UsageError(f"the simulator cannot listen on {host}:{port}", got=error) from error
        super().__init__(f"socket://{host}:{self._listener.getsockname()[1]}")
        self._board = board

    def _serve(self) -> None:
        client: socket.socket | None = None
        with self._listener:
            while not self._ended.is_set():
                watched = [self._listener, client] if client else [self._listener]
                readable, _, _ = select.select(watched, [], [], TICK_S if client else 0.05)
                if self._listener in readable:
                    newcomer, _ = self._listener.accept()
                    # A port has one user: whoever comes second is turned away.
                    if client is None:
                        client = newcomer
                        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    else:
                        newcomer.close()
                if client and not self._exchange(client, readable=client in readable):
                    client.close()
                    client = None
        if client:
            client.close()

    def _exchange(self, client: socket.socket, *, readable: bool) -> bool:
        try:
            if readable:
                data = client.recv(4096)
                if not data:
                    return False
                client.sendall(self._board.receive(data))
            client.sendall(self._board.due())
        except OSError:
            return False
        return True


class _PtyServer(Server):
    def __init__(self, board: Wire, link: Path) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self._link = link
        try:
            link.symlink_to(os.ttyname(self._slave))
        except OSError as error:
            os.close(self._master)
            os.close(self._slave)
            cure = "name a link that does not exist yet"
            raise UsageError(f"the simulator cannot make {link}", got=error.strerror, cure=cure) from error
        super().__init__(f"serial://{link.absolute()}")
        self._board = board

    def _serve(self) -> None:
        while not self._ended.is_set():
            readable, _, _ = select.select([self._master], [], [], TICK_S)
            said = self._board.receive(os.read(self._master, 4096)) if readable else b""
            said += self._board.due()
            # Nobody reads what a port without a user says: it must not block.
            if said and select.select([], [self._master], [], 0)[1]:
                os.write(self._master, said)

    def close(self) -> None:
        super().close()
        for descriptor in (self._slave, self._master):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._link.unlink(missing_ok=True)


def serve_tcp(board: Wire, host: str = "127.0.0.1", port: int = 0) -> Server:
    """Serve a board on TCP, to one client at a time.

    Parameters
    ----------
    board : SimulatedBoard or FaultyWire
    host : str
    port : int
        0 takes any that is free: see `Server.url`.

    Raises
    ------
    UsageError
        The address cannot be listened on.
    """
    return _TcpServer(board, host, port).start()


def serve_pty(board: Wire, link: Path) -> Server:
    """Serve a board on a pty.

    Parameters
    ----------
    board : SimulatedBoard or FaultyWire
    link : Path
        A symbolic link to it, made here and removed when the server is closed.

    Raises
    ------
    UsageError
        The link cannot be made.
    """
    return _PtyServer(board, link).start()
