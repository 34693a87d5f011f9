"""The live page in a real browser, before a real run on the virtual microscope."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from browser.conftest import CAMERA, Served, serious, served, watched
from playwright.sync_api import expect
from wires import Wire

from edgeleuk.session import read_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.timeout(300)
# A browser on a busy machine may take its time.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
SIZES = {"desktop": (1440, 900), "tablet": (768, 1024), "phone": (390, 844)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("run")
    with served(["run", "--camera", CAMERA, "--session", "s.db", "--serve", "0"], folder) as one:
        yield one


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A run on a virtual microscope with a stage and a lamp."""
    folder = tmp_path_factory.mktemp("stand")
    words = [sys.executable, "-m", "edgeleuk", "virtual-microscope", "--http", ":0", "--stage", ":0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as microscope:
        assert microscope.stderr is not None
        found = re.search(r"camera (\S+)/stream, stage (\S+),", microscope.stderr.readline())
        assert found is not None
        camera, stage = f"{found[1]}/stream", found[2]
        flags = ["--camera", camera, "--stage", stage, "--session", "s.db", "--serve", "0"]
        with served(["run", *flags], folder) as one:
            yield one
        microscope.kill()


def state_of(run: Served) -> dict[str, Any]:
    with urllib.request.urlopen(f"{run.url}/api/state") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def total_of(run: Served) -> int:
    """Cells that the server tells; it takes connections a moment before it tells anything."""
    while (counts := state_of(run)["counts"]) is None:
        time.sleep(0.02)
    return int(counts["total"])


def counting(page: Page, url: str) -> None:
    """Open a page, and wait until it shows a cell that was counted."""
    page.goto(url)
    expect(page.locator("#total")).not_to_have_text("0")
    expect(page.locator("#cells li").first).to_be_visible()


def running(page: Page, url: str) -> None:
    """Open a page, and wait until it shows that the run goes on."""
    page.goto(url)
    expect(page.locator("#phase")).to_contain_text("running")


# How many of the cells that the page shows have a picture: something that is not black.
PICTURED = """() => [...document.querySelectorAll("#cells canvas")].filter((one) => {
  const { data } = one.getContext("2d").getImageData(0, 0, one.width, one.height);
  return data.some((byte, at) => at % 4 < 3 && byte > 60);
}).length"""


def beyond(page: Page, before: int) -> None:
    """Wait until the page shows that more cells are counted."""
    total = "Number(document.getElementById('total').textContent.replace(/\\D/g, ''))"
    page.wait_for_function(f"before => {total} > before", arg=before, timeout=PATIENCE_MS)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_can_be_read_and_touched(
    size: str, theme: Any, run: Served, browser: Browser, screens: Callable[[Page, str], None]
) -> None:
    width, height = SIZES[size]
    with browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, locale="en-GB"
    ) as context:
        page = watched(context.new_page())
        counting(page, run.url)
        screens(page, f"live-{size}-{theme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = page.evaluate(
            """() => [...document.querySelectorAll("button, select, input:not([type=checkbox]), nav a")]
            .filter((one) => one.offsetParent && one.getBoundingClientRect().height < 44)
            .map((one) => one.outerHTML)"""
        )
        assert small == []
        assert serious(page) == []
        assert page.title() == "edgeleuk"


def test_it_asks_nobody_else_for_anything(run: Served, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    counting(page, run.url)
    page.goto(f"{run.url}/docs")
    assert asked
    assert [url for url in asked if not re.match(r"(https?|wss?)://127\.0\.0\.1:|data:|blob:", url)] == []
    assert serious(page) == []


def test_either_language_says_everything(run: Served, page: Page) -> None:
    counting(page, run.url)
    for language, stop in (("de", "Beenden"), ("en", "Stop")):
        page.locator("#language").click()
        if page.locator("html").get_attribute("lang") != language:
            page.locator("#language").click()
        expect(page.locator("#stop")).to_have_text(stop)
        keys = page.evaluate(
            "[...document.querySelectorAll('[data-t]')].map((one) => [one.dataset.t, one.textContent])"
        )
        assert [key for key, text in keys if text in ("", key)] == []


def test_theme_and_language_stay(run: Served, context: BrowserContext) -> None:
    page = watched(context.new_page())
    counting(page, run.url)
    page.locator("#theme").click()
    page.locator("#language").click()
    chosen = [page.locator("html").get_attribute(name) for name in ("data-theme", "lang")]
    page.close()
    again = watched(context.new_page())
    counting(again, run.url)
    assert [again.locator("html").get_attribute(name) for name in ("data-theme", "lang")] == chosen


def test_without_websockets_it_asks(run: Served, context: BrowserContext) -> None:
    context.add_init_script("delete window.WebSocket")
    page = watched(context.new_page())
    counting(page, run.url)
    before = int(page.locator("#total").inner_text())
    page.wait_for_function(
        "before => Number(document.getElementById('total').textContent.replace(/\\D/g, '')) > before",
        arg=before,
    )
    page.wait_for_function(f"() => ({PICTURED})() > 0")


def test_cells_have_their_pictures_and_no_request_for_each(run: Served, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    counting(page, run.url)
    cells = "document.querySelectorAll('#cells li').length"
    page.wait_for_function(f"() => ({PICTURED})() === {cells}")
    assert not [url for url in asked if url.endswith("/picture")]


def test_every_control_is_reached_and_works_by_keyboard(stand: Served, page: Page) -> None:
    running(page, stand.url)
    controls = "a, button, input, select, summary"
    wanted = page.evaluate(
        f"""() => [...document.querySelectorAll("{controls}")]
        .filter((one) => one.checkVisibility() && !one.disabled).map((one) => one.outerHTML)"""
    )
    reached = []
    for _ in range(len(wanted) + 10):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.outerHTML"))
    # The buttons of a running page change their words; ids and names do not.
    names = [
        {found[0] for one in of if (found := re.search(r'\b(?:id|data-move|name|href)="[^"]*"', one))}
        for of in (wanted, reached)
    ]
    assert names[0] - names[1] == set()
    page.locator("body").press("p")
    expect(page.locator("#phase")).to_contain_text("paused")
    page.locator("body").press("p")
    expect(page.locator("#phase")).to_contain_text("running")
    page.locator("body").press("n")
    page.keyboard.type("lamp flickered")
    page.keyboard.press("Enter")
    expect(page.locator("#events")).to_contain_text("lamp flickered")
    page.locator("[data-move='1,0,0']").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_contain_text("20.0")
    # The stop asks first, and its safe answer has the focus.
    page.locator("h1").click()
    page.keyboard.press("s")
    expect(page.locator("#ask-stop")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#ask-stop")).to_be_hidden()
    assert stand.process.poll() is None


def test_every_button_is_answered_and_recorded(
    stand: Served, page: Page, screens: Callable[[Page, str], None]
) -> None:
    running(page, stand.url)
    said = page.locator("#said")
    for button in page.locator("[data-move], #autofocus").all():
        name = button.get_attribute("data-move") or "autofocus"
        with page.expect_response(
            lambda answer: "/api/commands/" in answer.url, timeout=PATIENCE_MS
        ) as answer:
            button.click()
        assert answer.value.status == 200, f"{name}: {answer.value.text()}"
    with page.expect_response(re.compile("/api/commands/lamp")) as answer:
        page.locator("#lamp").fill("0.9")
    assert answer.value.ok
    for name, text in (("sample", "S-17 \U0001f9ea"), ("operator", "Müller"), ("note", "<b>a note</b>")):
        form = page.locator(f"form[data-command={name}]")
        form.locator("input").fill(text)
        form.locator("button").click()
        expect(said).not_to_be_empty()
        expect(page.locator("#events")).to_contain_text(text)
    page.locator("#pause").click()
    expect(page.locator("#phase")).to_contain_text("paused")
    screens(page, "live-stage-paused")
    page.locator("#pause").click()
    expect(page.locator("#phase")).to_contain_text("running")
    page.locator("#stop").click()
    page.locator("#ask-stop button[value=yes]").click()
    assert stand.process.wait(120) == 0
    with read_session(stand.folder / "s.db") as session:
        events = [(row["kind"], row["text"]) for row in session.rows("events")]
        assert session.summary is not None
    told = dict(events)
    assert told["sample"] == "S-17 \U0001f9ea"
    assert told["operator"] == "Müller"
    assert ("note", "<b>a note</b>") in events
    expect(page.locator("#connection")).to_be_visible()


@pytest.mark.parametrize("silently", [False, True], ids=["with a reset", "silently"])
def test_a_cut_wire_and_a_killed_server_lose_nothing(tmp_path: Path, page: Page, silently: bool) -> None:
    words = ["run", "--camera", CAMERA, "--session", "s.db", "--serve"]
    with served([*words, "0"], tmp_path) as run:
        wire = Wire(run.port)
        counting(page, f"http://127.0.0.1:{wire.port}")
        wire.cut(silently=silently)
        expect(page.locator("#connection")).to_be_visible()
        before = int(page.locator("#total").inner_text())
        wire.mend()
        expect(page.locator("#connection")).to_be_hidden()
        page.wait_for_function(
            "before => Number(document.getElementById('total').textContent.replace(/\\D/g, '')) > before",
            arg=before,
        )
        run.end(signal.SIGKILL)
        expect(page.locator("#connection")).to_be_visible()
        before = int(page.locator("#total").inner_text())
    with served([*words, "0", "--resume"], tmp_path) as run:
        wire.target = run.port
        expect(page.locator("#connection")).to_be_hidden()
        page.wait_for_function(
            "before => Number(document.getElementById('total').textContent.replace(/\\D/g, '')) >= before",
            arg=before,
        )
        total = total_of(run)
        page.wait_for_function(
            "total => Number(document.getElementById('total').textContent.replace(/\\D/g, '')) >= total",
            arg=total,
        )
        assert run.end() == 0
    wire.close()
    with read_session(tmp_path / "s.db") as session:
        assert len(list(session.rows("cells"))) >= total
