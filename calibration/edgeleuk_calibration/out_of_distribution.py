"""The out-of-distribution gate: ranges of appearance and a limit of feature distance, from training cells.

Every subject weighs the same: a limit is about how subjects differ, not about whose cells are many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.features import FeatureStatistics
from edgeleuk.bundle.manifest import Appearance, FeatureLimit
from edgeleuk.errors import DataRefusedError

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Names = npt.NDArray[np.str_]

LEAST_CELLS = 10
# Directions that are whitened one by one.
MOST_COMPONENTS = 16
# Ten cells teach one direction.
CELLS_PER_COMPONENT = 10
FOLDS = 10
FEATURE_QUANTILE = 0.99
APPEARANCE_QUANTILES = (0.005, 0.995)
# Of a range's width in logarithms, added at both ends: another slide of the same stain must pass.
APPEARANCE_MARGIN = 0.1
# Features are of the order of 1: less than this is no difference.
_FLAT = 1e-6


def fit_appearance(looks: Floats, subject: Names) -> Appearance:
    """Find the range of each measure that training cells have, with a margin.

    Parameters
    ----------
    looks : (n, 4) float64
        Rows of `edgeleuk.classifier.appearance.CellAppearance`, above 0.
    subject : (n,) str

    Returns
    -------
    Appearance
        From the 0.5th to the 99.5th percentile, a tenth of that width (in logarithms) added on both sides.

    Raises
    ------
    DataRefusedError
        There are less than 10 cells.
    """
    _require_cells(len(looks))
    weights = subject_weights(subject)
    ranges = {}
    for name, column in zip(Appearance.__struct_fields__, np.log(looks).T, strict=True):
        low, high = (weighted_quantile(column, weights, quantile) for quantile in APPEARANCE_QUANTILES)
        wider = APPEARANCE_MARGIN * (high - low)
        ranges[name] = (round(float(np.exp(low - wider)), 4), round(float(np.exp(high + wider)), 4))
    return Appearance(**ranges)


def fit_features(
    features: npt.NDArray[np.float32], subject: Names, group: Names, *, seed: int = 0
) -> tuple[FeatureStatistics, FeatureLimit]:
    """Find where the training cells lie among the features, and from which distance on a cell is foreign.

    The limit is the 99th percentile of distances under statistics that do not know the cell's group: groups
    are dealt into 10 parts (or as many as there are groups), and each part is measured by the others.

    Parameters
    ----------
    features : (n, F) float32
        Of the network that will run: int8.
    subject, group : (n,) str
        Subjects of one group share cells.
    seed : int
        Of the dealing.

    Raises
    ------
    DataRefusedError
        There are less than 10 cells, or less than 2 groups.
    """
    _require_cells(len(features))
    names, index = np.unique(group, return_inverse=True)
    if len(names) < 2:
        raise DataRefusedError(
            "the limit of feature distance needs several groups of subjects",
            got=len(names),
            allowed="2 or more",
        )
    folds = min(FOLDS, len(names))
    part = (np.random.default_rng(seed).permutation(len(names)) % folds)[index]
    weights = subject_weights(subject)
    distances = np.empty(len(features))
    for fold in range(folds):
        out = part == fold
        distances[out] = feature_statistics(features[~out], weights[~out]).distance(features[out])
    limit = weighted_quantile(distances, weights, FEATURE_QUANTILE)
    return feature_statistics(features, weights), FeatureLimit(
        limit=round(limit, 4), cells=len(features), subjects=len(np.unique(subject))
    )


def feature_statistics(features: npt.NDArray[np.float32], weights: Floats) -> FeatureStatistics:
    """Compute mean, whitened leading directions and the spread of the rest.

    Parameters
    ----------
    features : (n, F) float32
        n and F above 1.
    weights : (n,) float64

    Returns
    -------
    FeatureStatistics
        At most 16 directions, one for each ten cells, and one less than there are features; those in which
        the cells do not differ are left out.
    """
    values = features.astype(np.float64)
    share = weights / weights.sum()
    mean = share @ values
    _, lengths, directions = np.linalg.svd((values - mean) * np.sqrt(share)[:, None], full_matrices=False)
    most = max(1, min(MOST_COMPONENTS, len(values) // CELLS_PER_COMPONENT, values.shape[1] - 1))
    kept = min(most, max(1, int(np.count_nonzero(lengths > _FLAT * max(lengths[0], _FLAT)))))
    deviations = np.maximum(lengths[:kept], _FLAT)
    left = float(np.sqrt((lengths[kept:] ** 2).sum()))
    return FeatureStatistics(
        mean.astype(np.float32),
        (directions[:kept] / deviations[:, None]).astype(np.float32),
        max(left, _FLAT, 1e-3 * float(deviations[0])),
    )


def subject_weights(subject: Names) -> Floats:
    """Weigh cells so that each subject counts the same: (n,) float64 that sums to 1."""
    _, index, counts = np.unique(subject, return_inverse=True, return_counts=True)
    return np.asarray(1 / (counts[index] * len(counts)), np.float64)


def weighted_quantile(values: Floats, weights: Floats, quantile: float) -> float:
    """Return the smallest of `values` up to which `quantile` of the weight lies.

    Examples
    --------
    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 8.0]), 0.5)
    2.0
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    at = int(np.searchsorted(reached, (quantile - 1e-12) * reached[-1]))
    return float(values[order[min(at, len(values) - 1)]])


def _require_cells(count: int) -> None:
    if count < LEAST_CELLS:
        raise DataRefusedError(
            "too few training cells for the gate",
            got=count,
            allowed=f"{LEAST_CELLS} or more",
            cure="convert with a folder that holds the training images",
        )
