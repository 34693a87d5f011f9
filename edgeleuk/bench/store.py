"""What is kept for `--runtime auto` in the user's cache: results of `bench`, and what a start measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeleuk.bench.comparison import Stored, read_result
from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import replace_file, write_errors_of
from edgeleuk.io.cache import cache_folder
from edgeleuk.io.console import say

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.bench.machine import Machine
    from edgeleuk.bench.results import BenchResult
    from edgeleuk.bundle.contents import Bundle

START_SCHEMA_VERSION = 1


class RuntimeTime(msgspec.Struct, frozen=True):
    """How a runtime did when a start measured it.

    Attributes
    ----------
    runtime : str
    p50_ms : float or None
        Of a cell; None where it cannot be used.
    failed : str or None
        Why it cannot.
    """

    runtime: str
    p50_ms: float | None = None
    failed: str | None = None

    def __post_init__(self) -> None:
        if (self.p50_ms is None) == (self.failed is None) or not (self.p50_ms is None or self.p50_ms > 0):
            msg = f"expected p50_ms above 0 or why it failed, got {self.p50_ms} and {self.failed}"
            raise ValueError(msg)


class StartTimes(msgspec.Struct, frozen=True):
    """What one start measured, for the starts after it."""

    schema_version: int
    bundle_sha256: str
    machine: str
    precision: str
    threads: int
    runtimes: tuple[RuntimeTime, ...]


def result_path(bundle: Bundle, machine: Machine) -> Path:
    """Path of the result of a bundle on a machine, below ``$XDG_CACHE_HOME``.

    Raises
    ------
    UsageError
        Neither it nor the user's home is known.
    """
    return cache_folder() / f"bench-{bundle.sha256[:16]}-{machine.key()}.json"


def start_path(bundle: Bundle, machine: Machine, precision: str, threads: int) -> Path:
    """Path of what a start measured; see `result_path`."""
    name = f"start-{bundle.sha256[:16]}-{machine.key()}-{precision}-{threads}.json"
    return cache_folder() / name


def keep_start(bundle: Bundle, machine: Machine, times: StartTimes) -> None:
    """Keep what a start measured; where the cache cannot be written, say so on standard error."""
    try:
        path = start_path(bundle, machine, times.precision, times.threads)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, msgspec.json.encode(times) + b"\n")
    except (OSError, UsageError) as error:
        reason = error if isinstance(error, UsageError) else f"{error.filename}: {error.strerror}"
        say(f"warning: the fastest runtime cannot be kept, and is measured at every start: {reason}")


def kept_start(bundle: Bundle, machine: Machine, precision: str, threads: int) -> StartTimes | None:
    """Return what a start before measured; None where none did, or what is kept cannot be used."""
    try:
        path = start_path(bundle, machine, precision, threads)
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _say_unusable(error.filename, error.strerror)
        return None
    except UsageError:
        # Said where it is to be written.
        return None
    try:
        times = msgspec.json.decode(data, type=StartTimes)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _say_unusable(path, error)
        return None
    wanted = (START_SCHEMA_VERSION, bundle.sha256, machine.key(), precision, threads)
    if msgspec.structs.astuple(times)[:-1] != wanted:
        _say_unusable(path, "it is of another bundle, machine or version")
        return None
    return times


def keep(bundle: Bundle, machine: Machine, result: BenchResult) -> Path | None:
    """Store a result; None where the cache cannot be written, which hinders nothing."""
    try:
        path = result_path(bundle, machine)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_result(path, result)
    except (OSError, UsageError):
        return None
    return path


def kept(bundle: Bundle, machine: Machine) -> Stored | None:
    """Return the stored result; None where there is none that can be read, or one of another bundle."""
    try:
        path = result_path(bundle, machine)
    except UsageError:
        return None
    if not path.exists():
        return None
    try:
        stored = read_result(path)
    except UsageError as error:
        _say_unusable(path, error)
        return None
    same = stored.bundle.sha256 == bundle.sha256 and stored.machine.get("key") == machine.key()
    return stored if same else None


def write_result(path: Path, result: BenchResult) -> None:
    """Write a result whole, or not at all.

    Raises
    ------
    UsageError
        It cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"
    with write_errors_of(f"the result {path}"):
        replace_file(path, data)


def _say_unusable(path: object, reason: object) -> None:
    say(f"warning: {path} cannot be used, so that the runtimes are measured again: {reason}")
