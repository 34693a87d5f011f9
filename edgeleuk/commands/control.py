"""``edgeleuk control``: a control slide's sessions are kept, and later ones held against them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from edgeleuk.control.entries import ControlEntry, ControlGroup, Measured
from edgeleuk.control.limits import LEAST_SESSIONS, Finding, by_group, judge
from edgeleuk.control.measures import ALL_MEASURES, MEASURES, measure_session
from edgeleuk.control.plot import save_plot
from edgeleuk.control.store import change_control, read_control
from edgeleuk.control.watch import findings_text, too_few_text
from edgeleuk.errors import DataRefusedError, SessionError, UsageError
from edgeleuk.io.clock import now
from edgeleuk.io.console import printable, recordable
from edgeleuk.io.uris import is_simulated_session
from edgeleuk.results.structs import Printed
from edgeleuk.session.reader import read_session
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.control.limits import Judgement, Limits
    from edgeleuk.session.reader import SessionReader

DEFAULT_SLIDE = "control"
# Of fewer, medians say little.
LEAST_FIELDS, LEAST_CELLS = 5, 20
_MOST_LETTERS = 60
# So much of a hash tells sessions of one name apart.
_HASH_LETTERS = 12

State = Literal["no limits yet", "in control", "warning", "refused"]


class ControlLimits(Printed, frozen=True, kw_only=True):
    """What a measure is held against; see `edgeleuk.control.limits.Limits`."""

    mean: float
    deviation: float
    sessions: int


class HeldMeasure(Printed, frozen=True, kw_only=True):
    """A measure of a control session, and how it stands to its limits.

    Attributes
    ----------
    value, spread : float
    n : int
        See `edgeleuk.control.entries.Measured`.
    limits : ControlLimits or None
        None without limits.
    distance : float or None
        From the mean, in standard deviations.
    rules : list of str
        Westgard's rules that the session breaks.
    """

    value: float
    spread: float
    n: int
    limits: ControlLimits | None
    distance: float | None
    rules: list[str]


class ControlVerdict(Printed, frozen=True, kw_only=True):
    """One control session, held against those before it.

    Attributes
    ----------
    session, sha256, slide, recorded_at, bundle, bundle_sha256, px_per_um, simulated, fields, cells
        See `edgeleuk.control.entries.ControlEntry`.
    kept : bool
        Whether it stands in the file.
    number : int
        Its place among the sessions of its slide, bundle and scale, from 1.
    needed : int
        So many of them make limits.
    state : str
    measures : dict
    missing : list of str
        Measures that have limits and that the session lacks.
    """

    session: str
    sha256: str
    slide: str
    recorded_at: str
    bundle: str
    bundle_sha256: str
    px_per_um: float | None
    simulated: bool
    fields: int
    cells: int
    kept: bool
    number: int
    needed: int
    state: State
    measures: dict[str, HeldMeasure]
    missing: list[str]


class ControlResult(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk control add --json`` and ``control check --json`` print."""

    schema_version: int = 1
    file: str
    verdicts: list[ControlVerdict]
    research_use: str = RESEARCH_USE

    @property
    def refused(self) -> bool:
        """Whether one of the sessions is."""
        return any(verdict.state == "refused" for verdict in self.verdicts)


class ControlList(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk control list --json`` prints: every session of the file, in order."""

    schema_version: int = 1
    file: str
    sessions: list[ControlVerdict]
    research_use: str = RESEARCH_USE


class ControlRemoval(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk control remove --json`` prints.

    Attributes
    ----------
    file, session, sha256 : str
        What was removed, and from where.
    left : int
        How many sessions the file has now.
    """

    schema_version: int = 1
    file: str
    session: str
    sha256: str
    left: int


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
    verdicts = [verdict for verdict in _verdicts(entries) if verdict.sha256 in hashes]
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
        verdicts = [one for one in _verdicts(entries) if one.sha256 in newest.values()]
        _plot(plot, entries, entries[-1].group)
        return ControlResult(file=str(file), verdicts=verdicts)
    entry = entry_of(session, entries[-1].slide)
    before = [one for one in entries if one.sha256 != entry.sha256]
    held = _verdicts([*before, entry], kept=len(before) < len(entries))[-1]
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
    return ControlList(file=str(file), sessions=_verdicts(entries))


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
            hashes = ", ".join(one.sha256[:_HASH_LETTERS] for one in removed)
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
        sha256=chain.head,
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


def _verdicts(entries: Sequence[ControlEntry], *, kept: bool = True) -> list[ControlVerdict]:
    """Judge all sessions, each in its group, and return them in the order of the file."""
    judged = {
        one.entry.sha256: _verdict(one, number, kept=kept)
        for group in by_group(entries).values()
        for number, one in enumerate(judge(group), start=1)
    }
    return [judged[entry.sha256] for entry in entries]


def _verdict(judged: Judgement, number: int, *, kept: bool) -> ControlVerdict:
    entry = judged.entry
    return ControlVerdict(
        session=entry.session,
        sha256=entry.sha256,
        slide=entry.slide,
        recorded_at=entry.recorded_at,
        bundle=entry.bundle,
        bundle_sha256=entry.bundle_sha256,
        px_per_um=entry.px_per_um,
        simulated=entry.simulated,
        fields=entry.fields,
        cells=entry.cells,
        kept=kept,
        number=number,
        needed=LEAST_SESSIONS,
        state=judged.state,
        measures={
            name: _held(name, entry.measures[name], judged) for name in ALL_MEASURES if name in entry.measures
        },
        missing=list(judged.missing),
    )


def _held(name: str, measured: Measured, judged: Judgement) -> HeldMeasure:
    limits: Limits | None = judged.limits.get(name)
    return HeldMeasure(
        value=measured.value,
        spread=measured.spread,
        n=measured.n,
        limits=None if limits is None else ControlLimits(**limits._asdict()),
        distance=None if limits is None else limits.distance(measured.value),
        rules=[each.rule for each in judged.findings if each.measure == name],
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def verdicts_text(result: ControlResult) -> str:
    """Say how each session stands."""
    parts = [f"file      {printable(result.file)}"]
    parts += ["\n".join(_verdict_lines(verdict)) for verdict in result.verdicts]
    return "\n\n".join([*parts, RESEARCH_USE])


def _verdict_lines(verdict: ControlVerdict) -> list[str]:
    scale = "" if verdict.px_per_um is None else f", {verdict.px_per_um:g} px/um"
    lines = [
        f"session   {printable(verdict.session)} of {_minute(verdict.recorded_at)},"
        f" {verdict.fields} fields, {verdict.cells} cells" + ("   SIMULATED" if verdict.simulated else ""),
        f"slide     {printable(verdict.slide)}, session {verdict.number} with bundle"
        f" {printable(verdict.bundle)}{scale}",
    ]
    lines += [_measure_line(name, held) for name, held in verdict.measures.items()]
    if verdict.missing:
        titles = ", ".join(MEASURES[name].title for name in verdict.missing)
        lines.append(f"missing   {titles}: this session does not tell it")
    return [*lines, f"verdict   {_said(verdict)}"]


def _measure_line(name: str, held: HeldMeasure) -> str:
    measure = ALL_MEASURES[name]
    digits = measure.digits
    line = f"  {measure.title:<20} {held.value:9.{digits}f}"
    if held.limits is None:
        return line
    line += f"   mean {held.limits.mean:.{digits}f}, SD {held.limits.deviation:.{digits + 1}f}"
    return f"{line}, {held.distance:+.1f} SD   {' '.join(held.rules)}".rstrip()


def _said(verdict: ControlVerdict) -> str:
    if verdict.state == "no limits yet":
        return too_few_text(verdict.number)
    if verdict.state == "in control":
        return "in control"
    return f"{verdict.state.upper()}: {_findings(verdict)}"


def _findings(verdict: ControlVerdict) -> str:
    return findings_text(
        Finding(name, rule, held.distance or 0.0, refuses=False)
        for name, held in verdict.measures.items()
        for rule in held.rules
    )


def list_text(found: ControlList) -> str:
    """Say it in a line for each session, and how many of each group there are."""
    if not found.sessions:
        return f"no control sessions in {printable(found.file)} yet\n{RESEARCH_USE}"
    width = max(len(printable(one.session)) for one in found.sessions)
    slides = max(len(printable(one.slide)) for one in found.sessions)
    lines = [f"file      {printable(found.file)}"]
    lines += [
        f"{_minute(one.recorded_at)}  {printable(one.slide):<{slides}}  {printable(one.session):<{width}}"
        f"  {one.sha256[:_HASH_LETTERS]}  {_said(one)}" + ("  SIMULATED" if one.simulated else "")
        for one in found.sessions
    ]
    return "\n".join([*lines, RESEARCH_USE])


def removal_text(removal: ControlRemoval) -> str:
    """Say what was removed."""
    gone, file = printable(removal.session), printable(removal.file)
    return f"removed   {gone} from {file}, which has {removal.left} left"


def _minute(at: str) -> str:
    return f"{at[:10]} {at[11:16]} UTC"
