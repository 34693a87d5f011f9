"""Runs a program of the system for what it says, and waits no longer than told."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# One that is being ended and does not end, as a driver keeps it, is left to itself.
_LAST_WORDS_S = 1.0
# What this process still waits for; ended with it, as a session of its own hears no Ctrl-C.
_running: set[subprocess.Popen[bytes]] = set()


class Said(NamedTuple):
    """What a program came to.

    Attributes
    ----------
    code : int or None
        Its exit code, minus the signal that ended it, or None where it took too long.
    out, error : str
        What it wrote, until then.
    """

    code: int | None
    out: str
    error: str = ""


def run_program(
    words: Sequence[str], timeout_s: float, *, environ: Mapping[str, str] | None = None
) -> Said | None:
    """Run a program without a terminal; None where there is none of that name, or it cannot be started.

    Parameters
    ----------
    words : sequence of str
        The program, looked for on ``PATH``, and its arguments.
    timeout_s : float
        After which it is ended, with all that it started.
    environ : mapping of str to str, optional
        Instead of this process's own.
    """
    path = shutil.which(words[0])
    if path is None:
        return None
    try:
        process = subprocess.Popen(  # noqa: S603 - what is run is named in the code, not by the user
            [path, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if environ is None else dict(environ),
            start_new_session=True,
        )
    except OSError:
        return None
    _running.add(process)
    try:
        out, error = process.communicate(timeout=timeout_s)
        return Said(process.returncode, _decoded(out), _decoded(error))
    except subprocess.TimeoutExpired as late:
        said = Said(None, _decoded(late.stdout), _decoded(late.stderr))
        _end(process)
    except BaseException:
        _end(process)
        raise
    finally:
        _running.discard(process)
    return said


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_LAST_WORDS_S)


@atexit.register
def _end_all() -> None:
    for process in tuple(_running):
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


def _decoded(data: bytes | str | None) -> str:
    return data.decode(errors="replace") if isinstance(data, bytes) else data or ""
