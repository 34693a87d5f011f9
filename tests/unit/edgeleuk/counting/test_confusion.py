"""Shares corrected for known confusions: the estimate, its intervals' coverage, and where there is none."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk.counting.confusion import (
    Confusion,
    confusion_of,
    corrected_shares,
    corrected_text,
    most_likely_shares,
)
from edgeleuk.counting.differential import WHITE_KINDS
from edgeleuk.results.schemas import schema_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeleuk.results.structs import CorrectedWhiteCells

TWO = Confusion(("blast", "lymphocyte"), ((190, 10), (20, 180)), (100, 100))
THREE = Confusion(
    ("blast", "neutrophil", "lymphocyte"),
    ((90, 0, 10), (1, 97, 2), (5, 3, 92)),
    (60, 60, 60),
)
RIGHT_OF_SIX = (0.9, 0.9, 0.95, 0.85, 0.9, 0.95)
SIX = ("blast", "band", "neutrophil", "eosinophil", "monocyte", "lymphocyte")
TWELVE = (*WHITE_KINDS, "erythroblast", "platelets", "smudge", "other")


def confusions(right: tuple[float, ...]) -> NDArray[np.float64]:
    """Return rates: each kind is called right so often, wrongly most often as the kind that follows."""
    size = len(right)
    matrix = np.zeros((size, size))
    for true, rate in enumerate(right):
        matrix[true, true] = rate
        wrong = 0.5 ** np.arange(1, size)
        matrix[true, (true + np.arange(1, size)) % size] = (1 - rate) * wrong / wrong.sum()
    return matrix


def as_json(confusion: Confusion) -> dict[str, object]:
    recorded: dict[str, object] = json.loads(json.dumps(confusion.to_json()))
    return recorded


class TestEstimate:
    def test_of_two_kinds_it_is_rogan_and_gladens(self) -> None:
        found = corrected_shares({"blast": 44, "lymphocyte": 56}, TWO).kinds["blast"]
        # 0.44 = 0.4 * 0.95 + 0.6 * 0.1
        assert found.share == pytest.approx(0.4)
        assert found.low is not None
        assert found.high is not None
        assert 0.2 < found.low < 0.4 < found.high < 0.6

    def test_below_0_it_is_0(self) -> None:
        found = corrected_shares({"blast": 8, "lymphocyte": 92}, TWO).kinds["blast"]
        assert (found.share, found.low) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
        assert found.high is not None
        assert 0.02 < found.high < 0.15

    def test_without_errors_it_is_what_was_counted(self) -> None:
        perfect = Confusion(SIX, tuple(map(tuple, (1000 * np.eye(6)).tolist())), (1000,) * 6)
        called = {"blast": 3, "neutrophil": 60, "lymphocyte": 37}
        found = corrected_shares(called, perfect).kinds
        assert {kind: of.share for kind, of in found.items()} == pytest.approx(
            {kind: called.get(kind, 0) / 100 for kind in SIX}
        )

    @given(weights=st.lists(st.integers(0, 20), min_size=6, max_size=6).filter(any))
    @settings(max_examples=40, deadline=None)
    def test_expected_counts_are_led_back_to_their_shares(self, weights: list[int]) -> None:
        shares = np.array(weights) / sum(weights)
        matrix = confusions(RIGHT_OF_SIX)
        assert most_likely_shares(1000 * shares @ matrix, matrix) == pytest.approx(shares, abs=1e-6)

    @given(called=st.lists(st.integers(0, 30), min_size=6, max_size=6).filter(any), seed=st.integers(0, 99))
    @settings(max_examples=40, deadline=None)
    def test_no_other_shares_are_likelier(self, called: list[int], seed: int) -> None:
        matrix = confusions(RIGHT_OF_SIX)
        cells = np.array(called, float)
        found = most_likely_shares(cells, matrix)
        assert found.min() >= 0
        assert found.sum() == pytest.approx(1)
        others = np.random.default_rng(seed).dirichlet(np.full(6, 0.5), 200)
        near = 0.99 * found + 0.01 * others

        def log_likelihood(shares: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.log(shares @ matrix) @ cells, np.float64)

        assert log_likelihood(np.vstack([others, near])).max() <= log_likelihood(found) + 1e-6

    def test_smudges_that_were_called_white_are_taken_off(self) -> None:
        kinds = ("blast", "lymphocyte", "smudge")
        known = Confusion(kinds, ((95, 5, 0), (5, 95, 0), (20, 0, 80)), (100, 100, 100))
        # 20 blasts, 80 lymphocytes, 100 smudges.
        called = {"blast": 19 + 4 + 20, "lymphocyte": 1 + 76, "smudge": 80}
        found = corrected_shares(called, known)
        assert found.n == 120
        assert list(found.kinds) == ["blast", "lymphocyte"]
        assert found.kinds["blast"].share == pytest.approx(0.2)

    def test_names_are_those_of_the_differential(self) -> None:
        counts = {
            "blast": 44,
            "normal": 50,
            "lymphocyte": 6,
            "uncertain": 9,
            "platelets": 99,
            "blast-like": 2,
        }
        assert corrected_shares(counts, TWO) == corrected_shares({"blast": 44, "lymphocyte": 56}, TWO)


class TestIntervals:
    def test_it_is_the_same_each_time(self) -> None:
        called = {"blast": 9, "neutrophil": 60, "lymphocyte": 31}
        assert corrected_shares(called, THREE) == corrected_shares(called, THREE)

    @given(called=st.lists(st.integers(0, 90), min_size=3, max_size=3).filter(lambda n: sum(n) >= 20))
    @settings(max_examples=30, deadline=None)
    def test_the_share_is_inside(self, called: list[int]) -> None:
        found = corrected_shares(dict(zip(THREE.kinds, called, strict=True)), THREE)
        assert (found.reason is None) == bool(found.kinds)
        for of in found.kinds.values():
            assert of.low is not None
            assert of.share is not None
            assert of.high is not None
            assert 0 <= of.low <= of.share <= of.high <= 1
            assert of.high > 0

    @pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
    def test_the_order_of_the_kinds_does_not_matter(self, order: tuple[int, ...]) -> None:
        counts = np.array(THREE.counts)[np.ix_(order, order)]
        again = replace(
            THREE,
            kinds=tuple(THREE.kinds[index] for index in order),
            counts=tuple(map(tuple, counts.tolist())),
        )
        called = {"blast": 9, "neutrophil": 60, "lymphocyte": 31}
        found, other = corrected_shares(called, THREE).kinds, corrected_shares(called, again).kinds
        for kind in THREE.kinds:
            assert other[kind].share == pytest.approx(found[kind].share)
            # The draws differ.
            assert other[kind].low == pytest.approx(found[kind].low, abs=0.015)
            assert other[kind].high == pytest.approx(found[kind].high, abs=0.015)

    def test_less_known_confusions_make_wider_intervals(self) -> None:
        called = {"blast": 90, "neutrophil": 600, "lymphocyte": 310}
        widths = []
        for effective in (10.0, 30.0, 90.0):
            of = corrected_shares(called, replace(THREE, effective=(effective,) * 3)).kinds["blast"]
            assert of.low is not None
            assert of.high is not None
            widths.append(of.high - of.low)
        assert widths == sorted(widths, reverse=True)

    @pytest.mark.parametrize(
        ("shares", "right", "cells", "held_out"),
        [
            ((0.6, 0.3, 0.1), (0.95, 0.9, 0.9), 50, 15),
            ((0.6, 0.3, 0.1), (0.95, 0.9, 0.9), 300, 60),
            ((0.3, 0.69, 0.01), (0.8, 0.85, 0.9), 200, 300),
            ((0.02, 0.04, 0.55, 0.03, 0.06, 0.3), RIGHT_OF_SIX, 100, 40),
            # The confusions are known much less well than the shares that were counted.
            ((0, 0.04, 0.6, 0, 0.06, 0.3), RIGHT_OF_SIX, 1000, 100),
        ],
    )
    def test_the_coverage_by_simulation(
        self, shares: tuple[float, ...], right: tuple[float, ...], cells: int, held_out: int
    ) -> None:
        """New counts, and new held-out cells each time: 150 of both."""
        random = np.random.default_rng(7)
        matrix, kinds = confusions(right), SIX[: len(shares)]
        inside = np.zeros(len(shares))
        for _ in range(150):
            held = np.array([random.multinomial(held_out, row) for row in matrix])
            called = random.multinomial(cells, np.array(shares) @ matrix)
            known = Confusion(kinds, tuple(map(tuple, held.tolist())), (held_out,) * len(kinds))
            found = corrected_shares(dict(zip(kinds, called.tolist(), strict=True)), known)
            assert found.reason is None
            inside += [
                of.low is not None and of.high is not None and of.low - 1e-9 <= share <= of.high
                for share, of in zip(shares, found.kinds.values(), strict=True)
            ]
        # Two standard errors of the simulation, of each kind three.
        assert inside.mean() / 150 >= 0.95 - 2 * (0.95 * 0.05 / 150 / len(shares)) ** 0.5
        assert inside.min() / 150 >= 0.95 - 3 * (0.95 * 0.05 / 150) ** 0.5

    @pytest.mark.parametrize("blasts", range(4, 14))
    def test_what_is_below_0_keeps_an_upper_end(self, blasts: int) -> None:
        """Fewer blasts than lymphocytes are called blasts by mistake: none, and hence more than none."""
        found = corrected_shares({"blast": blasts, "lymphocyte": 200 - blasts}, TWO)
        assert found.reason is None
        blast, lymphocyte = found.kinds["blast"], found.kinds["lymphocyte"]
        assert blast.high is not None
        assert lymphocyte.low is not None
        # The exact upper end of 0 of 200 cells is 1.8 %.
        assert 0.018 < blast.high < 0.1
        assert 0.9 < lymphocyte.low < 0.982

    def test_the_lower_end_reckons_with_mistakes_that_no_held_out_cell_showed(self) -> None:
        """20 of 1,000 neutrophils are called eosinophils, and none of the 60 that were held out."""
        known = Confusion(("eosinophil", "neutrophil"), ((60, 0), (0, 60)), (60, 60))
        found = corrected_shares({"eosinophil": 20, "neutrophil": 980}, known).kinds["eosinophil"]
        assert found.share == pytest.approx(0.02)
        assert found.low == 0

    def test_uncorrected_shares_are_off(self) -> None:
        """What the correction is for: few blasts among many lymphocytes that are called blasts."""
        right = (0.9, 0.9)
        matrix = confusions(right)
        called = np.array([0.02, 0.98]) @ matrix * 1000
        known = Confusion(("blast", "lymphocyte"), tuple(map(tuple, (500 * matrix).tolist())), (500, 500))
        counts = {"blast": round(called[0]), "lymphocyte": round(called[1])}
        found = corrected_shares(counts, known).kinds["blast"]
        assert counts["blast"] / 1000 > 0.11
        assert found.share == pytest.approx(0.02, abs=0.002)
        assert found.high is not None
        assert found.high < 0.08


class TestNoCorrection:
    @pytest.mark.parametrize(
        ("counts", "confusion", "reason"),
        [
            ({"blast": 9, "lymphocyte": 30}, "nobody knows", "^nobody knows$"),
            ({"blast": 9, "lymphocyte": 10, "uncertain": 99}, TWO, "only 19 white cells were called, 20 or"),
            ({"blast": 9, "lymphocyte": 10, "platelets": 99}, TWO, "only 19 white cells were called, 20 or"),
            ({"blast": 9, "lymphocyte": 30, "band": 1}, TWO, "not known how often band is confused"),
            (
                {"blast": 9, "lymphocyte": 30},
                replace(THREE, counts=((9, 0, 1), (0, 0, 0), (1, 0, 9)), effective=(9, 0, 9)),
                "no cell of neutrophil was held out",
            ),
            (
                {"blast": 9, "lymphocyte": 30},
                replace(TWO, effective=(0, 100)),
                "no cell of blast was held out",
            ),
            (
                {"blast": 9, "lymphocyte": 30},
                replace(TWO, counts=((0, 200), (0, 200))),
                "no held-out cell was called blast, yet",
            ),
            (
                {"blast": 9, "lymphocyte": 30},
                replace(TWO, counts=((100, 100), (96, 104))),
                "too much alike to tell their shares, most of all blast and lymphocyte",
            ),
            (
                {"blast": 9, "lymphocyte": 30},
                replace(THREE, counts=((90, 0, 10), (5, 45, 50), (5, 45, 50))),
                "most of all neutrophil and lymphocyte",
            ),
            (
                {"blast": 1, "lymphocyte": 999},
                replace(TWO, effective=(200, 200)),
                "known confusions do not hold for these cells",
            ),
            (
                {"blast": 1000},
                Confusion(("blast", "lymphocyte"), ((140, 60), (20, 180)), (200, 200)),
                "known confusions do not hold for these cells",
            ),
            (
                {"lymphocyte": 20, "smudge": 80},
                Confusion(("lymphocyte", "smudge"), ((99, 1), (20, 80)), (100, 100)),
                "hardly any of the cells are white cells",
            ),
        ],
    )
    def test_why(self, counts: dict[str, int], confusion: Confusion | str, reason: str) -> None:
        found = corrected_shares(counts, confusion)
        assert found.kinds == {}
        assert re.search(reason, found.reason or "")
        assert corrected_text(found) == [f"corrected no shares: {found.reason}"]

    def test_of_twenty_cells_there_is_one(self) -> None:
        assert corrected_shares({"blast": 9, "lymphocyte": 11}, TWO).reason is None


@pytest.mark.parametrize(
    ("kinds", "counts", "effective"),
    [
        ((), (), ()),
        (("blast", "blast"), ((1, 1), (1, 1)), (1, 1)),
        (("blast", "leucocyte"), ((1, 1), (1, 1)), (1, 1)),
        (("blast", "band"), ((1, 1),), (1, 1)),
        (("blast", "band"), ((1, 1), (1,)), (1, 1)),
        (("blast", "band"), ((1, 1), (1, 1)), (1,)),
        (("blast", "band"), ((1, 1), (1, -1)), (1, 0)),
        (("blast", "band"), ((1, 1), (1, float("nan"))), (1, 0)),
        (("blast", "band"), ((1, 1), (1, 1)), (1, 3)),
    ],
)
def test_what_is_no_matrix(
    kinds: tuple[str, ...], counts: tuple[tuple[float, ...], ...], effective: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="expected a square matrix"):
        Confusion(kinds, counts, effective)


class TestRecorded:
    def test_it_is_read_back(self) -> None:
        assert confusion_of(as_json(THREE)) == THREE

    @pytest.mark.parametrize(
        ("recorded", "reason"),
        [
            (None, "nothing was recorded"),
            ({"reason": "too few"}, "too few"),
            ({"kinds": ["blast"]}, "cannot be read"),
            (as_json(TWO) | {"effective": [1, 900]}, "cannot be read"),
            (as_json(TWO) | {"counts": 3}, "cannot be read"),
        ],
    )
    def test_or_why_it_cannot_be(self, recorded: object, reason: str) -> None:
        assert reason in str(confusion_of(recorded))


def corrected_twelve() -> CorrectedWhiteCells:
    matrix = confusions((0.9,) * 12)
    known = Confusion(TWELVE, tuple(map(tuple, (100 * matrix).tolist())), (50.0,) * 12)
    shares = np.array([0.03, 0.02, 0.03, 0.5, 0.02, 0.01, 0.06, 0.25, 0.02, 0.03, 0.02, 0.01])
    called = np.round(500 * shares @ matrix).astype(int)
    return corrected_shares(dict(zip(TWELVE, called.tolist(), strict=True)), known)


def test_twelve_kinds_in_words() -> None:
    found = corrected_twelve()
    lines = corrected_text(found)
    assert len(lines) == 9
    assert f"of {found.n} white cells" in lines[0]
    assert lines[1].split()[:2] == ["blast", f"{found.kinds['blast'].share:.1%}"]
    assert lines[1].endswith("known as from 50 cells")
    assert all(len(line) < 110 for line in lines)
    assert schema_of(type(found))["$ref"] == "#/$defs/CorrectedWhiteCells"
