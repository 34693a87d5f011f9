"""How far a session's messages are acknowledged: a small file beside the session, which is the queue.

It may be lost or deleted: then everything is sent again, and the messages' keys tell what was sent before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.errors import UsageError
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = "-mqtt"
_HEAD = b'{"edgeleuk_mqtt":'
_MOST_BYTES = 4096


class Cursor(msgspec.Struct, kw_only=True):
    """Up to which record messages are acknowledged.

    Attributes
    ----------
    edgeleuk_mqtt : int
        Version of the file.
    target : str
        The broker and the prefix that they went to.
    session : str or None
    events, frames, summaries : int
        Numbers of the last records.
    marks : dict of str
        What those records say of themselves, so that others in their place are noticed.
    """

    edgeleuk_mqtt: int = 1
    target: str
    session: str | None = None
    events: int = 0
    frames: int = -1
    summaries: int = 0
    marks: dict[str, str] = {}


class CursorFile(Closing):
    """The file of a session's cursor, held by one process at a time.

    Parameters
    ----------
    session : Path
    target : str
        What went elsewhere is to be sent from the beginning.

    Attributes
    ----------
    cursor : Cursor

    Raises
    ------
    UsageError
        Another process sends this session's messages, or the file is another program's or cannot be made.
    """

    def __init__(self, session: Path, target: str) -> None:
        self.path = session.with_name(session.name + SUFFIX)
        self._saved = b""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be made, which tells what the broker has",
                got=error.strerror,
                cure="see that the session's folder may be written",
            ) from error
        try:
            self._hold()
            self.cursor = self._read(target)
        except BaseException:
            self.close()
            raise

    def save(self) -> None:
        """Write the cursor where it has moved; where that fails, a message more is sent again later."""
        data = msgspec.json.encode(self.cursor)
        if data == self._saved or self._descriptor < 0:
            return
        # In place, for the lock's sake, and not synced: a torn file means that all is sent again.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, data, 0)
            os.ftruncate(self._descriptor, len(data))
            self._saved = data

    def close(self) -> None:
        """Let the next process have it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _hold(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                "another process sends this session's messages", got=self.path, cure="wait until it ends"
            ) from None

    def _read(self, target: str) -> Cursor:
        data = os.pread(self._descriptor, _MOST_BYTES, 0)
        if data and not data.startswith(_HEAD):
            raise UsageError(
                f"{self.path} exists, and edgeleuk did not make it",
                cure="move it away, or rename the session",
            )
        with contextlib.suppress(msgspec.DecodeError):
            found = msgspec.json.decode(data, type=Cursor)
            if found.target == target:
                self._saved = data
                return found
        return Cursor(target=target)
