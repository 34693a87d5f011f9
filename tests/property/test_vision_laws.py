from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk.frames import Box, Cell
from edgeleuk.vision.crops import crop_cell
from edgeleuk.vision.scale import estimate_px_per_um
from edgeleuk.vision.segmentation import nucleus_and_cell_mask, segment
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    Drawn = tuple[npt.NDArray[np.uint8], list[tuple[int, int, int]]]

PX_PER_UM = 6.0
SIZE = 320


def smear(white: Iterable[Sequence[int]], red: Iterable[Sequence[int]]) -> npt.NDArray[np.uint8]:
    field = np.full((SIZE, SIZE, 3), (225, 215, 205), np.uint8)
    for x, y in red:
        cv2.circle(field, (x, y), 22, (205, 150, 140), -1)
    for x, y, radius in white:
        cv2.circle(field, (x, y), radius, (165, 150, 190), -1)
        cv2.circle(field, (x, y), round(0.7 * radius), (95, 55, 140), -1)
    return cv2.GaussianBlur(field, (0, 0), 1.0)


@st.composite
def smears(draw: st.DrawFn) -> Drawn:
    """A field with up to four white cells and some red ones, apart from each other, and the white cells."""
    places = draw(st.permutations([(x, y) for x in (60, 160, 260) for y in (60, 160, 260)]))
    shift = st.integers(-8, 8)
    whites = draw(st.integers(0, 4))
    white = [(x + draw(shift), y + draw(shift), draw(st.integers(30, 42))) for x, y in places[:whites]]
    red = [(x + draw(shift), y + draw(shift)) for x, y in places[whites:]]
    return smear(white, red), white


MOVES = {
    "quarter": lambda a: np.ascontiguousarray(np.rot90(a)),
    "half": lambda a: np.ascontiguousarray(np.rot90(a, 2)),
    "mirror": lambda a: np.ascontiguousarray(a[:, ::-1]),
    "transpose": lambda a: np.ascontiguousarray(a.swapaxes(0, 1)),
}


@settings(max_examples=25, deadline=None)
@given(smears())
def test_every_white_cell_is_found_and_nothing_else(drawn: Drawn) -> None:
    field, white = drawn
    found = sorted(cell.box.centre for cell in segment(field, px_per_um=PX_PER_UM))
    assert len(found) == len(white)
    for (x, y), (true_x, true_y, _) in zip(found, sorted(white), strict=True):
        assert abs(x - true_x) < 4
        assert abs(y - true_y) < 4


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
@settings(max_examples=15, deadline=None)
@given(drawn=smears())
def test_turning_the_slide_turns_the_masks(
    move: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]], drawn: Drawn
) -> None:
    field, _ = drawn
    turned = nucleus_and_cell_mask(segment(move(field), px_per_um=PX_PER_UM), (SIZE, SIZE))
    straight = move(nucleus_and_cell_mask(segment(field, px_per_um=PX_PER_UM), (SIZE, SIZE)))
    assert np.count_nonzero(turned != straight) <= 0.02 * max(1, np.count_nonzero(straight))


@settings(max_examples=25, deadline=None)
@given(smears())
def test_cells_are_disjoint_tight_and_ordered(drawn: Drawn) -> None:
    field, _ = drawn
    cells = segment(field)
    painted = nucleus_and_cell_mask(cells, (SIZE, SIZE))
    assert np.count_nonzero(painted) == sum(cell.area_px for cell in cells)
    for cell in cells:
        assert 0 < cell.nucleus_area_px <= cell.area_px
        for edge in (cell.mask[0], cell.mask[-1], cell.mask[:, 0], cell.mask[:, -1]):
            assert edge.any()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30))
def test_a_crop_is_black_exactly_outside_its_mask(seed: int, w: int, h: int) -> None:
    rng = np.random.default_rng(seed)
    field = rng.integers(1, 256, (40, 50, 3), np.uint8)
    box = Box(int(rng.integers(0, 51 - w)), int(rng.integers(0, 41 - h)), w, h)
    mask = rng.choice(np.array([0, 128, 255], np.uint8), (h, w))
    crop = crop_cell(field, Cell(box, mask), PX_PER_UM)
    np.testing.assert_array_equal(crop.pixels.any(axis=2), mask > 0)
    np.testing.assert_array_equal(crop.mask > 0, mask > 0)
    np.testing.assert_array_equal(crop.pixels[mask > 0], field[box.slices][mask > 0])


@settings(max_examples=20, deadline=None)
@given(st.floats(0.6, 3.0))
def test_the_scale_grows_with_the_picture(factor: float) -> None:
    field = smear([], [(x, y) for x in (50, 125, 200, 275) for y in (50, 125, 200, 275)])
    resized = cv2.resize(field, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    before, after = estimate_px_per_um(field), estimate_px_per_um(resized)
    assert after.px_per_um / before.px_per_um == pytest.approx(factor, rel=0.06)
    assert after.red_cells == before.red_cells


def plane() -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(5)
    picture = np.full((1000, 1000, 3), (225, 215, 205), np.uint8)
    for _ in range(220):
        x, y = (int(v) for v in rng.integers(0, 1000, 2))
        cv2.circle(picture, (x, y), int(rng.integers(8, 28)), [int(c) for c in rng.integers(90, 190, 3)], -1)
    return cv2.GaussianBlur(picture, (0, 0), 1.5)


PLANE = plane()
CELLS = [(x, y) for x in range(50, 1000, 90) for y in range(50, 1000, 90)]


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(0, 700), st.integers(0, 700)),
    st.lists(st.tuples(st.integers(-110, 110), st.integers(-110, 110)), min_size=1, max_size=15),
)
def test_any_walk_with_overlap_counts_every_cell_once(
    start: tuple[int, int], steps: list[tuple[int, int]]
) -> None:
    tracker = FieldTracker()
    seen = set()
    x, y = start
    for dx, dy in [(0, 0), *steps]:
        x, y = min(max(x + dx, 0), 700), min(max(y + dy, 0), 700)
        cells = []
        for identity, (cx, cy) in enumerate(CELLS):
            if 14 <= cx - x <= 286 and 14 <= cy - y <= 286:
                cells.append(Cell(Box(cx - x - 14, cy - y - 14, 28, 28), np.full((28, 28), 128, np.uint8)))
                seen.add(identity)
        tracker.update(np.ascontiguousarray(PLANE[y : y + 300, x : x + 300]), cells)
    assert tracker.unique == len(seen)
