"""``edgeleuk report SESSION``: what a session came to, from its rows, also where it was cut off."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.counting.confusion import known_kinds_of
from edgeleuk.counting.intervals import (
    ShareOf,
    counting_facts,
    counting_text,
    known_error_of,
    share_text,
    sightings_text,
    way_on_text,
)
from edgeleuk.errors import SessionError
from edgeleuk.io.console import printable
from edgeleuk.io.uris import is_simulated_session, public_uri
from edgeleuk.results import cells_text
from edgeleuk.results.structs import (
    BlastShare,
    CorrectedShare,
    CorrectedWhiteCells,
    CountPrecision,
    Differential,
    DifferentialCount,
    FrameCounts,
    Printed,
    Sightings,
)
from edgeleuk.session.kept_pictures import pictures_text
from edgeleuk.session.reader import read_session
from edgeleuk.session.removals import RemovedByRule, removed_by_rule, removed_text
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from edgeleuk.session.reader import SessionReader


# Events that tell of time in which no frame came.
GAPS = ("gap", "lost", "back")
# Events that say what a run's light, focus and control slide came to; see `edgeleuk.control`.
CHECKS = ("optics", "control")
# Of each, how many the text shows; the JSON has all.
MOST_SHOWN = 10
# What a session may have recorded of the share to know.
_SHARE_OF: dict[str, ShareOf] = {"white": "white", "lymphoid": "lymphoid"}
CUT_OFF = "cut off, or still being recorded"


class ChainState(Printed, frozen=True, kw_only=True):
    """How a session's hash chain stands; see `edgeleuk.session.verify.SessionVerification`."""

    links: int
    head: str
    broken: str | None


class EventCounts(Printed, frozen=True, kw_only=True):
    """Lines in a session's log."""

    n: int
    by_kind: dict[str, int]


class Gap(Printed, frozen=True, kw_only=True):
    """An event, such as one that tells of time in which no frame came."""

    at: str | None
    kind: str
    text: str


class SessionReport(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk report --json`` prints.

    Attributes
    ----------
    camera, edgeleuk, bundle, bundle_sha256 : str or None
        As the session recorded them.
    first_frame, last_frame : str or None
        ISO 8601, UTC.
    chain : ChainState or None
        None of a session of the first schema, which has none.
    gaps, checks : sequence of Gap
        Times without frames; and what the light, the focus and the control said.
    files : int
        In which the session is.
    removed : sequence of RemovedByRule
        What rules removed of it.
    pictures : str or None
        Which pictures of cells were left out; None where all are kept.
    """

    schema_version: int = 1
    session: str
    camera: str | None
    simulated: bool
    edgeleuk: str | None
    bundle: str | None
    bundle_sha256: str | None
    finished: bool
    ended: str
    first_frame: str | None
    last_frame: str | None
    chain: ChainState | None
    frames: FrameCounts
    cells: Sightings
    blast_share: BlastShare
    differential: Differential
    corrected_blast_share: CorrectedShare
    precision: CountPrecision
    white_cells: DifferentialCount | None = None
    corrected_white_cells: CorrectedWhiteCells | None = None
    events: EventCounts
    gaps: list[Gap]
    checks: tuple[Gap, ...] = ()
    files: int = 1
    removed: tuple[RemovedByRule, ...] = ()
    pictures: str | None = None
    research_use: str = RESEARCH_USE


def session_report(path: Path) -> SessionReport:
    """Sum up a session.

    Returns
    -------
    SessionReport

    Raises
    ------
    UsageError, SessionError
        See `read_session`.
    """
    with read_session(path) as reader:
        return report_facts(reader)


def report_facts(reader: SessionReader) -> SessionReport:
    """Sum up a session that is open."""
    settings, summary, counts = reader.settings, reader.summary or {}, reader.counts()
    tallies = reader.tallies()
    rejected: Counter[str] = Counter()
    first: float | None = None
    last: float | None = None
    for frame in reader.rows("frames"):
        if frame["rejected"] is not None:
            rejected[str(frame["rejected"])] += 1
        # The clock of an earlier version's session may have been set back in it.
        at = frame["captured_at"]
        if isinstance(at, float):
            first, last = min(at, first or at), max(at, last or at)
    events = list(reader.rows("events"))
    # What earlier versions recorded may show a password.
    camera = settings.get("camera")
    camera = public_uri(camera) if isinstance(camera, str) else None
    error = known_error_of(settings.get("known_error"))
    until, until_of = settings.get("until_points"), settings.get("until_of")
    of_summary: Any = summary.get("frames", {})
    facts = {
        "session": str(reader.path),
        "camera": camera,
        "simulated": is_simulated_session(settings, summary),
        "edgeleuk": _text(settings.get("edgeleuk")),
        "bundle": _text(settings.get("bundle")),
        "bundle_sha256": _text(settings.get("bundle_sha256")),
        "finished": reader.summary is not None,
        "ended": str(summary.get("ended", CUT_OFF)),
        "first_frame": _time(first),
        "last_frame": _time(last),
        "chain": _chain(reader),
        "frames": {
            "captured": _number(of_summary.get("captured")),
            "processed": counts.processed,
            "dropped": _number(of_summary.get("dropped")),
            "rejected": counts.rejected,
            "rejected_by_reason": dict(rejected.most_common()),
        },
        "cells": {
            "detected": tallies.detected,
            "unique": counts.cells,
            **tallies.counted.to_json(),
            "seen_before": tallies.seen_before,
            "excluded": tallies.excluded,
        },
        "blast_share": tallies.counted.share_facts(),
        **counting_facts(
            tallies.counted,
            None if isinstance(error, str) else reader.called(error.threshold),
            error,
            until_points=until if isinstance(until, float) else None,
            until_of=_SHARE_OF.get(until_of) if isinstance(until_of, str) else None,
            kinds=known_kinds_of(settings.get("known_kinds")),
        ),
        "events": {"n": len(events), "by_kind": dict(Counter(str(e["kind"]) for e in events).most_common())},
        "gaps": _events(events, GAPS),
        "checks": _events(events, CHECKS),
        "files": len(reader.files),
        "removed": [removed.to_json() for removed in removed_by_rule(reader)],
        "pictures": pictures_text(settings),
    }
    return msgspec.convert(facts, SessionReport)


def report_text(report: SessionReport) -> str:
    """Say it in lines."""
    facts = report.to_json()
    frames, cells, share, chain = facts["frames"], facts["cells"], facts["blast_share"], facts["chain"]
    dropped = "" if frames["dropped"] is None else f", {frames['dropped']} dropped"
    lines = [
        f"session   {facts['session']}" + ("   SIMULATED" if facts["simulated"] else ""),
        f"camera    {facts['camera']}, ended: {facts['ended']}",
        f"bundle    {facts['bundle']}, sha256 {str(facts['bundle_sha256'])[:16]},"
        f" edgeleuk {facts['edgeleuk']}",
        f"frames    {frames['processed']} processed, {frames['rejected']} rejected{dropped};"
        f" {facts['first_frame']} to {facts['last_frame']}",
        _listed("rejected", frames["rejected_by_reason"]),
        f"cells     {cells['unique']} counted once each: {cells_text(cells)}",
        f"sightings {sightings_text(cells)}",
        *way_on_text(cells["uncertain_by_reason"]),
    ]
    lines += share_text(share)
    lines += counting_text(facts)
    if facts["pictures"] is not None:
        lines.append(f"pictures  {facts['pictures']}")
    lines.append(_listed("events", facts["events"]["by_kind"]))
    lines += _shown("gap", [f"{gap['at']} {gap['kind']}: {gap['text']}" for gap in facts["gaps"]])
    for kind in CHECKS:
        said = [check for check in facts["checks"] if check["kind"] == kind]
        lines += _shown(kind, [f"{check['at']} {check['text']}" for check in said])
    if report.files > 1:
        lines.append(f"files     {report.files}, read as one")
    lines += removed_text(report.removed)
    if chain is None:
        lines.append("chain     none: an earlier version recorded this")
    elif chain["broken"] is not None:
        lines.append(f"chain     BROKEN after {chain['links']} links: {chain['broken']}")
    else:
        lines.append(f"chain     {chain['links']} links, all sound; the last is {chain['head']}")
    # One line each, whatever stands in a name.
    return "\n".join(map(printable, [*filter(None, lines), RESEARCH_USE]))


def _chain(reader: SessionReader) -> dict[str, object] | None:
    try:
        found = reader.verify()
    except SessionError:
        # One of the first schema has none.
        return None
    return {"links": found.links, "head": found.head, "broken": found.broken}


def _events(events: Iterable[Mapping[str, object]], kinds: Sequence[str]) -> list[dict[str, str | None]]:
    return [
        {"at": _time(event["at"]), "kind": str(event["kind"]), "text": str(event["text"])}
        for event in events
        if event["kind"] in kinds
    ]


def _shown(title: str, texts: Sequence[str]) -> list[str]:
    """Show the first of them, a line each."""
    lines = [f"{title:<9} {text}" for text in texts[:MOST_SHOWN]]
    if (rest := len(texts) - MOST_SHOWN) > 0:
        lines.append(f"{title:<9} and {rest} more")
    return lines


def _listed(title: str, counts: Mapping[str, int]) -> str:
    """List counts by name; nothing where there are none."""
    if not counts:
        return ""
    return f"{title:<9} " + ", ".join(f"{count} {name}" for name, count in counts.items())


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _time(seconds: object) -> str | None:
    if not isinstance(seconds, float):
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
