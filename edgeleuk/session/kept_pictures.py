"""Which pictures of cells a session keeps."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from edgeleuk.counting.doubt import SAMPLE, RunningSample, is_doubtful
from edgeleuk.counting.intervals import KnownError, known_error_of
from edgeleuk.results import Decision, check_of
from edgeleuk.session.file_reader import read_file
from edgeleuk.session.records import prediction_of
from edgeleuk.session.schema import has_kinds

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeleuk.results import Prediction
    from edgeleuk.session.records import JudgedCell

    WhichPictures = Literal["all", "doubtful", "none"]

ALL, DOUBTFUL, NONE = "all", "doubtful", "none"
# So many of the doubtful cells of each reason and name are kept, and of the others as many as a review asks
# for: all of a usual session, and of a night of hundreds of thousands a random sample.
MOST_DOUBTFUL = 5000
# Where the bundle told none.
_THRESHOLD = 0.5
# Cells of which it is remembered whether their picture was kept; of others the session tells.
_MOST_REMEMBERED = 4096


def pictures_of(settings: Mapping[str, object]) -> str:
    """Return which pictures of cells a session keeps: ``all``, ``doubtful`` or ``none``."""
    which = settings.get("pictures")
    return which if isinstance(which, str) else ALL


def pictures_text(settings: Mapping[str, object]) -> str | None:
    """Say which pictures of cells were left out; None where all are kept.

    Examples
    --------
    >>> pictures_text({"pictures": "none"})
    'the session keeps no pictures of cells (--pictures none)'
    """
    which = pictures_of(settings)
    if which == NONE:
        return "the session keeps no pictures of cells (--pictures none)"
    if which == DOUBTFUL:
        return "the session keeps pictures of doubtful cells and of a sample (--pictures doubtful)"
    return None


def goes_on_text(before: Mapping[str, object], now: Mapping[str, object]) -> str:
    """Say that a run goes on, and whether it keeps other pictures from now on.

    Examples
    --------
    >>> goes_on_text({}, {"pictures": "all"}), goes_on_text({}, {"pictures": "none"})
    ('the run goes on', 'the run goes on, from here on with --pictures none')
    """
    which = pictures_of(now)
    return "the run goes on" + (
        "" if which == pictures_of(before) else f", from here on with --pictures {which}"
    )


class KeptPictures:
    """Says of each view of a cell whether its picture is kept.

    Of ``doubtful`` cells it is kept, and of a random sample of the others as review asks for it. Each reason
    and name has a sample: its first 5,000 doubtful cells or 100 others, then ever fewer. The views of a cell
    are kept from the first one on that is.

    Parameters
    ----------
    settings : mapping
        What the run is started with: ``pictures``, and the threshold in ``known_error``.
    connection : sqlite3.Connection
        Of the session; it is asked by the thread that records.
    """

    def __init__(self, settings: Mapping[str, object], connection: sqlite3.Connection) -> None:
        self.which = pictures_of(settings)
        known = known_error_of(settings.get("known_error"))
        self._threshold = known.threshold if isinstance(known, KnownError) else _THRESHOLD
        self._connection = connection
        self._sample: RunningSample | None = None
        self._kept: OrderedDict[int, bool] = OrderedDict()

    def go_on(self, connection: sqlite3.Connection) -> None:
        """Go on in a new file, knowing what was recorded in those before."""
        if self.which == DOUBTFUL:
            self._sampled()
        self._connection = connection

    def remember(self, files: Sequence[Path]) -> None:
        """Know what is recorded in earlier files of the session, the first of which names the sample."""
        if self.which != DOUBTFUL:
            return
        for file in files:
            with read_file(file) as part:
                self._learn(part.connection)
        self._learn(self._connection)

    def keeps(self, cell: JudgedCell) -> bool:
        """Whether the picture of a view that is about to be recorded is kept."""
        if self.which != DOUBTFUL:
            return self.which == ALL
        # A cell that is called otherwise by now belongs to another sample.
        said = (cell.prediction,) if cell.agreed is None else (cell.agreed, cell.prediction)
        kept = any(self._takes(self._sampled(), each, cell.track) for each in said)
        kept = kept or (cell.agreed is not None and self._was_kept(cell.track))
        self._kept[cell.track] = kept
        self._kept.move_to_end(cell.track)
        if len(self._kept) > _MOST_REMEMBERED:
            self._kept.popitem(last=False)
        return kept

    def _was_kept(self, track: int) -> bool:
        """Whether the picture of the view before is kept."""
        if track not in self._kept:
            query = (
                "SELECT EXISTS (SELECT 1 FROM cells WHERE track = ?1 AND crop IS NOT NULL)"
                " OR EXISTS (SELECT 1 FROM views WHERE track = ?1 AND crop IS NOT NULL)"
            )
            return bool(self._connection.execute(query, (track,)).fetchone()[0])
        return self._kept[track]

    def _sampled(self) -> RunningSample:
        """Return the sample, with what is recorded already; the seed is review's, see its `Queue`."""
        return self._learn(self._connection) if self._sample is None else self._sample

    def _learn(self, connection: sqlite3.Connection) -> RunningSample:
        """Take what is recorded in a file into the sample."""
        if self._sample is None:
            (first,) = connection.execute("SELECT link FROM chain ORDER BY id LIMIT 1").fetchone()
            self._sample = RunningSample(bytes(first).hex())
        names = "kind, kind_probability" if has_kinds(connection) else "NULL, NULL"
        said = f"decision, probability, reason, is_foreign, {names}"
        for track, *of in connection.execute(f"SELECT track, {said} FROM cells ORDER BY track"):  # noqa: S608 - names from the lines above
            self._takes(self._sample, prediction_of(*of), track)
        return self._sample

    def _takes(self, sample: RunningSample, prediction: Prediction, track: int) -> bool:
        doubtful = is_doubtful(prediction, self._threshold)
        # Finer than the strata of a review: the smallest draws of each are among those of its parts.
        name = f"{'doubtful' if doubtful else 'sure'} {_name(prediction)}"
        return sample.takes(name, track, MOST_DOUBTFUL if doubtful else SAMPLE)


def _name(prediction: Prediction) -> str:
    if prediction.decision is Decision.OTHER and prediction.kind is not None:
        return prediction.kind.value
    if prediction.decision is Decision.UNCERTAIN:
        return str(check_of(prediction.reason).value)
    return str(prediction.decision.value)
