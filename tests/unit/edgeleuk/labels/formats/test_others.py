"""Annotations that other programs wrote, in their own ways, and those that are not sound."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from exchanged import AT, record_cells, round_cell

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.io.images import write_png
from edgeleuk.io.pictures.limit import MOST_MEGAPIXELS, allow_megapixels
from edgeleuk.labels.contents import identity_of
from edgeleuk.labels.formats.exporting import export_folder
from edgeleuk.labels.formats.importing import Origins, import_marks
from edgeleuk.labels.formats.label_studio import read_label_studio
from edgeleuk.labels.formats.outlines import one_ring, polygons_of
from edgeleuk.labels.formats.yolo import class_names
from edgeleuk.labels.naming import Naming
from edgeleuk.labels.spool import Spool
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision.crops import crop_cell
from edgeleuk.vision.segmentation import segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.frames import Cell, RgbImage
    from edgeleuk.labels.importing import Imported

SCALE = 13.0


@pytest.fixture(scope="module")
def field() -> RgbImage:
    return VirtualSlide(seed=1).field(0, 0).pixels


@pytest.fixture(scope="module")
def cell(field: RgbImage) -> Cell:
    return next(cell for cell in segment(field, px_per_um=SCALE) if not cell.touches_border)


@pytest.fixture
def folder(tmp_path: Path, field: RgbImage) -> Path:
    (tmp_path / "images").mkdir()
    write_png(tmp_path / "images" / "f 1.png", field)
    return tmp_path


def imported(kind: str, source: Path, classes: dict[str, str] | None = None, **changes: Any) -> Imported:
    given = {"slide_from": "S1", "by": "MM", "px_per_um": SCALE, "pictures": None} | changes
    naming = Naming(classes or {}, given["slide_from"])
    with Spool() as spool:
        return import_marks(
            kind, source, given["pictures"], Origins(naming, given["by"], AT, given["px_per_um"]), spool
        )


def coco(field: RgbImage, **changes: Any) -> dict[str, Any]:
    """Return a file as CVAT writes it, with one annotation."""
    annotation = {
        "id": 1, "image_id": 1, "category_id": 1, "segmentation": [], "area": 1.0,
        "bbox": [0.0, 0.0, 9.0, 9.0], "iscrowd": 0, "attributes": {"occluded": False, "rotation": 0.0},
    }  # fmt: skip
    image = {
        "id": 1, "width": field.shape[1], "height": field.shape[0], "file_name": "default/f 1.png",
        "license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0,
    }  # fmt: skip
    image |= {name: changes.pop(name) for name in ("file_name", "width") if name in changes}
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "year": "", "description": ""},
        "categories": [{"id": 1, "name": "Mono", "supercategory": ""}],
        "images": [image],
        "annotations": [annotation | changes],
    }


def write(path: Path, data: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def box_of(cell: Cell) -> list[float]:
    """Return the cell's box as somebody draws it: a little larger, and not on whole pixels."""
    x, y, w, h = cell.box
    return [x - 2.3, y - 1.6, w + 5.1, h + 4.2]


def ring_of(cell: Cell) -> list[tuple[float, float]]:
    (polygon,) = polygons_of(cell.mask > 0)
    return [(x + cell.box.x, y + cell.box.y) for x, y in one_ring(polygon)]


def is_that_cell(found: Imported, field: RgbImage, cell: Cell) -> None:
    (entry,) = found.cells
    assert entry.identity == identity_of(crop_cell(field, cell, SCALE))
    assert entry.slide == "S1"
    assert [(said.by, said.label) for said in entry.statements] == [("MM", "monocyte")]


class TestOutlinesAndBoxes:
    """The same cell, outlined or boxed, in each format."""

    @pytest.mark.parametrize("is_outlined", [True, False])
    def test_coco(self, folder: Path, field: RgbImage, cell: Cell, *, is_outlined: bool) -> None:
        outline = [[number for point in ring_of(cell) for number in point]]
        shape = {"segmentation": outline} if is_outlined else {"bbox": box_of(cell)}
        path = write(folder / "annotations" / "instances_default.json", coco(field, **shape))
        is_that_cell(imported("coco", path, pictures=folder / "images"), field, cell)

    @pytest.mark.parametrize("is_outlined", [True, False])
    def test_yolo(self, folder: Path, field: RgbImage, cell: Cell, *, is_outlined: bool) -> None:
        height, width = field.shape[:2]
        x, y, w, h = box_of(cell)
        box = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
        ring = [number for x, y in ring_of(cell) for number in (x / width, y / height)]
        (folder / "data.yaml").write_text("train: ../train/images\nnc: 2\nnames: ['RBC', 'Mono']\n")
        (folder / "labels").mkdir()
        numbers = " ".join(f"{number:.6f}" for number in (ring if is_outlined else box))
        (folder / "labels" / "f 1.txt").write_text(f"1 {numbers}\n")
        is_that_cell(imported("yolo", folder / "data.yaml"), field, cell)

    @pytest.mark.parametrize("is_outlined", [True, False])
    def test_qupath(self, folder: Path, field: RgbImage, cell: Cell, *, is_outlined: bool) -> None:
        x, y, w, h = box_of(cell)
        ring = ring_of(cell) if is_outlined else [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
        features = [
            {
                "type": "Feature",
                "id": "PathAnnotationObject",
                "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                "properties": {"classification": {"name": "Mono", "colorRGB": -3670016}, "isLocked": True},
            },
            {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}},
        ]
        found = imported("geojson", write(folder / "f 1.geojson", features))
        is_that_cell(found, field, cell)
        assert found.left_out == {"a shape of its kind is not read": ["feature 2 of f 1.geojson"]}

    @pytest.mark.parametrize("is_outlined", [True, False])
    def test_label_studio(self, folder: Path, field: RgbImage, cell: Cell, *, is_outlined: bool) -> None:
        height, width = field.shape[:2]
        x, y, w, h = box_of(cell)
        value: dict[str, Any] = {
            "x": 100 * x / width, "y": 100 * y / height, "width": 100 * w / width, "height": 100 * h / height,
            "rotation": 0,
        }  # fmt: skip
        kind = "rectanglelabels"
        if is_outlined:
            value, kind = (
                {"points": [[100 * x / width, 100 * y / height] for x, y in ring_of(cell)]},
                "polygonlabels",
            )
        region = {
            "original_width": width, "original_height": height, "image_rotation": 0, "type": kind, "id": "a1",
            "from_name": "label", "to_name": "image", "value": value | {kind: ["Mono"]},
        }  # fmt: skip
        annotations = [
            {"result": [region], "was_cancelled": False}, {"result": [region], "was_cancelled": True}
        ]  # fmt: skip
        # An ellipse is counted, a rating is about no cell.
        annotations[0]["result"] += [
            region | {"type": "ellipselabels"},
            {"type": "rating", "value": {"rating": 4}},
        ]
        task = {"id": 3, "data": {"img": "/data/upload/2/0a1b2c3d-f%201.png"}, "annotations": annotations}
        found = imported("label-studio", write(folder / "export.json", [task]))
        is_that_cell(found, field, cell)
        assert found.left_out == {
            "a shape of its kind is not read": ["annotation 1 of task 3 of export.json"]
        }


@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=a/images/f%201.png", "/data/upload/1/0a1b2c3d-f%201.png",
        "https://lab.example/x/f%201.png?token=1",
    ],
)  # fmt: skip
def test_addresses_in_coco_are_looked_for_in_the_folder(
    folder: Path, field: RgbImage, cell: Cell, address: str
) -> None:
    path = write(folder / "a.json", coco(field, bbox=box_of(cell), file_name=address))
    is_that_cell(imported("coco", path), field, cell)


def test_a_choice_is_of_the_cell_in_the_middle(tmp_path: Path, field: RgbImage, cell: Cell) -> None:
    x, y, w, h = cell.box
    around = field[max(0, y - 40) : y + h + 40, max(0, x - 40) : x + w + 40]
    write_png(tmp_path / "c.png", around)
    result = {"type": "choices", "value": {"choices": ["Mono"]}}
    task = {"data": {"image": "c.png"}, "annotations": [{"result": [result]}]}
    (entry,) = imported("label-studio", write(tmp_path / "e.json", [task])).cells
    assert entry.statements[0].label == "monocyte"


def test_a_brush_is_unpacked(tmp_path: Path) -> None:
    """Packed by hand: 2x2 pixels, of which the second and the third are inside."""
    widths = [3, 4, 8, 16]
    head = f"{16:032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in widths)
    # Four bytes of nothing, eight that repeat, three of nothing and one that ends the last pixel.
    bits = head + "1" + "00" + f"{3:03b}" + f"{0:08b}" + "1" + "00" + f"{7:03b}" + f"{255:08b}"
    bits += "0" + "01" + f"{3:04b}" + f"{0:08b}" * 4
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    region = {
        "type": "brushlabels", "original_width": 2, "original_height": 2,
        "value": {"format": "rle", "rle": rle, "brushlabels": ["Mono"]},
    }  # fmt: skip
    task = {"data": {"image": "b.png"}, "annotations": [{"result": [region]}]}
    (mark,) = read_label_studio(write(tmp_path / "e.json", [task]))
    assert mark.mask is not None
    assert mark.mask.tolist() == [[False, True], [True, False]]
    region["value"] = {"rle": rle[:9], "brushlabels": ["Mono"]}
    with pytest.raises(DataRefusedError, match="has a brush that fills no picture"):
        read_label_studio(write(tmp_path / "e.json", [task]))


@pytest.mark.parametrize(
    "text",
    [
        "names: [a, 'b c', \"d\"]\nnc: 3\n",
        "nc: 3\nnames: ['a',\n  'b c', 'd']\n",
        "names:\n  0: a\n  1: b c  # a comment\n  2: 'd'\ntrain: x\n",
        "# c\nnames:\n- a\n- b c\n- d\ntrain: x\n",
        "names: {0: a, 1: b c, 2: d}\n",
    ],
)
def test_classes_of_a_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    assert class_names(tmp_path / "data.yaml") == {0: "a", 1: "b c", 2: "d"}


def test_own_names_are_mapped_and_others_left_out(folder: Path, field: RgbImage, cell: Cell) -> None:
    data = coco(field, bbox=box_of(cell))
    data["categories"] = [{"id": 1, "name": "Type 3"}, {"id": 2, "name": "Junk"}]
    data["annotations"].append(data["annotations"][0] | {"id": 2, "category_id": 2})
    path = write(folder / "a.json", data)
    with pytest.raises(DataRefusedError, match=r"2 of 2 labels are unknown: got Type 3 \(1\), Junk \(1\)"):
        imported("coco", path)
    found = imported("coco", path, {"Type 3": "monocyte"})
    is_that_cell(found, field, cell)
    assert found.other_classes == {"Junk": 1}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown category": ({"category_id": 9}, "annotation 1 of a.json names what the file does not list"),
    "an unknown image": ({"image_id": 9}, "names what the file does not list: got image 9"),
    "a missing picture": ({"file_name": "g.png"}, "1 picture is missing: got g.png"),
    "a picture above": ({"file_name": "../../x.png"}, "names a picture outside the folder"),
    "an address above": ({"file_name": "/data/x?d=../x.png"}, "names a picture outside the folder"),
    "a picture at the root": ({"file_name": "/etc/x.png"}, "names a picture outside the folder"),
    "a picture on a drive": ({"file_name": "C:\\x\\f 1.png"}, "names a picture outside the folder"),
    "two points": ({"segmentation": [[1, 1, 5, 5]]}, "outlines nothing: got 2 different points"),
    "an odd number": ({"segmentation": [[1, 1, 5, 5, 6]]}, "has an outline that is no list of x, y, x, y"),
    "words": ({"segmentation": [["a"] * 6]}, "has an outline that is no list of x, y, x, y"),
    "outside": ({"segmentation": [[1, 1, 5, 5, 1, 9e5]]}, "leaves its picture: got 1, 1, 5"),
    "a box outside": ({"bbox": [-50, 2, 60, 5]}, "annotation 1 of a.json leaves its picture: got -50"),
    "a box of nothing": ({"bbox": [5, 5, 0, 5]}, "has a box without area"),
    "three numbers": ({"bbox": [5, 5, 5]}, "has neither an outline nor a box of four numbers"),
    "another size": ({"width": 50}, "is about a picture of another size: got default"),
    "run lengths": ({"segmentation": {"size": [9, 9], "counts": [80]}}, "run lengths that fill no picture"),
    "a broken text": ({"segmentation": {"size": [9, 9], "counts": "é"}}, "run lengths that fill no picture"),
    "a small mask": ({"segmentation": {"size": [1, 2], "counts": [1, 1]}}, "a picture of another size"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_sound_is_refused(folder: Path, field: RgbImage, name: str) -> None:
    changes, sentence = REFUSED[name]
    path = write(folder / "a.json", coco(field, **changes))
    with pytest.raises(DataRefusedError, match=sentence.replace("(", r"\(")) as caught:
        imported("coco", path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["coco", "geojson", "label-studio"])
@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"images": []}', '"a"', "[" * 5000])
def test_what_is_no_such_json_is_refused(tmp_path: Path, kind: str, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataRefusedError, match=r"a.json is no (COCO file|GeoJSON|JSON of Label Studio)"):
        imported(kind, tmp_path / "a.json")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 0.1 0.2 0.3", "line 1 of f 1.txt has neither a box nor an outline: got 3 numbers"),
        ("0 0.1 0.2 0.3 0.4 0.5 0.6 0.7", "has neither a box nor an outline: got 7 numbers"),
        ("0 0.1 0.1 0.1 0.1 0.2 0.2", "outlines nothing: got 2 different points"),
        ("7 0.1 0.2 0.3 0.4", "names a class that is not listed: got 7"),
        ("mono 0.1 0.2 0.3 0.4", "is no class with numbers"),
        ("0 nan 0.2 0.3 0.4", "has neither a box nor an outline"),
        ("0 1.5 0.5 0.3 0.4", "leaves its picture"),
    ],
)
def test_lines_of_yolo_that_are_not_sound(folder: Path, line: str, sentence: str) -> None:
    (folder / "data.yaml").write_text("names: [mono]\n")
    (folder / "labels").mkdir()
    (folder / "labels" / "f 1.txt").write_text(line)
    with pytest.raises(DataRefusedError, match=sentence):
        imported("yolo", folder)


def test_folders_without_what_they_need(folder: Path, field: RgbImage, cell: Cell) -> None:
    with pytest.raises(UsageError, match="the folder lists no classes"):
        imported("yolo", folder)
    with pytest.raises(UsageError, match="there is no such file"):
        imported("coco", folder)
    (folder / "data.yaml").write_text("nc: 3\n")
    with pytest.raises(DataRefusedError, match=r"data.yaml lists no classes"):
        imported("yolo", folder)
    empty = write(folder / "b.json", coco(field) | {"annotations": []})
    with pytest.raises(DataRefusedError, match=r"b.json has no annotations"):
        imported("coco", empty)
    path = write(folder / "a.json", coco(field, bbox=box_of(cell)))
    with pytest.raises(UsageError, match=r"nobody says who labelled the cells: got annotation 1 of a.json"):
        imported("coco", path, by=None)
    with pytest.raises(DataRefusedError, match="the slides of 1 of 1 pictures are unknown"):
        imported("coco", path, slide_from=None)
    no_cell = write(folder / "a.json", coco(field, bbox=[0, 0, 3, 3]))
    with pytest.raises(
        DataRefusedError, match=r"none of 1 annotations is a labelled cell: got annotation 1 of a\.json"
    ):
        imported("coco", no_cell)
    (folder / "more").mkdir()
    write_png(folder / "more" / "f 1.png", field)
    with pytest.raises(DataRefusedError, match="names a picture that is there more than once"):
        imported("coco", path)


@pytest.fixture
def small_pictures_only() -> Iterator[None]:
    allow_megapixels(0.001)
    yield
    allow_megapixels(MOST_MEGAPIXELS)


@pytest.mark.usefixtures("small_pictures_only")
def test_a_huge_picture_is_refused(folder: Path, field: RgbImage, cell: Cell) -> None:
    path = write(folder / "a.json", coco(field, bbox=box_of(cell)))
    with pytest.raises(DataRefusedError, match=r"f 1.png"):
        imported("coco", path)


def test_an_altered_list_of_cells_is_refused(tmp_path: Path) -> None:
    export_folder(record_cells(tmp_path / "night.db", [round_cell()]), "coco", tmp_path / "out")
    index = tmp_path / "out" / "cells.json"
    for text, sentence in (
        ("{", r"cells.json is no list of exported cells"),
        (index.read_text().replace('"track":0', '"track":-1'), r"is no list of exported cells: .*track"),
        (index.read_text().replace('"schema_version":1', '"schema_version":2'), "made by a newer edgeleuk"),
    ):
        index.write_text(text)
        with pytest.raises(DataRefusedError, match=sentence):
            imported("coco", tmp_path / "out")


def test_a_cell_without_a_scale_takes_the_one_that_is_given(tmp_path: Path) -> None:
    session = record_cells(tmp_path / "night.db", [np.flip(round_cell(), 1)], scale=None)
    export_folder(session, "yolo", tmp_path / "out")
    (line,) = (tmp_path / "out" / "labels").iterdir()
    line.write_text(line.read_text().replace("12 ", "4 ", 1))
    (cell,) = imported("yolo", tmp_path / "out").cells
    assert cell.px_per_um == SCALE
    assert cell.sources[0].session == "night.db"  # type: ignore[union-attr]
