"""A file of labels: what is written is read, in any order, and what was changed is refused in a sentence."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest
from labelled import crop, entry, file_of, said

from edgeleuk.bundle.reading import DEFAULT_PATH
from edgeleuk.errors import DataRefusedError, EdgeleukError, LabelsError, UsageError
from edgeleuk.labels import read_labels
from edgeleuk.labels.contents import CellEntry, identity_of
from edgeleuk.labels.file import INDEX, open_labels, write_labels
from edgeleuk.labels.merging import merge_labels
from edgeleuk.labels.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def spool() -> Iterator[Spool]:
    with Spool() as made:
        yield made


@pytest.fixture
def lab(tmp_path: Path, spool: Spool) -> Path:
    """Three cells of two slides."""
    cells = [entry(spool, 1), entry(spool, 2, said("blast")), entry(spool, 3, slide="S2", subject="P1")]
    return file_of(tmp_path / "lab.labels", spool, cells)


def test_what_is_written_is_read(lab: Path) -> None:
    found = read_labels([lab])
    assert len(found) == 3
    assert [cell.identity for cell in found] == sorted(cell.identity for cell in found)
    of = {cell.identity: cell for cell in found}
    for seed, label, slide, subject in (
        (1, "monocyte", "S1", None), (2, "blast", "S1", None), (3, "monocyte", "S2", "P1"),
    ):  # fmt: skip
        drawn = crop(seed)
        cell = of[identity_of(drawn)]
        assert (cell.label, cell.slide, cell.subject, cell.by) == (label, slide, subject, "A")
        assert cell.at.isoformat() == "2026-03-01T08:00:00+00:00"
        np.testing.assert_array_equal(cell.crop.pixels, drawn.pixels)
        np.testing.assert_array_equal(cell.crop.mask, drawn.mask)
        assert cell.crop.px_per_um == cell.px_per_um == 7.5


def test_the_order_of_cells_and_of_files_does_not_matter(tmp_path: Path, spool: Spool) -> None:
    cells = [entry(spool, seed, said("band"), said("smudge", "B", 3)) for seed in range(5)]
    one = file_of(tmp_path / "one.labels", spool, cells)
    other = file_of(tmp_path / "other.labels", spool, reversed(cells))
    assert one.read_bytes() == other.read_bytes()
    first = file_of(tmp_path / "first.labels", spool, cells[:3])
    second = file_of(tmp_path / "second.labels", spool, cells[2:])
    merge_labels([first, second], tmp_path / "m1.labels")
    merge_labels([second, first, first], tmp_path / "m2.labels")
    assert (tmp_path / "m1.labels").read_bytes() == (tmp_path / "m2.labels").read_bytes() == one.read_bytes()
    sums = {read_labels(files, by="A").sha256 for files in ([first, second], [second, first], [one])}
    assert len(sums) == 1


def test_the_newest_word_of_a_person_counts(tmp_path: Path, spool: Spool) -> None:
    words = (said("band", after_min=5), said("smudge"), said("neutrophil", after_min=9))
    lab = file_of(tmp_path / "lab.labels", spool, [entry(spool, 1, *words)])
    (cell,) = read_labels([lab])
    assert cell.label == "neutrophil"
    assert [each.label for each in open_labels(lab).cells[0].statements] == ["smudge", "band", "neutrophil"]


def test_people_who_contradict_one_another_are_refused(tmp_path: Path, spool: Spool) -> None:
    cells = [entry(spool, 1, said("band"), said("smudge", "B")), entry(spool, 2)]
    lab = file_of(tmp_path / "lab.labels", spool, cells)
    with pytest.raises(
        DataRefusedError, match=r"1 of 2 cells: got cells/1.png is band \(A\) and smudge \(B\)"
    ):
        read_labels([lab])
    left = read_labels([lab], allow_contradictions=True)
    assert (len(left), len(left.contradictions)) == (1, 1)
    assert [cell.label for cell in read_labels([lab], by="B")] == ["smudge"]
    with pytest.raises(DataRefusedError, match="nobody of that name labelled a cell: got C, allowed A, B"):
        read_labels([lab], by="C")


def test_a_kind_and_blast_or_normal_say_one_thing(tmp_path: Path, spool: Spool) -> None:
    words = (said("lymphocyte"), said("normal", "B"))
    (cell,) = read_labels([file_of(tmp_path / "lab.labels", spool, [entry(spool, 1, *words)])])
    assert (cell.label, cell.labels) == ("normal", ("lymphocyte", "normal"))


def test_a_file_that_was_replaced_is_still_read(lab: Path, spool: Spool) -> None:
    before = read_labels([lab])
    file_of(lab, spool, [entry(spool, 9)])
    assert [cell.crop.mask.shape for cell in before] == [(40, 40)] * 3
    assert len(read_labels([lab])) == 1


def repacked(path: Path, change: Callable[[dict[str, bytes]], object], **how: int) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    change(members)
    with zipfile.ZipFile(path, "w", **how) as archive:  # type: ignore[arg-type]
        for name, data in members.items():
            archive.writestr(name, data)


def index_with(old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        repacked(path, lambda members: members.update({INDEX: members[INDEX].replace(old, new)}))

    return change


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (lambda path: os.truncate(path, path.stat().st_size // 2), "or a truncated one"),
    "empty": (lambda path: os.truncate(path, 0), "no file of labels, or a truncated one"),
    "text": (lambda path: path.write_text("cells"), "no file of labels, or a truncated one"),
    "another zip": (lambda path: repacked(path, lambda members: members.pop(INDEX)), "no labels.json in it"),
    "another word": (index_with(b"monocyte", b"basophil"), "the index has the hash"),
    "another person": (index_with(b'"by":"A"', b'"by":"B"'), "the index has the hash"),
    "no kind": (index_with(b"monocyte", b"martian!"), "expected a label out of neutrophil"),
    "no zone": (index_with(b"08:00:00Z", b"08:00:00"), "timezone"),
    "a new field": (index_with(b'"cells":', b'"run":"rm",\n"cells":'), "unknown field"),
    "a newer version": (
        index_with(b'"schema_version":1', b'"schema_version":9'), "made by a newer edgeleuk: got schema 9"
    ),
    "no number": (index_with(b'"px_per_um":7.5', b'"px_per_um":NaN'), "is damaged"),
    "a scale of 0": (index_with(b'"px_per_um":7.5', b'"px_per_um":0.0'), "is damaged"),
    "a picture less": (
        lambda path: repacked(path, lambda members: members.pop(next(n for n in members if n != INDEX))),
        "pictures that its index does not name",
    ),
    "a member more": (
        lambda path: repacked(path, lambda members: members.update({"../evil.py": b"print(1)"})), "a member"
    ),
    "packed": (lambda path: repacked(path, lambda _: None, compression=zipfile.ZIP_DEFLATED), "compressed"),
    "bytes before": (lambda path: path.write_bytes(b"x" * 64 + path.read_bytes()), "bytes before its first"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_changed_file_is_refused_in_one_sentence(name: str, lab: Path) -> None:
    damage, sentence = DAMAGES[name]
    damage(lab)
    with pytest.raises(LabelsError, match=sentence) as refused:
        read_labels([lab])
    assert refused.value.exit_code == 7
    assert "\n" not in str(refused.value)


def png_with(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Change the pictures, and the index so that it names the changed ones: only decoding can tell."""

    def of(path: Path) -> None:
        def all_of(members: dict[str, bytes]) -> None:
            for name in [name for name in members if name != INDEX]:
                before, members[name] = members[name], change(members[name])
                old, new = (hashlib.sha256(data).hexdigest().encode() for data in (before, members[name]))
                members[INDEX] = members[INDEX].replace(old, new)

        repacked(path, all_of)

    return of


def larger(png: bytes) -> bytes:
    """Say of a PNG that it is 60,000 pixels wide and high."""
    header = png[12:16] + struct.pack(">II", 60_000, 60_000) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def grey(_: bytes) -> bytes:
    return cv2.imencode(".png", np.zeros((40, 40), np.uint8))[1].tobytes()


def another(_: bytes) -> bytes:
    return cv2.imencode(".png", np.full((40, 40, 4), 9, np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(larger, "no PNG of a cell"), (grey, "no PNG of a cell"), (another, "shows another cell"),
     (lambda png: png[:80], "no PNG of a cell"), (lambda _: b"GIF89a", "no PNG of a cell")],
)  # fmt: skip
def test_a_changed_picture_is_refused_when_it_is_decoded(
    change: Callable[[bytes], bytes], sentence: str, lab: Path
) -> None:
    png_with(change)(lab)
    (cell, *_) = read_labels([lab])
    with pytest.raises(LabelsError, match=sentence):
        cell.crop  # noqa: B018 - reading it decodes it


def test_a_flipped_bit_in_a_picture_is_seen(lab: Path) -> None:
    data = bytearray(lab.read_bytes())
    data[data.index(b"IDAT") + 40] ^= 1
    lab.write_bytes(data)
    found = read_labels([lab])
    with pytest.raises(LabelsError, match="wrong hash"):
        [cell.crop for cell in found]


@pytest.mark.parametrize(
    ("place", "sentence"),
    [("none.labels", "there is no such file of labels"), (".", "a file of labels is a file: got the folder"),
     ("pipe", "a device or a pipe"), ("s.db", "s.db is a session or another database, and no file of lab")],
)  # fmt: skip
def test_what_is_no_file(place: str, sentence: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "s.db").write_bytes(b"SQLite format 3\0" + b"\0" * 100)
    with pytest.raises(UsageError, match=sentence):
        open_labels(tmp_path / place)


def test_a_bundle_is_called_a_bundle() -> None:
    with pytest.raises(LabelsError, match=r"default\.edgeleuk is a bundle, and no file of labels; pass a"):
        read_labels([DEFAULT_PATH])


def test_nothing_half_written_where_a_picture_cannot_be_read(lab: Path, tmp_path: Path) -> None:
    data = bytearray(lab.read_bytes())
    data[data.rindex(b"IDAT") + 40] ^= 1
    lab.write_bytes(data)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(LabelsError, match="wrong hash"):
        merge_labels([lab], tmp_path / "out.labels")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("there", [b"my own notes", b"SQLite format 3\0" + b"\0" * 100])
def test_what_others_made_is_not_written_over(there: bytes, lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "other.labels"
    out.write_bytes(there)
    with pytest.raises(EdgeleukError, match=r"did not make it|never overwritten"):
        merge_labels([lab], out)
    assert out.read_bytes() == there


def test_labels_are_not_written_over_but_by_a_merge_with_them(
    lab: Path, tmp_path: Path, spool: Spool
) -> None:
    other = file_of(tmp_path / "other.labels", spool, [entry(spool, 8)])
    with pytest.raises(UsageError, match="holds labels already; choose another --out"):
        merge_labels([lab], other)
    assert len(merge_labels([lab, other], other)) == 4
    assert len(read_labels([other])) == 4


def test_twenty_thousand_cells_are_opened_without_their_pictures(tmp_path: Path, spool: Spool) -> None:
    one = entry(spool, 1)
    png = spool.png(one.identity)

    class Same:
        def png(self, identity: str) -> bytes:
            assert identity
            return png

    many: list[CellEntry] = [
        msgspec.structs.replace(one, identity=f"{number:064x}", slide=f"S{number % 9}")
        for number in range(20_000)
    ]
    write_labels(tmp_path / "many.labels", many, Same())
    found = read_labels([tmp_path / "many.labels"])
    assert len(found) == 20_000
    # Of all pictures only one is read.
    with pytest.raises(LabelsError, match="shows another cell"):
        found.cells[12_345].crop  # noqa: B018


def test_a_zip_of_zeros_is_no_file_of_labels(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(INDEX, b"[" * 1_000_000)
    path = tmp_path / "deep.labels"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(LabelsError):
        read_labels([path])
