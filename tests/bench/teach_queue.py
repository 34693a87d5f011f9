"""Do labels that `labels next` asks for teach more than labels at random?

    python tests/bench/teach_queue.py [--data DIR] [--work DIR] [--draws 30]

The cells are those of teach_curves.py, and so are the bundles, which never saw them. Heads are fitted the
usual way, joined with the reference. Of BCISC one slide judges and the others are labelled; of the sets
without slides a third of the cells judges. Prints figures on standard error and JSON on standard output;
exits 3 when queued labels teach less.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

# First, for it tells numpy's threads.
from teach_curves import RIDGE, ROOT, SHARPNESS, World, figure, say, worlds_of  # noqa: E402

import numpy as np  # noqa: E402 # isort: skip

from edgeleuk.bundle.heads import kind_probabilities  # noqa: E402
from edgeleuk.bundle.reading import read_bundle  # noqa: E402
from edgeleuk.labels.queue import doubts, queue  # noqa: E402
from edgeleuk.results.kinds import Kind  # noqa: E402
from edgeleuk_convert.teaching.choices import REFERENCE_WEIGHTS, RIDGES, class_weights  # noqa: E402
from edgeleuk_convert.teaching.kernels import Prior, Reference, kernel, standard_of  # noqa: E402

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

# Labels that a person has before asking, and how many more are asked for.
FIRST, MORE = (0, 20), (20, 40)


class Usual:
    """The usual way to a head, with all that does not hang on labels done once."""

    def __init__(self, world: World) -> None:
        self.world = world
        of = world.reference
        balance = class_weights(of.truth, of.group)
        standard = standard_of(of.cells, balance)
        self.z, self.known = standard.of(world.cells.values), standard.of(of.cells)
        self.gamma = world.head.gamma
        ready = Reference(
            self.known,
            np.eye(len(world.names))[of.truth],
            RIDGE / (REFERENCE_WEIGHTS[-1] * balance),
            self.gamma,
            kernel(self.known, self.known, self.gamma),
        )
        self.prior: Prior = ready.prior(self.z, 1 / len(world.names))

    def scores(self, rows: Ints, asked: Ints) -> Floats:
        """Score some cells once others are labelled."""
        if not len(rows):
            return self.prior.mean[asked]
        task = self.world.task(rows)
        count = len(self.z)
        targets, noise = np.zeros((count, len(self.world.names))), np.ones(count)
        targets[rows], noise[rows] = task.targets, RIDGES[0] / task.weights
        return self.prior.scores(rows, asked, targets, noise)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDGELEUK_DATA", "../shared/data")))
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "teach_curves")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--draws", type=int, default=30)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    whole: dict[str, Any] = {"schema_version": 1, "draws": asked.draws, "queue": {}, "bars": {}}
    for world in worlds_of(read_bundle(asked.bundle), asked.data, asked.work):
        usual = Usual(world)
        for first in FIRST:
            # Of a small set too little is left to choose from.
            if world.label is not world.cells.kind or len(world.label) < 2 * (first + MORE[-1]):
                continue
            records = [draw(usual, first, number) for number in range(asked.draws)]
            point: dict[str, Any] = {"before": figure(world, records, "before")}
            for more in MORE:
                gain = figure(world, records, f"queue {more}", f"random {more}")
                point |= {
                    f"queue {more}": figure(world, records, f"queue {more}"),
                    f"random {more}": figure(world, records, f"random {more}"),
                    f"gain {more}": gain,
                }
                name = f"{world.name}, {first} labelled: {more} queued teach as much as {more} at random"
                whole["bars"][name] = {"measured": str(gain), "met": gain.value >= 0}
            whole["queue"][f"{world.name}, {first} labelled"] = point
            say(world.name, f"{first} labelled", point)
    for name, bar in whole["bars"].items():
        print(f"{'met   ' if bar['met'] else 'MISSED'} {bar['measured']:>28}  {name}", file=sys.stderr)
    print(json.dumps(whole))
    return 0 if all(bar["met"] for bar in whole["bars"].values()) else 3


def draw(usual: Usual, first: int, number: int) -> dict[str, Any]:
    """Label some cells, then more of them: chosen by the queue, and at random."""
    world, rng = usual.world, np.random.default_rng(number)
    every = np.arange(len(world.label))
    if world.cells.has_slides:
        slides = np.unique(world.cells.slide)
        held = world.cells.slide == slides[number % len(slides)]
    else:
        held = rng.permutation(len(every)) % 3 == 0
    pool, asked = rng.permutation(every[~held]), every[held]
    own, others = pool[:first], pool[first:]
    shares = kind_probabilities(usual.scores(own, others), SHARPNESS)
    doubt = doubts(shares, [Kind(name) for name in world.names], np.ones(len(others)))
    known = np.vstack([usual.known, usual.z[own]])
    order = queue(usual.z[others], doubt, world.cells.slide[others].tolist(), known, MORE[-1], usual.gamma)
    right = {"before": world.right(usual.scores(own, asked), asked)}
    for more in MORE:
        for name, rows in (("queue", others[order[:more]]), ("random", others[:more])):
            right[f"{name} {more}"] = world.right(usual.scores(np.append(own, rows), asked), asked)
    return {"asked": asked.tolist(), "right": right}


if __name__ == "__main__":
    sys.exit(main())
