"""Outlines of cells: how small they are, how true, and that sessions of before go on without them."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from earlier_tables import TABLES_OF
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sessions import BOX, record

from edgeleuk.frames import CYTOPLASM, NUCLEUS
from edgeleuk.session import create_session, read_session
from edgeleuk.session.contours import MOST_BYTES, decode_contours, encode_contours
from edgeleuk.session.hash_chain import append_link
from edgeleuk.session.open import resume_session
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.frames import Mask

ANY_MASK = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=24),
    elements=st.sampled_from([0, CYTOPLASM, NUCLEUS]),
)
# Width and height of a cell in pixels, how deep its outline is dented, and how large its nucleus is.
SIDES, DENTS, SHARES = st.integers(20, 600), st.floats(0, 0.25), st.floats(0.3, 0.9)


def cell_mask(width: int, height: int, dent: float, share: float) -> Mask:
    """Paint a cell with five dents, and a nucleus of the same shape in its middle."""
    mask = np.zeros((height, width), np.uint8)
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    for scale, value in ((1.0, CYTOPLASM), (share, NUCLEUS)):
        radius = scale * (1 - dent * (1 + np.cos(5 * angle)) / 2)
        x = (width - 1) / 2 * (1 + radius * np.cos(angle))
        y = (height - 1) / 2 * (1 + radius * np.sin(angle))
        cv2.fillPoly(mask, [np.stack([x, y], 1).round().astype(np.int32)], value)
    return mask


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over the union."""
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


@given(mask=ANY_MASK)
def test_any_mask_of_few_pixels_comes_back_as_it_was(mask: Mask) -> None:
    """With holes, islands in them, and parts that touch by a corner."""
    data = encode_contours(mask)
    assert len(data) <= MOST_BYTES
    if data[0] == 1:
        np.testing.assert_array_equal(decode_contours(data, mask.shape), mask)


@given(width=SIDES, height=SIDES, dent=DENTS, share=SHARES)
def test_a_cell_keeps_its_shape(width: int, height: int, dent: float, share: float) -> None:
    mask = cell_mask(width, height, dent, share)
    data = encode_contours(mask)
    found = decode_contours(data, mask.shape)
    step = data[0]
    assert len(data) <= MOST_BYTES
    if step == 1:
        np.testing.assert_array_equal(found, mask)
        return
    for value in (CYTOPLASM, NUCLEUS):
        before, after = mask >= value, found >= value
        assert overlap(before, after) >= 0.97
        # What changed lies at the outline of before.
        inner = cv2.erode(before.astype(np.uint8), np.ones((4 * step + 1,) * 2)) > 0
        outer = cv2.dilate(before.astype(np.uint8), np.ones((4 * step + 1,) * 2)) > 0
        assert not (inner & ~after).any()
        assert not (after & ~outer).any()


def test_masks_that_people_drew(edgeleuk_data: Path) -> None:
    """Cells of two laboratories, of 120 and of 300 pixels a picture, with lobed nuclei."""
    paths = sorted((edgeleuk_data / "wbc_masks").glob("*/*_mask.png"))
    sizes, exact = [], 0
    for path in paths:
        mask = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
        data = encode_contours(mask)
        found = decode_contours(data, mask.shape)
        sizes.append(len(data))
        exact += np.array_equal(found, mask)
        assert overlap(mask > 0, found > 0) >= 0.97
        assert overlap(mask == NUCLEUS, found == NUCLEUS) >= 0.93
    assert len(paths) == 200
    assert max(sizes) <= MOST_BYTES
    assert exact >= 190


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (700, 900)])
def test_noise_fits_too(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(3).choice(np.uint8([0, CYTOPLASM, NUCLEUS]), shape)
    data = encode_contours(mask)
    assert len(data) <= MOST_BYTES
    assert decode_contours(data, shape).shape == shape


def test_nothing_is_nothing() -> None:
    empty = np.zeros((30, 20), np.uint8)
    assert not decode_contours(encode_contours(empty), (30, 20)).any()


GOOD = encode_contours(cell_mask(60, 50, 0.2, 0.5))


@pytest.mark.parametrize(
    ("data", "shape", "got"),
    [
        (b"", (50, 60), "0 bytes"),
        (b"\0" + GOOD[1:], (50, 60), "bytes"),
        (GOOD + b"\0" * MOST_BYTES, (50, 60), "bytes"),
        (GOOD[:-3], (50, 60), "too early or too late"),
        (GOOD + b"x", (50, 60), "too early or too late"),
        (b"\1\xff\xff", (50, 60), "Error"),
        (GOOD, (20, 20), "leave a box of 20x20 px"),
    ],
)
def test_damaged_outlines_are_refused(data: bytes, shape: tuple[int, int], got: str) -> None:
    with pytest.raises(ValueError, match=f"outlines of a cell are damaged: .*{got}"):
        decode_contours(data, shape)


@given(data=st.binary(max_size=MOST_BYTES))
def test_any_bytes_are_outlines_or_refused(data: bytes) -> None:
    try:
        found = decode_contours(data, (40, 40))
    except ValueError as error:
        assert "damaged" in str(error)  # noqa: PT017 - either is right
    else:
        assert found.shape == (40, 40)


def test_a_session_keeps_outlines_and_not_with_its_table(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    mask = cell_mask(BOX.w, BOX.h, 0.2, 0.6)
    with create_session(path, {}) as session:
        record(session, 0, mask=mask)
        record(session, 1)
    with read_session(path) as reader:
        first, second = (reader.cell(track) for track in (0, 1))
        assert "contours" not in reader.columns("cells")
        assert all("contours" not in row for row in reader.rows("cells"))
    data = first["contours"]
    assert isinstance(data, bytes)
    np.testing.assert_array_equal(decode_contours(data, (BOX.h, BOX.w)), mask)
    assert second["contours"] is None
    connection = sqlite3.connect(path)
    connection.execute("UPDATE cells SET contours = NULL")
    connection.commit()
    connection.close()
    assert verify_session(path).broken == "frame 0 is not as it was recorded"


def test_a_session_of_the_fifth_schema_goes_on_without_outlines(tmp_path: Path) -> None:
    path = tmp_path / "five.db"
    connection = sqlite3.connect(path)
    connection.executescript(TABLES_OF[5])
    connection.close()
    create_session(tmp_path / "six.db", {}).close()
    adopt(tmp_path / "six.db", path)
    with resume_session(path, {}) as session:
        record(session, 0, mask=cell_mask(BOX.w, BOX.h, 0.2, 0.6))
    with read_session(path) as reader:
        assert reader.schema == 5
        assert "contours" not in reader.cell(0)
        assert len(list(reader.rows("cells"))) == 1
    assert verify_session(path).broken is None


def adopt(new: Path, path: Path) -> None:
    """Give tables of before the settings of an empty session, and the link over them."""
    connection = sqlite3.connect(path)
    connection.execute("ATTACH ? AS new", (str(new),))
    connection.execute("INSERT INTO settings SELECT * FROM new.settings")
    for name, value in (("application_id", 0x45444C4B), ("user_version", 5)):
        connection.execute(f"PRAGMA {name} = {value}")
    append_link(connection, "settings", None)
    connection.commit()
    connection.close()
