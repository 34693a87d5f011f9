"""Reading a session in several files as one."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeleuk.counting.intervals import called_of
from edgeleuk.errors import SessionError
from edgeleuk.results import Decision, counted_of
from edgeleuk.session.file_reader import SessionReader, held, no_such_cell, read_file
from edgeleuk.session.hash_chain import ChainResult
from edgeleuk.session.links import WITH_DIGESTS
from edgeleuk.session.schema import Counts, Tallies, explained, said

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from edgeleuk.counting.intervals import Called

# What a later view says of a cell, in the order in which it is asked for below.
_SAID = ("decision", "probability", "reason", "kind", "kind_probability")
_AGREED = ", ".join(f"agreed_{name}" for name in _SAID)
# Of MAX() SQLite takes the other columns from the row that has it.
_LATER = f"SELECT views.track, COUNT(*), MAX(views.frame), {_AGREED} FROM views"  # noqa: S608 - names from above


class LaterViews(NamedTuple):
    """Views of a cell in files after the one in which it was judged first."""

    more: int
    said: tuple[object, ...]


class SeriesReader(SessionReader):
    """A session in several files, read as one; made by `edgeleuk.session.reader.read_session`.

    A file is open only as long as something is read in it. The first one is held all the time: files are
    removed in their order, and so none of them goes as long as the session is read.

    Parameters
    ----------
    path : Path
        As it was named.
    files : sequence of Path
        In their order.
    """

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        # What the base opens is opened here when it is wanted.
        self.path = path
        self._files = tuple(files)
        self._unlocked = None
        self._later: dict[int, LaterViews] | None = None
        with explained(files[0]):
            self._first = held(files[0])
        try:
            with read_file(files[0]) as first:
                self.settings, self.schema = first.settings, first.schema
            with read_file(files[-1]) as last:
                self.summary = last.summary
        except BaseException:
            self._first.close()
            raise

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the session in their order."""
        return self._files

    def rows(self, table: str, *, thumbnails: bool = False) -> Iterator[dict[str, object]]:
        """Yield the rows of a table; see `SessionReader.rows`."""
        if table == "cells":
            yield from self._cells(thumbnails=thumbnails)
        elif table in ("reviews", "removals"):
            yield from self._numbered_anew(table)
        else:
            for part in self._parts():
                yield from part.rows(table, thumbnails=thumbnails)

    def columns(self, table: str) -> list[str]:
        """Return the keys of the rows of a table; see `SessionReader.columns`."""
        with read_file(self.files[-1]) as last:
            return last.columns(table)

    def kept_fields(self) -> Iterator[dict[str, object]]:
        """Yield the fields whose texture is kept; see `SessionReader.kept_fields`."""
        for part in self._parts():
            yield from part.kept_fields()

    def verify(self) -> ChainResult:
        """Compute the hash chain of each file again; whether they follow one another was seen before."""
        return verify_files(self.files)

    def chain_end(self) -> str | None:
        """Return the last link of the last file."""
        with read_file(self.files[-1]) as last:
            return last.chain_end()

    def has_link(self, link: str) -> bool:
        """Whether that was once the end of the hash chain of a file."""
        return any(part.has_link(link) for part in self._parts())

    def cell(self, track: int) -> dict[str, object]:
        """Return the row of one cell; see `SessionReader.cell`."""
        found: dict[str, object] | None = None
        for part in self._parts():
            if found is None:
                if part.has_cell(track):
                    found = part.cell(track)
            elif later := _later_in(part, "WHERE track = ? GROUP BY track", (track,)):
                _say(found, later[track])
                if found["crop"] is None:
                    found["crop"] = part.later_crop(track)
        if found is not None:
            return found
        raise no_such_cell(self.path, track, self.counts().cells)

    def views(self, track: int) -> list[dict[str, object]]:
        """Return every judged view of a cell in order; see `SessionReader.views`."""
        return [view for part in self._parts() for view in part.views(track)]

    def removed_by(self, frame: int, track: int) -> str | None:
        """Return the rule that removed a picture; see `SessionReader.removed_by`."""
        found = (part.removed_by(frame, track) for part in self._parts() if part.schema >= WITH_DIGESTS)
        return next((rule for rule in found if rule is not None), None)

    def counts(self) -> Counts:
        """Count the rows of all files."""
        return Counts(*map(sum, zip(*(part.counts() for part in self._parts()), strict=True)))

    def tallies(self) -> Tallies:
        """Add up the rows of all files; each cell counts as what was said of it last."""
        sums = [part.tallies()[:3] for part in self._parts()]
        detected, seen_before, excluded = map(sum, zip(*sums, strict=True))
        calls: Iterable[Any] = ((call[0], call[2], call[3]) for call in self._calls())
        return Tallies(detected, seen_before, excluded, counted_of(calls))

    def called(self, threshold: float) -> Called:
        """Count the cells that a threshold alone calls blasts; see `CountingRows.called`."""
        calls: Iterable[Any] = ((call[1], call[2]) for call in self._calls())
        return called_of(calls, threshold)

    def truths(self) -> Iterator[tuple[str, Decision]]:
        """Yield the real label of each simulated cell, and what it is called."""
        for _, said_of, truth in self._called_tracks():
            if truth is not None:
                yield str(truth), Decision(said_of[0])

    def close(self) -> None:
        """Let go of the first file."""
        self._first.close()

    def _fault(self) -> str | None:
        try:
            return self.verify().broken
        except SessionError as error:
            return str(error)

    def _parts(self) -> Iterator[SessionReader]:
        for file in self.files:
            with read_file(file) as part:
                yield part

    def _cells(self, *, thumbnails: bool) -> Iterator[dict[str, object]]:
        """Merge the cells of all files by their number; few of a file come after those of the next."""
        later = self._later_views()
        firsts = [part.first_track() for part in self._parts()]
        waiting = sorted((first, place) for place, first in enumerate(firsts) if first is not None)
        heap: list[tuple[int, int, dict[str, object], Iterator[dict[str, object]]]] = []
        while waiting or heap:
            while waiting and (not heap or waiting[0][0] <= heap[0][0]):
                _, place = waiting.pop(0)
                _push(heap, place, _rows_of(self.files[place], thumbnails=thumbnails))
            if not heap:
                continue
            track, place, row, rows = heapq.heappop(heap)
            if track in later:
                _say(row, later[track])
            yield row
            _push(heap, place, rows)

    def _numbered_anew(self, table: str) -> Iterator[dict[str, object]]:
        """Yield rows whose numbers go on from file to file, each of which counts from 1."""
        before = 0
        for part in self._parts():
            last = 0
            for row in part.rows(table):
                last = int(str(row["id"]))
                row["id"] = before + last
                if isinstance(row.get("undoes"), int):
                    row["undoes"] = before + int(str(row["undoes"]))
                yield row
            before += last

    def _calls(self) -> Iterator[tuple[object, ...]]:
        for _, said_of, _ in self._called_tracks():
            yield said_of[:4]

    def _called_tracks(self) -> Iterator[tuple[int, tuple[object, ...], object]]:
        """Yield number, what is said, and truth of each cell."""
        later = self._later_views()
        for part in self._parts():
            query = f"SELECT track, truth, {', '.join(_SAID)} FROM ({said(part.connection)})"  # noqa: S608 - names of ours
            with explained(part.path):
                for track, truth, *said_of in part.connection.execute(query):
                    yield track, later[track].said if track in later else tuple(said_of), truth

    def _later_views(self) -> dict[int, LaterViews]:
        """Return the views of cells that were judged first in an earlier file, by their number."""
        if self._later is None:
            self._later = {}
            where = "WHERE views.track NOT IN (SELECT track FROM cells) GROUP BY views.track"
            for file in self.files[1:]:
                with read_file(file) as part:
                    for track, views in _later_in(part, where).items():
                        before = self._later.get(track)
                        count = views.more + (0 if before is None else before.more)
                        self._later[track] = LaterViews(count, views.said)
        return self._later


def _later_in(part: SessionReader, where: str, given: tuple[int, ...] = ()) -> dict[int, LaterViews]:
    with explained(part.path):
        rows = part.connection.execute(f"{_LATER} {where}", given).fetchall()
    return {row[0]: LaterViews(row[1], tuple(row[3:])) for row in rows}


def _say(row: dict[str, object], later: LaterViews) -> None:
    row.update(zip(_SAID, later.said, strict=True))
    row["views"] = int(str(row["views"])) + later.more


def _rows_of(file: Path, *, thumbnails: bool) -> Iterator[dict[str, object]]:
    with read_file(file) as part:
        yield from part.rows("cells", thumbnails=thumbnails)


def _push(
    heap: list[tuple[int, int, dict[str, object], Iterator[dict[str, object]]]],
    place: int,
    rows: Iterator[dict[str, object]],
) -> None:
    row = next(rows, None)
    if row is not None:
        heapq.heappush(heap, (int(str(row["track"])), place, row, rows))


def verify_files(files: Sequence[Path]) -> ChainResult:
    """Compute the hash chain of each file again; see `edgeleuk.session.hash_chain.verify_chain`.

    Returns
    -------
    ChainResult
        Its links are those of all files up to the first that is broken; the ends are of the last.
    """
    links, found = 0, ChainResult(0, "")
    for file in files:
        with read_file(file) as part:
            found = part.verify()
        links += found.links
        if found.broken is not None:
            return ChainResult(links, found.head, f"{file.name}: {found.broken}", found.run_head)
    return ChainResult(links, found.head, run_head=found.run_head)
