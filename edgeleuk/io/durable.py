"""Files that outlast a power cut: the disk has the bytes before the name, and both before work goes on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edgeleuk.io.atomic import part_of

if TYPE_CHECKING:
    from pathlib import Path


def replace_durably(path: Path, data: bytes) -> None:
    """Do what `edgeleuk.io.atomic.replace_file` does, and return when the disk has it.

    Raises
    ------
    OSError, UsageError
        As `replace_file` says.
    """
    with part_of(path) as (_, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Return when what was made, renamed and removed in a folder is on the disk.

    Raises
    ------
    OSError
        It cannot be.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
