"""Questions and answers over a link, with time-outs: a dialogue that has a port and a clock."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from edgeleuk_firmware_bridge.stage.errors import (
    BoardAlarmError,
    BoardResetError,
    NoAnswerError,
    RefusedError,
)
from edgeleuk_firmware_bridge.stage.grbl import ALARMS
from edgeleuk_firmware_bridge.stage.state_machine import (
    Alarmed,
    Answered,
    Dialogue,
    DialogueState,
    Event,
    Rebooted,
    Refused,
    Stray,
    Synced,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk_firmware_bridge.stage.serial_link import Link, Patience


class Transport:
    """Asks a board, and is sure that the answer is to the question.

    Parameters
    ----------
    link : Link
    dialogue : Dialogue
        It begins adrift: nobody knows what the board was asked before.
    syncs : sequence
        Commands whose answers are told from all others by their shape, each of a shape of its own.
    patience : Patience

    Attributes
    ----------
    error_count : int
        How often an answer was missing or something else was heard.
    alarm : int or None
        Code of the last alarm that was heard.
    lock : threading.RLock
        Held while a question is open.
    """

    def __init__(self, link: Link, dialogue: Dialogue, syncs: Sequence[Any], patience: Patience) -> None:
        self.link = link
        self.syncs = list(syncs)
        self.patience = patience
        self.error_count = 0
        self.alarm: int | None = None
        self.lock = threading.RLock()
        self._dialogue = dialogue
        dialogue.timed_out()

    def ask(self, command: Any, *, timeout_s: float | None = None, tries: int = 3) -> Any:
        """Return the answer to a question.

        Parameters
        ----------
        command : object
            Of the protocol.
        timeout_s : float, optional
            For each try.
        tries : int
            1 for what must not be done twice.

        Raises
        ------
        NoAnswerError
            There was none, or the board cannot be brought in step again.
        RefusedError
            The board does not know it, or will not.
        BoardResetError, BoardAlarmError
            Something happened to the board.
        LinkLostError
            The wire is gone.
        """
        with self.lock:
            for _ in range(tries):
                self.begin(command)
                event = self.poll(self.patience.answer_s if timeout_s is None else timeout_s)
                if isinstance(event, Answered):
                    return event.value
                if isinstance(event, Refused):
                    raise RefusedError(
                        f"the board at {self.link.url} refused {_name(command)}", got=repr(event.line)
                    )
                self.doubt()
        raise NoAnswerError(f"the board at {self.link.url} did not answer {_name(command)}")

    def begin(self, command: Any) -> None:
        """Put a question whose answer `poll` waits for; see `ask` for what it raises."""
        with self.lock:
            if self._dialogue.state in {DialogueState.ASKED, DialogueState.DOUBTFUL}:
                self.doubt()
            # What came unasked must not be taken for the answer.
            self._hear(0.0)
            if self._dialogue.state is not DialogueState.READY:
                self._resync()
            self.link.write(self._dialogue.ask(command))

    def poll(self, timeout_s: float) -> Answered | Refused | Synced | None:
        """Wait for the answer that is open; None if none came. See `ask` for what it raises."""
        with self.lock:
            return self._hear(timeout_s)

    def doubt(self) -> None:
        """Be sure of nothing any more: the next question brings the board in step first."""
        with self.lock:
            self.error_count += 1
            self._dialogue.timed_out()

    def send_now(self, data: bytes) -> None:
        """Send bytes at once, whoever is asking; their answer is told from others by what is asked next."""
        self.link.write(data)

    def _resync(self) -> None:
        for sync in self.syncs:
            self._drain()
            self.link.write(self._dialogue.sync(sync))
            heard = self._hear(2 * self.patience.answer_s)
            # Something else may have come behind it.
            if isinstance(heard, Synced) and self._dialogue.state is DialogueState.READY:
                return
            self.error_count += 1
            self._dialogue.timed_out()
        raise NoAnswerError(
            f"the board at {self.link.url} answers no more",
            cure="see to its supply and its cable, then open it anew",
        )

    def _drain(self) -> None:
        ends_s = time.monotonic() + self.patience.answer_s
        while time.monotonic() < ends_s:
            data = self.link.read(self.patience.quiet_s)
            if not data:
                return
            self._meanings(data)

    def _hear(self, timeout_s: float) -> Answered | Refused | Synced | None:
        ends_s = time.monotonic() + timeout_s
        while True:
            data = self.link.read(max(ends_s - time.monotonic(), 0.0))
            found = self._meanings(data)
            if found is not None or time.monotonic() >= ends_s:
                return found

    def _meanings(self, data: bytes) -> Answered | Refused | Synced | None:
        found = None
        for event in self._dialogue.receive(data):
            if isinstance(event, Answered | Refused | Synced):
                found = event
            else:
                self._handle_event(event)
        return found

    def _handle_event(self, event: Event) -> None:
        self.error_count += 1
        if isinstance(event, Rebooted):
            raise BoardResetError(
                f"the board at {self.link.url} was reset",
                got=repr(event.line),
                cure="its position need not be true: see to its supply, home it or open it anew",
            )
        if isinstance(event, Alarmed):
            self.alarm = event.code
            raise alarm(event.code, self.link.url)
        assert isinstance(event, Stray)


def alarm(code: int, url: str) -> BoardAlarmError:
    """Return the error of an alarm."""
    text = ALARMS.get(code, "see the firmware's manual")
    return BoardAlarmError(
        f"the board at {url} raised alarm {code}: {text}",
        code,
        cure="free the stage, then `edgeleuk stage home`, or `edgeleuk stage unlock` where it cannot home",
    )


def _name(command: Any) -> str:
    return repr(getattr(command, "value", command))
