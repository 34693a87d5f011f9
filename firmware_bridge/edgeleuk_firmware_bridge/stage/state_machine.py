"""One question at a time over a line of text: the states that both protocols share.

Neither protocol numbers its answers, so a late answer looks like the next one's. Hence the table: what has
timed out, or heard what it did not ask for, is adrift, and no question is put until one of known shape was
answered. A wire keeps its order: what comes before that answer is late, nothing late can come after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

LONGEST_LINE = 512
MOST_LINES = 1024
# What stands for a line that was longer than any firmware's: it matches nothing.
OVERLONG = "\ufffd"


class LineBuffer:
    r"""Bytes to lines, in bounded memory.

    Examples
    --------
    >>> lines = LineBuffer()
    >>> lines.feed(b"1 2 ")
    []
    >>> lines.feed(b"3\r\ndone.\r\nx")
    ['1 2 3', 'done.']
    """

    def __init__(self) -> None:
        self._rest = b""
        self._overlong = False

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are complete now, without their ends; empty ones are left out."""
        *whole, rest = (self._rest + data).split(b"\n")
        lines = []
        for line in whole:
            overlong = self._overlong or len(line) > LONGEST_LINE
            self._overlong = False
            # What is no ASCII becomes a character that no shape allows.
            text = OVERLONG if overlong else line.decode("ascii", "replace").strip("\r\0 \t")
            if text:
                lines.append(text)
        if len(rest) > LONGEST_LINE:
            rest, self._overlong = b"", True
        self._rest = rest
        return lines


class DialogueState(Enum):
    """Where a dialogue stands."""

    READY = "nothing is asked"
    ASKED = "an answer is awaited"
    DOUBTFUL = "an answer is awaited, and something else was heard"
    ADRIFT = "late answers may come"
    SYNCING = "the answer of known shape is awaited"


class DialogueEvent(Enum):
    """What may happen to a dialogue."""

    ASK = "a question is put"
    ANSWER = "its answer came, or it was refused"
    STRAY = "a line came that answers nothing"
    UPSET = "the board was reset, or raised an alarm"
    TIMEOUT = "no answer came in time"
    SYNC = "the question of known shape is put"
    SYNCED = "its answer came"


# What is not in the table cannot happen: above all, no question is put while late answers may come.
TRANSITIONS: dict[tuple[DialogueState, DialogueEvent], DialogueState] = {
    (DialogueState.READY, DialogueEvent.ASK): DialogueState.ASKED,
    (DialogueState.READY, DialogueEvent.STRAY): DialogueState.ADRIFT,
    (DialogueState.READY, DialogueEvent.UPSET): DialogueState.ADRIFT,
    (DialogueState.READY, DialogueEvent.TIMEOUT): DialogueState.ADRIFT,
    (DialogueState.ASKED, DialogueEvent.ANSWER): DialogueState.READY,
    (DialogueState.ASKED, DialogueEvent.STRAY): DialogueState.DOUBTFUL,
    (DialogueState.ASKED, DialogueEvent.UPSET): DialogueState.ADRIFT,
    (DialogueState.ASKED, DialogueEvent.TIMEOUT): DialogueState.ADRIFT,
    (DialogueState.DOUBTFUL, DialogueEvent.ANSWER): DialogueState.ADRIFT,
    (DialogueState.DOUBTFUL, DialogueEvent.STRAY): DialogueState.DOUBTFUL,
    (DialogueState.DOUBTFUL, DialogueEvent.UPSET): DialogueState.ADRIFT,
    (DialogueState.DOUBTFUL, DialogueEvent.TIMEOUT): DialogueState.ADRIFT,
    (DialogueState.ADRIFT, DialogueEvent.STRAY): DialogueState.ADRIFT,
    (DialogueState.ADRIFT, DialogueEvent.UPSET): DialogueState.ADRIFT,
    (DialogueState.ADRIFT, DialogueEvent.TIMEOUT): DialogueState.ADRIFT,
    (DialogueState.ADRIFT, DialogueEvent.SYNC): DialogueState.SYNCING,
    (DialogueState.SYNCING, DialogueEvent.SYNCED): DialogueState.READY,
    (DialogueState.SYNCING, DialogueEvent.STRAY): DialogueState.SYNCING,
    (DialogueState.SYNCING, DialogueEvent.UPSET): DialogueState.ADRIFT,
    (DialogueState.SYNCING, DialogueEvent.TIMEOUT): DialogueState.ADRIFT,
}


class ProtocolError(Exception):
    """What cannot happen in this state: a bug of the caller."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to the question at hand.

    Attributes
    ----------
    command : object
    value : object
        Parsed: see the protocol's commands.
    """

    command: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """The board does not know the command, or will not do it now."""

    command: Any
    line: str


@dataclass(frozen=True, slots=True)
class Rebooted:
    """The board said its welcome though nobody asked: it was reset."""

    line: str


@dataclass(frozen=True, slots=True)
class Alarmed:
    """A GRBL board raised an alarm."""

    code: int


@dataclass(frozen=True, slots=True)
class Stray:
    """A line that answers nothing: late, garbled, or chatter."""

    line: str


@dataclass(frozen=True, slots=True)
class Synced:
    """Nothing late can come any more."""


Event = Answered | Refused | Rebooted | Alarmed | Stray | Synced


class Dialogue:
    """Base of both protocols: bytes in, events out; no port and no clock.

    A protocol adds `_encode` and `_read`.
    """

    def __init__(self) -> None:
        self.state = DialogueState.READY
        self.asked: Any = None
        self._lines = LineBuffer()
        self._parts: list[str] = []

    def ask(self, command: Any) -> bytes:
        """Put a question: return the bytes to send.

        Raises
        ------
        ProtocolError
            An answer is still awaited, or late ones may come.
        """
        self._happened(DialogueEvent.ASK)
        return self._put(command)

    def sync(self, command: Any) -> bytes:
        """Put a question whose answer is told from every other by its shape: return the bytes to send.

        Raises
        ------
        ProtocolError
            The dialogue is not adrift.
        """
        self._happened(DialogueEvent.SYNC)
        return self._put(command)

    def timed_out(self) -> None:
        """Take note that no answer came in time: from now on it would be a late one."""
        self._happened(DialogueEvent.TIMEOUT)
        self.asked = None

    def receive(self, data: bytes) -> list[Event]:
        """Return what some bytes mean. Any bytes will do; none raise."""
        events = [self._read(line) for line in self._lines.feed(data)]
        return [event for event in events if event is not None]

    def _put(self, command: Any) -> bytes:
        self.asked, self._parts = command, []
        return self._encode(command)

    def _happened(self, what: DialogueEvent) -> None:
        if (self.state, what) not in TRANSITIONS:
            msg = f"a dialogue that is {self.state.name} cannot have {what.name}"
            raise ProtocolError(msg)
        self.state = TRANSITIONS[self.state, what]

    def _part(self, line: str) -> None:
        if len(self._parts) < MOST_LINES:
            self._parts.append(line)

    def _answered(self, value: Any) -> Event:
        command, self.asked = self.asked, None
        if self.state is DialogueState.SYNCING:
            self._happened(DialogueEvent.SYNCED)
            return Synced()
        self._happened(DialogueEvent.ANSWER)
        return Answered(command, value)

    def _refused(self, line: str) -> Event:
        # A refusal has no shape of its own: it may be a late one.
        if self.state is DialogueState.SYNCING:
            return self._stray(line)
        command, self.asked = self.asked, None
        self._happened(DialogueEvent.ANSWER)
        return Refused(command, line)

    def _stray(self, line: str) -> Event:
        self._happened(DialogueEvent.STRAY)
        return Stray(line)

    def _upset(self, event: Event) -> Event:
        self.asked = None
        self._happened(DialogueEvent.UPSET)
        return event

    def _encode(self, command: Any) -> bytes:
        raise NotImplementedError

    def _read(self, line: str) -> Event | None:
        raise NotImplementedError
