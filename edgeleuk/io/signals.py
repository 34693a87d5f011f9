"""How a command ends when it is told to: Ctrl-C, SIGTERM, and SIGHUP, which comes when a terminal is gone.

All three end a command in order: what was counted is recorded and summed up, the stage stops, the lamp goes
off. A SIGHUP may come twice, from the terminal and from its shell, and what it interrupts is not to be
interrupted again. Who was told to outlive the terminal (``nohup``) does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handler = Callable[[int, object], None]

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2


class _Terminal:
    """Whether standard output and standard error were a terminal, and whether it has hung up."""

    def __init__(self) -> None:
        self.hung_up = False
        self._were_terminals: tuple[int, ...] = ()

    def look(self) -> None:
        self.hung_up = False
        self._were_terminals = tuple(
            number for number in (_STANDARD_OUTPUT, _STANDARD_ERROR) if os.isatty(number)
        )

    def leave(self) -> None:
        """Write to nowhere what would go to a terminal that is no more: each write would fail."""
        self.hung_up = True
        for number in self._were_terminals:
            if not os.isatty(number):
                with suppress(OSError):
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, number)
                    os.close(nowhere)


_TERMINAL = _Terminal()


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end what is done within this as Ctrl-C does, by ``KeyboardInterrupt``."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    _TERMINAL.look()
    with _handled((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a stop.

    The second Ctrl-C or SIGTERM ends the program at once.

    Yields
    ------
    threading.Event
        Set when it was asked to stop.
    """
    stop = threading.Event()
    before: dict[int, Any] = {}

    def handle(number: int, _: object) -> None:
        stop.set()
        if number != signal.SIGHUP:
            signal.signal(number, before[number] if number == signal.SIGINT else signal.SIG_DFL)

    with _handled((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), handle, before):
        yield stop


@contextmanager
def held_back() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP that come within this have their way behind it.

    For steps in which an exception out of nowhere would leave a lock taken, as it does within
    ``threading.Condition``: who waits for that lock then would wait for ever.
    """
    came: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for known, kept in before.items():
            signal.signal(known, kept)
        for late in came:
            signal.raise_signal(late)


def leave_ending_to_parent() -> None:
    """Let a worker process go on through what reaches its whole group: its parent decides what becomes of it.

    Its parent ends it by SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _handled(
    numbers: tuple[signal.Signals, ...], handler: Handler, before: dict[int, Any] | None = None
) -> Iterator[None]:
    """Handle signals within this, in the main thread; no second SIGHUP, and none where it is ignored."""
    before = {} if before is None else before

    def hang_up(number: int, frame: object) -> None:
        if not _TERMINAL.hung_up:
            _TERMINAL.leave()
            handler(number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            before[number] = signal.getsignal(number)
            signal.signal(number, hang_up if number == signal.SIGHUP else handler)
    try:
        yield
    finally:
        for known, kept in before.items():
            signal.signal(known, kept)


def nothing_more_to_say() -> None:
    """Take standard output away where nobody reads it, so that the interpreter's end says nothing."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
