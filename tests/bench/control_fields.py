"""Control sessions of real fields: a healthy one, and ones that are dimmer, blurred or of another stain.

    python tests/bench/control_fields.py [--fields 45]

Each session shows fields of BCCD, drawn at random. Five of them make the limits; a sixth is judged, then the
seventh's fields with a fault each. Prints a line for each; docs/control.md quotes them. BCCD is not one
slide, so that its sessions differ by more than those of a control slide.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from edgeleuk.commands.control import add_control, check_control  # noqa: E402
from edgeleuk.commands.run import RunOptions, run  # noqa: E402
from edgeleuk.control.verdicts import verdicts_text  # noqa: E402
from edgeleuk.io.settings import RunSettings  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeleuk.frames import RgbImage

MAKE_LIMITS = 5


def dimmer(pixels: RgbImage) -> RgbImage:
    """15 % less light."""
    return np.asarray(np.rint(0.85 * pixels), np.uint8)


def blurred(pixels: RgbImage) -> RgbImage:
    """A blur of 0.7 px, one standard deviation."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.7), np.uint8)


def paler(pixels: RgbImage) -> RgbImage:
    """15 % less density of red: another ratio of the dyes."""
    light = np.asarray(pixels, np.float32)
    glass = np.percentile(light.reshape(-1, 3), 90, axis=0)
    density = -np.log((light + 1) / (glass + 1)) * (1, 1, 0.85)
    return np.asarray(np.clip(np.rint((glass + 1) * np.exp(-density) - 1), 0, 255), np.uint8)


def recorded(folder: Path, name: str, files: Sequence[Path], fault: Callable[[RgbImage], RgbImage]) -> Path:
    """Record a session of some fields, each with a fault (of BGR pixels)."""
    pictures = folder / name
    pictures.mkdir()
    for number, file in enumerate(files):
        shown = np.asarray(cv2.imread(str(file)), np.uint8)
        cv2.imwrite(str(pictures / f"{number:03}.png"), fault(shown))
    session = folder / f"{name}.db"
    run(f"dir://{pictures}", "default", RunSettings(runtime="litert"), RunOptions(session, draw=False))
    return session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=45)
    words = parser.parse_args()
    data = Path(os.environ.get("EDGELEUK_DATA", ROOT.parent / "shared" / "data"))
    files = sorted((data / "fields_bccd").glob("*.jpg"))

    def drawn(seed: int) -> list[Path]:
        return [files[place] for place in np.random.default_rng(seed).permutation(len(files))[: words.fields]]

    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name), Path(name) / "control.json"
        for seed in range(MAKE_LIMITS):
            add_control([recorded(folder, f"day{seed}", drawn(seed), np.asarray)], file)
        judged = {"healthy": (drawn(MAKE_LIMITS), np.asarray)}
        judged |= {one.__name__: (drawn(MAKE_LIMITS + 1), one) for one in (dimmer, blurred, paler)}
        for title, (shown, fault) in judged.items():
            result = check_control(recorded(folder, title, shown, fault), file)
            (line,) = [line for line in verdicts_text(result).splitlines() if line.startswith("verdict")]
            print(f"{title}: {line.removeprefix('verdict   ')}", flush=True)


if __name__ == "__main__":
    main()
