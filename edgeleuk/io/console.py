"""What a person sees while a command works: JSON on standard output, progress on standard error.

Only a program speaks on standard error: within another's program, what is said goes to its log (`say`).
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# What is told (done, in all) of long work.
Progress: TypeAlias = "Callable[[int, int], None]"

STAGES = {
    "look": "looking at the cells",
    "front": "teaching the first layers what the teacher's see",
    "distil": "teaching the network what its teacher sees",
    "train": "training",
    "inner": "training, with some groups kept out for the temperature and the threshold",
    "final": "training again, with those groups too",
}


# What a terminal would obey instead of showing it, or that hides text: control characters, marks that turn
# the direction of writing round, and bytes that are no UTF-8, which Python holds as surrogates.
_OBEYED = "\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff"
_IN_LINE = re.compile(f"[{_OBEYED}]")
_IN_TEXT = re.compile(f"(?![\n\t])[{_OBEYED}]")


def printable(text: str) -> str:
    r"""Return a text from outside as a terminal may show it, in one line: a name, a reason, a reply.

    Examples
    --------
    >>> print(printable("a\x1b[31m.jpg"), printable("Pr\udce4parat.jpg"), printable("two\nlines"))
    a\x1b[31m.jpg Pr\xe4parat.jpg two\x0alines
    """
    return _IN_LINE.sub(_escape, text)


def recordable(text: str) -> str:
    r"""Return a name as UTF-8 can hold it, so that it can be told what it was; nearly all stay as they are.

    Bytes that are no UTF-8 become ``\xNN``; backslashes are doubled where there are any, or ``\x`` itself.

    Examples
    --------
    >>> print(recordable("a.jpg"), recordable("Pr\udce4parat.jpg"))
    a.jpg Pr\xe4parat.jpg
    """
    if "\\x" not in text and _SURROGATE.search(text) is None:
        return text
    return _SURROGATE.sub(_escape, text.replace("\\", "\\\\"))


_SURROGATE = re.compile("[\ud800-\udfff]")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        # A byte that is no UTF-8, as Python holds it.
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


class _Escaped:
    """Standard output that shows what a terminal would obey; lines and tabs stay."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.encoding, self.errors = stream.encoding, stream.errors

    def write(self, text: str) -> int:
        return self.stream.write(_IN_TEXT.sub(_escape, text))

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True


@contextmanager
def escaped_output() -> Iterator[None]:
    """Escape what is printed within this, wherever it came from: no name rules the terminal."""
    stream = sys.stdout
    sys.stdout = cast("TextIO", _Escaped(stream))
    try:
        yield
    finally:
        sys.stdout = stream


def data_output() -> TextIO:
    """Return standard output for data: as it is where a program reads it, escaped on a terminal."""
    stream: object = sys.stdout
    return stream.stream if isinstance(stream, _Escaped) and not stream.isatty() else sys.stdout


def print_json(value: object) -> None:
    r"""Print one JSON object on standard output; numbers that JSON lacks (NaN) become null.

    Names stay what they are: what a terminal would obey stands as JSON's own escapes, and bytes of a name
    that are no UTF-8 as lone surrogates (``\udce4``), which Python's `json` and `os.fsencode` turn back.
    """
    import msgspec  # only what prints JSON needs it

    try:
        text = msgspec.json.format(msgspec.json.encode(value), indent=1).decode()
    except UnicodeEncodeError:
        text = json.dumps(_without_nan(msgspec.to_builtins(value)), indent=1, allow_nan=False)
    # Of these none stands outside a text, but the line ends.
    sys.stdout.write(_IN_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Voice(NamedTuple):
    """How much is said on standard error, and what is written down besides.

    Attributes
    ----------
    program : bool
        Whether this is a program of edgeleuk; another's is not talked into, and its log is used instead.
    verbose, quiet : bool
    log : text file or None
        See `set_voice`.
    """

    program: bool = False
    verbose: bool = False
    quiet: bool = False
    log: TextIO | None = None


_voice = Voice()


def set_voice(*, verbose: bool = False, quiet: bool = False, log: TextIO | None = None) -> None:
    """Speak as a program of edgeleuk from now on.

    Parameters
    ----------
    verbose : bool
        Libraries may say what they like, and an error tells its causes.
    quiet : bool
        No progress and no notes; warnings, errors and results stay.
    log : text file, optional
        Where notes, warnings and errors are written with their time, whatever `quiet` says.
    """
    global _voice  # noqa: PLW0603
    _voice = Voice(program=True, verbose=verbose, quiet=quiet, log=log)


def lose_voice() -> None:
    """Speak as a library again, as at first: only to the log of the program that uses it."""
    global _voice  # noqa: PLW0603
    _voice = Voice()


def voice() -> Voice:
    """Return how this process speaks."""
    return _voice


class SharedVoice(NamedTuple):
    """A `Voice` as another process can be given it: of the log, its file."""

    program: bool
    verbose: bool
    quiet: bool
    log: str | None


def shared_voice() -> SharedVoice:
    """Return how this process speaks, for one that works for it; see `take_voice`."""
    log = _voice.log
    return SharedVoice(_voice.program, _voice.verbose, _voice.quiet, None if log is None else log.name)


def take_voice(shared: SharedVoice) -> None:
    """Speak as the process does that this one works for; its log is added to, where it can be opened."""
    global _voice  # noqa: PLW0603
    log = None
    if shared.log is not None:
        with suppress(OSError):
            log = Path(shared.log).open("a", encoding="utf-8")  # noqa: SIM115 - open as long as the process is
    _voice = Voice(shared.program, shared.verbose, shared.quiet, log)


def is_verbose() -> bool:
    """Whether libraries may say what they like; see `set_voice`."""
    return _voice.verbose


def is_quiet() -> bool:
    """Whether progress and notes are left out; see `set_voice`."""
    return _voice.quiet


def say(text: str, *, always: bool = False) -> None:
    """Print lines on standard error, for whoever still reads them; names in them have to be `printable`.

    Within another's program they go to ``logging.getLogger("edgeleuk")`` instead.

    Parameters
    ----------
    text : str
        A note, unless it begins with ``warning:`` or ``error:``.
    always : bool
        Said to the quiet too: what a command is run for.
    """
    shown = _IN_TEXT.sub(_escape, text)
    if not _voice.program:
        _log(shown)
        return
    write_down(shown)
    if always or not _voice.quiet or text.startswith(("warning: ", "error: ")):
        with suppress(OSError):
            sys.stderr.write(shown + "\n")


def write_down(text: str) -> None:
    """Write lines to the log file alone, with their time; nowhere if there is none."""
    if _voice.log is not None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        with suppress(OSError, ValueError):
            # At once, so that lines of several processes do not run into each other.
            _voice.log.write(
                "".join(f"{stamp} {line}\n" for line in _IN_TEXT.sub(_escape, text).splitlines())
            )
            _voice.log.flush()


def _log(text: str) -> None:
    import logging

    for level in (logging.ERROR, logging.WARNING):
        prefix = f"{logging.getLevelName(level).lower()}: "
        if text.startswith(prefix):
            break
    else:
        level, prefix = logging.INFO, ""
    logging.getLogger("edgeleuk").log(level, "%s", text.removeprefix(prefix))


def warn(text: str) -> None:
    """Print a warning on standard error; see `say`."""
    say(f"warning: {text}")


def shows_progress() -> bool:
    """Whether somebody watches: a program with a terminal on standard error, and nobody asked for quiet."""
    return _voice.program and not _voice.quiet and sys.stderr.isatty()


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[..., None]]:
    """Show a bar with the time left on standard error while the body runs; only on a terminal.

    Yields
    ------
    callable
        To be told (done, total), and seen at most ten times a second. A third argument is the time left
        in seconds, where the caller knows better than to judge by this bar alone.
    """
    if not shows_progress():
        yield lambda *_: None
        return
    from datetime import timedelta

    from rich.console import Console  # only a terminal needs rich
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[Any] = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)

        def report(done: int, total: int, seconds_left: float | None = None) -> None:
            known = "" if seconds_left is None else f", {timedelta(seconds=round(seconds_left))} left in all"
            progress.update(task, completed=done, total=total, description=title + known)

        yield report


@contextmanager
def progress_line(title: str) -> Iterator[Progress]:
    """Show (done, total) in one line on standard error; only on a terminal.

    It is written when it is told and at no other time: the thread of a bar would disturb what is timed.
    """
    if not shows_progress():
        yield lambda *_: None
        return

    def report(done: int, total: int) -> None:
        sys.stderr.write(f"\r{title} {done}/{total}\033[K")
        sys.stderr.flush()

    try:
        yield report
    finally:
        sys.stderr.write("\r\033[K")


@contextmanager
def way_line() -> Iterator[Callable[[Sequence[float]], None]]:
    """Show where a stage is on a long way, in one line on standard error; only on a terminal.

    Yields
    ------
    callable
        To be told (x, y, z) in micrometres; seen twice a second, from the first second on.
    """
    if not shows_progress():
        yield lambda *_: None
        return
    next_s = time.monotonic() + 1.0

    def report(place: Sequence[float]) -> None:
        nonlocal next_s
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + 0.5
            sys.stderr.write("\rmoving    x {:g}  y {:g}  z {:g} um\033[K".format(*place))
            sys.stderr.flush()

    try:
        yield report
    finally:
        sys.stderr.write("\r\033[K")


@contextmanager
def training_progress() -> Iterator[Callable[[Any], None]]:
    """Show where a training stands: a bar with the time left on a terminal, else a line for each epoch.

    Yields
    ------
    callable
        To be told objects with ``stage epoch epochs step steps loss validation_auroc seconds_left``.
    """
    with progress_bar("training") as bar:
        last, stage = [0], [""]

        def report(progress: Any) -> None:
            if progress.stage not in STAGES:
                return
            if progress.stage != stage[0]:
                stage[0], last[0] = progress.stage, 0
                say(STAGES[progress.stage])
            if progress.loss is None:
                bar(progress.step, progress.steps)
                return
            done = (progress.epoch - 1) * progress.steps + progress.step
            bar(done, progress.epochs * progress.steps, progress.seconds_left)
            if progress.step == progress.steps and progress.epoch != last[0]:
                last[0] = progress.epoch
                minutes = (progress.seconds_left or 0) / 60
                say(
                    f"  epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.4f}"
                    + (
                        f"  AUROC before it {progress.validation_auroc:.4f}"
                        if progress.validation_auroc
                        else ""
                    )
                    + f"  {minutes:.0f} min left"
                )

        yield report
