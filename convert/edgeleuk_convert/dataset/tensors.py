"""Cells as a network is fed with them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgeleuk_convert.dataset.cnmc import read_crop
from edgeleuk_convert.dataset.measuring import measure_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import LabelledCell

    Tensors = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float64]


class CellReader(Protocol):
    """Reads cells and brings them to the form that a training needs."""

    def tensors(
        self, cells: Sequence[LabelledCell], contract: InputContract, *, progress: Progress | None = None
    ) -> Tensors:
        """Return what the network sees: (n, H, W, C) uint8."""
        ...

    def numbers(
        self, cells: Sequence[LabelledCell], contract: InputContract, *, progress: Progress | None = None
    ) -> Floats:
        """Return what the forest sees: (n, 14) float64."""
        ...


class _FileReader:
    def tensors(
        self, cells: Sequence[LabelledCell], contract: InputContract, *, progress: Progress | None = None
    ) -> Tensors:
        return load_tensors(cells, contract, progress=progress)

    def numbers(
        self, cells: Sequence[LabelledCell], contract: InputContract, *, progress: Progress | None = None
    ) -> Floats:
        return measure_numbers(cells, contract, progress=progress)


def load_tensors(
    cells: Sequence[LabelledCell],
    contract: InputContract,
    *,
    progress: Progress | None = None,
) -> Tensors:
    """Read every cell and bring it to the network's form: (n, H, W, C) uint8."""
    from edgeleuk.inference.preprocessing import to_tensor

    tensors = np.empty((len(cells), *contract.shape), np.uint8)
    with ThreadPoolExecutor() as pool:
        for done, tensor in enumerate(pool.map(lambda cell: to_tensor(read_crop(cell), contract), cells)):
            tensors[done] = tensor
            if progress is not None:
                progress(done + 1, len(cells))
    return tensors
