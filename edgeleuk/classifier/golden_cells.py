"""The golden cells of a bundle as this machine sees them, before any network does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.classifier.appearance import appearance_of
from edgeleuk.classifier.cell_features import numbers_of
from edgeleuk.classifier.decision import area_um2
from edgeleuk.inference.preprocessing import cell_and_tensor

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.golden import GoldenVectors
    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.classifier.appearance import CellAppearance
    from edgeleuk.classifier.decision import Rules

    Floats = npt.NDArray[np.float64]

# In log odds. OpenCV's colours and blurs differ in their last bits from machine to machine; a number close
# to a limit then goes the other way in a few of the trees.
FOREST_TOLERANCE = 0.25


@dataclass(frozen=True, slots=True)
class GoldenCells:
    """What this machine makes of the golden cells before any network sees them.

    Attributes
    ----------
    tensors : (n, H, W, C) uint8
    areas_um2 : tuple of float
    looks : tuple of CellAppearance or None
        None where the bundle has no gate.
    numbers : tuple of (14,) float64, or None
        None where the bundle has neither forest nor heads.
    """

    tensors: npt.NDArray[np.uint8]
    areas_um2: tuple[float, ...]
    looks: tuple[CellAppearance | None, ...]
    numbers: tuple[Floats, ...] | None


def measure_golden(vectors: GoldenVectors, contract: InputContract, rules: Rules) -> GoldenCells:
    """Preprocess and measure the golden cells as the device does."""
    scaled, tensors = zip(*(cell_and_tensor(crop, contract) for crop in vectors.crops), strict=True)
    return GoldenCells(
        np.stack(tensors),
        tuple(area_um2(crop) for crop in vectors.crops),
        tuple(appearance_of(cell) if rules.gate else None for cell in scaled),
        tuple(numbers_of(cell, contract.px_per_um) for cell in scaled) if rules.wants_numbers else None,
    )
