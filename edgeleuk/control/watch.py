"""The first fields of a run, held against the laboratory's limits before many cells are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.control.limits import LEAST_SESSIONS, judge, limits_now, out_of_range
from edgeleuk.control.measures import MEASURES, measure_session
from edgeleuk.control.optics import FIRST_FIELDS, OPTICS, OpticsMeter, optics_text
from edgeleuk.control.store import read_control
from edgeleuk.errors import CheckFailedError
from edgeleuk.io.console import printable, say, warn
from edgeleuk.results.structs import ControlOfRun, OutOfRange
from edgeleuk.session.reader import read_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from edgeleuk.control.limits import Finding, Judgement, Limits
    from edgeleuk.frames import RgbImage
    from edgeleuk.results import FrameResult
    from edgeleuk.session.writer import SessionWriter

# Kind of the event that says what was found.
CONTROL = "control"
IN_RANGE = "light, focus, stain and scale are within the laboratory's range"
# The check waits for so many cells, but not for more fields than that.
FIRST_CELLS, MOST_FIELDS = 20, 20


class LaboratoryRange(NamedTuple):
    """What a laboratory's control sessions say a run should look like.

    Attributes
    ----------
    file : Path
    slide : str or None
        Of the newest control session of the run's bundle and scale; None where there is none.
    judged : tuple of Judgement
        That slide's sessions.
    limits : mapping
        By measure; empty while there are too few sessions.
    """

    file: Path
    slide: str | None
    judged: tuple[Judgement, ...]
    limits: Mapping[str, Limits]

    @property
    def trouble(self) -> str | None:
        """Why nothing can be held against it, or why no run should begin; None where all is well."""
        if not self.limits:
            return f"{too_few_text(len(self.judged))} of this bundle and scale in {printable(str(self.file))}"
        last = self.judged[-1]
        if last.state != "refused":
            return None
        day = last.entry.recorded_at[:10]
        return (
            f"the last control session, {printable(last.entry.session)} of {day}, was refused:"
            f" {findings_text(last.findings)}"
        )


def too_few_text(sessions: int) -> str:
    """Say that there are no limits yet.

    Examples
    --------
    >>> too_few_text(3)
    '3 of 5 control sessions: no limits yet'
    """
    return f"{sessions} of {LEAST_SESSIONS} control sessions: no limits yet"


def findings_text(findings: Iterable[Finding]) -> str:
    """Name measures with the rules that they break, and how far off they are.

    Light comes before focus, focus before stain, and stain before cells: each also changes those after it.
    """
    rules: dict[str, list[str]] = {}
    distances: dict[str, float] = {}
    for finding in findings:
        rules.setdefault(finding.measure, []).append(finding.rule)
        distances[finding.measure] = finding.distance
    return ", ".join(
        f"{_name(measure)} {' and '.join(broken)} ({distances[measure]:+.1f} SD)"
        for measure, broken in rules.items()
    )


def laboratory_range(
    file: Path, bundle_sha256: str, px_per_um: float | None, *, simulated: bool
) -> LaboratoryRange:
    """Read what holds for runs with a bundle at a scale.

    Raises
    ------
    UsageError, IntegrityError
        See `read_control`.
    """
    entries = read_control(file)
    like = (bundle_sha256, px_per_um, simulated)
    slide = next((one.slide for one in reversed(entries) if one.group[1:] == like), None)
    judged = judge(one for one in entries if one.group == (slide, *like))
    return LaboratoryRange(file, slide, tuple(judged), limits_now(judged))


def require_control(laboratory: LaboratoryRange) -> None:
    """Refuse to begin a run that has to be controlled and cannot be.

    Raises
    ------
    CheckFailedError
        There are no limits yet, or the last control session was refused.
    """
    if laboratory.trouble is not None:
        raise CheckFailedError(
            f"the run has to be controlled, and {laboratory.trouble}",
            cure="record the control slide and add it with `edgeleuk control add`",
        )


class ControlWatch:
    """Records light and focus of a run's first fields, and holds them and its cells against the limits.

    Parameters
    ----------
    writer : SessionWriter
    laboratory : LaboratoryRange, optional
        Without it light and focus are recorded all the same.
    required : bool
        End the run where it has left the range.
    first : int
        Number of the first field of this part of the run.
    """

    def __init__(
        self,
        writer: SessionWriter,
        laboratory: LaboratoryRange | None = None,
        *,
        required: bool = False,
        first: int = 0,
    ) -> None:
        self._writer = writer
        self._laboratory = laboratory
        self._required = required
        self._first = first
        self._meter = OpticsMeter()
        self._fields = 0
        self._cells = 0
        self._found: list[Finding] | None = None
        self._refusal: CheckFailedError | None = None
        if laboratory is not None and laboratory.trouble is not None:
            warn(f"control: {laboratory.trouble}")

    def seen(self, result: FrameResult, pixels: RgbImage) -> None:
        """Look at a field that is recorded."""
        self._fields += 1
        self._cells += sum(cell.is_new for cell in result.cells)
        if self._fields <= FIRST_FIELDS:
            self._meter.add(pixels)
            if self._fields == FIRST_FIELDS:
                self._writer.note(OPTICS, optics_text(self._meter.measured()))
        enough = self._fields >= FIRST_FIELDS and self._cells >= FIRST_CELLS
        if self._found is None and (enough or self._fields >= MOST_FIELDS):
            self._compare()

    @property
    def outcome(self) -> ControlOfRun | None:
        """What the summary says of it; None of a run without control."""
        laboratory = self._laboratory
        if laboratory is None:
            return None
        if not laboratory.limits:
            state = "no limits yet"
        elif self._found is None:
            state = "not reached"
        else:
            state = "out of range" if self._found else "in range"
        return ControlOfRun(
            file=str(laboratory.file),
            slide=laboratory.slide,
            sessions=len(laboratory.judged),
            last_session=laboratory.judged[-1].state if laboratory.judged else None,
            state=state,
            out_of_range=[
                OutOfRange(
                    measure=each.measure,
                    subject=MEASURES[each.measure].subject,
                    mean=laboratory.limits[each.measure].mean,
                    distance=each.distance,
                )
                for each in self._found or []
            ],
        )

    @property
    def ends(self) -> str | None:
        """Why the run is to end now; None where it may go on."""
        return None if self._refusal is None else self._refusal.what

    @property
    def error(self) -> CheckFailedError | None:
        """Why the run may not count, once it has ended: out of range, or ended before that was known."""
        if not self._required or self._found is not None:
            return self._refusal
        return CheckFailedError(
            "the run had to be controlled and ended before it was",
            got=f"{self._fields} fields with {self._cells} cells",
            allowed=f"{FIRST_FIELDS} fields with {FIRST_CELLS} cells, or {MOST_FIELDS} fields",
        )

    def _compare(self) -> None:
        if self._laboratory is None or not self._laboratory.limits:
            return
        self._writer.flush()
        with read_session(self._writer.path) as reader:
            measures = measure_session(reader, self._first).measures
        self._found = out_of_range(measures, self._laboratory.limits)
        if not self._found:
            self._writer.note(CONTROL, IN_RANGE)
            say(f"control   {IN_RANGE}")
            return
        subjects = dict.fromkeys(MEASURES[each.measure].subject for each in self._found)
        figures = ", ".join(
            f"{_name(each.measure)} {measures[each.measure].value:.{MEASURES[each.measure].digits}f}"
            f" ({self._laboratory.limits[each.measure].mean:.{MEASURES[each.measure].digits}f} in control"
            f" sessions, {each.distance:+.1f} SD)"
            for each in self._found
        )
        text = f"{' and '.join(subjects)} left the laboratory's range: {figures}"
        self._writer.note(CONTROL, text)
        if self._required:
            cure = "mend it and record the control slide before you count"
            self._refusal = CheckFailedError(text, cure=cure)
        else:
            warn(f"control: {text}")


def control_text(outcome: ControlOfRun) -> str:
    """Say in a line of the summary what came of the control."""
    if outcome.state == "no limits yet":
        said = too_few_text(outcome.sessions)
    elif outcome.state == "not reached":
        said = f"not reached: the run had fewer than {FIRST_FIELDS} fields or {FIRST_CELLS} cells"
    elif outcome.state == "in range":
        said = IN_RANGE
    else:
        measures = ", ".join(
            f"{_name(each.measure)} {each.distance:+.1f} SD" for each in outcome.out_of_range
        )
        said = f"OUT OF the laboratory's RANGE: {measures}"
    last = "; the last control session was REFUSED" if outcome.last_session == "refused" else ""
    return f"control   {said}{last}"


def _name(measure: str) -> str:
    """Return a measure's title without its unit."""
    return MEASURES[measure].title.partition(",")[0]
