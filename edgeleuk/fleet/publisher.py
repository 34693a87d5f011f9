"""Tells a broker about a run while it goes on, in a thread of its own that the run never waits for."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import threading
import time
from collections import deque
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.errors import EdgeleukError
from edgeleuk.fleet.connection import Will, client_name
from edgeleuk.fleet.home_assistant import BIRTH, birth_topic, discovery
from edgeleuk.fleet.messages import (
    HEARTBEAT,
    OFFLINE,
    ONLINE,
    STATUS,
    SUMMARY,
    HeartbeatMessage,
    key_of,
    summary_message,
)
from edgeleuk.fleet.outbox import Outbox
from edgeleuk.fleet.sender import Sender
from edgeleuk.io.clock import now
from edgeleuk.io.closing import Closing
from edgeleuk.io.console import printable, say, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeleuk.errors import BrokerError
    from edgeleuk.fleet.address import Broker
    from edgeleuk.fleet.connection import Connection
    from edgeleuk.frames import RgbImage
    from edgeleuk.results import FrameResult, SessionSummary

# Kind of the events that tell of an outage.
BROKER = "broker"
SUMMARY_EVERY_S, HEARTBEAT_EVERY_S = 10.0, 30.0
# An outage in that time after the last one is no event of its own: a broker that flaps fills no session.
NOTE_EVERY_S = 60.0
# How long the end of a run may take to send what is left.
DRAIN_S = 5.0
_STEP_S = 0.25
_AFTER_AN_ERROR_S = 2.0
_NICE = 10


class RunPublisher(Closing):
    """Publishes a run until it is closed; an `edgeleuk.pipeline.run.Attendant`.

    Parameters
    ----------
    path : Path
        Of the run's session.
    broker : Broker
    simulated : bool
    note : callable
        Records an event: its kind and its text. It is called on the run's own thread alone.

    Raises
    ------
    UsageError, SessionError
        See `Outbox`. A broker that is not there is none of them: it is told, and tried again.
    """

    def __init__(
        self, path: Path, broker: Broker, note: Callable[[str, str], object], *, simulated: bool
    ) -> None:
        self._path = path
        self._broker = broker
        self._note = note
        self._simulated = simulated
        self._outbox = Outbox(path, broker.target)
        self._sender = Sender(
            broker,
            self._outbox,
            client_name(broker.prefix, "run"),
            will=Will(broker.topic(STATUS), OFFLINE),
            hears=self._heard,
            entered=self._entered,
            told=self._told,
        )
        self._notes: SimpleQueue[str] = SimpleQueue()
        # Of a run that goes on in another file, those that come after the one at hand.
        self._newest, self._later = path, deque[Path]()
        self._noted_s, self._outage_noted = -math.inf, False
        self._so_far: SessionSummary | None = None
        self._said: SessionSummary | None = None
        self._so_far_due_s = 0.0
        self._began_s = time.monotonic()
        self._seen_s: float | None = None
        self._summary_due_s = self._heartbeat_due_s = 0.0
        self._is_to_announce = False
        self._was_told = ""
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    # On the run's thread: none of these waits for anybody.

    def tick(self, so_far: Callable[[], SessionSummary]) -> None:
        """Record outages, and take a copy of the counts now and then."""
        with contextlib.suppress(Empty):
            while True:
                self._note(BROKER, self._notes.get_nowait())
        now_s = time.monotonic()
        if now_s >= self._so_far_due_s:
            self._so_far_due_s = now_s + SUMMARY_EVERY_S / 2
            self._so_far = so_far()
            if (path := Path(self._so_far.session)) != self._newest:
                self._newest = path
                self._later.append(path)

    def seen(self, result: FrameResult, pixels: RgbImage) -> None:
        """Take in that a field is recorded."""
        del result, pixels
        self._seen_s = time.monotonic()

    def rejected(self, pixels: RgbImage, reason: str) -> None:
        """Take in that a frame came which is not used."""
        del pixels, reason
        self._seen_s = time.monotonic()

    def close(self) -> None:
        """Send what is left, for a few seconds at most, and say what waits then."""
        if self._ends.is_set():
            return
        self._ends.set()
        # Whoever connects just now needs a while to find out that nobody answers.
        self._thread.join(3 * DRAIN_S)
        if self._thread.is_alive():
            warn(
                f"{self._broker.name} keeps silent: what is left waits in the session, see `edgeleuk publish`"
            )

    # On the publisher's thread.

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            # Of this thread alone, on Linux.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not self._ends.is_set():
            self._guarded(self._step)
        self._guarded(self._drain)
        self._guarded(self._sender.close)
        self._guarded(self._outbox.close)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Go on whatever happens: the broker is less than the run."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - told, and tried again
            sentence = str(error) if isinstance(error, EdgeleukError) else f"{type(error).__name__}: {error}"
            if sentence != self._was_told:
                self._was_told = sentence
                warn(f"the broker is not told: {printable(sentence)}")
            self._ends.wait(_AFTER_AN_ERROR_S)

    def _step(self) -> None:
        has_moved_on = bool(self._later)
        if not self._sender.step(_STEP_S, complete=has_moved_on):
            self._ends.wait(_STEP_S)
        elif has_moved_on:
            self._follow()
        connection = self._sender.connection
        if connection is None:
            return
        if self._is_to_announce:
            self._announce(connection)
        now_s = time.monotonic()
        if now_s >= self._summary_due_s:
            self._summary_due_s = now_s + SUMMARY_EVERY_S
            self._say_summary(connection)
        if now_s >= self._heartbeat_due_s:
            self._heartbeat_due_s = now_s + HEARTBEAT_EVERY_S
            self._say_alive(connection)

    def _drain(self) -> None:
        until_s = time.monotonic() + DRAIN_S
        self._sender.step(0.0, complete=True, at_once=True)
        while self._sender.connection is not None and not self._is_done() and time.monotonic() < until_s:
            self._sender.step(_STEP_S / 5, complete=True)
            self._follow()
        if self._sender.connection is not None:
            self._sender.connection.publish(self._broker.topic(STATUS), OFFLINE.encode(), retain=True)
        if not self._is_done():
            commands = [f"`edgeleuk publish {printable(str(path))}`" for path in (self._path, *self._later)]
            warn(f"messages wait for {self._broker.name}: {' and '.join(commands)} sends them")

    def _is_done(self) -> bool:
        return self._sender.done and not self._later

    def _follow(self) -> None:
        """Go on with the run's next file once everything of this one has arrived."""
        if self._later and self._sender.done:
            after = Outbox(self._later[0], self._broker.target)
            self._outbox.close()
            self._path, self._outbox = self._later.popleft(), after
            self._sender.go_on_with(after)

    def _entered(self, connection: Connection) -> None:
        if self._broker.discovery:
            connection.hear(birth_topic(self._broker))
        self._announce(connection)

    def _announce(self, connection: Connection) -> None:
        """Say all that is to be known at once by whoever has just come."""
        self._is_to_announce = False
        for topic, payload in discovery(self._broker, simulated=self._simulated).items():
            connection.publish(topic, payload, retain=True)
        connection.publish(self._broker.topic(STATUS), ONLINE.encode(), retain=True)
        self._summary_due_s = self._heartbeat_due_s = 0.0
        self._said = None

    def _heard(self, topic: str, payload: bytes) -> None:
        if topic == birth_topic(self._broker) and payload.decode("utf-8", "replace").strip() == BIRTH:
            self._is_to_announce = True

    def _told(self, trouble: BrokerError | None) -> None:
        """Say that the broker is gone, or there again; in the session, too, but not each time."""
        if trouble is None:
            say(f"  {self._broker.name} is there again")
            if self._outage_noted:
                self._notes.put(f"{self._broker.name} is there again")
            self._outage_noted = False
            return
        warn(f"{printable(str(trouble))}; the run goes on, and its messages wait")
        if time.monotonic() >= self._noted_s + NOTE_EVERY_S:
            self._noted_s = time.monotonic()
            self._outage_noted = True
            self._notes.put(trouble.what)

    def _say_summary(self, connection: Connection) -> None:
        """Say what the run has come to, where that is new."""
        summary, about = self._so_far, self._outbox.about
        if summary is None or about is None or summary is self._said:
            return
        self._said = summary
        facts = summary.to_json()
        frames = summary.processed + summary.rejected
        key = key_of(about.session, "so-far", frames, [facts["frames"], facts["cells"]])
        message = summary_message(facts, about, key=key, at=now(), phase="running")
        connection.publish(self._broker.topic(SUMMARY), msgspec.json.encode(message), retain=True)

    def _say_alive(self, connection: Connection) -> None:
        now_s = time.monotonic()
        summary, about = self._so_far, self._outbox.about
        try:
            free = shutil.disk_usage(self._path.parent).free
        except OSError:
            free = None
        message = HeartbeatMessage(
            at=now(),
            session=None if about is None else about.session,
            uptime_s=now_s - self._began_s,
            frames=0 if summary is None else summary.processed + summary.rejected,
            silent_s=None if self._seen_s is None else now_s - self._seen_s,
            waiting=self._outbox.waiting,
            disk_free_bytes=free,
        )
        # Again, should the will of an earlier connection have come late.
        connection.publish(self._broker.topic(STATUS), ONLINE.encode(), retain=True)
        connection.publish(self._broker.topic(HEARTBEAT), msgspec.json.encode(message))
