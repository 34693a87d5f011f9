"""What a session holds already, for a run that goes on with it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from edgeleuk.frames import Box
from edgeleuk.results import Counted, Decision
from edgeleuk.session.pictures import decode_texture
from edgeleuk.session.schema import picture_of_texture, said, tally_rows
from edgeleuk.session.series import goes_on

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from edgeleuk.vision.tracking import EarlierField


@dataclass(frozen=True, slots=True)
class ResumeState:
    """What was recorded before; by default nothing.

    Attributes
    ----------
    first_sequence : int
        Number of the first frame of which something is known: those before were in files that a rule removed.
    next_sequence : int
        Number of the first frame that is not recorded.
    processed, detected, seen_before, excluded, events : int
        As in `edgeleuk.results.SessionSummary`.
    rejected_by_reason : Counter of str
    counted : Counted
    called : Counter of (str, Decision)
        Simulated cells by their real label and what they were called.
    started_at : float or None
        Seconds since the Unix epoch.
    duration_s : float
        From there to the last record, without the times between two runs.
    latencies_ms : tuple of float
    """

    first_sequence: int = 0
    next_sequence: int = 0
    processed: int = 0
    detected: int = 0
    seen_before: int = 0
    excluded: int = 0
    events: int = 0
    rejected_by_reason: Counter[str] = field(default_factory=Counter)
    counted: Counted = field(default_factory=Counted)
    called: Counter[tuple[str, Decision]] = field(default_factory=Counter)
    started_at: float | None = None
    duration_s: float = 0.0
    latencies_ms: tuple[float, ...] = ()


def read_resume_state(connection: sqlite3.Connection) -> ResumeState:
    """Add up what a session's records tell."""
    first, last, processed, detected, seen_before, excluded, first_at, last_at = connection.execute(
        "SELECT MIN(sequence), MAX(sequence), COUNT(*) FILTER (WHERE rejected IS NULL), SUM(detected),"
        " SUM(seen_before), SUM(excluded), MIN(captured_at), MAX(captured_at) FROM frames"
    ).fetchone()
    (events,) = connection.execute("SELECT COUNT(*) FROM events").fetchone()
    if last is None:
        return ResumeState(events=events)
    called: Counter[tuple[str, Decision]] = Counter()
    for truth, decision, count in connection.execute(
        f"SELECT truth, decision, COUNT(*) FROM ({said(connection)}) WHERE truth IS NOT NULL GROUP BY 1, 2"  # noqa: S608 - a query of ours
    ):
        called[truth, Decision(decision)] += count
    rejected = "SELECT rejected, COUNT(*) FROM frames WHERE rejected IS NOT NULL GROUP BY 1"
    latencies = connection.execute("SELECT latency_ms FROM frames WHERE latency_ms IS NOT NULL")
    return ResumeState(
        first_sequence=first if goes_on(connection) else 0,
        next_sequence=last + 1,
        processed=processed,
        detected=detected,
        seen_before=seen_before,
        excluded=excluded,
        events=events,
        rejected_by_reason=Counter(dict(connection.execute(rejected).fetchall())),
        counted=tally_rows(connection).counted,
        called=called,
        started_at=first_at,
        duration_s=max(last_at - first_at - _pauses_s(connection), 0.0),
        latencies_ms=tuple(row[0] for row in latencies),
    )


def last_record_at(connection: sqlite3.Connection) -> float | None:
    """Return when the latest record was made, None where there is none."""
    (at,) = connection.execute(f"SELECT MAX(at) FROM ({_TIMES})").fetchone()  # noqa: S608 - a query of ours
    return None if at is None else float(at)


_TIMES = "SELECT captured_at AS at FROM frames UNION ALL SELECT at FROM events"


def _pauses_s(connection: sqlite3.Connection) -> float:
    """Add up the times between the runs of a session: from the last record of one to the next."""
    (pauses_s,) = connection.execute(
        "SELECT COALESCE(SUM(resumed.at - before.at), 0) FROM events AS resumed JOIN"  # noqa: S608 - as above
        f" (SELECT id, (SELECT MAX(at) FROM ({_TIMES}) WHERE at < events.at) AS at FROM events) AS before"
        " ON before.id = resumed.id WHERE resumed.kind = 'resumed'"
    ).fetchone()
    return float(pauses_s)


def textures_kept(connection: sqlite3.Connection) -> int:
    """Count the fields whose texture is kept."""
    (count,) = connection.execute("SELECT COUNT(*) FROM textures").fetchone()
    return int(count)


def earlier_fields(connection: sqlite3.Connection, later: int = 0) -> Iterator[EarlierField]:
    """Yield the fields that a tracker is to remember, in their order; see `FieldTracker.recall`.

    Textures are left out that it would forget again: of older fields than the newest `MOST_FIELDS`, of which
    `later` are in later files.
    """
    from edgeleuk.vision.tracking import MOST_FIELDS, EarlierField, Move, Placed  # noqa: PLC0415 - as below

    frames = connection.execute(
        "SELECT sequence, width, height, area, left_px, top_px FROM frames"
        " WHERE area IS NOT NULL ORDER BY sequence"
    )
    moves_of = _in_order(
        connection, "SELECT frame, area, into_area, x_px, y_px FROM moves ORDER BY frame, id"
    )
    cells_of = _in_order(connection, "SELECT frame, track, x, y, w, h FROM cells ORDER BY frame, track")
    textures_of = _in_order(
        connection,
        f"SELECT frame, {picture_of_texture(connection)} FROM textures WHERE frame > COALESCE("  # noqa: S608 - a name of ours
        f" (SELECT frame FROM textures ORDER BY frame DESC LIMIT 1 OFFSET {max(0, MOST_FIELDS - later)}), -1)"
        " ORDER BY frame",
    )
    for sequence, width, height, area, left, top in frames:
        moves = tuple(Move(*move) for move in moves_of(sequence))
        cells = [(track, Box(*box)) for track, *box in cells_of(sequence)]
        texture = None
        for (picture,) in textures_of(sequence):
            texture = decode_texture(picture, (height, width))
        yield EarlierField(Placed(area, left, top, moves, texture), width, height, cells)


def _in_order(connection: sqlite3.Connection, query: str) -> Callable[[int], list[tuple[Any, ...]]]:
    """Return what gives the rows of a frame, whose number comes first and is left out.

    It is to be asked for frames in their order: one query then serves all of them.
    """
    frames = groupby(connection.execute(query), key=itemgetter(0))
    frame, rows = next(frames, _NONE_LEFT)

    def rows_of(sequence: int) -> list[tuple[Any, ...]]:
        nonlocal frame, rows
        while frame < sequence:
            frame, rows = next(frames, _NONE_LEFT)
        return [row[1:] for row in rows] if frame == sequence else []

    return rows_of


_NONE_LEFT: tuple[float, Iterator[tuple[Any, ...]]] = math.inf, iter(())
