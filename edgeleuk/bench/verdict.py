"""Whether figures may be believed: ``valid``, or ``suspect`` and why. Pure: facts in, sentences out."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeleuk.bench.results import Validity
from edgeleuk.io.kernel import SINCE_START, THROTTLED_BITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeleuk.bench.machine import MachineState

# Share of the cores that others may use: below it, they do not show among the rounds' own spread.
OTHER_LOAD = 0.10
# By how much of itself the clock may fall between the first and the last third of the rounds.
CLOCK_FALL = 0.05
# Middle half of the rounds' medians, as a share of their median.
SPREAD = 0.15
LEAST_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """``valid``, or ``suspect`` for the reasons given."""

    verdict: Validity
    reasons: tuple[str, ...]


def judge(
    before: MachineState,
    after: MachineState,
    *,
    clocks_mhz: Sequence[float],
    others: float | None,
    rounds: int,
    spreads: Mapping[str, float],
) -> Verdict:
    """Judge a measurement by what happened to the machine meanwhile.

    Parameters
    ----------
    before, after : MachineState
    clocks_mhz : sequence of float
        Of the fastest core after each round, in order; empty where nothing tells.
    others : float or None
        Share of the cores that others used; None where nothing tells.
    rounds : int
    spreads : mapping of str to float
        What was measured -> spread of its rounds, see `spread_of`.
    """
    reasons = [
        *_throttled(before, after),
        *_clock_fell(clocks_mhz),
        *_other_load(others),
        *_few_rounds(rounds),
        *_spread(spreads),
    ]
    return Verdict(Validity.SUSPECT if reasons else Validity.VALID, tuple(reasons))


def spread_of(medians: Sequence[float]) -> float:
    """Return the middle half of the rounds' medians as a share of their median; 0 of fewer than two.

    Examples
    --------
    >>> spread_of([10.0, 10.0, 11.0, 12.0]), spread_of([3.0])
    (0.11904761904761904, 0.0)
    """
    if len(medians) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(medians, n=4, method="inclusive")
    return (high - low) / middle if middle > 0 else 0.0


def _throttled(before: MachineState, after: MachineState) -> list[str]:
    reasons = []
    if before.throttled is not None and after.throttled is not None:
        # What was so once since the start counts if it was not so when the measurement began.
        new = after.throttled & ~before.throttled
        names = [
            name
            for bit, name in THROTTLED_BITS.items()
            if (before.throttled | after.throttled) >> bit & 1 or new >> bit + SINCE_START & 1
        ]
        if names:
            reasons.append(f"throttled: {', '.join(names)}")
    if before.throttle_count is not None and after.throttle_count is not None:
        more = after.throttle_count - before.throttle_count
        if more > 0:
            reasons.append(f"throttled: the cores were slowed down {more} times by their temperature")
    reasons += [
        f"throttled: {zone.name} is at {zone.celsius:.0f} C and slows down from {zone.slows_from:.0f} C"
        for zone in after.zones
        if zone.slows_from is not None and zone.celsius >= zone.slows_from
    ]
    return reasons


def _clock_fell(clocks_mhz: Sequence[float]) -> list[str]:
    third = len(clocks_mhz) // 3
    if third == 0:
        return []
    first, last = statistics.median(clocks_mhz[:third]), statistics.median(clocks_mhz[-third:])
    if last >= (1 - CLOCK_FALL) * first:
        return []
    return [f"clock fell: from {first:.0f} to {last:.0f} MHz"]


def _other_load(others: float | None) -> list[str]:
    if others is None or others <= OTHER_LOAD:
        return []
    return [f"other load: {others * 100:.0f} % of the cores"]


def _few_rounds(rounds: int) -> list[str]:
    if rounds >= LEAST_ROUNDS:
        return []
    return [f"few rounds: {rounds}, wanted {LEAST_ROUNDS} or more; give more --seconds"]


def _spread(spreads: Mapping[str, float]) -> list[str]:
    wide = {name: spread for name, spread in spreads.items() if spread > SPREAD}
    if not wide:
        return []
    worst = max(wide, key=lambda name: wide[name])
    others = f", and {len(wide) - 1} more" if len(wide) > 1 else ""
    return [f"spread: the rounds of {worst} differ by {wide[worst] * 100:.0f} %{others}"]
