"""What a whole session came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.results.structs import RunSummary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.results.counts import Counted
    from edgeleuk.results.structs import ControlOfRun, SlideWritten


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
    control : ControlOfRun or None
        How its first fields stood to the laboratory's control sessions.
    slide : SlideWritten or None
        Of a scan, the slide as a picture.
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
    control: ControlOfRun | None = None
    slide: SlideWritten | None = None

    @property
    def unique(self) -> int:
        """Different cells that were judged."""
        return self.counted.total

    @property
    def fps(self) -> float:
        """Frames processed a second."""
        return self.processed / self.duration_s if self.duration_s > 0 else 0.0

    def printed(self) -> RunSummary:
        """Return what ``edgeleuk run --json`` prints."""
        facts = {
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
            **({} if self.control is None else {"control": self.control.to_json()}),
            **({} if self.slide is None else {"slide": self.slide.to_json()}),
        }
        return msgspec.convert(facts, RunSummary)

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``edgeleuk run --json`` prints."""
        return self.printed().to_json()
