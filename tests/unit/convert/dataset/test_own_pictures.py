"""Folders of the user's own: classes by any names, subjects by folders or tables, pictures not on black."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edgeleuk.errors import DataRefusedError, EdgeleukError, UsageError
from edgeleuk.results.class_names import plain
from edgeleuk_convert.dataset.cell_in_picture import cell_mask
from edgeleuk_convert.dataset.cells import CNMC_PX_PER_UM
from edgeleuk_convert.dataset.class_names import of_labels, parse_classes
from edgeleuk_convert.dataset.cnmc import PICTURE, load_cells, read_crop
from edgeleuk_convert.dataset.decoding import decode
from edgeleuk_convert.dataset.finding import find_pictures
from edgeleuk_convert.dataset.leakage import fingerprints, join_near_duplicates
from edgeleuk_convert.dataset.summary import summarise
from edgeleuk_convert.training.envelope import envelope_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk_convert.dataset.cells import CellSet


def field(seed: int, height: int = 48, width: int = 64) -> npt.NDArray[np.uint8]:
    """Draw a smooth bright picture with a dark disc: nothing in it is black."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), 2)
    y, x = np.mgrid[:height, :width]
    disc = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (height / 4) ** 2
    base = np.where(disc[:, :, None], (120, 60, 110), (235, 225, 230))
    return np.clip(base + 60 * noise, 20, 255).astype(np.uint8)


def put(folder: Path, *names: str) -> Path:
    """Write a different picture for each name."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = cv2.imencode(path.suffix.lower(), field(abs(hash_of(name)) + number))[1]
        path.write_bytes(encoded.tobytes())
    return folder


def hash_of(name: str) -> int:
    return sum(ord(letter) * 31**place for place, letter in enumerate(name)) % 10_000


def found(cells: CellSet) -> dict[str, tuple[str | None, str | None, str | None]]:
    """Return label, kind and subject of every picture; None for a subject that nobody knows."""
    return {
        cell.path.relative_to(cells.folder).as_posix(): (
            cell.label,
            cell.kind,
            None if (cell.subject or "").startswith(PICTURE) else cell.subject,
        )
        for cell in cells.cells
    }


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        pytest.param(
            ["Benign/a.jpg", "Early/b.JPG", "Pre/c.tif", "Pro/d.jpeg"], {},
            {"Benign/a.jpg": ("normal", "Benign", None), "Early/b.JPG": ("blast", "Early", None),
             "Pre/c.tif": ("blast", "Pre", None), "Pro/d.jpeg": ("blast", "Pro", None)},
            id="names that everybody knows",
        ),
        pytest.param(
            ["train/ALL/p1/a.tif", "train/ALL/p2/b.tif", "test/Healthy/p3/c.tiff"], {},
            {"train/ALL/p1/a.tif": ("blast", "ALL", "p1"), "train/ALL/p2/b.tif": ("blast", "ALL", "p2"),
             "test/Healthy/p3/c.tiff": ("normal", "Healthy", "p3")},
            id="subjects within classes",
        ),
        pytest.param(
            ["p7/blast/x.png", "p7/normal/y.png", "p8/normal/x.png", "p9/normal/z.png"], {},
            {"p7/blast/x.png": ("blast", "blast", "p7"), "p7/normal/y.png": ("normal", "normal", "p7"),
             "p8/normal/x.png": ("normal", "normal", "p8"), "p9/normal/z.png": ("normal", "normal", "p9")},
            id="classes within subjects",
        ),
        pytest.param(
            ["study/blast/x.png", "controls/images/normal/y.png"], {},
            {"study/blast/x.png": ("blast", "blast", None),
             "controls/images/normal/y.png": ("normal", "normal", None)},
            id="two folders around classes are no subjects",
        ),
        pytest.param(
            ["blast/1/a.png", "blast/2/a.png", "normal/1/a.png"], {},
            {"blast/1/a.png": ("blast", "blast", "blast 1"), "blast/2/a.png": ("blast", "blast", "blast 2"),
             "normal/1/a.png": ("normal", "normal", "normal 1")},
            id="numbered anew in each class",
        ),
        pytest.param(
            ["original/Lymphozyt ü/a.png", "original/Blast klein/b.png", "original/rot/c.png"],
            {"classes": {"lymphozyt_Ü": "normal", "Blast-klein": "blast"}},
            {"original/Lymphozyt ü/a.png": ("normal", "Lymphozyt ü", None),
             "original/Blast klein/b.png": ("blast", "Blast klein", None)},
            id="classes that were mapped, others left out",
        ),
        pytest.param(
            ["Im001_1.jpg", "Im002_0.jpg", "Im010_1.jpg"], {"classes": {"1": "blast", "0": "normal"}},
            {"Im001_1.jpg": ("blast", "1", None), "Im002_0.jpg": ("normal", "0", None),
             "Im010_1.jpg": ("blast", "1", None)},
            id="last word of the names",
        ),
        pytest.param(
            ["all/x.jpg", "hem/y.jpg"], {"classes": {"all": "blast", "hem": "normal"}},
            {"all/x.jpg": ("blast", "all", None), "hem/y.jpg": ("normal", "hem", None)},
            id="C-NMC's folders, names lost",
        ),
        pytest.param(
            ["UID_4_1_1_all.jpg", "UID_H2_1_1_hem.jpg"], {"classes": {"all": "blast", "hem": "normal"}},
            {"UID_4_1_1_all.jpg": ("blast", "all", "4"), "UID_H2_1_1_hem.jpg": ("normal", "hem", "H2")},
            id="C-NMC's names",
        ),
        pytest.param(
            ["B/a.jpg", "N/b.jpg"], {"also_known": {"B": "blast", "N": "normal"}},
            {"B/a.jpg": ("blast", "B", None), "N/b.jpg": ("normal", "N", None)},
            id="labels of a contract",
        ),
        pytest.param(
            ["blast/a.jpg", "normal/b.png", "normal/b_mask.png", "normal/.b.png", "normal/._b.png",
             "normal/c-mask.png"], {},
            {"blast/a.jpg": ("blast", "blast", None), "normal/b.png": ("normal", "normal", None),
             "normal/c-mask.png": ("normal", "normal", None)},
            id="masks and hidden files",
        ),
    ],
)  # fmt: skip
def test_classes_and_subjects(
    tmp_path: Path, names: list[str], options: dict[str, Any], expected: dict[str, tuple[str, ...]]
) -> None:
    put(tmp_path, *names)
    (tmp_path / "Thumbs.db").write_bytes(b"\0")
    (tmp_path / "notes.txt").write_text("no picture")
    cells = load_cells(tmp_path, **options)
    assert found(cells) == expected
    assert cells.subjects_known == all(subject is not None for _, _, subject in expected.values())


@pytest.mark.parametrize(
    ("names", "table", "options", "expected"),
    [
        pytest.param(
            ["a.jpg", "b.jpg"], "file,label,subject\na.jpg,blast,P 1\nb.jpg,normal,P 2\n", {},
            {"a.jpg": ("blast", "blast", "P 1"), "b.jpg": ("normal", "normal", "P 2")}, id="three columns",
        ),
        pytest.param(
            ["x/1.jpg", "y/1.jpg"],
            '\ufeffsep=;\nImage_Path;Patient ID;Diagnosis\n"C:\\set\\x\\1.JPG";7;1.0\nset\\y\\1.jpg;8;0.0\n',
            {"classes": {"1": "blast", "0": "normal"}},
            {"x/1.jpg": ("blast", "1.0", "7"), "y/1.jpg": ("normal", "0.0", "8")},
            id="Excel on Windows",
        ),
        pytest.param(
            ["Früh/ä ö.jpg", "Benign/b.jpg"], "Datei\tfile name\tSUBJECT\n1\tä ö\tJosé\n2\tb\tÅse\n",
            {"classes": {"Früh": "blast", "Benign": "normal"}},
            {"Früh/ä ö.jpg": ("blast", "Früh", "José"), "Benign/b.jpg": ("normal", "Benign", "Åse")},
            id="tabs, accents, no endings",
        ),
        pytest.param(
            ["blast/a.jpg", "blast/b.jpg", "normal/c.jpg"], "file,subject\na.jpg,1\nnormal/c.jpg,\n", {},
            {"blast/a.jpg": ("blast", "blast", "1"), "blast/b.jpg": ("blast", "blast", None),
             "normal/c.jpg": ("normal", "normal", None)},
            id="some subjects unknown",
        ),
        pytest.param(
            ["a.jpg", "b.jpg", "c.jpg"], "image,class\na.jpg,ig\nb.jpg,ly\nc.jpg,mo\n",
            {"classes": {"ig": "blast", "ly": "normal"}},
            {"a.jpg": ("blast", "ig", None), "b.jpg": ("normal", "ly", None)}, id="a class left out",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("named", [True, False])
def test_tables(
    tmp_path: Path,
    names: list[str],
    table: str,
    options: dict[str, Any],
    expected: dict[str, tuple[str, ...]],
    named: bool,
) -> None:
    """A table says the same whether it is named or lies in the folder."""
    folder = put(tmp_path / "data", *names)
    file = (tmp_path if named else folder) / "list.csv"
    file.write_text(table, encoding="utf-8")
    cells = load_cells(folder, subjects=file if named else None, **options)
    assert found(cells) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_of_tables(tmp_path: Path, encoding: str) -> None:
    put(tmp_path / "data", "é 1.jpg", "é 2.jpg")
    file = tmp_path / "list.csv"
    file.write_bytes("file;label;patient\r\né 1.jpg;blast;Zoë\r\né 2.jpg;normal;Noé\r\n".encode(encoding))
    cells = load_cells(tmp_path / "data", subjects=file)
    assert [cell.subject for cell in cells.cells] == ["Zoë", "Noé"]


def test_summary_and_stamp_of_unknown_subjects(tmp_path: Path) -> None:
    put(tmp_path, "ig/a.jpg", "ig/b.jpg", "ly/c.jpg", "ly/c_mask.png", "mono/d.jpg")
    cells = load_cells(tmp_path, classes={"ig": "blast", "ly": "normal"}, px_per_um=7.5)
    assert [cell.group for cell in cells.cells] == [f"{PICTURE}{cell.sha256[:12]}" for cell in cells.cells]
    assert (cells.stamp or "").startswith("NO SUBJECTS KNOWN: every such picture counts for itself")
    assert str(summarise(cells)).splitlines() == [
        "normal: 1 cells (ly 1), 1 different pictures",
        "blast: 2 cells (ig 2), 2 different pictures",
        "left out: 2 pictures (mono 1, masks 1)",
        "not on black: 3 of 3 pictures; the cell nearest the middle counts",
        "pictures of 64x48 px at 7.5 px/um (--px-per-um says another scale)",
        "no subjects known: every picture counts for itself, so intervals are too narrow",
    ]


def test_stamp_of_some_unknown_subjects(tmp_path: Path) -> None:
    put(tmp_path, "blast/a.jpg", "normal/b.jpg")
    (tmp_path / "list.csv").write_text("file,subject\na.jpg,1\n")
    cells = load_cells(tmp_path)
    assert (cells.stamp or "").startswith("SUBJECTS UNKNOWN OF 1 OF 2 PICTURES")
    assert "the subjects of 1 pictures are unknown" in str(summarise(cells))
    (tmp_path / "list.csv").write_text("file,subject\na.jpg,1\nb.jpg,2\n")
    known = load_cells(tmp_path)
    assert (known.stamp, known.subjects_known) == (None, True)
    assert "subjects by the table" in str(summarise(known))


def test_copies_and_near_copies_are_one_group(tmp_path: Path) -> None:
    put(tmp_path, "blast/a.png", "blast/b.png", "normal/c.png")
    pixels = cv2.imread(str(tmp_path / "blast" / "a.png"))
    cv2.imwrite(str(tmp_path / "blast" / "same.png"), pixels)
    cv2.imwrite(str(tmp_path / "blast" / "again.jpg"), pixels, (cv2.IMWRITE_JPEG_QUALITY, 90))
    cv2.imwrite(str(tmp_path / "blast" / "turned.png"), cv2.rotate(pixels, cv2.ROTATE_180))
    cells = load_cells(tmp_path)
    joined = join_near_duplicates(cells, fingerprints(cells.labelled))
    group = {cell.path.name: cell.group for cell in joined.cells}
    assert group["a.png"] == group["same.png"] == group["again.jpg"] == group["turned.png"]
    assert len(set(group.values())) == 3
    assert joined.stamp == cells.stamp


def test_crops_of_pictures_on_black_and_not(tmp_path: Path) -> None:
    put(tmp_path, "blast/a.png")
    y, x = np.mgrid[:60, :60]
    cell = np.where(((y - 30) ** 2 + (x - 30) ** 2 < 400)[:, :, None], field(3, 60, 60), np.uint8(0))
    (tmp_path / "normal").mkdir()
    cv2.imwrite(str(tmp_path / "normal" / "b.png"), cell)
    cv2.imwrite(str(tmp_path / "normal" / "empty.png"), np.full((40, 50, 3), 230, np.uint8))
    cells = load_cells(tmp_path, own_px_per_um=4.0)
    around, on_black, empty = cells.cells
    assert (on_black.on_black, on_black.foreground_px) == (True, np.count_nonzero(cell.any(axis=2)))
    assert np.count_nonzero(read_crop(on_black).mask) == on_black.foreground_px
    # The disc in the middle, with its surroundings kept.
    crop = read_crop(around)
    assert (crop.px_per_um, crop.pixels.shape, around.on_black) == (4.0, (48, 64, 3), False)
    assert crop.pixels[0, 0].min() > 0
    assert around.foreground_px == np.count_nonzero(crop.mask)
    assert around.area_um2 == pytest.approx(np.pi * 12**2 / 16, rel=0.6)
    assert (crop.mask[24, 32], crop.mask[0, 0], crop.mask[24, 2]) == (255, 0, 0)
    # Without a cell all of it counts.
    assert (empty.foreground_px, empty.cell_found, around.cell_found) == (40 * 50, False, True)
    assert envelope_of([around, empty]) == envelope_of([around])
    assert envelope_of([empty]).area_um2[1] > 40 * 50 / 16
    assert (read_crop(empty).mask == 255).all()
    assert "not on black: 2 of 3 pictures; the cell nearest the middle counts, or in 1, where none is" in str(
        summarise(cells)
    )


@pytest.mark.parametrize("folder", ["cellavision", "jiangxi"])
def test_the_cell_in_the_middle_is_the_one_that_was_outlined(edgeleuk_data: Path, folder: str) -> None:
    overlaps = []
    for file in sorted((edgeleuk_data / "wbc_masks" / folder).glob("*[0-9].png"))[::10]:
        pixels, outlined = (decode(path) for path in (file, file.with_name(f"{file.stem}_mask.png")))
        assert not isinstance(pixels, str)
        assert not isinstance(outlined, str)
        found, truth = cell_mask(pixels) > 0, outlined[:, :, 0] > 0
        overlaps.append(np.count_nonzero(found & truth) / np.count_nonzero(found | truth))
    assert np.median(overlaps) > 0.9


def test_scale_of_the_pictures(tmp_path: Path) -> None:
    put(tmp_path, "blast/a.png", "normal/b.png")

    def scale(**options: float) -> float:
        return load_cells(tmp_path, **options).cells[0].px_per_um  # type: ignore[arg-type]

    assert scale() == CNMC_PX_PER_UM
    assert scale(own_px_per_um=5.0) == 5.0
    assert scale(own_px_per_um=5.0, px_per_um=6.0) == 6.0
    with pytest.raises(UsageError, match=r"the scale is out of range: got 0, allowed 0.01 to 1000"):
        scale(px_per_um=0)


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    elsewhere = put(tmp_path / "elsewhere", "a.png", "b.png")
    data = put(tmp_path / "data", "normal/c.png")
    (data / "blast").symlink_to(elsewhere)
    (data / "normal" / "loop").symlink_to(data)
    (data / "normal" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert set(found(load_cells(data))) == {"blast/a.png", "blast/b.png", "normal/c.png"}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


REFUSED: list[tuple[list[str], dict[str, Any], str | None, type[EdgeleukError], str]] = [
    (["ig/a.jpg", "ly/b.jpg", "ly/c.jpg"], {}, None, DataRefusedError,
     r"the classes of 3 of 3 pictures are unknown: got ig \(1\), ly \(2\), .*; pass --classes, such as"
     ' "ig=normal,OTHER=blast"; what it does not name is left out'),
    (["blast/a.jpg", "normal/b.jpg", "odd/c.jpg"], {}, None, DataRefusedError,
     r"the classes of 1 of 3 pictures are unknown: got odd \(1\)"),
    (["ba_1.jpg", "ba_2.jpg", "no_3.jpg"], {}, None, DataRefusedError,
     r"unknown: got data \(3\), named ba \(2\), no \(1\), .*--subjects FILE.csv with columns file,label, or"),
    (["a.jpg"], {}, None, DataRefusedError, r"got data \(1\), allowed .*; pass --subjects FILE.csv"),
    (["a.jpg", "b.jpg"], {}, "file,label\na.jpg,ig\nb.jpg,ly\n", DataRefusedError, r"got ig \(1\), ly \(1\)"),
    (["ig/a.jpg", "ly/b.jpg"], {"classes": {"ig": "blast", "Ly mph": "normal"}}, None, UsageError,
     r"--classes names classes that do not occur: got Ly mph, allowed ig \(1\), ly \(1\)"),
    (["normal/ALL/a.jpg", "blast/b.jpg"], {}, None, DataRefusedError,
     r"the class of normal/ALL/a.jpg is contradictory: got ALL \(blast\) and normal \(normal\)"),
    (["blast/a.jpg", "normal/b.jpg"], {}, "file,label\na.jpg,normal\n", DataRefusedError,
     r"the class of blast/a.jpg is contradictory: got normal \(normal\) and blast \(blast\)"),
    (["blast/a.jpg"], {}, "file,subject\na.jpg,1\nA.JPG,2\n", DataRefusedError,
     r"lines 2 and 3 of list.csv contradict each other on A.JPG"),
    (["blast/a.jpg", "blast/d.jpg"], {}, "file,subject\na.jpg,1\nb.jpg,2\nc.jpg,2\n", DataRefusedError,
     r"list.csv leaves 1 pictures out, and names 2 files that are not there: got b.jpg \(line 3\), c.jpg"),
    (["blast/a.jpg", "normal/a.jpg"], {}, "file,subject\na.jpg,1\n", DataRefusedError,
     r"line 2 of list.csv names a.jpg but several files are called so: got blast/a.jpg, normal/a.jpg; write"),
    (["blast/a.jpg"], {}, "who,what\n1,2\n", DataRefusedError,
     r"list.csv has no columns of files and subjects or labels: got 'who,what', allowed a first line such"),
    (["blast/a.jpg"], {}, "file,subject\n", DataRefusedError, "list.csv has no rows"),
    (["blast/a.jpg"], {}, "", DataRefusedError, "list.csv has no columns .*: got ''"),
    (["blast/a.jpg"], {}, "a\0b", DataRefusedError, "list.csv cannot be read: got no text, allowed a CSV"),
    (["all/a.jpg", "hem/b.jpg"], {}, None, DataRefusedError, r"all/a.jpg tells no subject.*--classes all=bl"),
]  # fmt: skip


@pytest.mark.parametrize(("names", "options", "table", "error", "sentence"), REFUSED)
def test_what_is_refused(
    tmp_path: Path,
    names: list[str],
    options: dict[str, Any],
    table: str | None,
    error: type[EdgeleukError],
    sentence: str,
) -> None:
    folder = put(tmp_path / "data", *names)
    file = None if table is None else write(tmp_path / "list.csv", table)
    with pytest.raises(error, match=sentence) as refused:
        load_cells(folder, subjects=file, **options)
    assert "\n" not in str(refused.value)


def test_missing_table_and_file_for_folder(tmp_path: Path) -> None:
    put(tmp_path, "blast/a.jpg")
    with pytest.raises(DataRefusedError, match=r"gone.csv cannot be read: got No such file"):
        load_cells(tmp_path, subjects=tmp_path / "gone.csv")
    with pytest.raises(DataRefusedError, match="the data folder is a file"):
        load_cells(tmp_path / "blast" / "a.jpg")


def test_tables_about_other_things_do_not_matter(tmp_path: Path) -> None:
    put(tmp_path, "blast/a.jpg", "normal/b.jpg")
    write(tmp_path / "index.csv", "path,label,sha256\nelsewhere/x.jpg,blast,0\nb.jpg,lymphocyte,1\n")
    write(tmp_path / "areas.csv", "file,area\na.jpg,5\n")
    assert found(load_cells(tmp_path)) == {
        "blast/a.jpg": ("blast", "blast", None),
        "normal/b.jpg": ("normal", "normal", None),
    }


def test_one_picture_under_two_labels_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "blast/a.png")
    (tmp_path / "normal").mkdir()
    (tmp_path / "normal" / "b.png").write_bytes((tmp_path / "blast" / "a.png").read_bytes())
    with pytest.raises(
        DataRefusedError, match=r"1 identical images carry different labels: got a.png \(blast\)"
    ):
        load_cells(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Benign", "maps no class: got 'Benign', allowed NAME=blast or NAME=normal"),
        ("a=blast,", "maps no class: got ''"),
        ("a=early", "maps no class: got 'a=early'"),
        ("=blast", "maps no class: got '=blast'"),
        ("", "maps no class: got ''"),
        ("a=blast,A=normal", "--classes names a class twice: got A"),
    ],
)
def test_classes_that_cannot_be_read(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_classes(text)


def test_classes_that_can() -> None:
    assert parse_classes(None) == {}
    assert parse_classes(" a=b = Blast , c=NORMAL") == {"a=b": "blast", "c": "normal"}
    assert plain("__") == "__"


def test_labels_of_a_contract() -> None:
    assert of_labels(("x", "y"), "y") == {"x": "normal", "y": "blast"}
    assert of_labels(("Benign", "Early", "Pre"), "Early") == {
        "Benign": "normal", "Early": "blast", "Pre": "blast",
    }  # fmt: skip


def test_real_folders(edgeleuk_data: Path) -> None:
    """White cells with kinds by folder, and with kinds and slides by a table."""
    pbc = find_pictures(
        edgeleuk_data / "white_cells" / "pbc", classes={"lymphocyte": "normal", "ig": "blast"}
    )
    assert Counter(one.label for one in pbc.named) == {"normal": 120, "blast": 120}
    assert pbc.own is not None
    assert pbc.own.subjects_unknown == 240
    assert pbc.own.left_out["platelet"] == 120
    crops = edgeleuk_data / "white_cells" / "bcisc" / "crops"
    bcisc = load_cells(
        crops, classes={"lymp": "normal", "mono": "blast"}, subjects=crops.with_name("index.csv")
    )
    assert bcisc.subjects_known
    assert summarise(bcisc).cells == {"normal": 25, "blast": 28}
    assert summarise(bcisc).subjects["normal"] > 1
