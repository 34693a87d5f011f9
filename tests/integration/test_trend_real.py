"""From frames to the alarm: runs of the virtual microscope whose lamp dims, whose stain or focus drifts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from virtual_weeks import VirtualWeeks

from edgeleuk.commands.trend import trend
from edgeleuk.control.trends import FOLLOWED
from edgeleuk.virtual.scenario import CameraFaultKind

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.results.trends import TrendMeasure

SOUND, FAULTY = 9, 7
# What changes a day: of the light, of the stain, and of the focus in micrometres.
DIMMER, OTHER_STAIN, LOWER_UM = 0.012, 0.03, 0.07


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> VirtualWeeks:
    return VirtualWeeks(tmp_path_factory.mktemp("weeks"))


@pytest.fixture(scope="module")
def sound(weeks: VirtualWeeks) -> list[Path]:
    return [weeks.record(f"sound{day}", day) for day in range(SOUND)]


def measures(sessions: list[Path]) -> dict[str, TrendMeasure]:
    (setup,) = trend(sessions).setups
    assert setup.sessions == len(sessions)
    return {one.measure: one for one in setup.measures}


def test_a_sound_microscope_is_steady(weeks: VirtualWeeks, sound: list[Path]) -> None:
    more = [weeks.record(f"sound{day}", day) for day in range(SOUND, SOUND + 3)]
    result = trend([*sound, *more])
    assert not result.drifting
    assert {one.measure for one in result.setups[0].measures} <= set(FOLLOWED)
    assert [one.not_judged for one in result.sessions] == [None] * len(result.sessions)


def test_a_lamp_that_dims_is_named(weeks: VirtualWeeks, sound: list[Path]) -> None:
    dim = [
        weeks.record(f"dim{day}", SOUND + day, {CameraFaultKind.LAMP: 1 - DIMMER * (day + 1)})
        for day in range(FAULTY)
    ]
    found = measures([*sound, *dim])
    (drift,) = found["light"].drifts
    assert drift.now < drift.before
    assert drift.since in {path.name for path in [*sound[-2:], *dim[:2]]}
    assert drift.named in {path.name for path in dim[:5]}
    assert {name for name, one in found.items() if one.state == "drifting"} == {"light"}


def test_another_stain_is_named(weeks: VirtualWeeks, sound: list[Path]) -> None:
    other = [
        weeks.record(f"stain{day}", SOUND + day, {CameraFaultKind.STAIN: OTHER_STAIN * (day + 1)})
        for day in range(FAULTY)
    ]
    found = measures([*sound, *other])
    drifting = {name for name, one in found.items() if one.state == "drifting"}
    assert drifting & {"red_to_green", "blue_to_green"}
    assert not drifting & {"light", "evenness", "scale"}


def test_a_focus_that_creeps_is_named(weeks: VirtualWeeks, sound: list[Path]) -> None:
    low = [weeks.record(f"low{day}", SOUND + day, z_um=LOWER_UM * (day + 1)) for day in range(FAULTY)]
    found = measures([*sound, *low])
    drifting = {name for name, one in found.items() if one.state == "drifting"}
    assert drifting & {"sharpness", "cell_focus"}
    assert not drifting & {"light", "evenness", "glass_red", "glass_blue"}
