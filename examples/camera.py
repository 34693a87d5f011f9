"""Watch a camera, and count each cell once: ``camera.py URI``."""

from __future__ import annotations

import sys
from collections import Counter

import edgeleuk


def main(uri: str = "virtual://?seed=1&frames=3") -> None:
    """Print the counts after each frame."""
    counts: Counter[str] = Counter()
    for frame in edgeleuk.watch(uri):
        counts.update(cell.prediction.decision.value for cell in frame.cells if cell.is_new)
        print(frame.sequence, dict(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
