"""From the way that validation chose to the contracts of a bundle: probabilities, thresholds, limits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edgeleuk.bundle.heads import KernelHead, kind_probabilities
from edgeleuk.bundle.manifest import LARGEST_BIAS, Envelope, KindContract, OutOfDistribution
from edgeleuk.results.kinds import Kind
from edgeleuk_calibration.fit_output import fit_output
from edgeleuk_calibration.out_of_distribution import fit_appearance, fit_features
from edgeleuk_convert.metrics.classification import prior_weights
from edgeleuk_convert.teaching.choices import parts_by_group
from edgeleuk_convert.training.landmarks import squared_distances

if TYPE_CHECKING:
    from edgeleuk.bundle.features import FeatureStatistics
    from edgeleuk.bundle.manifest import OutputContract
    from edgeleuk_convert.teaching.choices import Task
    from edgeleuk_convert.teaching.kernels import Floats
    from edgeleuk_convert.teaching.measuring import MeasuredCells
    from edgeleuk_convert.teaching.validating import Validated

SENSITIVITY = 0.9
# A kind is told from the least probability on at which so large a share of those told is right.
RIGHT_OF_TOLD = 0.95
LEAST_PROBABILITIES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Of distances and areas, widened by a margin: another slide of the laboratory must pass.
QUANTILE, AREA_QUANTILES = 0.95, (0.005, 0.995)
DISTANCE_MARGIN, AREA_MARGIN = 1.1, 1.25


def blast_contract(task: Task, validated: Validated) -> OutputContract:
    """Fit the output contract to scores of cells that had not taught them; see `fit_output`."""
    truth = task.truth == 1
    logits = validated.sharpness * (validated.scores[:, 1] - validated.scores[:, 0])
    half = parts_by_group(task.slide, task.truth, 2) == 0
    return fit_output(
        logits, None, truth, task.slide, prior_weights(truth, task.slide), half=half, sensitivity=SENSITIVITY
    )


def blast_head(task: Task, validated: Validated) -> KernelHead | None:
    """Fit the head for blasts, its one score in log odds; None where the bundle keeps its own."""
    head = validated.choice.make.head(task, validated.choice.ridge)
    if head is None:
        return None
    weights = validated.sharpness * (head.weights[:, 1:] - head.weights[:, :1])
    bias = validated.sharpness * (head.bias[1:] - head.bias[:1])
    return replace(head, weights=weights.astype(np.float32), bias=bias.astype(np.float32))


def recalibrated(before: OutputContract, fitted: OutputContract, sharpness: float) -> OutputContract:
    """Put a contract that was fitted to a bundle's log odds, times `sharpness`, behind that bundle's own."""
    slope = sharpness / fitted.temperature
    return msgspec.structs.replace(
        fitted,
        kind=before.kind,
        labels=before.labels,
        positive=before.positive,
        temperature=before.temperature / slope,
        forest_weight=min(before.forest_weight * slope, LARGEST_BIAS),
        bias=float(np.clip(before.bias * slope + fitted.bias, -LARGEST_BIAS, LARGEST_BIAS)),
    )


def kind_contract(
    task: Task, validated: Validated, areas_um2: Floats, parent: KindContract | None
) -> KindContract:
    """Return what the head for kinds tells, and when it does not know.

    Parameters
    ----------
    task : Task
    validated : Validated
    areas_um2 : (n,) float64
    parent : KindContract or None
        That of the bundle; a head that is kept keeps its limits for what the labels do not show.
    """
    shares = kind_probabilities(validated.scores, validated.sharpness)
    low, high = np.quantile(areas_um2, AREA_QUANTILES)
    area = float(low) / AREA_MARGIN, float(high) * AREA_MARGIN
    joined = validated.choice.make.reference is not None or validated.choice.make.kept is not None
    if parent is not None and joined:
        area = min(area[0], parent.area_um2[0]), max(area[1], parent.area_um2[1])
    return KindContract(
        kinds=tuple(Kind(name) for name in task.classes),
        sharpness=validated.sharpness,
        least=least_probability(task, shares),
        area_um2=(round(area[0], 1), round(area[1], 1)),
        distances=_distances(task, validated, parent if joined else None),
        cells=len(task.truth),
        slides=len(np.unique(task.slide)),
    )


def _distances(task: Task, validated: Validated, parent: KindContract | None) -> tuple[float, ...]:
    """Return the limit of each kind; 0 for one that nobody taught, so that it is never told."""
    near, limits = nearest(task, validated), []
    for number, name in enumerate(task.classes):
        rows = task.truth == number
        limit = float(np.quantile(near[rows], QUANTILE)) * DISTANCE_MARGIN if rows.any() else 0.0
        if parent is not None and Kind(name) in parent.kinds:
            limit = max(limit, parent.distances[parent.kinds.index(Kind(name))])
        limits.append(round(limit, 4))
    return tuple(limits)


def least_probability(task: Task, shares: Floats) -> float:
    """Return from which probability on a kind is told."""
    top, right = shares.max(axis=1), shares.argmax(axis=1) == task.truth
    for least in LEAST_PROBABILITIES:
        weights = task.weights * (top >= least)
        if weights.sum() and (weights * right).sum() / weights.sum() >= RIGHT_OF_TOLD:
            return least
    return LEAST_PROBABILITIES[-1]


def nearest(task: Task, validated: Validated) -> Floats:
    """Return how far each cell is from the nearest of another slide, or of the reference: (n,)."""
    made = validated.choice.make
    kept = made.kept
    z, beside = made.standard.of(task.cells), np.zeros(len(task.cells))
    others = np.empty((0, z.shape[1])) if made.reference is None else made.reference.z
    if kept is not None:
        z, beside = (of.astype(np.float64) for of in kept.located(task.cells))
        others = kept.vectors.astype(np.float64)
    squares = squared_distances(z, z)
    squares[task.slide[:, None] == task.slide[None, :]] = np.inf
    if len(np.unique(task.slide)) < 2 and not len(others):
        squares = squared_distances(z, z)
        np.fill_diagonal(squares, np.inf)
    best = squares.min(axis=1)
    if len(others):
        best = np.minimum(best, squared_distances(z, others).min(axis=1))
    # As a head tells distances: over all features, and with what lies beside the directions that it sees.
    found: Floats = np.sqrt(best / task.cells.shape[1] + beside)
    return found


def blast_gate(
    cells: MeasuredCells, seed: int = 0
) -> tuple[Envelope, OutOfDistribution, FeatureStatistics | None]:
    """Return envelope and gate of the lymphoid cells that taught the head for blasts."""
    low, high = np.quantile(cells.areas_um2, AREA_QUANTILES)
    envelope = Envelope(area_um2=(round(float(low) / AREA_MARGIN, 1), round(float(high) * AREA_MARGIN, 1)))
    appearance = fit_appearance(np.array(cells.looks, np.float64), cells.slide)
    features = cells.answer.features
    if features is None or len(np.unique(cells.slide)) < 2:
        return envelope, OutOfDistribution(appearance=appearance), None
    statistics, limit = fit_features(features, cells.subject, cells.slide, seed=seed)
    return envelope, OutOfDistribution(appearance=appearance, features=limit), statistics
