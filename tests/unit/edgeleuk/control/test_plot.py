"""The chart shows every session once in each panel, and says by shape and word what it broke."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from control_sessions import entry

from edgeleuk.control.limits import judge
from edgeleuk.control.measures import MEASURES
from edgeleuk.control.plot import FOOT, HEAD, PANEL, POINT, REFUSED, WARNING, WIDTH, draw

if TYPE_CHECKING:
    from edgeleuk.frames import RgbImage

GOOD = [entry(number) for number in range(8)]


def pixels_of(picture: RgbImage, colour: tuple[int, int, int], panel: int) -> int:
    """Count the pixels of a colour that is no line's: those of three rows in a row."""
    rows = slice(HEAD + PANEL * panel, HEAD + PANEL * (panel + 1))
    found = (picture[rows] == colour).all(axis=2)
    return int(np.count_nonzero(found[:-2] & found[1:-1] & found[2:]))


def test_it_has_a_panel_for_each_measure_that_there_is() -> None:
    assert draw(judge(GOOD)).shape == (HEAD + PANEL * len(MEASURES) + FOOT, WIDTH, 3)
    few = [entry(number, measures={"light": one.measures["light"]}) for number, one in enumerate(GOOD)]
    assert draw(judge(few)).shape == (HEAD + PANEL + FOOT, WIDTH, 3)


@pytest.mark.parametrize(("number", "name"), list(enumerate(MEASURES)))
@pytest.mark.parametrize("sds", [2.5, 30.0, -30.0])
def test_what_is_broken_shows_in_its_panel_alone(number: int, name: str, sds: float) -> None:
    limit = judge([*GOOD, entry(20)])[-1].limits[name]
    picture = draw(judge([*GOOD, entry(20, add={name: sds * limit.deviation})]))
    colour = WARNING if abs(sds) < 3 else REFUSED
    marked = [pixels_of(picture, colour, panel) > 20 for panel in range(len(MEASURES))]
    assert marked == [panel == number for panel in range(len(MEASURES))]


@pytest.mark.parametrize("sessions", [1, 3, 5, 60])
def test_any_number_of_sessions_is_drawn(sessions: int) -> None:
    picture = draw(judge([entry(number) for number in range(sessions)]))
    assert all(pixels_of(picture, POINT, panel) > 10 for panel in range(len(MEASURES)))


def test_a_name_in_another_script_is_no_trouble() -> None:
    judged = judge([entry(number, slide="Präparat 7 µ") for number in range(3)])
    assert draw(judged).shape[1] == WIDTH
