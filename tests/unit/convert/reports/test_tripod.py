"""The appendix on TRIPOD+AI: every item once, and each answer where it says."""

from __future__ import annotations

import html
import re

import pytest

from edgeleuk_convert.reports.tripod import ITEMS, OPENING, Item, answer, tripod_appendix

# The statement's own numbers: 27 items in 52 parts.
PARTS = {
    3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef",
    20: "abc", 23: "ab", 27: "abc",
}  # fmt: skip


def test_every_item_stands_there_once_in_its_order() -> None:
    expected = [f"{number}{part}" for number in range(1, 28) for part in PARTS.get(number, " ")]
    assert [item.number for item in ITEMS] == [number.strip() for number in expected]
    assert len(expected) == 52


def test_what_is_not_answered_has_a_reason() -> None:
    assert [item.number for item in ITEMS if not item.where and not item.missing] == []


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (Item("1", "t", "a", (OPENING,)), "in the opening lines"),
        (Item("1", "t", "a", ("Num", "Left")), "in Numbers"),
        (Item("1", "t", "a", ("Num",), "when"), "in part, in Numbers; not told: when"),
        (Item("1", "t", "a", ("Left",)), "not answered here: this report has no such section"),
        (Item("1", "t", "a", (), "why"), "not answered here: why"),
    ],
)
def test_an_answer(item: Item, says: str) -> None:
    assert answer(item, ["Numbers", "ROC"]) == says


def test_it_counts_what_is_answered() -> None:
    page = tripod_appendix(["Numbers"])
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>.*<td>(.*?)</td></tr>', page)
    answered = [text for _, text in rows if not html.unescape(text).startswith("not answered here")]
    assert len(rows) == 52
    assert f"answers {len(answered)} of their 52 parts" in page
