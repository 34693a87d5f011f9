"""Labelled cells as the device would see them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgeleuk.classifier.appearance import CellAppearance, appearance_of
from edgeleuk.classifier.cell_features import numbers_of
from edgeleuk.classifier.decision import area_um2
from edgeleuk.inference.preprocessing import cell_and_tensor
from edgeleuk_convert.dataset.cnmc import read_crop

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import LabelledCell


_T = TypeVar("_T")

# Enough for the statistics of a hundred features, and half a minute of reading.
SEEN_CELLS = 1000


@dataclass(frozen=True, slots=True)
class SeenCells:
    """Labelled cells as the device would see them.

    Attributes
    ----------
    cells : tuple of LabelledCell
    tensors : (n, H, W, C) uint8
    looks : tuple of CellAppearance
    areas_um2 : tuple of float
    numbers : tuple of (14,) float64
        At the network's scale.
    """

    cells: tuple[LabelledCell, ...]
    tensors: npt.NDArray[np.uint8]
    looks: tuple[CellAppearance, ...]
    areas_um2: tuple[float, ...]
    numbers: tuple[npt.NDArray[np.float64], ...]

    def of(self, rows: Sequence[int]) -> SeenCells:
        """Return some of them."""

        def some(what: Sequence[_T]) -> tuple[_T, ...]:
            return tuple(what[row] for row in rows)

        return SeenCells(
            some(self.cells),
            self.tensors[list(rows)],
            some(self.looks),
            some(self.areas_um2),
            some(self.numbers),
        )


def see_cells(
    cells: Sequence[LabelledCell],
    contract: InputContract,
    *,
    progress: Progress | None = None,
) -> SeenCells:
    """Read every cell, bring it to the network's form, and measure how it looks."""

    def see(
        cell: LabelledCell,
    ) -> tuple[npt.NDArray[np.uint8], CellAppearance, float, npt.NDArray[np.float64]]:
        crop = read_crop(cell)
        scaled, tensor = cell_and_tensor(crop, contract)
        numbers = numbers_of(scaled, contract.px_per_um)
        return tensor, appearance_of(scaled), area_um2(crop), numbers

    tensors = np.empty((len(cells), *contract.shape), np.uint8)
    looks, areas, numbers = [], [], []
    with ThreadPoolExecutor() as pool:
        for done, (tensor, seen, area, of_cell) in enumerate(pool.map(see, cells)):
            tensors[done] = tensor
            looks.append(seen)
            areas.append(area)
            numbers.append(of_cell)
            if progress is not None:
                progress(done + 1, len(cells))
    return SeenCells(tuple(cells), tensors, tuple(looks), tuple(areas), tuple(numbers))
