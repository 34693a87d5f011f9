"""One deadline for all that the opening of a camera takes, however many waits it consists of.

A time-out for each read bounds nothing: a server that sends a byte a second keeps every one of them.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from edgeleuk.errors import CameraError
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable

SourceT = TypeVar("SourceT", bound=Closing)


class Opening:
    """An opening under way.

    Parameters
    ----------
    deadline_s : float
        From now on.

    Attributes
    ----------
    connection : socket.socket or None
        The latest, for who wants to change its time-out.
    """

    def __init__(self, deadline_s: float) -> None:
        self._until_s = time.monotonic() + deadline_s
        self.connection: socket.socket | None = None
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._over = False

    def left_s(self) -> float:
        """Return the time that is left, a little at least."""
        return max(self._until_s - time.monotonic(), 0.05)

    def is_over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._over or time.monotonic() >= self._until_s

    def keep(self, connection: socket.socket) -> None:
        """Take note of a connection, which ends with the opening if that is not done in time."""
        # A handle of our own: TLS takes the socket apart.
        handle = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            self._sockets.append(handle)
            over = self._over
        if over:
            _end(handle)

    def give_up(self) -> None:
        """End the connections, so that whoever waits on one goes on at once."""
        with self._lock:
            self._over = True
            connections = list(self._sockets)
        for connection in connections:
            _end(connection)

    def finish(self) -> None:
        """Let go of the connections, which live on."""
        with self._lock:
            connections, self._sockets = self._sockets, []
        for connection in connections:
            connection.close()


def opened_within(public: str, deadline_s: float, opener: Callable[[Opening], SourceT]) -> SourceT:
    """Open a source, or say that it took too long.

    What hangs where nothing can end it, as in a name server's answer, is left to itself: a source that it
    still brings about is closed.

    Parameters
    ----------
    public : str
        The source's address, without its password.
    deadline_s : float
    opener : callable

    Raises
    ------
    CameraError
        It is not open in time, or as `opener` raises.
    """
    opening = Opening(deadline_s)
    attempt = _Attempt(opener, opening)
    try:
        in_time = attempt.done.wait(deadline_s)
    except BaseException:
        attempt.abandon()
        raise
    if not in_time and attempt.abandon():
        raise CameraError(
            f"{public} cannot be opened",
            got=f"not done after {deadline_s:g} s",
            cure="check the camera and the network: whatever answers comes to no end",
        )
    return attempt.outcome()


class _Attempt(Generic[SourceT]):
    """What a thread of its own opens; a daemon, as a driver or a resolver may hang for ever."""

    def __init__(self, opener: Callable[[Opening], SourceT], opening: Opening) -> None:
        self.done = threading.Event()
        self._opener = opener
        self._opening = opening
        self._lock = threading.Lock()
        self._abandoned = False
        self._source: SourceT | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._open, name="opening", daemon=True).start()

    def outcome(self) -> SourceT:
        """Return the source, or raise what kept it from opening."""
        if self._error is not None:
            raise self._error
        assert self._source is not None
        return self._source

    def abandon(self) -> bool:
        """Want it no more; False if it is done after all."""
        with self._lock:
            if self.done.is_set():
                return False
            self._abandoned = True
        self._opening.give_up()
        return True

    def _open(self) -> None:
        source, error = None, None
        try:
            source = self._opener(self._opening)
        except BaseException as caught:  # noqa: BLE001 - raised again by `outcome`
            error = caught
        self._opening.finish()
        with self._lock:
            self._source, self._error = source, error
            abandoned = self._abandoned
            self.done.set()
        if abandoned and source is not None:
            source.close()


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
