"""What people call the cells of a session: each word a row with its link in the hash chain.

They may do so during the run and after it. The machine's call is never written over: a correction is a
further row, and so is what takes a row back.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeleuk.counting.differential import UNCERTAIN
from edgeleuk.errors import SessionError, UsageError
from edgeleuk.io.clock import now
from edgeleuk.io.console import recordable
from edgeleuk.results.kinds import LABELS
from edgeleuk.session.file_reader import held
from edgeleuk.session.files import connected
from edgeleuk.session.hash_chain import append_link
from edgeleuk.session.reader import SessionReader
from edgeleuk.session.schema import (
    REVIEWS,
    explained,
    has_reviews,
    picture_of_texture,
    said,
    transaction,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

# A reader may say that nobody can tell.
WORDS = (*LABELS, UNCERTAIN)
LONGEST_TOKEN, LONGEST_NOTE, LONGEST_READER = 64, 1000, 200
# Between two words of one reader on one cell, so that the later one is told by its time, too.
_STEP_S = 1e-5
# How long a reader waits while others write.
PATIENCE_S = 10.0
_ALL = "SELECT * FROM reviews"


@dataclass(frozen=True, slots=True)
class Word:
    """What a reader says of a cell, before it is recorded.

    Attributes
    ----------
    track : int
        Number of the cell.
    label : str
        One of `WORDS`.
    reader : str
    token : str
        Names this one word: said again, it is the same word and not a second one.
    is_drawn : bool
        The queue showed the cell in its turn; False where the reader chose it.
    note : str or None
    """

    track: int
    label: str
    reader: str
    token: str
    is_drawn: bool = False
    note: str | None = None

    def __post_init__(self) -> None:
        if self.label not in WORDS:
            raise UsageError("the label is unknown", got=repr(self.label), allowed=", ".join(WORDS))
        require_reader(self.reader)
        _require_token(self.token)
        if self.note is not None and len(self.note) > LONGEST_NOTE:
            raise UsageError("the note is too long", got=len(self.note), allowed=LONGEST_NOTE)


@dataclass(frozen=True, slots=True)
class Review:
    """A row of ``reviews``.

    Attributes
    ----------
    number : int
    track : int
    label : str or None
        None where it takes another back.
    reader : str
    at : float
        Seconds since the Unix epoch.
    undoes : int or None
        Number of the review that it takes back.
    is_drawn : bool
    token : str
    note : str or None
    """

    number: int
    track: int
    label: str | None
    reader: str
    at: float
    undoes: int | None
    is_drawn: bool
    token: str
    note: str | None


def require_reader(reader: str) -> None:
    """Refuse a reader without a name.

    Raises
    ------
    UsageError
    """
    if not 0 < len(reader) <= LONGEST_READER or reader != " ".join(recordable(reader).split()):
        raise UsageError(
            "the reader's name cannot be kept",
            got=repr(reader[:40]),
            allowed=f"1 to {LONGEST_READER} characters in one line",
        )


def _require_token(token: str) -> None:
    if not (0 < len(token) <= LONGEST_TOKEN and token.isascii() and token.replace("-", "").isalnum()):
        raise UsageError(
            "the token of a review is none",
            got=repr(token[:80]),
            allowed=f"up to {LONGEST_TOKEN} letters, digits and hyphens",
        )


def standing(reviews: Iterable[Review]) -> list[Review]:
    """Return the words that nobody took back, in their order."""
    every = list(reviews)
    undone = {review.undoes for review in every}
    return [review for review in every if review.label is not None and review.number not in undone]


def reviews_of(reader: SessionReader) -> list[tuple[Review, str]]:
    """Return the reviews of a session in their order, each with its link of the hash chain, hexadecimal."""
    found = []
    for row in reader.rows("reviews"):
        link = row.pop("link")
        found.append((_review(tuple(row.values())), bytes(link).hex()))  # type: ignore[call-overload]
    return found


def open_file_for_review(path: Path, *, writes: bool) -> ReviewedSession:
    """Open one file of a session to review its cells; see `edgeleuk.session.reviewed_series`."""
    with explained(path):
        connection = connected(path, patience_s=PATIENCE_S, any_thread=True) if writes else held(path)
        try:
            return ReviewedSession(path, connection)
        except BaseException:
            connection.close()
            raise


class ReviewedSession(SessionReader):
    """A session in one file whose cells are reviewed. One thread at a time.

    Several may be open on one session, in one process or more, and a run may record it meanwhile.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path, connection)
        # Opening the file itself and closing it would take SQLite's own locks away from a run.
        found = path.stat()
        self._file = found.st_dev, found.st_ino

    def reviews(self, after: int = 0) -> list[Review]:
        """Return the reviews behind a number, in their order."""
        with explained(self.path):
            return _rows(self._connection, after)

    def knows(self, token: str) -> bool:
        """Whether a review of that token is recorded here."""
        with explained(self.path):
            return has_reviews(self._connection) and _by_token(self._connection, token) is not None

    def has_frame(self, frame: int) -> bool:
        """Whether the frame of that number is recorded here."""
        with explained(self.path):
            found = self._connection.execute("SELECT 1 FROM frames WHERE sequence = ?", (frame,))
            return found.fetchone() is not None

    def first_link(self) -> str:
        """Return the first link of the hash chain, over the settings, hexadecimal."""
        with explained(self.path):
            row = self._connection.execute("SELECT link FROM chain ORDER BY id LIMIT 1").fetchone()
        return bytes(row[0]).hex()

    def recorded(self) -> int:
        """Return the number of the last link that is not of a review: it tells whether the run went on."""
        query = "SELECT id FROM chain WHERE kind NOT IN ('review', 'removal') ORDER BY id DESC LIMIT 1"
        with explained(self.path):
            return int(self._connection.execute(query).fetchone()[0])

    def calls(self) -> list[tuple[object, ...]]:
        """Return what the machine says of each cell, without the pictures.

        They are track, frame, decision, probability, reason, kind, kind_probability, and whether there is
        a picture.
        """
        columns = "said.track, frame, said.decision, said.probability, said.reason, said.kind"
        with explained(self.path):
            return self._connection.execute(
                f"SELECT {columns}, said.kind_probability, crop IS NOT NULL OR EXISTS"  # noqa: S608 - a query of ours
                " (SELECT 1 FROM views WHERE views.track = said.track AND views.crop IS NOT NULL) FROM"
                f" ({said(self._connection)}) AS said JOIN cells ON cells.track = said.track"
            ).fetchall()

    def field(self, frame: int) -> tuple[tuple[object, ...], list[tuple[int, int, int, int, object]]]:
        """Return what is kept of a field.

        Returns
        -------
        (source, width, height, texture), list of (x, y, w, h, crop)
            The second are the cells that were cut out of it.
        """
        with explained(self.path):
            of_field = self._connection.execute(
                f"SELECT source, width, height, {picture_of_texture(self._connection)} FROM frames"  # noqa: S608 - a name of ours
                " LEFT JOIN textures ON frame = sequence WHERE sequence = ?",
                (frame,),
            ).fetchone()
            cells = self._connection.execute(
                "SELECT x, y, w, h, crop FROM cells WHERE frame = ?1 UNION ALL"
                " SELECT x, y, w, h, crop FROM views WHERE frame = ?1",
                (frame,),
            ).fetchall()
        return of_field, cells

    def record(self, words: Sequence[Word]) -> list[Review]:
        """Record words, all or none of them; on the disk when this returns.

        Returns
        -------
        list of Review
            One for each word; of a token that was recorded before, the review that it names.

        Raises
        ------
        UsageError
            There is no such cell, or a token stands for another word already.
        SessionError
            The session is locked, gone, or the disk is full.
        """
        found = []
        with self._written() as connection:
            for word in words:
                earlier = _by_token(connection, word.token)
                if earlier is None:
                    _require_cell(connection, self.path, word.track)
                    values = (word.track, word.label, word.reader, None, word.is_drawn, word.token)
                    found.append(_insert(connection, values, word.note))
                elif (earlier.track, earlier.label, earlier.reader) == (word.track, word.label, word.reader):
                    found.append(earlier)
                else:
                    raise _used(word.token)
        return found

    def undo(self, reader: str, token: str, of: str) -> Review:
        """Take a word of one's own back, by a further row.

        Parameters
        ----------
        reader : str
        token : str
            Names this undo: said again, it is the same one.
        of : str
            Token of the word.

        Returns
        -------
        Review
            What took the word back, now or before.

        Raises
        ------
        UsageError
            There is no such word of this reader.
        SessionError
            As of `record`.
        """
        require_reader(reader)
        _require_token(token)
        with self._written() as connection:
            word = _by_token(connection, of)
            if word is None or word.label is None or word.reader != reader:
                raise UsageError(
                    f"there is no such review of {recordable(reader)}",
                    got=repr(of[:80]),
                    allowed="the token of a word that this reader said",
                )
            before = connection.execute(f"{_ALL} WHERE undoes = ?", (word.number,)).fetchone()
            if before is not None:
                return _review(before)
            if _by_token(connection, token) is not None:
                raise _used(token)
            return _insert(connection, (word.track, None, reader, word.number, word.is_drawn, token), None)

    @contextlib.contextmanager
    def _written(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
            found = self.path.stat() if self.path.exists() else None
            if found is None or (found.st_dev, found.st_ino) != self._file:
                raise SessionError(
                    f"{self.path} was deleted, moved, or another file put in its place",
                    cure="put it back and open it again; what was answered before is in the file that moved",
                )
            with transaction(self._connection) as connection:
                if not has_reviews(connection):
                    connection.execute(REVIEWS)
                yield connection


def _rows(connection: sqlite3.Connection, after: int = 0) -> list[Review]:
    if not has_reviews(connection):
        return []
    return [_review(row) for row in connection.execute(f"{_ALL} WHERE id > ? ORDER BY id", (after,))]


def _review(row: Sequence[object]) -> Review:
    number, track, label, reader, at, undoes, is_drawn, token, note = row
    return Review(number, track, label, reader, at, undoes, bool(is_drawn), token, note)  # type: ignore[arg-type]


def _by_token(connection: sqlite3.Connection, token: str) -> Review | None:
    row = connection.execute(f"{_ALL} WHERE token = ?", (token,)).fetchone()
    return None if row is None else _review(row)


def _insert(connection: sqlite3.Connection, values: tuple[object, ...], note: str | None) -> Review:
    track, _, reader, *_ = values
    (last,) = connection.execute(
        "SELECT MAX(at) FROM reviews WHERE track = ? AND reader = ?", (track, reader)
    ).fetchone()
    # The clock of a board without a battery may stand before an earlier word.
    at = now() if last is None else max(now(), last + _STEP_S)
    row = connection.execute(
        "INSERT INTO reviews (track, label, reader, undoes, is_drawn, token, at, note)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, at, None if note is None else recordable(note)),
    )
    append_link(connection, "review", row.lastrowid)
    return _review(connection.execute(f"{_ALL} WHERE id = ?", (row.lastrowid,)).fetchone())


def _require_cell(connection: sqlite3.Connection, path: Path, track: int) -> None:
    if connection.execute("SELECT 1 FROM cells WHERE track = ?", (track,)).fetchone() is None:
        raise UsageError(
            f"{path.name} has no such cell", got=track, cure="see `edgeleuk export SESSION --csv`"
        )


def _used(token: str) -> UsageError:
    return UsageError("the token stands for another review already", got=repr(token), cure="take a new one")
