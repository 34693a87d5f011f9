from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import openslide
import pytest
import tifffile  # noqa: TID253 - it is what reads the slide

from edgeleuk.slide.blending import GROUND, Blender
from edgeleuk.slide.ome_tiff import write_tiff
from edgeleuk.slide.placement import Placed
from edgeleuk.slide.pyramid import PyramidPlan
from edgeleuk.stage.base import ScanField

if TYPE_CHECKING:
    from pathlib import Path

XML = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"/>'


def picture(width: int, height: int) -> np.ndarray:
    small = np.random.default_rng(1).integers(0, 255, (height // 40 + 1, width // 40 + 1, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def written(path: Path, pixels: np.ndarray, **options: object) -> Path:
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, 512), (0, 512), (0, 0)), constant_values=GROUND)
    plan = PyramidPlan(width, height, 13.0, **options)
    write_tiff(path, plan, [lambda x, y, side: padded[y : y + side, x : x + side]], XML)
    return path


@pytest.mark.parametrize("size", [(1, 1), (256, 256), (257, 1025), (2049, 512), (2777, 3001), (5000, 300)])
def test_without_loss_every_pixel_comes_back_at_every_level(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = picture(*size)
    path = written(tmp_path / "s.ome.tiff", pixels, compression="lossless")
    with tifffile.TiffFile(path) as tiff:
        first = tiff.pages[0]
        assert np.array_equal(first.asarray(), pixels)
        assert tiff.is_bigtiff
        assert first.description == XML
        sizes = [page.shape[1::-1] for page in first.pages or ()]
        expected, side = [], size
        while max(side) > 1024:
            side = (-(-side[0] // 2), -(-side[1] // 2))
            expected.append(side)
        assert sizes == expected
        for number, page in enumerate(first.pages or (), start=1):
            at = page.asarray()
            step = 2**number
            # Away from the rim, where what lies beyond it counts, a level is the mean of the one below.
            height, width = (side // step for side in pixels.shape[:2])
            small = cv2.resize(
                pixels[: height * step, : width * step], (width, height), interpolation=cv2.INTER_AREA
            )
            assert np.abs(at[:height, :width].astype(int) - small).max() <= number + 1


def test_jpeg_is_near_and_a_tenth_and_openslide_reads_its_scale(tmp_path: Path) -> None:
    pixels = picture(2000, 1500)
    path = written(tmp_path / "s.ome.tiff", pixels)
    whole = written(tmp_path / "w.ome.tiff", pixels, compression="lossless")
    assert np.abs(tifffile.imread(path).astype(int) - pixels).mean() < 2
    assert path.stat().st_size < whole.stat().st_size / 4
    with openslide.OpenSlide(path) as slide:
        assert slide.dimensions == (2000, 1500)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(1 / 13, rel=1e-6)
        region = np.asarray(slide.read_region((300, 400), 0, (200, 100)))[:, :, :3]
    assert np.abs(region.astype(int) - pixels[400:500, 300:500]).mean() < 2


@pytest.mark.parametrize("level", [1, 2])
def test_a_slide_may_begin_at_a_later_level(tmp_path: Path, level: int) -> None:
    pixels = picture(2400, 2400)
    path = written(tmp_path / "s.ome.tiff", pixels, compression="lossless", first_level=level)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert page.shape == (2400 >> level, 2400 >> level, 3)
        per_cm = page.tags["XResolution"].value
        assert per_cm[0] / per_cm[1] == pytest.approx(130_000 / 2**level)


class TestBlending:
    @staticmethod
    def drawn(fields: list[np.ndarray]) -> np.ndarray:
        placed = [
            Placed(ScanField(n, 0, n, 0.0, 0.0), x, 0, is_registered=True) for n, x in enumerate((0, 144))
        ]
        return Blender(placed, (256, 200), lambda number: fields[number]).draw(0, 0, 512)

    def test_fields_that_agree_give_the_slide(self) -> None:
        whole = picture(400, 200)
        drawn = self.drawn([whole[:, :256], whole[:, 144:]])
        assert np.abs(drawn[:200, :400].astype(int) - whole).max() <= 1

    def test_each_pixel_is_of_one_field_but_for_a_narrow_seam(self) -> None:
        row = self.drawn([np.full((200, 256, 3), level, np.uint8) for level in (50, 150)])[100, :, 0]
        assert np.count_nonzero((row[:400] != 50) & (row[:400] != 150)) <= 8
        assert (row[:190] == 50).all()
        assert (row[210:400] == 150).all()
        assert (row[400:] == GROUND).all()
