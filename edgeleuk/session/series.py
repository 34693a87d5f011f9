"""Sessions in several files: which belong together, in what order, and whether each is the one it was.

A run with ``--split`` goes on in a new file. Its settings name the file before it and the last link of that
file's hash chain, and one of the first links of the first file, by which all files of a series are known.
"""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.session.file_reader import held
from edgeleuk.session.hash_chain import AFTERWARDS
from edgeleuk.session.links import WITH_DIGESTS
from edgeleuk.session.schema import APPLICATION_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# Under this key a file's settings say which file it goes on from.
SERIES = "series"
# Event of a file that ends, and of one that begins, where a run goes on in another.
SPLIT = "split"
GOES_ON_IN = "the session goes on in "
GOES_ON_FROM = "the session goes on from "
# A chain since the second schema; removals are in the later ones.
_WITH_CHAIN = 2
_NUMBERED = re.compile(r"(.+)\.\d{3,}")


@dataclass(frozen=True, slots=True)
class SeriesFile:
    """What one file says of its place in a series.

    Attributes
    ----------
    path : Path
    first : str
        Link of the first record of the series' first file, hexadecimal: all its files name it.
    part : int
        Its number in the series, from 1.
    before, end : str or None
        Name of the file before it, and the last link that the run recorded there.
    ends : frozenset of str
        Links at which a next file may go on from this one.
    then : str or None
        Name of the file that it says to go on in.
    removed : tuple of dict
        Earlier files that a rule removed, as recorded here.
    """

    path: Path
    first: str
    part: int
    before: str | None
    end: str | None
    ends: frozenset[str]
    then: str | None
    removed: tuple[dict[str, Any], ...] = ()


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files of a session in their order; one, unless the run went on in others.

    Parameters
    ----------
    path : Path
        Any of them, or their folder. A path that is no session is returned as it is.

    Raises
    ------
    SessionError
        A file of the series is missing, or another is in its place.
    UsageError
        The folder holds more than one session.
    """
    if path.is_dir():
        return _files_in(path)
    if not path.exists():
        # A rule may have removed the first file, by whose name the session is still called.
        for sibling in _numbered_beside(path):
            place = read_place(sibling)
            if place is not None and place.part > 1:
                return files_of(sibling)
    return tuple(file.path for file in series_of(path)) or (path,)


def series_of(path: Path) -> tuple[SeriesFile, ...]:
    """Return the files of a session in their order, as `files_of`; none where the path is no session."""
    named = read_place(path)
    if named is None:
        return ()
    whole = _chosen(named, _of_its_series(named, _candidates(named)))
    _require_whole(whole)
    return whole


def sessions_in(folder: Path) -> list[tuple[SeriesFile, ...]]:
    """Return the sessions of a folder, each with its files in order, sorted by name.

    Raises
    ------
    SessionError
        As of `files_of`.
    """
    left = [file for path in _databases(folder) if (file := read_place(path)) is not None]
    found = []
    while left:
        named = max(left, key=lambda file: file.part)
        whole = _chosen(named, [file for file in left if file.first == named.first])
        _require_whole(whole)
        found.append(whole)
        left = [file for file in left if file not in whole and (len(whole) == 1 or file.first != named.first)]
    return sorted(found, key=lambda whole: whole[0].path.name)


def next_name(path: Path, part: int) -> Path:
    """Return a name for the file that goes on from this one: ``night.db``, ``night.002.db``.

    Examples
    --------
    >>> from pathlib import Path
    >>> next_name(Path("night.db"), 2).name, next_name(Path("night.002.db"), 3).name
    ('night.002.db', 'night.003.db')
    """
    numbered = _NUMBERED.fullmatch(path.stem)
    stem = numbered[1] if numbered and part > 2 else path.stem
    while (found := path.with_name(f"{stem}.{part:03d}{path.suffix}")).exists():
        part += 1
    return found


def read_place(path: Path) -> SeriesFile | None:
    """Read what a file says of its place in a series; None where it is no session with a hash chain."""
    try:
        # By SQLite alone: to open and close the file of a run would take SQLite's own locks away from it.
        with closing(held(path)) as connection:
            return _place(path, connection)
    except (OSError, sqlite3.Error, ValueError, TypeError, KeyError, UnicodeDecodeError):
        # Whoever opens it as a session is told what is wrong.
        return None


def goes_on(connection: sqlite3.Connection) -> bool:
    """Whether a file goes on from another, which is there or was removed."""
    return connection.execute("SELECT 1 FROM settings WHERE key = ?", (SERIES,)).fetchone() is not None


def _place(path: Path, connection: sqlite3.Connection) -> SeriesFile | None:
    application, version = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("application_id", "user_version")
    )
    if application != APPLICATION_ID or version < _WITH_CHAIN:
        return None
    # The first link is of the settings, which many runs share; the second has its time.
    links = connection.execute("SELECT link FROM chain ORDER BY id LIMIT 2").fetchall()
    if not links:
        return None
    row = connection.execute("SELECT value FROM settings WHERE key = ?", (SERIES,)).fetchone()
    place: dict[str, Any] = (
        {"first": bytes(links[-1][0]).hex(), "part": 1} if row is None else json.loads(row[0])
    )
    then = connection.execute(
        "SELECT text FROM events WHERE kind = ? AND text LIKE ? ORDER BY id DESC LIMIT 1",
        (SPLIT, f"{GOES_ON_IN}%"),
    ).fetchone()
    removed: tuple[dict[str, Any], ...] = ()
    if version >= WITH_DIGESTS:
        told = (json.loads(row[0]) for row in connection.execute("SELECT what FROM removals ORDER BY id"))
        removed = tuple(what for what in told if "session" in what)
    return SeriesFile(
        path=path,
        first=str(place["first"]),
        part=int(place["part"]),
        before=place.get("before"),
        end=place.get("end"),
        ends=_ends(connection),
        then=None if then is None else str(then[0]).removeprefix(GOES_ON_IN),
        removed=removed,
    )


def _ends(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the last link of the run, and that before it: the run says last where it goes on."""
    marks = ", ".join("?" * len(AFTERWARDS))
    rows = connection.execute(
        f"SELECT link FROM chain WHERE kind NOT IN ({marks}) ORDER BY id DESC LIMIT 2",  # noqa: S608 - marks alone
        AFTERWARDS,
    )
    return frozenset(bytes(row[0]).hex() for row in rows)


def _databases(folder: Path) -> list[Path]:
    # A name that begins with a dot is of a file that is only being made.
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _files_in(folder: Path) -> tuple[Path, ...]:
    found = sessions_in(folder)
    if not found:
        return (folder,)
    if len(found) > 1:
        raise UsageError(
            f"the folder {folder} holds more than one session",
            got=", ".join(whole[0].path.name for whole in found[:5]),
            cure="name the file of one",
        )
    return tuple(file.path for file in found[0])


def _candidates(named: SeriesFile) -> Iterable[Path]:
    """Return files that may belong to the series of this one: most sessions have none."""
    folder = named.path.parent
    if named.part > 1 or named.then is not None:
        return [file for file in _databases(folder) if file.suffix == named.path.suffix]
    return _numbered_beside(named.path)


def _numbered_beside(path: Path) -> list[Path]:
    """Return the files that a run may have called so as it went on from this one."""
    if not path.parent.is_dir():
        return []
    prefix, suffix = f"{path.stem}.", path.suffix
    return [
        file
        for file in sorted(path.parent.iterdir())
        if file.name.startswith(prefix) and file.suffix == suffix and _NUMBERED.fullmatch(file.stem)
    ]


def _of_its_series(named: SeriesFile, candidates: Iterable[Path]) -> list[SeriesFile]:
    others = (read_place(path) for path in candidates if path != named.path)
    return [named, *(file for file in others if file is not None and file.first == named.first)]


def _chosen(named: SeriesFile, files: Sequence[SeriesFile]) -> tuple[SeriesFile, ...]:
    """Take one file for each place: copies may lie beside."""
    if max(file.part for file in files) == 1:
        # Copies of one session, each of which stands alone.
        return (named,)
    by_part: dict[int, SeriesFile] = {}
    for part in sorted({file.part for file in files}, reverse=True):
        later = by_part.get(part + 1)
        by_part[part] = min(
            (file for file in files if file.part == part),
            key=lambda file: (
                later is not None and file.path.name != later.before,
                file != named,
                file.path.name,
            ),
        )
    return tuple(by_part[part] for part in sorted(by_part))


def _require_whole(files: Sequence[SeriesFile]) -> None:
    """Refuse a series of which a file is missing, or is another.

    Raises
    ------
    SessionError
    """
    by_part = {file.part: file for file in files}
    gone = max(
        (int(what["part"]) for file in files for what in file.removed if what.get("first") == file.first),
        default=0,
    )
    for file in files:
        if file.part == 1:
            continue
        before = by_part.get(file.part - 1)
        if before is None:
            if file.part - 1 > gone:
                raise _missing(file.path, f"goes on from {file.before}", str(file.before))
        elif file.end not in before.ends:
            raise SessionError(
                f"{before.path} is not the file that {file.path.name} goes on from",
                got=f"an end of {', '.join(sorted(end[:16] for end in before.ends))}",
                allowed=f"{str(file.end)[:16]}",
                cure=f"put the file {file.before} of this series back",
            )
    last = files[-1]
    if last.then is not None:
        raise _missing(last.path, f"goes on in {last.then}", last.then)


def _missing(path: Path, how: str, name: str) -> SessionError:
    if path.with_name(name).exists():
        return SessionError(
            f"{path} {how}, and the file of that name beside it is of another session",
            cure=f"put the {name} of this series back into {path.parent.absolute()}",
        )
    return SessionError(
        f"{path} {how}, which is not beside it", cure=f"put {name} back into {path.parent.absolute()}"
    )
