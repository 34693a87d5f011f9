"""One program at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import write_errors_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How long another program may hold a folder.
PATIENCE_S = 30.0
_LOOK_AGAIN_S = 0.05


@contextlib.contextmanager
def alone_in(folder: Path, what: Path, cure: str, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Let no other program that asks for the same change what lies in a folder meanwhile.

    The folder itself is locked, which leaves nothing behind; a file in it may be replaced meanwhile.

    Parameters
    ----------
    folder : Path
    what : Path
        Is named where it is in use.
    cure : str
        What helps where it cannot be locked.
    patience_s : float
        How long is waited for another program.

    Raises
    ------
    UsageError
        Another program holds it for longer than that, or it cannot be locked.
    """
    with write_errors_of(what, cure):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(what, descriptor, cure, patience_s)
        yield
    finally:
        os.close(descriptor)


def _lock(what: Path, folder: int, cure: str, patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise UsageError(
                    f"{what} is in use by another program", cure="wait until it is done, or end it"
                ) from None
            time.sleep(_LOOK_AGAIN_S)
        except OSError as error:
            raise UsageError(f"{what} cannot be locked", got=error.strerror, cure=cure) from error
        else:
            return
