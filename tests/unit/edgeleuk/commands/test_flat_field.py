from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.commands.flat_field import open_correction, take_blank
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision.flatfield import FlatField, average_blank, blank_fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Outcome


def shaded(width: int = 640, height: int = 480) -> np.ndarray:
    light = np.linspace(0.8, 1.0, width)[None, :, None] * np.array([215, 200, 185])
    return np.round(np.broadcast_to(light, (height, width, 3))).astype(np.uint8)


def folder_of(path: Path, *pictures: np.ndarray) -> str:
    path.mkdir()
    for index, picture in enumerate(pictures):
        assert cv2.imwrite(str(path / f"{index}.png"), picture[..., ::-1])
    return f"dir://{path}"


def test_an_even_blank_changes_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    for level in (1, 77, 255):
        assert np.array_equal(FlatField(np.full(pixels.shape, level, np.uint8)).correct(pixels), pixels)


def test_a_blank_divided_by_itself_is_even() -> None:
    blank = shaded()
    corrected = FlatField(average_blank([blank, blank])).correct(blank)
    assert np.ptp(corrected.reshape(-1, 3), axis=0).max() <= 1
    assert np.abs(corrected.mean(axis=(0, 1)) - blank.mean(axis=(0, 1))).max() < 0.5


def test_a_blank_is_taken_and_used(tmp_path: Path) -> None:
    uri = folder_of(tmp_path / "glass", shaded(), shaded())
    facts = take_blank(uri, tmp_path / "blank.png", 16)
    assert (facts.frames, facts.width, facts.height) == (2, 640, 480)
    assert np.ptp(open_correction(tmp_path / "blank.png")(shaded()).reshape(-1, 3), axis=0).max() <= 1


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (VirtualSlide(seed=1).field(0, 0, width=640, height=480).pixels, "not empty"),
        (np.tile(np.uint8([255, 255, 240]), (480, 640, 1)), "overexposed"),
        (np.tile(np.uint8([60, 50, 40]), (480, 640, 1)), "underexposed"),
    ],
)
def test_what_is_no_blank_is_refused(tmp_path: Path, picture: np.ndarray, reason: str) -> None:
    assert blank_fault(picture) == reason
    with pytest.raises(DataRefusedError, match=reason):
        take_blank(folder_of(tmp_path / "glass", picture), tmp_path / "blank.png", 4)


def test_bad_wishes(tmp_path: Path) -> None:
    uri = folder_of(tmp_path / "glass", shaded())
    with pytest.raises(UsageError, match="number of frames"):
        take_blank(uri, tmp_path / "blank.png", 0)
    with pytest.raises(UsageError, match="stored as PNG"):
        take_blank(uri, tmp_path / "blank.jpg", 1)
    with pytest.raises(UsageError, match="cannot be written"):
        take_blank(uri, tmp_path / "no" / "blank.png", 1)
    with pytest.raises(UsageError, match="cannot be read"):
        open_correction(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UsageError, match="is no picture"):
        open_correction(tmp_path / "text.png")
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UsageError, match="above 0"):
        open_correction(tmp_path / "black.png")
    mixed = folder_of(tmp_path / "mixed", shaded(), shaded(320, 240))
    with pytest.raises(DataRefusedError, match="differ in size"):
        take_blank(mixed, tmp_path / "blank.png", 2)
    with pytest.raises(ValueError, match="one size"):
        average_blank([shaded(), shaded(320, 240)])
    with pytest.raises(ValueError, match="uint16"):
        FlatField(np.ones((4, 4), np.uint8))
    with pytest.raises(ValueError, match="expected"):
        FlatField(np.ones((4, 4, 3), np.uint8)).correct(shaded())


def test_a_run_counts_blurred_fields_and_refuses_a_foreign_blank(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sharp = VirtualSlide(seed=1).field(0, 0, width=640, height=480).pixels
    blurred = cv2.GaussianBlur(sharp, (0, 0), 4)
    uri = folder_of(tmp_path / "fields", sharp, blurred, shaded())
    words = ("run", "--camera", uri, "--px-per-um", 13, "--json", "--session")
    frames = json.loads(edgeleuk(*words, "a.db").out)["frames"]
    assert frames["rejected_by_reason"] == {"out of focus": 1, "empty field": 1}
    assert frames["processed"] == 1
    assert json.loads(edgeleuk(*words, "b.db", "--no-quality-check").out)["frames"]["processed"] == 3
    take_blank(folder_of(tmp_path / "glass", shaded(320, 240)), tmp_path / "blank.png", 1)
    refused = edgeleuk(*words, "c.db", "--flat-field", "blank.png")
    assert refused.code == 4
    assert "another size" in refused.err
