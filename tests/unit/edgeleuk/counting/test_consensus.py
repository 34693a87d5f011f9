from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.bundle.manifest import Envelope, OutputContract
from edgeleuk.classifier.decision import Rules, consensus
from edgeleuk.counting.consensus import MOST_VIEWS, ConsensusTable, View, is_worth_a_view, joined
from edgeleuk.frames import Box, Cell
from edgeleuk.results import STUCK_DUST, Decision, Prediction
from edgeleuk.vision.focus import focus_of

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTPUT = OutputContract(
    kind="sigmoid", labels=("normal", "blast"), positive="blast", threshold=0.5, abstain=(0.4, 0.6)
)
RULES = Rules(OUTPUT, Envelope(area_um2=(10.0, 400.0)))
FOREIGN = Prediction(Decision.UNCERTAIN, 0.99, "area", foreign=True)


class ByRules:
    def consensus(self, views: Sequence[Prediction]) -> Prediction:
        return consensus(views, RULES)


def said(p: float) -> Prediction:
    decision = Decision.UNCERTAIN if 0.4 < p < 0.6 else Decision.BLAST if p >= 0.5 else Decision.NORMAL
    return Prediction(decision, p, "band" if decision is Decision.UNCERTAIN else None)


@pytest.mark.parametrize(
    ("views", "decision", "probability"),
    [
        ([said(0.9)], "blast", 0.9),
        ([said(0.9), said(0.9)], "blast", 0.9),
        ([said(0.9), said(0.1)], "uncertain", 0.5),
        ([said(0.1), said(0.55), said(0.1)], "normal", 0.197),
        ([said(0.5), said(0.8)], "blast", 0.667),
        ([FOREIGN, said(0.9)], "uncertain", 0.99),
        ([said(0.9), FOREIGN], "blast", 0.9),
        ([said(0.9), FOREIGN, FOREIGN], "uncertain", 0.99),
        ([Prediction(Decision.UNCERTAIN, math.nan, "scale"), said(0.2)], "normal", 0.2),
        ([said(1.0), said(1.0), said(0.0)], "blast", 0.999),
    ],
)
def test_views_are_joined_by_their_log_odds(
    views: list[Prediction], decision: str, probability: float
) -> None:
    found = consensus(views, RULES)
    assert found.decision.value == decision
    assert found.probability == pytest.approx(probability, abs=2e-3)


@given(st.lists(st.floats(0.001, 0.999), min_size=2, max_size=3))
def test_a_consensus_lies_among_its_views_whatever_their_order(probabilities: list[float]) -> None:
    views = [said(p) for p in probabilities]
    found = consensus(views, RULES).probability
    assert min(probabilities) - 1e-9 <= found <= max(probabilities) + 1e-9
    assert consensus(views[::-1], RULES).probability == pytest.approx(found)


def test_a_view_alone_is_not_touched() -> None:
    view = said(0.123456789)
    assert consensus([view], RULES) is view


def test_the_sharpest_views_have_a_say() -> None:
    views = [View(focus, said(0.9 if focus > 1 else 0.1)) for focus in (0.5, 1.5, 0.9, 2.0, 1.8)]
    judgement = joined(views, ByRules())
    assert [view.focus for view in judgement.views] == [2.0, 1.8, 1.5]
    assert judgement.prediction.decision is Decision.BLAST
    assert judgement.judged == 5


@pytest.mark.parametrize(
    ("known", "focus", "worth"),
    [
        ([1.0], 0.95, True),
        ([1.0], 0.5, False),
        ([1.0] * 3, 1.1, False),
        ([1.0] * 3, 1.2, True),
        ([1.2**n for n in range(8)], 100.0, False),
    ],
    ids=["as sharp", "blurred", "no sharper", "sharper", "often enough"],
)
def test_which_views_are_judged(known: list[float], focus: float, worth: bool) -> None:
    judgement = joined([View(one, said(0.9)) for one in known], ByRules())
    assert is_worth_a_view(judgement, focus) is worth


def test_dust_ends_all_views() -> None:
    dust = Prediction(Decision.UNCERTAIN, math.nan, STUCK_DUST, foreign=True)
    judgement = joined([View(1.0, said(0.9)), View(0.0, dust)], ByRules())
    assert judgement.prediction == dust
    assert not is_worth_a_view(judgement, 100.0)


def test_what_memory_forgot_the_session_knows() -> None:
    class Session:
        def __init__(self) -> None:
            self.kept: dict[int, list[View]] = {}

        def views(self, track: int) -> tuple[list[View], str | None]:
            return self.kept.get(track, []), "blast"

    session = Session()
    judgements = ConsensusTable(ByRules(), session)
    assert judgements.of(3) is None
    session.kept[3] = [View(1.0, said(0.9)), View(1.0, said(0.7))]
    found = judgements.of(3)
    assert found is not None
    assert (found.judged, found.truth, len(found.views)) == (2, "blast", 2)
    assert found.prediction.probability == pytest.approx(0.8208, abs=1e-3)
    assert len(found.views) <= MOST_VIEWS


def test_blur_takes_focus_away() -> None:
    rng = np.random.default_rng(0)
    pixels = cv2.GaussianBlur(rng.integers(0, 255, (80, 80, 3), np.uint8), (0, 0), 1.0)
    cell = Cell(Box(10, 10, 50, 50), np.full((50, 50), 255, np.uint8))
    found = [focus_of(cv2.GaussianBlur(pixels, (0, 0), sigma), cell) for sigma in (0.5, 1.0, 2.0, 4.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 2 * found[-1]


def test_a_cell_without_contrast_has_a_focus_all_the_same() -> None:
    cell = Cell(Box(0, 0, 9, 9), np.full((9, 9), 255, np.uint8))
    assert focus_of(np.full((9, 9, 3), 80, np.uint8), cell) == 0.0
