"""The areas that a network's training cells have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.manifest import Envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk_convert.dataset.cells import LabelledCell

ENVELOPE_PERCENTILES = (0.5, 99.5)
ENVELOPE_MARGIN = 0.15


def envelope_of(cells: Sequence[LabelledCell]) -> Envelope:
    """Find the areas beyond which a cell is none of those that were seen."""
    # A picture in which no cell is found tells no area.
    areas = [cell.area_um2 for cell in cells if cell.cell_found] or [cell.area_um2 for cell in cells]
    low, high = map(float, np.percentile(areas, ENVELOPE_PERCENTILES))
    return Envelope(area_um2=(round(low * (1 - ENVELOPE_MARGIN), 2), round(high * (1 + ENVELOPE_MARGIN), 2)))
