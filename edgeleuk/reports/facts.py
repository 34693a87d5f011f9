"""What a session's page is made of, as it is read from the session."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeleuk.counting.intervals import known_error_of
from edgeleuk.results import Decision, check_of
from edgeleuk.session.report import SessionReport, report_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeleuk.session.reader import SessionReader

# Kinds of events that say whose session it is: the last of each holds.
SAMPLE, OPERATOR, NOTE = "sample", "operator", "note"
UNCERTAIN = Decision.UNCERTAIN.value


class PageCell(NamedTuple):
    """A cell, without its picture.

    Attributes
    ----------
    track : int
    at : float
        When it was first seen, in seconds since the Unix epoch.
    name : str
        What it is called: a decision, or the kind of a cell of another kind.
    said : str
        The same with its probability.
    reason : str or None
        Why it is uncertain.
    doubt : float
        The larger, the less certain is its name; infinite where nothing was judged.
    focus : float or None
    """

    track: int
    at: float
    name: str
    said: str
    reason: str | None
    doubt: float
    focus: float | None


class FrameTimes(NamedTuple):
    """What the frames tell over time.

    Attributes
    ----------
    latencies : list of (float, float)
        When each judged frame was taken, and its milliseconds.
    rejected : list of float
        When each rejected one was.
    """

    latencies: list[tuple[float, float]]
    rejected: list[float]


class SessionFacts(NamedTuple):
    """All that a page says of a session, but its pictures.

    Attributes
    ----------
    report : SessionReport
    settings : mapping
        What the run was started with.
    summary : mapping
        Empty of a run that was cut off.
    sample, operator : str or None
        None where nobody said it.
    notes : list of str
    cells : list of PageCell
    frames : FrameTimes
    """

    report: SessionReport
    settings: Mapping[str, object]
    summary: Mapping[str, Any]
    sample: str | None
    operator: str | None
    notes: list[str]
    cells: list[PageCell]
    frames: FrameTimes


def session_facts(reader: SessionReader) -> SessionFacts:
    """Read what a page says of a session.

    Raises
    ------
    SessionError
        It is damaged.
    """
    said = last_events(reader)
    error = known_error_of(reader.settings.get("known_error"))
    threshold = 0.5 if isinstance(error, str) else error.threshold
    return SessionFacts(
        report=report_facts(reader),
        settings=reader.settings,
        summary=reader.summary or {},
        sample=said.get(SAMPLE),
        operator=said.get(OPERATOR),
        notes=[str(event["text"]) for event in reader.rows("events") if event["kind"] == NOTE],
        cells=[_cell(row, threshold) for row in reader.rows("cells")],
        frames=_frames(reader.rows("frames")),
    )


def last_events(reader: SessionReader) -> dict[str, str]:
    """Return the last text of each kind of event that says something."""
    return {
        str(event["kind"]): text for event in reader.rows("events") if (text := str(event["text"])).strip()
    }


def _cell(row: Mapping[str, object], threshold: float) -> PageCell:
    decision, probability = str(row["decision"]), row["probability"]
    kind, of_kind = row["kind"], row["kind_probability"]
    known = isinstance(probability, float)
    p = f"P(blast) {probability:.3f}" if known else "P(blast) unknown"
    if decision == Decision.OTHER.value:
        name = str(kind)
        doubt = 1 - of_kind if isinstance(of_kind, float) else math.inf
        said = f"{name} {of_kind:.3f}" if isinstance(of_kind, float) else name
    else:
        name = decision
        doubt = -abs(probability - threshold) if isinstance(probability, float) else math.inf
        said = p if kind is None else f"{kind}, {p}"
    focus = row.get("focus")
    return PageCell(
        track=int(str(row["track"])),
        at=float(str(row["captured_at"])),
        name=name,
        said=said,
        reason=None if row["reason"] is None else str(row["reason"]),
        doubt=doubt,
        focus=focus if isinstance(focus, float) else None,
    )


def _frames(rows: Iterable[Mapping[str, object]]) -> FrameTimes:
    found = FrameTimes([], [])
    for row in rows:
        at, latency = row["captured_at"], row["latency_ms"]
        if not isinstance(at, float):
            continue
        if row["rejected"] is not None:
            found.rejected.append(at)
        elif isinstance(latency, float):
            found.latencies.append((at, latency))
    return found


def by_name(cells: Iterable[PageCell]) -> dict[str, list[PageCell]]:
    """Part cells by what they are called, each part with the most certain first.

    The uncertain ones come last, and begin with those of which the least is known.
    """
    found: dict[str, list[PageCell]] = {}
    for cell in sorted(cells, key=lambda one: (one.doubt, one.track)):
        found.setdefault(cell.name, []).append(cell)
    unknown = found.pop(UNCERTAIN, [])
    parts = dict(sorted(found.items(), key=lambda part: (-len(part[1]), part[0])))
    if unknown:
        parts[UNCERTAIN] = sorted(unknown, key=lambda one: (-one.doubt, one.track))
    return parts


def by_check(cells: Iterable[PageCell]) -> dict[str, list[PageCell]]:
    """Part uncertain cells by the check that made them so."""
    found: dict[str, list[PageCell]] = {}
    for cell in cells:
        found.setdefault(check_of(cell.reason).value, []).append(cell)
    return dict(sorted(found.items(), key=lambda part: -len(part[1])))
