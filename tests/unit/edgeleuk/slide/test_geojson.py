from __future__ import annotations

import json
import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from exchanged import record_cells, round_cell
from geojson_rules import check_for_qupath, rings_of_geojson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from edgeleuk.frames import CYTOPLASM, NUCLEUS
from edgeleuk.session import read_session
from edgeleuk.slide.cells import cells_on_slide
from edgeleuk.slide.geojson import write_cells
from edgeleuk.slide.placement import Placed, Placement
from edgeleuk.stage.base import ScanField
from edgeleuk.stage.resuming import field_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.frames import Mask

# Cells of any outline: of several parts, and with holes.
MASKS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=12),
    elements=st.sampled_from([0, CYTOPLASM, NUCLEUS]),
)
FIELD = Placed(ScanField(7, 0, 7, 0.0, 0.0), 300, 40, is_registered=True)
PLACEMENT = Placement((FIELD,), 940, 520, 0, 0, 0, 0.0, 13.0)


def geojson_of(masks: Sequence[Mask], shrink: int = 1) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source = field_source("test://", FIELD.field.number)
        session = record_cells(Path(folder) / "s.db", masks, source=source)
        file = BytesIO()
        with read_session(session) as reader:
            write_cells(file, cells_on_slide(reader, PLACEMENT, shrink))
    return file.getvalue()


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(mask=MASKS, shrink=st.sampled_from([1, 4, 16]))
def test_any_cell_keeps_to_the_rules(mask: Mask, shrink: int) -> None:
    text = geojson_of([mask], shrink)
    assert (rings_of_geojson(text) > 0) == bool(mask.any())
    assert check_for_qupath(text) == mask.any()


def test_a_slide_without_cells_keeps_to_the_rules() -> None:
    assert rings_of_geojson(geojson_of([])) == check_for_qupath(geojson_of([])) == 0


def test_a_ring_with_a_hole_is_one_polygon_of_two_rings() -> None:
    mask = np.full((5, 6), CYTOPLASM, np.uint8)
    mask[2, 2:4] = 0
    text = geojson_of([mask])
    [feature] = json.loads(text)["features"]
    outer, hole = feature["geometry"]["coordinates"]
    # The cell's box lies at (3, 4) of its field.
    assert outer == [[303, 44], [309, 44], [309, 49], [303, 49], [303, 44]]
    assert sorted(hole[1:]) == [[305, 46], [305, 47], [307, 46], [307, 47]]
    assert rings_of_geojson(text) == 2


class TestTheRules:
    """What breaks them is found."""

    @pytest.mark.parametrize("member", ["geometry", "nucleusGeometry"])
    def test_a_ring_that_is_open(self, member: str) -> None:
        collection = json.loads(geojson_of([round_cell()]))
        collection["features"][0][member]["coordinates"][0].pop()
        with pytest.raises(ValidationError, match="same start and end"):
            rings_of_geojson(json.dumps(collection).encode())

    @pytest.mark.parametrize("member", ["geometry", "nucleusGeometry"])
    def test_a_ring_that_runs_the_other_way(self, member: str) -> None:
        collection = json.loads(geojson_of([round_cell()]))
        collection["features"][0][member]["coordinates"][0].reverse()
        with pytest.raises(AssertionError):
            rings_of_geojson(json.dumps(collection).encode())
