"""What lies around a cell: the field's own file where it is there, else its texture with the cells put in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.frames import Box, CellCrop
from edgeleuk.review.context import RecordedCell, RecordedField, context_of
from edgeleuk.session.pictures import encode_crop

if TYPE_CHECKING:
    from pathlib import Path

BOX = Box(300, 200, 40, 30)
GREEN = (20, 200, 30)


def field(source: str, *, texture: bool = True, cells: bool = True) -> RecordedField:
    grey = cv2.imencode(".jpg", np.full((120, 160), 90, np.uint8))[1].tobytes()
    crop = CellCrop(np.full((30, 40, 3), GREEN, np.uint8), np.full((30, 40), 255, np.uint8), 10.0)
    return RecordedField(
        *(source, 640, 480, grey if texture else None),
        [RecordedCell(BOX, encode_crop(crop)), RecordedCell(Box(0, 0, 9, 9), None)] if cells else [],
    )


def shown(jpeg: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_the_fields_own_file_at_full_resolution(tmp_path: Path) -> None:
    pixels = np.full((480, 640, 3), (200, 150, 170), np.uint8)
    pixels[::2, ::2] = 0
    cv2.imwrite(str(tmp_path / "field.png"), pixels[:, :, ::-1])
    found = context_of(field(f"dir://{tmp_path}/field.png"), BOX)
    assert found is not None
    assert found.is_field
    around = shown(found.jpeg)
    assert around.shape == (320, 320, 3)
    # Every second pixel is dark: nothing was reduced.
    assert around[:100, :100].std() > 60


@pytest.mark.parametrize("source", ["virtual://", "dir:///nowhere/field.png", "dir:///etc/passwd"])
def test_else_the_texture_with_the_cells_in_their_places(source: str) -> None:
    found = context_of(field(source), BOX)
    assert found is not None
    assert not found.is_field
    around = shown(found.jpeg)
    # The window is centred on the cell.
    assert np.abs(around[160, 160].astype(int) - GREEN).max() < 25
    assert np.ptp(around[20, 20].astype(int)) < 6


def test_another_picture_of_that_name_is_not_shown(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "field.png"), np.full((100, 100, 3), 200, np.uint8))
    found = context_of(field(f"dir://{tmp_path}/field.png"), BOX)
    assert found is not None
    assert not found.is_field


def test_nothing_was_kept() -> None:
    assert context_of(field("virtual://", texture=False), BOX) is None


@pytest.mark.parametrize("box", [Box(0, 0, 40, 30), Box(600, 450, 40, 30)])
def test_a_cell_at_the_border(box: Box) -> None:
    found = context_of(field("virtual://", cells=False), box)
    assert found is not None
    assert shown(found.jpeg).shape == (320, 320, 3)


def test_cells_that_cannot_be_pasted_are_left_out() -> None:
    damaged = field("virtual://")._replace(
        cells=[RecordedCell(Box(635, 470, 9, 9), field("")[4][0].crop), RecordedCell(BOX, b"no picture")]
    )
    found = context_of(damaged, BOX)
    assert found is not None
    assert np.ptp(shown(found.jpeg)[160, 160].astype(int)) < 6
