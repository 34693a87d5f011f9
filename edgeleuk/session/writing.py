"""What is written of a session: there as a whole or not at all, and never over what somebody else made."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, TextIO

from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import bears, part_of, require_replaceable, write_errors_of
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# An export or a page says so near its beginning; a table without cells has its header alone.
is_our_page = bears(RESEARCH_USE.encode(), b"research_use_only")


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
        `out` is the session, a file that edgeleuk did not make, or cannot be written.
    """
    require_not_session(out, session, flag)
    require_replaceable(out, is_our_page, flag)
    with (
        write_errors_of(out, f"choose another {flag}"),
        part_of(out) as (_, binary),
        io.TextIOWrapper(binary, encoding="utf-8", newline="") as file,
    ):
        yield file


def require_not_session(out: Path, session: Path, flag: str = "--out") -> None:
    """Refuse an output that is the session itself.

    Raises
    ------
    UsageError
    """
    if out.exists() and session.exists() and out.samefile(session):
        raise UsageError("the export would overwrite the session", got=out, cure=f"choose another {flag}")
