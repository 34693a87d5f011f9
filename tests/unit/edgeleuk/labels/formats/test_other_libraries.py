"""The formats' own libraries read what is exported, and find the cells where they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
import supervision
from exchanged import record_cells, round_cell, say
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from shapely.geometry import shape

from edgeleuk.frames import NUCLEUS
from edgeleuk.labels.formats.cells import CATEGORIES
from edgeleuk.labels.formats.coco import read_coco
from edgeleuk.labels.formats.exporting import export_folder

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.frames import Mask

WORDS = ["band", "normal", "monocyte"]


def masks() -> list[Mask]:
    """Return a round cell, one with a hole, and one of two parts."""
    holed, parted = round_cell(80, 70), round_cell(90, 60)
    holed[30:36, 20:30] = 0
    parted[:, 40:44] = 0
    return [round_cell(), holed, parted]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    session = record_cells(tmp_path_factory.mktemp("session") / "night.db", masks())
    say(session, (0, "band", "A"))
    return session


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_pycocotools(night: Path, tmp_path: Path) -> None:
    export_folder(night, "coco", tmp_path / "out")
    data = COCO(str(tmp_path / "out" / "annotations.json"))
    assert [category["name"] for category in data.loadCats(data.getCatIds())] == list(CATEGORIES)
    for image, mask, word in zip(data.loadImgs(data.getImgIds()), masks(), WORDS, strict=True):
        (annotation,) = data.loadAnns(data.getAnnIds(imgIds=image["id"]))
        assert (image["height"], image["width"]) == mask.shape
        assert cv2.imread(str(tmp_path / "out" / "images" / image["file_name"])).shape[:2] == mask.shape
        # pycocotools draws polygons on a grid five times as fine, and rounds.
        assert overlap(data.annToMask(annotation) > 0, mask > 0) > 0.99
        assert annotation["area"] == np.count_nonzero(mask)
        assert data.loadCats(annotation["category_id"])[0]["name"] == word
    assert data.loadAnns(1)[0]["attributes"]["by"] == "A"


@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_supervision(night: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    export_folder(night, kind, out)
    images = str(out / "images")
    if kind == "coco":
        found = supervision.DetectionDataset.from_coco(
            images, str(out / "annotations.json"), force_masks=True
        )
    else:
        found = supervision.DetectionDataset.from_yolo(
            images, str(out / "labels"), str(out / "data.yaml"), force_masks=True
        )
    assert found.classes == list(CATEGORIES)
    by_name = {path.rpartition("/")[2]: (picture, cells) for path, picture, cells in found}
    for (_, (picture, cells)), mask, word in zip(sorted(by_name.items()), masks(), WORDS, strict=True):
        assert picture.shape[:2] == mask.shape
        assert [found.classes[number] for number in cells.class_id] == [word]
        # It fills polygons with their border, a pixel more than is inside.
        assert overlap(cells.mask[0], mask > 0) > 0.9
        np.testing.assert_allclose(cells.xyxy[0], (0, 0, mask.shape[1], mask.shape[0]), atol=1)


def test_shapely(night: Path, tmp_path: Path) -> None:
    export_folder(night, "geojson", tmp_path / "out")
    for path, mask, word in zip(
        sorted((tmp_path / "out" / "annotations").iterdir()), masks(), WORDS, strict=True
    ):
        (feature,) = json.loads(path.read_bytes())["features"]
        cell, nucleus = shape(feature["geometry"]), shape(feature["nucleusGeometry"])
        assert cell.is_valid
        assert nucleus.is_valid
        assert (cell.area, nucleus.area) == (np.count_nonzero(mask), np.count_nonzero(mask == NUCLEUS))
        assert cell.covers(nucleus)
        assert feature["properties"]["classification"]["name"] == word


def test_label_studio_tasks_fit_their_own_config(night: Path, tmp_path: Path) -> None:
    """Names, types and labels of every region are those of the config, as Label Studio asks."""
    export_folder(night, "label-studio", tmp_path / "out")
    config = ET.parse(tmp_path / "out" / "config.xml").getroot()
    tag, picture = config.find("PolygonLabels"), config.find("Image")
    assert tag is not None
    assert picture is not None
    allowed = {label.get("value") for label in tag.findall("Label")}
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_bytes())
    assert [len(task["annotations"]) for task in tasks] == [1, 0, 0]
    for task, mask in zip(tasks, masks(), strict=True):
        assert str(picture.get("value")).removeprefix("$") in task["data"]
        (prediction,) = task["predictions"]
        for region in prediction["result"] + [r for one in task["annotations"] for r in one["result"]]:
            assert (region["from_name"], region["to_name"]) == (tag.get("name"), tag.get("toName"))
            assert set(region["value"]["polygonlabels"]) <= allowed
            assert (region["original_height"], region["original_width"]) == mask.shape
            assert all(0 <= number <= 100 for point in region["value"]["points"] for number in point)


def test_run_lengths_of_pycocotools_are_read(tmp_path: Path) -> None:
    mask = masks()[1] > 0
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    # Background first: the first pixel of a round cell's box is outside.
    runs = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=True, append=True)))
    shapes = [
        {"size": list(mask.shape), "counts": packed["counts"].decode()},
        {"size": list(mask.shape), "counts": runs.tolist()},
    ]
    data = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "band"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "segmentation": each, "iscrowd": 1} for each in shapes
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    for mark in read_coco(tmp_path / "a.json"):
        np.testing.assert_array_equal(mark.mask, mask)
