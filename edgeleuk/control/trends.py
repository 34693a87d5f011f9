"""Quality over weeks: sessions of one setup in their order, and since when which of their measures drift."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.control.measures import (
    ALL_MEASURES,
    BLAST_SHARE,
    BLUE_TO_GREEN,
    CELL_FOCUS,
    RED_TO_GREEN,
    REJECTED_SHARE,
    SCALE,
    SHARES,
    UNCERTAIN_SHARE,
)
from edgeleuk.control.optics import EVENNESS, GLASS_BLUE, GLASS_RED, LIGHT, SHARPNESS
from edgeleuk.control.outlook import rejected_from
from edgeleuk.counting.cusum import ALLOWANCE, LEARNED, LIMIT, Followed, Observed, follow
from edgeleuk.io.clock import CLOCK_SET_S
from edgeleuk.io.console import recordable
from edgeleuk.results.trend_words import way, when
from edgeleuk.results.trends import (
    DriftFound,
    SkippedSession,
    TrendMeasure,
    TrendResult,
    TrendSession,
    TrendSetup,
    TrendValue,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeleuk.control.entries import Measured
    from edgeleuk.control.session_quality import Recorded, SessionQuality
    from edgeleuk.results.trends import MeasureState

# In the order in which light meets them: the first that drifts is the likely cause of those after it.
FOLLOWED = (
    *(LIGHT, EVENNESS, GLASS_RED, GLASS_BLUE, SHARPNESS, CELL_FOCUS, RED_TO_GREEN, BLUE_TO_GREEN, SCALE),
    *(REJECTED_SHARE, UNCERTAIN_SHARE, BLAST_SHARE),
)
_OF_CELLS = frozenset({CELL_FOCUS, RED_TO_GREEN, BLUE_TO_GREEN, UNCERTAIN_SHARE, BLAST_SHARE})
# Of fewer, medians and shares say little.
LEAST_FIELDS, LEAST_CELLS = 5, 20
# Scales that differ by more are of two objectives: the next one magnifies by half as much again.
OTHER_OBJECTIVE = 1.25
# Of the standard error of a median, to that of a mean.
_MEDIAN = math.sqrt(math.pi / 2)
# Shares below that are known no better than that one.
_LEAST_SHARE = 0.01
_LAST = 3
_BAND_SDS = 2.0


class Seen(NamedTuple):
    """A session, and where it belongs.

    Attributes
    ----------
    quality : SessionQuality
    setup : int
        From 0.
    slide : str or None
        The control slide.
    """

    quality: SessionQuality
    setup: int
    slide: str | None


class _Begun(NamedTuple):
    """A setup: how it is told from others, and why it is one of its own."""

    recorded: Recorded
    slide: str | None
    mended: int
    scale: float | None
    began: str


def observed(name: str, measured: Measured) -> Observed:
    """Return a measure as it is followed: with its error; of a share, where chance is the same for any.

    That of shares is Anscombe's, "The transformation of Poisson, binomial and negative-binomial data",
    Biometrika 35 (1948): the arc sine of a share of n has the variance 1 / (4 n + 2).
    """
    if name not in SHARES:
        return Observed(measured.value, _MEDIAN * measured.spread / math.sqrt(measured.n))
    count = measured.value / 100 * measured.n
    share = (count + 0.375) / (measured.n + 0.75)
    return Observed(math.asin(math.sqrt(share)), 1 / math.sqrt(4 * measured.n + 2))


def shown(name: str, value: float, n: float) -> float:
    """Undo what `observed` did to a value of so many fields or cells."""
    if name not in SHARES:
        return value
    share = math.sin(min(max(value, 0.0), math.pi / 2)) ** 2
    return 100 * min(max((share * (n + 0.75) - 0.375) / n, 0.0), 1.0)


def least_deviation(name: str) -> Callable[[float], float]:
    """Return what a standard deviation is never less than, given the mean: what the measure can tell."""
    resolution = ALL_MEASURES[name].resolution

    def of_share(mean: float) -> float:
        share = min(max(math.sin(mean) ** 2, _LEAST_SHARE), 1 - _LEAST_SHARE)
        return resolution / 100 / (2 * math.sqrt(share * (1 - share)))

    return of_share if name in SHARES else lambda mean: resolution * abs(mean)


def usable(quality: SessionQuality) -> dict[str, Measured]:
    """Return the measures of a session that are of enough fields, or cells."""
    found = {}
    for name in FOLLOWED:
        of = quality.measures.get(name)
        if of is not None and of.n >= (LEAST_CELLS if name in _OF_CELLS else LEAST_FIELDS):
            found[name] = of
    return found


def judge_trends(
    sessions: Sequence[SessionQuality],
    *,
    slides: Mapping[str, str] | None = None,
    mended: Sequence[float] = (),
    skipped: Sequence[SkippedSession] = (),
    notes: Sequence[str] = (),
) -> TrendResult:
    """Follow each measure of each setup.

    Parameters
    ----------
    sessions : sequence of SessionQuality
        In their order.
    slides : mapping, optional
        Last link of a control session -> its slide.
    mended : sequence of float
        Times at which something was changed on purpose, in seconds since the Unix epoch: a new baseline
        begins with the next session.
    skipped : sequence of SkippedSession
    notes : sequence of str
        Already known.
    """
    begun: list[_Begun] = []
    seen = [_placed(one, begun, slides or {}, sorted(mended)) for one in sessions]
    values: list[dict[str, TrendValue]] = [{} for _ in seen]
    setups = []
    for number, setup in enumerate(begun):
        places = [place for place, one in enumerate(seen) if one.setup == number]
        measures = [_followed(name, places, seen, values) for name in FOLLOWED]
        setups.append(_setup(number, setup, len(places), [one for one in measures if one is not None]))
    drifting = any(one.state == "drifting" for setup in setups for one in setup.measures)
    return TrendResult(
        setups=setups,
        sessions=[_session(one, held) for one, held in zip(seen, values, strict=True)],
        skipped=list(skipped),
        notes=list(notes),
        limit=LIMIT,
        allowance=ALLOWANCE,
        needed=LEARNED,
        verdict=_verdict(setups),
        drifting=drifting,
    )


def _placed(
    one: SessionQuality, begun: list[_Begun], slides: Mapping[str, str], mended: Sequence[float]
) -> Seen:
    """Find the setup of a session, or begin one."""
    slide = next((slides[link] for link in sorted(one.links)), None)
    scale = one.recorded.px_per_um
    if scale is None and SCALE in one.measures:
        scale = one.measures[SCALE].value
    times = sum(one.first_at is not None and CLOCK_SET_S <= one.first_at >= at for at in mended)
    for number, setup in enumerate(begun):
        same = (setup.recorded, setup.slide, setup.mended) == (one.recorded, slide, times)
        if same and _one_objective(setup.scale, scale):
            return Seen(one, number, slide)
    began = _why(one, slide, times, begun)
    begun.append(_Begun(one.recorded, slide, times, scale, began))
    return Seen(one, len(begun) - 1, slide)


def _one_objective(a: float | None, b: float | None) -> bool:
    return a is None or b is None or 1 / OTHER_OBJECTIVE <= a / b <= OTHER_OBJECTIVE


def _why(one: SessionQuality, slide: str | None, times: int, begun: Sequence[_Begun]) -> str:
    """Say why a session begins a setup, by what tells it from the one before of its kind."""
    before = next((setup for setup in reversed(begun) if setup.slide == slide), None)
    if before is None:
        return "the first session" if slide is None else "the first session of the control slide"
    was, now = before.recorded, one.recorded
    changed = [
        title
        for title, differs in (
            ("another camera", was.camera != now.camera or was.simulated != now.simulated),
            ("another bundle", was.bundle_sha256 != now.bundle_sha256),
            ("another scale was given", was.px_per_um != now.px_per_um),
            ("fields of another size", was.size != now.size),
            ("other settings", was.adjusted != now.adjusted),
            ("something was mended", before.mended != times),
        )
        if differs
    ]
    return " and ".join(changed) or "another objective"


def _followed(
    name: str, places: Sequence[int], seen: Sequence[Seen], values: list[dict[str, TrendValue]]
) -> TrendMeasure | None:
    """Follow a measure over the sessions of a setup, and put each value where it belongs."""
    have = [(place, of) for place in places if (of := usable(seen[place].quality).get(name)) is not None]
    if not have:
        return None
    series = [observed(name, of) for _, of in have]
    followed = follow(series, least_deviation(name))
    for (place, of), held, one in zip(have, followed.held, series, strict=True):
        values[place][name] = TrendValue(
            value=of.value,
            error=of.spread if name in SHARES else one.error,
            n=of.n,
            distance=held.distance,
            high=held.high,
            low=held.low,
            drifts=held.drifts,
        )
    measure = ALL_MEASURES[name]
    drifting = bool(followed.drifts) and followed.drifts[-1].back is None
    state: MeasureState = "steady"
    if followed.mean is None:
        state = "too few sessions"
    elif drifting:
        state = "drifting"
    mean, deviation = followed.mean, followed.deviation or 0.0
    band = [None if mean is None else mean + sds * deviation for sds in (0.0, -_BAND_SDS, _BAND_SDS)]
    n = median(of.n for _, of in have)
    middle, low, high = (None if edge is None else shown(name, edge, n) for edge in band)
    return TrendMeasure(
        measure=name,
        title=measure.title,
        subject=measure.subject,
        digits=measure.digits,
        state=state,
        sessions=len(have),
        mean=middle,
        low=low,
        high=high,
        drifts=_drifts(name, [(seen[place].quality, of) for place, of in have], followed),
    )


def _drifts(
    name: str, have: Sequence[tuple[SessionQuality, Measured]], followed: Followed
) -> list[DriftFound]:
    """Name the sessions of each drift."""
    found = []
    begin = 0
    sessions, values = [one for one, _ in have], [of.value for _, of in have]
    for drift in followed.drifts:
        end = len(sessions) if drift.back is None else drift.back
        last = slice(max(drift.named - _LAST + 1, end - _LAST), end)
        distances = [held.distance for held in followed.held[last] if held.distance is not None]
        found.append(
            DriftFound(
                since=_name(sessions[drift.since]),
                since_at=time_of(sessions[drift.since]),
                named=_name(sessions[drift.named]),
                named_at=time_of(sessions[drift.named]),
                back=None if drift.back is None else _name(sessions[drift.back]),
                before=median(values[begin : max(drift.since, begin + 1)]),
                now=median(values[last]),
                distance=median(distances),
                rejected_from=None if drift.back is not None else _outlook(name, have[drift.since :]),
            )
        )
        begin = end
    return found


def _outlook(name: str, have: Sequence[tuple[SessionQuality, Measured]]) -> str | None:
    """Return the day from which fields are rejected at this pace; see `rejected_from`."""
    dated = [(one.first_at, of.value) for one, of in have if time_of(one) is not None]
    at = rejected_from(name, [float(at or 0.0) for at, _ in dated], [value for _, value in dated])
    return None if at is None else datetime.fromtimestamp(at, timezone.utc).date().isoformat()


def _setup(number: int, begun: _Begun, sessions: int, measures: list[TrendMeasure]) -> TrendSetup:
    recorded = begun.recorded
    return TrendSetup(
        number=number + 1,
        slide=begun.slide,
        camera=recorded.camera,
        bundle=recorded.bundle,
        bundle_sha256=recorded.bundle_sha256,
        px_per_um=begun.scale,
        size=recorded.size,
        simulated=recorded.simulated,
        began=begun.began,
        sessions=sessions,
        measures=measures,
    )


def _session(seen: Seen, values: dict[str, TrendValue]) -> TrendSession:
    quality = seen.quality
    return TrendSession(
        session=_name(quality),
        files=quality.files,
        recorded_at=time_of(quality),
        setup=seen.setup + 1,
        fields=quality.fields,
        rejected=quality.rejected,
        cells=quality.cells,
        finished=quality.finished,
        not_judged=_not_judged(quality, values),
        values=values,
    )


def _not_judged(quality: SessionQuality, values: Mapping[str, TrendValue]) -> str | None:
    have = f"{quality.fields} fields with {quality.cells} cells"
    if not values:
        return f"{have}, and {LEAST_FIELDS} fields or {LEAST_CELLS} cells are needed"
    if quality.cells < LEAST_CELLS:
        return f"its cells: {quality.cells}, and {LEAST_CELLS} are needed"
    if LIGHT not in values:
        return "its light and focus: the session does not hold them"
    return None


def _verdict(setups: Sequence[TrendSetup]) -> str:
    """Say it in a sentence: what drifts now, the likely cause first."""
    drifts = [
        (one, one.drifts[-1], setup) for setup in setups for one in setup.measures if one.state == "drifting"
    ]
    if drifts:
        return "; ".join(
            f"{one.title.partition(',')[0]} {way(drift)} since {when(drift)}"
            + (f" (setup {setup.number})" if len(setups) > 1 else "")
            for one, drift, setup in drifts
        )
    judged = any(one.state == "steady" for setup in setups for one in setup.measures)
    return "steady" if judged else f"too few sessions: the first {LEARNED} of a setup only teach"


def _name(quality: SessionQuality) -> str:
    return recordable(quality.path.name)


def time_of(quality: SessionQuality) -> str | None:
    """Return when a session was recorded, as ISO 8601; None where the clock was not set."""
    if quality.first_at is None or quality.first_at < CLOCK_SET_S:
        return None
    return datetime.fromtimestamp(quality.first_at, timezone.utc).isoformat(timespec="seconds")
