"""Read many cells in threads, and measure each."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgeleuk.classifier.cell_features import numbers_of
from edgeleuk.errors import DataRefusedError
from edgeleuk.inference.preprocessing import scaled_cell
from edgeleuk_convert.dataset.cnmc import read_crop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.frames import CellCrop
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import LabelledCell

    Floats = npt.NDArray[np.float64]

_T = TypeVar("_T")


def measure(
    cells: Sequence[LabelledCell],
    of_crop: Callable[[CellCrop], _T],
    *,
    progress: Progress | None = None,
) -> list[_T]:
    """Read every cell once and apply `of_crop` to it, in threads; the order is kept.

    Parameters
    ----------
    cells : sequence of LabelledCell
    of_crop : callable
        Such as `morphology_numbers`.
    progress : callable, optional
        Told (cells done, cells in all).

    Raises
    ------
    DataRefusedError
        A file can no longer be read, or `of_crop` refused a cell: the error names the file.
    """

    def one(cell: LabelledCell) -> _T:
        try:
            return of_crop(read_crop(cell))
        except DataRefusedError as error:
            if cell.path.name in str(error):
                raise
            raise DataRefusedError(
                f"{cell.path.name}: {error.what}", got=error.got, allowed=error.allowed, cure=error.cure
            ) from error

    results = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(one, cells), start=1):
            results.append(result)
            if progress is not None:
                progress(done, len(cells))
    return results


def measure_numbers(
    cells: Sequence[LabelledCell],
    contract: InputContract,
    *,
    progress: Progress | None = None,
) -> Floats:
    """Measure cells as the device does, at the network's scale: (n, 14)."""
    rows = measure(
        cells, lambda crop: numbers_of(scaled_cell(crop, contract), contract.px_per_um), progress=progress
    )
    return np.array(rows).reshape(len(cells), -1)
