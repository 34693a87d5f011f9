"""1,000 hours of a stand: what drifts is named soon, and what is sound is left in peace."""

from __future__ import annotations

import numpy as np
import pytest
from trend_stand import FAULTS, PACES, Fault, alarms, named_within, stand

from edgeleuk.control.trends import judge_trends

HOURS = 1000
SESSIONS = HOURS // 2


def test_sound_stands_give_less_than_one_alarm_in_a_hundred_sessions() -> None:
    found = [alarms(judge_trends(stand(np.random.default_rng(seed), SESSIONS))) for seed in range(4)]
    assert sum(found) < len(found) * SESSIONS / 100


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("name", FAULTS)
def test_a_drift_is_named_within_five_sessions_of_the_change(name: str, pace: float) -> None:
    for seed, begins in enumerate((20, 60, 150, 300)):
        fault = Fault(FAULTS[name], begins, pace)
        sessions = stand(np.random.default_rng(seed), fault.changed() + 6, fault)
        assert named_within(judge_trends(sessions), fault, sessions) == dict.fromkeys(
            (one for one, way in FAULTS[name].items() if abs(way) == 1.0), True
        )
