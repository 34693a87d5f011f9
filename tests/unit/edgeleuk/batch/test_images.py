"""A photograph through an eyepiece lies on black as well, and is a field nevertheless."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.batch.images import classify_picture
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.self_test import open_tested_classifier
from edgeleuk.io.images import read_image
from edgeleuk.io.pictures.decoding import Decoded
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision.eyepiece import is_field_on_black
from edgeleuk.vision.finding import find_cells
from edgeleuk.vision.quality import is_cell_on_black

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.frames import RgbImage

CNMC_PX_PER_UM = 18.5
# Radius relative to the short side: the circle lies fully inside, and goes beyond it.
INSIDE, BEYOND = 0.48, 0.58


@pytest.fixture(scope="module")
def classifier() -> Iterator[Classifier]:
    bundle = read_bundle("default")
    with open_tested_classifier(
        bundle, runtime="litert", precision="int8", threads=1, abstain="band"
    ) as opened:
        yield opened


def behind_mask(radius: float, width: int = 1280, height: int = 960) -> tuple[RgbImage, RgbImage]:
    """Return a drawn field, and the same behind a round mask."""
    field = VirtualSlide(301).field(0, 0, width=width, height=height).pixels
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (width // 2, height // 2), round(radius * height), 1, -1)
    return field, np.where(mask[:, :, None] > 0, field, np.uint8(0))


@pytest.mark.parametrize("px_per_um", [None, 13.1])
@pytest.mark.parametrize("radius", [INSIDE, BEYOND])
def test_a_field_behind_a_round_mask_is_segmented(
    classifier: Classifier, radius: float, px_per_um: float | None
) -> None:
    field, masked = behind_mask(radius)
    assert is_cell_on_black(masked)
    found, _ = classify_picture(Path("f.png"), Decoded(masked), classifier, px_per_um)
    assert (found.kind, found.rejected) == ("field", None)
    assert found.px_per_um == pytest.approx(13.1, rel=0.05)
    whole = [cell for cell in found.cells if not cell.touches_border]
    areas = [cell.area_px for cell in find_cells(field, 13.1)[0]]
    assert whole
    assert all(cell.area_px is not None and cell.area_px <= 1.05 * max(areas) for cell in found.cells)


@pytest.mark.parametrize("radius", [INSIDE, BEYOND])
def test_a_small_field_is_told_by_its_glass(classifier: Classifier, radius: float) -> None:
    _, masked = behind_mask(radius, 640, 480)
    assert classify_picture(Path("f.png"), Decoded(masked), classifier, None)[0].kind == "field"


@pytest.mark.parametrize(
    ("diameter_um", "level", "expected"),
    [(12, 80, False), (34, 80, False), (36, 80, True), (19, 200, False), (21, 200, True)],
)
def test_how_large_a_cell_may_be(diameter_um: int, level: int, expected: bool) -> None:
    pixels = np.zeros((400, 400, 3), np.uint8)
    cv2.circle(pixels, (200, 200), diameter_um * 5, (level, level, level), -1)
    assert is_field_on_black(pixels, 10.0) is expected


def test_cells_of_c_nmc_are_no_fields(edgeleuk_data: Path) -> None:
    files = sorted((edgeleuk_data / "cnmc").glob("fold_*/*/*.webp"))[::12]
    assert len(files) > 400
    crops = map(read_image, files)
    assert all(is_cell_on_black(crop) and not is_field_on_black(crop, CNMC_PX_PER_UM) for crop in crops)
