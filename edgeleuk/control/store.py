"""The laboratory's file of control sessions: read whole, checked, and replaced whole."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from edgeleuk.control.entries import ControlEntry  # noqa: TC001 - msgspec looks at it
from edgeleuk.errors import IntegrityError, UsageError
from edgeleuk.io.alone import alone_in
from edgeleuk.io.atomic import write_errors_of
from edgeleuk.io.durable import replace_durably
from edgeleuk.io.user_folders import user_folder
from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


SCHEMA_VERSION = 1
# The word for the file in the user's own folder.
DEFAULT = "default"
_FILE_NAME = "control.json"
_FORMAT = b"edgeleuk control"
_ANOTHER = "choose another --control"
_RESTORE = f"restore it from a copy, or {_ANOTHER}"
# 20,000 sessions; a larger file is not of these.
_MOST_BYTES = 50_000_000


class ControlFile(Printed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of a laboratory's control sessions.

    Attributes
    ----------
    format : str
        What tells it from other files.
    sha256 : str
        Of the sessions, so that a changed figure is noticed.
    sessions : tuple of ControlEntry
        In the order in which they were added.
    """

    format: Literal["edgeleuk control"]
    schema_version: int
    sha256: str
    sessions: tuple[ControlEntry, ...]


class _Version(msgspec.Struct):
    """What every version of the file has."""

    format: Literal["edgeleuk control"]
    schema_version: int


def control_path(named: str | None) -> Path:
    """Return the file that is meant: as named, or `DEFAULT`, below ``$XDG_DATA_HOME``.

    Raises
    ------
    UsageError
        The user's home is not known.
    """
    if named is not None and named != DEFAULT:
        return Path(named)
    return user_folder("XDG_DATA_HOME", "control sessions", "pass --control FILE") / _FILE_NAME


def read_control(path: Path) -> tuple[ControlEntry, ...]:
    """Return the control sessions of a file, in their order; none where there is no file yet.

    Raises
    ------
    UsageError
        It cannot be read, or is no plain file.
    IntegrityError
        It is another program's, of a newer version, or damaged.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} cannot be read", got="no plain file", cure="choose another --control")
        if status.st_size > _MOST_BYTES:
            raise _foreign(path)
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read", got=error.strerror, cure="choose another --control"
        ) from error
    return _decoded(path, data)


def change_control(
    path: Path, change: Callable[[tuple[ControlEntry, ...]], tuple[ControlEntry, ...]]
) -> tuple[ControlEntry, ...]:
    """Replace the sessions of a file by what `change` makes of them; nobody else changes it meanwhile.

    Whatever ends the program, the file holds either all sessions of before or all of now.

    Parameters
    ----------
    path : Path
    change : callable
        Given the sessions of before, returns those of now; what it raises leaves the file as it is.

    Raises
    ------
    UsageError
        It cannot be written, or another program holds it.
    IntegrityError
        See `read_control`.
    """
    if path == control_path(DEFAULT):
        with write_errors_of(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.is_dir():
        raise UsageError(
            "there is no such folder", got=path.parent, cure="make it, or choose another --control"
        )
    if path.is_symlink():
        raise UsageError(f"{path} is a link, which is not followed", cure="pass the file it leads to")
    with alone_in(path.parent, path, _ANOTHER):
        now = change(read_control(path))
        with write_errors_of(path, _ANOTHER):
            replace_durably(path, _encoded(now))
    return now


def _decoded(path: Path, data: bytes) -> tuple[ControlEntry, ...]:
    if _FORMAT not in data[:200]:
        if not data.strip(b"\0 \t\r\n"):
            raise IntegrityError(f"{path} is damaged", got="an empty file", cure=_RESTORE)
        raise _foreign(path)
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise IntegrityError(
                f"{path} was written by a newer edgeleuk",
                got=f"schema {version}",
                allowed=f"up to {SCHEMA_VERSION}",
                cure="update edgeleuk to read it",
            )
        found = msgspec.json.decode(data, type=ControlFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"{path} is damaged", got=error, cure=_RESTORE) from error
    if _hash(found.sessions) != found.sha256:
        raise IntegrityError(
            f"{path} is damaged", got="figures that are not as they were written", cure=_RESTORE
        )
    return found.sessions


def _foreign(path: Path) -> IntegrityError:
    return IntegrityError(
        f"{path} is no file of control sessions",
        cure="pass one that `edgeleuk control add` made, or a new name, with --control",
    )


def _encoded(sessions: Sequence[ControlEntry]) -> bytes:
    whole = ControlFile(
        format="edgeleuk control",
        schema_version=SCHEMA_VERSION,
        sha256=_hash(sessions),
        sessions=tuple(sessions),
    )
    return msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"


def _hash(sessions: Sequence[ControlEntry]) -> str:
    # Structs are encoded in the order of their fields, and floats read back as they were.
    return hashlib.sha256(msgspec.json.encode(sessions)).hexdigest()
