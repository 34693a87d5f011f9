"""How soon a drift of light, stain or focus is named, and how often a sound stand gives an alarm.

    python tests/bench/trend_alarms.py [--stands N] [--seed N] [--page FILE.html]

Each stand runs for 1,000 hours, in sessions of two. Its sessions are drawn from what real ones vary by; see
tests/trend_stand.py. They are judged as `edgeleuk trend` judges them. docs/trend.md quotes what it prints.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trend_stand import CHANGED_SDS, FAULTS, PACES, START, WITHIN_SESSIONS, Fault, named_within, stand

from edgeleuk.control.trends import FOLLOWED, judge_trends
from edgeleuk.reports.trend_page import trend_page

HOURS, SESSION_HOURS = 1000, 2
SESSIONS = HOURS // SESSION_HOURS


def page(path: Path, rng: np.random.Generator) -> None:
    """Write the page of a stand with a session a day, the lamp of which ages."""
    sessions = stand(rng, 60, Fault(FAULTS["lamp"], 34, 0.25))
    daily = [one._replace(first_at=START + 86400.0 * day) for day, one in enumerate(sessions)]
    path.write_text(trend_page(judge_trends(daily)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stands", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path)
    words = parser.parse_args()
    rng = np.random.default_rng(words.seed)
    if words.page is not None:
        page(words.page, rng)
        return
    print(f"{words.stands} sound stands of {HOURS} hours, {SESSIONS} sessions each, {len(FOLLOWED)} measures")
    by_measure: Counter[str] = Counter()
    for _ in range(words.stands):
        result = judge_trends(stand(rng, SESSIONS))
        by_measure.update({one.measure: len(one.drifts) for one in result.setups[0].measures})
    of = words.stands * SESSIONS
    print(f"false alarms: {100 * by_measure.total() / of:.2f} in 100 sessions, all measures together")
    for name in FOLLOWED:
        print(f"  {name:<16} {100 * by_measure[name] / of:.3f}")
    print(f"named within {WITHIN_SESSIONS} sessions after a drift has passed 2 SD, and {CHANGED_SDS:g} SD")
    for name, moves in FAULTS.items():
        for pace in (0.02, *PACES, 1.0):
            told: dict[float, Counter[bool]] = {2.0: Counter(), CHANGED_SDS: Counter()}
            for _ in range(words.stands):
                fault = Fault(moves, int(rng.integers(20, 300)), pace)
                sessions = stand(rng, fault.changed() + WITHIN_SESSIONS + 1, fault)
                result = judge_trends(sessions)
                for sds, counter in told.items():
                    counter.update(named_within(result, fault, sessions, sds).values())
            shares = [f"{100 * one[True] / one.total():5.1f} %" for one in told.values()]
            print(f"  {name:<6} {pace:.2f} SD a session: {', '.join(shares)} of {told[2.0].total()}")


if __name__ == "__main__":
    main()
