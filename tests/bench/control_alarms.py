"""How often control sessions are refused when nothing has changed, and how soon a change is seen.

    python tests/bench/control_alarms.py [--laboratories N] [--seed N] [--plot FILE.png]

Simulated laboratories record sessions whose measures vary normally and know nothing of each other. That is
the worst case for false alarms: real measures of one session go together. The sessions are judged as
`edgeleuk control` judges them. docs/control.md quotes what it prints.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from control_sessions import entry

from edgeleuk.control.entries import Measured
from edgeleuk.control.limits import LEAST_SESSIONS, MOST_SESSIONS, judge
from edgeleuk.control.measures import MEASURES, SHARES
from edgeleuk.control.plot import save_plot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.control.entries import ControlEntry

# Of each measure's resolution: days vary by more than that.
DAY_TO_DAY = 3.0
LATER = 20


def sessions(
    rng: np.random.Generator, many: int, moved: float = 0.0, start: int = 0
) -> Iterator[ControlEntry]:
    """Draw sessions of a laboratory, their sharpness moved by so many of its standard deviations."""
    good = entry(0).measures
    sds = {
        name: DAY_TO_DAY * measure.resolution * (1 if name in SHARES else good[name].value)
        for name, measure in MEASURES.items()
    }
    for number in range(start, start + many):
        add = {name: float(rng.normal(0, sd)) for name, sd in sds.items()}
        add["sharpness"] += moved * sds["sharpness"]
        yield entry(number, add=add)


def chart(path: Path, rng: np.random.Generator) -> None:
    """Draw a laboratory whose focus is lost on one day, and whose lamp ages from another day on."""
    entries = list(sessions(rng, 24))
    for number, entry_ in enumerate(entries):
        moves = {"sharpness": -0.35} if number == 15 else {"light": -4.0 * max(0, number - 18)}
        measures = {
            name: Measured(value=held.value + moves.get(name, 0.0), spread=held.spread, n=held.n)
            for name, held in entry_.measures.items()
        }
        entries[number] = msgspec.structs.replace(entry_, measures=measures)
    save_plot(path, judge(entries))


def share(states: Counter[str], state: str) -> str:
    return f"{100 * states[state] / states.total():5.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--laboratories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    words = parser.parse_args()
    rng = np.random.default_rng(words.seed)
    if words.plot is not None:
        chart(words.plot, rng)
        return
    first: Counter[str] = Counter()
    settled: Counter[str] = Counter()
    for _ in range(words.laboratories):
        judged = judge(sessions(rng, LEAST_SESSIONS + 1 + MOST_SESSIONS + LATER))
        first[judged[LEAST_SESSIONS].state] += 1
        settled.update(one.state for one in judged[-LATER:])
    print(f"{words.laboratories} laboratories, {len(MEASURES)} measures, nothing has changed")
    print(
        f"session {LEAST_SESSIONS + 1}: warned {share(first, 'warning')}, refused {share(first, 'refused')}"
    )
    print(f"later ones: warned {share(settled, 'warning')}, refused {share(settled, 'refused')}")
    print("sharpness has moved by so many SD: refused at once, within three sessions")
    for moved in (1.0, 2.0, 3.0, 4.0, 6.0):
        soon: Counter[str] = Counter()
        within = 0
        for _ in range(words.laboratories // 2):
            before = list(sessions(rng, MOST_SESSIONS + 5))
            judged = judge([*before, *sessions(rng, 3, moved, start=30)])[-3:]
            soon[judged[0].state] += 1
            within += any(one.state == "refused" for one in judged)
        print(f"  {moved:g} SD: {share(soon, 'refused')}, {200 * within / words.laboratories:5.1f} %")


if __name__ == "__main__":
    main()
