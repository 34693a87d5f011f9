from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import tifffile  # noqa: TID253 - it is what reads the slide

from edgeleuk.errors import MissingDependencyError
from edgeleuk.io.atomic import whole_folder
from edgeleuk.slide.blending import GROUND
from edgeleuk.slide.ome import Objective, SlideFacts
from edgeleuk.slide.ome_tiff import write_tiff
from edgeleuk.slide.ome_zarr import is_own_zarr, require_zarr, write_zarr, zarr_attributes
from edgeleuk.slide.placement import Placed, Placement
from edgeleuk.slide.pyramid import PyramidPlan
from edgeleuk.stage.base import ScanField

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeleuk.frames import RgbImage

REASON = "zarr 3 needs Python 3.11"
zarr = pytest.importorskip("zarr", reason=REASON)
v05 = pytest.importorskip("ome_zarr_models.v05", reason=REASON)
Omero = pytest.importorskip("ome_zarr_models.v04.omero", reason=REASON).Omero


def drawing(width: int, height: int) -> Callable[[int, int, int], RgbImage]:
    """Draw squares of a picture that has noise in it, but for its second half, which is ground."""
    small = np.random.default_rng(1).integers(0, 255, (height // 40 + 1, width // 40 + 1, 3), np.uint8)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    pixels[height // 2 + 1 :] = GROUND
    padded = np.pad(pixels, ((0, 512), (0, 512), (0, 0)), constant_values=GROUND)
    return lambda x, y, side: padded[y : y + side, x : x + side]


def placement_of(width: int, height: int) -> Placement:
    fields = [
        Placed(ScanField(0, 0, 0, 1.0, 2.0), 0, 0, is_registered=True),
        Placed(ScanField(1, 0, 1, 9.0, 2.25), 130, 4, is_registered=False, lost_um=(9.0, 0.0)),
    ]
    return Placement(tuple(fields), width, height, 1, 1, 0, 0.1, 13.0)


def attributes_of(plan: PyramidPlan) -> dict[str, object]:
    level = plan.first_level
    facts = SlideFacts(
        "s",
        plan.size(level),
        13.0 / 2**level,
        2**level,
        (1.0, 2.0),
        Objective(40.0, 0.65),
        "as it was",
        False,
    )
    return zarr_attributes(facts, placement_of(plan.width, plan.height), plan)


def written(folder: Path, size: tuple[int, int], first_level: int = 0) -> PyramidPlan:
    plan = PyramidPlan(*size, 13.0, "lossless", first_level=first_level)
    with whole_folder(folder, is_own_zarr) as part:
        write_zarr(part, plan, [drawing(*size)], attributes_of(plan))
    return plan


# The widest is more than one shard.
@pytest.mark.parametrize("size", [(1, 1), (256, 256), (257, 1025), (2777, 3001), (9000, 300)])
def test_every_level_holds_the_pixels_of_the_lossless_tiff(tmp_path: Path, size: tuple[int, int]) -> None:
    plan = written(tmp_path / "s.ome.zarr", size)
    write_tiff(tmp_path / "s.ome.tiff", plan, [drawing(*size)], "<OME/>")
    group = zarr.open_group(tmp_path / "s.ome.zarr", mode="r")
    with tifffile.TiffFile(tmp_path / "s.ome.tiff") as tiff:
        pages = [tiff.pages[0], *(tiff.pages[0].pages or ())]
        assert sorted(group.array_keys()) == [str(n) for n in range(len(pages))]
        for n, page in enumerate(pages):
            assert np.array_equal(np.moveaxis(group[str(n)][:], 0, 2), page.asarray())


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_metadata_is_valid_and_tells_the_pixel_size_of_each_level(tmp_path: Path, level: int) -> None:
    folder = tmp_path / "s.ome.zarr"
    plan = written(folder, (3001, 2400), level)
    image = v05.Image.from_zarr(zarr.open_group(folder, mode="r"))
    [multiscale] = image.ome_attributes.multiscales
    assert [(axis.name, axis.type, axis.unit) for axis in multiscale.axes] == [
        ("c", "channel", None),
        ("y", "space", "micrometer"),
        ("x", "space", "micrometer"),
    ]
    assert len(multiscale.datasets) == len(plan.levels) == 3 - level
    for n, dataset in enumerate(multiscale.datasets):
        [scale] = dataset.coordinateTransformations
        assert scale.scale == pytest.approx([1, 2 ** (level + n) / 13, 2 ** (level + n) / 13])
        assert zarr.open_array(folder / dataset.path).shape == (3, *plan.size(level + n)[::-1])
    # Of version 0.5 the models leave this part unread; it is the same as in 0.4.
    omero = Omero.model_validate(image.ome_attributes.omero)
    assert [channel.color for channel in omero.channels] == [
        "FF0000",
        "00FF00",
        "0000FF",
    ]


def test_it_tells_objective_and_where_the_stage_was(tmp_path: Path) -> None:
    written(tmp_path / "s.ome.zarr", (500, 300), 1)
    own = zarr.open_group(tmp_path / "s.ome.zarr", mode="r").attrs["edgeleuk"]
    assert own["objective"] == {"magnification": 40.0, "aperture": 0.65}
    assert own["stage_um"] == [1.0, 2.0]
    first, second = own["fields"]
    assert (first["StageX_um"], first["StageY_um"], first["PlacedBy"]) == (1.0, 2.0, "registration")
    assert "LostSteps" not in first
    assert (second["X"], second["Y"], second["PlacedBy"]) == (65, 2, "stage")
    assert (second["LostSteps"], second["LostX_um"]) == (True, 9.0)


def test_ground_takes_no_room_and_shards_are_few(tmp_path: Path) -> None:
    written(tmp_path / "s.ome.zarr", (4096, 1024))
    # Of four rows of tiles two are ground, and the third is where they begin.
    files = [path for path in (tmp_path / "s.ome.zarr" / "0").rglob("*") if path.name != "zarr.json"]
    assert len([path for path in files if path.is_file()]) == 3


def test_a_crash_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    plan = PyramidPlan(2000, 2000, 13.0, "lossless")
    tile = np.zeros((256, 256, 3), np.uint8)

    def failing(x: int, y: int, side: int) -> RgbImage:
        if y > 600:
            raise KeyboardInterrupt
        return tile

    with (
        pytest.raises(KeyboardInterrupt),
        whole_folder(tmp_path / "s.ome.zarr", is_own_zarr) as part,
    ):
        write_zarr(part, plan, [failing], attributes_of(plan))
    assert not list(tmp_path.iterdir())


def test_a_program_that_is_killed_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    text = """
import os, sys, pathlib, numpy as np
from edgeleuk.io.atomic import whole_folder
from edgeleuk.slide.ome_zarr import is_own_zarr, write_zarr
from edgeleuk.slide.pyramid import PyramidPlan

def draw(x, y, side):
    if y > 600:
        os.kill(os.getpid(), 9)
    return np.zeros((side, side, 3), np.uint8)

with whole_folder(pathlib.Path(sys.argv[1]), is_own_zarr) as part:
    write_zarr(part, PyramidPlan(2000, 2000, 13.0, "lossless"), [draw], {"edgeleuk": {}})
"""
    ended = subprocess.run([sys.executable, "-c", text, tmp_path / "s.ome.zarr"], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".edgeleuk-")
    assert [path for path in left.rglob("*") if path.parts[-4:-3] == ("0",)]


def test_a_folder_of_ours_is_known(tmp_path: Path) -> None:
    written(tmp_path / "s.ome.zarr", (300, 300))
    assert is_own_zarr(tmp_path / "s.ome.zarr")
    zarr.create_group(tmp_path / "other.ome.zarr", attributes={"ome": {"version": "0.5"}})
    assert not is_own_zarr(tmp_path / "other.ome.zarr")
    assert not is_own_zarr(tmp_path)
    assert (
        json.loads((tmp_path / "s.ome.zarr" / "zarr.json").read_bytes())["attributes"]["ome"]["version"]
        == "0.5"
    )


class TestWithoutTheExtra:
    def test_it_is_named_with_its_cure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "zarr", None)
        with pytest.raises(MissingDependencyError) as raised:
            require_zarr()
        assert str(raised.value) == (
            "zarr is not installed;"
            " pip install 'edgeleuk[zarr]' with Python 3.11 or newer, or write NAME.ome.tiff"
        )

    def test_version_2_is_too_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zarr, "__version__", "2.18.7")
        with pytest.raises(MissingDependencyError, match=r"zarr is too old: got 2\.18\.7, allowed 3; pip"):
            require_zarr()
