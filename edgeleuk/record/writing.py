"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TextIO

from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def whole_file(out: Path, session: Path, flag: str = "--out") -> Iterator[TextIO]:
    """Open a file that takes the place of `out` when the body has run through.

    Parameters
    ----------
    out : Path
    session : Path
        Never overwritten.
    flag : str
        What to choose another of, where it cannot be written.

    Raises
    ------
    UsageError
        `out` is the session, or cannot be written.
    """
    if out.exists() and out.samefile(session):
        raise UsageError("the export would overwrite the session", got=out, cure=f"choose another {flag}")
    if out.exists() and not out.is_file():
        # Such as a folder, or /dev/stdout, which would be replaced.
        raise UsageError(f"{out} cannot be written", got="no plain file", cure=f"choose another {flag}")
    part = out.with_name(out.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(out)
    except OSError as error:
        raise UsageError(
            f"{out} cannot be written", got=error.strerror, cure=f"choose another {flag}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
