"""Counting: what a bundle tells of its error, the correction, and how many cells are still needed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from edgeleuk.bundle.known_error import known_error
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.counting.intervals import (
    Called,
    KnownError,
    Rate,
    called_of,
    cells_needed,
    corrected_share,
    counting_facts,
    counting_text,
    effective_cells,
    half_width_points,
    known_error_of,
    precise_enough,
    share_text,
    way_on_text,
)
from edgeleuk.errors import BundleError
from edgeleuk.results import (
    CUT,
    SCALE_IMPLAUSIBLE,
    SCALE_UNKNOWN,
    STUCK_DUST,
    Check,
    Counted,
    Decision,
    Proportion,
    cells_text,
    check_of,
)

if TYPE_CHECKING:
    from outcome import Call

    from edgeleuk.bundle.contents import Bundle

GOOD = KnownError(0.6, Rate(0.95, 200, 100), Rate(0.9, 200, 100))
COUNTS = Counted(20, 60, 20, {Check.PROBABILITY: 8, Check.AREA: 12})


def bundle_with(**validation: Any) -> Bundle:
    shipped = read_bundle("default")
    said = json.loads(shipped.members["validation.json"]) | validation
    return replace(shipped, members={**shipped.members, "validation.json": json.dumps(said).encode()})


class TestKnownError:
    def test_of_the_shipped_bundle(self) -> None:
        """Its matrix stands in validation.json only as rates: 927 of 1009 and 370 of 449."""
        found = known_error(read_bundle("default"), "model.int8.tflite")
        assert isinstance(found, KnownError)
        assert found.sensitivity.cells == pytest.approx(1009)
        assert found.specificity.cells == pytest.approx(449)
        assert found.sensitivity.share * 1009 == pytest.approx(927)
        # Nine groups of subjects tell much less than 1458 cells.
        assert 80 < found.sensitivity.effective < 100
        assert 10 < found.specificity.effective < 20
        assert known_error_of(json.loads(json.dumps(found.to_json()))) == found

    @pytest.mark.parametrize(
        ("validation", "reason"),
        [
            ({"tflite_int8": None}, "does not tell how often this network is right"),
            ({"threshold": 0.5}, "validated with another threshold"),
            ({"threshold": None}, "validated with another threshold"),
        ],
    )
    def test_where_nobody_knows(self, validation: dict[str, object], reason: str) -> None:
        found = known_error(bundle_with(**validation), "model.int8.tflite")
        assert reason in str(found)
        facts = counting_facts(COUNTS, None, found)
        assert (facts["corrected_blast_share"]["share"], facts["corrected_blast_share"]["reason"]) == (
            None, found,
        )  # fmt: skip
        assert f"corrected none: {found}" in counting_text(facts)

    def test_without_intervals_each_group_counts_as_one_cell(self) -> None:
        said = json.loads(read_bundle("default").members["validation.json"])["tflite_int8"]
        bundle = bundle_with(tflite_int8={**said, "interval_95": {}})
        found = known_error(bundle, "model.int8.tflite")
        assert isinstance(found, KnownError)
        assert (found.sensitivity.effective, found.specificity.effective) == (9, 9)

    def test_a_validation_that_is_none(self) -> None:
        with pytest.raises(BundleError, match=r"validation in .* cannot be read"):
            known_error(bundle_with(tflite_int8=3), "model.int8.tflite")

    @pytest.mark.parametrize(
        "recorded",
        [
            None,
            3,
            {"reason": "why"},
            {"threshold": 1},
            GOOD.to_json() | {"sensitivity": {"share": 2.0, "cells": 200, "effective": 100}},
            GOOD.to_json() | {"specificity": {"share": 0.9, "cells": 200, "effective": 1e9}},
            GOOD.to_json() | {"specificity": {"share": 0.9, "cells": "many", "effective": 9}},
        ],
    )
    def test_what_a_session_may_have_recorded(self, recorded: object) -> None:
        assert isinstance(known_error_of(recorded), str)

    @pytest.mark.parametrize(
        ("share", "interval", "effective"),
        [
            (0.9, (0.0, 1.0), 1.0),
            (0.9, (0.8999, 0.9001), 50.0),
            (0.9, (0.9, 0.9), 7),
            (0.0, (0.0, 0.3), 7),
            (0.9, None, 7),
        ],
    )
    def test_effective_cells(
        self, share: float, interval: tuple[float, float] | None, effective: float
    ) -> None:
        assert effective_cells(share, 50.0, 7, interval) == pytest.approx(effective, abs=0.4)


class TestCorrection:
    def test_the_estimate_is_rogan_and_gladens(self) -> None:
        found = corrected_share(Called(44, 100), GOOD)
        assert isinstance(found, tuple)
        # 0.44 = 0.4 * 0.95 + 0.6 * 0.1
        assert found[0] == pytest.approx(0.4)
        assert found[1] < 0.4 < found[2]

    def test_a_share_below_the_false_positives_is_none(self) -> None:
        found = corrected_share(Called(8, 100), GOOD)
        assert isinstance(found, tuple)
        assert found[:2] == (0, 0)
        assert 0 < found[2] < 0.15

    @pytest.mark.parametrize(
        ("called", "error", "reason"),
        [
            (Called(0, 0), GOOD, "no cell like the training cells has a probability"),
            (Called(2, 900), GOOD, "does not hold for these cells"),
            (Called(999, 999), KnownError(0.6, Rate(0.7, 999, 999), GOOD.specificity), "does not hold"),
            (Called(3, 9), replace(GOOD, sensitivity=Rate(0.12, 99, 99)), "hardly better than chance"),
            (
                Called(3, 9),
                KnownError(0.6, Rate(0.95, 99, 1), Rate(0.12, 999, 999)),
                "too few held-out cells",
            ),
        ],
    )
    def test_where_there_is_none(self, called: Called, error: KnownError, reason: str) -> None:
        assert reason in str(corrected_share(called, error))

    def test_less_known_error_makes_a_wider_interval(self) -> None:
        widths = []
        for effective in (10.0, 100.0, 10_000.0):
            error = KnownError(0.6, Rate(0.95, 1e5, effective), Rate(0.9, 1e5, effective))
            found = corrected_share(Called(300, 1000), error)
            assert isinstance(found, tuple)
            widths.append(found[2] - found[1])
        assert widths == sorted(widths, reverse=True)


class TestCellsNeeded:
    @pytest.mark.parametrize("count", [0, 1, 20, 50, 100])
    @pytest.mark.parametrize("points", [2.0, 5.0, 20.0])
    def test_so_many_more_are_enough_and_one_less_is_not(self, count: int, points: float) -> None:
        share = Proportion(count, 100)
        more = cells_needed(share, points)
        if more == 0:
            assert half_width_points(share) <= points
            return
        total = 100 + more
        # Only at whole counts is a share of cells one that can be counted.
        whole = [n for n in range(total, total + 101) if (count * n) % 100 == 0][:1]
        for n in whole:
            assert half_width_points(Proportion(count * n // 100, n)) <= points
        assert half_width_points(share) > points

    def test_the_textbook(self) -> None:
        # Wald's n for 50 % and 5 points is 385; the exact interval wants some more.
        assert 385 < cells_needed(Proportion(0, 0), 5) < 410

    def test_what_no_count_reaches_is_capped(self) -> None:
        assert cells_needed(Proportion(5, 10), 1e-7) == 1_000_000_000


class TestForeignCells:
    """What the network was never taught has no part in any share."""

    @pytest.mark.parametrize(
        ("counted", "told"),
        [
            (Counted(20, 60, 20, {Check.PROBABILITY: 20}), True),
            (Counted(20, 60, 20, {Check.AREA: 20}), True),
            (Counted(20, 59, 21, {Check.AREA: 11, Check.COLOUR: 10}), False),
            (Counted(0, 0, 33, {Check.COLOUR: 21, Check.AREA: 12}), False),
            (Counted(1, 0, 1, {Check.SCALE: 1}), False),
            (Counted(1, 0, 1, {Check.SHARPNESS: 1}), False),
            (Counted(1, 0, 1, {Check.FEATURES: 1}), False),
            # Parts of cells, and dust, are no cells of another kind.
            (Counted(8, 0, 42, {Check.BORDER: 40, Check.DUST: 1, Check.AREA: 1}), True),
        ],
    )
    def test_too_many_and_no_share_is_told(self, counted: Counted, told: bool) -> None:
        facts = counting_facts(counted, Called(40, 100), GOOD)
        share = counted.share_facts()
        shares = [
            share, *(facts["differential"][decision.value] for decision in Decision),
            facts["corrected_blast_share"],
        ]  # fmt: skip
        assert [of["share"] is not None for of in shares] == [told] * 6
        assert (facts["precision"]["half_width_points"] is not None) == told
        assert precise_enough(counted, 50) == told
        lines = "\n".join([*share_text(share), *counting_text(facts)])
        assert ("%" in re.sub(r", more than 20%", "", lines)) == told
        if not told:
            assert "are unlike the training cells" in lines
            assert (
                share["reason"] == facts["differential"]["reason"] == facts["corrected_blast_share"]["reason"]
            )

    @pytest.mark.parametrize(("cells", "told"), [(19, False), (20, True)])
    def test_few_cells_are_not_corrected(self, cells: int, told: bool) -> None:
        facts = counting_facts(
            Counted(0, cells, 0), Called(0, cells), replace(GOOD, specificity=Rate(1, 9, 9))
        )
        corrected = facts["corrected_blast_share"]
        assert (corrected["share"] is not None) == told
        assert (
            told or corrected["reason"] == "only 19 cells are like the training cells, 20 or more are needed"
        )

    def test_they_are_not_called(self) -> None:
        cells = [
            (0.9, None),
            (0.1, None),
            (0.8, "probability between 0.60 and 0.85"),
            (None, "scale unknown"),
        ]
        foreign = [
            (0.99, f"{start} and so on")
            for start in ("area 9", "colour: red/blue", "sharpness 9", "features are")
        ]
        assert called_of(cells + foreign, 0.5) == Called(2, 3)

    def test_the_reasons_are_named_the_most_frequent_first(self) -> None:
        counted = Counted(0, 0, 33, {Check.AREA: 12, Check.COLOUR: 21})
        assert (
            counted.text()
            == cells_text(counted.to_json())
            == "0 blast, 0 normal, 33 uncertain (colour 21, area 12)"
        )
        by_reason = {"area": 12, "colour": 21, "sharpness": 1}
        assert [line.split(":")[0] for line in way_on_text(by_reason)] == [
            "way on    colour",
            "way on    area",
        ]
        assert way_on_text({}) == []

    @pytest.mark.parametrize(
        ("reason", "check"),
        [
            (SCALE_UNKNOWN, Check.SCALE),
            (SCALE_IMPLAUSIBLE, Check.SCALE),
            (STUCK_DUST, Check.DUST),
            (CUT, Check.BORDER),
        ],
    )
    def test_the_words_of_the_pipeline_are_known(self, reason: str, check: Check) -> None:
        assert check_of(reason) is check

    def test_what_nobody_knows_is_foreign(self) -> None:
        assert check_of("older words") is check_of(None) is Check.OTHER
        assert Counted(4, 0, 2, {Check.OTHER: 2}).no_share is not None


def test_all_of_it_in_words() -> None:
    facts = counting_facts(COUNTS, Called(40, 100), GOOD, until_points=8)
    assert facts["differential"]["n"] == 100
    assert facts["differential"]["normal"]["count"] == 60
    assert facts["precision"]["until_points"] == facts["precision"]["points"] == 8
    text = "\n".join(counting_text(facts))
    assert "of 100 cells: 20.0% blast (12.7% to 29.2%)" in text
    assert "corrected 35.3% blasts of 100 cells like the training cells" in text
    assert f"about {facts['precision']['cells_needed']} more cells for +-8" in text
    assert "no more cells are needed for +-50" in "\n".join(
        counting_text(counting_facts(COUNTS, None, "unknown", until_points=50))
    )
    assert counting_text(counting_facts(Counted(), None, "unknown"))[0] == "corrected none: unknown"


def test_a_run_ends_when_the_share_is_known(edgeleuk: Call) -> None:
    camera = "virtual://?seed=1&width=640&height=480&white_cells_per_field=3"
    outcome = edgeleuk("run", "--camera", camera, "--session", "s.db", "--until-points", 30, "--json")
    facts = json.loads(outcome.out)
    assert outcome.code == 0, outcome.err
    assert facts["ended"] == "the exact 95 % interval is within +-30 points"
    assert facts["precision"]["until_points"] == 30
    assert facts["precision"]["cells_needed"] == 0
    # Not one frame more than was needed.
    assert 3 < facts["cells"]["blast"] + facts["cells"]["normal"] < 40
    foreign = sum(
        facts["cells"]["uncertain_by_reason"].get(of, 0) for of in ("area", "sharpness", "features")
    )
    assert facts["corrected_blast_share"]["n"] == facts["cells"]["unique"] - foreign
    reported = json.loads(edgeleuk("report", "s.db", "--json").out)
    for key in ("differential", "corrected_blast_share", "precision", "blast_share"):
        assert reported[key] == facts[key]
    for points in ("0", "51"):
        assert edgeleuk("run", "--camera", camera, "--until-points", points).code == 2
