"""Train on every fold but one, judge on that one, again and again: what a recipe is worth, beside baselines.

Each training leaves ``ARCHITECTURE-foldF-seedS.keras``, its record, and its answers on the cells of its own
fold in ``.answers.json``. What is there already is not done again, so the same command goes on after a
stop. The folds are those of `grouped_folds`: groups that share cells stay together.

Where a network's features are taken as they come, the folds are nested: temperature, bias, forest's weight
and threshold of a fold come from inner folds of the cells that teach it. Elsewhere that would take four more
trainings a fold, and they come from the answers on the other folds, each by a network that had not seen
those cells. (Those networks did learn from this fold's cells; none of their answers on them is used.)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.bundle.manifest import OutputContract
from edgeleuk.classifier.cell_features import morphology_numbers
from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import part_of
from edgeleuk_convert.dataset.measuring import measure, measure_numbers
from edgeleuk_convert.dataset.splits import grouped_folds, unique
from edgeleuk_convert.dataset.tensors import load_tensors
from edgeleuk_convert.evaluation.baselines import TITLES, judge_baselines
from edgeleuk_convert.evaluation.costs import measure_cost
from edgeleuk_convert.evaluation.evaluate import judge
from edgeleuk_convert.evaluation.fold_scores import (
    WITH_FOREST,
    Difference,
    Scores,
    difference_of,
    judged_folds,
    mean_of_known,
    scores_of,
)
from edgeleuk_convert.metrics.classification import RESAMPLES
from edgeleuk_convert.networks.architectures import architecture
from edgeleuk_convert.networks.architectures.support_vectors import split_trunk_and_head
from edgeleuk_convert.training.forest import fit_forest, write_forest
from edgeleuk_convert.training.inner_folds import inner_answers
from edgeleuk_convert.training.labels_run import predict_logits
from edgeleuk_convert.training.out_of_fold import (
    ENDING,
    Answers,
    read_answers,
    settings_that_count,
    write_answers,
)
from edgeleuk_convert.training.settings import load_training_settings
from edgeleuk_convert.training.support_vectors import FrozenNetwork, features_of
from edgeleuk_convert.training.teacher import Teacher
from edgeleuk_convert.training.trainer import AlreadyMade, train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.bundle.support_vectors import SupportVectors
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import CellSet, LabelledCell
    from edgeleuk_convert.dataset.leakage import Prints
    from edgeleuk_convert.metrics.classification import Judged
    from edgeleuk_convert.training.plan import TrainingProgress, TrainingSettings

    Tensors = npt.NDArray[np.uint8]
    Features = npt.NDArray[np.float32]
    Floats = npt.NDArray[np.float64]

SCHEMA_VERSION = 1
# Shares of the training groups that the learning curve goes through, and draws of each.
CURVE_SHARES = (0.25, 0.5, 0.75, 1.0)
CURVE_DRAWS = 4
NUMBERS = "numbers.npz"
# Cells to calibrate and time with, evenly from all.
COST_CELLS = 40


@dataclass(frozen=True, slots=True)
class Comparison:
    """All methods on the same folds, and what more subjects would be worth.

    Attributes
    ----------
    cells, subjects, groups : int
    scores : dict of str to Scores
        Baselines first, by their name in `baselines.TITLES`, then architectures.
    differences : tuple of Difference
        Of each further architecture with its forest from the first one with its own.
    curve : tuple of (int, float, float)
        Training groups, and the forest's mean AUROC and weighted F1 with so many.
    """

    cells: int
    subjects: int
    groups: int
    scores: dict[str, Scores]
    differences: tuple[Difference, ...]
    curve: tuple[tuple[int, float, float], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``comparison.json``."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        return {"schema_version": SCHEMA_VERSION, **facts}


def cross_validate(
    cells: CellSet,
    out: Path,
    settings: Sequence[TrainingSettings],
    *,
    prints: Prints,
    begin: Callable[[str], None],
    progress: Callable[[TrainingProgress], None] | None = None,
) -> Comparison:
    """Train and judge every setting on every fold, skipping what `out` holds already; then compare.

    Parameters
    ----------
    cells : CellSet
        Groups joined.
    out : Path
        A folder; made where it is missing.
    settings : sequence of TrainingSettings
        One for each architecture and seed; `fold` is filled in here.
    prints : mapping of path to Fingerprint
    begin : callable
        Told the title of each training before it begins.
    progress : callable, optional
        As for `train`.

    Raises
    ------
    UsageError
        The settings do not agree on the folds.
    """
    folds, split_seed = _common_folds(settings)
    out.mkdir(parents=True, exist_ok=True)
    of_group = grouped_folds(cells.labelled, folds, split_seed)
    cache = _Cache(cells.labelled)
    jobs = [replace(one, fold=fold) for one in settings for fold in range(folds)]
    answers = []
    for number, job in enumerate(jobs, start=1):
        test = [cell for cell in cells.labelled if of_group[cell.group or ""] == job.fold]
        title = f"{job.architecture}, fold {job.fold + 1} of {folds}, seed {job.seed}"
        path = out / f"{job.architecture}-fold{job.fold}-seed{job.seed}{ENDING}"
        found = read_answers(path, _identity(job, test))
        if found is None:
            begin(f"{title} ({number} of {len(jobs)})")
            found = _train_and_answer(cells, path, job, test, cache, prints=prints, progress=progress)
        answers.append(found)
    begin("costs, baselines and learning curve")
    numbers = _numbers(cells.labelled, out / NUMBERS)
    compared = compare_answers(cells, of_group, answers, numbers)
    scores = dict(compared.scores)
    for job in settings:
        one = scores.get(job.architecture)
        if one is not None and one.cost is None:
            network = _load(out / f"{job.architecture}-fold0-seed{job.seed}.keras")
            some = cells.labelled[:: max(1, len(cells.labelled) // COST_CELLS)]
            of = job.contract
            cost = measure_cost(network, of, OutputContract(kind="logit"), cache.tensors(some, of))
            scores[job.architecture] = replace(one, cost=cost)
    return replace(compared, scores=scores)


def compare_answers(
    cells: CellSet,
    of_group: Mapping[str, int],
    answers: Sequence[Answers],
    numbers: npt.NDArray[np.float64],
    *,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Put networks and baselines side by side.

    Parameters
    ----------
    cells : CellSet
    of_group : mapping of str to int
        Group to fold.
    answers : sequence of Answers
        For each architecture and seed, one of each fold; where a fold is missing, that seed is left out.
    numbers : (n, 14) float64
        Rows of `morphology_numbers`, for each labelled cell.
    resamples : int
        Of the bootstrap.
    """
    labelled = cells.labelled
    fold_of = np.array([of_group[cell.group or ""] for cell in labelled])
    folds = int(fold_of.max()) + 1
    tests = [[cell for cell, fold in zip(labelled, fold_of, strict=True) if fold == f] for f in range(folds)]
    scores: dict[str, Scores] = {}
    joined: dict[str, list[list[Judged]]] = {}
    baselines = [
        judge_baselines(
            [cell for cell, fold in zip(labelled, fold_of, strict=True) if fold != f],
            tests[f],
            numbers[fold_of != f],
            numbers[fold_of == f],
            resamples=2,
        )
        for f in range(folds)
    ]
    for position, (name, title) in enumerate(TITLES.items()):
        judged = [[one[position].judged for one in baselines]]
        scores[name] = scores_of(title, None, judged, tests, resamples)
    for network in dict.fromkeys(answer.architecture for answer in answers):
        runs = [
            [one for one in answers if one.architecture == network and one.seed == seed]
            for seed in sorted({answer.seed for answer in answers if answer.architecture == network})
        ]
        whole = [sorted(run, key=lambda one: one.fold) for run in runs if len(run) == folds]
        if whole:
            for title, forest in ((network, False), (network + WITH_FOREST, True)):
                judged = [judged_folds(run, tests, forest=forest) for run in whole]
                scores[title] = scores_of(title, whole[0][0].parameters, judged, tests, resamples)
            # With the forest, as it ships.
            joined[title] = judged
    first = next(iter(joined.items()), None)
    differences = [
        difference_of((title, first[0]), judged, first[1], tests, resamples)
        for title, judged in joined.items()
        if first is not None and title != first[0]
    ]
    return Comparison(
        len(labelled),
        len({cell.subject for cell in labelled}),
        len({cell.group for cell in labelled}),
        scores,
        tuple(differences),
        _learning_curve(labelled, fold_of, numbers),
    )


def settings_for(
    architectures: Sequence[str], *, seeds: int, folds: int, epochs: int | None = None
) -> list[TrainingSettings]:
    """Return the settings of a comparison: each architecture by its recipe, with `seeds` seeds."""
    if not 1 <= seeds <= 100:
        raise UsageError("the number of seeds is out of range", got=seeds, allowed="1 to 100")
    return [
        load_training_settings(
            None,
            {"architecture": name, "folds": folds, "seed": seed, "epochs": epochs, "calibrated": False},
        )
        for name in architectures
        for seed in range(seeds)
    ]


class _Cache:
    """Reads all cells once for each input contract: a `CellReader`."""

    def __init__(self, cells: Sequence[LabelledCell]) -> None:
        self._cells = cells
        self._row = {cell.path: row for row, cell in enumerate(cells)}
        self._tensors: dict[InputContract, Tensors] = {}
        self._features: dict[tuple[str, InputContract], Features] = {}
        self._numbers: dict[InputContract, Floats] = {}
        self._teacher: dict[tuple[str, InputContract], Teacher] = {}

    def tensors(
        self, cells: Sequence[LabelledCell], contract: InputContract, *, progress: Progress | None = None
    ) -> Tensors:
        return self._of_all(contract, progress)[[self._row[cell.path] for cell in cells]]

    def _of_all(self, contract: InputContract, progress: Progress | None = None) -> Tensors:
        if contract not in self._tensors:
            # One contract at a time: those of an architecture follow each other.
            self._tensors = {contract: load_tensors(self._cells, contract, progress=progress)}
        return self._tensors[contract]

    def features(
        self, cells: Sequence[LabelledCell], settings: TrainingSettings, *, progress: Progress | None = None
    ) -> Features:
        """Return what a network that is not trained sees of cells: (n, F)."""
        key = settings.architecture, settings.contract
        if key not in self._features:
            tensors = self.tensors(self._cells, settings.contract, progress=progress)
            self._features = {key: FrozenNetwork(settings, tensors, progress=progress).features}
            # They fill gigabytes, and nobody asks for them again.
            self._tensors = {}
        return self._features[key][[self._row[cell.path] for cell in cells]]

    def taught(
        self, cells: Sequence[LabelledCell], settings: TrainingSettings
    ) -> tuple[Teacher, npt.NDArray[np.int64]]:
        """Return a student's teacher, which looks at all cells once, and which of them these are."""
        key = settings.teacher, settings.contract
        if key not in self._teacher:
            self._teacher = {key: Teacher(settings, self._of_all(settings.contract))}
        return self._teacher[key], np.array([self._row[cell.path] for cell in cells])

    def numbers(
        self, cells: Sequence[LabelledCell], contract: InputContract, *, progress: Progress | None = None
    ) -> Floats:
        if contract not in self._numbers:
            self._numbers = {contract: measure_numbers(self._cells, contract, progress=progress)}
        return self._numbers[contract][[self._row[cell.path] for cell in cells]]


def _train_and_answer(
    cells: CellSet,
    path: Path,
    job: TrainingSettings,
    test: Sequence[LabelledCell],
    cache: _Cache,
    *,
    prints: Prints,
    progress: Callable[[TrainingProgress], None] | None,
) -> Answers:
    model = path.with_name(path.name.replace(ENDING, ".keras"))
    entry = architecture(job.architecture)

    def features(of: Sequence[LabelledCell]) -> Features:
        # A student's trunk is each fold's own; one that is not trained is the same in all.
        if entry.teacher:
            return features_of(_load(model), cache.tensors(of, job.contract))
        return cache.features(of, job)

    made = AlreadyMade(prints=prints, reader=cache)
    if entry.teacher:
        made = replace(made, teacher=lambda of: cache.taught(of, job))
    elif entry.support_vectors:
        made = replace(made, features=features)
    record = train(cells, model, job, made=made, progress=progress)
    tested = {cell.group for cell in test}
    rest = unique(cell for cell in cells.labelled if cell.group not in tested)
    numbers = cache.numbers(rest, job.contract)
    inner = None
    if entry.support_vectors:
        logits = support_of(model).log_odds(features(test)).astype(np.float64)
        inner = inner_answers(rest, features(rest), numbers, job)
    else:
        logits = predict_logits(_load(model), cache.tensors(test, job.contract))
    forest = fit_forest(rest, numbers, seed=job.seed)
    # Beside the network: together they judge the fold again when all is int8.
    write_forest(forest, model)
    log_odds = forest.log_odds(cache.numbers(test, job.contract))
    answers = Answers(
        architecture=job.architecture,
        fold=job.fold,
        seed=job.seed,
        parameters=record.parameters,
        logits={cell.sha256: float(logit) for cell, logit in zip(test, logits, strict=True)},
        forest={cell.sha256: float(odds) for cell, odds in zip(test, log_odds, strict=True)},
        identity=_identity(job, test),
        settings=settings_that_count(job),
        inner=inner,
    )
    write_answers(answers, path)
    return answers


def support_of(model: Path) -> SupportVectors:
    """Read the support vectors that end a network's file."""
    _, support = split_trunk_and_head(_load(model))
    assert support is not None, "only networks of support vectors are asked for them"
    return support


def _load(model: Path) -> Any:
    import keras

    return keras.models.load_model(model, compile=False)


def _identity(job: TrainingSettings, test: Sequence[LabelledCell]) -> str:
    digest = hashlib.sha256(msgspec.json.encode([sorted(job.flat().items()), job.contract]))
    digest.update("".join(cell.sha256 for cell in test).encode())
    return digest.hexdigest()


def _common_folds(settings: Sequence[TrainingSettings]) -> tuple[int, int]:
    found = {(one.folds, one.split_seed) for one in settings}
    if len(found) != 1 or any(one.held_out for one in settings):
        raise UsageError(
            "networks can only be compared on the same folds",
            got=f"{len(found)} ways to fold, or subjects to hold out",
            allowed="one number of folds and one split_seed",
        )
    return found.pop()


def _numbers(cells: Sequence[LabelledCell], path: Path) -> npt.NDArray[np.float64]:
    """Measure every cell once, and keep it beside the answers."""
    hashes = np.array([cell.sha256 for cell in cells])
    if path.exists():
        with np.load(path) as kept:
            if np.array_equal(kept["hashes"], hashes):
                return np.asarray(kept["numbers"])
    numbers = np.array(measure(cells, morphology_numbers))
    with part_of(path) as (_, file):
        np.savez(file, hashes=hashes, numbers=numbers)
    return numbers


def _learning_curve(
    cells: Sequence[LabelledCell], fold_of: npt.NDArray[np.int64], numbers: npt.NDArray[np.float64]
) -> tuple[tuple[int, float, float], ...]:
    """Fit the forest on ever more of the training groups; the classes keep their share of them."""
    from edgeleuk_convert.evaluation.baselines import THRESHOLD, fit
    from edgeleuk_convert.metrics.classification import point_metrics

    group = np.array([cell.group or "" for cell in cells])
    blast = np.array([cell.label == "blast" for cell in cells])
    curve = []
    for share in CURVE_SHARES:
        found, counts = [], []
        for fold in range(int(fold_of.max()) + 1):
            test = np.flatnonzero(fold_of == fold)
            of_test = [cells[int(row)] for row in test]
            for draw in range(CURVE_DRAWS if share < 1 else 1):
                rng = np.random.default_rng([fold, draw])
                chosen: list[str] = []
                for side in (blast, ~blast):
                    names = rng.permutation(np.unique(group[side & (fold_of != fold)]))
                    chosen += names[: max(2, round(share * len(names)))].tolist()
                rows = np.flatnonzero(np.isin(group, chosen))
                forest = fit("forest", [cells[int(row)] for row in rows], numbers[rows], seed=draw)
                found.append(point_metrics(judge(of_test, forest(numbers[test]), THRESHOLD)))
                counts.append(len(chosen))
        curve.append(
            (
                round(float(np.mean(counts))),
                mean_of_known([one["auroc"] for one in found]),
                mean_of_known([one["weighted_f1"] for one in found]),
            )
        )
    return tuple(curve)
