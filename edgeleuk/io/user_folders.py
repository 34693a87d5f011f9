"""Where a user's own files lie: XDG Base Directory Specification."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from edgeleuk.errors import UsageError

_USUAL = {"XDG_DATA_HOME": "~/.local/share", "XDG_CONFIG_HOME": "~/.config"}


def user_folder(variable: Literal["XDG_DATA_HOME", "XDG_CONFIG_HOME"], what: str, cure: str) -> Path:
    """Return edgeleuk's folder below the one that a variable names, or the usual one.

    Parameters
    ----------
    variable : str
    what, cure : str
        What is kept there, and what helps, where no folder is known.

    Raises
    ------
    UsageError
        The user's home is not known.
    """
    folder = os.environ.get(variable, "")
    try:
        # A relative one is to be ignored.
        base = Path(folder) if folder.startswith("/") else Path(_USUAL[variable]).expanduser()
    except RuntimeError as error:
        raise UsageError(f"there is no folder to keep {what} in", got=str(error), cure=cure) from error
    return base / "edgeleuk"
