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


@settings(max_examples=25)
@given(smears())
def test_every_white_cell_is_found_and_nothing_else(drawn: Drawn) -> None:
    field, white = drawn
    found = sorted(cell.box.centre for cell in segment(field, px_per_um=PX_PER_UM))
    assert len(found) == len(white)
    for (x, y), (true_x, true_y, _) in zip(found, sorted(white), strict=True):
        assert abs(x - true_x) < 4
        assert abs(y - true_y) < 4


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
@settings(max_examples=15)
@given(drawn=smears())
def test_turning_the_slide_turns_the_masks(
    move: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]], drawn: Drawn
) -> None:
    field, _ = drawn
    turned = nucleus_and_cell_mask(segment(move(field), px_per_um=PX_PER_UM), (SIZE, SIZE))
    straight = move(nucleus_and_cell_mask(segment(field, px_per_um=PX_PER_UM), (SIZE, SIZE)))
    assert np.count_nonzero(turned != straight) <= 0.02 * max(1, np.count_nonzero(straight))


@settings(max_examples=25)
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


@settings(max_examples=50)
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


@settings(max_examples=20)
@given(st.floats(0.6, 3.0))
def test_the_scale_grows_with_the_picture(factor: float) -> None:
    field = smear([], [(x, y) for x in (50, 125, 200, 275) for y in (50, 125, 200, 275)])
    resized = cv2.resize(field, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    before, after = estimate_px_per_um(field), estimate_px_per_um(resized)
    assert after.px_per_um / before.px_per_um == pytest.approx(factor, rel=0.06)
    assert after.red_cells == before.red_cells


VIEW, STEP, CELL = 300, 90, 28


def plane(seed: int, side: int = 1000) -> npt.NDArray[np.uint8]:
    """Smear of discs of several sizes and colours, as dense as red cells lie."""
    rng = np.random.default_rng(seed)
    picture = np.full((side, side, 3), (225, 215, 205), np.uint8)
    for _ in range(side * side // 2000):
        x, y = (int(v) for v in rng.integers(0, side, 2))
        cv2.circle(picture, (x, y), int(rng.integers(8, 20)), [int(c) for c in rng.integers(90, 190, 3)], -1)
    return cv2.GaussianBlur(picture, (0, 0), 1.5)


PLANE = plane(5)
CELLS = [(x, y) for x in range(50, 1000, STEP) for y in range(50, 1000, STEP)]

Place = tuple[int, int]


def look(
    tracker: FieldTracker, place: Place, seed: int = 0, picture: npt.NDArray[np.uint8] = PLANE
) -> dict[int, int]:
    """Show a tracker one view, with sensor noise, and the cells in it; return track by identity."""
    x, y = place
    found = {}
    for identity, (cx, cy) in enumerate(CELLS):
        left, top = max(cx - CELL // 2 - x, 0), max(cy - CELL // 2 - y, 0)
        right, bottom = min(cx + CELL // 2 - x, VIEW), min(cy + CELL // 2 - y, VIEW)
        # Half a cell at least, or nothing is segmented.
        if right - left >= CELL // 2 and bottom - top >= CELL // 2:
            cut = (right - left, bottom - top) != (CELL, CELL)
            mask = np.full((bottom - top, right - left), 128, np.uint8)
            found[identity] = Cell(Box(left, top, right - left, bottom - top), mask, cut)
    view = picture[y : y + VIEW, x : x + VIEW].astype(np.float32)
    noise = np.random.default_rng(seed).normal(0, 3, view.shape)
    tracked = tracker.update(np.clip(view + noise, 0, 255).astype(np.uint8), list(found.values()))
    return {identity: one.track for identity, one in zip(found, tracked, strict=True)}


def shares_a_fifth(step: Place) -> bool:
    dx, dy = step
    return (VIEW - abs(dx)) * (VIEW - abs(dy)) >= 0.2 * VIEW**2


places = st.tuples(st.integers(0, 700), st.integers(0, 700))
steps = st.tuples(st.integers(-240, 240), st.integers(-240, 240)).filter(shares_a_fifth)


def walk(start: Place, moves: list[Place]) -> list[Place]:
    """Stay on the plane; a step that the edge cuts short overlaps only more."""
    walked = [start]
    for dx, dy in moves:
        x, y = walked[-1]
        walked.append((min(max(x + dx, 0), 700), min(max(y + dy, 0), 700)))
    return walked


@settings(max_examples=30, derandomize=True)
@given(places, st.lists(steps, min_size=1, max_size=15))
def test_any_walk_with_a_fifth_of_overlap_counts_every_cell_once(start: Place, moves: list[Place]) -> None:
    tracker = FieldTracker()
    track_of: dict[int, int] = {}
    for seed, place in enumerate(walk(start, moves)):
        for identity, track in look(tracker, place, seed).items():
            assert track_of.setdefault(identity, track) == track
    assert tracker.unique == len(track_of) == len(set(track_of.values()))


@settings(max_examples=15, derandomize=True)
@given(places, st.lists(steps, min_size=1, max_size=10))
def test_coming_back_finds_every_cell_again(start: Place, moves: list[Place]) -> None:
    tracker = FieldTracker()
    there = walk(start, moves)
    first = [look(tracker, place, seed) for seed, place in enumerate(there)]
    unique = tracker.unique
    again = [look(tracker, place, 100 + seed) for seed, place in enumerate(there[::-1])]
    assert again == first[::-1]
    assert tracker.unique == unique


@settings(max_examples=15, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(1000, 2**32), places), min_size=2, max_size=4, unique_by=lambda v: v[0])
)
def test_unrelated_fields_share_no_cell(fields: list[tuple[int, Place]]) -> None:
    tracker = FieldTracker()
    tracks = [look(tracker, place, picture=plane(seed)) for seed, place in fields]
    assert tracker.unique == sum(map(len, tracks)) == len(set().union(*(found.values() for found in tracks)))


@settings(max_examples=15, derandomize=True)
@given(places, st.integers(96, 600))
def test_other_proportions_are_another_area(place: Place, side: int) -> None:
    """A camera that changes its resolution alone sees the same field with other pixels."""
    tracker = FieldTracker()
    first = look(tracker, place)
    resized = cv2.resize(
        PLANE[place[1] : place[1] + VIEW, place[0] : place[0] + VIEW], (side, round(side * 0.75))
    )
    cell = Cell(Box(10, 10, 20, 20), np.full((20, 20), 128, np.uint8))
    assert [one.is_new for one in tracker.update(np.asarray(resized, np.uint8), [cell])] == [True]
    assert look(tracker, place, seed=1) == first
