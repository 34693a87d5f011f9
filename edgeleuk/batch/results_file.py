"""The results of an archive: a file of JSON lines, one a picture, that a later run goes on with.

What stands in it with its newline is done. A kill may leave half a line at the end, which is cut off and done
again. Each line ends with the sha256 of what stands before it: a line that was changed since is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from edgeleuk.bundle.numbers import Count, Digest, Share  # noqa: TC001 - msgspec looks at them
from edgeleuk.errors import IntegrityError, SessionError, UsageError
from edgeleuk.io.closing import Closing
from edgeleuk.io.durable import sync_folder
from edgeleuk.results import Decision  # noqa: TC001 - msgspec looks at it
from edgeleuk.results.kinds import Kind  # noqa: TC001 - as above

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from edgeleuk.batch.worker import Standard

# How every line begins: so a torn one is told from another program's.
_BEGINNING = b'{"file": '
# More than any picture's cells take.
_LONGEST_LINE = 1 << 24
_SEAL = re.compile(rb', "line_sha256": "([0-9a-f]{64})"\}')
_SEAL_BYTES = len(', "line_sha256": ""}') + 64
_CURE = "choose another --out, or run with what made this one"


class _Cell(msgspec.Struct, frozen=True):
    """What is read of a cell."""

    decision: Decision
    probability: Share | None
    reason: str | None
    kind: Kind | None = None
    kind_probability: Share | None = None


class _Line(msgspec.Struct, frozen=True):
    """What is read of a line; the rest is for other programs."""

    file: str
    bytes: Count | None
    sha256: Digest | None
    cells: tuple[_Cell, ...]
    error: str | None
    rejected: str | None = None


class Entry(NamedTuple):
    """What is kept in memory of a picture's line: an archive may have a million.

    Attributes
    ----------
    error : str or None
    cells : tuple of (str, float or None, str or None, str or None)
        Decision, probability, reason and kind of each.
    rejected : str or None
        Why it was not worth judging.
    """

    error: str | None
    cells: tuple[tuple[str, float | None, str | None, str | None], ...]
    rejected: str | None = None


class Done(NamedTuple):
    """A picture that stands in the file.

    Attributes
    ----------
    size_bytes, sha256 : int or None, str or None
        None where the file could not be read at all.
    line_sha256 : bytes
        Of its line, without this digest itself.
    entry : Entry
    """

    size_bytes: int | None
    sha256: str | None
    line_sha256: bytes
    entry: Entry

    def is_of(self, path: Path) -> bool:
        """Whether the file at `path` is still what was judged."""
        try:
            if self.sha256 is None or path.stat().st_size != self.size_bytes:
                return False
            with path.open("rb") as file:
                return _sha256(file) == self.sha256
        except OSError:
            return False


class Ledger(Closing):
    """Results on disk, for one run at a time; made by `open_ledger`.

    Attributes
    ----------
    done : dict of str to Done
        By name; the last line of each.
    """

    def __init__(self, path: Path, file: Any, done: dict[str, Done]) -> None:
        self.path = path
        self.done = done
        self._file = file

    def append(self, lines: Iterable[str]) -> None:
        """Write lines that do not stand there yet; on the disk when this returns.

        Raises
        ------
        SessionError
            The disk is full, or gone. No half line is left.
        """
        end = os.fstat(self._file.fileno()).st_size
        new = [f"{sealed(line)}\n" for line in lines if not self._stands(line)]
        left = memoryview("".join(new).encode())
        try:
            while left:
                # A disk that is nearly full takes a part.
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), end)
            raise SessionError(
                f"{self.path} takes no more results",
                got=error.strerror,
                cure="free some space and run the same command again: what stands there is kept",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _stands(self, line: str) -> bool:
        before = self.done.get(json.loads(line)["file"])
        return before is not None and before.line_sha256 == hashlib.sha256(line.encode()).digest()


def sealed(line: str) -> str:
    """Return a line with its digest at its end.

    Examples
    --------
    >>> sealed('{"file": "a.png"}')[:60]
    '{"file": "a.png", "line_sha256": "783546e16fe8b736cd06aa9614'
    """
    return f'{line[:-1]}, "line_sha256": "{hashlib.sha256(line.encode()).hexdigest()}"}}'


def entry_of(value: Mapping[str, Any]) -> Entry:
    """Return what is kept of a decoded line."""
    names = ("decision", "probability", "reason", "kind")
    cells = tuple(tuple(cell.get(name) for name in names) for cell in value["cells"])
    return Entry(value["error"], cells, value.get("rejected"))


def open_ledger(path: Path, standard: Standard) -> Ledger:
    """Begin a file of results, or go on with one.

    Raises
    ------
    UsageError
        It cannot be written, is another program's, was made by another standard, or is in use.
    IntegrityError
        A line is not as it was written.
    """
    new = not path.exists()
    try:
        file = path.open("a+b", buffering=0)
    except OSError as error:
        cure = "choose a folder that may be written, with --out"
        raise UsageError(f"{path} cannot be written", got=error.strerror, cure=cure) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            cure = "wait until it is done, or choose another --out"
            raise UsageError(f"another run is writing {path}", cure=cure) from error
        if new:
            sync_folder(path.parent)
        return Ledger(path, file, _read(path, file, standard))
    except BaseException:
        file.close()
        raise


def recorded_runtime(path: Path) -> str | None:
    """Return the runtime that judged what stands in a file of results; None where nothing stands there.

    What is no result at all, `open_ledger` refuses.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(_LONGEST_LINE)
    except OSError:
        return None
    value = _decoded(line[:-1]) if line.endswith(b"\n") else None
    before = None if value is None else value.get("runtime")
    return before if isinstance(before, str) else None


def _read(path: Path, file: Any, standard: Standard) -> dict[str, Done]:
    """Read what is done, and cut off a torn last line."""
    done: dict[str, Done] = {}
    wanted = standard.to_json()
    file.seek(0)
    end = 0
    reader = os.fdopen(os.dup(file.fileno()), "rb")
    with reader:
        for number, line in enumerate(iter(lambda: reader.readline(_LONGEST_LINE), b""), start=1):
            if not line.endswith(b"\n"):
                if len(line) == _LONGEST_LINE or not (
                    line.startswith(_BEGINNING) or _BEGINNING.startswith(line)
                ):
                    raise _foreign(path, number)
                break
            before = _unsealed(path, number, line[:-1])
            value = _decoded(before)
            if value is None:
                raise _foreign(path, number)
            for name, one in wanted.items():
                if value.get(name) != one:
                    got = f"{name} {value.get(name)}"
                    raise UsageError(
                        f"{path} holds results of another kind", got=got, allowed=one, cure=_CURE
                    )
            digest = hashlib.sha256(before).digest()
            done[value["file"]] = Done(value["bytes"], value["sha256"], digest, entry_of(value))
            end += len(line)
    if os.fstat(file.fileno()).st_size > end:
        os.ftruncate(file.fileno(), end)
    return done


def _unsealed(path: Path, number: int, line: bytes) -> bytes:
    """Return a line as it was before its digest was put to it."""
    if not line.startswith(_BEGINNING):
        raise _foreign(path, number)
    seal = _SEAL.search(line, len(line) - _SEAL_BYTES) if len(line) > _SEAL_BYTES else None
    if seal is None or seal.end() != len(line):
        if _decoded(line) is None:
            raise _foreign(path, number)
        raise IntegrityError(
            f"line {number} of {path} does not carry its digest",
            got="a line that was changed, or that an earlier version wrote",
            cure="delete the line to have its picture judged again, or choose another --out",
        )
    before = line[: seal.start()] + b"}"
    if hashlib.sha256(before).hexdigest().encode() != seal[1]:
        raise IntegrityError(
            f"line {number} of {path} is not as it was written",
            got="another digest than it carries",
            cure="delete the line to have its picture judged again, or choose another --out",
        )
    return before


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
        msgspec.convert(value, _Line)
    except (ValueError, TypeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _foreign(path: Path, number: int) -> UsageError:
    return UsageError(
        f"line {number} of {path} is no result of `edgeleuk classify`", cure="choose another --out"
    )


def _sha256(file: Any) -> str:
    whole = hashlib.sha256()
    while block := file.read(1 << 20):
        whole.update(block)
    return whole.hexdigest()
