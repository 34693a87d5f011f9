"""A real run, with a real browser before its page: Debian's Chromium, led by Playwright.

Each test may keep screenshots with `screens`: a person can look at them in ``runs/screens``, or where
``SCREENS`` says.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from edgeleuk.errors import MissingDependencyError
from edgeleuk.reports.pdf import find_chromium

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
# A small field: the page is the matter here, not the pipeline.
CAMERA = "virtual://?seed=7&width=640&height=480"


class Served:
    """A program of edgeleuk that serves a page."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.words, self.folder = words, folder
        self.log = folder / f"log-{time.monotonic_ns()}"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgeleuk", *words], cwd=folder, stdout=log, stderr=subprocess.STDOUT
            )
        self.url = self._url()

    def _url(self) -> str:
        begun = time.monotonic()
        while time.monotonic() - begun < START_S:
            found = re.search(r"(https?://\S+)", self.text)
            if found is not None:
                return found[1].rstrip("/")
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.process.kill()
        pytest.fail(f"no page: {self.text}")

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """Send a signal, and wait until it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(60)


@contextmanager
def served(words: list[str], folder: Path) -> Iterator[Served]:
    """Serve while the block lasts."""
    one = Served(words, folder)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the system; without one the tests are skipped, except in CI, where they fail."""
    try:
        found = find_chromium()
    except MissingDependencyError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    # Chromium's own sandbox refuses root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that nobody has used before, of a tablet's size."""
    made = browser.new_context(viewport={"width": 1024, "height": 768}, locale="en-GB")
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A page in which any error of a script ends the test."""
    return watched(context.new_page())


def watched(page: Page) -> Page:
    """Let an error of a script fail the test's next look at the page."""

    def fail(error: object) -> None:
        page.evaluate("text => { document.title = `ERROR ${text}`; }", str(error))

    page.on("pageerror", fail)
    return page


def serious(page: Page) -> list[str]:
    """Return what axe-core finds serious or critical."""
    return [
        f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']]}"
        for one in Axe().run(page).response["violations"]
        if one["impact"] in {"serious", "critical"}
    ]


@pytest.fixture(scope="session")
def screens() -> Callable[[Page, str], None]:
    """Keep a screenshot of the whole page under a name."""
    folder = Path(os.environ.get("SCREENS", ROOT / "runs" / "screens"))
    folder.mkdir(parents=True, exist_ok=True)

    def keep(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"{name}.png", full_page=True)

    return keep
