"""Draw what networks of several cross-validations cost, and what they are worth, in one picture.

All must have the same folds; each is one folder that `edgeleuk cross-validate` wrote. Prints the points as
JSON on standard output.

    python tests/bench/frontier.py by-folds "152 pixels=by-folds-152" --out frontier.png
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from edgeleuk_convert.reports.comparison import points_of
from edgeleuk_convert.reports.frontier import Point, frontier


def read(word: str) -> list[Point]:
    """Read ``DIR``, or ``TITLE=DIR`` of a folder with one network."""
    title, _, folder = word.rpartition("=")
    points = points_of(json.loads(Path(folder, "comparison.json").read_text(encoding="utf-8")))
    return [dataclasses.replace(one, title=title or one.title) for one in points]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", metavar="[TITLE=]DIR")
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    points = [point for word in words.folders for point in read(word)]
    words.out.write_bytes(frontier(points))
    print(json.dumps([dataclasses.asdict(point) for point in points], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
