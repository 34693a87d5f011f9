"""Files that are there whole, or as they were before."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write beside, then rename: nobody ever finds half a file, not even of two processes at once.

    Raises
    ------
    OSError
        It cannot be written, and nothing is left of it.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError:
        # Where the folder is none, neither is the file.
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
