"""The folder for what is kept to save time, and may be removed at any time."""

from __future__ import annotations

import os
from pathlib import Path

from edgeleuk.errors import UsageError


def cache_folder() -> Path:
    """Return edgeleuk's folder below ``$XDG_CACHE_HOME``; it need not be there.

    Raises
    ------
    UsageError
        Neither ``$XDG_CACHE_HOME`` nor the user's home is known.
    """
    folder = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # A relative one is to be ignored: XDG Base Directory Specification.
        base = Path(folder) if folder.startswith("/") else Path("~/.cache").expanduser()
    except RuntimeError as error:
        raise UsageError(
            "there is no folder to keep measurements in", got=str(error), cure="set XDG_CACHE_HOME"
        ) from error
    return base / "edgeleuk"
