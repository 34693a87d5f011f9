"""Counts after a review: laws, known limits, and the coverage of the intervals over simulated sessions."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import comb

import numpy as np
import pytest

from edgeleuk.counting.stratified import Looks, Reviewed, hypergeometric_limits

# Of each stratum: cells, and the share of blasts among them.
SLIDES = {
    "few blasts": ((400, 0.005), (120, 0.3), (60, 0.0), (5, 0.4)),
    "many": ((300, 0.5), (200, 0.8), (40, 0.1), (1, 1.0)),
    "none at all": ((500, 0.0), (80, 0.0), (9, 0.0)),
    "one stratum": ((250, 0.04),),
}


def is_blast(_: object, name: str) -> bool:
    return name == "blast"


def everything(_: object, __: str) -> bool:
    return True


@pytest.mark.parametrize("slide", SLIDES)
@pytest.mark.parametrize("share_looked_at", [0.05, 0.3])
def test_intervals_cover(slide: str, share_looked_at: float) -> None:
    """Of 95 % intervals at least 95 % hold the truth; 2 points are left for the 400 simulated sessions."""
    chance = np.random.default_rng(5)
    held = shares_held = 0
    sessions = 400
    for _ in range(sessions):
        strata, truth, total = {}, 0, 0
        for number, (cells, share) in enumerate(SLIDES[slide]):
            blasts = int(chance.binomial(cells, share))
            # A reader opens some cells out of turn, and rather those that are blasts.
            chosen = min(blasts, int(chance.binomial(cells, 0.02)))
            drawn = max(1, round((cells - chosen) * share_looked_at)) if cells > chosen else 0
            found = int(chance.hypergeometric(blasts - chosen, cells - blasts, drawn)) if drawn else 0
            strata[number] = Looks(cells, Counter(blast=found, normal=drawn - found), Counter(blast=chosen))
            truth, total = truth + blasts, total + cells
        reviewed = Reviewed(strata)
        estimate, portion = reviewed.count(is_blast), reviewed.share(is_blast, everything)
        assert portion.low is not None
        assert portion.high is not None
        held += estimate.low <= truth <= estimate.high
        shares_held += portion.low <= truth / total <= portion.high
    assert held / sessions >= 0.93
    assert shares_held / sessions >= 0.93


def test_the_estimate_is_right_in_the_mean() -> None:
    """Also where a reader chose cells by what they are: those say nothing of the others."""
    chance = np.random.default_rng(6)
    blasts, cells, chosen, drawn = 40, 200, 25, 30
    found = chance.hypergeometric(blasts - chosen, cells - blasts, drawn, size=4000)
    estimates = [
        Reviewed({0: Looks(cells, Counter(blast=int(n), normal=drawn - int(n)), Counter(blast=chosen))})
        .count(is_blast)
        .estimate
        or 0.0
        for n in found
    ]
    assert np.mean(estimates) == pytest.approx(blasts, abs=0.5)


def test_all_cells_looked_at_leave_no_width() -> None:
    reviewed = Reviewed(
        {
            "a": Looks(10, drawn=Counter(blast=3, normal=7)),
            "b": Looks(5, drawn=Counter(normal=1), chosen=Counter(blast=4)),
            "c": Looks(0),
        }
    )
    found = reviewed.count(is_blast)
    assert (found.seen, found.estimate, found.low, found.high) == (7, 7, 7, 7)
    share = reviewed.share(is_blast, everything)
    assert share.share == share.low == share.high == pytest.approx(7 / 15)


def test_a_stratum_without_a_random_look_has_no_number() -> None:
    strata = {"a": Looks(10, drawn=Counter(normal=5)), "b": Looks(5, chosen=Counter(blast=4))}
    found = Reviewed(strata, lambda key: f"stratum {key}").count(is_blast)
    # The ten cells have none to six more, and the one that nobody saw may be anything.
    low, high = hypergeometric_limits(0, 5, 10)
    assert (found.seen, found.estimate, found.low, found.high) == (4, None, 4 + low, 4 + high + 1)
    assert found.reason == "nobody looked at a random cell of: stratum b (1 cells)"
    assert Reviewed(strata).share(is_blast, everything).share is None


def test_shares_of_nothing() -> None:
    found = Reviewed({"a": Looks(2, drawn=Counter(smudge=2))}).share(is_blast, is_blast)
    assert (found.share, found.reason) == (None, "no cell is known to belong there")


def test_more_looks_never_widen() -> None:
    widths = [
        high - low
        for drawn in (10, 20, 40, 80, 160, 200)
        for low, high in [hypergeometric_limits(drawn // 10, drawn, 200)]
    ]
    assert all(more <= fewer for fewer, more in pairwise(widths))
    assert widths[-1] == 0


def test_limits_are_those_of_the_tails() -> None:
    """Compared with whole numbers' own arithmetic: just inside a tail is above 2.5 %, just outside below."""
    found, drawn, cells = 3, 12, 50
    low, high = hypergeometric_limits(found, drawn, cells)

    def tail(there: int, numbers: range) -> float:
        ways = sum(comb(there, k) * comb(cells - there, drawn - k) for k in numbers)
        return ways / comb(cells, drawn)

    upper, lower = range(found, drawn + 1), range(found + 1)
    assert tail(low, upper) > 0.025 >= tail(low - 1, upper)
    assert tail(high, lower) > 0.025 >= tail(high + 1, lower)


def test_inclusion() -> None:
    assert Looks(100, Counter(blast=20), Counter(blast=20)).inclusion == 0.25
    assert Looks(2, chosen=Counter(blast=2)).inclusion == 1.0


@pytest.mark.parametrize("looks", [(1, Counter(a=2), Counter()), (3, Counter(a=-1), Counter())])
def test_impossible_looks(looks: tuple[int, Counter[str], Counter[str]]) -> None:
    with pytest.raises(ValueError, match="looks and none below 0"):
        Looks(*looks)


def test_impossible_samples() -> None:
    with pytest.raises(ValueError, match="expected 0 <= found <= drawn <= cells"):
        hypergeometric_limits(3, 2, 5)
