"""One open review: the session, its queue, and what readers said, kept up with the file. For many threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edgeleuk.counting.intervals import KnownError, known_error_of
from edgeleuk.errors import UsageError
from edgeleuk.frames import Box
from edgeleuk.io.closing import Closing
from edgeleuk.labels.words import label_meant, name_given
from edgeleuk.results import Decision
from edgeleuk.review.context import RecordedField, context_of, recorded_cells
from edgeleuk.review.queue import MachineCall, Queue
from edgeleuk.review.state import review_state
from edgeleuk.review.words import words_of
from edgeleuk.session.kept_pictures import DOUBTFUL, pictures_of
from edgeleuk.session.pictures import decode_crop
from edgeleuk.session.reviewed_series import open_for_review
from edgeleuk.session.reviews import WORDS, Word, standing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.frames import CellCrop
    from edgeleuk.review.context import Context
    from edgeleuk.review.queue import Why
    from edgeleuk.review.state import ReviewState
    from edgeleuk.review.words import Words
    from edgeleuk.session.reviews import Review

# Where a session does not record from where on a cell is called a blast.
_THRESHOLD = 0.5


class ReviewDesk(Closing):
    """A session under review.

    Several may be open on one session, in one process or more, beside a run that records it.

    Parameters
    ----------
    path : Path
    writes : bool
        False to read what was reviewed, also where nothing may be written; on one thread alone.

    Attributes
    ----------
    path : Path
    seed : str
        Of the queue's random order.

    Raises
    ------
    UsageError, SessionError
        See `open_for_review`.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self._session = open_for_review(path, writes=writes)
        self._lock = threading.Lock()
        self.seed = self._session.first_link()
        known = known_error_of(self._session.settings.get("known_error"))
        self._threshold = known.threshold if isinstance(known, KnownError) else _THRESHOLD
        self._recorded = -1
        self._cells: dict[int, MachineCall] = {}
        self._sampled = pictures_of(self._session.settings) == DOUBTFUL
        self._queue = Queue((), self.seed, self._threshold)
        self._reviews: list[Review] = []
        self._words: Words = {}
        self._state: ReviewState | None = None

    def close(self) -> None:
        """Close the session."""
        with self._lock:
            self._session.close()

    def state(self) -> ReviewState:
        """Say where the review stands."""
        with self._lock:
            self._keep_up()
            if self._state is None:
                self._state = review_state(str(self.path), self.seed, self._queue, self._words)
            return self._state

    def queue(self, reader: str, offset: int = 0, limit: int = 20) -> list[MachineCall]:
        """Return the next cells for a reader: those that this one did not call anything."""
        with self._lock:
            self._keep_up()
            done = {track: said for track, said in self._words.items() if reader in said}
            return [self._cells[track] for track in self._queue.after(done, offset, limit)]

    def record(self, words: Sequence[Word]) -> list[Review]:
        """Record words; see `ReviewedSession.record`."""
        with self._lock:
            found = self._session.record(words)
            self._keep_up()
            return found

    def undo(self, reader: str, token: str, of: str) -> Review:
        """Take a word back; see `ReviewedSession.undo`."""
        with self._lock:
            found = self._session.undo(reader, token, of)
            self._keep_up()
            return found

    def own(self, reader: str) -> list[Review]:
        """Return the words of a reader that stand, in their order."""
        with self._lock:
            self._keep_up()
            return [review for review in standing(self._reviews) if review.reader == reader]

    def call(self, track: int) -> MachineCall:
        """Return what the machine says of a cell.

        Raises
        ------
        UsageError
            There is no such cell.
        """
        with self._lock:
            self._keep_up()
            if track not in self._cells:
                raise UsageError(
                    f"{self.path.name} has no such cell", got=track, allowed=f"one of its {len(self._cells)}"
                )
            return self._cells[track]

    def row(self, track: int) -> dict[str, object]:
        """Return the row of a cell, its pictures with it; see `SessionReader.cell`."""
        with self._lock:
            return self._session.cell(track)

    def crop(self, track: int) -> CellCrop | None:
        """Return the crop of a cell; None where it, or its scale, was not recorded.

        Raises
        ------
        UsageError
            There is no such cell.
        """
        row = self.row(track)
        data, scale = row.get("crop"), row["px_per_um"]
        if not isinstance(data, bytes) or not isinstance(scale, float) or not scale > 0:
            return None
        return decode_crop(data, scale)

    def why_no_picture(self, track: int) -> str:
        """Say why the picture of a cell is not there: a rule removed it, or it was not recorded."""
        frame = int(str(self.row(track)["frame"]))
        with self._lock:
            rule = self._session.removed_by(frame, track)
        if rule is not None:
            return f"the cell's picture was removed by the rule {rule}"
        return "the cell's picture was not recorded"

    def context(self, track: int) -> Context | None:
        """Return what lies around a cell, None where nothing of it was kept.

        Raises
        ------
        UsageError
            There is no such cell.
        """
        row = self.row(track)
        with self._lock:
            (source, width, height, texture), cells = self._session.field(int(str(row["frame"])))
        field = RecordedField(
            str(source),
            int(str(width)),
            int(str(height)),
            texture if isinstance(texture, bytes) else None,
            recorded_cells(cells),
        )
        return context_of(field, Box(*(int(str(row[side])) for side in "xywh")))

    def why(self, track: int) -> Why:
        """Say why a cell is worth a look; see `call` for the error."""
        self.call(track)
        with self._lock:
            return self._queue.stratum_of(track).why

    def words_on(self, track: int) -> dict[str, str]:
        """Return what each reader calls a cell."""
        with self._lock:
            self._keep_up()
            return {reader: said.label for reader, said in self._words.get(track, {}).items()}

    def said(self, reader: str) -> dict[int, str]:
        """Return what a reader calls the cells."""
        with self._lock:
            self._keep_up()
            return {track: said[reader].label for track, said in self._words.items() if reader in said}

    @property
    def settings(self) -> dict[str, object]:
        """What the run was started with."""
        return self._session.settings

    def _keep_up(self) -> None:
        """Read what was recorded since."""
        recorded = self._session.recorded()
        if recorded != self._recorded:
            self._cells = {cell.track: cell for cell in map(_call, self._session.calls())}
            self._queue = Queue(self._cells.values(), self.seed, self._threshold, sampled=self._sampled)
            self._recorded = recorded
            self._state = None
        last = self._reviews[-1].number if self._reviews else 0
        more = self._session.reviews(after=last)
        if more:
            self._reviews += more
            self._words = words_of(self._reviews)
            self._state = None


def _call(row: tuple[object, ...]) -> MachineCall:
    track, frame, decision, probability, reason, kind, kind_probability, has_picture = row
    return MachineCall(
        track,  # type: ignore[arg-type]
        frame,  # type: ignore[arg-type]
        Decision(decision),
        probability,  # type: ignore[arg-type]
        reason,  # type: ignore[arg-type]
        kind,  # type: ignore[arg-type]
        kind_probability,  # type: ignore[arg-type]
        bool(has_picture),
    )


def word(track: int, label: str, reader: str, token: str, *, is_drawn: bool, note: str | None = None) -> Word:
    """Return a word as it is recorded: the label by any of its names.

    Raises
    ------
    UsageError
        Label, reader, token or note cannot be kept.
    """
    meant = label if label in WORDS else label_meant(label)
    return Word(track, meant, name_given(reader, "reader"), token, is_drawn, note or None)
