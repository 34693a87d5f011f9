"""Fit the forest on plain numbers that joins a network, and bring it into the form that the device runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.forest import Forest, decode_forest, encode_forest
from edgeleuk.errors import DataRefusedError
from edgeleuk_convert.environment import replace_file, scikit_learn
from edgeleuk_convert.metrics.classification import balanced_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk_convert.dataset.cells import LabelledCell

    Floats = npt.NDArray[np.float64]

# On inner groups 100 trees of 128 leaves are as good (AUROC .779) as 300 without a bound (.782).
TREES, MOST_LEAVES, LEAST_IN_LEAF = 100, 128, 5


def fit_forest(cells: Sequence[LabelledCell], numbers: Floats, *, seed: int = 0) -> Forest:
    """Fit a forest; classes weigh the same, and so do groups up to 40 cells.

    Parameters
    ----------
    cells : sequence of LabelledCell
        Of both classes.
    numbers : (n, 14) float64
    seed : int

    Raises
    ------
    MissingDependencyError
        scikit-learn is not installed.
    """
    with scikit_learn():
        from sklearn.ensemble import RandomForestClassifier
    truth = np.array([cell.label == "blast" for cell in cells])
    weights = balanced_weights(truth, np.array([cell.group or "" for cell in cells])) * len(cells)
    model = RandomForestClassifier(
        TREES, min_samples_leaf=LEAST_IN_LEAF, max_leaf_nodes=MOST_LEAVES, random_state=seed
    )
    model.fit(numbers, truth, sample_weight=weights)
    trees = [one.tree_ for one in model.estimators_]
    first = np.cumsum([0, *(tree.node_count for tree in trees)])
    shares = [tree.value[:, 0, 1] / tree.value[:, 0].sum(axis=1) for tree in trees]

    def behind(children: str) -> npt.NDArray[np.int32]:
        moved = [getattr(tree, children) + start for tree, start in zip(trees, first, strict=False)]
        return np.concatenate(moved).astype(np.int32)

    return Forest(
        # scikit-learn marks a leaf by -2.
        np.maximum(np.concatenate([tree.feature for tree in trees]), -1).astype(np.int16),
        np.concatenate([tree.threshold for tree in trees]),
        behind("children_left"),
        behind("children_right"),
        np.concatenate(shares).astype(np.float32),
        first[:-1].astype(np.int32),
    )


def forest_path(model: Path) -> Path:
    """Return where the forest of a network lies: ``resnet.keras`` -> ``resnet.forest.npz``."""
    return model.with_suffix(".forest.npz")


def write_forest(forest: Forest, model: Path) -> None:
    """Write the forest beside `model`."""
    replace_file(forest_path(model), encode_forest(forest))


def read_forest(model: Path, weight: float) -> Forest | None:
    """Read the forest beside `model`; None where it has no weight.

    Raises
    ------
    DataRefusedError
        It has a weight and is not there.
    BundleError
        It is damaged.
    """
    if not weight:
        return None
    try:
        return decode_forest(forest_path(model).read_bytes())
    except FileNotFoundError:
        raise DataRefusedError(
            f"the forest that joins {model.name} is not there",
            got=f"no {forest_path(model).name} beside it",
            cure="copy it beside the network, or train again",
        ) from None
