"""What a conversion learns of the training cells, so that the device can tell foreign ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.manifest import OutOfDistribution
from edgeleuk_calibration.out_of_distribution import fit_appearance, fit_features

if TYPE_CHECKING:
    from edgeleuk.bundle.features import FeatureStatistics
    from edgeleuk.inference import ModelRuntime
    from edgeleuk_convert.dataset.seen_cells import SeenCells


@dataclass(frozen=True, slots=True)
class TrainedOutOfDistribution:
    """The gate of a bundle: for its manifest, and for ``features.npz`` where the network gives features."""

    contract: OutOfDistribution
    statistics: FeatureStatistics | None


def train_out_of_distribution(
    runtime: ModelRuntime, seen: SeenCells, *, seed: int = 0
) -> TrainedOutOfDistribution:
    """Find what the training cells look like, to people and to the network.

    Parameters
    ----------
    runtime : ModelRuntime
        The int8 network that the device will run.
    seen : SeenCells
        Training cells, balanced over subjects.
    seed : int
        Of the dealing of groups.

    Raises
    ------
    DataRefusedError
        Too few cells or groups.
    """
    subject = np.array([cell.subject or "" for cell in seen.cells])
    group = np.array([cell.group or "" for cell in seen.cells])
    appearance = fit_appearance(np.array(seen.looks, np.float64), subject)
    features = runtime.predict(seen.tensors).features
    if features is None:
        return TrainedOutOfDistribution(OutOfDistribution(appearance=appearance), None)
    statistics, limit = fit_features(features, subject, group, seed=seed)
    return TrainedOutOfDistribution(OutOfDistribution(appearance=appearance, features=limit), statistics)
