"""A measure over the sessions of a setup as SVG: its values with their errors, and the sums of the CUSUM."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.reports.charts import WIDTH, framed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgeleuk.results.trends import TrendMeasure, TrendValue

_LEFT, _RIGHT, _TOP = 64, 12, 10
_VALUES, _GAP, _SUMS, _FOOT = 110, 12, 34, 20
_BASE = _TOP + _VALUES
_FLOOR = _BASE + _GAP + _SUMS
# A point's half width.
_HALF = 3.5
# What the page's style has to know beside that of other charts.
CHART_RULES = (
    ".chart .error{stroke:var(--mark);stroke-width:1;opacity:.55}"
    ".chart .known{fill:var(--mark)}.chart .learned{fill:var(--ground);stroke:var(--mark);stroke-width:1.5}"
    ".chart .off{fill:var(--warn)}.chart .drift{fill:var(--warn);opacity:.13}"
    ".chart .limit{stroke:var(--warn);stroke-width:1.5;stroke-dasharray:5 3}"
    ".chart .mean{stroke:var(--soft);stroke-dasharray:2 3}"
    "@media print{.known,.learned,.off,.drift{print-color-adjust:exact}}"
)


class ChartPoint(NamedTuple):
    """A session of a chart: its name, its day or what stands for it, and the value."""

    session: str
    day: str
    value: TrendValue


def trend_chart(measure: TrendMeasure, points: Sequence[ChartPoint], limit: float, title: str) -> str:
    """Draw a measure; sessions stand at even distances, in their order.

    Parameters
    ----------
    measure : TrendMeasure
    points : sequence of ChartPoint
        At least one.
    limit : float
        That the sums are held against.
    title : str
        What it shows, for whoever cannot see it.
    """
    edges = [one.value.value + sign * one.value.error for one in points for sign in (-1, 1)]
    edges += [edge for edge in (measure.low, measure.high) if edge is not None]
    low, high = min(edges), max(edges)
    # A measure that never changes lies in the middle.
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - room, high + room
    step = (WIDTH - _LEFT - _RIGHT) / len(points)

    def x(place: float) -> float:
        return round(_LEFT + step * (place + 0.5), 1)

    def y(value: float) -> float:
        return round(_BASE - _VALUES * (value - low) / (high - low), 1)

    parts = [*_drifts(measure, points, x, step), *_baseline(measure, y)]
    line = " ".join(f"{x(place)},{y(one.value.value)}" for place, one in enumerate(points))
    parts.append(f'<polyline class="line" points="{line}"/>')
    for place, one in enumerate(points):
        parts += _point(x(place), y, one.value)
    parts += _sums(points, limit, x, step)
    digits = measure.digits
    parts += [
        f'<text x="{_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{high:.{digits}f}</text>',
        f'<text x="{_LEFT - 6}" y="{_BASE}" text-anchor="end">{low:.{digits}f}</text>',
        f'<text x="{_LEFT - 6}" y="{_FLOOR}" text-anchor="end">sums</text>',
        f'<text x="{_LEFT}" y="{_FLOOR + 15}">{escape(points[0].day)}</text>',
    ]
    if len(points) > 1:
        day = escape(points[-1].day)
        parts.append(f'<text x="{WIDTH - _RIGHT}" y="{_FLOOR + 15}" text-anchor="end">{day}</text>')
    return framed(parts, (WIDTH, _FLOOR + _FOOT), title)


def _drifts(
    measure: TrendMeasure, points: Sequence[ChartPoint], x: Callable[[float], float], step: float
) -> Iterator[str]:
    """Shade the sessions of each drift."""
    places = {one.session: place for place, one in enumerate(points)}
    for drift in measure.drifts:
        begin = places.get(drift.since, 0)
        end = len(points) if drift.back is None else places.get(drift.back, len(points))
        left = x(begin - 0.5)
        wide = round(step * (end - begin), 1)
        yield f'<rect class="drift" x="{left}" y="{_TOP}" width="{wide}" height="{_FLOOR - _TOP}"/>'


def _baseline(measure: TrendMeasure, y: Callable[[float], float]) -> Iterator[str]:
    """Draw the mean that is held against, with two standard deviations as a band."""
    if measure.mean is None or measure.low is None or measure.high is None:
        return
    top, tall = y(measure.high), round(y(measure.low) - y(measure.high), 1)
    right = WIDTH - _RIGHT
    yield f'<rect class="band" x="{_LEFT}" y="{top}" width="{right - _LEFT}" height="{tall}"/>'
    yield f'<line class="mean" x1="{_LEFT}" x2="{right}" y1="{y(measure.mean)}" y2="{y(measure.mean)}"/>'


def _point(x: float, y: Callable[[float], float], value: TrendValue) -> Iterator[str]:
    """Draw a session: a ring while it only teaches, a dot, or a square that is drifting."""
    at = y(value.value)
    if value.error:
        ends = f'y1="{y(value.value - value.error)}" y2="{y(value.value + value.error)}"'
        yield f'<line class="error" x1="{x}" x2="{x}" {ends}/>'
    if value.drifts:
        left, top = round(x - _HALF, 1), round(at - _HALF, 1)
        yield f'<rect class="off" x="{left}" y="{top}" width="{2 * _HALF}" height="{2 * _HALF}"/>'
    else:
        css = "learned" if value.distance is None else "known"
        yield f'<circle class="{css}" cx="{x}" cy="{at}" r="{_HALF}"/>'


def _sums(
    points: Sequence[ChartPoint], limit: float, x: Callable[[float], float], step: float
) -> Iterator[str]:
    """Draw the larger of both sums of each session, up to a little above the limit."""
    most = 1.15 * limit
    wide = round(max(min(step - 1, 12.0), 0.6), 1)
    for place, one in enumerate(points):
        tall = round(_SUMS * min(max(one.value.high, one.value.low), most) / most, 1)
        if tall:
            css = "off" if one.value.drifts else "bar"
            left, top = round(x(place) - wide / 2, 1), round(_FLOOR - tall, 1)
            yield f'<rect class="{css}" x="{left}" y="{top}" width="{wide}" height="{tall}"/>'
    right, at = WIDTH - _RIGHT, round(_FLOOR - _SUMS / 1.15, 1)
    yield f'<line class="limit" x1="{_LEFT}" x2="{right}" y1="{at}" y2="{at}"/>'
    yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{_FLOOR}" y2="{_FLOOR}"/>'
