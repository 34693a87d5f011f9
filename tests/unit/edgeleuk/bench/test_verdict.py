"""When figures are believed, and what is said when they are not."""

from __future__ import annotations

from typing import Any

import pytest

from edgeleuk.bench.machine import MachineState
from edgeleuk.bench.verdict import judge, spread_of
from edgeleuk.io.kernel import Zone

QUIET: dict[str, Any] = {
    "before": MachineState(),
    "after": MachineState(),
    "clocks_mhz": (),
    "others": None,
    "rounds": 10,
    "spreads": {"litert": 0.02},
}


def test_what_nothing_speaks_against_is_valid() -> None:
    verdict = judge(**QUIET)
    assert verdict.verdict.value == "valid"
    assert verdict.reasons == ()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"before": MachineState(throttled=0), "after": MachineState(throttled=0x40004)},
            "throttled: throttled",
        ),
        (
            {"before": MachineState(throttled=0x1), "after": MachineState(throttled=0x1)},
            "throttled: under-voltage",
        ),
        (
            {"before": MachineState(throttled=0), "after": MachineState(throttled=0x20000)},
            "throttled: clock capped",
        ),
        (
            {"before": MachineState(throttle_count=3), "after": MachineState(throttle_count=5)},
            "throttled: the cores were slowed down 2 times by their temperature",
        ),
        (
            {"after": MachineState(zones=(Zone("cpu", 86.2, 85.0),))},
            "throttled: cpu is at 86 C and slows down from 85 C",
        ),
        ({"clocks_mhz": (2400, 2400, 2000, 1800, 1500, 1500)}, "clock fell: from 2400 to 1500 MHz"),
        ({"others": 0.37}, "other load: 37 % of the cores"),
        ({"rounds": 2}, "few rounds: 2, wanted 3 or more; give more --seconds"),
        (
            {"spreads": {"a": 0.2, "b": 0.3, "c": 0.1}},
            "spread: the rounds of b differ by 30 %, and 1 more",
        ),
    ],
)
def test_each_reason_makes_it_suspect(changed: dict[str, Any], reason: str) -> None:
    verdict = judge(**{**QUIET, **changed})
    assert verdict.verdict.value == "suspect"
    assert verdict.reasons == (reason,)


@pytest.mark.parametrize(
    "changed",
    [
        # It was throttled once, long before.
        {"before": MachineState(throttled=0x50000), "after": MachineState(throttled=0x50000)},
        {"before": MachineState(), "after": MachineState(throttled=0x5)},
        {"after": MachineState(zones=(Zone("cpu", 84.0, 85.0), Zone("other", 120.0)))},
        {"clocks_mhz": (2400, 2350, 2300)},
        {"clocks_mhz": (1500, 2400, 2400)},
        {"clocks_mhz": (2400, 100)},
        {"others": 0.1},
        {"spreads": {}},
    ],
)
def test_what_is_no_reason(changed: dict[str, Any]) -> None:
    assert judge(**{**QUIET, **changed}).reasons == ()


def test_all_reasons_are_given() -> None:
    verdict = judge(**{**QUIET, "others": 0.5, "rounds": 1, "clocks_mhz": (2, 1, 1)})
    assert [reason.partition(":")[0] for reason in verdict.reasons] == [
        "clock fell",
        "other load",
        "few rounds",
    ]


@pytest.mark.parametrize(
    ("medians", "expected"),
    [([], 0.0), ([5.0], 0.0), ([2.0] * 9, 0.0), ([1.0, 2.0, 3.0], 0.5), ([0.0, 0.0], 0.0)],
)
def test_spread(medians: list[float], expected: float) -> None:
    assert spread_of(medians) == expected


def test_one_round_that_was_disturbed_is_no_spread() -> None:
    assert spread_of([10.0] * 7 + [100.0]) == 0.0
