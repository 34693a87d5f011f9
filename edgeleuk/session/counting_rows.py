"""What a session's rows add up to, for whoever reads or writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.io.closing import Closing
from edgeleuk.session.schema import Counts, Tallies, count_called, count_rows, explained, tally_rows

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from edgeleuk.counting.intervals import Called


class CountingRows(Closing):
    """Base of an open session.

    Attributes
    ----------
    path : Path
    """

    path: Path
    _connection: sqlite3.Connection

    def counts(self) -> Counts:
        """Count the rows."""
        with explained(self.path):
            return count_rows(self._connection)

    def tallies(self) -> Tallies:
        """Add up the rows."""
        with explained(self.path):
            return tally_rows(self._connection)

    def called(self, threshold: float) -> Called:
        """Count the cells that a threshold alone calls blasts, of those that have a probability."""
        with explained(self.path):
            return count_called(self._connection, threshold)

    def spread_tracks(self, most: int) -> list[int]:
        """Return the numbers of so many cells at most, evenly spread; no picture is read for it."""
        with explained(self.path):
            low, high = self._connection.execute(
                "SELECT (SELECT MIN(track) FROM cells), (SELECT MAX(track) FROM cells)"
            ).fetchone()
            if low is None:
                return []
            found: dict[int, None] = {}
            for place in range(most):
                asked = low + (high - low) * place // max(most - 1, 1)
                query = "SELECT track FROM cells WHERE track >= ? ORDER BY track LIMIT 1"
                found[self._connection.execute(query, (asked,)).fetchone()[0]] = None
        return list(found)
