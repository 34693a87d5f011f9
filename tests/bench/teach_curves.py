"""What labels are worth to `teach`: learning curves on other laboratories' cells, with intervals.

    python tests/bench/teach_curves.py [--data DIR] [--work DIR] [--draws 10]

Every draw is kept in the work folder, so that a run that was ended goes on where it was. Prints tables on
standard error and JSON on standard output; exits 3 when a bar is missed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - its threads are told before

from edgeleuk.bundle.manifest import INT8_TFLITE, REFERENCE  # noqa: E402
from edgeleuk.bundle.reading import read_bundle  # noqa: E402
from edgeleuk.bundle.reference import decode_reference  # noqa: E402
from edgeleuk.labels.file import write_labels  # noqa: E402
from edgeleuk.labels.importing import import_folder  # noqa: E402
from edgeleuk.labels.label_set import read_labels  # noqa: E402
from edgeleuk.labels.naming import Naming  # noqa: E402
from edgeleuk.labels.spool import Spool  # noqa: E402
from edgeleuk.results.kinds import Kind  # noqa: E402
from edgeleuk_convert.teaching.choices import (  # noqa: E402
    Choice,
    Known,
    ReferenceCells,
    Task,
    choices_for,
    class_weights,
)
from edgeleuk_convert.teaching.kernels import fitted_head, no_prior, standard_of  # noqa: E402
from edgeleuk_convert.teaching.measuring import measure  # noqa: E402
from edgeleuk_convert.teaching.tasks import GAMMA_OF_KIND, HAND_CRAFTED_OF_KIND, kind_of  # noqa: E402
from edgeleuk_convert.teaching.validating import validate  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.heads import KernelHead
    from edgeleuk_convert.teaching.validating import Validated

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Texts = npt.NDArray[np.str_]

ROOT = Path(__file__).resolve().parents[2]
RUNTIME, SHARPNESS, RIDGE = "litert", 8.0, 0.1
RESAMPLES = 500
LYMPHOCYTE, REST = Kind.LYMPHOCYTE.value, Kind.OTHER.value
# The sets without slides: their pictures are dealt to so many.
PARTS = 5
SCALES = {"jiangxi": 6.2, "cellavision": 9.5}
BCISC = "BCISC, five kinds"
TAKEN, BEFORE = "taken", "before"


class Cells(NamedTuple):
    """Measured cells of a laboratory; `slide` is made up where `has_slides` is not."""

    values: Floats
    kind: Texts
    slide: Texts
    has_slides: bool

    def units(self) -> Texts:
        """What is drawn anew for an interval: slides, else cells."""
        return self.slide if self.has_slides else np.arange(len(self.kind)).astype(np.str_)


class World(NamedTuple):
    """A laboratory, what it tells apart, and what the bundle knows that never saw it.

    Attributes
    ----------
    name : str
    cells : Cells
    label : (n,) str
        What a person calls them.
    names : tuple of str
        All kinds, those of the bundle and of the labels.
    reference : ReferenceCells
    head : KernelHead
        Fitted to the reference.
    sizes : tuple of int
        Numbers of labels.
    """

    name: str
    cells: Cells
    label: Texts
    names: tuple[str, ...]
    reference: ReferenceCells
    head: KernelHead
    sizes: tuple[int, ...]

    def right(self, scores: Floats, rows: Ints) -> list[int]:
        """Tell of each cell whether it is called right; of the rest, whatever is no lymphocyte is right."""
        called = np.array(self.names)[scores.argmax(axis=1)]
        truth = self.label[rows]
        ok = np.where(truth == REST, called != LYMPHOCYTE, called == truth)
        return [int(one) for one in ok]

    def task(self, rows: Ints) -> Task:
        """Return the task of learning from some cells."""
        truth = np.array([self.names.index(label) for label in self.label[rows]], np.int64)
        return Task(
            self.names,
            self.cells.values[rows],
            truth,
            self.cells.slide[rows],
            HAND_CRAFTED_OF_KIND,
            GAMMA_OF_KIND,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDGELEUK_DATA", "../shared/data")))
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "teach_curves")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--draws", type=int, default=10)
    asked = parser.parse_args()
    os.nice(5)
    asked.work.mkdir(parents=True, exist_ok=True)
    bundle = read_bundle(asked.bundle)
    worlds = {world.name: world for world in worlds_of(bundle, asked.data, asked.work)}
    # What an older trunk, or another reference, said is of no use.
    key = hashlib.sha256(bundle.members[INT8_TFLITE] + bundle.members[REFERENCE]).hexdigest()[:12]
    kept = Kept(asked.work / f"draws-{key}.jsonl")
    for draw in range(asked.draws):
        for world in worlds.values():
            for size in world.sizes:
                kept.once((world.name, size, draw), partial(curve_draw, world, size, draw))
    nothing = unlabelled(bundle, worlds[BCISC])
    return told(worlds, kept.records, asked.draws, nothing)


class Kept:
    """Draws in a file, a line each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, dict[str, Any]] = {}
        if path.exists():
            # A line that a kill cut off is done again.
            lines = path.read_text("utf-8").splitlines(keepends=True)
            records = [json.loads(line) for line in lines if line.endswith("}\n")]
            self.records = {record["key"]: record for record in records}
            if len(records) < len(lines):
                path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")

    def once(self, key: tuple[str, int, int], make: Callable[[], dict[str, Any]]) -> None:
        """Make a draw unless it is there."""
        name = "/".join(map(str, key))
        if name in self.records:
            return
        print(f"  {name}", file=sys.stderr, flush=True)
        self.records[name] = {"key": name, **make()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.records[name]) + "\n")


def worlds_of(bundle: Bundle, data: Path, work: Path) -> Iterator[World]:
    """Yield the laboratories; the reference holds none of their cells."""
    bcisc = measured(
        bundle, work, "bcisc", data / "white_cells/bcisc/crops", Naming({}, None, "{label}_{slide}-*")
    )
    yield world_of(bundle, BCISC, bcisc, bcisc.kind, (20, 50, 100), without="bcisc")
    rest = np.where(bcisc.kind == LYMPHOCYTE, LYMPHOCYTE, REST)
    yield world_of(bundle, "BCISC, lymphocytes against the rest", bcisc, rest, (20, 50, 100), without="bcisc")
    for name, title, sizes in (
        ("jiangxi", "Jiangxi, four kinds", (20, 50, 100)),
        ("cellavision", "CellaVision, five kinds", (20, 35)),
    ):
        folder = data / "wbc_masks" / name
        table = work / f"{name}.csv"
        with (data / "wbc_masks/kinds.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["path"].startswith(f"{name}/")]
        lines = [
            f"{Path(row['path']).name},{row['kind']},{number % PARTS}" for number, row in enumerate(rows)
        ]
        table.write_text("\n".join(["file,label,slide", *lines]) + "\n", encoding="utf-8")
        naming = Naming({}, None, None, table)
        cells = measured(bundle, work, name, folder, naming)._replace(has_slides=False)
        yield world_of(bundle, title, cells, cells.kind, sizes)


def measured(bundle: Bundle, work: Path, name: str, folder: Path, naming: Naming) -> Cells:
    """Import a set's pictures as a person would, and measure them; or take what was measured before."""
    trunk = hashlib.sha256(bundle.members[INT8_TFLITE]).hexdigest()[:12]
    place = work / f"{name}-{trunk}.npz"
    if not place.exists():
        print(f"  measuring {name}", file=sys.stderr, flush=True)
        labels = work / f"{name}.labels"
        labels.unlink(missing_ok=True)
        at = datetime(2026, 1, 1, tzinfo=timezone.utc)
        with Spool() as spool:
            found = import_folder(folder, naming, spool, by=name, at=at, px_per_um=SCALES.get(name))
            write_labels(labels, found.cells, spool)
        seen = measure(list(read_labels([labels])), bundle, runtime=RUNTIME)
        kinds = np.array([kind_of(label).value for label in seen.label])
        np.savez(place, values=seen.cells, kind=kinds, slide=seen.slide)
    with np.load(place) as kept:
        return Cells(kept["values"], kept["kind"], kept["slide"], has_slides=True)


def world_of(
    bundle: Bundle,
    name: str,
    cells: Cells,
    label: Texts,
    sizes: tuple[int, ...],
    *,
    without: str | None = None,
) -> World:
    """Put a head beside a laboratory that is fitted to the bundle's reference, but for one source."""
    reference = decode_reference(bundle.members[REFERENCE])
    kinds = np.array([kind_of(text).value for text in reference.label_texts])[reference.labels]
    names = tuple(kind.value for kind in Kind if kind.value in {*kinds, *label})
    source = np.array(reference.source_texts)[reference.sources]
    rows = source != without
    truth = np.array([names.index(kind) for kind in kinds[rows]], np.int64)
    group = reference.groups.astype(np.str_)[rows]
    values = reference.values().astype(np.float64)[rows]
    weights = class_weights(truth, group)
    standard = standard_of(values, weights, hand_crafted=HAND_CRAFTED_OF_KIND)
    head = fitted_head(
        standard.of(values),
        np.eye(len(names))[truth],
        RIDGE / weights,
        standard,
        gamma=GAMMA_OF_KIND,
        bias=1 / len(names),
    )
    return World(name, cells, label, names, ReferenceCells(values, truth, group, source[rows]), head, sizes)


def unlabelled(bundle: Bundle, world: World) -> dict[str, Figure]:
    """Judge a laboratory by PBC's cells alone, its kinds being known: as it is, and by its own standard."""
    reference = decode_reference(bundle.members[REFERENCE])
    kinds = np.array(reference.label_texts)[reference.labels]
    of_pbc = np.array(reference.source_texts)[reference.sources] == "pbc"
    rows = of_pbc & np.isin(kinds, np.unique(world.label))
    names = np.unique(kinds[rows])
    truth = np.searchsorted(names, kinds[rows]).astype(np.int64)
    values = reference.values().astype(np.float64)[rows]
    weights = class_weights(truth, reference.groups.astype(np.str_)[rows])
    there = standard_of(values, weights, hand_crafted=HAND_CRAFTED_OF_KIND)
    here = standard_of(world.cells.values, hand_crafted=HAND_CRAFTED_OF_KIND)
    targets, bias = np.eye(len(names))[truth], 1 / len(names)
    found = {}
    for name, standard in (("as it is", there), ("by the laboratory's own standard", here)):
        head = fitted_head(
            there.of(values), targets, RIDGE / weights, standard, gamma=GAMMA_OF_KIND, bias=bias
        )
        called = names[head.answer(world.cells.values).scores.argmax(axis=1)]
        right = (called == world.label).astype(int).tolist()
        record = {"asked": list(range(len(right))), "right": {"only": right}}
        found[name] = figure(world, [record], "only")
    return found


def taught(world: World, rows: Ints, seed: int) -> tuple[Task, list[Any], Validated]:
    """Do what `teach` does with some labels."""
    task = world.task(rows)
    choices = choices_for(
        task, Known(world.head.answer(task.cells).scores, world.head, world.reference), SHARPNESS
    )
    return task, choices, validate(task, choices, seed=seed)


def labels_of(world: World, size: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Draw labels and return the cells that judge them: of other slides, where there are slides.

    Labels are drawn again until two classes are among them.
    """
    cells = world.cells
    every = np.arange(len(cells.kind))
    while True:
        asked = np.zeros(len(every), bool)
        if cells.has_slides:
            slides = np.unique(cells.slide)
            count = 2 if size <= 50 else len(slides) - 1
            asked = ~np.isin(cells.slide, rng.permutation(slides)[:count])
            pool = rng.permutation(every[~asked])
        else:
            pool = rng.permutation(every)
            asked[pool[size:]] = True
        rows = np.sort(pool[:size])
        if len(np.unique(world.label[rows])) > 1:
            return rows, every[asked]


def curve_draw(world: World, size: int, draw: int) -> dict[str, Any]:
    """Teach by some labels, every way, and judge other cells."""
    rows, asked = labels_of(world, size, np.random.default_rng(draw))
    task, choices, found = taught(world, rows, draw)
    values = world.cells.values[asked]
    right = {BEFORE: world.right(world.head.answer(values).scores, asked)}
    for choice in choices:
        name = choice.name if choice.ridge is None else f"{choice.name}, ridge {choice.ridge:g}"
        right[name] = world.right(scores_of_others(task, choice, values), asked)
        if choice is found.choice:
            right[TAKEN] = right[name]
    return {"labels": len(rows), "asked": asked.tolist(), "right": right}


def scores_of_others(task: Task, choice: Choice, values: Floats) -> Floats:
    """Let what a choice makes of all labels score other cells; the same as its head's, and sooner there."""
    make = choice.make
    if choice.ridge is None:
        assert make.kept is not None
        return make.kept.answer(values).scores
    z = np.vstack([make.z, make.standard.of(values)])
    prior = (
        no_prior(z, len(task.classes), task.gamma, task.bias)
        if make.reference is None
        else make.reference.prior(z, task.bias)
    )
    taught, asked = np.arange(len(make.z)), np.arange(len(make.z), len(z))
    targets, noise = np.zeros((len(z), len(task.classes))), np.ones(len(z))
    targets[taught], noise[taught] = task.targets, choice.ridge / task.weights
    return prior.scores(taught, asked, targets, noise)


class Figure(NamedTuple):
    """Balanced accuracy, or a difference of two: the mean of the draws and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def figure(world: World, records: Sequence[dict[str, Any]], one: str, other: str | None = None) -> Figure:
    """Measure one way, or how much better it is than another.

    The interval is by draws of slides (cells where there are none) and of the draws of labels.
    """
    names, unit = np.unique(world.cells.units(), return_inverse=True)
    parts = []
    for record in records:
        rows = np.array(record["asked"])
        ok = np.array(record["right"][one], np.float64)
        if other is not None:
            ok -= np.array(record["right"][other])
        _, label = np.unique(world.label[rows], return_inverse=True)
        parts.append((rows, ok, label))

    def mean(weights: Floats, chosen: Sequence[int]) -> float:
        found = []
        for number in chosen:
            rows, ok, label = parts[number]
            of_cell = weights[unit[rows]]
            sums = np.bincount(label, of_cell)
            if (sums > 0).all():
                found.append(float((np.bincount(label, of_cell * ok) / sums).mean()))
        return float(np.mean(found)) if found else float("nan")

    rng = np.random.default_rng(0)
    even = mean(np.ones(len(names)), range(len(parts)))
    drawn = [
        mean(
            np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names)).astype(np.float64),
            rng.integers(len(parts), size=len(parts)).tolist(),
        )
        for _ in range(RESAMPLES)
    ]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return Figure(even, float(low), float(high))


def told(
    worlds: dict[str, World], records: dict[str, dict[str, Any]], draws: int, nothing: dict[str, Figure]
) -> int:
    """Print tables and bars; return the exit code."""
    whole: dict[str, Any] = {"schema_version": 1, "draws": draws, "curves": {}}
    whole["nothing_labelled"] = nothing
    say("PBC's cells on BCISC", "nothing labelled", nothing)
    for world in worlds.values():
        points = {}
        for size in world.sizes:
            points[size] = point(world, [records[f"{world.name}/{size}/{draw}"] for draw in range(draws)])
            say(world.name, size, points[size])
        whole["curves"][world.name] = points
    whole["bars"] = bars_of(whole)
    for name, bar in whole["bars"].items():
        print(f"{'met   ' if bar['met'] else 'MISSED'} {bar['measured']:>28}  {name}", file=sys.stderr)
    print(json.dumps(whole))
    return 0 if all(bar["met"] for bar in whole["bars"].values()) else 3


def point(world: World, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum up the draws of one number of labels."""
    ways = [name for name in records[0]["right"] if name not in {TAKEN, BEFORE}]
    means = {name: figure_alone(world, records, name) for name in ways}
    best = max(means, key=means.__getitem__)
    of_each = [max(figure_alone(world, [record], name) for name in ways) for record in records]
    return {
        "before": figure(world, records, BEFORE),
        "after": figure(world, records, TAKEN),
        "best_way": best,
        "best": figure(world, records, best),
        "taken_against_best": figure(world, records, TAKEN, best),
        "best_of_each_draw": float(np.mean(of_each)),
    }


def figure_alone(world: World, records: Sequence[dict[str, Any]], name: str) -> float:
    """Measure one way, without an interval."""
    found = []
    for record in records:
        truth, ok = world.label[np.array(record["asked"])], np.array(record["right"][name])
        found.append(np.mean([ok[truth == label].mean() for label in np.unique(truth)]))
    return float(np.mean(found))


def say(name: str, what: int | str, point: dict[str, Any]) -> None:
    """Print a row for people."""
    parts = [
        f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in point.items()
    ]
    print(f"{name}, {what}: " + "; ".join(parts), file=sys.stderr, flush=True)


def bars_of(whole: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Tell what was asked, and whether it was met."""
    nothing, some = whole["nothing_labelled"]["as it is"], whole["curves"][BCISC][50]["after"]
    bars = {
        "PBC's cells on BCISC, nothing labelled >= .80": (nothing, nothing.value >= 0.80),
        "50 labels of two slides of BCISC >= .87": (some, some.value >= 0.87),
    }
    for name, points in whole["curves"].items():
        most = max(points)
        against = points[most]["taken_against_best"]
        bars[f"{name}: {most} labels, no worse than the best way"] = (against, against.high >= 0)
    return {name: {"measured": str(value), "met": bool(met)} for name, (value, met) in bars.items()}


if __name__ == "__main__":
    sys.exit(main())
