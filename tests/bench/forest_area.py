"""Ask by nested folds whether the forest's area helps or hurts beside the support vectors.

    python tests/bench/forest_area.py CNMC --features FILE.npz --out FOLDER [--landmarks 512]

With landmarks it asks the same of a cheaper head; see "Cheaper heads" in docs/models.md.
What the trunk sees of the cells is measured once into FILE.npz. A fold that is done stays in FOLDER, so that
a run that was ended goes on where it was. With the trunk measured it takes a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.classifier.cell_features import NAMES
from edgeleuk_convert.commands.read_cells import read_with_prints
from edgeleuk_convert.dataset.measuring import measure_numbers
from edgeleuk_convert.dataset.splits import grouped_folds, unique
from edgeleuk_convert.dataset.tensors import load_tensors
from edgeleuk_convert.evaluation.fold_scores import HARD_AUROC, judged_folds, scores_of
from edgeleuk_convert.training.augmentation import sampling_weights
from edgeleuk_convert.training.forest import fit_forest
from edgeleuk_convert.training.inner_folds import inner_answers
from edgeleuk_convert.training.out_of_fold import ENDING, Answers, read_answers, write_answers
from edgeleuk_convert.training.settings import load_training_settings
from edgeleuk_convert.training.support_vectors import FrozenNetwork, fit_support

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.training.plan import TrainingSettings

    Floats = npt.NDArray[np.float64]

FOLDS = 5
AREA = NAMES.index("log_area")
CHUNK = 512
TOLD = ("auroc", "weighted_f1", HARD_AUROC, "ece", "subject_sensitivity_mean", "subject_specificity_mean")


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cnmc", type=Path)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--landmarks", type=int, default=0, help="0 keeps the support vectors")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    settings = replace(
        load_training_settings(None, {"architecture": "efficientnet-lite0-frozen"}), landmarks=asked.landmarks
    )
    cells = read_with_prints(asked.cnmc)[0].labelled
    features, numbers = measured(cells, settings, asked.features)
    of_group = grouped_folds(cells, FOLDS, settings.split_seed)
    tests = [[cell for cell in cells if of_group[cell.group or ""] == fold] for fold in range(FOLDS)]
    without = numbers.copy()
    # A number that never changes divides nothing.
    without[:, AREA] = 0
    for title, seen, forest in (
        ("support vectors", numbers, False),
        ("with the forest", numbers, True),
        ("with a forest that does not know the area", without, True),
    ):
        name = ("without" if seen is without else "with") + f"-{asked.landmarks}" * bool(asked.landmarks)
        run = [
            answered(cells, tests, fold, settings, features, seen, asked.out / f"{name}-{fold}{ENDING}")
            for fold in range(FOLDS)
        ]
        found = scores_of(title, None, [judged_folds(run, tests, forest=forest)], tests, 1000)
        told = (
            f"{key} {found.mean[key]:.3f} ({found.interval_95[key][0]:.3f}-{found.interval_95[key][1]:.3f})"
            for key in TOLD
        )
        print(f"{title}: {', '.join(told)}", flush=True)


def measured(
    cells: Sequence[LabelledCell], settings: TrainingSettings, place: Path
) -> tuple[npt.NDArray[np.float32], Floats]:
    """Return what the trunk sees of cells and their plain numbers, from the file where it is there."""
    if not place.exists():
        seen = [
            FrozenNetwork(settings, load_tensors(cells[start : start + CHUNK], settings.contract)).features
            for start in range(0, len(cells), CHUNK)
        ]
        np.savez(place, features=np.concatenate(seen), numbers=measure_numbers(cells, settings.contract))
    with np.load(place) as kept:
        return kept["features"], kept["numbers"]


def answered(
    cells: Sequence[LabelledCell],
    tests: Sequence[Sequence[LabelledCell]],
    fold: int,
    settings: TrainingSettings,
    features: npt.NDArray[np.float32],
    numbers: Floats,
    path: Path,
) -> Answers:
    """Answer on one fold, and on inner folds of the others."""
    if (done := read_answers(path, "")) is not None:
        return done
    row = {cell.path: number for number, cell in enumerate(cells)}
    known = unique(cell for number, of in enumerate(tests) if number != fold for cell in of)
    rows, asked = ([row[cell.path] for cell in of] for of in (known, tests[fold]))
    truth = np.array([cell.label == "blast" for cell in known])
    weights = sampling_weights(known, subject_cap=settings.subject_cap, size_balanced=settings.size_balanced)
    support = fit_support(features[rows], truth, weights * len(known), landmarks=settings.landmarks)
    hashes = [cell.sha256 for cell in tests[fold]]
    forest = fit_forest(known, numbers[rows], seed=settings.seed)
    answers = Answers(
        architecture=settings.architecture,
        fold=fold,
        seed=settings.seed,
        parameters=0,
        logits=dict(zip(hashes, support.log_odds(features[asked]).tolist(), strict=True)),
        forest=dict(zip(hashes, forest.log_odds(numbers[asked]).tolist(), strict=True)),
        identity="",
        inner=inner_answers(known, features[rows], numbers[rows], settings),
    )
    write_answers(answers, path)
    return answers


if __name__ == "__main__":
    main()
