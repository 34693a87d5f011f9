"""``edgeleuk control``: a control slide's sessions are kept, and later ones held against them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edgeleuk.control.entries import ControlEntry
from edgeleuk.control.limits import judge
from edgeleuk.control.measures import measure_session
from edgeleuk.control.plot import save_plot
from edgeleuk.control.store import change_control, read_control
from edgeleuk.control.verdicts import HASH_LETTERS, ControlList, ControlRemoval, ControlResult, verdicts_of
from edgeleuk.errors import DataRefusedError, SessionError, UsageError
from edgeleuk.io.clock import now
from edgeleuk.io.console import printable, recordable
from edgeleuk.io.uris import is_simulated_session
from edgeleuk.session.reader import read_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.control.entries import ControlGroup
    from edgeleuk.session.reader import SessionReader

DEFAULT_SLIDE = "control"
# Of fewer, medians say little.
LEAST_FIELDS, LEAST_CELLS = 5, 20
_MOST_LETTERS = 60


def add_control(
    sessions: Sequence[Path], file: Path, slide: str | None = None, plot: Path | None = None
) -> ControlResult:
    """Keep control sessions, all or none, and hold each against those before it.

    Parameters
    ----------
    sessions : sequence of Path
        Added in the order in which they were recorded.
    file : Path
    slide : str, optional
        Name of the control slide or of its lot; by default ``control``.
    plot : Path, optional
        PNG of the chart.

    Raises
    ------
    UsageError, SessionError, DataRefusedError, IntegrityError
        See `entry_of` and `change_control`; or a session is there already.
    """
    named = _slide(DEFAULT_SLIDE if slide is None else slide)
    new = sorted((entry_of(path, named) for path in sessions), key=lambda entry: entry.recorded_at)

    def with_new(before: tuple[ControlEntry, ...]) -> tuple[ControlEntry, ...]:
        for entry in new:
            _refuse_known(before, entry, file)
            before = (*before, entry)
        return before

    entries = change_control(file, with_new)
    hashes = {entry.sha256 for entry in new}
    verdicts = [verdict for verdict in verdicts_of(entries) if verdict.sha256 in hashes]
    _plot(plot, entries, new[-1].group)
    return ControlResult(file=str(file), verdicts=verdicts)


def check_control(
    session: Path | None, file: Path, slide: str | None = None, plot: Path | None = None
) -> ControlResult:
    """Hold a session against the kept ones without keeping it; without one, judge the newest kept ones.

    Parameters
    ----------
    session : Path, optional
    file : Path
    slide : str, optional
        By default the newest kept session's; without a session, every slide.
    plot : Path, optional

    Raises
    ------
    UsageError
        There are no control sessions to hold it against.
    SessionError, DataRefusedError, IntegrityError
        See `entry_of` and `read_control`.
    """
    entries = [one for one in read_control(file) if slide is None or one.slide == slide]
    if not entries:
        of_slide = "" if slide is None else f" of slide {printable(slide)}"
        raise UsageError(
            f"there are no control sessions{of_slide} in {file}", cure="add one with `edgeleuk control add`"
        )
    if session is None:
        newest = {one.group: one.sha256 for one in entries}
        verdicts = [one for one in verdicts_of(entries) if one.sha256 in newest.values()]
        _plot(plot, entries, entries[-1].group)
        return ControlResult(file=str(file), verdicts=verdicts)
    entry = entry_of(session, entries[-1].slide)
    before = [one for one in entries if one.sha256 != entry.sha256]
    held = verdicts_of([*before, entry], kept=len(before) < len(entries))[-1]
    _plot(plot, [*before, entry], entry.group)
    return ControlResult(file=str(file), verdicts=[held])


def list_control(file: Path, slide: str | None = None, plot: Path | None = None) -> ControlList:
    """Return every kept session with its verdict.

    Raises
    ------
    UsageError, IntegrityError
        See `read_control`; or a chart is asked for, and there is nothing to draw.
    """
    entries = [one for one in read_control(file) if slide is None or one.slide == slide]
    if plot is not None:
        if not entries:
            raise UsageError(f"there are no control sessions in {file} to draw")
        _plot(plot, entries, entries[-1].group)
    return ControlList(file=str(file), sessions=verdicts_of(entries))


def remove_control(name: str, file: Path) -> ControlRemoval:
    """Take a session out of the file; the others are judged anew without it.

    Parameters
    ----------
    name : str
        Of the session's file, or the beginning of its hash.
    file : Path

    Raises
    ------
    UsageError
        There is no such session, or there are several.
    IntegrityError
        See `read_control`.
    """
    removed: list[ControlEntry] = []

    def without(before: tuple[ControlEntry, ...]) -> tuple[ControlEntry, ...]:
        removed[:] = [one for one in before if _is_named(one, name)]
        if len(removed) == 1:
            return tuple(one for one in before if one is not removed[0])
        if removed:
            hashes = ", ".join(one.sha256[:HASH_LETTERS] for one in removed)
            raise UsageError(
                f"{len(removed)} control sessions are called {printable(name)}",
                cure=f"pass the beginning of one's hash: {hashes}",
            )
        raise UsageError(
            f"there is no such control session in {file}",
            got=printable(name),
            cure="see `edgeleuk control list`",
        )

    left = change_control(file, without)
    (gone,) = removed
    return ControlRemoval(file=str(file), session=gone.session, sha256=gone.sha256, left=len(left))


def entry_of(path: Path, slide: str) -> ControlEntry:
    """Measure a session that is to be kept.

    Raises
    ------
    UsageError
        There is no such session, it is not finished, or does not say its bundle.
    SessionError
        It is damaged, or its hash chain is broken.
    DataRefusedError
        It has too few fields or cells.
    """
    with read_session(path) as reader:
        chain = reader.verify()
        if chain.broken is not None:
            raise SessionError(
                f"{path} is not as it was recorded", got=chain.broken, cure="record the slide again"
            )
        if reader.summary is None:
            raise UsageError(
                f"{path} was cut off, or is still being recorded",
                cure="finish it with `edgeleuk run --resume`",
            )
        found = measure_session(reader)
        if found.fields < LEAST_FIELDS or found.cells < LEAST_CELLS or found.first_at is None:
            raise DataRefusedError(
                f"{path} shows too little for a control session",
                got=f"{found.fields} fields with {found.cells} cells",
                allowed=f"{LEAST_FIELDS} fields with {LEAST_CELLS} cells, or more",
                cure="record more of the control slide",
            )
        bundle, bundle_sha256, scale = _of_settings(reader)
        simulated = is_simulated_session(reader.settings, reader.summary)
    return ControlEntry(
        session=recordable(path.name),
        # A session that is reviewed later is still the same one.
        sha256=chain.run_head,
        slide=slide,
        recorded_at=_time(found.first_at),
        added_at=_time(now()),
        bundle=bundle,
        bundle_sha256=bundle_sha256,
        px_per_um=scale,
        simulated=simulated,
        fields=found.fields,
        cells=found.cells,
        measures=found.measures,
        uncertain_by_reason={check.value: n for check, n in found.counted.doubts.items()},
    )


def _of_settings(reader: SessionReader) -> tuple[str, str, float | None]:
    """Return the bundle's name and hash, and the scale that was given."""
    name, sha256 = reader.settings.get("bundle"), reader.settings.get("bundle_sha256")
    if not isinstance(name, str) or not isinstance(sha256, str):
        raise UsageError(
            f"{reader.path} does not say with which bundle it was recorded",
            cure="record it with `edgeleuk run`",
        )
    scale = reader.settings.get("px_per_um")
    return name, sha256, float(scale) if isinstance(scale, int | float) else None


def _refuse_known(before: Sequence[ControlEntry], entry: ControlEntry, file: Path) -> None:
    for one in before:
        # A session that was resumed since has another last link, and the same first field.
        if one.sha256 == entry.sha256 or one.recorded_at == entry.recorded_at:
            raise UsageError(
                f"{printable(entry.session)} is in {file} already, as {printable(one.session)} of"
                f" {one.recorded_at[:10]}",
                cure="a session counts once; `edgeleuk control remove` takes one out",
            )


def _is_named(entry: ControlEntry, name: str) -> bool:
    short = len(name) >= 6 and entry.sha256.startswith(name.lower())
    return entry.session == recordable(name) or short


def _slide(name: str) -> str:
    if name.strip() and name == printable(name) and len(name) <= _MOST_LETTERS:
        return name.strip()
    raise UsageError(
        "the slide's name cannot be used",
        got=repr(printable(name)),
        allowed=f"1 to {_MOST_LETTERS} letters in one line",
        cure="pass another --slide",
    )


def _plot(path: Path | None, entries: Sequence[ControlEntry], group: ControlGroup) -> None:
    if path is not None:
        save_plot(path, judge(one for one in entries if one.group == group))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
