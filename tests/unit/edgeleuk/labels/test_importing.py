"""Import of folders: classes, slides and subjects by folders, names and tables; the cell in the middle."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from labelled import START

from edgeleuk.errors import DataRefusedError, EdgeleukError, UsageError
from edgeleuk.frames import CellCrop
from edgeleuk.io.images import read_image
from edgeleuk.labels import read_labels
from edgeleuk.labels.contents import identity_of
from edgeleuk.labels.file import write_labels
from edgeleuk.labels.importing import CUT, NO_CELL, UNREADABLE, import_folder
from edgeleuk.labels.naming import Naming, name_pictures, parse_label_classes, pattern_of
from edgeleuk.labels.spool import Spool
from edgeleuk.results.class_names import KNOWN_NAMES, label_of
from edgeleuk.results.kinds import LABELS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.labels.importing import Imported


def made(folder: Path, files: Sequence[str]) -> list[Path]:
    """Make empty files: names alone are looked at."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return [folder / file for file in files]


@pytest.mark.parametrize(
    ("names", "label"),
    [
        ("neut NEUT Neutrophils SNE seg", "neutrophil"), ("BNE band Stab", "band"),
        ("eosi EOS EO", "eosinophil"),
        ("baso BA", "basophil"), ("mono MO Monocytes", "monocyte"), ("LY lymp LYM", "lymphocyte"),
        ("IG MMY MY PMY Immature_Granulocytes myelocytes", "immature granulocyte"),
        ("ERB nRBC normoblasts", "erythroblast"), ("platelet PLATELETS plt", "platelets"),
        ("smudge_cells artefact", "smudge"), ("all Early [Malignant]-Pre-B blasts", "blast"),
        ("hem Benign healthy", "normal"), ("blast-like", "blast-like"),
    ],
)  # fmt: skip
def test_the_words_of_the_field(names: str, label: str) -> None:
    assert {label_of(name) for name in names.split()} == {label}


def test_every_label_is_its_own_name_and_nothing_is_guessed() -> None:
    assert all(label_of(label) == label for label in LABELS)
    assert [label_of(name) for name in ("0", "1", "1.0", "", "cells", "train")] == [None] * 6
    assert set(KNOWN_NAMES.values()) == set(LABELS)


@pytest.mark.parametrize(
    ("naming", "files", "expected"),
    [
        # A folder inside the class's, or around it, is the slide; parts of a set are none.
        (Naming(), ["mono/S1/a.png", "mono/S2/b.png"], ["monocyte S1", "monocyte S2"]),
        (Naming(slide_from="folder"), ["S1/train/mono/a.png"], ["monocyte S1"]),
        (Naming(slide_from="folder"), ["lab7/eos/a.png"], ["eosinophil lab7"]),
        (Naming(slide_from="one"), ["mono/a.png", "train/Eos/b.png"], ["monocyte one", "eosinophil one"]),
        (Naming(names="{label}_{slide}-*"), ["baso_10-1_0.jpg"], ["basophil 10"]),
        (Naming(names="UID_{subject}_*_*_{label}"), ["UID_H3_1_2_hem.bmp"], ["normal H3 of H3"]),
        (Naming({"Typ 3": "monocyte"}, "x"), ["typ_3/a.png", "eos/b.png"], ["monocyte x"]),
        # A class's own name beats what the name means elsewhere.
        (Naming({"mono": "blast-like"}, "x"), ["mono/a.png"], ["blast-like x"]),
    ],
)  # fmt: skip
def test_what_folders_and_names_tell(
    naming: Naming, files: list[str], expected: list[str], tmp_path: Path
) -> None:
    found, _ = name_pictures(tmp_path, made(tmp_path, files), naming)
    assert [f"{p.label} {p.slide}" + (f" of {p.subject}" if p.subject else "") for p in found] == expected


def test_a_table_tells_all(tmp_path: Path) -> None:
    paths = made(tmp_path / "p", ["a.png", "b.png"])
    table = tmp_path / "t.csv"
    table.write_text("file;Label;Slide;Patient\na.png;LYM;7;X\nb;ERB;8;\n", encoding="utf-8")
    found, _ = name_pictures(tmp_path / "p", paths, Naming(table=table))
    assert [tuple(one)[1:] for one in found] == [("lymphocyte", "7", "X"), ("erythroblast", "8", None)]


@pytest.mark.parametrize(
    ("naming", "files", "sentence"),
    [
        (Naming(slide_from="x"), ["mars/a.png", "mars/b.png", "mono/c.png"],
         r"the classes of 2 of 3 pictures are unknown: got mars \(2\), allowed neutrophil, band, .*"
         r'pass --classes, such as "mars=monocyte"'),
        (Naming(), ["mono/a.png"], "the slides of 1 of 1 pictures are unknown: .*--slide-from NAME"),
        (Naming(slide_from="name"), ["mono/a.png"], "--slide-from name does not say where"),
        (Naming(names="{label}-{slide}"), ["mono_1.png"], "--names does not fit 1 of 1 files: got mono_1"),
        (Naming(names="{kind}-*"), ["mono-1.png"], "--names does not say how the files are called"),
        (Naming(names="*"), ["mono-1.png"], "--names does not say how the files are called"),
        (Naming({"Typ 9": "band"}, "x"), ["mono/a.png"], "classes that do not occur: got Typ 9"),
    ],
)  # fmt: skip
def test_what_nobody_knows_is_refused(
    naming: Naming, files: list[str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(EdgeleukError, match=sentence):
        name_pictures(tmp_path, made(tmp_path, files), naming)


@pytest.mark.parametrize("text", ["mono", "mono=martian", "=band", "a=band,A=blast", ""])
def test_classes_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="--classes"):
        parse_label_classes(text)


def test_a_pattern_says_only_what_it_says() -> None:
    assert pattern_of("{slide}.({label})").match("a.(b)") is not None
    assert pattern_of("{slide}.({label})").match("ax(b)") is None


def imported(folder: Path, naming: Naming, out: Path, *, px_per_um: float | None = None) -> Imported:
    with Spool() as spool:
        found = import_folder(folder, naming, spool, by="A", at=START, px_per_um=px_per_um)
        write_labels(out, found.cells, spool)
    return found


def linked(folder: Path, files: Sequence[Path]) -> Path:
    """Lay BCISC's crops out by class and slide, by links."""
    for file in files:
        label, rest = file.name.split("_", 1)
        link = folder / label / f"slide{rest.split('-')[0]}" / file.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    return folder


def test_crops_of_another_laboratory(edgeleuk_data: Path, tmp_path: Path) -> None:
    crops = edgeleuk_data / "white_cells" / "bcisc" / "crops"
    files = [file for kind in ("mono", "neut") for file in sorted(crops.glob(f"{kind}_*.jpg"))[:12]]
    folder = linked(tmp_path / "lab", files)
    found = imported(folder, Naming(), tmp_path / "lab.labels")
    left_out = sum(map(len, found.left_out.values()))
    assert set(found.left_out) <= {NO_CELL, CUT}
    assert len(found.cells) + left_out == len(files)
    assert len(found.cells) >= 20
    assert found.scale is not None
    assert 6.5 < found.scale < 8.0
    assert found.scales_estimated > found.scales_median > 0
    labels = read_labels([tmp_path / "lab.labels"])
    assert set(Counter(cell.label for cell in labels)) == {"monocyte", "neutrophil"}
    assert {cell.slide for cell in labels} == {
        f"slide{file.name.split('_')[1].split('-')[0]}" for file in files
    }
    for cell in labels:
        # One whole white cell alone on black, as large as such cells are.
        area_um2 = np.count_nonzero(cell.crop.mask) / cell.px_per_um**2
        assert 60 < area_um2 < 450
        assert not cell.crop.pixels[cell.crop.mask == 0].any()
    # By folders or by names: the same cells.
    again = imported(crops, Naming(names="{label}_{slide}-*"), tmp_path / "b.labels", px_per_um=found.scale)
    assert {entry.identity for entry in again.cells} & {entry.identity for entry in found.cells}


def test_cells_on_black_are_taken_whole(edgeleuk_data: Path, tmp_path: Path) -> None:
    for label in ("all", "hem"):
        (tmp_path / "c" / label).mkdir(parents=True)
        for file in sorted((edgeleuk_data / "cnmc" / "fold_0" / label).glob("*.webp"))[:4]:
            (tmp_path / "c" / label / file.name).symlink_to(file)
    naming = Naming(names="UID_{subject}_*_*_{label}")
    with pytest.raises(DataRefusedError, match=r"none of 8 pictures tells its scale: .*pass --px-per-um"):
        imported(tmp_path / "c", naming, tmp_path / "c.labels")
    assert not (tmp_path / "c.labels").exists()
    found = imported(tmp_path / "c", naming, tmp_path / "c.labels", px_per_um=18.5)
    assert found.left_out == {}
    labels = read_labels([tmp_path / "c.labels"])
    assert Counter(cell.label for cell in labels) == {"blast": 4, "normal": 4}
    assert {cell.slide for cell in labels} == {cell.subject for cell in labels}
    pictures = {
        identity_of(CellCrop.on_black(read_image(file), 18.5)) for file in (tmp_path / "c").rglob("*.webp")
    }
    assert {cell.identity for cell in labels} == pictures
    assert all(cell.crop.whole for cell in labels)


def test_pictures_that_show_no_cell_are_named(edgeleuk_data: Path, tmp_path: Path) -> None:
    crops = edgeleuk_data / "white_cells" / "bcisc" / "crops"
    folder = tmp_path / "lab" / "mono"
    folder.mkdir(parents=True)
    for name in ("mono_10-1_0.jpg", "mono_10-2_0.jpg", "mono_10-3_0.jpg"):
        shutil.copy(crops / name, folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    found = imported(tmp_path / "lab", Naming(slide_from="10"), tmp_path / "lab.labels")
    # In the third the only white cell is cut by the border, far from the middle.
    assert found.left_out == {
        UNREADABLE: ["lab/mono/broken.jpg"], NO_CELL: ["lab/mono/mono_10-3_0.jpg"]
    }  # fmt: skip
    for name in ("mono_10-1_0.jpg", "mono_10-2_0.jpg"):
        (folder / name).unlink()
    with pytest.raises(DataRefusedError, match="none of 2 pictures shows a cell to learn from"):
        imported(tmp_path / "lab", Naming(slide_from="10"), tmp_path / "none.labels")
    assert not (tmp_path / "none.labels").exists()


@pytest.mark.parametrize(
    ("folder", "sentence"), [("none", "the data folder does not exist"), (".", "no pictures in")]
)
def test_folders_without_pictures(folder: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataRefusedError, match=sentence):
        imported(tmp_path / folder, Naming(), tmp_path / "x.labels")
