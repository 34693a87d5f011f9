"""``run --mqtt`` and ``edgeleuk publish SESSION``: a broker is told what a session holds."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.errors import BrokerError, UsageError
from edgeleuk.fleet.connection import client_name
from edgeleuk.fleet.messages import EVENTS, QUALITY, SUMMARY
from edgeleuk.fleet.outbox import Outbox
from edgeleuk.fleet.sender import Sender
from edgeleuk.io.console import printable
from edgeleuk.io.signals import stop_on_signals
from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from edgeleuk.fleet.address import Broker

# A broker that acknowledges nothing for so long is given up.
PATIENCE_S = 10.0
_STEP_S = 0.1
_LOCKS = Path("/proc/locks")
_FLOCK = re.compile(r"FLOCK\s+\S+\s+\S+\s+\S+\s+\S+:(\d+)\s")


class Publication(Printed, frozen=True, kw_only=True):
    """What ``publish --json`` prints.

    Attributes
    ----------
    session : str
        The file.
    session_id : str or None
        What tells it from every other in the messages; None of a session without a record.
    broker, prefix : str
    events, quality, summaries : int
        Messages that the broker acknowledged this time.
    is_recorded : bool
        Whether a run still records the session: the rest of it is not sent yet.
    """

    schema_version: int = 1
    session: str
    session_id: str | None
    broker: str
    prefix: str
    events: int
    quality: int
    summaries: int
    is_recorded: bool


def publish_session(path: Path, broker: Broker | None, *, again: bool = False) -> Publication:
    """Send what a session holds and the broker has not acknowledged.

    Parameters
    ----------
    path : Path
    broker : Broker or None
    again : bool
        Send everything from the beginning.

    Raises
    ------
    UsageError
        No broker is named, or as of `Outbox`.
    SessionError
        As of `Outbox`.
    BrokerError
        It cannot be reached, refuses, or acknowledges nothing for a while.
    """
    if broker is None:
        raise UsageError(
            "the broker is not given",
            cure="pass --mqtt mqtt://USER@HOST/PREFIX, or set mqtt in edgeleuk.toml",
        )
    with Outbox(path, broker.target, again=again) as outbox:
        recorded = _is_recorded(path)
        # Another name than the run's, which may be connected still.
        with (
            Sender(broker, outbox, client_name(broker.prefix, "publish")) as sender,
            stop_on_signals() as stop,
        ):
            gone_on_s, sent = time.monotonic(), 0
            while not sender.done and not stop.is_set():
                if not sender.step(_STEP_S, complete=not recorded):
                    stop.wait(_STEP_S)
                if outbox.sent.total() > sent:
                    gone_on_s, sent = time.monotonic(), outbox.sent.total()
                elif time.monotonic() > gone_on_s + PATIENCE_S:
                    raise sender.trouble or BrokerError(f"{broker.name} acknowledges nothing")
        about = outbox.about
        return Publication(
            session=str(path),
            session_id=None if about is None else about.session,
            broker=broker.name,
            prefix=broker.prefix,
            events=outbox.sent[EVENTS],
            quality=outbox.sent[QUALITY],
            summaries=outbox.sent[SUMMARY],
            is_recorded=recorded,
        )


def publication_text(found: Publication) -> str:
    """Say it in lines."""
    lines = [
        f"session   {printable(found.session)}",
        f"broker    {printable(found.broker)}, topics below {printable(found.prefix)}",
        f"sent      {found.events} events, {found.quality} minutes of quality, {found.summaries} summaries",
    ]
    if found.is_recorded:
        lines.append("          a run still records this session: the rest of it is not sent yet")
    return "\n".join(lines)


def _is_recorded(path: Path) -> bool:
    """Whether a run holds the session, as far as the system tells."""
    # To open the file and close it would take away what this process' own SQLite locks of it.
    with contextlib.suppress(OSError):
        inode = path.stat().st_ino
        for line in _LOCKS.read_text(encoding="ascii", errors="replace").splitlines():
            lock = _FLOCK.search(line)
            if lock is not None and int(lock[1]) == inode:
                return True
    return False
