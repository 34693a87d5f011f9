"""What the service remembers from one start to the next: its session, its failures, and its page's token."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import msgspec

from edgeleuk.io.atomic import replace_file
from edgeleuk.io.console import warn

if TYPE_CHECKING:
    from pathlib import Path

FILE = "service.json"
# The time between two starts doubles with each failure in a row; a camera that is plugged in again is found
# within a minute and the time of a start. The manager itself waits two seconds.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 4.0, 58.0


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds.

    Attributes
    ----------
    session : str or None
        Name of the session that a start goes on with: one that was cut off, or the day's.
    day : str or None
        The day that it belongs to, where there is one session a day.
    failures : int
        How many runs in a row ended badly; one that has counted for a minute begins anew.
    token : str
        What the address of the page holds, so that a tablet finds it again after a new start.
    """

    schema_version: int = 1
    session: str | None = None
    day: str | None = None
    failures: int = 0
    token: str = ""


def read_memory(folder: Path) -> Memory:
    """Read what is remembered; what cannot be read is forgotten, as a power cut may have left half of it."""
    with suppress(OSError, msgspec.MsgspecError):
        memory = msgspec.json.decode((folder / FILE).read_bytes(), type=Memory)
        if memory.token:
            return memory
    return Memory(token=secrets.token_urlsafe(24))


def write_memory(folder: Path, memory: Memory) -> None:
    """Write it down, for the service's own user alone; on a full disk what was written before stays."""
    path = folder / FILE
    try:
        path.touch(0o600)
        replace_file(path, msgspec.json.encode(memory))
    except OSError as error:
        warn(f"{path} cannot be written ({error.strerror}): the service remembers what was there before")


def wait_before_s(failures: int) -> float:
    """Return how long is waited before a start, after so many failures in a row.

    Examples
    --------
    >>> [wait_before_s(failures) for failures in (0, 1, 2, 3, 5, 100)]
    [0.0, 0.0, 4.0, 8.0, 32.0, 58.0]
    """
    if failures < 2:
        return 0.0
    return float(min(_FIRST_WAIT_S * 2.0 ** min(failures - 2, 10), _LONGEST_WAIT_S))


def session_for(
    folder: Path, memory: Memory, session_per: Literal["start", "day"], *, now: time.struct_time
) -> tuple[Path, Memory]:
    """Choose the session of a start that begins now.

    Parameters
    ----------
    folder : Path
        Where sessions lie.
    memory : Memory
    session_per : str
        ``start``: a new one for each start, but the old one after a failure; ``day``: one for each day.
    now : time.struct_time
        Local time.

    Returns
    -------
    session : Path
        To be gone on with, or begun where it is not there.
    memory : Memory
        With the session in it.
    """
    day = time.strftime("%Y%m%d", now) if session_per == "day" else None
    if memory.session is not None and memory.day == day:
        return folder / memory.session, memory
    name = f"session-{day or time.strftime('%Y%m%d-%H%M%S', now)}"
    return _renamed(folder, name, memory, day)


def session_instead(folder: Path, memory: Memory) -> tuple[Path, Memory]:
    """Choose another session than the one remembered, which cannot be gone on with."""
    stem = (memory.session or "session").removesuffix(".db")
    return _renamed(folder, stem, memory, memory.day)


def _renamed(folder: Path, stem: str, memory: Memory, day: str | None) -> tuple[Path, Memory]:
    """Take a name that is free: without a clock every start has the same time."""
    number = 1
    while (folder / _name(stem, number)).exists():
        number += 1
    name = _name(stem, number)
    return folder / name, msgspec.structs.replace(memory, session=name, day=day)


def _name(stem: str, number: int) -> str:
    return f"{stem}{f'-{number}' if number > 1 else ''}.db"
