"""How the pages are written: short sentences, and no words that only those who built it would know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LONGEST = 35
MEAN = 17.0
PRIVATE = re.compile(r"\b(the wings?|wing|a room|rooms?|the house|house|hall)\b", re.IGNORECASE)


def paragraphs(text: str) -> list[str]:
    """Return the prose of a page, without its code, tables, headings and pictures."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found, open_ = [], ""
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        item = re.match(r"(?:[-*]|\d+\.) +(.*)", stripped)
        if not stripped or stripped[0] in "|#!<" or item:
            found.append(open_)
            open_ = item[1] if item else ""
        else:
            open_ = f"{open_} {stripped}"
    return [each.strip() for each in found if each.strip()]


def sentences(text: str) -> list[str]:
    """Cut prose into sentences; what stands in backticks is one word."""
    found = []
    for paragraph in paragraphs(text):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", paragraph)
        plain = re.sub(r"``?[^`]+``?", "X", plain).replace("**", "")
        found += re.split(r"(?<=[.!?])[)\"]?\s+(?=[A-Z0-9\"(])", plain)
    return found


def words(sentence: str) -> int:
    return len([word for word in sentence.split() if re.search(r"\w", word)])


def test_sentences_are_cut_where_they_end() -> None:
    prose = "# A title\n\nOne `a b c` two. Three\n[four](x.md) five.\n\n- Six seven.\n"
    text = f"{prose}\n| no | prose |\n\n```\nno prose\n```\n"
    assert [words(each) for each in sentences(text)] == [3, 3, 2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_sentence_is_long(page: Path) -> None:
    lengths = {sentence: words(sentence) for sentence in sentences(page.read_text())}
    long = {sentence: length for sentence, length in lengths.items() if length > LONGEST}
    assert not long
    mean = sum(lengths.values()) / len(lengths)
    assert mean <= MEAN, f"{page.name}: {mean:.1f} words a sentence, {MEAN:g} at most"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_speak_of_workstation_device_and_packages(page: Path) -> None:
    assert PRIVATE.findall(" ".join(paragraphs(page.read_text()))) == []
