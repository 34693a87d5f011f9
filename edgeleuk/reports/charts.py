"""Simple pictures as SVG within a page: shares with their intervals, and values over time.

On a narrow screen they scroll, so that what is written in them stays readable.

They are told apart by form as well as by colour, which the page's style gives them.
"""

from __future__ import annotations

import math
from html import escape
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# In units of the picture, which is scaled to the page.
WIDTH = 680
BARS_WIDTH = 460
_NAMES, _FIGURES = 154, 50
_ROW = 26
_HEIGHT, _LEFT, _BOTTOM, _TOP = 130, 52, 22, 8
# So many points are all that a page shows; each is the median of those that it stands for.
MOST_POINTS = 160


class SharedBar(NamedTuple):
    """A share with its interval, and a second one to be drawn below it.

    Attributes
    ----------
    name : str
    share, low, high : float
        0 to 1.
    second : (share, low, high), optional
    """

    name: str
    share: float
    low: float
    high: float
    second: tuple[float, float, float] | None = None


def interval_bars(bars: Sequence[SharedBar], title: str) -> str:
    """Draw shares as bars, each with its interval as a line.

    Parameters
    ----------
    bars : sequence of SharedBar
        At least one.
    title : str
        What it shows, for whoever cannot see it.
    """
    largest = max(max(bar.high, bar.second[2] if bar.second else 0.0) for bar in bars)
    step = next(step for step in (0.05, 0.1, 0.2, 0.25) if largest <= 5 * step or step == 0.25)
    most = min(1.0, max(step, math.ceil(largest / step - 1e-9) * step))
    room = BARS_WIDTH - _NAMES - _FIGURES

    def at(share: float) -> float:
        return round(_NAMES + room * min(share, most) / most, 1)

    row = _ROW + (12 if any(bar.second for bar in bars) else 0)
    bottom = _TOP + row * len(bars)
    parts = []
    for number in range(round(most / step) + 1):
        x = at(number * step)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 15}" text-anchor="middle">{number * step:.0%}</text>')
    for number, bar in enumerate(bars):
        top = _TOP + row * number + 4
        middle = top + 9
        parts += [
            f'<text x="{_NAMES - 8}" y="{middle + 4}" text-anchor="end">{escape(bar.name)}</text>',
            f'<rect class="bar" x="{_NAMES}" y="{top}" width="{round(at(bar.share) - _NAMES, 1)}"'
            ' height="18"/>',
            _whisker(at(bar.low), at(bar.high), middle, "whisker"),
            f'<text x="{BARS_WIDTH - 4}" y="{middle + 4}" text-anchor="end">{bar.share:.1%}</text>',
        ]
        if bar.second:
            share, low, high = bar.second
            parts.append(_whisker(at(low), at(high), top + 24, "whisker second"))
            parts.append(f'<circle class="second" cx="{at(share)}" cy="{top + 24}" r="4"/>')
    return framed(parts, (BARS_WIDTH, bottom + 20), title)


def over_time(
    points: Sequence[tuple[float, float]], title: str, *, marks: Sequence[float] = (), digits: int = 0
) -> str:
    """Draw a value over time: the medians of neighbours as a line, from the least to the largest as a band.

    Parameters
    ----------
    points : sequence of (float, float)
        Seconds since the Unix epoch, and values; at least two times.
    title : str
    marks : sequence of float
        Times that get a tick at the bottom.
    digits : int
        Of the values, behind the point.
    """
    points = sorted(points)
    times = [points[0][0], points[-1][0], *marks]
    first, last = min(times), max(times)
    bins = _binned(points)
    most = max(high for *_, high in bins) * 1.05 or 1.0
    span = (last - first) or 1.0
    room = WIDTH - _LEFT - 8
    base = _HEIGHT - _BOTTOM

    def x(at: float) -> float:
        return round(_LEFT + room * (at - first) / span, 1)

    def y(value: float) -> float:
        return round(base - (base - _TOP) * max(value, 0.0) / most, 1)

    upper = [f"{x(at)},{y(high)}" for at, _, _, high in bins]
    lower = [f"{x(at)},{y(low)}" for at, low, _, _ in reversed(bins)]
    line = " ".join(f"{x(at)},{y(middle)}" for at, _, middle, _ in bins)
    parts = [
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - 8}" y1="{base}" y2="{base}"/>',
        f'<polygon class="band" points="{" ".join(upper + lower)}"/>',
        f'<polyline class="line" points="{line}"/>',
        f'<text x="{_LEFT - 6}" y="{y(most) + 8}" text-anchor="end">{most:.{digits}f}</text>',
        f'<text x="{_LEFT - 6}" y="{base + 4}" text-anchor="end">0</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}">0 s</text>',
        f'<text x="{WIDTH - 8}" y="{_HEIGHT - 4}" text-anchor="end">{_lasted(span)}</text>',
    ]
    ticks = dict.fromkeys(x(at) for at in marks)
    parts += [f'<line class="mark" x1="{at}" x2="{at}" y1="{base - 7}" y2="{base}"/>' for at in ticks]
    return framed(parts, (WIDTH, _HEIGHT), title)


def _binned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """Return (time, least, median, largest) of neighbours in time."""
    each = max(1, math.ceil(len(points) / MOST_POINTS))
    found = []
    for start in range(0, len(points), each):
        part = points[start : start + each]
        values = [value for _, value in part]
        found.append((median(at for at, _ in part), min(values), median(values), max(values)))
    return found


def _whisker(low: float, high: float, y: float, css: str) -> str:
    return f'<path class="{css}" d="M{low},{y - 4}V{y + 4}M{low},{y}H{high}M{high},{y - 4}V{y + 4}"/>'


def _lasted(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def framed(parts: Sequence[str], size: tuple[int, int], title: str) -> str:
    """Put parts into a picture of a width and a height, named for whoever cannot see it."""
    drawn, (width, height) = "".join(parts), size
    return (
        f'<div class="wide" tabindex="0"><svg class="chart" width="{width}" viewBox="0 0 {width} {height}"'
        f' role="img" aria-label="{escape(title)}">{drawn}</svg></div>'
    )
