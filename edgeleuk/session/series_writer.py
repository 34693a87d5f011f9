"""Writing a session that goes on in new files; see `edgeleuk.session.series`."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, OrderedDict
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.io.clock import now
from edgeleuk.session.file_reader import SessionReader, read_file
from edgeleuk.session.files import OpenFile, begin_next_file
from edgeleuk.session.intact import FileWatch
from edgeleuk.session.resume_state import ResumeState, earlier_fields, read_resume_state, textures_kept
from edgeleuk.session.rotation import Rotation
from edgeleuk.session.schema import explained
from edgeleuk.session.series import GOES_ON_FROM, GOES_ON_IN, SERIES, SPLIT, next_name, read_place
from edgeleuk.session.series_reader import SeriesReader
from edgeleuk.session.writer import DiskGuard, SessionWriter, recorded_views

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeleuk.counting.consensus import View
    from edgeleuk.counting.intervals import Called
    from edgeleuk.frames import TrueCell
    from edgeleuk.io.storage_bounds import StorageBounds
    from edgeleuk.results import Decision
    from edgeleuk.session.schema import Counts, Tallies
    from edgeleuk.vision.tracking import EarlierField

# Earlier files that are open at once, for cells that are seen again.
_MOST_OPEN = 4
# Earlier schemas judged each cell once.
_WITH_VIEWS = 3


class SeriesWriter(SessionWriter):
    """A session under way in several files; made by `edgeleuk.session.open`. Used from one thread.

    Parameters
    ----------
    file : OpenFile
        The last of them.
    settings : mapping
        What the run is started with.
    guard : DiskGuard
    bounds : StorageBounds
    files : sequence of Path
        All of them, in order.
    """

    def __init__(
        self,
        file: OpenFile,
        settings: Mapping[str, object],
        guard: DiskGuard,
        bounds: StorageBounds,
        files: Sequence[Path],
    ) -> None:
        super().__init__(*file, settings, guard=guard)
        self._bounds = bounds
        self._earlier = EarlierFiles(files[:-1])
        self._kept.remember(files[:-1])
        self._frames, self._first_at = self._recorded()
        self._rotation = None if bounds.keep is None else Rotation(bounds.keep)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the session in their order."""
        return (*self._earlier.files, self.path)

    def _ready_for(self, captured_at: float, truth: Sequence[TrueCell]) -> Sequence[TrueCell]:
        self._split_if_due(captured_at)
        known = self._earlier.true_cells
        return [cell for cell in truth if cell.identity not in known]

    def _after_frame(self) -> None:
        self._frames += 1
        self._rotate()

    def views(self, track: int) -> tuple[list[View], str | None]:
        """Return all judged views of a cell; see `SessionWriter.views`."""
        views, truth = super().views(track)
        before, truth_before = self._earlier.views(track)
        return [*before, *views], truth if truth_before is None else truth_before

    def true_cells(self) -> dict[str, int]:
        """Label -> how many simulated cells lay whole in a frame so far."""
        return dict(self._earlier.true_labels + Counter(super().true_cells()))

    def counts(self) -> Counts:
        """Count the rows of all files."""
        self.flush()
        with self._whole() as whole:
            return whole.counts()

    def tallies(self) -> Tallies:
        """Add up the rows of all files."""
        self.flush()
        with self._whole() as whole:
            return whole.tallies()

    def called(self, threshold: float) -> Called:
        """Count the cells that a threshold alone calls blasts."""
        self.flush()
        with self._whole() as whole:
            return whole.called(threshold)

    def resume_state(self) -> ResumeState:
        """Add up what is recorded in all files, for a run that goes on."""
        states = []
        for file in self.files:
            with read_file(file) as part, explained(file):
                states.append(read_resume_state(part.connection))
        with self._whole() as whole:
            return _joined(states, whole)

    def earlier_fields(self) -> Iterator[EarlierField]:
        """Yield the fields that a tracker is to remember."""
        textures = []
        for file in self.files:
            with read_file(file) as part, explained(file):
                textures.append(textures_kept(part.connection))
        for number, file in enumerate(self._earlier.files, start=1):
            with read_file(file) as part, explained(file):
                yield from earlier_fields(part.connection, sum(textures[number:]))
        yield from super().earlier_fields()

    def close(self) -> None:
        """Close the file, and those before it."""
        self._earlier.close()
        try:
            if self._rotation is not None:
                self._rotation.close()
        finally:
            super().close()

    def _rotate(self) -> None:
        """Remove a few of the oldest pictures, where a rule asks for it."""
        if self._rotation is None:
            return
        with self._committing, self._using, explained(self.path):
            if self._rotation.step(self.files, self._connection):
                # They may show a file as it was.
                self._earlier.close()

    def _whole(self) -> SeriesReader:
        return SeriesReader(self.path, self.files)

    def _recorded(self) -> tuple[int, float | None]:
        """Return how many frames the file holds, and when its first was taken."""
        with explained(self.path):
            frames, first = self._connection.execute(
                "SELECT COUNT(*), MIN(captured_at) FROM frames"
            ).fetchone()
        return int(frames), first

    def _split_if_due(self, at: float) -> None:
        split = self._bounds.split
        if split is None:
            return
        if self._first_at is None:
            self._first_at = at
        is_full = split.frames is not None and self._frames >= split.frames
        is_old = split.seconds is not None and self._frames > 0 and at - self._first_at >= split.seconds
        if is_full or is_old:
            # What waits belongs to the file that ends.
            self.flush()
            with self._committing, self._using:
                event = self._go_on_in_a_new_file()
            self._first_at = at
            if self.heard is not None:
                self.heard(*event)

    def _go_on_in_a_new_file(self) -> tuple[int, float, str, str]:
        """Begin the next file, tell the one before of it, and go on there; return its first event.

        Whoever is killed before the next file has its name goes on in this one; after that, in the next.
        """
        self.check()
        before = read_place(self.path)
        assert before is not None
        with explained(self.path):
            (link,) = self._connection.execute(
                "SELECT link FROM chain WHERE id = ?", (self._end(),)
            ).fetchone()
            settings = dict(self._settings())
            (number,) = self._connection.execute("SELECT COALESCE(MAX(id), 0) FROM events").fetchone()
        path = next_name(self.path, before.part + 1)
        place = {
            "first": before.first, "part": before.part + 1, "before": self.path.name, "end": bytes(link).hex()
        }  # fmt: skip
        at = now()
        # The number of an event is told to others: it goes on, with room for the one of this file's end.
        event = (int(number) + 2, at, SPLIT, f"{GOES_ON_FROM}{self.path.name}")
        file = begin_next_file(path, {**settings, SERIES: place}, event)
        try:
            self.record_event(SPLIT, f"{GOES_ON_IN}{path.name}", at)
        except BaseException:
            file.close()
            raise
        self.noted += 2
        self._moved_to(file)
        return event

    def _moved_to(self, file: OpenFile) -> None:
        """Write to that file from now on."""
        old = OpenFile(self.path, self._connection, self._lock)
        self._kept.go_on(file.connection)
        with suppress(sqlite3.Error):
            old.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        old.close()
        self.path, self._connection, self._lock = file
        self._file = FileWatch(*file)
        self._frames, self._first_at = 0, None
        self._earlier.add(old.path)

    def _end(self) -> int:
        """Return the number of the last link that the run recorded."""
        query = "SELECT MAX(id) FROM chain WHERE kind NOT IN ('review', 'removal')"
        return int(self._connection.execute(query).fetchone()[0])

    def _settings(self) -> list[tuple[str, object]]:
        rows = self._connection.execute("SELECT key, value FROM settings ORDER BY key").fetchall()
        return [(key, json.loads(value)) for key, value in rows]


class _Range(NamedTuple):
    """What one file holds: the least and the greatest number of a cell that was judged first there."""

    file: Path
    first: int
    last: int


class EarlierFiles:
    """The files of a series before the one that is written: where the views of a cell are.

    Attributes
    ----------
    files : tuple of Path
    true_cells : set of int
        Numbers of the simulated cells that are recorded there.
    true_labels : Counter of str
        How many of each label.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files: tuple[Path, ...] = ()
        self.true_cells: set[int] = set()
        self.true_labels: Counter[str] = Counter()
        self._ranges: list[_Range] = []
        # Cells that a later file has views of: the files, in order.
        self._viewed: dict[int, list[Path]] = {}
        self._open: OrderedDict[Path, SessionReader] = OrderedDict()
        for file in files:
            self.add(file)

    def add(self, file: Path) -> None:
        """Take a further file, that is written no more."""
        with read_file(file) as part, explained(file):
            execute = part.connection.execute
            first, last = execute("SELECT MIN(track), MAX(track) FROM cells").fetchone()
            if first is not None:
                self._ranges.append(_Range(file, first, last))
            if part.schema >= _WITH_VIEWS:
                viewed = execute(
                    "SELECT DISTINCT track FROM views WHERE track NOT IN (SELECT track FROM cells)"
                )
                for (track,) in viewed:
                    self._viewed.setdefault(track, []).append(file)
            for identity, label in execute("SELECT identity, label FROM true_cells"):
                self.true_cells.add(identity)
                self.true_labels[label] += 1
        self.files = (*self.files, file)

    def views(self, track: int) -> tuple[list[View], str | None]:
        """Return the judged views of a cell in these files in order, and its truth."""
        views: list[View] = []
        truth = None
        wanted = [each.file for each in self._ranges if each.first <= track <= each.last]
        for file in [*wanted, *self._viewed.get(track, ())]:
            with explained(file):
                found, its_truth = recorded_views(self._reader(file).connection, track)
            views += found
            truth = truth or its_truth
        return views, truth

    def close(self) -> None:
        """Close what is open."""
        for reader in self._open.values():
            reader.close()
        self._open.clear()

    def _reader(self, file: Path) -> SessionReader:
        reader = self._open.get(file)
        if reader is None:
            reader = self._open[file] = read_file(file, shared=True)
        self._open.move_to_end(file)
        if len(self._open) > _MOST_OPEN:
            with suppress(KeyError):
                self._open.popitem(last=False)[1].close()
        return reader


def _joined(states: Sequence[ResumeState], whole: SeriesReader) -> ResumeState:
    """Add up what each file tells; a cell counts as what was said of it last."""
    joined = ResumeState(events=sum(state.events for state in states))
    started = [state for state in states if state.started_at is not None]
    if not started:
        return joined
    rejected: Counter[str] = Counter()
    for state in started:
        rejected.update(state.rejected_by_reason)
    called: Counter[tuple[str, Decision]] = Counter()
    for truth, decision in whole.truths():
        called[truth, decision] += 1
    return replace(
        joined,
        first_sequence=started[0].first_sequence,
        next_sequence=max(state.next_sequence for state in started),
        processed=sum(state.processed for state in started),
        detected=sum(state.detected for state in started),
        seen_before=sum(state.seen_before for state in started),
        excluded=sum(state.excluded for state in started),
        rejected_by_reason=rejected,
        counted=whole.tallies().counted,
        called=called,
        started_at=min(state.started_at for state in started if state.started_at is not None),
        duration_s=sum(state.duration_s for state in started),
        latencies_ms=tuple(ms for state in started for ms in state.latencies_ms),
    )
