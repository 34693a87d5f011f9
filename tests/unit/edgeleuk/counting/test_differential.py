"""The differential count: what is in which denominator, what is told, and the lines for people."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk.counting.differential import (
    UNCERTAIN,
    WHITE_KINDS,
    differential,
    differential_text,
    final_counts,
)
from edgeleuk.counting.multinomial import simultaneous_intervals
from edgeleuk.results import Counted, Proportion
from edgeleuk.results.kinds import LABELS, NOT_WHITE, Kind
from edgeleuk.results.schemas import schema_of
from edgeleuk.results.structs import DifferentialCount

SMEAR = {
    "blast": 6,
    "lymphocyte": 24,
    "neutrophil": 60,
    "monocyte": 8,
    "eosinophil": 2,
    "erythroblast": 3,
    "platelets": 40,
    "smudge": 5,
    UNCERTAIN: 7,
}
COUNTS = st.dictionaries(st.sampled_from([*LABELS, UNCERTAIN]), st.integers(0, 200))


def test_who_is_in_which_denominator() -> None:
    facts = differential(SMEAR)
    white, of_white, of_lymphoid = (
        facts.white_cells,
        facts.blasts_of_white_cells,
        facts.blasts_of_lymphoid_cells,
    )
    assert white.n == of_white.n == 100
    assert {name: of.count for name, of in white.kinds.items()} == {
        "blast": 6, "neutrophil": 60, "eosinophil": 2, "monocyte": 8, "lymphocyte": 24,
    }  # fmt: skip
    assert list(white.kinds) == [name for name in WHITE_KINDS if name in SMEAR]
    assert (of_white.count, of_white.share) == (6, 0.06)
    assert (of_lymphoid.count, of_lymphoid.n, of_lymphoid.share) == (6, 30, 0.2)
    exact = Proportion(6, 100), Proportion(6, 30)
    assert [(of.low, of.high) for of in (of_white, of_lymphoid)] == [(of.low, of.high) for of in exact]
    assert facts.uncertain == 7
    assert (facts.erythroblasts.count, facts.erythroblasts.per_100_white_cells) == (3, 3.0)
    assert facts.beside == {"platelets": 40, "smudge": 5}


def test_the_intervals_of_the_kinds_hold_at_once() -> None:
    facts = differential(SMEAR)
    kinds = facts.white_cells.kinds
    expected = simultaneous_intervals([of.count for of in kinds.values()])
    assert [(of.low, of.high) for of in kinds.values()] == expected
    # Which is wider than the interval of one share alone.
    assert kinds["blast"].high is not None
    assert facts.blasts_of_white_cells.high is not None
    assert kinds["blast"].high > facts.blasts_of_white_cells.high


def test_kinds_that_were_asked_for_are_listed_without_a_cell() -> None:
    few, many = differential({"neutrophil": 50}), differential({"neutrophil": 50}, asked=WHITE_KINDS)
    assert list(few.white_cells.kinds) == ["blast", "neutrophil", "lymphocyte"]
    assert list(many.white_cells.kinds) == list(WHITE_KINDS)
    basophil = many.white_cells.kinds["basophil"]
    assert (basophil.count, basophil.share, basophil.low) == (0, 0.0, 0.0)
    assert basophil.high is not None
    assert 0 < basophil.high < 0.2
    # More kinds, more that may be missed.
    assert many.white_cells.kinds["neutrophil"].low is not None
    assert few.white_cells.kinds["neutrophil"].low is not None
    assert many.white_cells.kinds["neutrophil"].low < few.white_cells.kinds["neutrophil"].low


@given(counts=COUNTS)
@settings(max_examples=60, deadline=None)
def test_every_cell_is_in_one_place(counts: dict[str, int]) -> None:
    facts = differential(counts)
    white = facts.white_cells
    beside = facts.uncertain + facts.erythroblasts.count + sum(facts.beside.values())
    assert white.n == sum(of.count for of in white.kinds.values())
    assert white.n + beside == sum(counts.values())
    if white.n:
        assert sum(of.share or 0.0 for of in white.kinds.values()) == pytest.approx(1)
    # What is printed is what was made, and the lines can be made of all of it.
    assert msgspec.json.decode(json.dumps(facts.to_json()), type=DifferentialCount) == facts
    assert all(line == line.rstrip() and len(line) < 110 for line in differential_text(facts))


@given(
    counts=COUNTS, more=st.integers(1, 500), name=st.sampled_from([*NOT_WHITE, UNCERTAIN, Kind.BLAST_LIKE])
)
@settings(max_examples=30, deadline=None)
def test_what_is_beside_moves_no_share(counts: dict[str, int], more: int, name: str) -> None:
    facts = differential(counts)
    again = differential({**counts, name: counts.get(name, 0) + more})
    for field in ("white_cells", "blasts_of_white_cells", "blasts_of_lymphoid_cells"):
        assert getattr(again, field) == getattr(facts, field)


def test_a_normal_lymphoid_cell_is_a_lymphocyte() -> None:
    assert differential({"blast": 1, "normal": 4, "lymphocyte": 5}) == differential(
        {"blast": 1, "lymphocyte": 9}
    )


def test_a_sessions_counts() -> None:
    counted = Counted(3, 9, 4, kinds={Kind.BAND: 2, Kind.ERYTHROBLAST: 1})
    facts = differential(final_counts(counted))
    assert facts.white_cells.n == counted.white == 14
    assert facts.uncertain == 4
    assert facts.erythroblasts.count == 1


class TestNoShare:
    def test_of_nothing(self) -> None:
        facts = differential({})
        assert facts.white_cells.reason == facts.blasts_of_white_cells.reason == "no white cell was called"
        assert facts.blasts_of_lymphoid_cells.reason == "no cell was called blast or lymphocyte"
        assert facts.erythroblasts.per_100_white_cells is None
        assert differential_text(facts) == [
            "white     0 cells; no shares: no white cell was called",
            "blasts    no share of white cells: no white cell was called",
            "blasts    no share of lymphoid cells: no cell was called blast or lymphocyte",
        ]

    def test_of_no_lymphoid_cell(self) -> None:
        facts = differential({"neutrophil": 9})
        assert facts.blasts_of_white_cells.share == 0
        assert facts.blasts_of_lymphoid_cells.share is None

    @pytest.mark.parametrize(
        "reasons",
        [
            {"no_white_share": "too much is unlike"},
            {"no_lymphoid_share": "too much is unlike"},
            {"no_white_share": "too much is unlike", "no_lymphoid_share": "too much is unlike"},
        ],
    )
    def test_the_callers_reason_is_told_instead(self, reasons: dict[str, str]) -> None:
        facts = differential(SMEAR, **reasons)
        no_white, no_lymphoid = "no_white_share" in reasons, "no_lymphoid_share" in reasons
        told: list[tuple[Any, bool]] = [
            (facts.blasts_of_white_cells, no_white),
            (facts.blasts_of_lymphoid_cells, no_lymphoid),
            *((of, no_white) for of in facts.white_cells.kinds.values()),
        ]
        for of, untold in told:
            assert (of.share is None) == (of.low is None) == (of.high is None) == untold
        assert (facts.white_cells.reason is not None) == no_white
        assert (facts.erythroblasts.per_100_white_cells is None) == no_white
        # The counts stay.
        assert facts.white_cells.kinds["neutrophil"].count == 60
        text = "\n".join(differential_text(facts))
        assert text.count("too much is unlike") == 2 * no_white + no_lymphoid
        assert ("% of 100 white cells" in text, "% of 30 lymphoid" in text) == (not no_white, not no_lymphoid)


def test_the_lines() -> None:
    assert differential_text(differential(SMEAR)) == [
        "white     100 cells; their shares with simultaneous 95 % intervals",
        "          blast        6   6.0%   1.6% to 14.9%",
        "          neutrophil  60  60.0%  46.6% to 72.4%",
        "          eosinophil   2   2.0%   0.1% to 8.9%",
        "          monocyte     8   8.0%   2.6% to 17.6%",
        "          lymphocyte  24  24.0%  14.0% to 36.6%",
        "blasts    6.0% of 100 white cells, exact 95 % interval 2.2% to 12.6%",
        "blasts    20.0% of 30 lymphoid cells, exact 95 % interval 7.7% to 38.6%",
        "uncertain 7 cells, in no share",
        "beside    3 erythroblast (3.0 per 100 white cells), 40 platelets, 5 smudge; in no share",
    ]


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [({"blasts": 3}, "expected one of blast, .*, got blasts"), ({"blast": -1}, "got -1 of blast")],
)
def test_what_are_no_counts(counts: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        differential(counts)


def test_an_unknown_kind_is_not_asked_for() -> None:
    with pytest.raises(ValueError, match="got lymphoblast"):
        differential({}, asked=["lymphoblast"])


def test_it_has_a_schema() -> None:
    assert schema_of(DifferentialCount)["$ref"] == "#/$defs/DifferentialCount"


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_of_erythroblasts_is_that_of_the_share_they_are_the_odds_of(count: int, n: int) -> None:
    of = differential({"neutrophil": n, "erythroblast": count}).erythroblasts
    assert of.per_100_white_cells == pytest.approx(100 * count / n)
    assert of.low <= of.per_100_white_cells <= of.high < math.inf
    assert (of.low == 0) == (count == 0)
    share = Proportion(count, count + n)
    assert [end / (100 + end) for end in (of.low, of.high)] == pytest.approx([share.low, share.high])
    foreign = differential({"neutrophil": n}, no_white_share="why").erythroblasts
    assert (foreign.low, foreign.high) == (None, None)
