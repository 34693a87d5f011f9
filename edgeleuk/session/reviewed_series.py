"""Reviewing the cells of a session, in one file or in several: each word stands in the file of its cell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.session.reader import read_session
from edgeleuk.session.reviews import open_file_for_review
from edgeleuk.session.schema import CONTINUED
from edgeleuk.session.series import files_of
from edgeleuk.session.series_reader import SeriesReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeleuk.session.reviews import Review, ReviewedSession, Word


def open_for_review(path: Path, *, writes: bool = True) -> ReviewedSeries:
    """Open a session to review its cells, finished or still being recorded by another process.

    Parameters
    ----------
    path : Path
    writes : bool
        False to read what was reviewed, also where nothing may be written.

    Raises
    ------
    UsageError
        There is no such file.
    SessionError
        It is no session, damaged, of too early a schema, or may not be written.
    """
    with read_session(path) as reader:
        if reader.schema not in CONTINUED:
            raise SessionError(
                f"{path} was recorded by an earlier edgeleuk and takes no reviews",
                got=f"schema {reader.schema}",
                allowed=", ".join(map(str, CONTINUED)),
                cure="label its cells with `edgeleuk labels set`",
            )
        files = reader.files
        broken = reader.verify().broken
    if broken is not None:
        raise SessionError(
            f"{path} is not as it was recorded and cannot be reviewed",
            got=broken,
            cure="restore it from a copy",
        )

    def open_one(file: Path) -> ReviewedSession:
        return open_file_for_review(file, writes=writes)

    # Of one file, too: the run may go on in another.
    return ReviewedSeries(path, files, open_one)


class ReviewedSeries(SeriesReader):
    """A session whose cells are reviewed, also as it goes on in new files; made by `open_for_review`.

    It is to its user what `ReviewedSession` is. Reviews are numbered in the order in which they are read.

    Parameters
    ----------
    path : Path
    files : sequence of Path
        As of `SeriesReader`.
    opened : callable
        Opens one file for review.
    """

    def __init__(self, path: Path, files: Sequence[Path], opened: Callable[[Path], ReviewedSession]) -> None:
        super().__init__(path, files)
        self._opened = opened
        self._sessions: dict[Path, ReviewedSession] = {}
        self._all: list[Review] = []
        self._numbers: dict[tuple[Path, int], int] = {}
        self._last: dict[Path, int] = {}
        self._recorded = -1
        try:
            for file in files:
                self._sessions[file] = opened(file)
        except BaseException:
            self.close()
            raise

    def reviews(self, after: int = 0) -> list[Review]:
        """Return the reviews behind a number, in the order in which they were read."""
        for file, session in self._sessions.items():
            for review in session.reviews(after=self._last.get(file, 0)):
                number = len(self._all) + 1
                self._numbers[file, review.number] = number
                self._last[file] = review.number
                self._all.append(self._renumbered(file, review))
        return [review for review in self._all if review.number > after]

    def first_link(self) -> str:
        """Return the first link of the hash chain of the first file, hexadecimal."""
        return next(iter(self._sessions.values())).first_link()

    def recorded(self) -> int:
        """Return a number that is another once the run went on."""
        found = sum(session.recorded() for session in self._sessions.values())
        if found != self._recorded:
            self._recorded = found
            for file in files_of(self.files[-1]):
                if file not in self._sessions:
                    self._sessions[file] = self._opened(file)
                    self._files = (*self._files, file)
        return found + len(self._sessions)

    def calls(self) -> list[tuple[object, ...]]:
        """Return what the machine says of each cell; see `ReviewedSession.calls`."""
        self._later = None
        later = self._later_views()
        found = []
        for session in self._sessions.values():
            for call in session.calls():
                known = later.get(int(str(call[0])))
                found.append(call if known is None else (*call[:2], *known.said, call[-1]))
        return found

    def field(self, frame: int) -> tuple[tuple[object, ...], list[tuple[int, int, int, int, object]]]:
        """Return what is kept of a field; see `ReviewedSession.field`."""
        for session in self._sessions.values():
            if session.has_frame(frame):
                break
        return session.field(frame)

    def record(self, words: Sequence[Word]) -> list[Review]:
        """Record words, each in the file of its cell; see `ReviewedSession.record`.

        Words on cells of one file are recorded all or none.
        """
        places = [self._file_of(word.track) for word in words]
        for word, place in zip(words, places, strict=True):
            for file, session in self._sessions.items():
                if file != place and session.knows(word.token):
                    raise UsageError(
                        "the token stands for another review already",
                        got=repr(word.token),
                        cure="take a new one",
                    )
        found: dict[int, tuple[Path, Review]] = {}
        for file in dict.fromkeys(places):
            chosen = [number for number, place in enumerate(places) if place == file]
            recorded = self._sessions[file].record([words[number] for number in chosen])
            found.update(zip(chosen, ((file, review) for review in recorded), strict=True))
        self.reviews()
        return [self._renumbered(*found[number]) for number in range(len(words))]

    def undo(self, reader: str, token: str, of: str) -> Review:
        """Take a word of one's own back; see `ReviewedSession.undo`."""
        file = next((file for file, session in self._sessions.items() if session.knows(of)), self.files[0])
        undone = self._sessions[file].undo(reader, token, of)
        self.reviews()
        return self._renumbered(file, undone)

    def close(self) -> None:
        """Close the files."""
        for session in self._sessions.values():
            session.close()
        super().close()

    def _file_of(self, track: int) -> Path:
        for file, session in self._sessions.items():
            if session.has_cell(track):
                return file
        raise UsageError(
            f"{self.path.name} has no such cell", got=track, cure="see `edgeleuk export SESSION --csv`"
        )

    def _renumbered(self, file: Path, review: Review) -> Review:
        undoes = None if review.undoes is None else self._numbers[file, review.undoes]
        return replace(review, number=self._numbers[file, review.number], undoes=undoes)
