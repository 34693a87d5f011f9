"""A Levey-Jennings chart of one group's control sessions, a panel for each measure. Drawn by OpenCV alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edgeleuk.control.limits import LEAST_SESSIONS, limits_now
from edgeleuk.control.measures import MEASURES
from edgeleuk.io.images import write_png
from edgeleuk.vision.annotate import text_width, write_fitting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.control.limits import Judgement, Limits
    from edgeleuk.control.measures import ControlledMeasure
    from edgeleuk.frames import RgbImage

    Colour = tuple[int, int, int]

WIDTH, PANEL, HEAD, FOOT = 1200, 196, 84, 50
LEFT, RIGHT = 130, 150
LETTER, SMALL = 11.0, 9.0
# Beyond so many standard deviations a point stands at the edge, with an arrow.
_MOST_SDS = 4.5
# The newest sessions, as many as can be told apart.
_MOST_POINTS = 40
INK: Colour = (30, 30, 30)
PALE: Colour = (205, 205, 205)
WHITE: Colour = (255, 255, 255)
# Okabe and Ito's palette; shapes and words say the same.
POINT: Colour = (0, 114, 178)
WARNING: Colour = (230, 159, 0)
REFUSED: Colour = (213, 94, 0)
_LINES: dict[int, Colour] = {1: (225, 225, 225), 2: WARNING, 3: REFUSED}


class _Point(NamedTuple):
    """A session in one panel: where it stands, its rules, and how it was judged."""

    height: float
    rules: tuple[str, ...]
    refuses: bool
    makes_limits: bool


def save_plot(path: Path, judged: Sequence[Judgement]) -> None:
    """Write the chart as a PNG.

    Raises
    ------
    UsageError
        It cannot be written, or edgeleuk did not make what is there.
    """
    write_png(path, draw(judged), "--plot")


def draw(judged: Sequence[Judgement]) -> RgbImage:
    """Draw the sessions of one group, at least one, in their order.

    Parameters
    ----------
    judged : sequence of Judgement
        As `edgeleuk.control.limits.judge` returns them.

    Returns
    -------
    (H, 1200, 3) uint8, RGB
    """
    shown = judged[-_MOST_POINTS:]
    limits = limits_now(judged)
    panels = [name for name in MEASURES if any(name in one.entry.measures for one in shown)]
    picture = np.full((HEAD + PANEL * len(panels) + FOOT, WIDTH, 3), 255, np.uint8)
    entry = judged[-1].entry
    scale = "" if entry.px_per_um is None else f", {entry.px_per_um:g} px/um"
    simulated = "   SIMULATED" if entry.simulated else ""
    _write(picture, f"Control slide {entry.slide}, bundle {entry.bundle}{scale}{simulated}", 30, 34, 14.0)
    _write(
        picture,
        f"{len(judged)} sessions; ring: before there were limits, dot: later, triangle: warns,"
        " square: refused",
        *(30, 62),
    )
    for number, name in enumerate(panels):
        _panel(picture, HEAD + PANEL * number, name, shown, limits.get(name))
    _dates(picture, HEAD + PANEL * len(panels), shown)
    return picture


def _panel(picture: RgbImage, top: int, name: str, shown: Sequence[Judgement], limits: Limits | None) -> None:
    """Draw the points of one measure, over lines at the mean and at 1, 2 and 3 standard deviations."""
    measure = MEASURES[name]
    middle, unit = top + PANEL // 2, (PANEL - 50) / (2 * _MOST_SDS)
    _write(picture, measure.title, 30, top + 16)
    if limits is None:
        have = sum(name in one.entry.measures for one in shown)
        _write(picture, f"{have} of {LEAST_SESSIONS} sessions: no limits yet", 330, top + 16)
    else:
        _lines(picture, middle, unit, measure, limits)
    heights = _heights(name, shown, limits)
    places = [_x(place, len(shown)) for place in range(len(shown))]
    dots = [
        (x, middle - round(unit * float(np.clip(point.height, -_MOST_SDS, _MOST_SDS))), point)
        for x, point in zip(places, heights, strict=True)
        if point is not None
    ]
    line = np.array([(x, y) for x, y, _ in dots], np.int32).reshape(-1, 1, 2)
    cv2.polylines(picture, [line], isClosed=False, color=POINT, thickness=1, lineType=cv2.LINE_AA)
    # Marks lie over words, so that no word hides a session.
    for x, y, point in dots:
        if point.rules:
            _name_rules(picture, x, y, point)
    for x, y, point in dots:
        _mark(picture, x, y, point)


def _heights(name: str, shown: Sequence[Judgement], limits: Limits | None) -> list[_Point | None]:
    """Return where each session stands, in standard deviations; without limits, from least to most."""
    values = [one.entry.measures[name].value for one in shown if name in one.entry.measures]
    low, high = min(values), max(values)
    found: list[_Point | None] = []
    for one in shown:
        measure = one.entry.measures.get(name)
        held = one.limits.get(name, limits)
        if measure is None:
            found.append(None)
            continue
        height = (2 * measure.value - low - high) / ((high - low) or 1.0)
        broken = [each for each in one.findings if each.measure == name]
        found.append(
            _Point(
                height if held is None else held.distance(measure.value),
                tuple(each.rule for each in broken),
                any(each.refuses for each in broken),
                one.state == "no limits yet",
            )
        )
    return found


def _lines(picture: RgbImage, middle: int, unit: float, measure: ControlledMeasure, limits: Limits) -> None:
    """Draw the lines, with the values that they stand for."""
    for sds in (-3, -2, -1, 0, 1, 2, 3):
        y = middle - round(unit * sds)
        colour = INK if sds == 0 else _LINES[abs(sds)]
        cv2.line(picture, (LEFT, y), (WIDTH - RIGHT, y), colour, 1)
        base = y + round(SMALL / 2)
        title = "mean" if sds == 0 else f"{sds:+d} SD"
        _write(picture, title, LEFT - 8 - text_width(title, SMALL), base, SMALL)
        if abs(sds) == 1:
            continue
        value = limits.mean + sds * limits.deviation
        _write(picture, f"{value:.{measure.digits}f}", WIDTH - RIGHT + 8, base, SMALL)


def _mark(picture: RgbImage, x: int, y: int, point: _Point) -> None:
    """Draw a session."""
    if point.rules:
        colour = REFUSED if point.refuses else WARNING
        if point.refuses:
            cv2.rectangle(picture, (x - 6, y - 6), (x + 6, y + 6), colour, cv2.FILLED)
        else:
            corners = np.array([(x, y - 8), (x - 7, y + 5), (x + 7, y + 5)], np.int32)
            cv2.fillPoly(picture, [corners.reshape(-1, 1, 2)], colour, cv2.LINE_AA)
    elif point.makes_limits:
        cv2.circle(picture, (x, y), 5, WHITE, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, (x, y), 5, POINT, 2, cv2.LINE_AA)
    else:
        cv2.circle(picture, (x, y), 5, POINT, cv2.FILLED, cv2.LINE_AA)
    if abs(point.height) > _MOST_SDS:
        step = -1 if point.height > 0 else 1
        cv2.arrowedLine(picture, (x, y + step * 8), (x, y + step * 18), INK, 1, cv2.LINE_AA, tipLength=0.5)


def _name_rules(picture: RgbImage, x: int, y: int, point: _Point) -> None:
    """Write rules on the mean's side of their point, on white, so that no line runs through them."""
    text = " ".join(point.rules)
    wide = text_width(text, SMALL)
    left = x - wide // 2
    base = y + round(SMALL) + 12 if point.height > 0 else y - 12
    corners = (left - 2, base - round(SMALL) - 2), (left + wide + 2, base + 2)
    cv2.rectangle(picture, *corners, WHITE, cv2.FILLED)
    _write(picture, text, left, base, SMALL)


def _dates(picture: RgbImage, top: int, shown: Sequence[Judgement]) -> None:
    """Write the days of the sessions below the panels, as many as fit."""
    every = -(-len(shown) * 110 // (WIDTH - LEFT - RIGHT))
    for place in range(0, len(shown), max(1, every)):
        day = shown[place].entry.recorded_at[:10]
        x = _x(place, len(shown))
        cv2.line(picture, (x, top), (x, top + 6), INK, 1)
        _write(picture, day, x - text_width(day, SMALL) // 2, top + 24, SMALL)


def _x(place: int, points: int) -> int:
    return LEFT + round((WIDTH - LEFT - RIGHT) * (place + 0.5) / points)


def _write(picture: RgbImage, text: str, x: int, base: int, letter: float = LETTER) -> None:
    write_fitting(picture, text, (x, base), letter, INK)
