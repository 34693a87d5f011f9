"""Sessions of a stand that runs for weeks, drawn from what real and virtual ones were measured to vary by.

`tests/bench/trend_noise.py` measures the figures of `NOISE`; a session of them lasts two hours.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.control.entries import Measured
from edgeleuk.control.session_quality import Recorded, SessionQuality
from edgeleuk.control.trends import FOLLOWED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from edgeleuk.results.trends import TrendResult

SESSION_S = 7200.0
# Of a session, in the median.
CELLS = 120
# 2026-01-01.
START = 1767225600.0
RECORDED = Recorded("http://stand/stream", "default", "ab" * 32, None, "1280x960", (), simulated=True)
# The change of a drift: where it has gone so far that Westgard's 1-3s refuses a control slide at once.
CHANGED_SDS = 3.0
WITHIN_SESSIONS = 5


class Noise(NamedTuple):
    """How a measure varies.

    Attributes
    ----------
    level : float
        Of the measure; of a share, its mean, 0 to 1.
    between : float
        Standard deviation from session to session: relative to the level; of a share, absolute.
    within : float
        Standard deviation of one field or cell, relative to the level; unused of a share.
    n : int
        Fields or cells of a session; of cells the median.
    """

    level: float
    between: float
    within: float
    n: int


# The worse of virtual slides and BCCD's fields. Between sessions cell_focus and blue_to_green vary as
# between 48 subjects of C-NMC, which is worse still. Rejected fields and blasts are assumed: patients differ.
NOISE: Mapping[str, Noise] = {
    "light": Noise(205.0, 0.011, 0.009, 5),
    "evenness": Noise(0.95, 0.004, 0.012, 5),
    "glass_red": Noise(1.04, 0.018, 0.008, 5),
    "glass_blue": Noise(0.97, 0.016, 0.007, 5),
    "sharpness": Noise(0.60, 0.040, 0.070, 5),
    "cell_focus": Noise(0.70, 0.17, 0.13, CELLS),
    "red_to_green": Noise(2.5, 0.051, 0.051, CELLS),
    "blue_to_green": Noise(2.9, 0.068, 0.067, CELLS),
    "scale": Noise(13.0, 0.011, 0.006, 400),
    "rejected_share": Noise(0.03, 0.02, 0.0, 400),
    "uncertain_share": Noise(0.33, 0.046, 0.0, CELLS),
    "blast_share": Noise(0.24, 0.18, 0.0, CELLS),
}
SHARES = frozenset(name for name in NOISE if name.endswith("_share"))


class Fault(NamedTuple):
    """Something that changes slowly.

    Attributes
    ----------
    moves : mapping
        Measure -> +1 or -1.
    begins : int
        Session.
    pace : float
        Standard deviations a session.
    """

    moves: Mapping[str, float]
    begins: int
    pace: float

    def changed(self, sds: float = CHANGED_SDS) -> int:
        """Return the session at which it has become a change of so many standard deviations."""
        return self.begins + math.ceil(sds / self.pace - 1e-9)

    def moved(self, name: str, session: int) -> float:
        """How far a measure is off, in standard deviations."""
        return self.moves.get(name, 0.0) * self.pace * max(0, session - self.begins)


# A lamp that ages is darker and redder; another stain changes colours; a stage that creeps out of focus.
LAMP = {"light": -1.0, "glass_blue": -0.5}
STAIN = {"red_to_green": 1.0, "blue_to_green": -1.0}
FOCUS = {"sharpness": -1.0, "cell_focus": -1.0}
FAULTS: Mapping[str, Mapping[str, float]] = {"lamp": LAMP, "stain": STAIN, "focus": FOCUS}
# Slow, middling and fast: three standard deviations in 60, 15 and 6 sessions.
PACES = (0.05, 0.2, 0.5)


def total_sd(name: str) -> float:
    """Return the standard deviation of a measure from session to session; shares are not asked."""
    noise = NOISE[name]
    median_error = math.sqrt(math.pi / 2) * noise.within / math.sqrt(noise.n)
    return noise.level * math.hypot(noise.between, median_error)


def stand(rng: np.random.Generator, many: int, fault: Fault | None = None) -> list[SessionQuality]:
    """Draw the sessions of a stand."""
    found = []
    for number in range(many):
        cells = max(25, round(float(rng.lognormal(math.log(CELLS), 0.5))))
        measures = {name: _drawn(rng, name, cells, fault, number) for name in FOLLOWED}
        found.append(
            SessionQuality(
                path=Path(f"session{number}.db"),
                files=1,
                recorded=RECORDED,
                first_at=START + SESSION_S * number,
                fields=NOISE["rejected_share"].n,
                rejected=round(measures["rejected_share"].value / 100 * NOISE["rejected_share"].n),
                cells=cells,
                finished=True,
                links=frozenset(),
                measures=measures,
            )
        )
    return found


def _drawn(rng: np.random.Generator, name: str, cells: int, fault: Fault | None, number: int) -> Measured:
    noise = NOISE[name]
    n = cells if noise.n == CELLS else noise.n
    if name in SHARES:
        # Sessions differ, and chance comes on top: a beta-binomial number.
        size = noise.level * (1 - noise.level) / noise.between**2 - 1
        share = float(rng.beta(noise.level * size, (1 - noise.level) * size))
        seen = float(rng.binomial(n, share)) / n
        return Measured(value=100 * seen, spread=100 * math.sqrt(seen * (1 - seen) / n), n=n)
    error = math.sqrt(math.pi / 2) * noise.within / math.sqrt(n)
    value = noise.level * (1 + float(rng.normal(0, math.hypot(noise.between, error))))
    if fault is not None:
        value += fault.moved(name, number) * total_sd(name)
    # The spread that a session tells of itself is one of few fields.
    spread = noise.within * noise.level * math.sqrt(float(rng.chisquare(n - 1)) / (n - 1))
    return Measured(value=value, spread=spread, n=n)


def alarms(result: TrendResult) -> int:
    """Count the drifts that were named."""
    return sum(len(one.drifts) for setup in result.setups for one in setup.measures)


def named_within(
    result: TrendResult, fault: Fault, sessions: Sequence[SessionQuality], sds: float = CHANGED_SDS
) -> dict[str, bool]:
    """Say of each measure that a fault moves whether it was named by the fifth session after the change."""
    changed = fault.changed(sds)
    places = {one.path.name: place for place, one in enumerate(sessions)}
    found = {}
    for name in (name for name, way in fault.moves.items() if abs(way) == 1.0):
        (measure,) = (one for one in result.setups[0].measures if one.measure == name)
        found[name] = any(
            places[drift.named] <= changed + WITHIN_SESSIONS
            and (drift.back is None or places[drift.back] > changed)
            and drift.distance * fault.moves[name] > 0
            for drift in measure.drifts
        )
    return found
