"""A bundle's head, forest and statistics as tables and constants for C.

Nothing is rounded anew: vectors keep their half precision, and weights and means their single precision.
Only the forest's limits go from double to single precision, downwards, which asks the same of single numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.bundle.forest import LEAF, SUREST
from edgeleuk.bundle.support_vectors import LEAST_VARIANCE, LEAST_WEIGHT
from edgeleuk.deploy.deployment import TABLE_CODES, Constant, Table

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.features import FeatureStatistics
    from edgeleuk.bundle.forest import Forest
    from edgeleuk.bundle.heads import KernelHead
    from edgeleuk.bundle.support_vectors import SupportVectors
    from edgeleuk.deploy.deployment import TableType
    from edgeleuk.inference.pooled import MapGeometry

    Array = npt.NDArray[np.generic]


class Part(NamedTuple):
    """What one part of a bundle is in C."""

    tables: tuple[Table, ...]
    constants: tuple[Constant, ...]


def map_part(geometry: MapGeometry | None) -> Part:
    """Return how a map is pooled."""
    if geometry is None:
        return Part((), (Constant("HAS_MAP", 0, "whether the network ends in a map"),))
    channels = _table("mask_channels", "uint8_t", np.array(geometry.masks), "pooling", "of the tensor")
    return Part(
        (channels,),
        (
            Constant("HAS_MAP", 1, "whether the network ends in a map"),
            Constant("MAP_ROWS", geometry.rows, "places of the map"),
            Constant("MAP_COLUMNS", geometry.columns, "the same"),
            Constant("MAP_PLACES", geometry.places, "of all rows"),
            Constant("MAP_CHANNELS", geometry.channels, "numbers of a place, side by side"),
            Constant("MAP_SIDE_PX", geometry.side, "of the square of input pixels that a place stands for"),
            Constant("MASKS", len(geometry.masks), "within each of which the map is pooled"),
            Constant("LEAST_WEIGHT", LEAST_WEIGHT, "added to the weight of a mask"),
            Constant("LEAST_VARIANCE", LEAST_VARIANCE, "added to a variance"),
        ),
    )


def head_part(head: SupportVectors | KernelHead | None) -> Part:
    """Return a head as it is: standardised features, projected or not, and a Gaussian of each vector."""
    if head is None:
        return Part((), (Constant("HAS_HEAD", 0, "whether a head judges features"),))
    kernel = hasattr(head, "gamma")
    part = "head for blasts" if kernel else "support vectors"
    # Only of a head that was reduced to few directions.
    projection = head.projection
    tables = [
        _table("head_mean", "float", head.mean, part, "of the training cells' features"),
        _table("head_deviation", "float", head.deviation, part, "the same"),
        _table("head_vectors", "uint16_t", head.vectors.view(np.uint16), part, "row by row, half precision"),
        _table("head_weights", "float", head.weights, part, "of each vector"),
    ]
    if projection is not None:
        what = "a row for each feature, half precision"
        tables.insert(2, _table("head_projection", "uint16_t", projection.view(np.uint16), part, what))
    count, directions = head.vectors.shape
    bias = float(np.asarray(head.bias).item())
    constants = (
        Constant("HAS_HEAD", 1, "whether a head judges features"),
        Constant("IS_PROJECTED", int(projection is not None), "1: onto DIRECTIONS"),
        Constant("HEAD_FEATURES", head.mean.size, "that it judges, hand-crafted ones last"),
        Constant("DIRECTIONS", directions, "numbers of a vector"),
        Constant("VECTORS", count, "cells that it compares with"),
        Constant("GAMMA", float(getattr(head, "gamma", 1.0)), "of the Gaussian"),
        Constant("HEAD_BIAS", bias, "added to the sum"),
    )
    return Part(tuple(tables), constants)


def forest_part(forest: Forest | None) -> Part:
    """Return a forest, node by node; the value of a leaf stands in the place of a limit."""
    if forest is None:
        return Part((), (Constant("HAS_FOREST", 0, "whether a forest joins"),))
    limits = forest.limit.astype(np.float32)
    # A single number is at most the limit exactly where it is at most the next single number below.
    limits = np.where(limits > forest.limit, np.nextafter(limits, np.float32(-np.inf)), limits)
    value = np.where(forest.feature == LEAF, forest.value, limits)
    kind: TableType = "uint16_t" if forest.feature.size <= 1 << 16 else "uint32_t"
    # Where a leaf leads is never looked at.
    left, right = (np.where(forest.feature == LEAF, 0, child) for child in (forest.left, forest.right))
    tables = (
        _table("forest_roots", kind, forest.roots, "forest", "the first node of each tree"),
        _table("forest_number", "int8_t", forest.feature, "forest", "which number a node asks of; -1: leaf"),
        _table("forest_value", "float", value, "forest", "its limit; of a leaf the share of positive cells"),
        _table("forest_left", kind, left, "forest", "where a cell goes whose number is at most the limit"),
        _table("forest_right", kind, right, "forest", "where the others go"),
    )
    constants = (
        Constant("HAS_FOREST", 1, "whether a forest joins"),
        Constant("TREES", forest.roots.size, "of the forest"),
        Constant("SUREST", SUREST, "a forest is never surer"),
    )
    return Part(tables, constants)


def statistics_part(statistics: FeatureStatistics | None, limit: float) -> Part:
    """Return what tells by the features that a cell is foreign; `limit` is the largest distance."""
    if statistics is None:
        return Part((), (Constant("HAS_STATISTICS", 0, "whether foreign features are told"),))
    part = "statistics of the features"
    tables = (
        _table("statistics_mean", "float", statistics.mean, part, "of the training cells"),
        _table("statistics_basis", "float", statistics.basis, part, "row by row"),
    )
    constants = (
        Constant("HAS_STATISTICS", 1, "whether foreign features are told"),
        Constant("STATISTICS_DIRECTIONS", len(statistics.basis), "rows of the basis"),
        Constant("STATISTICS_RESIDUAL", statistics.residual, "length of what it leaves over"),
        Constant("DISTANCE_LIMIT", limit, "a cell further off is uncertain"),
    )
    return Part(tables, constants)


def _table(name: str, kind: TableType, values: Array, part: str, comment: str) -> Table:
    data = np.ascontiguousarray(values).astype(TABLE_CODES[kind]).tobytes()
    return Table(name, kind, data, part, comment)
