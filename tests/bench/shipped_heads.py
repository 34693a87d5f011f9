"""Put the head for kinds on the shipped bundle: from two laboratories' cells, and C-NMC's lymphoid ones.

    python tests/bench/shipped_heads.py PARENT.edgeleuk --cnmc DIR --kinds pbc.labels --kinds bcisc.labels
        --work DIR --out default.edgeleuk [--landmarks 256]

What is measured is kept in the work folder, so that a run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.bundle.contracts import Answer
from edgeleuk.bundle.descent import Taught
from edgeleuk.bundle.heads import kind_probabilities
from edgeleuk.bundle.manifest import CARD, VALIDATION, KindContract
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.reference import Reference, encode_reference
from edgeleuk.bundle.writing import describe_members, write_bundle
from edgeleuk.classifier.appearance import CellAppearance
from edgeleuk.classifier.classifier import bundle_rules
from edgeleuk.labels.label_set import read_labels
from edgeleuk.results.kinds import Kind
from edgeleuk_convert.commands.read_cells import CNMC, read_cells
from edgeleuk_convert.dataset.cnmc import read_crop
from edgeleuk_convert.teaching.choices import Task, class_weights, parts_by_group
from edgeleuk_convert.teaching.fitting import (
    AREA_MARGIN,
    AREA_QUANTILES,
    least_probability,
)
from edgeleuk_convert.teaching.kernels import fitted_by_landmarks, standard_of, with_fewer
from edgeleuk_convert.teaching.measuring import MeasuredCells, measure
from edgeleuk_convert.teaching.rebuilding import TaughtHeads, parents_figures, rebuilt
from edgeleuk_convert.teaching.tasks import (
    GAMMA_OF_KIND,
    HAND_CRAFTED_OF_KIND,
)
from edgeleuk_convert.teaching.validating import SHARPNESSES, balanced_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.heads import KernelHead
    from edgeleuk.frames import CellCrop
    from edgeleuk.labels.label_set import LabelSet
    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.teaching.measuring import Labelled

    Floats = npt.NDArray[np.float64]

# See docs/models.md.
RIDGE_OF_KIND = 0.1
# That few landmarks see; all of them see the features as they are.
DIRECTIONS_OF_KIND = 32
OF_A_SUBJECT = 9
FOLDS = 5
# Of the distance within which 95 % of the cells of a kind have another slide's cell.
DISTANCE_QUANTILE = 0.95
RUNTIME = "litert"
CITATIONS = {
    "cnmc": "Gupta and Gupta, ISBI 2019 C-NMC Challenge, doi 10.7937/tcia.2019.dc64i46r",
    "pbc": "Acevedo et al., Data in Brief 30:105474 (2020), Mendeley Data snkd93bnjr",
    "bcisc": "fpklipic/BCISC, Apache-2.0",
}
TURNED: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda picture: picture,
    "left to right": lambda picture: picture[:, ::-1],
    "upside down": lambda picture: picture[::-1],
    "transposed": lambda picture: picture.swapaxes(0, 1),
}


class LazyCrop:
    """A cell of a folder, read when it is asked for, perhaps turned."""

    def __init__(self, read: Callable[[], CellCrop], label: str, slide: str, subject: str, turn: str) -> None:
        self._read, self._turn = read, TURNED[turn]
        self.label, self.slide, self.subject = label, slide, subject

    @property
    def crop(self) -> CellCrop:
        """The crop."""
        crop = self._read()
        return replace(
            crop,
            pixels=np.ascontiguousarray(self._turn(crop.pixels)),
            mask=np.ascontiguousarray(self._turn(crop.mask)),
        )


def main() -> None:
    """Make the shipped bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parent")
    parser.add_argument("--cnmc", type=Path, required=True)
    parser.add_argument("--kinds", type=Path, action="append", required=True, metavar="NAME.labels")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--landmarks", type=int, help="so many cells answer for all that taught the head")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    parent = read_bundle(asked.parent)
    seen_by_parent = set(parent.manifest.provenance.training_subjects)
    training = [cell for cell in read_cells(asked.cnmc, CNMC).labelled if cell.subject in seen_by_parent]
    lymphoid = measured(asked.work / "cnmc.npz", parent, _some_of_each_subject(training))
    labelled = [read_labels([place]) for place in asked.kinds]
    kinds, contract, reference, notes, facts = kind_part(asked, parent, lymphoid, labelled)
    before = bundle_rules(parent)
    heads = TaughtHeads(
        output=before.output,
        envelope=before.envelope,
        gate=before.gate,
        statistics=None,
        blast=None,
        kind=kinds,
        kind_contract=contract,
        reference=encode_reference(reference),
        validation=msgspec.json.decode(parent.members[VALIDATION]) | {"kinds": facts},
    )
    taught = Taught(
        parent_sha256=parent.sha256,
        parent_name=parent.manifest.name,
        laboratory="edgeleuk",
        labels_sha256=hashlib.sha256("".join(of.sha256 for of in labelled).encode()).hexdigest(),
        cells=contract.cells,
        slides=contract.slides,
        choice=f"kind: mirror images as well, ridge {RIDGE_OF_KIND:g}",
        heads=("kind",),
        forced=False,
    )
    manifest, members = rebuilt(parent, heads, taught, notes, name=asked.out.stem)
    # What the parent's folds tell of blasts is told of this bundle, which only has one head more.
    told = parent.members[CARD].decode().partition("\n")[2]
    card = members[CARD].decode().replace(parents_figures(told, taught).rstrip("\n"), told.rstrip("\n"))
    members = {**members, CARD: card.encode()}
    manifest = msgspec.structs.replace(manifest, members=describe_members(members))
    write_bundle(asked.out, manifest, members)
    for line in notes:
        print(line)


def measured(place: Path, bundle: Bundle, cells: Sequence[Labelled]) -> MeasuredCells:
    """Measure cells, or take what an earlier run measured."""
    if not place.exists():
        found = measure(cells, bundle, runtime=RUNTIME, threads=2, progress=_told(place.stem))
        assert found.answer.features is not None
        np.savez(
            place, label=found.label, slide=found.slide, subject=found.subject, areas=found.areas_um2,
            looks=np.array(found.looks), numbers=found.numbers, features=found.answer.features,
        )  # fmt: skip
    with np.load(place) as kept:
        return MeasuredCells(
            kept["label"], kept["slide"], kept["subject"], kept["areas"],
            tuple(CellAppearance(*row) for row in kept["looks"].tolist()), kept["numbers"],
            Answer(np.zeros((len(kept["label"]), 1), np.float32), kept["features"]),
        )  # fmt: skip


def kind_part(
    asked: argparse.Namespace, parent: Bundle, lymphoid: MeasuredCells, labelled: Sequence[LabelSet]
) -> tuple[KernelHead, KindContract, Reference, list[str], dict[str, Any]]:
    """Fit the head for kinds to cells and their mirror images; choose its limits on other slides' cells."""
    parts = [lymphoid]
    sources = ["cnmc"] * len(parts[0].label)
    turned: list[MeasuredCells] = []
    for place, of_place in zip(asked.kinds, labelled, strict=True):
        for turn in TURNED:
            cells = [LazyCrop(_reader(c), c.label, c.slide, c.subject or c.slide, turn) for c in of_place]
            found = measured(asked.work / f"{place.stem} {turn}.npz", parent, cells)
            (turned if turn != "as it is" else parts).append(found)
        sources += [place.stem] * len(parts[-1].label)
    values = np.vstack([one.cells for one in parts])
    kinds = [Kind.BLAST_LIKE] * len(parts[0].label) + [Kind(x) for one in parts[1:] for x in one.label]
    names = tuple(kind.value for kind in Kind if kind in kinds)
    # PBC tells no slides: each of its pictures stands alone.
    group = np.array([
        f"{source} {slide}" if source != "pbc" else f"pbc {index}"
        for index, (source, slide) in enumerate(zip(sources, _slides(parts), strict=True))
    ])  # fmt: skip
    truth = np.array([names.index(kind.value) for kind in kinds], np.int64)
    task = Task(names, values, truth, group, HAND_CRAFTED_OF_KIND, GAMMA_OF_KIND)
    also = np.vstack([one.cells for one in turned])
    also_truth = np.array([names.index(Kind(x).value) for one in turned for x in one.label], np.int64)
    # A mirror image belongs to the group of its cell.
    counts = [len(one.label) for one in parts[1:]]
    starts = np.cumsum([len(parts[0].label), *counts])
    also_group = np.concatenate(
        [
            np.tile(group[start : start + count], len(TURNED) - 1)
            for start, count in zip(starts, counts, strict=False)
        ]
    )
    part = parts_by_group(group, truth, FOLDS)
    scores, near = np.zeros((len(truth), len(names))), np.zeros(len(truth))
    for number in range(FOLDS):
        rows = part != number
        taught = np.isin(also_group, group[rows])
        head = _kind_head(
            task, rows, also[taught], also_truth[taught], also_group[taught], landmarks=asked.landmarks
        )
        answers = head.answer(values[~rows])
        scores[~rows], near[~rows] = answers.scores, answers.distances
    sharpness = min(SHARPNESSES, key=lambda one: _loss(task, scores, one))
    shares = kind_probabilities(scores, sharpness)
    areas = np.concatenate([one.areas_um2 for one in parts])
    low, high = np.quantile(areas, AREA_QUANTILES)
    contract = KindContract(
        kinds=tuple(Kind(name) for name in names),
        sharpness=sharpness,
        least=max(0.7, least_probability(task, shares)),
        area_um2=(round(float(low) / AREA_MARGIN, 1), round(float(high) * AREA_MARGIN, 1)),
        distances=tuple(
            round(float(np.quantile(near[truth == number], DISTANCE_QUANTILE)), 4)
            for number in range(len(names))
        ),
        cells=len(truth),
        slides=len(np.unique(group)),
    )
    every = np.ones(len(truth), bool)
    head = _kind_head(task, every, also, also_truth, also_group, landmarks=asked.landmarks)
    labels = [*parts[0].label.tolist(), *(kind.value for kind in kinds[len(parts[0].label) :])]
    reference = Reference.compact(values, labels, sources, group.tolist(), CITATIONS)
    called, source = shares.argmax(axis=1), np.array(sources)
    notes = [
        f"kinds: balanced accuracy {balanced_accuracy(truth[source == one], called[source == one]):.3f} on"
        f" {(source == one).sum()} cells of {one}, by {FOLDS} folds"
        for one in dict.fromkeys(sources)
    ]
    told = Counter(zip(truth.tolist(), called.tolist(), strict=True))
    facts = {
        "cells": len(truth),
        "slides": contract.slides,
        "balanced_accuracy": balanced_accuracy(truth, called),
        "confusion": {
            name: {other: n for at, other in enumerate(names) if (n := told[number, at])}
            for number, name in enumerate(names)
        },
    }
    return head, contract, reference, notes, facts


def _kind_head(
    task: Task,
    rows: npt.NDArray[np.bool_],
    also: Floats,
    also_truth: npt.NDArray[np.int64],
    also_group: npt.NDArray[np.str_],
    *,
    landmarks: int | None,
) -> KernelHead:
    """Fit to cells and mirror images; only the cells as they are become vectors."""
    values = np.vstack([task.cells[rows], also])
    truth = np.concatenate([task.truth[rows], also_truth])
    group = np.concatenate([task.slide[rows], also_group])
    weights = class_weights(truth, group)
    standard = standard_of(values, weights, hand_crafted=task.hand_crafted)
    z, targets = standard.of(values), np.eye(len(task.classes))[truth]
    kept = np.arange(int(rows.sum()))
    head = fitted_by_landmarks(z, targets, weights, standard, kept, gamma=task.gamma, ridge=RIDGE_OF_KIND)
    if landmarks is None:
        return head
    some = np.random.default_rng(0).choice(kept, min(landmarks, len(kept)), replace=False)
    return with_fewer(head, z, targets, weights, some, ridge=RIDGE_OF_KIND, directions=DIRECTIONS_OF_KIND)


def _loss(task: Task, scores: Floats, sharpness: float) -> float:
    shares = kind_probabilities(scores, sharpness)[np.arange(len(task.truth)), task.truth]
    return float(-(task.weights * np.log(np.maximum(shares, 1e-6))).sum())


def _some_of_each_subject(cells: Sequence[LabelledCell]) -> list[LazyCrop]:
    rng, found = np.random.default_rng(0), []
    for subject in sorted({cell.subject or "" for cell in cells}):
        of = [cell for cell in cells if cell.subject == subject]
        rows = sorted(rng.choice(len(of), min(OF_A_SUBJECT, len(of)), replace=False))
        found += [
            LazyCrop(_file_reader(of[row]), str(of[row].label), of[row].group or "", subject, "as it is")
            for row in rows
        ]
    return found


def _slides(parts: Sequence[MeasuredCells]) -> list[str]:
    return [str(slide) for one in parts for slide in one.slide]


def _file_reader(cell: LabelledCell) -> Callable[[], CellCrop]:
    return lambda: read_crop(cell)


def _reader(cell: Labelled) -> Callable[[], CellCrop]:
    return lambda: cell.crop


def _told(title: str) -> Callable[..., None]:
    def tell(done: int, total: int, *_: object) -> None:
        if done % 500 == 0 or done == total:
            print(f"{title}: {done} of {total}")

    return tell


if __name__ == "__main__":
    main()
