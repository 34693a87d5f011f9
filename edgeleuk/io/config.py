"""Which file of settings a command reads."""

from __future__ import annotations

import os
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.io.settings import Settings

FILE_NAME = "edgeleuk.toml"
_CHOSEN: ContextVar[Path | None] = ContextVar("config", default=None)


def use_config(file: Path | None) -> None:
    """Let commands read this file; None finds one, see `config_file`."""
    _CHOSEN.set(file)


def config_file() -> Path | None:
    """Return the file that was chosen, else ``EDGELEUK_CONFIG``'s, else ``edgeleuk.toml`` if it is here."""
    chosen = _CHOSEN.get()
    if chosen is not None:
        return chosen
    named = os.environ.get("EDGELEUK_CONFIG")
    if named:
        return Path(named)
    here = Path(FILE_NAME)
    return here if here.is_file() else None


def command_settings(
    flags: Mapping[str, object] | None = None, *, file: Path | None = None, command: str = "run"
) -> Settings:
    """Merge defaults, file, environment and flags into what a command works with; the later wins.

    Parameters
    ----------
    flags : mapping, optional
        Of the command line; None means that a flag was not given.
    file : Path, optional
        By default `config_file`.
    command : str
        Whose help an error points to.

    Raises
    ------
    UsageError
        See `load_settings`.
    """
    from edgeleuk.io.settings import Settings, load_with_sources

    return load_with_sources(Settings, file=file or config_file(), flags=flags, command=command)[0]
