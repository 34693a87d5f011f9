"""Results kept for `run --runtime auto`: one for each bundle and machine, in the user's cache."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.bench.comparison import Stored, read_result
from edgeleuk.errors import UsageError
from edgeleuk.wholefile import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.bench.machine import Machine
    from edgeleuk.bundle.reading import Bundle


def result_path(bundle: Bundle, machine: Machine) -> Path:
    """Path of the result of a bundle on a machine, below ``$XDG_CACHE_HOME``."""
    folder = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be ignored: XDG Base Directory Specification.
    base = Path(folder) if folder.startswith("/") else Path("~/.cache").expanduser()
    return base / "edgeleuk" / f"bench-{bundle.sha256[:16]}-{machine.key()}.json"


def keep(bundle: Bundle, machine: Machine, result: Mapping[str, Any]) -> Path | None:
    """Store a result; None where the cache cannot be written, which hinders nothing."""
    path = result_path(bundle, machine)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_result(path, result)
    except (OSError, UsageError):
        return None
    return path


def kept(bundle: Bundle, machine: Machine) -> Stored | None:
    """Return the stored result; None where there is none that can be read, or one of another bundle."""
    with suppress(UsageError):
        stored = read_result(result_path(bundle, machine))
        if stored.bundle.sha256 == bundle.sha256 and stored.machine.get("key") == machine.key():
            return stored
    return None


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result whole, or not at all.

    Raises
    ------
    UsageError
        It cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"
    try:
        replace_file(path, data)
    except OSError as error:
        raise UsageError(f"the result {path} cannot be written", got=error.strerror) from error
