"""The state of a run as the JSON that the page shows, and that programs may read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgeleuk.counting.differential import differential, final_counts
from edgeleuk.counting.intervals import counting_facts
from edgeleuk.io.clock import now
from edgeleuk.io.console import printable
from edgeleuk.results import Decision, check_of
from edgeleuk.serve.budget import SpareTime, Turn
from edgeleuk.version import RESEARCH_USE, __version__
from edgeleuk.vision.quality import fault_of

if TYPE_CHECKING:
    from edgeleuk.results import Counted, SessionSummary
    from edgeleuk.serve.live import LiveState, NewCell, RunFacts
    from edgeleuk.vision.quality import FieldQuality

SCHEMA_VERSION = 1
SHOWN_CELLS = 12
SHOWN_EVENTS = 50


class CountsKeeper:
    """Counts with their intervals, computed anew only so often: exact intervals take a while.

    Parameters
    ----------
    counts, precision : Turn
        When the intervals, and the number of cells that are needed, may be computed.
    """

    def __init__(self, counts: Turn, precision: Turn) -> None:
        self._counts_turn = counts
        self._precision_turn = precision
        self._counted: Counted | None = None
        self._counts: dict[str, Any] = {}
        self._precise: Counted | None = None
        self._precision: dict[str, Any] = {}

    def of(self, counted: Counted, facts: RunFacts, *, last: bool) -> dict[str, Any]:
        """Return counts of this moment or of one shortly before; of this one where they are the last."""
        if counted != self._counted and (self._counts_turn.come() or last):
            self._counts = _counts(counted)
            self._counted = counted
            self._counts_turn.done()
        if self._counted != self._precise and (self._precision_turn.come() or last):
            assert self._counted is not None
            self._precision = counting_facts(
                self._counted,
                None,
                "",
                until_points=facts.until_points,
                until_of=facts.until_of,
                kinds=facts.kinds,
            )["precision"]
            self._precise = self._counted
            self._precision_turn.done()
        return {**self._counts, "precision": self._precision}


def document_of(
    state: LiveState, quality: FieldQuality | None, counts: CountsKeeper | None = None
) -> dict[str, Any]:
    """Return the state as plain values.

    Parameters
    ----------
    state : LiveState
    quality : FieldQuality or None
        Of a field of the last seconds.
    counts : CountsKeeper, optional
        Without one the intervals are of this moment.
    """
    found = state.snapshot()
    facts = state.facts
    summary = found.summary
    events = found.events
    return {
        "schema_version": SCHEMA_VERSION,
        "edgeleuk": __version__,
        "research_use": RESEARCH_USE,
        "at": now(),
        "phase": found.phase,
        "ended": None if summary is None or found.phase != "ended" else printable(summary.ended),
        "camera": printable(facts.camera),
        "session": facts.session.name,
        "bundle": facts.bundle,
        "simulated": facts.simulated,
        "has_review": state.has_review,
        "sample": found.said.get("sample"),
        "operator": found.said.get("operator"),
        "silent_s": found.silent_s,
        "disk_free_bytes": state.disk_free(),
        "run": None if summary is None else _run_facts(summary),
        "counts": None if summary is None else _counted(found.phase, summary.counted, facts, counts),
        "field": _field_facts(quality),
        "stage": _stage_facts(state),
        "cells": [_cell_facts(cell) for cell in found.cells[:SHOWN_CELLS]],
        "events": [one._asdict() for one in events[-SHOWN_EVENTS:]],
        "events_recorded": events[-1].number if events else 0,
    }


def _counted(phase: str, counted: Counted, facts: RunFacts, counts: CountsKeeper | None) -> dict[str, Any]:
    if counts is None:
        always = Turn(1.0, 0.0, SpareTime())
        counts = CountsKeeper(always, always)
    return counts.of(counted, facts, last=phase == "ended")


def _run_facts(summary: SessionSummary) -> dict[str, Any]:
    names = ("captured", "processed", "dropped", "rejected", "in_flight")
    return {
        **{
            name: getattr(summary, name)
            for name in ("started_at", "duration_s", "fps", "px_per_um", "events")
        },
        "frames": {
            **{name: getattr(summary, name) for name in names},
            "rejected_by_reason": dict(summary.rejected_by_reason),
        },
        "latency_ms": {name: summary.latency_ms.get(name) for name in ("p50", "p95", "p99")},
        "sightings": {
            name: getattr(summary, name) for name in ("detected", "unique", "seen_before", "excluded")
        },
    }


def _counts(counted: Counted) -> dict[str, Any]:
    white = differential(
        final_counts(counted), no_white_share=counted.no_white_share, no_lymphoid_share=counted.no_share
    )
    return {
        **counted.to_json(),
        "total": counted.total,
        "blast_share": counted.share_facts(),
        "differential": white.to_json(),
    }


def _field_facts(quality: FieldQuality | None) -> dict[str, Any] | None:
    if quality is None:
        return None
    fault = fault_of(quality)
    return {
        "sharpness": _number(quality.sharpness),
        "glass": [_number(level) for level in quality.glass],
        "clipped_share": _number(quality.clipped_share),
        "fault": None if fault is None else fault.value,
    }


def _stage_facts(state: LiveState) -> dict[str, Any] | None:
    if state.desk is None:
        return None
    found = state.desk.state()
    return {
        "place_um": found.place_um,
        "lamp": found.lamp,
        "has_lamp": state.desk.has_lamp,
        "busy": found.busy,
        "trouble": None if found.trouble is None else printable(found.trouble),
    }


def _cell_facts(cell: NewCell) -> dict[str, Any]:
    said = cell.prediction
    return {
        "track": cell.track,
        "decision": said.decision.value,
        "kind": None if said.kind is None else said.kind.value,
        "probability": _number(said.probability),
        "kind_probability": _number(said.kind_probability),
        "check": check_of(said.reason).value if said.decision is Decision.UNCERTAIN else None,
        "reason": said.reason,
        "area_um2": _number(cell.area_um2),
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
