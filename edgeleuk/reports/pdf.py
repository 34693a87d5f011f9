"""A page as a PDF, printed by the Chromium that the system has."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from edgeleuk.errors import CheckFailedError, MissingDependencyError
from edgeleuk.version import RESEARCH_USE

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Pages of 5,000 cells take seconds.
TIMEOUT_S = 120.0
# A PDF reader leaves lines after the file's end alone; by this one we know our own.
MARK = f"% edgeleuk. {RESEARCH_USE}\n".encode()
_CURE = "install it (`sudo apt install chromium`), or pass --html and print the page from a browser"


def find_chromium() -> str:
    """Return the path of a Chromium.

    Raises
    ------
    MissingDependencyError
        There is none.
    """
    for name in NAMES:
        if (path := shutil.which(name)) is not None:
            return path
    raise MissingDependencyError("a PDF needs Chromium, which is not installed", cure=_CURE)


def is_our_pdf(path: Path) -> bool:
    """Whether that is a PDF that `print_page` made."""
    with path.open("rb") as file:
        if file.read(5) != b"%PDF-":
            return False
        file.seek(-min(len(MARK), path.stat().st_size), os.SEEK_END)
        return file.read() == MARK


def print_page(page: str, *, timeout_s: float = TIMEOUT_S) -> bytes:
    """Print a page on A4.

    Parameters
    ----------
    page : str
        HTML that needs nothing else.
    timeout_s : float

    Returns
    -------
    bytes
        Of the PDF.

    Raises
    ------
    MissingDependencyError
        There is no Chromium.
    CheckFailedError
        It takes longer than that, or prints nothing.
    """
    chromium = find_chromium()
    with tempfile.TemporaryDirectory(prefix="edgeleuk-pdf-", ignore_cleanup_errors=True) as folder:
        source, out = Path(folder, "page.html"), Path(folder, "page.pdf")
        source.write_text(page, encoding="utf-8")
        words = [
            *(chromium, "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-extensions", "--disable-background-networking", "--no-pdf-header-footer"),
            # Nothing of the page may come from elsewhere.
            *("--proxy-server=127.0.0.1:9", f"--user-data-dir={folder}/profile", f"--print-to-pdf={out}"),
            # Its sandbox does not work for root.
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            source.as_uri(),
        ]
        said = _run(words, timeout_s)
        if not out.is_file() or not out.stat().st_size:
            raise CheckFailedError("Chromium printed no PDF", got=_last_line(said), cure=_CURE)
        return out.read_bytes() + b"\n" + MARK


def _run(words: list[str], timeout_s: float) -> str:
    """Run Chromium and all that it starts, and return what it said."""
    with subprocess.Popen(  # noqa: S603 - the system's own browser, with words of ours
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            return process.communicate(timeout=timeout_s)[1].decode(errors="replace")
        except subprocess.TimeoutExpired as error:
            raise CheckFailedError(
                "Chromium did not print the page in time", got=f"{timeout_s:g} s", cure=_CURE
            ) from error
        finally:
            # What it started must not outlive it.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "not a word"
