"""A split that leaks is refused by name, or stamped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgeleuk.errors import DataRefusedError
from edgeleuk.vision.fingerprints import fingerprint
from edgeleuk_convert.dataset.cells import CellSet, Label, LabelledCell
from edgeleuk_convert.dataset.leakage import (
    check_split,
    find_leaks,
    fingerprints,
    join_near_duplicates,
    near_duplicates,
    refuse_or_stamp,
    with_training_stamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Picture = npt.NDArray[np.uint8]


def drawn(seed: int) -> Picture:
    """Draw a lumpy cell on black."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(300, 300, 1)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 6)
    texture = texture / texture.std() * 18 + np.linspace(-15, 15, 300)[:, None] * rng.choice([-1, 1])
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 85 + 8 * np.sin(2 * angles + rng.uniform(0, 6)) + 4 * np.sin(3 * angles + rng.uniform(0, 6))
    outline = np.column_stack([150 + radius * np.cos(angles), 150 + radius * np.sin(angles)])
    inside = np.zeros((300, 300), np.uint8)
    cv2.fillPoly(inside, [outline.astype(np.int32)], 1)
    colour = np.clip(texture[:, :, None] + np.array([110, 60, 130]), 1, 255)
    return np.asarray(np.where(inside[:, :, None] > 0, colour, 0), np.uint8)


def cell(subject: str, number: int, label: Label = "blast", *, group: str | None = None) -> LabelledCell:
    name = f"UID_{subject}_{number}_1_{'all' if label == 'blast' else 'hem'}.bmp"
    return LabelledCell(Path(name), label, subject, group or subject, f"{subject}-{number}", 20_000, 300, 300)


def jpeg(pixels: Picture) -> Picture:
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 40])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def tilted(pixels: Picture) -> Picture:
    turn = cv2.getRotationMatrix2D((150, 150), 3, 1)
    return np.asarray(cv2.warpAffine(pixels, turn, (300, 300)), np.uint8)


COPIES: dict[str, Callable[[Picture], Picture]] = {
    "recompressed": jpeg,
    "shifted": lambda p: np.roll(p, (9, -14), (0, 1)),
    "brighter": lambda p: np.clip(p * 1.25, 0, 255).astype(np.uint8),
    "darker": lambda p: (p * 0.7).astype(np.uint8),
    "smaller": lambda p: np.asarray(cv2.resize(p, (224, 224), interpolation=cv2.INTER_AREA), np.uint8),
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
    "turned": lambda p: np.ascontiguousarray(np.rot90(p)),
    "mirrored and turned": lambda p: np.ascontiguousarray(np.rot90(p[:, ::-1], 3)),
    "upside down": lambda p: np.ascontiguousarray(np.rot90(p, 2)),
    "tilted by 3 degrees": tilted,
}


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("seed", range(3))
def test_a_copy_is_found_whatever_was_done_to_it(copy: str, seed: int) -> None:
    one, other = cell("1", 1), cell("2", 1)
    prints = {one.path: fingerprint(drawn(seed)), other.path: fingerprint(COPIES[copy](drawn(seed)))}
    (leak,) = find_leaks([one], [other], prints)
    assert leak.kind == "near-duplicate"
    assert leak.correlation is not None
    assert leak.correlation > 0.745


def test_a_copy_is_named_though_its_group_was_joined_for_it() -> None:
    """That all of a group leaks does not say which two files show one cell."""
    train, copy, other = cell("1", 1), cell("2", 1, group="1"), cell("2", 2, group="1")
    prints = {c.path: fingerprint(drawn(seed)) for c, seed in ((train, 0), (copy, 0), (other, 1))}
    leaks = find_leaks([train], [copy, other], prints)
    assert [(leak.kind, leak.test) for leak in leaks] == [("near-duplicate", copy), ("group", other)]
    assert leaks[0].train == train


def test_different_cells_are_not_alike() -> None:
    ours, theirs = [cell("1", n) for n in range(20)], [cell("2", n) for n in range(20)]
    prints = {one.path: fingerprint(drawn(n)) for n, one in enumerate([*ours, *theirs])}
    assert near_duplicates(ours, theirs, prints) == []


def test_empty_sides_and_flat_or_black_pictures_are_like_nothing() -> None:
    black, flat = np.zeros((50, 50, 3), np.uint8), np.zeros((50, 50, 3), np.uint8)
    flat[10:40, 10:40] = 100
    speck = np.zeros((50, 50, 3), np.uint8)
    speck[5, 5] = 200
    one, other = cell("1", 1), cell("2", 1)
    for pixels in (black, flat, speck):
        prints = {one.path: fingerprint(pixels), other.path: fingerprint(pixels)}
        assert near_duplicates([one], [other], prints) == []
    assert near_duplicates([], [other], {}) == []


TWIN = replace(cell("2", 7), sha256="1-1")
CASES: dict[str, tuple[LabelledCell, str]] = {
    "image": (TWIN, "UID_1_1_1_all.bmp and UID_2_7_1_all.bmp"),
    "subject": (cell("1", 9), "UID_1_1_1_all.bmp and UID_1_9_1_all.bmp"),
    "group": (cell("3", 1, group="1"), "UID_1_1_1_all.bmp and UID_3_1_1_all.bmp"),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_of_leak_is_refused_by_name(kind: str) -> None:
    leaking, names = CASES[kind]
    with pytest.raises(DataRefusedError, match=rf"1 of 2 test cells \(1 by {kind}\): {names}") as caught:
        refuse_or_stamp([cell("1", 1), cell("1", 2)], [leaking, cell("5", 1)])
    assert caught.value.exit_code == 4


def test_subjects_that_differ_in_case_alone_are_one() -> None:
    (leak,) = find_leaks([cell("h3", 1)], [cell("H3", 2)])
    assert leak.kind == "subject"


def test_a_clean_split_says_nothing() -> None:
    assert refuse_or_stamp([cell("1", 1)], [cell("2", 1)]) is None


def test_cells_without_a_subject_are_compared_by_image_alone() -> None:
    final = [replace(cell("x", n), subject=None, group=None) for n in (1, 2)]
    assert find_leaks(final[:1], final[1:]) == ()
    assert [leak.kind for leak in find_leaks(final, final)] == ["image", "image"]


def test_what_is_allowed_is_stamped() -> None:
    train, test = [cell("1", n) for n in range(9)], [cell("1", n) for n in range(9)]
    stamp = refuse_or_stamp(train, test, allow_leakage=True)
    assert stamp is not None
    assert stamp.startswith("LEAKAGE ALLOWED")
    assert "9 of 9 test cells (9 by image)" in stamp
    assert "and 4 more" in stamp
    clean = refuse_or_stamp(train, [cell("2", 1)], allow_leakage=True)
    assert clean is not None
    assert clean.endswith("None was found.")


def test_the_stamp_of_a_training_is_never_lost() -> None:
    training = refuse_or_stamp([cell("1", 1)], [cell("1", 2)], allow_leakage=True)
    assert with_training_stamp(None, None) is None
    assert with_training_stamp("LEAKAGE ALLOWED: x.", None) == "LEAKAGE ALLOWED: x."
    alone = with_training_stamp(None, training)
    assert alone is not None
    assert alone.startswith("LEAKAGE ALLOWED IN TRAINING: ")
    assert "1 of 1 test cells (1 by subject)" in alone
    assert with_training_stamp("LEAKAGE ALLOWED: x.", training) == f"LEAKAGE ALLOWED: x. {alone}"


def test_files_are_read_and_groups_joined(tmp_path: Path) -> None:
    def stored(one: LabelledCell, pixels: Picture) -> LabelledCell:
        path = tmp_path / one.path.with_suffix(".png").name
        cv2.imwrite(str(path), pixels)
        return replace(one, path=path)

    cells = CellSet(
        tmp_path,
        (
            stored(cell("3", 1), drawn(0)),
            stored(cell("12", 1), jpeg(drawn(0))),
            stored(cell("12", 2), drawn(1)),
            stored(cell("7", 1), np.rot90(drawn(1))),
            stored(cell("8", 1), drawn(2)),
            replace(stored(cell("9", 1), drawn(3)), subject=None, group=None),
        ),
    )
    told: list[Any] = []
    prints = fingerprints(cells.cells, progress=lambda *at: told.append(at))
    assert told[-1] == (6, 6)
    joined = join_near_duplicates(cells, prints)
    assert [one.group for one in joined.cells] == ["3", "3", "3", "3", "8", None]
    assert refuse_or_stamp(joined.cells[:4], joined.cells[4:], prints) is None
    with pytest.raises(DataRefusedError, match=r"\(1 by near-duplicate\): UID_3_1_1_all.png and UID_12_1"):
        refuse_or_stamp(cells.cells[:1], cells.cells[1:], prints)
    with pytest.raises(DataRefusedError, match=r"\(1 by near-duplicate\)"):
        check_split(cells.cells[:1], cells.cells[1:])
    stamp = check_split(cells.cells[:1], cells.cells[1:], allow_leakage=True)
    assert stamp is not None
    assert "1 of 5 test cells" in stamp


def test_nothing_is_read_where_names_tell_or_a_side_is_empty() -> None:
    """These cells have no files."""
    assert check_split([], [cell("1", 1)]) is None
    with pytest.raises(DataRefusedError, match="by subject"):
        check_split([cell("1", 1)], [cell("1", 2)])
