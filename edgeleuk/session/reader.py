"""Reading a session, in one file or in several, finished, cut off, or still being recorded."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from edgeleuk.errors import EdgeleukError
from edgeleuk.session.file_reader import SessionReader, read_file
from edgeleuk.session.series import files_of
from edgeleuk.session.series_reader import SeriesReader

# So often at most, where files come and go while they are looked for.
_LOOKS = 3

__all__ = ["SessionReader", "read_session"]


def read_session(path: Path) -> SessionReader:
    """Open a session, finished, cut off, or still being recorded.

    Parameters
    ----------
    path : Path
        Its file. Of a series of files any, or the folder that holds it and no other session: they are read
        as one.

    Raises
    ------
    UsageError
        There is no such file.
    SessionError
        It is another program's, from a newer version, or damaged; a file of the series is missing or another.
    """
    path = Path(path)
    for _ in range(_LOOKS - 1):
        before = _beside(path)
        try:
            return _read(path)
        except EdgeleukError:
            # A rule may just have removed a file, or a run gone on in another.
            if _beside(path) == before:
                raise
    return _read(path)


def _read(path: Path) -> SessionReader:
    files = files_of(path)
    return read_file(files[0]) if len(files) == 1 else SeriesReader(path, files)


def _beside(path: Path) -> set[tuple[str, int]]:
    """Return name and identity of the files among which a session is looked for."""
    folder = path if path.is_dir() else path.parent
    with suppress(OSError), os.scandir(folder) as found:
        # What SQLite keeps beside a file comes and goes as it is read.
        return {(one.name, one.inode()) for one in found if not one.name.endswith(("-wal", "-shm"))}
    return set()
