"""The counts of a run, and the laws of conservation that hold for them."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeleuk.errors import EdgeleukError
from edgeleuk.pipeline.latency import LatencyHistogram
from edgeleuk.results import Counted, Decision, check_of

if TYPE_CHECKING:
    from edgeleuk.results import Prediction, SessionSummary
    from edgeleuk.session.resume_state import ResumeState
    from edgeleuk.session.schema import Counts, Tallies

BEFORE = "before the run was resumed"


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

    def copy(self) -> Tally:
        """Return what it is now, whatever is counted later."""
        return Tally(self.counted)

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


@dataclass
class RunCounts:
    """What a run has counted until a frame.

    Attributes
    ----------
    processed, detected, seen_before : int
    rejected_by_reason, excluded_by_reason : Counter of str
    tally : Tally
    called : Counter of (str, Decision)
        Simulated cells by their real label and what they were called.
    latency : LatencyHistogram
    finished : int
        Frames of this part of the run that were processed or rejected.
    px_per_um : float or None
        Of the last frame.
    """

    processed: int
    detected: int
    seen_before: int
    rejected_by_reason: Counter[str]
    excluded_by_reason: Counter[str]
    tally: Tally
    called: Counter[tuple[str, Decision]]
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    finished: int = 0
    px_per_um: float | None = None

    @classmethod
    def of(cls, before: ResumeState) -> RunCounts:
        """Go on from what a session holds."""
        counts = cls(
            before.processed,
            before.detected,
            before.seen_before,
            Counter(before.rejected_by_reason),
            # Why is not recorded with a frame.
            Counter({BEFORE: before.excluded} if before.excluded else {}),
            Tally(before.counted),
            Counter(before.called),
        )
        for latency_ms in before.latencies_ms:
            counts.latency.add(latency_ms)
        return counts

    @property
    def rejected(self) -> int:
        """Frames that were not used."""
        return self.rejected_by_reason.total()

    def copy(self) -> RunCounts:
        """Return what it is now, whatever is counted later."""
        return replace(
            self,
            rejected_by_reason=self.rejected_by_reason.copy(),
            excluded_by_reason=self.excluded_by_reason.copy(),
            tally=self.tally.copy(),
            called=self.called.copy(),
            latency=self.latency.copy(),
        )


class CountsOnDisk:
    """What a run has counted of the frames that are on the disk: only that is told.

    Parameters
    ----------
    counts : RunCounts
        Of what was there before.
    """

    def __init__(self, counts: RunCounts) -> None:
        self._counts = counts.copy()
        self._waiting: deque[tuple[int, RunCounts]] = deque()

    def add(self, taken: int, counts: RunCounts) -> None:
        """Take in what holds once so many frames are on the disk."""
        self._waiting.append((taken, counts.copy()))

    def until(self, recorded: int) -> RunCounts:
        """Return what holds now that so many frames are on the disk."""
        while self._waiting and self._waiting[0][0] <= recorded:
            self._counts = self._waiting.popleft()[1]
        return self._counts


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
