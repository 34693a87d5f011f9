"""A session's measures come from its rows: every field, event and cell counts as it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sessions import CROP, record, summary

from edgeleuk.classifier.appearance import appearance_of
from edgeleuk.control.measures import ALL_MEASURES, MEASURES, SessionMeasures, measure_session
from edgeleuk.control.optics import OPTICS
from edgeleuk.inference.preprocessing import ScaledCell
from edgeleuk.results import STUCK_DUST, Decision, Prediction
from edgeleuk.results.kinds import Kind
from edgeleuk.session import create_session, read_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeleuk.session import SessionWriter

BLAST, NORMAL = Prediction(Decision.BLAST, 0.9), Prediction(Decision.NORMAL, 0.1)
BAND = Prediction(Decision.OTHER, float("nan"), kind=Kind.BAND, kind_probability=0.9)
PLATELETS = Prediction(Decision.OTHER, float("nan"), kind=Kind.PLATELETS, kind_probability=0.9)
UNDECIDED = Prediction(Decision.UNCERTAIN, 0.5, "probability between 0.40 and 0.60")
DUST = Prediction(Decision.UNCERTAIN, float("nan"), STUCK_DUST, foreign=True)
FIRST = "glass 200.00 +- 1.00 of 255, evenness 0.9500 +- 0.0100, sharpness 0.5000 +- 0.0100, 5 fields"


@pytest.fixture
def measures(tmp_path: Path) -> Callable[..., SessionMeasures]:
    """Record a session by a function, and measure it."""

    def of(recording: Callable[[SessionWriter], object], first: int = 0) -> SessionMeasures:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.db"
        with create_session(path, {}) as writer:
            recording(writer)
            writer.finish(summary(path))
        with read_session(path) as reader:
            return measure_session(reader, first)

    return of


def with_cells(*predictions: Prediction) -> Callable[[SessionWriter], None]:
    def recording(writer: SessionWriter) -> None:
        for number, prediction in enumerate(predictions):
            record(writer, number, prediction)

    return recording


def test_each_measure_has_its_name_and_its_number_of_values(measures: Callable[..., SessionMeasures]) -> None:
    found = measures(with_cells(BLAST, NORMAL, NORMAL, NORMAL))
    assert (found.fields, found.cells, found.first_at) == (4, 4, 1e9)
    assert set(found.measures) < set(ALL_MEASURES)
    assert {name: one.n for name, one in found.measures.items()} == dict.fromkeys(found.measures, 4)
    assert found.measures["scale"].value == 13.0
    assert found.measures["cell_area"].value == 100.5
    assert found.measures["cells_per_field"].value == 1.0
    assert found.measures["blast_share"].value == 25.0
    assert found.measures["uncertain_share"].value == 0.0
    assert "light" not in found.measures


def test_colours_are_those_of_the_crop(measures: Callable[..., SessionMeasures]) -> None:
    found = measures(with_cells(BLAST)).measures
    own = appearance_of(ScaledCell(CROP.pixels, np.ones(CROP.mask.shape, bool)))
    # It is noise, of which the rim is as the rest.
    assert found["red_to_green"].value == pytest.approx(own.red_to_green, rel=0.02)
    assert found["blue_to_green"].value == pytest.approx(own.blue_to_green, rel=0.02)


@pytest.mark.parametrize(
    ("cells", "share", "uncertain"),
    [
        ((BLAST, BAND, BAND, NORMAL), 25.0, 0.0),
        ((BLAST, PLATELETS, NORMAL), 50.0, 0.0),
        ((BLAST, UNDECIDED, UNDECIDED, NORMAL), 50.0, 50.0),
        ((BLAST, DUST, NORMAL), 50.0, 0.0),
        ((UNDECIDED,), None, 100.0),
    ],
    ids=["of white cells", "platelets are none", "uncertain in neither", "dust is no cell", "nothing called"],
)
def test_shares(
    measures: Callable[..., SessionMeasures],
    cells: tuple[Prediction, ...],
    share: float | None,
    uncertain: float,
) -> None:
    found = measures(with_cells(*cells)).measures
    assert found["uncertain_share"].value == pytest.approx(uncertain)
    assert (found["blast_share"].value if "blast_share" in found else None) == share


def test_no_share_of_blasts_among_foreign_cells(measures: Callable[..., SessionMeasures]) -> None:
    foreign = Prediction(Decision.UNCERTAIN, 0.5, "features are 3.00 away", foreign=True)
    found = measures(with_cells(BLAST, NORMAL, foreign))
    assert "blast_share" not in found.measures
    assert [(check.value, n) for check, n in found.counted.doubts.items()] == [("features", 1)]


def test_the_optics_of_a_resumed_run_are_the_newest(measures: Callable[..., SessionMeasures]) -> None:
    def recording(writer: SessionWriter) -> None:
        record(writer, 0)
        writer.note(OPTICS, FIRST)
        writer.note("lost", "the camera")
        writer.note(OPTICS, FIRST.replace("200", "150"))
        writer.note(OPTICS, "what a newer version says")

    found = measures(recording).measures
    assert (found["light"].value, found["evenness"].value, found["sharpness"].n) == (150.0, 0.95, 5)


def test_only_this_part_of_a_run_counts_where_asked_for(
    measures: Callable[..., SessionMeasures],
) -> None:
    found = measures(with_cells(BLAST, BLAST, BLAST, NORMAL), first=2)
    assert (found.fields, found.cells) == (2, 2)
    assert found.measures["blast_share"].value == 50.0


def test_rejected_fields_and_cells_without_a_scale(measures: Callable[..., SessionMeasures]) -> None:
    def recording(writer: SessionWriter) -> None:
        record(writer, 0)
        writer.record_rejected(1, 1e9 + 1, "test://", "out of focus")
        record(writer, 2, px_per_um=None)

    found = measures(recording)
    assert (found.fields, found.cells) == (2, 2)
    assert (found.measures["scale"].n, found.measures["red_to_green"].n) == (1, 1)
    assert found.measures["cell_focus"].n == 2


def test_nothing_is_measured_of_nothing(measures: Callable[..., SessionMeasures]) -> None:
    found = measures(lambda _: None)
    assert (found.fields, found.cells, found.first_at, found.measures) == (0, 0, None, {})


def test_what_is_asked_of_runs_points_to_microscope_and_stain() -> None:
    asked = {one.subject for one in MEASURES.values() if one.between_slides is not None}
    assert asked == {"light", "focus", "stain", "scale"}
