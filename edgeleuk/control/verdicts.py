"""What is said of control sessions: a verdict for each, as JSON and in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from edgeleuk.control.entries import ControlSession
from edgeleuk.control.limits import LEAST_SESSIONS, Finding, by_group, judge
from edgeleuk.control.measures import ALL_MEASURES, MEASURES
from edgeleuk.control.watch import findings_text, too_few_text
from edgeleuk.io.console import printable
from edgeleuk.results.structs import Printed
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.control.entries import ControlEntry, Measured
    from edgeleuk.control.limits import Judgement, Limits

# So much of a hash tells sessions of one name apart.
HASH_LETTERS = 12

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


class ControlVerdict(ControlSession, frozen=True, kw_only=True):
    """One control session, held against those before it.

    Attributes
    ----------
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


def verdicts_of(entries: Sequence[ControlEntry], *, kept: bool = True) -> list[ControlVerdict]:
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
        **{name: getattr(entry, name) for name in ControlSession.__struct_fields__},
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
    if verdict.uncertain_by_reason:
        reasons = sorted(verdict.uncertain_by_reason.items(), key=lambda item: -item[1])
        lines.append("uncertain " + ", ".join(f"{count} {reason}" for reason, count in reasons))
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
        f"  {one.sha256[:HASH_LETTERS]}  {_said(one)}" + ("  SIMULATED" if one.simulated else "")
        for one in found.sessions
    ]
    return "\n".join([*lines, RESEARCH_USE])


def removal_text(removal: ControlRemoval) -> str:
    """Say what was removed."""
    gone, file = printable(removal.session), printable(removal.file)
    return f"removed   {gone} from {file}, which has {removal.left} left"


def _minute(at: str) -> str:
    return f"{at[:10]} {at[11:16]} UTC"
