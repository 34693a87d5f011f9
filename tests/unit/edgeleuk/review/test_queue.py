"""The queue of a review: which cells come first, and that who stops anywhere has drawn at random."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from edgeleuk.counting.doubt import SAMPLE
from edgeleuk.counting.stratified import Reviewed
from edgeleuk.results import Decision
from edgeleuk.review.queue import MachineCall, Queue, Stratum, Why, prefix, why
from edgeleuk.review.words import (
    Said,
    agreements_of,
    conflicts_of,
    counted_name,
    looks_of,
    passed_over,
    resolved,
    words_of,
)
from edgeleuk.session.reviews import Review


def call(
    track: int, decision: str = "normal", probability: float | None = 0.01, **more: object
) -> MachineCall:
    facts = {"reason": None, "kind": None, "kind_probability": None, "has_picture": True} | more
    return MachineCall(track, track, Decision(decision), probability, **facts)  # type: ignore[arg-type]


SEED = "0f" * 32


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (call(1, "uncertain", 0.5, reason="probability between 0.4 and 0.6"), Why.UNCERTAIN),
        (call(1, "uncertain", None, reason="kind lymphocyte or monocyte"), Why.UNCERTAIN),
        (call(1, "uncertain", 0.5, reason="area 20 um2 is outside the training cells'"), Why.UNLIKE),
        (call(1, "uncertain", None, reason="cut by the border"), Why.UNLIKE),
        (call(1, "blast", 0.79), Why.NEAR),
        (call(1, "blast", 0.81), Why.SAMPLE),
        (call(1, "normal", 0.21), Why.NEAR),
        (call(1, "normal", 0.19), Why.SAMPLE),
        (call(1, "other", None, kind="band", kind_probability=0.79), Why.NEAR),
        (call(1, "other", None, kind="band", kind_probability=0.81), Why.SAMPLE),
        (call(1, "blast", 0.99, has_picture=False), Why.NO_PICTURE),
    ],
)
def test_why_a_cell_is_worth_a_look(cell: MachineCall, expected: Why) -> None:
    assert why(cell, 0.5) is expected


def test_doubtful_cells_come_first_and_rare_calls_early() -> None:
    cells = [
        *(call(track) for track in range(400)),
        *(call(track, "other", None, kind="basophil", kind_probability=0.99) for track in range(400, 404)),
        *(call(track, "uncertain", 0.5, reason="probability between") for track in range(404, 410)),
        call(410, "blast", 0.6),
        call(411, "uncertain", 0.5, reason="colour: red"),
    ]
    queue = Queue(cells, SEED, 0.5)
    order = [queue.stratum_of(track) for track in queue.tracks]
    assert [stratum.why for stratum in order[:8]] == [*[Why.UNCERTAIN] * 6, Why.NEAR, Why.UNLIKE]
    assert Stratum(Why.SAMPLE, "basophil") in order[8:10]
    # Twenty looks at the 400, and all of the four.
    assert Counter(stratum.called for stratum in order[8:48])["basophil"] == 4
    assert len(queue.asked()) == 8 + SAMPLE


def test_the_order_is_the_seeds_alone() -> None:
    cells = [call(track) for track in range(50)]
    one = Queue(cells, SEED, 0.5).tracks
    assert Queue(cells[::-1], SEED, 0.5).tracks == one
    assert Queue(cells, "aa", 0.5).tracks != one
    # A cell that comes later takes its place: the order of the others stays.
    more = Queue([*cells, call(99)], SEED, 0.5).tracks
    assert [track for track in more if track != 99] == list(one)


def test_who_stops_anywhere_has_drawn_every_cell_alike() -> None:
    """Over many seeds each cell is among the first quarter a quarter of the time."""
    cells = [call(track) for track in range(40)]
    first = Counter(track for seed in range(2000) for track in Queue(cells, str(seed), 0.5).tracks[:10])
    counts = np.array([first[track] for track in range(40)])
    assert abs(counts / 2000 - 0.25).max() < 0.05


def said(number: int, track: int, label: str | None, reader: str = "A", **more: object) -> Review:
    facts = {"at": float(number), "undoes": None, "is_drawn": True, "note": None} | more
    return Review(number=number, track=track, label=label, reader=reader, token=str(number), **facts)  # type: ignore[arg-type]


def test_the_newest_word_that_stands_counts() -> None:
    words = words_of(
        [
            said(1, 7, "band"),
            said(2, 7, "blast", is_drawn=False),
            said(3, 7, "normal", "B", is_drawn=False),
            said(4, 8, "smudge"),
            said(5, 8, None, undoes=4),
            said(6, 9, "band"),
            said(7, 9, "monocyte"),
            said(8, 9, None, undoes=7),
        ]
    )
    assert words == {
        7: {"A": Said("blast", True), "B": Said("normal", False)},
        9: {"A": Said("band", True)},
    }
    assert conflicts_of(words) == {7: {"A": "blast", "B": "normal"}}
    assert counted_name(words[7]) == "uncertain"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["band"], "band"),
        (["lymphocyte", "blast"], "blast"),
        (["band", "neutrophil"], None),
        (["uncertain", "band"], "band"),
        (["uncertain", "uncertain"], "uncertain"),
    ],
)
def test_readers_together(labels: list[str], expected: str | None) -> None:
    assert resolved(labels) == expected


class TestLooks:
    """What was drawn, and what was chosen."""

    queue = Queue([call(track) for track in range(30)], SEED, 0.5)
    tracks = queue.tracks

    def looks(self, *reviews: Review) -> tuple[int, int]:
        (found,) = looks_of(self.queue, words_of(reviews)).values()
        return found.drawn.total(), found.chosen.total()

    def test_in_turn(self) -> None:
        first = [said(turn, self.tracks[turn], "normal") for turn in range(5)]
        assert self.looks(*first) == (5, 0)
        assert prefix(self.tracks, words_of(first)) == 5

    def test_what_lies_behind_a_gap_was_chosen_until_the_gap_is_filled(self) -> None:
        some = [said(turn, self.tracks[turn], "normal") for turn in (0, 1, 3, 4)]
        assert self.looks(*some) == (2, 2)
        assert passed_over(self.queue, words_of(some)) == [self.tracks[2]]
        assert self.looks(*some, said(9, self.tracks[2], "band")) == (5, 0)

    def test_a_cell_that_was_chosen_stays_chosen_where_its_turn_comes(self) -> None:
        chosen = said(0, self.tracks[1], "blast", is_drawn=False)
        assert self.looks(chosen) == (0, 1)
        assert self.looks(chosen, said(1, self.tracks[0], "normal"), said(2, self.tracks[2], "normal")) == (
            2,
            1,
        )


def test_a_review_of_part_of_the_cells_covers_the_truth() -> None:
    """Whole ways: a queue over cells called wrongly at a known rate, reviewed in turn up to some cell."""
    chance = np.random.default_rng(8)
    held, reviews = 0, 150
    for seed in range(reviews):
        truth = {track: "blast" if chance.random() < 0.1 else "normal" for track in range(200)}
        cells = []
        for track, name in truth.items():
            right = chance.random() < 0.9
            called = name if right else {"blast": "normal", "normal": "blast"}[name]
            probability = {"blast": 0.5, "normal": 0.0}[called] + 0.5 * chance.random()
            cells.append(call(track, called, probability))
        queue = Queue(cells, str(seed), 0.5)
        done = queue.tracks[: int(chance.integers(60, 160))]
        words = words_of(said(turn, track, truth[track]) for turn, track in enumerate(done))
        found = Reviewed(looks_of(queue, words)).count(lambda _, name: name == "blast")
        blasts = sum(name == "blast" for name in truth.values())
        held += found.low <= blasts <= found.high
    assert held / reviews >= 0.93


def test_kappa_leaves_out_who_cannot_tell() -> None:
    words = words_of(
        [
            *(said(n, n, "band") for n in range(4)),
            *(said(10 + n, n, label, "B") for n, label in enumerate(("band", "band", "smudge", "uncertain"))),
        ]
    )
    (found,) = agreements_of(words)
    assert (found.people, found.cells, found.observed) == (("A", "B"), 3, pytest.approx(2 / 3))
