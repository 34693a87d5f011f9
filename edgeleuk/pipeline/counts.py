"""The counts of a run, and the laws of conservation that hold for them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edgeleuk.errors import EdgeleukError
from edgeleuk.results import Counted, Decision, check_of

if TYPE_CHECKING:
    from edgeleuk.results import Prediction, SessionSummary
    from edgeleuk.session.schema import Counts, Tallies


class Tally:
    """Counts cells by what is said of them, and takes back what is no longer said."""

    def __init__(self, before: Counted) -> None:
        self._decisions = Counter(
            {
                Decision.BLAST: before.blast,
                Decision.NORMAL: before.normal,
                Decision.UNCERTAIN: before.uncertain,
            }
        )
        self._doubts = Counter(before.doubts)
        self._kinds = Counter(before.kinds)

    @property
    def counted(self) -> Counted:
        """What is said of them now."""
        of = self._decisions
        doubts = {check: n for check, n in self._doubts.items() if n}
        kinds = {kind: n for kind, n in self._kinds.items() if n}
        return Counted(of[Decision.BLAST], of[Decision.NORMAL], of[Decision.UNCERTAIN], doubts, kinds)

    def add(self, prediction: Prediction, step: int) -> None:
        """Count a cell once more by this, or with -1 once less."""
        self._decisions[prediction.decision] += step
        if prediction.decision is Decision.UNCERTAIN:
            self._doubts[check_of(prediction.reason)] += step
        elif prediction.kind is not None and prediction.decision is Decision.OTHER:
            self._kinds[prediction.kind] += step


def require_conserved(summary: SessionSummary, rows: Counts, tallies: Tallies) -> None:
    """Hold a run to its laws of conservation.

    Parameters
    ----------
    summary : SessionSummary
        What the run counted.
    rows : Counts
    tallies : Tallies
        What its session holds.

    Raises
    ------
    EdgeleukError
        A law is broken: a bug.
    """
    laws = {
        "captured = processed + dropped + rejected + in flight": (
            summary.captured,
            summary.processed + summary.dropped + summary.rejected + summary.in_flight,
        ),
        "detected = judged + seen before + excluded": (
            summary.detected,
            summary.unique + summary.seen_before + summary.excluded,
        ),
        "recorded = acknowledged": (
            (rows.processed, rows.rejected, rows.cells, rows.events),
            (summary.processed, summary.rejected, summary.unique, summary.events),
        ),
        "sightings and decisions, recorded = acknowledged": (
            tuple(tallies),
            (summary.detected, summary.seen_before, summary.excluded, summary.counted),
        ),
    }
    for law, (left, right) in laws.items():
        if left != right:
            raise EdgeleukError(f"a count was lost, which is a bug: {law}", got=f"{left} and {right}")
