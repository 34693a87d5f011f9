"""What C++ code of runtimes writes to standard error: kept off, or heard."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING

from edgeleuk.io.console import is_verbose

if TYPE_CHECKING:
    from collections.abc import Iterator

_STANDARD_ERROR = 2
_NOTICES = (b"INFO: ", b"VERBOSE: ")
_lock = threading.Lock()
_started = False


@contextmanager
def quiet_start() -> Iterator[None]:
    """Leave notices of the C++ code out of standard error while the body runs, for the first time only.

    There is no switch for them. Warnings, errors, and all that others write meanwhile follow behind the body.
    """
    global _started  # noqa: PLW0603
    with _lock, ExitStack() as stack:
        if not _started and not is_verbose():
            _started = True
            # Where there is no standard error, or no room for a file, nothing is kept off.
            with suppress(OSError):
                stack.callback(_restore, *_redirect(stack))
        yield


class Heard:
    """What was written to standard error, and the way to who reads it.

    Attributes
    ----------
    text : str
        Complete when the block has ended.
    """

    def __init__(self, reader: int | None) -> None:
        self.text = ""
        self._reader = reader

    def show(self, text: str) -> None:
        """Write to where standard error leads outside the block."""
        with suppress(OSError):
            os.write(_STANDARD_ERROR if self._reader is None else self._reader, text.encode())


@contextmanager
def heard() -> Iterator[Heard]:
    """Keep what C++ code writes to standard error while the body runs, in place of showing it."""
    with ExitStack() as stack:
        before: int | None = None
        with suppress(OSError):
            before, kept = _redirect(stack)
        found = Heard(before)
        try:
            yield found
        finally:
            if before is not None:
                os.dup2(before, _STANDARD_ERROR)
                os.close(before)
                kept.seek(0)
                found.text = kept.read().decode(errors="replace")


def _redirect(stack: ExitStack) -> tuple[int, IO[bytes]]:
    """Let standard error run into a file; return where it went before, and the file."""
    kept: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    before = os.dup(_STANDARD_ERROR)
    os.dup2(kept.fileno(), _STANDARD_ERROR)
    return before, kept


def _restore(before: int, kept: IO[bytes]) -> None:
    """Let standard error run where it went before, and say there what is no notice."""
    os.dup2(before, _STANDARD_ERROR)
    os.close(before)
    kept.seek(0)
    with suppress(OSError):
        for line in kept:
            if not line.startswith(_NOTICES):
                os.write(_STANDARD_ERROR, line)
