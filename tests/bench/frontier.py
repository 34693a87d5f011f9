"""Draw what trunks cost, and what they are worth, in one picture.

Each folder is one that `edgeleuk cross-validate` wrote, all of the same folds. `--pixels` adds the frozen
trunk as it is at so many pixels a side of the same field: what can be saved without any teaching. Those are
cross-validated first, in `--work`, and go on where they were. Prints the points as JSON on standard output.

    python tests/bench/frontier.py by-folds --out frontier.png [--data DIR --work DIR --pixels 152]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import msgspec

from edgeleuk_convert.commands.read_cells import read_with_prints
from edgeleuk_convert.evaluation.cross_validation import cross_validate
from edgeleuk_convert.networks.architectures import frozen_input
from edgeleuk_convert.reports.comparison import points_of, write
from edgeleuk_convert.reports.frontier import Point, frontier
from edgeleuk_convert.training.plan import TrainingSettings

FROZEN, FOLDS = "efficientnet-lite0-frozen", 5


def at_pixels(pixels: int, data: Path, work: Path) -> Point:
    """Cross-validate the frozen trunk at fewer pixels of the same field."""
    usual = frozen_input()
    contract = msgspec.structs.replace(
        usual, height=pixels, width=pixels, px_per_um=(usual.px_per_um or 0) * pixels / usual.height
    )
    settings = TrainingSettings(architecture=FROZEN, folds=FOLDS, calibrated=False, input=contract)
    cells, prints = read_with_prints(data)
    folder = work / str(pixels)

    def say(title: str) -> None:
        print(f"{pixels} pixels: {title}", file=sys.stderr, flush=True)

    facts = write(cross_validate(cells, folder, [settings], prints=prints, begin=say), folder)
    (point,) = points_of(facts)
    return dataclasses.replace(point, title=f"untaught, {pixels} pixels")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--pixels", type=int, action="append", default=[])
    words = parser.parse_args()
    points = [at_pixels(pixels, words.data, words.work) for pixels in words.pixels]
    for folder in words.folders:
        points += points_of(json.loads((folder / "comparison.json").read_text(encoding="utf-8")))
    words.out.write_bytes(frontier(points))
    print(json.dumps([dataclasses.asdict(point) for point in points], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
