"""The fields of a session side by side, and pages of sessions that earlier versions recorded."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from sessions import BLAST, BOX, CROP

from edgeleuk.commands.report import page_of
from edgeleuk.frames import Cell
from edgeleuk.reports.slide import MOST_PX, slide_image
from edgeleuk.results import CellResult, Decision, FrameResult, Prediction
from edgeleuk.session import JudgedCell, create_session, read_session
from edgeleuk.vision.annotate import COLOURS
from edgeleuk.vision.registration import Texture
from edgeleuk.vision.tracking import Placed

if TYPE_CHECKING:
    from edgeleuk.session import SessionWriter

BEFORE = Path(__file__).resolve().parents[3] / "contract" / "before"
W, H = 640, 480
GREY = Texture(np.full((H // 2, W // 2), 128, np.uint8), (H, W))


def field(session: SessionWriter, number: int, place: Placed, prediction: Prediction = BLAST) -> None:
    cell = CellResult(number, True, BOX, 100.5, 60.25, prediction)
    found = Cell(BOX, np.full((BOX.h, BOX.w), 255, np.uint8))
    result = FrameResult(number, 1e9 + number, "test://", W, H, 13.0, (cell,), (), (found,), 12.5)
    judged = JudgedCell(number, BOX, 10800, 10800, 100.5, 60.25, prediction, CROP, None)
    session.record_frame(result, [judged], placed=place)


def test_fields_lie_where_they_were_and_bear_their_cells(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    normal = Prediction(Decision.NORMAL, 0.1)
    with create_session(path, {}) as session:
        field(session, 0, Placed(1, 0.0, 0.0, (), GREY))
        field(session, 1, Placed(1, float(W), 100.0, (), GREY), normal)
        field(session, 2, Placed(2, 5000.0, 0.0, (), GREY))
    with read_session(path) as reader:
        found = slide_image(reader)
    assert found is not None
    assert (found.fields, found.left_out) == (2, 1)
    assert (found.width, found.height) == (2 * W, H + 100)
    picture = cv2.imdecode(np.frombuffer(found.jpeg, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)
    assert picture.shape == (found.height, found.width, 3)
    # Grey where fields are, the ground where none is.
    assert abs(picture[300, 300] - 160).max() < 6
    assert abs(picture[50, W + 50] - 225).max() < 6
    for left, top, decision in ((0, 0, Decision.BLAST), (W, 100, Decision.NORMAL)):
        part = picture[top : top + 200, left : left + 250]
        near = np.abs(part - np.array(COLOURS[decision])).max(axis=2) < 60
        assert near.sum() > 20, decision


def test_a_large_slide_is_reduced(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with create_session(path, {}) as session:
        field(session, 0, Placed(1, 0.0, 0.0, (), GREY))
        field(session, 1, Placed(1, 9000.0, 0.0, (), replace(GREY)))
    with read_session(path) as reader:
        found = slide_image(reader)
    assert max(found.width, found.height) == MOST_PX


def test_without_fields_there_is_none(tmp_path: Path) -> None:
    create_session(tmp_path / "s.db", {}).close()
    with read_session(tmp_path / "s.db") as reader:
        assert slide_image(reader) is None


@pytest.mark.parametrize("name", ["run.db", "scan.db"])
def test_a_session_of_an_earlier_version_has_a_page(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.decompress((BEFORE / f"{name}.gz").read_bytes()))
    page = page_of(path)
    assert "all sound" in page
    assert 'class="slide"' in page
