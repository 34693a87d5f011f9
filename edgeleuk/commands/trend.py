"""``edgeleuk trend``: the quality of many sessions, and what drifts since when."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from edgeleuk.commands.report import require_outputs, write_outputs
from edgeleuk.control.order import in_order
from edgeleuk.control.session_quality import session_quality
from edgeleuk.control.store import read_control
from edgeleuk.control.trends import judge_trends
from edgeleuk.errors import DataRefusedError, EdgeleukError, UsageError
from edgeleuk.io.console import progress_bar, recordable
from edgeleuk.io.walking import files_under
from edgeleuk.reports.trend_page import trend_page
from edgeleuk.results.trends import SkippedSession
from edgeleuk.session.reader import read_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.control.session_quality import SessionQuality
    from edgeleuk.results.trends import TrendResult, TrendSession

SUFFIX = ".db"
_SPAN = re.compile(r"(\d{1,4})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class TrendOptions(NamedTuple):
    """What is asked for, beside the sessions.

    Attributes
    ----------
    last : str or None
        A span such as ``30d``: only sessions of that time before the newest one are shown.
    mended : sequence of str
        Dates at which something was changed on purpose.
    control : Path or None
        The laboratory's file of control sessions.
    html : Path or None
    """

    last: str | None = None
    mended: Sequence[str] = ()
    control: Path | None = None
    html: Path | None = None


def trend(paths: Sequence[Path], options: TrendOptions | None = None) -> TrendResult:
    """Measure sessions, follow their measures, and write the page where one is asked for.

    Parameters
    ----------
    paths : sequence of Path
        Sessions, and folders of them.
    options : TrendOptions, optional

    Raises
    ------
    UsageError
        There is no such file or folder, a span or a date is none, or the page cannot be written.
    DataRefusedError
        There are no sessions, or none can be read.
    IntegrityError
        The control sessions are damaged; see `read_control`.
    """
    asked = options or TrendOptions()
    span = None if asked.last is None else _span(asked.last)
    mended = [_date(text) for text in asked.mended]
    found = find_sessions(paths)
    require_outputs(found, asked.html, None)
    slides = {}
    if asked.control is not None:
        slides = {one.sha256: one.slide for one in read_control(asked.control)}
    measured, skipped, notes = _measured(found, frozenset(slides))
    if not measured:
        raise DataRefusedError(
            f"none of the {len(found)} sessions could be read",
            got=f"{skipped[0].file}: {skipped[0].error}",
            cure="pass files that `edgeleuk run` recorded",
        )
    ordered, note = in_order(measured)
    result = judge_trends(
        ordered,
        slides=slides,
        mended=mended,
        skipped=skipped,
        notes=[*notes, *([note] if note else [])],
    )
    shown = result if span is None else _newest(result, span)
    write_outputs(trend_page(shown), asked.html, None)
    return shown


def find_sessions(paths: Sequence[Path]) -> list[Path]:
    """List sessions, those of folders too, each once.

    Raises
    ------
    UsageError
        There is no such file or folder.
    DataRefusedError
        There are no sessions.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise UsageError("there is no such session or folder", got=path)
        inside = sorted(files_under(path, (SUFFIX,))) if path.is_dir() else [path]
        for each in inside:
            found.setdefault(each.resolve(), each)
    if found:
        return list(found.values())
    raise DataRefusedError(
        f"there are no sessions (*{SUFFIX}) in {', '.join(map(str, paths))}",
        cure="pass the folder that `edgeleuk run --session` records into",
    )


def _measured(
    paths: Sequence[Path], control: frozenset[str]
) -> tuple[list[SessionQuality], list[SkippedSession], list[str]]:
    """Measure each session that can be read; name the others, and those that are there twice."""
    measured: list[SessionQuality] = []
    skipped: list[SkippedSession] = []
    notes: list[str] = []
    ends: dict[str, Path] = {}
    with progress_bar("measuring sessions") as report:
        for number, path in enumerate(paths, start=1):
            try:
                with read_session(path) as reader:
                    end = reader.chain_end()
                    if end is not None and end in ends and len(reader.files) > 1:
                        # A further file of the same series.
                        continue
                    if end is not None and end in ends:
                        notes.append(
                            f"{recordable(path.name)} is the same session as {recordable(ends[end].name)},"
                            " and counts once"
                        )
                        continue
                    measured.append(session_quality(reader, control))
                    if end is not None:
                        ends[end] = path
            except EdgeleukError as error:
                skipped.append(SkippedSession(file=recordable(str(path)), error=str(error)))
            report(number, len(paths))
    return measured, skipped, notes


def _newest(result: TrendResult, span: timedelta) -> TrendResult:
    """Keep the sessions of the last time alone; they stay judged by all."""
    times = [one.recorded_at for one in result.sessions if one.recorded_at is not None]
    if not times:
        raise DataRefusedError("no session was recorded with a clock that was set", cure="leave --last out")
    first = (datetime.fromisoformat(max(times)) - span).isoformat(timespec="seconds")
    begin = next(
        place
        for place, one in enumerate(result.sessions)
        if one.recorded_at is not None and one.recorded_at >= first
    )
    kept = [one for one in result.sessions[begin:] if one.recorded_at is None or one.recorded_at >= first]
    return _with_sessions(result, kept)


def _with_sessions(result: TrendResult, kept: Sequence[TrendSession]) -> TrendResult:
    numbers = {one.setup for one in kept}
    names = {one.session for one in kept}
    setups = []
    for setup in result.setups:
        if setup.number in numbers:
            measures = [
                replace(
                    one,
                    drifts=[drift for drift in one.drifts if drift.back is None or drift.back in names],
                )
                for one in setup.measures
            ]
            setups.append(replace(setup, measures=measures))
    left = len(result.sessions) - len(kept)
    said = f"{left} earlier sessions are not shown; the others are held against them, too"
    return replace(
        result, setups=setups, sessions=list(kept), notes=[*result.notes, *([said] if left else [])]
    )


def _span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None or int(found[1]) == 0:
        raise UsageError(
            "--last is no span of time",
            got=repr(text),
            allowed="hours, days or weeks",
            cure="write --last 30d",
        )
    return int(found[1]) * _UNITS[found[2]]


def _date(text: str) -> float:
    """Return the time that a date means: ISO 8601, UTC where no zone is named."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "--mended is no date", got=repr(text), allowed="ISO 8601", cure="write --mended 2026-03-14"
        ) from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)).timestamp()
