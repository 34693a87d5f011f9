"""Threads that crash: whoever leads the work learns of it, and ends it.

Python prints what a thread crashed by, and goes on without it. A run would go on without its page, its
display or its stage's watch, and nobody would know.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from edgeleuk.errors import EdgeleukError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ArgumentT = TypeVar("ArgumentT")
_CURE = "this is a bug in edgeleuk, please report the lines above; --resume goes on with the session"


class Crashes:
    """What threads have crashed by; see `crashes_noticed`.

    Parameters
    ----------
    stop : threading.Event
        Set by the first crash, so that whoever waits for a frame or a stage goes on at once.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._first: tuple[str, BaseException] | None = None

    def error(self) -> EdgeleukError | None:
        """Return the error of the thread that crashed first; None as long as none has."""
        if self._first is None:
            return None
        name, cause = self._first
        error = EdgeleukError(
            f"the thread {name} crashed by {type(cause).__name__}", got=str(cause) or None, cure=_CURE
        )
        error.__cause__ = cause
        return error

    def check(self) -> None:
        """Raise the error of the thread that crashed first, if one has.

        Raises
        ------
        EdgeleukError
        """
        error = self.error()
        if error is not None:
            raise error

    def heard(self, crash: threading.ExceptHookArgs) -> None:
        """Take note of a crash, and print it."""
        # A thread that ends itself by `sys.exit` has not crashed; Python says nothing of it, either.
        if crash.exc_type is SystemExit:
            return
        if self._first is None:
            name = "of no name" if crash.thread is None else crash.thread.name
            self._first = name, crash.exc_value or crash.exc_type()
        threading.__excepthook__(crash)
        self._stop.set()


@contextmanager
def crashes_noticed(stop: threading.Event) -> Iterator[Crashes]:
    """Notice every thread of this process that crashes within the block, whoever started it.

    Yields
    ------
    Crashes
        To be asked now and then, and when all is done.
    """
    crashes = Crashes(stop)
    before = threading.excepthook
    threading.excepthook = crashes.heard
    try:
        yield crashes
    finally:
        threading.excepthook = before


def crashing(work: Callable[[ArgumentT], object]) -> Callable[[ArgumentT], None]:
    """Let a task of an executor crash as a thread does, where nobody asks for its result."""

    def does(argument: ArgumentT) -> None:
        try:
            work(argument)
        except BaseException as error:
            crash = (type(error), error, error.__traceback__, threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(crash))
            raise

    return does
