"""Counting: what a bundle tells of its error, the correction, and how many cells are still needed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from teaching_heads import without_heads

from edgeleuk.bundle.known_error import known_error, known_kinds
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.writing import write_bundle
from edgeleuk.counting.confusion import Confusion, KnownKinds, corrected_shares, known_kinds_of
from edgeleuk.counting.differential import final_counts
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
    share_to_know,
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
from edgeleuk.results.kinds import Kind

if TYPE_CHECKING:
    from pathlib import Path

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
        """Its matrix stands in validation.json only as rates: 3917 of 4163 and 1309 of 1803."""
        found = known_error(read_bundle("default"), "model.int8.tflite")
        assert isinstance(found, KnownError)
        assert found.sensitivity.cells == pytest.approx(4163)
        assert found.specificity.cells == pytest.approx(1803)
        assert found.sensitivity.share * 4163 == pytest.approx(3917)
        # 47 groups of subjects tell much less than 5966 cells.
        assert 170 < found.sensitivity.effective < 200
        assert 80 < found.specificity.effective < 90
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
        assert (found.sensitivity.effective, found.specificity.effective) == (47, 47)

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
    # The shipped bundle names kinds.
    assert facts["precision"]["of"] == "white"
    assert facts["white_cells"]["blasts_of_white_cells"]["n"] >= facts["blast_share"]["n"]
    # Not one frame more than was needed.
    assert 3 < facts["cells"]["blast"] + facts["cells"]["normal"] < 40
    foreign = sum(
        facts["cells"]["uncertain_by_reason"].get(of, 0) for of in ("area", "sharpness", "features")
    )
    assert facts["corrected_blast_share"]["n"] == facts["cells"]["unique"] - foreign
    reported = json.loads(edgeleuk("report", "s.db", "--json").out)
    kinds = ("white_cells", "corrected_white_cells")
    for key in ("differential", "corrected_blast_share", "precision", "blast_share", *kinds):
        assert reported[key] == facts[key]
    for points in ("0", "51"):
        assert edgeleuk("run", "--camera", camera, "--until-points", points).code == 2


NEUTROPHILS = Counted(10, 40, 10, {Check.PROBABILITY: 10}, {Kind.NEUTROPHIL: 50, Kind.ERYTHROBLAST: 30})
KINDS = KnownKinds(("neutrophil", "lymphocyte", "blast-like", "monocyte", "erythroblast"))


class TestShareToKnow:
    """Blasts of all nucleated white cells, where kinds are named; of lymphoid ones else, or if asked for."""

    @pytest.mark.parametrize(
        ("until_of", "kinds", "of", "count", "total"),
        [
            (None, KnownKinds(), "lymphoid", 10, 50),
            (None, KINDS, "white", 10, 100),
            ("lymphoid", KINDS, "lymphoid", 10, 50),
            ("white", KnownKinds(), "white", 10, 100),
        ],
    )
    def test_its_precision(
        self, until_of: str | None, kinds: KnownKinds, of: str, count: int, total: int
    ) -> None:
        facts = counting_facts(NEUTROPHILS, None, "unknown", until_of=until_of, kinds=kinds)["precision"]
        share = Proportion(count, total)
        assert (facts["of"], facts["cells_needed"]) == (of, cells_needed(share))
        half_width = half_width_points(share)
        assert facts["half_width_points"] == half_width
        for points, enough in ((half_width + 1e-9, True), (half_width - 1e-9, False)):
            assert precise_enough(NEUTROPHILS, points, share_to_know(until_of, kinds)) == enough

    @given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 400), st.integers(0, 400), st.floats(1, 50))
    def test_cells_that_are_no_white_cells_never_count(
        self, blast: int, normal: int, neutrophils: int, others: int, points: float
    ) -> None:
        kinds = {Kind.NEUTROPHIL: neutrophils}
        alone = Counted(blast, normal, kinds=kinds)
        with_others = Counted(blast, normal, kinds={**kinds, Kind.ERYTHROBLAST: others, Kind.SMUDGE: others})
        assert precise_enough(alone, points, "white") == precise_enough(with_others, points, "white")
        # Without other white cells both shares are one.
        if not neutrophils:
            assert precise_enough(alone, points, "white") == precise_enough(alone, points)

    def test_foreign_cells_leave_no_share_of_white_cells_that_is_precise(self) -> None:
        counted = Counted(10, 40, 60, {Check.COLOUR: 60}, {Kind.NEUTROPHIL: 50})
        assert not precise_enough(counted, 50, "white")
        facts = counting_facts(counted, None, "unknown", kinds=KINDS)
        assert facts["precision"]["reason"] == counted.no_white_share is not None
        assert facts["precision"]["half_width_points"] is None

    def test_in_words(self) -> None:
        lines = counting_text(counting_facts(NEUTROPHILS, None, "unknown", kinds=KINDS, until_points=3))
        needed = cells_needed(Proportion(10, 100), 3)
        assert (
            f"precision +-6.4 points of blasts among white cells; about {needed} more white cells for +-3"
            in lines
        )

    def test_a_run_ends_by_what_was_asked_for(self, edgeleuk: Call) -> None:
        camera = "virtual://?seed=1&width=640&height=480&white_cells_per_field=3"
        words = ("--session", "s.db", "--until-points", 30, "--until-of", "lymphoid", "--json")
        facts = json.loads(edgeleuk("run", "--camera", camera, *words).out)
        precision = facts["precision"]
        assert (precision["of"], precision["cells_needed"]) == ("lymphoid", 0)
        assert precision["half_width_points"] == 50 * (
            facts["blast_share"]["high"] - facts["blast_share"]["low"]
        )
        assert json.loads(edgeleuk("report", "s.db", "--json").out)["precision"] == precision


class TestCorrectedWhiteCells:
    """The differential, corrected by cells that a laboratory held out."""

    KNOWN = replace(
        KINDS,
        confusion=Confusion(
            ("blast", "lymphocyte", "neutrophil", "erythroblast"),
            ((95, 5, 0, 0), (10, 90, 0, 0), (0, 0, 98, 2), (0, 2, 0, 98)),
            (50, 50, 50, 50),
        ),
    )

    def test_beside_the_raw_one_with_intervals(self) -> None:
        facts = counting_facts(NEUTROPHILS, None, "unknown", kinds=self.KNOWN)
        raw, corrected = facts["white_cells"], facts["corrected_white_cells"]
        # Kinds that could have been called are in the table too, and the intervals reckon with them.
        assert raw["white_cells"]["kinds"]["monocyte"]["count"] == 0
        assert corrected["reason"] is None
        expected = corrected_shares(final_counts(NEUTROPHILS), self.KNOWN.confusion)
        assert corrected == expected.to_json()
        text = "\n".join(counting_text(facts))
        assert text.index("their shares with simultaneous") < text.index(
            "corrected shares of 100 white cells"
        )

    @pytest.mark.parametrize(
        ("counted", "kinds", "reason"),
        [
            (NEUTROPHILS, KINDS, "nothing was recorded of how often kinds are confused"),
            (NEUTROPHILS, replace(KINDS, confusion="why"), "why"),
            (Counted(1, 1, kinds={Kind.BAND: 50}), KNOWN, "not known how often band is confused"),
            (Counted(kinds={Kind.NEUTROPHIL: 9}), KNOWN, "only 9 white cells were called"),
            (Counted(9, 9, 30, {Check.COLOUR: 30}), KNOWN, "unlike the training cells (colour 30)"),
        ],
    )
    def test_or_why_not(self, counted: Counted, kinds: KnownKinds, reason: str) -> None:
        facts = counting_facts(counted, None, "unknown", kinds=kinds)
        corrected = facts["corrected_white_cells"]
        assert (corrected["kinds"], reason in corrected["reason"]) == ({}, True)
        assert f"corrected no shares: {corrected['reason']}" in counting_text(facts)

    def test_where_no_kinds_are_named_there_is_neither(self) -> None:
        facts = counting_facts(COUNTS, None, "unknown")
        assert (facts["white_cells"], facts["corrected_white_cells"]) == (None, None)

    @pytest.mark.parametrize("known", [KNOWN, KINDS, KnownKinds()])
    def test_a_session_records_what_the_bundle_tells(self, known: KnownKinds) -> None:
        assert known_kinds_of(json.loads(json.dumps(known.to_json()))) == known

    @pytest.mark.parametrize("recorded", [None, 3, {}, {"asked": 3}, {"asked": ["magic", 3]}])
    def test_what_else_may_stand_there(self, recorded: object) -> None:
        found = known_kinds_of(recorded)
        assert found.asked == ()
        assert isinstance(found.confusion, str)

    def test_what_a_bundle_tells(self) -> None:
        shipped = known_kinds(read_bundle("default"))
        assert {"neutrophil", "blast-like"} <= set(shipped.asked)
        assert "held out in your laboratory" in str(shipped.confusion)
        matrix = self.KNOWN.confusion
        assert known_kinds(bundle_with(confusion=matrix.to_json())).confusion == matrix
        assert known_kinds(bundle_with(confusion={"reason": "why"})).confusion == "why"
        for broken in (
            {},
            {"reason": "a" * 1001},
            {"kinds": ["blast"], "counts": [[1, 2]], "effective": [1]},
            {"kinds": "blast"},
        ):
            with pytest.raises(BundleError, match=r"validation in .* cannot be read"):
                known_kinds(bundle_with(confusion=broken))


def test_white_cells_are_asked_of_a_bundle_that_names_kinds(edgeleuk: Call, tmp_path: Path) -> None:
    path = tmp_path / "plain.edgeleuk"
    plain = without_heads(read_bundle("default"))
    write_bundle(path, plain.manifest, plain.members)
    words = ("--bundle", path, "--until-points", 30, "--until-of", "white", "--session", "s.db")
    outcome = edgeleuk("run", "--camera", "virtual://?seed=1", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert "the bundle names no kinds of cells: got --until-of white, allowed lymphoid" in outcome.err
    assert not (tmp_path / "s.db").exists()
