"""Files that are there whole, or as they were before; and never over what somebody else made.

What is written goes to a file of an unguessable name in the same folder, made with ``O_EXCL``, and takes its
place when it is complete. A file that the user named is replaced only where it is plain, no database, and
bears the mark of what this program writes there; with `--force` (`overwrite`) also what bears none.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING

from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_DATABASE = b"SQLite format 3\0"
# What SQLite keeps beside a database.
_BESIDE_A_DATABASE = ("-wal", "-shm", "-journal")
# A mark stands so early in a file.
_HEAD_BYTES = 4096
_FORCE: ContextVar[bool] = ContextVar("force", default=False)


def overwrite(*, force: bool) -> None:
    """Say whether the command at hand may overwrite files that edgeleuk did not make."""
    _FORCE.set(force)


def is_forced() -> bool:
    """Whether the command at hand may overwrite files; see `overwrite`."""
    return _FORCE.get()


def bears(*marks: bytes) -> Callable[[Path], bool]:
    """Return a test of whether one of the marks stands in the head of a file."""

    def has_mark(path: Path) -> bool:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        return any(mark in head for mark in marks)

    return has_mark


def require_replaceable(path: Path, is_ours: Callable[[Path], bool], flag: str = "--out") -> None:
    """Refuse to write over what edgeleuk did not make; nothing is refused where nothing is.

    Parameters
    ----------
    path : Path
        As the user named it.
    is_ours : callable
        Whether a file is of the sort that is written there; see `bears`.
    flag : str
        What to choose another of.

    Raises
    ------
    UsageError
        It is a database or belongs to one, a link, no plain file, or a file of another make.
    """
    cure = f"choose another {flag}"
    _refuse_database(path, cure)
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) and not _FORCE.get():
            raise UsageError(f"{path} is a link, which is not followed", cure=f"{cure}, or pass --force")
        if not stat.S_ISLNK(status.st_mode):
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{path} cannot be written", got="no plain file", cure=cure)
            if status.st_size and not _FORCE.get() and not is_ours(path):
                raise UsageError(
                    f"{path} exists, and edgeleuk did not make it",
                    cure=f"{cure}, or pass --force",
                )
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path} cannot be written", got=error.strerror, cure=cure) from error


def require_apart(path: Path, session: Path, flag: str) -> None:
    """Refuse an output that is the session to be recorded, or belongs to it.

    Raises
    ------
    UsageError
        They are one.
    """
    names = [session.name, *(session.name + end for end in _BESIDE_A_DATABASE)]
    if path.name in names and path.parent.resolve() == session.parent.resolve():
        raise UsageError(
            f"{path} would overwrite the session", cure=f"choose another {flag}, or another --session"
        )


def replace_file(path: Path, data: bytes) -> None:
    """Write beside, then rename: nobody ever finds half a file, not even of two processes at once.

    Raises
    ------
    OSError
        It cannot be written, and nothing is left of it.
    UsageError
        There is a database, which is never overwritten.
    """
    with part_of(path) as (_, file):
        file.write(data)


@contextlib.contextmanager
def part_of(path: Path, suffix: str = ".part") -> Iterator[tuple[Path, IO[bytes]]]:
    """Make a file that takes the place of `path` when the body has run through; else nothing is left of it.

    Yields
    ------
    part : Path
        Of a name that nobody can guess, in the same folder, with that suffix.
    file : binary file
        The same, open for writing.

    Raises
    ------
    OSError
        It cannot be written.
    UsageError
        There is a database, which is never overwritten.
    """
    _refuse_database(path, "choose another name")
    part = path.with_name(f".edgeleuk-{secrets.token_hex(8)}{suffix}")
    # With O_EXCL not even a link of that name would be followed; the user's umask gives the permissions.
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(OSError):
                # What was there before keeps its permissions.
                os.fchmod(descriptor, stat.S_IMODE(path.lstat().st_mode) & 0o777)
            yield part, file
        part.replace(path)
    except BaseException:
        # Where the folder is none any more, neither is the file.
        with contextlib.suppress(OSError):
            part.unlink()
        raise


@contextlib.contextmanager
def whole_folder(path: Path, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Make a folder that takes the place of `path` when the body has run through; else nothing is left of it.

    Parameters
    ----------
    path : Path
        Must not be there. With `--force` it may be a folder that edgeleuk made, which is then replaced.
    is_ours : callable
        Whether edgeleuk made a folder.

    Yields
    ------
    Path
        An empty folder of a name that nobody can guess, beside it.

    Raises
    ------
    OSError
        It cannot be written.
    UsageError
        Something is there already.
    """
    require_room(path, is_ours)
    part = path.with_name(f".edgeleuk-{secrets.token_hex(8)}.part")
    before = path.with_name(f".edgeleuk-{secrets.token_hex(8)}.before")
    part.mkdir()
    try:
        yield part
        require_room(path, is_ours)
        if path.exists():
            path.rename(before)
        try:
            part.rename(path)
        except OSError:
            if before.exists():
                before.rename(path)
            raise
    finally:
        for folder in (part, before):
            if folder.exists():
                shutil.rmtree(folder)


def require_room(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Refuse to write over a folder, unless by force and one that edgeleuk made: others may hold anything.

    Raises
    ------
    UsageError
        There is one, or something that is no folder.
    """
    if not (path.exists() or path.is_symlink()):
        return
    if path.is_symlink() or not path.is_dir():
        raise UsageError(f"{path} is there, and no folder", cure="choose another folder")
    if not is_ours(path):
        raise UsageError(
            f"{path} exists, and edgeleuk did not make it", cure="choose a folder that is not there yet"
        )
    if not _FORCE.get():
        raise UsageError(f"{path} holds an export already", cure="choose another folder, or pass --force")


@contextlib.contextmanager
def write_errors_of(what: object, cure: str | None = None) -> Iterator[None]:
    """Say in a sentence why `what`, a path or a name, cannot be written; the one place that does.

    Raises
    ------
    UsageError
        In place of an OSError of the body.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"{what} cannot be written", got=reason, cure=cure) from error


def _refuse_database(path: Path, cure: str) -> None:
    """Never let a session be overwritten, nor what SQLite keeps beside it: not even by force."""
    for end in _BESIDE_A_DATABASE:
        if path.name.endswith(end) and _is_database(path.with_name(path.name.removesuffix(end))):
            raise UsageError(f"{path} belongs to a session, and is never overwritten", cure=cure)
    if _is_database(path):
        raise UsageError(f"{path} is a session or another database, and is never overwritten", cure=cure)


def _is_database(path: Path) -> bool:
    try:
        # Opening a pipe would wait for its other end.
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(len(_DATABASE)) == _DATABASE
    except OSError:
        return False
