"""Stop when enough cells were counted: ``stop_rule.py URI CELLS``."""

from __future__ import annotations

import sys
from contextlib import closing

import edgeleuk


def main(uri: str = "virtual://?seed=1", wanted: str = "5") -> None:
    """Watch a camera until so many cells are counted; the camera is closed then."""
    seen = 0
    with closing(edgeleuk.watch(uri)) as frames:
        for frame in frames:
            seen += sum(cell.is_new for cell in frame.cells)
            if seen >= int(wanted):
                break
    print(f"{seen} cells")


if __name__ == "__main__":
    main(*sys.argv[1:])
