"""The global options ``-v``, ``--quiet`` and ``--log-file``, which may stand anywhere in a command line."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import bears, require_replaceable
from edgeleuk.io.console import lose_voice, set_voice

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK = "# Written by edgeleuk.\n"
_FLAGS = {"-v": "verbose", "--verbose": "verbose", "--quiet": "quiet"}
_LOG = "--log-file"


class _Chosen:
    """What was asked for so far: before the command, and behind it."""

    verbose = False
    quiet = False
    log: TextIO | None = None


_chosen = _Chosen()


@contextmanager
def global_options() -> Iterator[None]:
    """Speak on standard error within this; what is chosen meanwhile is forgotten, and its log closed."""
    global _chosen  # noqa: PLW0603
    set_voice()
    try:
        yield
    finally:
        if _chosen.log is not None:
            with suppress(OSError):
                _chosen.log.close()
        _chosen = _Chosen()
        lose_voice()


def choose(*, verbose: bool = False, quiet: bool = False, log_file: Path | None = None) -> None:
    """Add to what was chosen, and let it hold from now on.

    Raises
    ------
    UsageError
        Verbose and quiet at once, or the file cannot be written.
    """
    _chosen.verbose |= verbose
    _chosen.quiet |= quiet
    if _chosen.verbose and _chosen.quiet:
        raise UsageError("--verbose and --quiet exclude each other", cure="pass one of them")
    if _chosen.verbose:
        # TensorFlow's own notices, too.
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    if log_file is not None:
        if _chosen.log is not None:
            _chosen.log.close()
        _chosen.log = _opened(log_file)
    set_voice(verbose=_chosen.verbose, quiet=_chosen.quiet, log=_chosen.log)


def _opened(file: Path) -> TextIO:
    """Open a log to add to it."""
    require_replaceable(file, bears(_MARK.encode()), _LOG)
    try:
        log = file.open("a", encoding="utf-8")
        if not log.tell():
            log.write(_MARK)
    except OSError as error:
        raise UsageError(f"{file} cannot be written", got=error.strerror) from error
    return log


def take_global_options(words: list[str]) -> list[str]:
    """Obey the global options among the words of a command, and return the others.

    Raises
    ------
    UsageError
        See `choose`; or a file is not named.
    """
    rest: list[str] = []
    found: dict[str, bool] = {}
    log_file: Path | None = None
    left = iter(words)
    for word in left:
        if word == "--":
            rest += [word, *left]
        elif word in _FLAGS:
            found[_FLAGS[word]] = True
        elif word == _LOG:
            name = next(left, None)
            if name is None:
                raise UsageError(f"{_LOG} names no file", cure=f"pass {_LOG} FILE")
            log_file = Path(name)
        elif word.startswith(f"{_LOG}="):
            log_file = Path(word.partition("=")[2])
        else:
            rest.append(word)
    if found or log_file is not None:
        choose(verbose="verbose" in found, quiet="quiet" in found, log_file=log_file)
    return rest
