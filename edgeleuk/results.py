"""What the device says of cells, of frames, and of a whole session."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from edgeleuk.frames import Box, Cell


class Decision(str, Enum):
    """The three things a cell can be called."""

    BLAST = "blast"
    NORMAL = "normal"
    UNCERTAIN = "uncertain"


class Check(str, Enum):
    """What can make a cell ``uncertain``, in the order in which it is asked."""

    SCALE = "scale"
    AREA = "area"
    COLOUR = "colour"
    SHARPNESS = "sharpness"
    FEATURES = "features"
    PROBABILITY = "probability"
    BORDER = "border"
    DUST = "dust"
    OTHER = "other"


# Those that a network and its training cells decide.
OF_NETWORK = (Check.AREA, Check.COLOUR, Check.SHARPNESS, Check.FEATURES, Check.PROBABILITY)
# Cells unlike those that the network was trained with: what it says of them means nothing.
FOREIGN = (Check.SCALE, Check.AREA, Check.COLOUR, Check.SHARPNESS, Check.FEATURES, Check.OTHER)
# Nothing was judged: a part of a cell, or no cell.
NOT_JUDGED = (Check.BORDER, Check.DUST)
# How a reason begins, for each check.
_BEGINNINGS = {
    "scale unknown": Check.SCALE,
    "scale implausible": Check.SCALE,
    "the scale is unknown": Check.SCALE,
    "area ": Check.AREA,
    "colour: ": Check.COLOUR,
    "sharpness ": Check.SHARPNESS,
    "features ": Check.FEATURES,
    "probability between": Check.PROBABILITY,
    "both classes are": Check.PROBABILITY,
    "no class is": Check.PROBABILITY,
    "cut by the border": Check.BORDER,
    "stuck dust": Check.DUST,
}


def check_of(reason: str | None) -> Check:
    """Tell by which check a cell is ``uncertain``, from the reason that is recorded with it.

    Examples
    --------
    >>> check_of("area 20 um2 is outside the training cells' 40 to 170").value
    'area'
    """
    if reason is not None:
        for beginning, check in _BEGINNINGS.items():
            if reason.startswith(beginning):
                return check
    return Check.OTHER


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


# Of foreign cells among all, the share above which no share of blasts is told.
MOST_FOREIGN = 0.2


@dataclass(frozen=True, slots=True)
class Counted:
    """Cells, each counted once.

    Attributes
    ----------
    blast, normal, uncertain : int
    doubts : mapping of Check to int
        Why the uncertain ones are.
    """

    blast: int = 0
    normal: int = 0
    uncertain: int = 0
    doubts: Mapping[Check, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them."""
        return self.blast + self.normal + self.uncertain

    @property
    def foreign(self) -> int:
        """Those unlike the cells that the network was trained with."""
        return sum(self.doubts.get(check, 0) for check in FOREIGN)

    @property
    def no_share(self) -> str | None:
        """Why no share of blasts may be told of them; None where one may."""
        judged = self.total - sum(self.doubts.get(check, 0) for check in NOT_JUDGED)
        if self.foreign <= MOST_FOREIGN * judged:
            return None
        why = doubts_text({check: n for check, n in self.doubts.items() if check in FOREIGN})
        return (
            f"{self.foreign} of {judged} cells are unlike the training cells ({why}), more than"
            f" {MOST_FOREIGN:.0%}"
        )

    def share_facts(self) -> dict[str, object]:
        """Return the share of blasts among the cells called blast or normal, as JSON.

        Uncertain cells are in neither number. ``share``, ``low`` and ``high`` are None where `no_share` tells
        a reason, or where no cell was called either.
        """
        of = Proportion(self.blast, self.blast + self.normal)
        reason = self.no_share or (None if of.total else "no cell was called blast or normal")
        if reason is not None:
            return {"share": None, "low": None, "high": None, "n": of.total, "reason": reason}
        return {"share": of.share, "low": of.low, "high": of.high, "n": of.total, "reason": None}

    def text(self) -> str:
        """Say the counts in words."""
        return cells_text(self.to_json())

    def to_json(self) -> dict[str, object]:
        """Return how many of each there are, and why the uncertain ones are."""
        return {
            "blast": self.blast,
            "normal": self.normal,
            "uncertain": self.uncertain,
            "uncertain_by_reason": {check.value: n for check, n in _frequent_first(self.doubts)},
        }


def counted_of(cells: Iterable[tuple[str, str | None]]) -> Counted:
    """Count cells by what they were called, and the uncertain ones by why.

    Examples
    --------
    >>> counted_of([("blast", None), ("uncertain", "area 9 um2 is outside")]).to_json()["uncertain_by_reason"]
    {'area': 1}
    """
    decisions: Counter[str] = Counter()
    doubts: Counter[Check] = Counter()
    for decision, reason in cells:
        decisions[decision] += 1
        if decision == "uncertain":
            doubts[check_of(reason)] += 1
    return Counted(decisions["blast"], decisions["normal"], decisions["uncertain"], doubts)


def cells_text(counts: Mapping[str, Any]) -> str:
    """Say how many cells were called what, and why the uncertain ones are; of `Counted.to_json`'s numbers.

    Examples
    --------
    >>> cells_text({"blast": 3, "normal": 9, "uncertain": 4, "uncertain_by_reason": {"area": 4}})
    '3 blast, 9 normal, 4 uncertain (area 4)'
    """
    why = ", ".join(f"{name} {n}" for name, n in counts["uncertain_by_reason"].items())
    calls = ", ".join(f"{counts[decision.value]} {decision.value}" for decision in Decision)
    return calls + (f" ({why})" if why else "")


def doubts_text(doubts: Mapping[Check, int]) -> str:
    """List reasons with their counts, the most frequent first.

    Examples
    --------
    >>> doubts_text({Check.AREA: 12, Check.COLOUR: 21})
    'colour 21, area 12'
    """
    return ", ".join(f"{check.value} {n}" for check, n in _frequent_first(doubts))


def _frequent_first(doubts: Mapping[Check, int]) -> list[tuple[Check, int]]:
    order = list(Check)
    found = [(check, n) for check, n in doubts.items() if n]
    return sorted(found, key=lambda item: (-item[1], order.index(item[0])))


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
    counted : Counted
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
        What `edgeleuk.counting.intervals.counting_facts` makes of the counts, once a run has ended.
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
    counted: Counted
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
        return self.counted.total

    @property
    def fps(self) -> float:
        """Frames processed a second."""
        return self.processed / self.duration_s if self.duration_s > 0 else 0.0

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
                **self.counted.to_json(),
                "seen_before": self.seen_before,
                "excluded": self.excluded,
                "excluded_by_reason": dict(self.excluded_by_reason),
            },
            "blast_share": self.counted.share_facts(),
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
