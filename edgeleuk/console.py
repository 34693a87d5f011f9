"""What a person sees while a command works: JSON on standard output, progress on standard error."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


STAGES = {
    "look": "looking at the cells",
    "train": "training",
    "inner": "training, with some groups kept out for the temperature and the threshold",
    "final": "training again, with those groups too",
}


def print_json(value: object) -> None:
    """Print one JSON object on standard output; numbers that JSON lacks (NaN) become null."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n")


def say(text: str) -> None:
    """Print a line on standard error."""
    sys.stderr.write(text + "\n")


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[..., None]]:
    """Show a bar with the time left on standard error while the body runs; only on a terminal.

    Yields
    ------
    callable
        To be told (done, total), and seen at most ten times a second. A third argument is the time left
        in seconds, where the caller knows better than to judge by this bar alone.
    """
    if not sys.stderr.isatty():
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
def progress_line(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show (done, total) in one line on standard error; only on a terminal.

    It is written when it is told and at no other time: the thread of a bar would disturb what is timed.
    """
    if not sys.stderr.isatty():
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
    if not sys.stderr.isatty():
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
