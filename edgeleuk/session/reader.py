"""Reading a session, in one file or in several, finished, cut off, or still being recorded."""

from __future__ import annotations

from pathlib import Path

from edgeleuk.session.file_reader import SessionReader, opened, read_file
from edgeleuk.session.series import files_of
from edgeleuk.session.series_reader import SeriesReader

__all__ = ["SessionReader", "opened", "read_session"]


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
    files = files_of(Path(path))
    return read_file(files[0]) if len(files) == 1 else SeriesReader(Path(path), files)
