"""A laboratory's limits from its first control sessions, and later ones held against them.

Levey and Jennings, "The use of control charts in the clinical laboratory", American Journal of Clinical
Pathology 20 (1950); Westgard et al., "A multi-rule Shewhart chart for quality control in clinical chemistry",
Clinical Chemistry 27 (1981).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from edgeleuk.control.measures import MEASURES, SHARES
from edgeleuk.counting.westgard import westgard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeleuk.control.entries import ControlEntry, ControlGroup, Measured

# Without limits up to here; and no more sessions than that make them.
LEAST_SESSIONS, MOST_SESSIONS = 5, 10
# What a standard deviation from so few sessions has to be multiplied by, so that a session of which nothing
# has changed lies beyond 3 as seldom as by a known one: t(n - 1) at the normal distribution's 3 standard
# deviations, times sqrt(1 + 1 / n), over 3.
_WIDENING = {5: 2.4174, 6: 1.9828, 7: 1.7476, 8: 1.6016, 9: 1.5027, 10: 1.4314}
# Of the error of a median of n values, to that of their mean.
_MEDIAN = math.sqrt(math.pi / 2)
_LOOKED_BACK = 10
# Beyond so many standard deviations a running session has left the laboratory's range.
RANGE_SDS = 3.0

State = Literal["no limits yet", "in control", "warning", "refused"]


class Limits(NamedTuple):
    """What a measure is held against.

    Attributes
    ----------
    mean, deviation : float
        Of the sessions that make them; the deviation is widened for their small number.
    sessions : int
        How many they are.
    """

    mean: float
    deviation: float
    sessions: int

    def distance(self, value: float) -> float:
        """Return how many standard deviations a value lies above the mean."""
        return (value - self.mean) / self.deviation


class Finding(NamedTuple):
    """A rule that a session breaks.

    Attributes
    ----------
    measure, rule : str
    distance : float
        In standard deviations.
    refuses : bool
        Else it warns.
    """

    measure: str
    rule: str
    distance: float
    refuses: bool


class Judgement(NamedTuple):
    """One control session, held against what was known before it.

    Attributes
    ----------
    entry : ControlEntry
    state : str
    limits : mapping
        By measure; empty without limits.
    findings : tuple of Finding
    missing : tuple of str
        Measures that have limits and that this session lacks.
    """

    entry: ControlEntry
    state: State
    limits: Mapping[str, Limits]
    findings: tuple[Finding, ...] = ()
    missing: tuple[str, ...] = ()


def limits_of(entries: Sequence[ControlEntry]) -> dict[str, Limits]:
    """Return the limits that some control sessions of one group make, by measure.

    A measure that fewer than `LEAST_SESSIONS` of them have gets none.
    """
    found = {}
    for name, measure in MEASURES.items():
        values = [entry.measures[name].value for entry in entries if name in entry.measures]
        values = values[:MOST_SESSIONS]
        if len(values) < LEAST_SESSIONS:
            continue
        mean = math.fsum(values) / len(values)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
        least = measure.resolution if name in SHARES else measure.resolution * abs(mean)
        widened = max(deviation, least) * _WIDENING[len(values)]
        found[name] = Limits(mean, widened or measure.resolution, len(values))
    return found


def judge(entries: Iterable[ControlEntry]) -> list[Judgement]:
    """Hold the sessions of one group against limits, each against those that were known before it.

    The first `LEAST_SESSIONS` make the limits; later ones that are not refused join them, until there are
    `MOST_SESSIONS`. After a session that is refused the rules that look back begin anew: its cause is to be
    mended before the next.

    Parameters
    ----------
    entries : iterable of ControlEntry
        In their order.
    """
    making: list[ControlEntry] = []
    before: dict[str, list[float]] = {}
    judged = []
    for entry in entries:
        limits = limits_of(making) if len(making) >= LEAST_SESSIONS else {}
        if not limits:
            making.append(entry)
            judged.append(Judgement(entry, "no limits yet", {}))
            continue
        distances = {
            name: limit.distance(entry.measures[name].value)
            for name, limit in limits.items()
            if name in entry.measures
        }
        findings = tuple(_findings(distances, before))
        refused = any(finding.refuses for finding in findings)
        state: State = "refused" if refused else "warning" if findings else "in control"
        missing = tuple(name for name in limits if name not in distances)
        judged.append(Judgement(entry, state, limits, findings, missing))
        if refused:
            before = {}
            continue
        for name, distance in distances.items():
            before.setdefault(name, []).append(distance)
        if len(making) < MOST_SESSIONS:
            making.append(entry)
    return judged


def _findings(distances: Mapping[str, float], before: Mapping[str, list[float]]) -> Iterable[Finding]:
    """Yield the rules that the newest session breaks, of each measure; warnings where none refuses."""
    for name, distance in distances.items():
        # No rule looks back further.
        series = [*before.get(name, [])[-_LOOKED_BACK:], distance]
        broken = [found for found in westgard(series, 0.0, 1.0) if found.index == len(series) - 1]
        refused = any(found.refuses for found in broken)
        for found in broken:
            if found.refuses or not refused:
                yield Finding(name, found.rule, distance, found.refuses)


def limits_now(judged: Sequence[Judgement]) -> dict[str, Limits]:
    """Return the limits that the next session of a group will be held against."""
    making = [one.entry for one in judged if one.state != "refused"]
    return limits_of(making[:MOST_SESSIONS]) if len(making) >= LEAST_SESSIONS else {}


def out_of_range(measures: Mapping[str, Measured], limits: Mapping[str, Limits]) -> list[Finding]:
    """Return what a running session has out of the laboratory's range, by its first fields and cells.

    What patients' slides vary by, and the error of a median of few cells, are added to what sessions of the
    control slide vary by.

    Parameters
    ----------
    measures : mapping
        Of the first fields.
    limits : mapping
    """
    found = []
    for name, limit in limits.items():
        between = MEASURES[name].between_slides
        if between is None or name not in measures:
            continue
        now = measures[name]
        error = _MEDIAN * now.spread / math.sqrt(now.n)
        deviation = math.hypot(limit.deviation, between * limit.mean, error)
        distance = (now.value - limit.mean) / deviation
        if abs(distance) > RANGE_SDS:
            found.append(Finding(name, "1-3s", distance, refuses=True))
    return found


def by_group(entries: Iterable[ControlEntry]) -> dict[ControlGroup, list[ControlEntry]]:
    """Part sessions into those that may be compared, in the order in which they were added."""
    groups: dict[ControlGroup, list[ControlEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.group, []).append(entry)
    return groups
