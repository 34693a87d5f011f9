"""What the device says of cells, of frames, and of a whole session."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from edgeleuk import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeleuk.frames import Box, Cell


class Decision(str, Enum):
    """The three things a cell can be called."""

    BLAST = "blast"
    NORMAL = "normal"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one cell.

    Attributes
    ----------
    decision : Decision
    probability : float
        Of the positive class, after the temperature; 0 to 1.
    reason : str or None
        Why the cell is ``uncertain``.
    foreign : bool
        The reason is that the network was never trained on such cells, so that its probability says nothing.
    """

    decision: Decision
    probability: float
    reason: str | None = None
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class CellResult:
    """One white cell of one frame.

    Attributes
    ----------
    track : int
        Number of the cell in the session; the same cell seen again keeps it.
    is_new : bool
        Whether this is the first sighting of the track.
    box : Box
    area_um2, nucleus_area_um2 : float
        NaN where the scale is unknown.
    prediction : Prediction
    """

    track: int
    is_new: bool
    box: Box
    area_um2: float
    nucleus_area_um2: float
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class ExcludedCell:
    """One white cell of one frame that cannot be judged there.

    Attributes
    ----------
    track : int
    box : Box
    reason : str
        Few words, the same for all cells with the same fault.
    """

    track: int
    box: Box
    reason: str


@dataclass(frozen=True, slots=True)
class FrameResult:
    """All that one frame showed.

    Attributes
    ----------
    sequence : int
        Number of the frame at its source.
    captured_at : float
        Seconds since the Unix epoch.
    source : str
    width, height : int
        In pixels.
    px_per_um : float or None
        Scale that was used, None where nothing told it.
    cells : tuple of CellResult
        Cells with a judgement, made in this frame or before.
    excluded : tuple of ExcludedCell
        The others.
    found : tuple of Cell
        All cells as they were segmented, with their masks, in the order they were found.
    latency_ms : float
        From the frame's arrival until its results were on the disk.
    """

    sequence: int
    captured_at: float
    source: str
    width: int
    height: int
    px_per_um: float | None
    cells: tuple[CellResult, ...]
    excluded: tuple[ExcludedCell, ...]
    found: tuple[Cell, ...]
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share of counted things, with its exact binomial (Clopper-Pearson) 95 % interval.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934).

    Attributes
    ----------
    count, total : int
        0 <= count <= total.

    Examples
    --------
    >>> share = Proportion(20, 100)
    >>> share.share, round(share.low, 3), round(share.high, 3)
    (0.2, 0.127, 0.292)
    """

    count: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.total:
            msg = f"expected 0 <= count <= total, got {self.count} of {self.total}"
            raise ValueError(msg)

    @property
    def share(self) -> float | None:
        """The estimate; None of nothing."""
        return self.count / self.total if self.total else None

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return clopper_pearson(self.count, self.total)[0]

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return clopper_pearson(self.count, self.total)[1]

    def to_json(self) -> dict[str, object]:
        """Return the object of `SessionSummary.to_json`."""
        return {"share": self.share, "low": self.low, "high": self.high, "n": self.total}


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """What a whole session came to. Every frame and every sighting stands in exactly one of the counts.

    Attributes
    ----------
    session, camera : str
        Where it is recorded, and what was watched.
    ended : str
        Why it ended, in a few words.
    started_at, duration_s : float
        Seconds since the Unix epoch; seconds.
    simulated : bool
        The pictures were drawn, not photographed.
    captured, processed, dropped, rejected : int
        Frames. ``captured = processed + dropped + rejected``, plus the one in flight when an error struck.
    rejected_by_reason : mapping
    detected, seen_before, excluded : int
        Sightings of white cells. ``detected = unique + seen_before + excluded``.
    excluded_by_reason : mapping
    blast, normal, uncertain : int
        Cells, each counted once.
    in_flight : int
        1 when an error ended the run in the middle of a frame.
    latency_ms : mapping
        Percentile -> milliseconds from a frame's arrival until its results were on the disk; empty
        without frames.
    px_per_um : float or None
        Scale of the last frame.
    events : int
        Lines in the session's log.
    truth : mapping or None
        For simulated sources: what was really there, and how it was called.
    counting : mapping or None
        What `edgeleuk.counting.counting_facts` makes of the counts, once a run has ended.
    """

    session: str
    camera: str
    ended: str
    started_at: float
    duration_s: float
    simulated: bool
    captured: int
    processed: int
    dropped: int
    rejected: int
    detected: int
    seen_before: int
    excluded: int
    blast: int
    normal: int
    uncertain: int
    in_flight: int = 0
    rejected_by_reason: Mapping[str, int] = field(default_factory=dict)
    excluded_by_reason: Mapping[str, int] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    px_per_um: float | None = None
    events: int = 0
    truth: Mapping[str, object] | None = None
    counting: Mapping[str, object] | None = None

    @property
    def unique(self) -> int:
        """Different cells that were judged."""
        return self.blast + self.normal + self.uncertain

    @property
    def fps(self) -> float:
        """Frames processed a second."""
        return self.processed / self.duration_s if self.duration_s > 0 else 0.0

    @property
    def blast_share(self) -> Proportion:
        """Blasts among the cells called blast or normal; uncertain cells are in neither number."""
        return Proportion(self.blast, self.blast + self.normal)

    def to_json(self) -> dict[str, object]:
        """Return the object that ``edgeleuk run --json`` prints."""
        return {
            "schema_version": 1,
            "session": self.session,
            "camera": self.camera,
            "simulated": self.simulated,
            "ended": self.ended,
            "started_at": self.started_at,
            "duration_s": self.duration_s,
            "fps": self.fps,
            "frames": {
                "captured": self.captured,
                "processed": self.processed,
                "dropped": self.dropped,
                "rejected": self.rejected,
                "in_flight": self.in_flight,
                "rejected_by_reason": dict(self.rejected_by_reason),
            },
            "cells": {
                "detected": self.detected,
                "unique": self.unique,
                "blast": self.blast,
                "normal": self.normal,
                "uncertain": self.uncertain,
                "seen_before": self.seen_before,
                "excluded": self.excluded,
                "excluded_by_reason": dict(self.excluded_by_reason),
            },
            "blast_share": self.blast_share.to_json(),
            "latency_ms": {name: self.latency_ms.get(name) for name in ("p50", "p95", "p99")},
            "px_per_um": self.px_per_um,
            "events": self.events,
            "truth": None if self.truth is None else dict(self.truth),
            **(self.counting or {}),
            "research_use": RESEARCH_USE,
        }


def clopper_pearson(count: float, total: float) -> tuple[float, float]:
    """Exact 95 % interval of a binomial share; the beta distribution fills in between whole counts."""
    low, high = 0.0, 1.0
    if count > 0:
        low = _root(lambda p: incomplete_beta(count, total - count + 1, p) - 0.025)
    if count < total:
        high = _root(lambda p: incomplete_beta(count + 1, total - count, p) - 0.975)
    return low, high


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b).

    Source: Lentz's continued fraction; Press et al., "Numerical Recipes", section 6.4.

    Parameters
    ----------
    a, b : float
        Above 0.
    x : float
        0 to 1.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1), tiny)
    fraction = d
    for m in range(1, 100_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _nonzero(1 + term * d, tiny)
            c = _nonzero(1 + term / c, tiny)
            fraction *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return front * fraction / a


def _nonzero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def _root(function: Callable[[float], float]) -> float:
    """Root of an increasing function on [0, 1], by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2
