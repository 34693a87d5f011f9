"""What `labels check` and `list` find: duplicates, leaks, contradictions, few cells; and how people agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from labelled import crop, entry, file_of, said

from edgeleuk.errors import DataRefusedError, LabelsError
from edgeleuk.frames import CellCrop
from edgeleuk.labels.checking import check_labels, check_text
from edgeleuk.labels.kappa import cohens_kappa
from edgeleuk.labels.listing import list_labels, list_text
from edgeleuk.labels.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIDE = 160


@pytest.fixture
def spool() -> Iterator[Spool]:
    with Spool() as made:
        yield made


def moved(of: CellCrop) -> CellCrop:
    """Return the same cell, photographed again: turned, a little darker, stored with loss."""
    turned = [np.ascontiguousarray(np.rot90(plane)) for plane in (of.pixels, of.mask)]
    jpeg = cv2.imdecode(cv2.imencode(".jpg", turned[0] // 10 * 9)[1], cv2.IMREAD_COLOR)
    return CellCrop(np.where(turned[1][:, :, None] > 0, jpeg, 0).astype(np.uint8), turned[1], of.px_per_um)


def test_sound_labels_of_two_slides(tmp_path: Path, spool: Spool) -> None:
    cells = [
        entry(spool, seed, said(label), slide=f"S{seed % 2}", of=crop(seed, SIDE))
        for seed, label in enumerate(["band"] * 20 + ["smudge"] * 21)
    ]
    found, error = check_labels([file_of(tmp_path / "lab.labels", spool, cells)])
    assert error is None
    assert found.sound
    assert (found.cells, found.slides, found.one_slide) == (41, 2, False)
    assert (found.duplicates, found.leaks, found.few, found.agreements) == ((), (), (), ())
    assert check_text(found).splitlines() == ["cells     41 of 2 slides", "sound"]


@pytest.mark.parametrize(
    ("slide", "subject", "is_leak"),
    [("S1", "P1", False), ("S1", None, False), ("S2", "P1", True), ("S1", "P2", True), ("S2", None, True)],
)
@pytest.mark.parametrize("how", ["pixels", "texture"])
def test_one_cell_twice(
    slide: str, subject: str | None, is_leak: bool, how: str, tmp_path: Path, spool: Spool
) -> None:
    shown = crop(1, SIDE)
    again = shown if how == "pixels" else moved(shown)
    others = [entry(spool, seed, slide=f"S{seed}", of=crop(seed, SIDE)) for seed in range(3, 12)]
    files = [
        file_of(tmp_path / "a.labels", spool, [entry(spool, 1, subject="P1", of=shown), *others]),
        file_of(tmp_path / "b.labels", spool, [entry(spool, 2, slide=slide, subject=subject, of=again)]),
    ]
    found, error = check_labels(files)
    if how == "pixels" and (slide, subject) == ("S1", "P1"):
        # It is one entry from two places.
        assert (found.cells, found.duplicates, found.leaks) == (10, (), ())
        return
    pairs, none = (found.leaks, found.duplicates) if is_leak else (found.duplicates, found.leaks)
    assert none == ()
    (pair,) = pairs
    assert (pair.how, {pair.first, pair.second}) == (how, {"cells/1.png", "cells/2.png"})
    assert pair.correlation >= 0.745
    assert isinstance(error, DataRefusedError) == is_leak
    if error is not None:
        assert str(error).startswith("the labels are not sound: got 1 cells stand under two slides or subj")


def test_people_who_differ_and_one_who_differs_from_himself(tmp_path: Path, spool: Spool) -> None:
    shown = crop(1, SIDE)
    cells = [
        entry(spool, 1, said("band"), said("smudge", "B"), of=shown),
        entry(spool, 2, said("lymphocyte"), said("normal", "B"), of=crop(2, SIDE)),
        entry(spool, 3, said("monocyte", after_min=1), of=moved(shown)),
    ]
    found, error = check_labels([file_of(tmp_path / "lab.labels", spool, cells)])
    assert [(one.cell, one.labels) for one in found.contradictions] == [
        ("cells/1.png", {"A": "band", "B": "smudge"})
    ]
    (own,) = found.own_contradictions
    assert (own.by, set(own.labels)) == ("A", {"band", "monocyte"})
    (agreement,) = found.agreements
    assert (agreement.people, agreement.cells, agreement.observed) == (("A", "B"), 2, 0.5)
    assert error is not None
    assert error.exit_code == 4
    assert "1 cells are called different things by different people, 1 cells are" in str(error)
    lines = check_text(found).splitlines()
    assert "differ    cells/1.png: band (A), smudge (B)" in lines
    assert lines[-1] == "NOT SOUND"
    listed = list_labels([tmp_path / "lab.labels"])
    assert {row.label: row.cells for row in listed.labels} == {"normal": 1, "monocyte": 1, "contradicted": 1}


def test_few_cells_and_one_slide_are_warnings(tmp_path: Path, spool: Spool) -> None:
    cells = [entry(spool, seed, of=crop(seed, SIDE)) for seed in range(25)]
    cells += [entry(spool, 30 + n, said("band"), slide=f"S{n}", of=crop(30 + n, SIDE)) for n in (1, 1, 2)]
    both, error = check_labels([file_of(tmp_path / "lab.labels", spool, cells)])
    assert error is None
    assert [(one.label, one.cells, one.slides) for one in both.few] == [("band", 2, 2), ("monocyte", 25, 1)]
    assert not both.one_slide
    one, error = check_labels([file_of(tmp_path / "one.labels", spool, cells[:25])])
    assert (one.one_slide, error) == (True, None)
    assert "warning   all cells are of one slide" in check_text(one)


def test_every_picture_is_looked_at(tmp_path: Path, spool: Spool) -> None:
    lab = file_of(tmp_path / "lab.labels", spool, [entry(spool, seed) for seed in range(5)])
    data = bytearray(lab.read_bytes())
    data[data.rindex(b"IDAT") + 40] ^= 1
    lab.write_bytes(data)
    with pytest.raises(LabelsError, match="wrong hash"):
        check_labels([lab])


def test_crops_of_real_cells_are_not_taken_for_each_other(edgeleuk_data: Path, tmp_path: Path) -> None:
    from labelled import START

    from edgeleuk.labels.file import write_labels
    from edgeleuk.labels.importing import import_folder
    from edgeleuk.labels.naming import Naming

    crops = edgeleuk_data / "white_cells" / "pbc"
    (tmp_path / "p" / "neut").mkdir(parents=True)
    twins = [crops / "neutrophil" / f"NEUTROPHIL_{number}.jpg" for number in (971896, 501624)]
    for file in [*sorted((crops / "neutrophil").glob("*.jpg"))[:14], *twins]:
        (tmp_path / "p" / "neut" / file.name).symlink_to(file)
    with Spool() as spool:
        found = import_folder(tmp_path / "p", Naming(slide_from="1"), spool, by="A", at=START, px_per_um=9.6)
        write_labels(tmp_path / "p.labels", found.cells, spool)
    checked, _ = check_labels([tmp_path / "p.labels"])
    # PBC shows one neutrophil twice, in two fields.
    assert [sorted((pair.first, pair.second)) for pair in checked.duplicates] == [
        sorted(f"p/neut/{file.name}" for file in twins)
    ]


@pytest.mark.parametrize(
    ("pairs", "kappa"),
    [
        # Cohen's and Fleiss's textbook cases, computed by hand.
        ([("blast", "blast")] * 20 + [("blast", "normal")] * 5 + [("normal", "blast")] * 10
         + [("normal", "normal")] * 15, 0.4),
        ([("band", "band")] * 45 + [("band", "smudge")] * 15 + [("smudge", "band")] * 25
         + [("smudge", "smudge")] * 15, 0.1304),
        ([("band", "smudge"), ("smudge", "band")], -1.0),
        ([("lymphocyte", "normal"), ("blast", "blast-like"), ("monocyte", "monocyte")], 1.0),
    ],
)  # fmt: skip
def test_kappa_of_known_tables(pairs: list[tuple[str, str]], kappa: float) -> None:
    found = cohens_kappa(pairs)
    assert found.kappa == pytest.approx(kappa, abs=5e-5)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= kappa + 5e-5
    assert found.high >= kappa - 5e-5


def test_kappa_where_chance_explains_everything() -> None:
    found = cohens_kappa([("band", "band")] * 9)
    assert (found.observed, found.kappa, found.low, found.high) == (1.0, None, None, None)


@pytest.mark.parametrize(("cells", "skill"), [(15, 0.9), (40, 0.7), (150, 0.8)])
def test_the_interval_of_kappa_holds_the_truth(cells: int, skill: float) -> None:
    """Two people see the same truth, each right by skill, else drawing a label by chance."""
    rng = np.random.default_rng(0)
    labels, shares = np.array(["band", "smudge", "monocyte"]), [0.5, 0.3, 0.2]
    expected = sum(share**2 for share in shares)
    # Both know the truth with skill^2; else they agree by chance: so kappa is skill^2.
    truth, held, runs = skill**2, 0, 400
    assert 0 < expected < 1
    for _ in range(runs):
        seen = rng.choice(labels, cells, p=shares)
        said_by = [
            np.where(rng.random(cells) < skill, seen, rng.choice(labels, cells, p=shares)) for _ in range(2)
        ]
        found = cohens_kappa(list(zip(*map(np.ndarray.tolist, said_by), strict=True)))
        held += found.low is None or (found.low <= truth <= (found.high or 1.0))
    assert held / runs >= 0.93


def test_a_list_counts_each_cell_once(tmp_path: Path, spool: Spool) -> None:
    cells = [
        entry(spool, 1, said("band"), said("smudge", after_min=2), subject="P1"),
        entry(spool, 2, said("band", "B"), slide="S2", subject="P1"),
        entry(spool, 3, said("band")),
    ]
    lab = file_of(tmp_path / "lab.labels", spool, cells)
    found = list_labels([lab, lab])
    assert (found.cells, found.statements) == (3, 4)
    assert {row.label: (row.cells, row.slides, row.subjects) for row in found.labels} == {
        "band": (2, 2, 1), "smudge": (1, 1, 1)
    }  # fmt: skip
    assert {row.slide: row.labels for row in found.slides} == {
        "S1": {"band": 1, "smudge": 1}, "S2": {"band": 1}
    }  # fmt: skip
    assert {row.subject: row.cells for row in found.subjects} == {None: 1, "P1": 2}
    assert {row.by: (row.cells, row.corrections) for row in found.people} == {"A": (2, 1), "B": (1, 0)}
    text = list_text(found)
    assert "smudge  1      1       1" in text
    assert "A       2      1            2026-03-01  2026-03-01" in text
