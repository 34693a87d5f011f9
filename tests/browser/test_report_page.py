"""The pages of a session, of two and of weeks in a real browser: readable in both themes, without others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from sessions import of_kinds, record, summary
from weeks import AGED, one_session, weeks

from edgeleuk.bundle.reading import DEFAULT_PATH, read_bundle
from edgeleuk.commands.compare_sessions import write_comparison
from edgeleuk.commands.report import write_page
from edgeleuk.commands.trend import TrendOptions, trend
from edgeleuk.session import create_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page

SIZES = {"desktop": (1280, 900), "tablet": (820, 1180), "telephone": (390, 800)}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A session's page with all its parts, that of two sessions, and that of weeks."""
    folder = tmp_path_factory.mktemp("pages")
    bundle = read_bundle(DEFAULT_PATH)
    settings = {"camera": "test://", "bundle": "default", "bundle_sha256": bundle.sha256, "simulated": True}
    sessions = [folder / "first.db", folder / "second.db"]
    for path, cells in zip(sessions, (120, 80), strict=True):
        with create_session(path, settings) as session:
            for number, prediction in enumerate(of_kinds(cells)):
                record(session, number, prediction)
            session.record_rejected(1000, 1e9 + 60, "test://", "out of focus")
            session.record_event("gap", "nothing for 2 s", 1e9 + 50)
            session.finish(summary(path))
    write_page(sessions[0], folder / "session.html")
    write_comparison((sessions[0], sessions[1]), folder / "two.html", None)
    days = folder / "days"
    days.mkdir()
    weeks(days, AGED)
    one_session(days / "short.db", 100.0, 210.0, cells=3)
    (days / "broken.db").write_bytes(b"nothing")
    trend([days], TrendOptions(html=folder / "weeks.html"))
    return {name: folder / f"{name}.html" for name in ("session", "two", "weeks")}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["session", "two", "weeks"])
def test_it_can_be_read(
    pages: dict[str, Path],
    browser: Browser,
    screens: Callable[[Page, str], None],
    name: str,
    size: str,
    theme: Any,
) -> None:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[name].as_uri())
    found = Axe().run(page).response["violations"]
    assert [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found] == []
    # Nothing but itself and what it holds.
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    # What is too wide scrolls by itself, not the page.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink, ground = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (brightness(ink) < brightness(ground)) is (theme == "light")
    screens(page, f"report-{name}-{size}-{theme}")
    context.close()


def brightness(colour: str) -> int:
    """Add up a colour's parts, as ``rgb(1, 2, 3)``."""
    return sum(int(part) for part in colour[4:-1].split(","))
