"""A camera whose connection is lost and comes back.

`Connection` is the state machine: one table, no clock, no socket. `ReconnectingSource` does what it says.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edgeleuk.capture.base import (
    EncodedFrame,
    FrameSource,
    SourceEvent,
    is_simulated_source,
    open_source,
)
from edgeleuk.capture.rhythm import Rhythm
from edgeleuk.errors import CameraError
from edgeleuk.frames import Frame
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeleuk.capture.controls import ControlKeeper


class ConnectionState(Enum):
    """Where a connection stands."""

    FRESH = "open, and no picture has come yet"
    STREAMING = "pictures come"
    WAITING = "lost, until the next try is due"
    OPENING = "being opened anew"
    ENDED = "for good"


class ConnectionEvent(Enum):
    """What may happen to a connection."""

    PICTURE = "a picture came"
    LOST = "the camera died, or refused to be opened"
    SPENT = "the same, and no try is left"
    WAITED = "the next try is due"
    OPENED = "the camera is open"
    FINISHED = "the source has no more pictures"
    CLOSED = "the user has enough"


class Action(Enum):
    """What is to be done next."""

    EMIT = "hand the picture out, read on"
    READ = "read"
    WAIT = "wait for the given time"
    OPEN = "open the camera"
    FAIL = "tell the error"
    STOP = "end"


# What is not in the table cannot happen: above all, no picture comes out of a connection that is not open.
TRANSITIONS: dict[tuple[ConnectionState, ConnectionEvent], tuple[ConnectionState, Action]] = {
    (ConnectionState.FRESH, ConnectionEvent.PICTURE): (ConnectionState.STREAMING, Action.EMIT),
    (ConnectionState.FRESH, ConnectionEvent.LOST): (ConnectionState.WAITING, Action.WAIT),
    (ConnectionState.FRESH, ConnectionEvent.SPENT): (ConnectionState.ENDED, Action.FAIL),
    (ConnectionState.FRESH, ConnectionEvent.FINISHED): (ConnectionState.ENDED, Action.STOP),
    (ConnectionState.FRESH, ConnectionEvent.CLOSED): (ConnectionState.ENDED, Action.STOP),
    (ConnectionState.STREAMING, ConnectionEvent.PICTURE): (ConnectionState.STREAMING, Action.EMIT),
    (ConnectionState.STREAMING, ConnectionEvent.LOST): (ConnectionState.WAITING, Action.WAIT),
    (ConnectionState.STREAMING, ConnectionEvent.SPENT): (ConnectionState.ENDED, Action.FAIL),
    (ConnectionState.STREAMING, ConnectionEvent.FINISHED): (ConnectionState.ENDED, Action.STOP),
    (ConnectionState.STREAMING, ConnectionEvent.CLOSED): (ConnectionState.ENDED, Action.STOP),
    (ConnectionState.WAITING, ConnectionEvent.WAITED): (ConnectionState.OPENING, Action.OPEN),
    (ConnectionState.WAITING, ConnectionEvent.CLOSED): (ConnectionState.ENDED, Action.STOP),
    (ConnectionState.OPENING, ConnectionEvent.OPENED): (ConnectionState.FRESH, Action.READ),
    (ConnectionState.OPENING, ConnectionEvent.LOST): (ConnectionState.WAITING, Action.WAIT),
    (ConnectionState.OPENING, ConnectionEvent.SPENT): (ConnectionState.ENDED, Action.FAIL),
    (ConnectionState.OPENING, ConnectionEvent.CLOSED): (ConnectionState.ENDED, Action.STOP),
}


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """How patiently a lost camera is waited for; the defaults come to about a minute and a half.

    Attributes
    ----------
    first_wait_s : float
        Before the first try; each further wait is twice as long.
    longest_wait_s : float
        However long a camera was away, it is found again so soon after its return.
    tries : int
        In a row without a picture; 0 lets the first loss end the run.
    gap_s : float
        A silence of this length is an event, although the connection held, if it is three times as long as
        the pictures of this camera usually are apart.
    """

    first_wait_s: float = 0.5
    longest_wait_s: float = 2.0
    tries: int = 60
    gap_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """What a happening leads to.

    Attributes
    ----------
    action : Action
    event : SourceEvent or None
        For the session.
    wait_s : float
        Of the action ``WAIT``.
    """

    action: Action
    event: SourceEvent | None = None
    wait_s: float = 0.0


class Connection:
    """One camera's connection: counts the tries, says how long to wait.

    Parameters
    ----------
    policy : ReconnectPolicy
    jitter : callable
        Gives numbers from 0 to 1. The waits are drawn from their upper half, lest all cameras of a room
        call their server at the same moment.

    Examples
    --------
    >>> connection = Connection(ReconnectPolicy(tries=1), lambda: 1.0)
    >>> connection.happened(ConnectionEvent.PICTURE, at_s=0.0).action.name
    'EMIT'
    >>> step = connection.lost("no answer within 5 s", at_s=5.0)
    >>> step.event.kind, step.event.text, step.wait_s
    ('lost', 'the camera was lost: no answer within 5 s; try 1 of 1 in 0.5 s', 0.5)
    """

    def __init__(self, policy: ReconnectPolicy, jitter: Callable[[], float]) -> None:
        self.state = ConnectionState.FRESH
        self._policy = policy
        self._jitter = jitter
        self._tries = 0
        self._lost_at_s: float | None = None

    def lost(self, reason: str, *, at_s: float) -> Step:
        """Take note that the camera died or refused; whether a try is left decides what that means."""
        spent = self._tries >= self._policy.tries
        return self.happened(ConnectionEvent.SPENT if spent else ConnectionEvent.LOST, reason, at_s=at_s)

    def happened(self, what: ConnectionEvent, reason: str = "", *, at_s: float) -> Step:
        """Go to the next state.

        Parameters
        ----------
        what : ConnectionEvent
        reason : str
            Of a loss, without a password.
        at_s : float
            When, on any steady clock.

        Raises
        ------
        ValueError
            This cannot happen in this state: a bug.
        """
        if (self.state, what) not in TRANSITIONS:
            msg = f"a connection that is {self.state.name} cannot have {what.name}"
            raise ValueError(msg)
        before = self.state
        self.state, action = TRANSITIONS[before, what]
        if what is ConnectionEvent.PICTURE:
            return Step(action, self._back(at_s))
        if action is Action.WAIT:
            return self._wait(before, reason, at_s)
        event = None
        if what is ConnectionEvent.WAITED:
            event = SourceEvent("trying", f"the camera is opened anew, {self._try}")
        elif what is ConnectionEvent.OPENED:
            event = SourceEvent("opened", "the camera is open again, its first picture is awaited")
        elif what is ConnectionEvent.SPENT:
            event = SourceEvent("abandoned", f"the camera is given up after {self._tries} tries: {reason}")
        return Step(action, event)

    @property
    def _try(self) -> str:
        return f"try {self._tries} of {self._policy.tries}"

    def _back(self, at_s: float) -> SourceEvent | None:
        # A connection counts only once it has given a picture: some accept, and then close at once.
        self._tries = 0
        if self._lost_at_s is None:
            return None
        gap_s, self._lost_at_s = at_s - self._lost_at_s, None
        return SourceEvent("back", f"pictures come again after {gap_s:.1f} s without one")

    def _wait(self, before: ConnectionState, reason: str, at_s: float) -> Step:
        longest = min(self._policy.first_wait_s * 2.0**self._tries, self._policy.longest_wait_s)
        wait_s = longest * (0.5 + 0.5 * self._jitter())
        self._tries += 1
        if self._lost_at_s is None:
            self._lost_at_s = at_s
        kind, what = (
            ("refused", "could not be opened") if before is ConnectionState.OPENING else ("lost", "was lost")
        )
        text = f"the camera {what}: {reason}; {self._try} in {wait_s:.1f} s"
        return Step(Action.WAIT, SourceEvent(kind, text), wait_s)


@runtime_checkable
class Reopenable(Protocol):
    """A source that remembers where it was, which a new one of its address would not."""

    def reopen(self) -> FrameSource:
        """Return the same camera, connected anew.

        Raises
        ------
        CameraError
            It cannot be opened.
        """
        ...


def open_camera(
    uri: str, policy: ReconnectPolicy | None = None, keeper: ControlKeeper | None = None
) -> FrameSource:
    """Open a source as `open_source` does; a camera is opened anew when its connection is lost.

    Parameters
    ----------
    uri : str
        May hold a password; no event and no error shows it.
    policy : ReconnectPolicy, optional
    keeper : ControlKeeper, optional
        Sets the controls of each connection; without it they are left as they are.
    """

    def opened() -> FrameSource:
        source = open_source(uri)
        return source if keeper is None else keeper.keep(source)

    source = opened()
    if isinstance(source, Reopenable):
        return ReconnectingSource(source, source.reopen, policy or ReconnectPolicy())
    if source.live:
        return ReconnectingSource(source, opened, policy or ReconnectPolicy())
    return source


class ReconnectingSource(Closing):
    """A source that outlives its connections; see `FrameSource`.

    The frames are numbered on, and only what a camera sent is handed out: a gap stays a gap.

    Parameters
    ----------
    source : FrameSource
        The first connection, open.
    reopen : callable
        Opens the next one, or raises CameraError.
    policy : ReconnectPolicy
    clock : callable
        Seconds on a steady clock.
    wait : callable, optional
        Waits so many seconds, and returns True if the source was closed meanwhile.
    jitter : callable
        As in `Connection`.
    """

    def __init__(
        self,
        source: FrameSource,
        reopen: Callable[[], FrameSource],
        policy: ReconnectPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.uri = source.uri
        self.live = source.live
        self.simulated = is_simulated_source(source)
        self._source = source
        self._reopen = reopen
        self._policy = policy
        self._clock = clock
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._connection = Connection(policy, jitter)
        # Held while one connection takes the place of another: none may stay open behind `close`.
        self._changing = threading.Lock()
        self._next_sequence = 0
        self._rhythm = Rhythm()

    def frames(self) -> Iterator[Frame | EncodedFrame | SourceEvent]:
        """Yield what arrives, and what happens to the connection; see `FrameSource.frames`.

        Raises
        ------
        CameraError
            No try is left.
        """
        connection = self._connection
        step = Step(Action.READ)
        error = None
        while step.action is not Action.STOP:
            if step.action is Action.READ:
                try:
                    yield from self._read()
                    over = ConnectionEvent.CLOSED if self._closed.is_set() else ConnectionEvent.FINISHED
                    step = connection.happened(over, at_s=self._clock())
                except CameraError as died:
                    error, step = died, self._lost(died)
            elif step.action is Action.WAIT:
                closed = self._wait(step.wait_s)
                step = connection.happened(
                    ConnectionEvent.CLOSED if closed else ConnectionEvent.WAITED, at_s=self._clock()
                )
            elif step.action is Action.OPEN:
                try:
                    self._exchange()
                    step = connection.happened(ConnectionEvent.OPENED, at_s=self._clock())
                except CameraError as refused:
                    error, step = refused, self._lost(refused)
            if step.event is not None:
                yield step.event
            if step.action is Action.FAIL:
                assert error is not None
                raise error

    def close(self) -> None:
        """Close the connection at hand; a wait for the next one ends at once."""
        self._closed.set()
        with self._changing:
            self._source.close()

    def _read(self) -> Iterator[Frame | EncodedFrame | SourceEvent]:
        """Yield from one connection, numbered on."""
        offset: int | None = None
        asked_at_s = self._clock()
        for item in self._source.frames():
            if isinstance(item, SourceEvent):
                yield item
                continue
            now_s = self._clock()
            silence_s = now_s - asked_at_s
            step = self._connection.happened(ConnectionEvent.PICTURE, at_s=now_s)
            if step.event is not None:
                yield step.event
            elif self._rhythm.is_gap(silence_s, self._policy.gap_s):
                yield SourceEvent("gap", f"no picture came for {silence_s:.1f} s")
            if offset is not None:
                self._rhythm.add(silence_s)
            if offset is None:
                offset = max(self._next_sequence - item.sequence, 0)
            self._next_sequence = item.sequence + offset + 1
            yield _numbered(item, item.sequence + offset) if offset else item
            asked_at_s = self._clock()

    def _exchange(self) -> None:
        source = self._reopen()
        # Once simulated, a session stays so.
        self.simulated = self.simulated or is_simulated_source(source)
        with self._changing:
            self._source = source
            if self._closed.is_set():
                source.close()

    def _lost(self, error: CameraError) -> Step:
        if self._closed.is_set():
            return self._connection.happened(ConnectionEvent.CLOSED, at_s=self._clock())
        self._source.close()
        reason = error.what if error.got is None else f"{error.what} ({error.got})"
        return self._connection.lost(reason, at_s=self._clock())


def _numbered(item: Frame | EncodedFrame, sequence: int) -> Frame | EncodedFrame:
    if isinstance(item, Frame):
        return replace(item, sequence=sequence)
    numbered: EncodedFrame = replace(item, sequence=sequence)  # type: ignore[type-var]  # all are dataclasses
    return numbered
