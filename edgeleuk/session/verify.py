"""``edgeleuk verify SESSION``: whether every record is as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.io.console import printable
from edgeleuk.results.structs import Printed
from edgeleuk.session.reader import read_session
from edgeleuk.session.removals import RemovedByRule, removed_by_rule, removed_text

if TYPE_CHECKING:
    from pathlib import Path

# How every SQLite file begins.
_MAGIC = b"SQLite format 3\0"


def is_database(path: Path) -> bool:
    """Whether a file is an SQLite database: then it is a session that is to be verified, not a bundle."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def names_session(path: Path) -> bool:
    """Whether a session is meant: an SQLite database, or a folder with one."""
    if path.is_dir():
        return any(is_database(file) for file in path.iterdir() if file.is_file())
    return is_database(path)


class SessionVerification(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk verify SESSION --json`` prints.

    Attributes
    ----------
    links : int
        Of the hash chain, that are sound.
    head : str
        The last of them.
    run_head : str
        The last of them that is of the run itself: reviews come behind it.
    broken : str or None
        Where and how the chain is broken.
    files : int
        In which the session is.
    removed : sequence of RemovedByRule
        What rules removed; the chain says so, and holds without it.
    finished : bool
        The run came to its end.
    """

    schema_version: int = 1
    session: str
    links: int
    head: str
    run_head: str = ""
    broken: str | None
    finished: bool
    frames: int
    cells: int
    events: int
    files: int = 1
    removed: tuple[RemovedByRule, ...] = ()


def verify_session(path: Path) -> SessionVerification:
    """Compute a session's hash chain again, and count what it covers.

    Raises
    ------
    UsageError, SessionError
        See `read_session` and `verify_chain`.
    """
    with read_session(path) as reader:
        # What a run records meanwhile is counted with the next look.
        found, counts = reader.verify(), reader.counts()
        return SessionVerification(
            session=str(path),
            links=found.links,
            head=found.head,
            run_head=found.run_head,
            broken=found.broken,
            finished=reader.summary is not None,
            frames=counts.processed + counts.rejected,
            cells=counts.cells,
            events=counts.events,
            files=len(reader.files),
            removed=tuple(removed_by_rule(reader)),
        )


def verification_text(found: SessionVerification) -> str:
    """Say what was found."""
    lines = [
        f"session   {printable(found.session)},"
        f" {'finished' if found.finished else 'cut off, or still running'}",
        f"records   {found.frames} frames, {found.cells} cells, {found.events} events",
    ]
    if found.files > 1:
        lines.append(f"files     {found.files}, each goes on from the one before")
    if found.broken is not None:
        return "\n".join([*lines, f"chain     BROKEN after {found.links} links: {printable(found.broken)}"])
    lines.append(f"chain     {found.links} links, all sound; the last is {found.head}")
    lines += map(printable, removed_text(found.removed))
    if found.run_head != found.head:
        what = "removed  " if found.removed else "reviewed "
        lines.append(f"{what} after the run, whose own last link is {found.run_head}")
    return "\n".join(lines)
