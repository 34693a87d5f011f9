"""What the lines and the page of quality over weeks say alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeleuk.results.trends import DriftFound, TrendMeasure, TrendSession, TrendSetup


def setup_title(setup: TrendSetup) -> str:
    """Name a setup by what it is of."""
    of = [setup.camera or "unknown camera"] if setup.slide is None else [f"control slide {setup.slide}"]
    of.append(f"bundle {setup.bundle or 'unknown'}")
    if setup.px_per_um is not None:
        of.append(f"{setup.px_per_um:.4g} px/um")
    if setup.size:
        of.append(setup.size)
    return ", ".join(of)


def state_text(measure: TrendMeasure, needed: int) -> str:
    """Say how a measure stands."""
    if measure.state == "too few sessions":
        return f"not judged: {measure.sessions} sessions, and the first {needed} only teach"
    if measure.state == "steady":
        past = [f"was off from {when(drift)} to {drift.back}" for drift in measure.drifts]
        return "; ".join(["steady", *past])
    return drift_text(measure, measure.drifts[-1])


def drift_text(measure: TrendMeasure, drift: DriftFound) -> str:
    """Say since when a measure drifts, from where to where, and when it could be told."""
    digits = measure.digits
    at, told = drift.rejected_from, day(drift.named_at or drift.named)
    ahead = "" if at is None else f"; at this pace fields are rejected for it from {at}"
    return (
        f"{way(drift)} since {when(drift)} ({drift.since}): {drift.before:.{digits}f} to"
        f" {drift.now:.{digits}f}, {drift.distance:+.1f} SD; told at {told}{ahead}"
    )


def way(drift: DriftFound) -> str:
    """Return where a measure drifts to."""
    return "UP" if drift.distance > 0 else "DOWN"


def when(drift: DriftFound) -> str:
    """Return the day on which a drift began, or the session where the clock was not set."""
    return day(drift.since_at or drift.since)


def day_of(session: TrendSession) -> str:
    """Return a session's day, or its name where the clock was not set."""
    return day(session.recorded_at or session.session)


def day(at: str) -> str:
    """Return the day of a time; a session's name, which stands where there is none, as it is."""
    return at[:10] if at[4:5] == "-" and at[10:11] == "T" else at


def value_text(session: TrendSession, measure: str, digits: int) -> str:
    """Write a session's value; a star tells that it drifts, a dash that it was not measured."""
    value = session.values.get(measure)
    if value is None:
        return "-"
    return f"{value.value:.{digits}f}" + ("*" if value.drifts else "")
