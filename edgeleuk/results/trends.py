"""What is said of quality over weeks: each session's measures, and since when which of them drift."""

from __future__ import annotations

from typing import Literal

from edgeleuk.results.structs import Printed
from edgeleuk.version import RESEARCH_USE

MeasureState = Literal["too few sessions", "steady", "drifting"]


class TrendValue(Printed, frozen=True, kw_only=True):
    """A measure of a session, held against the sessions before it.

    Attributes
    ----------
    value : float
        Of a share, in per cent.
    error : float
        Its standard error, as far as it is known from within the session: of a share, the binomial one.
    n : int
        How many fields or cells it is of.
    distance : float or None
        From the sessions before, in standard deviations; None of the first sessions, which only teach.
    high, low : float
        The sums of what lies above and below; a drift is named where one passes the limit.
    drifts : bool
    """

    value: float
    error: float
    n: int
    distance: float | None
    high: float
    low: float
    drifts: bool


class TrendSession(Printed, frozen=True, kw_only=True):
    """A session, or the files of a series that are one.

    Attributes
    ----------
    session : str
        Name of its file, or of the first one.
    files : int
    recorded_at : str or None
        Its first field: ISO 8601, UTC; None where the clock was not set.
    setup : int
        Number of its setup, from 1.
    fields, rejected, cells : int
        Fields of both kinds; cells without dust.
    finished : bool
        False of one that was cut off, or is being recorded.
    not_judged : str or None
        Why nothing is said of it, or not of its cells.
    values : dict
        By measure; what could not be measured is left out.
    """

    session: str
    files: int
    recorded_at: str | None
    setup: int
    fields: int
    rejected: int
    cells: int
    finished: bool
    not_judged: str | None
    values: dict[str, TrendValue]


class DriftFound(Printed, frozen=True, kw_only=True):
    """A drift of a measure.

    Attributes
    ----------
    since, named : str
        Names of the sessions with which it began, and at which it could be told.
    since_at, named_at : str or None
        When they were recorded.
    back : str or None
        The first session at which it was over; None where it is not.
    before, now : float
        Median of the sessions before it, and of its last three.
    distance : float
        Of its last three sessions, in standard deviations.
    rejected_from : str or None
        Day from which fields are rejected for it, if it goes on as it does; None where that is not known.
    """

    since: str
    since_at: str | None
    named: str
    named_at: str | None
    back: str | None
    before: float
    now: float
    distance: float
    rejected_from: str | None


class TrendMeasure(Printed, frozen=True, kw_only=True):
    """A measure within a setup.

    Attributes
    ----------
    measure, title, subject : str
        Its name; for people, with the unit; what a change of it points to.
    digits : int
        That are shown behind the point.
    state : str
    sessions : int
        That have it.
    mean : float or None
        That the next session is held against; None while there are too few.
    low, high : float or None
        Two standard deviations below and above.
    drifts : list of DriftFound
    """

    measure: str
    title: str
    subject: str
    digits: int
    state: MeasureState
    sessions: int
    mean: float | None
    low: float | None
    high: float | None
    drifts: list[DriftFound]


class TrendSetup(Printed, frozen=True, kw_only=True):
    """Sessions that may be compared: of one camera, one bundle, one objective; or of one control slide.

    Attributes
    ----------
    number : int
        From 1, in the order of their first sessions.
    slide : str or None
        The control slide; None of other sessions.
    camera, bundle, bundle_sha256 : str
    px_per_um : float or None
        Scale: as it was given, or of the first session.
    size : str
        Of the fields, as ``1280x960``; empty where it is not known.
    simulated : bool
    began : str
        Why it is a setup of its own.
    sessions : int
    measures : list of TrendMeasure
    """

    number: int
    slide: str | None
    camera: str
    bundle: str
    bundle_sha256: str
    px_per_um: float | None
    size: str
    simulated: bool
    began: str
    sessions: int
    measures: list[TrendMeasure]


class SkippedSession(Printed, frozen=True, kw_only=True):
    """A file that could not be read, and why."""

    file: str
    error: str


class TrendResult(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk trend --json`` prints.

    Attributes
    ----------
    setups : list of TrendSetup
    sessions : list of TrendSession
        In their order.
    skipped : list of SkippedSession
    notes : list of str
        What is to be known of the order, and of what was left out.
    limit, allowance : float
        Of the CUSUM, in standard deviations.
    needed : int
        So many sessions of a setup only teach.
    verdict : str
    drifting : bool
        Whether a measure drifts now: at the newest session of its setup.
    """

    schema_version: int = 1
    setups: list[TrendSetup]
    sessions: list[TrendSession]
    skipped: list[SkippedSession]
    notes: list[str]
    limit: float
    allowance: float
    needed: int
    verdict: str
    drifting: bool
    research_use: str = RESEARCH_USE
