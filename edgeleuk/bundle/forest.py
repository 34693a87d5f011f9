"""``forest.npz``: a random forest on the 14 plain numbers of a cell, as arrays, run by NumPy.

A network whose input is normalised cannot see how dark a cell is, nor how strong its texture; the numbers
can. The two err on different subjects, and their log odds are added: see `OutputContract`. Source: Breiman,
"Random Forests", Machine Learning 45, 2001.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.arrays import arrays_of
from edgeleuk.bundle.numbers import require_range

if TYPE_CHECKING:
    import numpy.typing as npt

NUMBERS = 14
# No forest is so sure that it could not be outvoted.
SUREST = 0.98
LEAF = -1
# A walk takes as many steps as its tree is deep; ours are less than 40 deep, of 30,000 nodes.
DEEPEST, MOST_NODES = 1000, 1_000_000
_ARRAYS = ("feature", "limit", "left", "right", "value", "roots")


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees of yes-no questions, all in one list of nodes.

    Attributes
    ----------
    feature : (nodes,) int16
        Which number a node asks of; -1 for a leaf.
    limit : (nodes,) float64
        A cell whose number is at most this goes left.
    left, right : (nodes,) int32
        Where it goes; always further on in the list.
    value : (nodes,) float32
        Share of blasts, in leaves.
    roots : (trees,) int32
    """

    feature: npt.NDArray[np.int16]
    limit: npt.NDArray[np.float64]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    value: npt.NDArray[np.float32]
    roots: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        nodes = self.feature.size
        shapes = {getattr(self, name).shape for name in _ARRAYS[:-1]}
        if shapes != {(nodes,)} or self.roots.ndim != 1 or not 0 < self.roots.size <= nodes:
            msg = f"expected five arrays of one length, and roots; got {sorted(shapes)}, {self.roots.shape}"
            raise ValueError(msg)
        asks = self.feature >= 0
        here = np.arange(nodes)[asks]
        # Children behind their parents: every walk ends.
        further = all(
            ((child[asks] > here) & (child[asks] < nodes)).all() for child in (self.left, self.right)
        )
        known = (self.feature < NUMBERS).all() and (self.roots >= 0).all() and (self.roots < nodes).all()
        shares = ((self.value >= 0) & (self.value <= 1)).all()
        if not (further and known and shares):
            msg = "expected children behind their parents, known numbers, and shares from 0 to 1"
            raise ValueError(msg)
        if not (self.feature >= LEAF).all() or not np.isfinite(self.limit).all():
            msg = "expected finite limits, and numbers from -1 on"
            raise ValueError(msg)
        require_range("the number of nodes", nodes, 1, MOST_NODES)
        require_range("the depth of the trees", self._depth(here), 0, DEEPEST)

    def _depth(self, asking: npt.NDArray[np.int64]) -> int:
        """Return how many questions the longest walk has, of the nodes that ask."""
        left, right = self.left.tolist(), self.right.tolist()
        depth = [0] * self.feature.size
        for node in asking.tolist():
            below = depth[node] + 1
            for child in (left[node], right[node]):
                depth[child] = max(depth[child], below)
        return max(depth)

    def log_odds(self, numbers: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the log odds of being a blast, bounded by those of `SUREST`.

        Parameters
        ----------
        numbers : (n, 14) array_like
            Rows of `edgeleuk.classifier.cell_features.numbers_of`.

        Returns
        -------
        (n,) float64
        """
        # Single precision, as the limits were chosen in.
        rows = np.asarray(numbers, np.float32).reshape(-1, NUMBERS)
        at = np.tile(self.roots, (len(rows), 1))
        row = np.arange(len(rows))[:, None]
        while (asked := self.feature[at]).max(initial=-1) >= 0:
            goes_left = rows[row, np.maximum(asked, 0)] <= self.limit[at]
            at = np.where(asked < 0, at, np.where(goes_left, self.left[at], self.right[at]))
        share = np.clip(self.value[at].mean(axis=1, dtype=np.float64), 1 - SUREST, SUREST)
        return np.asarray(np.log(share) - np.log1p(-share), np.float64)


def encode_forest(forest: Forest) -> bytes:
    """Return ``forest.npz``; the same forest gives the same bytes."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        feature=forest.feature,
        limit=forest.limit,
        left=forest.left,
        right=forest.right,
        value=forest.value,
        roots=forest.roots,
    )
    return buffer.getvalue()


def decode_forest(data: bytes) -> Forest:
    """Read ``forest.npz``; nothing in it is executed.

    Raises
    ------
    BundleError
        It is damaged, or holds something else.
    """
    with arrays_of(data, "the forest", "train and convert the network again") as arrays:
        return Forest(
            arrays.integers("feature", 1, np.int16),
            arrays.floats("limit", 1),
            arrays.integers("left", 1, np.int32),
            arrays.integers("right", 1, np.int32),
            arrays.floats("value", 1, np.float32),
            arrays.integers("roots", 1, np.int32),
        )
