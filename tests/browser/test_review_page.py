"""The page of review in a real browser, on a real socket."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
from browser.conftest import serious, served, watched
from playwright.sync_api import expect
from reviewing import many_cells

from edgeleuk.session import read_session
from edgeleuk.session.reviews import reviews_of, standing
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.timeout(300)
expect.set_options(timeout=60_000)
SIZES = {"desktop": (1440, 900), "tablet": (768, 1024), "phone": (390, 844)}
WORDS = ["review", "night.db", "--serve"]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return many_cells(tmp_path / "night.db", 60)


def begin(page: Page, url: str, reader: str) -> None:
    """Open the page, and say who looks."""
    page.goto(f"{url}/review")
    page.locator("#reader").fill(reader)
    page.keyboard.press("Enter")
    expect(page.locator("#h-cell")).to_have_text(re.compile(r"\d"))


def answer(page: Page, key: str) -> str:
    """Say by a key what the cell is, and wait for the next one; return which it was."""
    cell = page.locator("#h-cell").inner_text()
    # Nobody can answer what they have not seen.
    page.locator("#cell").evaluate("image => image.decode()")
    page.wait_for_timeout(300)
    page.keyboard.press(key)
    expect(page.locator("#h-cell")).not_to_have_text(cell)
    return cell.split()[-1]


def said(session: Path) -> list[tuple[str, int, str | None]]:
    """Return who said what of which cell, of what stands, in the order of the cells."""
    with read_session(session) as reader:
        rows = standing(review for review, _ in reviews_of(reader))
    return sorted((one.reader, one.track, one.label) for one in rows)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_can_be_read_and_touched(
    size: str, theme: Any, session: Path, browser: Browser, screens: Callable[[Page, str], None]
) -> None:
    width, height = SIZES[size]
    with (
        served([*WORDS, "0"], session.parent) as server,
        browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, locale="en-GB"
        ) as context,
    ):
        page = watched(context.new_page())
        page.goto(f"{server.url}/review")
        expect(page.locator("#ask-reader")).to_be_visible()
        assert serious(page) == []
        begin(page, server.url, "ana")
        answer(page, "b")
        expect(page.locator("#done")).to_have_text("1")
        screens(page, f"review-{size}-{theme}")
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_readers_answer_by_keys_blind_to_one_another(
    session: Path, browser: Browser, context: BrowserContext
) -> None:
    with read_session(session) as reader:
        called = [(row["track"], row["decision"]) for row in reader.rows("cells")]
    with served([*WORDS, "0"], session.parent) as server:
        page = watched(context.new_page())
        begin(page, server.url, "ana")
        cells = [answer(page, key) for key in "bnlq"]
        page.keyboard.press("u")
        expect(page.locator("#done")).to_have_text("3")
        with browser.new_context(locale="de-DE") as other:
            second = watched(other.new_page())
            begin(second, server.url, "bo")
            expect(second.locator("#h-cell")).to_contain_text("Zelle")
            told = second.request.get(f"{server.url}/api/review/cells/{cells[0]}?reader=bo")
            assert (told.ok, "ana" in told.text()) == (True, False)
            answer(second, "n")
            expect(second.locator("#conflicts")).to_contain_text("ana")
        assert server.end(signal.SIGINT) == 0
    expected = [
        ("ana", int(cell), label)
        for cell, label in zip(cells, ("blast", "normal", "lymphocyte"), strict=False)
    ]
    assert said(session) == sorted([*expected, ("bo", int(cells[0]), "normal")])
    with read_session(session) as reader:
        assert [(row["track"], row["decision"]) for row in reader.rows("cells")] == called
    assert verify_session(session).broken is None


def test_what_is_answered_while_the_server_is_dead_comes_when_it_is_back(
    session: Path, context: BrowserContext
) -> None:
    with served([*WORDS, "0"], session.parent) as server:
        page = watched(context.new_page())
        begin(page, server.url, "ana")
        cells = [answer(page, "b")]
        expect(page.locator("#unsent")).to_be_hidden()
        port = server.port
        server.end(signal.SIGKILL)
        cells.append(answer(page, "n"))
        expect(page.locator("#unsent")).to_be_visible()
    # A tablet that is switched off meanwhile keeps it, too.
    page.close()
    with served([*WORDS, str(port)], session.parent) as server:
        page = watched(context.new_page())
        page.goto(f"{server.url}/review")
        expect(page.locator("#done")).to_have_text("2")
        expect(page.locator("#unsent")).to_be_hidden()
        assert server.end(signal.SIGINT) == 0
    assert said(session) == sorted([("ana", int(cells[0]), "blast"), ("ana", int(cells[1]), "normal")])
    assert verify_session(session).broken is None
