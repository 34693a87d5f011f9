"""What writer and reader of a session share: the schema, and SQLite's errors in plain words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.counting.intervals import Called, called_of
from edgeleuk.errors import EdgeleukError, SessionError
from edgeleuk.results import Counted, counted_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# "EDLK" in the file's header tells `file` and us whose database it is.
APPLICATION_ID = 0x45444C4B
SCHEMA_VERSION = 7
# Sessions of these may be continued: later ones only add what may be left empty.
CONTINUED = (4, 5, 6, SCHEMA_VERSION)
_WITH_KINDS = 5
_WITH_CONTOURS = 6
# From here on pictures are WebP, and none is kept that another tells.
_WITH_WEBP = 7
RESTORE = "restore it from a copy"

# What people call the cells: a session of the fourth or the fifth schema takes it with its first review.
REVIEWS = """CREATE TABLE reviews (
    id INTEGER PRIMARY KEY,
    track INTEGER NOT NULL REFERENCES cells (track),
    label TEXT,
    reader TEXT NOT NULL,
    at REAL NOT NULL,
    undoes INTEGER REFERENCES reviews (id),
    is_drawn INTEGER NOT NULL,
    token TEXT NOT NULL UNIQUE,
    note TEXT
)"""
# What a rule removed: when and by which, and the SHA-256 of each picture, which its frame's link covers.
REMOVALS = """CREATE TABLE removals (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    rule TEXT NOT NULL,
    first_frame INTEGER, last_frame INTEGER,
    what TEXT NOT NULL
);
CREATE TABLE removed (
    frame INTEGER NOT NULL,
    track INTEGER NOT NULL,
    picture TEXT NOT NULL,
    removal INTEGER NOT NULL REFERENCES removals (id),
    sha256 BLOB NOT NULL,
    PRIMARY KEY (frame, track, picture)
) WITHOUT ROWID;
"""
# What a frame's link covers is found by the frame, however many cells there are: without these each record
# of a night would look through all before it.
INDEXES = """CREATE INDEX cells_of_frame ON cells (frame);
CREATE INDEX views_of_frame ON views (frame);
CREATE INDEX true_cells_of_frame ON true_cells (frame);
CREATE INDEX moves_of_frame ON moves (frame);
"""
SCHEMA = f"""
CREATE TABLE chain (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key INTEGER, link BLOB NOT NULL);
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE frames (
    sequence INTEGER PRIMARY KEY,
    captured_at REAL NOT NULL,
    source TEXT NOT NULL,
    width INTEGER, height INTEGER,
    px_per_um REAL,
    detected INTEGER NOT NULL DEFAULT 0,
    judged INTEGER NOT NULL DEFAULT 0,
    seen_before INTEGER NOT NULL DEFAULT 0,
    excluded INTEGER NOT NULL DEFAULT 0,
    latency_ms REAL,
    rejected TEXT,
    area INTEGER, left_px REAL, top_px REAL
);
CREATE TABLE textures (frame INTEGER PRIMARY KEY REFERENCES frames (sequence), picture BLOB NOT NULL);
CREATE TABLE moves (
    id INTEGER PRIMARY KEY,
    frame INTEGER NOT NULL REFERENCES frames (sequence),
    area INTEGER NOT NULL, into_area INTEGER NOT NULL, x_px REAL NOT NULL, y_px REAL NOT NULL
);
CREATE TABLE cells (
    track INTEGER PRIMARY KEY,
    frame INTEGER NOT NULL REFERENCES frames (sequence),
    x INTEGER NOT NULL, y INTEGER NOT NULL, w INTEGER NOT NULL, h INTEGER NOT NULL,
    area_px INTEGER NOT NULL, nucleus_area_px INTEGER NOT NULL,
    area_um2 REAL, nucleus_area_um2 REAL,
    decision TEXT NOT NULL CHECK (decision IN ('blast', 'normal', 'other', 'uncertain')),
    probability REAL,
    reason TEXT,
    truth TEXT,
    crop BLOB,
    focus REAL NOT NULL,
    is_foreign INTEGER NOT NULL,
    kind TEXT,
    kind_probability REAL,
    contours BLOB
);
CREATE TABLE views (
    track INTEGER NOT NULL,
    frame INTEGER NOT NULL REFERENCES frames (sequence),
    x INTEGER NOT NULL, y INTEGER NOT NULL, w INTEGER NOT NULL, h INTEGER NOT NULL,
    focus REAL NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('blast', 'normal', 'other', 'uncertain')),
    probability REAL,
    reason TEXT,
    is_foreign INTEGER NOT NULL,
    crop BLOB,
    agreed_decision TEXT NOT NULL CHECK (agreed_decision IN ('blast', 'normal', 'other', 'uncertain')),
    agreed_probability REAL,
    agreed_reason TEXT,
    kind TEXT,
    kind_probability REAL,
    agreed_kind TEXT,
    agreed_kind_probability REAL,
    PRIMARY KEY (track, frame)
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL
);
CREATE TABLE true_cells (
    identity INTEGER PRIMARY KEY, label TEXT NOT NULL, frame INTEGER NOT NULL REFERENCES frames (sequence)
);
CREATE TABLE summary (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
{REVIEWS};
{REMOVALS}{INDEXES}"""


# What is said of a cell is what its views agreed on last.
_SAID = ("decision", "probability", "reason")
_KIND = ("kind", "kind_probability")
_WITHOUT_KIND = ", ".join(f"NULL AS {name}" for name in _KIND)


def _agreed(names: tuple[str, ...]) -> str:
    return ", ".join(
        f"CASE WHEN last.track IS NULL THEN cells.{name} ELSE last.agreed_{name} END AS {name}"
        for name in names
    )


_LAST_VIEW = (
    "LEFT JOIN views AS last ON last.track = cells.track"
    " AND last.frame = (SELECT MAX(frame) FROM views WHERE views.track = cells.track)"
)
_VIEWS = "1 + (SELECT COUNT(*) FROM views WHERE views.track = cells.track) AS views"


class Counts(NamedTuple):
    """How many rows are on the disk."""

    processed: int
    rejected: int
    cells: int
    events: int


def said(connection: sqlite3.Connection) -> str:
    """Return a query for what is said of each cell.

    Its columns are track, truth, decision, probability, reason, kind, kind_probability, views.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < 3:
        # Earlier schemas judged each cell once.
        return f"SELECT track, truth, {', '.join(_SAID)}, {_WITHOUT_KIND}, 1 AS views FROM cells"  # noqa: S608 - names from the lines above
    kind = _agreed(_KIND) if version >= _WITH_KINDS else _WITHOUT_KIND
    return f"SELECT cells.track, cells.truth, {_agreed(_SAID)}, {kind}, {_VIEWS} FROM cells {_LAST_VIEW}"  # noqa: S608 - as above


def has_kinds(connection: sqlite3.Connection) -> bool:
    """Whether a session has columns for the kinds of cells."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version >= _WITH_KINDS)


def has_contours(connection: sqlite3.Connection) -> bool:
    """Whether a session has a column for the outlines of cells; see `edgeleuk.session.contours`."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version >= _WITH_CONTOURS)


def has_webp(connection: sqlite3.Connection) -> bool:
    """Whether a session's pictures are WebP, and it has no thumbnails; see `edgeleuk.session.pictures`."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version >= _WITH_WEBP)


def picture_of_texture(connection: sqlite3.Connection) -> str:
    """Return the name of the column of textures that holds their picture."""
    return "picture" if has_webp(connection) else "jpeg"


def has_reviews(connection: sqlite3.Connection) -> bool:
    """Whether a session has the table of what people call its cells."""
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'reviews'")
    return found.fetchone() is not None


def count_rows(connection: sqlite3.Connection) -> Counts:
    """Count what is on the disk."""
    row = connection.execute(
        "SELECT (SELECT COUNT(*) FROM frames WHERE rejected IS NULL),"
        " (SELECT COUNT(*) FROM frames WHERE rejected IS NOT NULL),"
        " (SELECT COUNT(*) FROM cells), (SELECT COUNT(*) FROM events)"
    ).fetchone()
    return Counts(*row)


class Tallies(NamedTuple):
    """What the rows on the disk add up to."""

    detected: int
    seen_before: int
    excluded: int
    counted: Counted


def tally_rows(connection: sqlite3.Connection) -> Tallies:
    """Add up the frames' sightings, and count the cells by their decision."""
    frames = connection.execute(
        "SELECT COALESCE(SUM(detected), 0), COALESCE(SUM(seen_before), 0), COALESCE(SUM(excluded), 0)"
        " FROM frames"
    ).fetchone()
    cells = connection.execute(f"SELECT decision, reason, kind FROM ({said(connection)})")  # noqa: S608
    detected, seen_before, excluded = frames
    return Tallies(detected, seen_before, excluded, counted_of(cells))


def count_called(connection: sqlite3.Connection, threshold: float) -> Called:
    """Call the cells like the training cells by a threshold alone."""
    rows = connection.execute(f"SELECT probability, reason FROM ({said(connection)})")  # noqa: S608
    return called_of(rows, threshold)


def companions(path: Path) -> tuple[Path, Path]:
    """Return the paths of SQLite's log and its index."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Write all or nothing of what the body does; nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled back already.
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def explained(path: Path, give_up: Callable[[], None] | None = None) -> Iterator[None]:
    """Turn SQLite's errors into sentences with a cure; `give_up` is called before."""
    try:
        yield
    except EdgeleukError:
        raise
    except UnicodeDecodeError as error:
        raise SessionError(f"{path} is damaged", got=error, cure=RESTORE) from error
    except sqlite3.IntegrityError as error:
        raise EdgeleukError(f"a record breaks the session's rules ({error}): this is a bug") from error
    except (sqlite3.Error, OSError) as error:
        if give_up is not None:
            give_up()
        raise _sentence(path, error) from error


def _sentence(path: Path, error: Exception) -> SessionError:
    text = str(error)
    if "full" in text or "No space" in text or "too large" in text or _is_full(path):
        return SessionError(
            f"the disk is full, {path} takes no more records",
            cure="free some space and start a new session; what was recorded before is readable",
        )
    if "locked" in text or "busy" in text:
        return SessionError(f"{path} is in use by another program", cure="wait until it is done, or end it")
    if "readonly" in text or "unable to open" in text:
        return SessionError(
            f"{path} cannot be opened",
            got=text,
            cure="copy it, with the -wal file beside it, to a folder that may be written",
        )
    if "I/O" in text or isinstance(error, OSError):
        return SessionError(
            f"{path} cannot be read or written",
            got=text,
            cure="see whether the disk is full, failing or gone; what was recorded before is readable",
        )
    if "not a database" in text:
        return SessionError(
            f"{path} is no session of edgeleuk", cure="pass a file that `edgeleuk run` recorded"
        )
    return SessionError(f"{path} is damaged", got=text, cure=RESTORE)


def _is_full(path: Path) -> bool:
    """Whether the disk has no room for one more page."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 65536
