from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.capture.camera_clock import CameraClock

DELAYS = st.lists(st.floats(0.0, 30.0), min_size=1, max_size=60)


@given(DELAYS, st.floats(-1e6, 1e6), st.floats(0.01, 2.0))
def test_a_time_is_later_than_the_truth_by_the_least_delay_so_far(
    delays_s: list[float], apart_s: float, interval_s: float
) -> None:
    clock = CameraClock()
    for n, delay_s in enumerate(delays_s):
        taken_s = 1e6 + n * interval_s
        told_s = clock.taken_s(taken_s + apart_s, arrived_s=taken_s + delay_s)
        assert told_s == pytest.approx(taken_s + min(delays_s[: n + 1]), abs=1e-3)


@given(st.floats(0.0, 100.0))
def test_a_clock_that_stands_or_was_set_back_says_nothing_once_and_is_learnt_anew(back_s: float) -> None:
    clock = CameraClock()
    clock.taken_s(500.0, arrived_s=1000.0)
    assert clock.taken_s(500.0 - back_s, arrived_s=1001.0) is None
    assert clock.taken_s(501.0 - back_s, arrived_s=1002.0) == pytest.approx(1002.0)
    assert clock.taken_s(502.0 - back_s, arrived_s=1009.0) == pytest.approx(1003.0)
