"""An archive for tests: cells that the project drew, a field, and what is no picture."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.virtual.render import VirtualSlide

if TYPE_CHECKING:
    from pathlib import Path

EDGELEUK = (sys.executable, "-m", "edgeleuk")
UNREADABLE = {"empty.png", "lost.png", "text.jpg", "torn.jpg"}


def make_archive(folder: Path, cells: int) -> Path:
    """Fill `folder` with so many cells in two folders, a field, and what is unreadable or no picture."""
    crops = [crop.pixels for crop in golden_crops_of(read_bundle("default"))]
    for number in range(cells):
        path = folder / f"slide {number % 2}" / f"cell{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Each a little different, so that no two files are the same.
        pixels = np.where(crops[number % len(crops)] > 0, crops[number % len(crops)], 0)
        pixels[0, 0] = number % 256
        cv2.imwrite(str(path), pixels[:, :, ::-1])
    cv2.imwrite(str(folder / "field.jpg"), VirtualSlide(seed=2).field(0, 0).pixels[:, :, ::-1])
    (folder / "torn.jpg").write_bytes((folder / "field.jpg").read_bytes()[:20_000])
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").touch()
    (folder / "lost.png").symlink_to("nowhere.png")
    (folder / "slide 0" / "up").symlink_to("..")
    (folder / "notes.txt").write_text("not asked for")
    (folder / ".hidden.png").write_text("nor this")
    return folder


def classify(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EDGELEUK, "classify", *map(str, words)], capture_output=True, text=True, check=False, timeout=120
    )


def begin_classify(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*EDGELEUK, "classify", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Who runs the tests in the background ignores Ctrl-C, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one thread here
    )


def wait_for_lines(out: Path, process: subprocess.Popen[str], least: int = 1) -> None:
    """Wait until so many results are on the disk."""
    until = time.monotonic() + 60
    while not (out.exists() and out.read_bytes().count(b"\n") >= least):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
