"""Keeps a connection to a broker and hands an outbox's messages over, through any outage."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from edgeleuk.errors import BrokerError
from edgeleuk.fleet.connection import Connection
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeleuk.fleet.address import Broker
    from edgeleuk.fleet.connection import Will
    from edgeleuk.fleet.outbox import Outbox

# So many messages are on their way at once.
_MOST_ON_THEIR_WAY = 50
_LOOK_EVERY_S, _SAVE_EVERY_S = 0.5, 5.0
# A broker that comes back is not to be met by its whole fleet at once.
_FIRST_WAIT_S, _LONGEST_WAIT_S, _SPREAD = 0.5, 30.0, 0.25


class Sender(Closing):
    """Sends until everything is acknowledged; used from one thread.

    Parameters
    ----------
    broker : Broker
    outbox : Outbox
    client : str
        See `Connection`.
    will : Will, optional
    hears : callable, optional
        See `Connection`.
    entered : callable, optional
        Given each new connection, for what is to be said first.
    told : callable, optional
        Given a sentence when the connection is lost or cannot be made, and None when it is there again.

    Attributes
    ----------
    trouble : BrokerError or None
        Why there is no connection, where that was tried.
    """

    def __init__(
        self,
        broker: Broker,
        outbox: Outbox,
        client: str,
        *,
        will: Will | None = None,
        hears: Callable[[str, bytes], None] | None = None,
        entered: Callable[[Connection], None] = lambda _: None,
        told: Callable[[BrokerError | None], None] = lambda _: None,
    ) -> None:
        self._broker = broker
        self._outbox = outbox
        self._client = client
        self._will = will
        self._hears = hears
        self._entered = entered
        self._told = told
        self.trouble: BrokerError | None = None
        self._connection: Connection | None = None
        self._look_at_s = self._save_at_s = self._try_at_s = 0.0
        self._wait_s = _FIRST_WAIT_S
        self._has_read_all = False

    @property
    def connection(self) -> Connection | None:
        """The connection, while there is one."""
        return self._connection

    @property
    def done(self) -> bool:
        """Whether all that was read is acknowledged, and nothing is left to be read."""
        return self._has_read_all and self._outbox.waiting == 0

    def go_on_with(self, outbox: Outbox) -> None:
        """Send another outbox's messages from now on."""
        self._outbox = outbox
        self._has_read_all = False

    def step(self, wait_s: float, *, complete: bool, at_once: bool = False) -> bool:
        """Do what there is to do, for about so long.

        Parameters
        ----------
        wait_s : float
        complete : bool
            See `Outbox.fill`.
        at_once : bool
            Try to connect now, however short ago that failed.

        Returns
        -------
        bool
            Whether there is a connection; without one, nothing was waited for.
        """
        if self._connection is None and not self._connect(at_once=at_once):
            return False
        assert self._connection is not None
        try:
            self._hand_over(self._connection, complete=complete)
            self._connection.attend(wait_s)
            self._take_acknowledged(self._connection)
        except BrokerError as error:
            self._take_acknowledged(self._connection)
            self._connection.abandon()
            self._connection = None
            # More may have been recorded before there is another.
            self._has_read_all = False
            self._outbox.lost()
            self._outbox.save()
            self._put_off(error)
        return True

    def close(self) -> None:
        """End the connection in order; what is not acknowledged waits for the next time."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._outbox.save()

    def _connect(self, *, at_once: bool) -> bool:
        if time.monotonic() < self._try_at_s and not at_once:
            return False
        try:
            self._connection = Connection(self._broker, self._client, self._will, self._hears)
        except BrokerError as error:
            self._put_off(error)
            return False
        self._wait_s = _FIRST_WAIT_S
        if self.trouble is not None:
            self.trouble = None
            self._told(None)
        self._entered(self._connection)
        return True

    def _put_off(self, error: BrokerError) -> None:
        if self.trouble is None or str(self.trouble) != str(error):
            self._told(error)
        self.trouble = error
        spread = 1 + random.uniform(-_SPREAD, _SPREAD)  # noqa: S311 - no secret
        self._try_at_s = time.monotonic() + self._wait_s * spread
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)

    def _hand_over(self, connection: Connection, *, complete: bool) -> None:
        now_s = time.monotonic()
        if now_s >= self._look_at_s or complete or not self._has_read_all:
            self._look_at_s = now_s + _LOOK_EVERY_S
            self._has_read_all = self._outbox.fill(complete=complete)
        for message in self._outbox.take(_MOST_ON_THEIR_WAY):
            topic = self._broker.topic(message.name)
            connection.publish(topic, message.payload, key=message.key, retain=message.retain)
        if now_s >= self._save_at_s:
            self._save_at_s = now_s + _SAVE_EVERY_S
            self._outbox.save()

    def _take_acknowledged(self, connection: Connection) -> None:
        for key in connection.acknowledged:
            self._outbox.acknowledged(key)
        connection.acknowledged.clear()
