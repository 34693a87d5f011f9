"""The loader against every layout and every trap, on images made here."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.errors import DataRefusedError
from edgeleuk_convert.dataset.cells import CNMC_PX_PER_UM
from edgeleuk_convert.dataset.cnmc import load_cells, pixel_hash, read_crop, require_both_classes
from edgeleuk_convert.dataset.cnmc_layouts import natural_key, parse_uid
from edgeleuk_convert.dataset.summary import summarise

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


def disc(seed: int, size: int = 60, radius: int = 20) -> npt.NDArray[np.uint8]:
    """Draw a noisy grey disc on black, (size, size, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size // 2
    pixels = rng.integers(1, 256, (size, size, 3)).astype(np.uint8)
    return np.where((x * x + y * y < radius * radius)[:, :, None], pixels, np.uint8(0))


def put(path: Path, seed: int, **shape: int) -> Path:
    """Write a disc where its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parameters = (cv2.IMWRITE_WEBP_QUALITY, 101) if path.suffix == ".webp" else ()
    assert cv2.imwrite(str(path), disc(seed, **shape), parameters)
    return path


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    """Two folds; H10 and h3 share an image, and so do h3 and H2."""
    put(tmp_path / "fold_0" / "all" / "UID_1_1_1_all.bmp", 1)
    put(tmp_path / "fold_0" / "all" / "UID_10_1_1_all.png", 2, radius=25)
    put(tmp_path / "fold_0" / "hem" / "UID_H10_1_1_hem.webp", 3)
    put(tmp_path / "fold_1" / "hem" / "UID_h3_1_1_hem.bmp", 3)
    put(tmp_path / "fold_1" / "hem" / "UID_h3_1_2_hem.bmp", 4)
    put(tmp_path / "fold_1" / "hem" / "UID_H2_1_2_hem.png", 4)
    put(tmp_path / "fold_1" / "hem" / "UID_H20_1_2_hem.bmp", 5, size=80)
    (tmp_path / "index.csv").write_text("path,label,subject\nnone,all,1\n")
    return tmp_path


def test_fold_folders(folds: Path) -> None:
    cells = {cell.path.name: cell for cell in load_cells(folds).cells}
    assert len(cells) == 7
    h3 = cells["UID_h3_1_1_hem.bmp"]
    assert (h3.label, h3.subject, h3.group, h3.fold) == ("normal", "h3", "H2", "fold_1")
    assert {cells[name].group for name in ("UID_H10_1_1_hem.webp", "UID_H2_1_2_hem.png")} == {"H2"}
    assert cells["UID_H20_1_2_hem.bmp"].group == "H20"
    blast = cells["UID_1_1_1_all.bmp"]
    assert (blast.label, blast.group, blast.width, blast.height) == ("blast", "1", 60, 60)
    assert blast.foreground_px == np.count_nonzero(disc(1).any(axis=2))
    assert blast.area_um2 == pytest.approx(blast.foreground_px / CNMC_PX_PER_UM**2)


def test_lossless_formats_agree_on_the_hash(folds: Path) -> None:
    cells = {cell.path.name: cell for cell in load_cells(folds).cells}
    assert cells["UID_H10_1_1_hem.webp"].sha256 == cells["UID_h3_1_1_hem.bmp"].sha256
    assert cells["UID_h3_1_1_hem.bmp"].sha256 == pixel_hash(disc(3)[:, :, ::-1])


def test_summary(folds: Path) -> None:
    summary = summarise(load_cells(folds))
    assert summary.cells == {"normal": 5, "blast": 2}
    assert summary.subjects == {"normal": 4, "blast": 2}
    assert summary.groups == {"normal": 2, "blast": 2}
    assert summary.duplicates == 2
    assert summary.joined_groups == (("H2", "H10", "h3"),)
    assert summary.unlabelled == 0
    assert summary.odd_sizes == {"60x60": 6, "80x80": 1}
    text = str(summary)
    assert "normal: 5 cells, 4 subjects, 2 groups" in text
    assert "H2 H10 h3" in text
    assert "1 of 80x80" in text


def test_order_and_progress_are_natural(folds: Path) -> None:
    seen: list[tuple[int, int]] = []
    names = [cell.path.name for cell in load_cells(folds, progress=lambda *where: seen.append(where)).cells]
    assert names[:3] == ["UID_1_1_1_all.bmp", "UID_10_1_1_all.png", "UID_H10_1_1_hem.webp"]
    assert seen == [(n, 7) for n in range(1, 8)]


@pytest.mark.parametrize("inside", ["C-NMC_training_data/fold_0", "data", ""])
def test_nested_and_plain_layouts(tmp_path: Path, inside: str) -> None:
    put(tmp_path / inside / "all" / "UID_1_1_1_all.bmp", 1)
    put(tmp_path / inside / "hem" / "UID_H1_1_1_hem.bmp", 2)
    cells = load_cells(tmp_path).cells
    assert [cell.label for cell in cells] == ["blast", "normal"]
    assert cells[0].fold == ("fold_0" if inside.endswith("fold_0") else None)


def test_folder_of_one_class_itself(tmp_path: Path) -> None:
    put(tmp_path / "hem" / "UID_H1_1_1_hem.bmp", 2)
    cells = load_cells(tmp_path / "hem").cells
    assert cells[0].label == "normal"
    with pytest.raises(DataRefusedError, match=r"training needs labelled cells of both classes.*0 blast"):
        require_both_classes(cells, "training")


@pytest.mark.parametrize(
    ("columns", "delimiter"),
    [
        (("Patient_ID", "new_names", "labels"), ","),
        (("patient id", "New Name", "LABEL"), ","),
        (("Patient_ID", "new_names", "labels"), ";"),
    ],
)
def test_preliminary_phase(tmp_path: Path, columns: tuple[str, ...], delimiter: str) -> None:
    put(tmp_path / "prelim" / "images" / "1.bmp", 1)
    put(tmp_path / "prelim" / "images" / "2.webp", 2)
    put(tmp_path / "prelim" / "images" / "3.bmp", 3)
    put(tmp_path / "final" / "1.bmp", 4)
    with (tmp_path / "prelim" / "labels.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([columns, ("UID_57_29_1_all.bmp", "1.bmp", 1), ("UID_H26_3_1_hem.bmp", "2.bmp", 0)])
    cells = {cell.path.relative_to(tmp_path).as_posix(): cell for cell in load_cells(tmp_path).cells}
    assert (cells["prelim/images/1.bmp"].label, cells["prelim/images/1.bmp"].group) == ("blast", "57")
    assert (cells["prelim/images/2.webp"].label, cells["prelim/images/2.webp"].subject) == ("normal", "H26")
    for name in ("prelim/images/3.bmp", "final/1.bmp"):
        assert (cells[name].label, cells[name].subject, cells[name].group) == (None, None, None)
    summary = summarise(load_cells(tmp_path))
    assert summary.unlabelled == 2
    assert "unlabelled: 2 cells" in str(summary)


@pytest.mark.parametrize(
    "row", ["UID_57_29_1_all.bmp,1.bmp,0", "57,1.bmp,1", "UID_57_29_1_all.bmp,1.bmp,maybe"]
)
def test_csv_that_contradicts_itself_is_refused(tmp_path: Path, row: str) -> None:
    put(tmp_path / "1.bmp", 1)
    (tmp_path / "labels.csv").write_text(f"Patient_ID,new_names,labels\n{row}\n")
    with pytest.raises(DataRefusedError, match=r"line 2 of labels.csv is no label"):
        load_cells(tmp_path)


def test_csv_above_two_phases_is_ambiguous(tmp_path: Path) -> None:
    put(tmp_path / "prelim" / "1.bmp", 1)
    put(tmp_path / "final" / "1.bmp", 2)
    (tmp_path / "labels.csv").write_text("Patient_ID,new_names,labels\nUID_57_29_1_all.bmp,1.bmp,1\n")
    with pytest.raises(DataRefusedError, match="several files are called so"):
        load_cells(tmp_path)


def test_csv_that_is_no_text_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "1.bmp", 1)
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataRefusedError, match=r"labels.csv cannot be read"):
        load_cells(tmp_path)


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefusedError, match="does not exist"):
        load_cells(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "__MACOSX").mkdir()
    put(tmp_path / "__MACOSX" / "UID_1_1_1_all.bmp", 1)
    put(tmp_path / "._UID_1_1_1_all.bmp", 1)
    with pytest.raises(DataRefusedError, match="holds no images") as refused:
        load_cells(tmp_path)
    assert refused.value.exit_code == 4


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".webp"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.6, 0.97])
def test_truncated_files_are_named(tmp_path: Path, suffix: str, keep: float) -> None:
    path = put(tmp_path / "all" / f"UID_1_1_1_all{suffix}", 1)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    put(tmp_path / "all" / "UID_1_1_2_all.bmp", 2)
    with pytest.raises(DataRefusedError, match=rf"1 of 2 files are no usable image.*UID_1_1_1_all{suffix}"):
        load_cells(tmp_path)


def test_all_bad_files_are_counted_and_a_few_named(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    for number in range(1, 9):
        (tmp_path / "all" / f"UID_1_{number}_1_all.bmp").write_text("no image")
    black = disc(1) * 0
    cv2.imwrite(str(tmp_path / "all" / "UID_1_9_1_all.bmp"), black)
    cv2.imwrite(str(tmp_path / "all" / "UID_0_9_1_all.bmp"), black + 200)
    with pytest.raises(DataRefusedError, match=r"10 of 10 files.*not a single cell on black.*and 5 more"):
        load_cells(tmp_path)


@pytest.mark.parametrize("variant", ["v5-header", "top-down", "32-bit"])
def test_bmp_variants(tmp_path: Path, variant: str) -> None:
    """Write the BMP header by hand, as other programs do."""
    pixels = disc(7)
    depth = 4 if variant == "32-bit" else 3
    rows = pixels if variant == "top-down" else pixels[::-1]
    if depth == 4:
        rows = np.dstack([rows, np.full(rows.shape[:2], 255, np.uint8)])
    header_size = 124 if variant == "v5-header" else 40
    height = -60 if variant == "top-down" else 60
    fields = ((header_size, 4), (60, 4), (height, 4), (1, 2), (8 * depth, 2))
    info = b"".join(value.to_bytes(length, "little", signed=True) for value, length in fields)
    offset = 14 + header_size
    # Some writers leave the file's size at 0.
    data = b"BM" + bytes(8) + offset.to_bytes(4, "little") + info.ljust(header_size, b"\0") + rows.tobytes()
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "UID_1_1_1_all.bmp").write_bytes(data)
    assert load_cells(tmp_path).cells[0].sha256 == pixel_hash(pixels[:, :, ::-1])


def test_contradictory_labels_of_one_image_are_refused(folds: Path) -> None:
    put(folds / "fold_0" / "all" / "UID_99_1_1_all.bmp", 5, size=80)
    with pytest.raises(
        DataRefusedError, match=r"1 identical images.*UID_99_1_1_all.bmp.*UID_H20_1_2_hem.bmp"
    ):
        load_cells(folds)


def test_name_that_contradicts_its_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "hem" / "UID_1_1_1_all.bmp", 1)
    with pytest.raises(DataRefusedError, match="contradicts its folder"):
        load_cells(tmp_path)


def test_labelled_cell_without_subject_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "hem" / "cell17.bmp", 1)
    with pytest.raises(DataRefusedError, match="tells no subject"):
        load_cells(tmp_path)


def test_spellings_of_one_subject_are_one_group(tmp_path: Path) -> None:
    put(tmp_path / "UID_H3_1_1_hem.bmp", 1)
    put(tmp_path / "UID_h3_2_1_hem.bmp", 2)
    assert {cell.group for cell in load_cells(tmp_path).cells} == {"H3"}


def test_read_crop(folds: Path) -> None:
    cell = load_cells(folds).cells[0]
    crop = read_crop(cell)
    assert np.array_equal(crop.pixels, disc(1)[:, :, ::-1])
    assert crop.px_per_um == CNMC_PX_PER_UM
    assert np.count_nonzero(crop.mask) == cell.foreground_px
    cell.path.unlink()
    with pytest.raises(DataRefusedError, match="can no longer be read"):
        read_crop(cell)


@pytest.mark.parametrize(
    ("stem", "parsed"),
    [
        ("UID_57_29_1_all", ("57", "blast")),
        ("uid_H10_2_13_HEM", ("H10", "normal")),
        ("UID_h3_1_1_hem", ("h3", "normal")),
        ("UID_57_29_all", None),
        ("17", None),
    ],
)
def test_parse_uid(stem: str, parsed: tuple[str, str] | None) -> None:
    assert parse_uid(stem) == parsed


def test_natural_key_counts() -> None:
    names = ["h3", "H10", "10", "H2", "2"]
    assert sorted(names, key=natural_key) == ["2", "10", "H2", "H10", "h3"]


def test_real_folder(edgeleuk_data: Path) -> None:
    """The index that came with the images agrees, cell by cell, on a fold and its groups."""
    with (edgeleuk_data / "cnmc" / "index.csv").open(encoding="utf-8", newline="") as file:
        index = {row["path"]: row for row in csv.DictReader(file)}
    cells = load_cells(edgeleuk_data / "cnmc" / "fold_2")
    for cell in cells.cells:
        row = index["fold_2/" + cell.path.relative_to(cells.folder).as_posix()]
        assert (cell.subject, str(cell.foreground_px), cell.fold) == (
            row["subject"],
            row["foreground_px"],
            "fold_2",
        )
    assert ("H2", "H4", "H5") in summarise(cells).joined_groups
