"""What is said to a broker: one JSON object a message, each but the heartbeat with a key of its own.

A key is made from what the session holds, so that a message which is sent again has the key it had before.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from edgeleuk.counting.differential import differential, final_counts
from edgeleuk.results import Check, Counted
from edgeleuk.results.kinds import Kind
from edgeleuk.results.structs import (
    BlastShare,
    DifferentialCount,
    FrameCounts,
    Latency,
    Printed,
    Sightings,
)
from edgeleuk.version import RESEARCH_USE, __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeleuk.session.following import EventRow

SCHEMA_VERSION = 1
STATUS, HEARTBEAT, SUMMARY, EVENTS, QUALITY = "status", "heartbeat", "summary", "events", "quality"
ONLINE, OFFLINE = "online", "offline"
# What a person wrote may name a patient: that something was written is told, not what.
WITHHELD = frozenset({"note", "sample", "operator"})
# A longer text is cut.
MOST_TEXT = 1000
Phase = Literal["running", "ended"]


class SummaryMessage(Printed, frozen=True, kw_only=True):
    """``PREFIX/summary``, retained: what a session has come to, whole each time.

    Attributes
    ----------
    key : str
        Of a finished part of a session its own; of a run that goes on it tells the number of its frames.
    session : str
        What tells this session from every other.
    at : float
        Seconds since the Unix epoch.
    phase : str
        ``running`` or ``ended``; `ended` then says why.
    cells : Sightings
        Each cell once.
    blast_share, differential
        Shares with their denominators and 95 % intervals, or the reason why none is told.
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    session: str
    at: float
    phase: Phase
    ended: str | None
    simulated: bool
    bundle: str | None
    bundle_sha256: str | None
    edgeleuk: str = __version__
    started_at: float
    duration_s: float
    fps: float
    frames: FrameCounts
    rejected_share: float | None
    cells: Sightings
    blast_share: BlastShare
    differential: DifferentialCount
    latency_ms: Latency
    px_per_um: float | None
    events: int
    research_use: str = RESEARCH_USE


class EventMessage(Printed, frozen=True, kw_only=True):
    """``PREFIX/events``: a line of a session's log.

    Attributes
    ----------
    key, session : str
    number : int
        In the session's log, from 1 on without a gap: what is missing can be seen.
    at : float
        Seconds since the Unix epoch.
    kind : str
    text : str or None
        None of notes, samples and operators: what people write stays in the session.
    simulated : bool
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    session: str
    number: int
    at: float
    kind: str
    text: str | None
    simulated: bool


class QualityMessage(Printed, frozen=True, kw_only=True):
    """``PREFIX/quality``: the frames of one minute; every frame of a session stands in exactly one.

    Attributes
    ----------
    key, session : str
    first_frame, last_frame : int
        Numbers in the session, both included.
    from_at, until_at : float
        When those were taken, in seconds since the Unix epoch.
    processed, rejected : int
        Frames.
    rejected_by_reason : dict
    rejected_share : float
    detected, new_cells, seen_before, excluded : int
        Sightings of white cells: ``detected = new_cells + seen_before + excluded``.
    latency_ms : Latency
        Percentiles of the frames that were processed; None of none.
    px_per_um : float or None
        Median scale of those that have one.
    simulated : bool
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    session: str
    first_frame: int
    last_frame: int
    from_at: float
    until_at: float
    processed: int
    rejected: int
    rejected_by_reason: dict[str, int]
    rejected_share: float
    detected: int
    new_cells: int
    seen_before: int
    excluded: int
    latency_ms: Latency
    px_per_um: float | None
    simulated: bool


class HeartbeatMessage(Printed, frozen=True, kw_only=True):
    """``PREFIX/heartbeat``, every 30 seconds while a run goes on; nothing is kept of it.

    Attributes
    ----------
    at : float
        Seconds since the Unix epoch.
    session : str or None
        None before its first record.
    uptime_s : float
        Since this run began.
    frames : int
        Recorded so far, used or not.
    silent_s : float or None
        How long no frame has come; None before the first.
    waiting : int
        Messages that the broker has not acknowledged.
    disk_free_bytes : int or None
    """

    schema_version: int = SCHEMA_VERSION
    at: float
    session: str | None
    edgeleuk: str = __version__
    uptime_s: float
    frames: int
    silent_s: float | None
    waiting: int
    disk_free_bytes: int | None


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What every message of a session says of it.

    Attributes
    ----------
    session : str
    simulated : bool
    bundle, bundle_sha256 : str or None
    kinds : tuple of str
        That the bundle tells apart.
    """

    session: str
    simulated: bool
    bundle: str | None = None
    bundle_sha256: str | None = None
    kinds: tuple[str, ...] = ()


def key_of(session: str, kind: str, number: object, content: object) -> str:
    """Return a message's key: of the same content always the same, of another one another.

    A number alone would not do: what a power cut took may be followed by another record of its number.

    Examples
    --------
    >>> key_of("3f2a", "event", 17, ["lost", "the camera is gone"])
    '3f2a-event-17-c19b148f'
    """
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return f"{session}-{kind}-{number}-{digest[:8]}"


def event_message(row: EventRow, about: About) -> EventMessage:
    """Say a line of the log."""
    text = None if row.kind in WITHHELD else row.text[:MOST_TEXT]
    return EventMessage(
        key=key_of(about.session, "event", row.number, [row.at, row.kind, row.text]),
        session=about.session,
        number=row.number,
        at=row.at,
        kind=row.kind,
        text=text,
        simulated=about.simulated,
    )


def summary_message(
    facts: Mapping[str, Any], about: About, *, key: str, at: float, phase: Phase
) -> SummaryMessage:
    """Say what a session has come to.

    Parameters
    ----------
    facts : mapping
        As of `edgeleuk.results.SessionSummary.to_json`, or of an earlier version's.
    about : About
    key : str
    at : float
    phase : str
    """
    counted = counted_of_json(facts["cells"])
    frames = facts["frames"]
    looked_at = frames["processed"] + frames["rejected"]
    known = {name: facts[name] for name in ("started_at", "duration_s", "fps", "latency_ms", "events")}
    return msgspec.convert(
        {
            "key": key,
            "session": about.session,
            "at": at,
            "phase": phase,
            "ended": facts["ended"] if phase == "ended" else None,
            "simulated": about.simulated,
            "bundle": about.bundle,
            "bundle_sha256": about.bundle_sha256,
            **known,
            "px_per_um": facts.get("px_per_um"),
            "frames": frames,
            "rejected_share": frames["rejected"] / looked_at if looked_at else None,
            "cells": {**facts["cells"], **counted.to_json()},
            "blast_share": counted.share_facts(),
            "differential": differential_of(counted, about.kinds).to_json(),
        },
        SummaryMessage,
    )


def differential_of(counted: Counted, kinds: Iterable[str]) -> DifferentialCount:
    """Return the differential count of what is counted, with the kinds that could have been."""
    return differential(
        final_counts(counted),
        asked=kinds,
        no_white_share=counted.no_white_share,
        no_lymphoid_share=counted.no_share,
    )


def counted_of_json(cells: Mapping[str, Any]) -> Counted:
    """Read what `Counted.to_json` wrote.

    Examples
    --------
    >>> counted_of_json(Counted(1, 2, 3, {Check.AREA: 3}, {Kind.BAND: 4}).to_json())
    Counted(blast=1, normal=2, uncertain=3, doubts={<Check.AREA: 'area'>: 3}, kinds={<Kind.BAND: 'band'>: 4})
    """
    return Counted(
        cells["blast"],
        cells["normal"],
        cells["uncertain"],
        {Check(name): n for name, n in cells.get("uncertain_by_reason", {}).items()},
        {Kind(name): n for name, n in cells.get("other_by_kind", {}).items()},
    )
