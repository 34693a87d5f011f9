"""A wire that can be cut: forwards TCP connections to a port of this machine while it is whole."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_HOST = "127.0.0.1"


class Wire:
    """Forwards to a port; cut, it takes no new connection, and those it has end with a reset.

    Cut silently, as by a pulled cable, nobody is told: connections stay and carry nothing, for good.

    Attributes
    ----------
    target, port : int
        Where it leads, and where it is entered.
    cuts : int
        How many connections were cut.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.cuts = 0
        self._is_down = self._is_silent = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._dead: list[tuple[socket.socket, ...]] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server((_HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, silently: bool = False) -> None:
        """Let nothing through from now on; who is connected is cut off."""
        self._is_down, self._is_silent = True, silently
        with self._lock:
            pairs, self._pairs = self._pairs, []
        self.cuts += len(pairs)
        if silently:
            self._dead.extend(pairs)
            return
        for one in (end for pair in pairs for end in pair):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Both wake up the thread that waits for it.
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    @property
    def carries(self) -> bool:
        """Whether somebody has connected since the last cut."""
        with self._lock:
            return bool(self._pairs)

    def mend(self) -> None:
        """Let new connections through again."""
        self._is_down = False

    def close(self) -> None:
        """Take no connection any more."""
        self._listener.close()
        self.cut()
        for one in (end for ends in self._dead for end in ends):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_down and self._is_silent:
                self._dead.append((near,))
                continue
            far = None
            with contextlib.suppress(OSError):
                far = None if self._is_down else socket.create_connection((_HOST, self.target), 5)
            if far is None:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._pairs.append((near, far))
            pair = near, far
            for ends in (pair, pair[::-1]):
                threading.Thread(target=self._carry, args=(pair, *ends), daemon=True).start()

    def _carry(
        self, pair: tuple[socket.socket, socket.socket], source: socket.socket, target: socket.socket
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if pair in self._dead:
                    return
                target.sendall(data)
        if pair in self._dead:
            return
        for one in pair:
            # Closing alone neither wakes up the other thread nor tells the other end.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
