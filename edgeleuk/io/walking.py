"""List the pictures and tables under a folder: nothing hidden, no folder twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.errors import DataRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Those of C-NMC, and those that other people's pictures have.
CNMC_SUFFIXES = (".bmp", ".webp", ".png")
PICTURE_SUFFIXES = (*CNMC_SUFFIXES, ".jpg", ".jpeg", ".tif", ".tiff")
_IGNORED_FOLDERS = {"__macosx"}


def files_under(
    folder: Path, suffixes: tuple[str, ...], cure: str = "give --data an existing folder"
) -> list[Path]:
    """List the files with one of these endings, in no particular order.

    Hidden files and folders are left out, and so are macOS's ``__MACOSX`` and ``._NAME``. Links to folders
    are followed, each folder once: a link to a folder above ends there.

    Raises
    ------
    DataRefusedError
        `folder` is missing or no folder, or a folder below may not be read.
    """
    if not folder.is_dir():
        raise DataRefusedError(
            "the data folder is a file" if folder.is_file() else "the data folder does not exist",
            got=folder,
            cure=cure,
        )
    return [path for path in _files(folder) if path.suffix.lower() in suffixes and path.is_file()]


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder; real folders come before links, which then lead nowhere new."""
    waiting, links, visited = [folder], list[Path](), set[tuple[int, int]]()
    while waiting or links:
        here = waiting.pop() if waiting else links.pop(0)
        facts = here.stat()
        if (facts.st_dev, facts.st_ino) in visited:
            continue
        visited.add((facts.st_dev, facts.st_ino))
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            raise DataRefusedError("a folder cannot be read", got=f"{here} ({error.strerror})") from error
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _IGNORED_FOLDERS:
                continue
            path = here / entry.name
            if not path.is_dir():
                yield path
            elif entry.is_symlink():
                links.append(path)
            else:
                waiting.append(path)
