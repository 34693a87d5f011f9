"""The state of a run as the JSON that the page shows, and that programs may read."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from edgeleuk.counting.differential import differential, final_counts
from edgeleuk.counting.intervals import counting_facts
from edgeleuk.io.clock import now
from edgeleuk.io.console import printable
from edgeleuk.results import Counted, Decision, check_of
from edgeleuk.version import RESEARCH_USE, __version__
from edgeleuk.vision.quality import fault_of

if TYPE_CHECKING:
    from edgeleuk.results import SessionSummary
    from edgeleuk.serve.live import LiveState, NewCell
    from edgeleuk.vision.quality import FieldQuality

SCHEMA_VERSION = 1
SHOWN_CELLS = 12
SHOWN_EVENTS = 50


def document_of(state: LiveState, quality: FieldQuality | None) -> dict[str, Any]:
    """Return the state as plain values.

    Parameters
    ----------
    state : LiveState
    quality : FieldQuality or None
        Of a field of the last seconds.
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
        "counts": None if summary is None else _counts(summary.counted, facts.until_points),
        "field": _field_facts(quality),
        "stage": _stage_facts(state),
        "cells": [_cell_facts(cell) for cell in found.cells[:SHOWN_CELLS]],
        "events": [one._asdict() for one in events[-SHOWN_EVENTS:]],
        "events_recorded": events[-1].number if events else 0,
    }


def _run_facts(summary: SessionSummary) -> dict[str, Any]:
    told = summary.to_json()
    names = ("started_at", "duration_s", "fps", "frames", "latency_ms", "px_per_um", "events")
    cells = told["cells"]
    return {
        **{name: told[name] for name in names},
        "sightings": {name: cells[name] for name in ("detected", "unique", "seen_before", "excluded")},
    }


def _counts(counted: Counted, until_points: float | None) -> dict[str, Any]:
    doubts = tuple(counted.doubts.items())
    kinds = tuple(counted.kinds.items())
    return _counted_facts(counted.blast, counted.normal, counted.uncertain, doubts, kinds, until_points)


@lru_cache(maxsize=4)
def _counted_facts(
    blast: int, normal: int, uncertain: int, doubts: Any, kinds: Any, until_points: float | None
) -> dict[str, Any]:
    """Return counts with their intervals; while no new cell comes they are not computed again."""
    counted = Counted(blast, normal, uncertain, dict(doubts), dict(kinds))
    white = differential(
        final_counts(counted), no_white_share=counted.no_white_share, no_lymphoid_share=counted.no_share
    )
    facts = counting_facts(counted, None, "", until_points=until_points)
    return {
        **counted.to_json(),
        "total": counted.total,
        "blast_share": counted.share_facts(),
        "differential": white.to_json(),
        "precision": facts["precision"],
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
