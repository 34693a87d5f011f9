from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.frames import Box, Cell
from edgeleuk.vision import remembered, tracking
from edgeleuk.vision.registration import Rectangle, Spectrum, Texture, refine, register
from edgeleuk.vision.tracking import EarlierField, FieldTracker, TrackedCell

if TYPE_CHECKING:
    import numpy.typing as npt

HEIGHT, WIDTH = 240, 320
RADIUS = 12


def slide(seed: int) -> npt.NDArray[np.uint8]:
    """Textured plane of 1200x900 px with discs of several sizes."""
    rng = np.random.default_rng(seed)
    plane = np.full((900, 1200, 3), (225, 215, 205), np.uint8)
    for _ in range(260):
        x, y = int(rng.integers(0, 1200)), int(rng.integers(0, 900))
        cv2.circle(plane, (x, y), int(rng.integers(6, 26)), [int(c) for c in rng.integers(90, 190, 3)], -1)
    return cv2.GaussianBlur(plane, (0, 0), 1.5)


SLIDE, OTHER_SLIDE = slide(1), slide(2)
DOT = np.full((5, 5), 128, np.uint8)
CELLS = [(x, y) for x in range(60, 1200, 120) for y in range(70, 900, 110)]


def field(x: int, y: int, plane: npt.NDArray[np.uint8] = SLIDE, gain: float = 1.0) -> npt.NDArray[np.uint8]:
    view = plane[y : y + HEIGHT, x : x + WIDTH]
    return np.clip(view * gain, 0, 255).astype(np.uint8)


def cells_at(x: int, y: int, jitter: tuple[int, int] = (0, 0)) -> list[tuple[int, Cell]]:
    """Cells of a view with their identities; the border cuts some."""
    found = []
    for identity, (cx, cy) in enumerate(CELLS):
        left, top = max(cx - RADIUS - x + jitter[0], 0), max(cy - RADIUS - y + jitter[1], 0)
        right, bottom = min(cx + RADIUS - x + jitter[0], WIDTH), min(cy + RADIUS - y + jitter[1], HEIGHT)
        if right - left < 5 or bottom - top < 5:
            continue
        cut = left == 0 or top == 0 or right == WIDTH or bottom == HEIGHT
        mask = np.full((bottom - top, right - left), 128, np.uint8)
        found.append((identity, Cell(Box(left, top, right - left, bottom - top), mask, cut)))
    return found


def walk(tracker: FieldTracker, places: list[tuple[int, int]], **kwargs: float) -> dict[int, int]:
    """Identities by track over a walk; fails when a track changes its cell."""
    owner = {}
    for x, y in places:
        found = cells_at(x, y)
        tracked = tracker.update(field(x, y, **kwargs), [cell for _, cell in found])
        for (identity, _), one in zip(found, tracked, strict=True):
            assert owner.setdefault(one.track, identity) == identity
    return owner


def test_the_first_field_is_all_new() -> None:
    found = cells_at(0, 0)
    tracked = FieldTracker().update(field(0, 0), [cell for _, cell in found])
    assert tracked == [TrackedCell(track, is_new=True) for track in range(len(found))]


def test_a_field_that_stands_still_brings_nothing_new() -> None:
    tracker = FieldTracker()
    cells = [cell for _, cell in cells_at(100, 100)]
    first = tracker.update(field(100, 100), cells)
    for gain in (0.9, 1.0, 1.08):
        again = tracker.update(field(100, 100, gain=gain), cells)
        assert [s.track for s in again] == [s.track for s in first]
        assert not any(s.is_new for s in again)
    assert tracker.unique == len(cells)


def test_a_walk_there_and_back_counts_each_cell_once() -> None:
    there = [(x, 80) for x in range(0, 800, 75)] + [(800, y) for y in range(80, 600, 60)]
    owner = walk(FieldTracker(), there + there[::-1])
    assert len(set(owner.values())) == len(owner)


def test_a_loop_closes() -> None:
    loop = [(x, 60) for x in range(0, 600, 90)] + [(600, y) for y in range(60, 500, 80)]
    loop += [(x, 500) for x in range(600, 0, -90)] + [(0, y) for y in range(500, 60, -80)] + [(0, 60)]
    owner = walk(FieldTracker(), loop)
    assert len(set(owner.values())) == len(owner)


def test_cells_cut_by_the_border_are_the_same_when_whole() -> None:
    tracker = FieldTracker()
    # The cell at x = 300 shows 18 px, then wholly.
    first = tracker.update(field(2, 0), [cell for i, cell in cells_at(2, 0)])
    ids = [i for i, _ in cells_at(2, 0)]
    later = tracker.update(field(60, 0), [cell for _, cell in cells_at(60, 0)])
    known = dict(zip(ids, first, strict=True))
    for (identity, _), one in zip(cells_at(60, 0), later, strict=True):
        if identity in known:
            assert one == TrackedCell(known[identity].track, is_new=False)


def test_an_unrelated_field_starts_a_new_area() -> None:
    tracker = FieldTracker()
    cells = [cell for _, cell in cells_at(100, 100)]
    tracker.update(field(100, 100), cells)
    assert all(s.is_new for s in tracker.update(field(100, 100, plane=OTHER_SLIDE), cells))
    assert tracker.unique == 2 * len(cells)


def test_coming_back_from_elsewhere_finds_the_old_cells() -> None:
    tracker = FieldTracker()
    cells = [cell for _, cell in cells_at(100, 100)]
    first = tracker.update(field(100, 100), cells)
    tracker.update(field(500, 500, plane=OTHER_SLIDE), [])
    assert [s.track for s in tracker.update(field(100, 100), cells)] == [s.track for s in first]


def test_other_proportions_start_a_new_area() -> None:
    tracker = FieldTracker()
    cells = [cell for _, cell in cells_at(100, 100)]
    tracker.update(field(100, 100), cells)
    longer = np.ascontiguousarray(SLIDE[100 : 100 + HEIGHT, 100 : 100 + 2 * WIDTH])
    assert all(s.is_new for s in tracker.update(longer, cells))


@pytest.mark.parametrize("zoom", [0.5, 0.75, 2.0])
def test_cells_are_known_again_with_another_resolution(zoom: float) -> None:
    tracker = FieldTracker()
    before = dict(cells_at(100, 100))
    tracks = dict(zip(before, tracker.update(field(100, 100), list(before.values())), strict=True))
    pixels = cv2.resize(field(130, 110), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    after = dict(cells_at(130, 110))
    sizes = [tuple(round(zoom * v) for v in cell.box) for cell in after.values()]
    cells = [Cell(Box(x, y, w, h), np.full((h, w), 128, np.uint8)) for x, y, w, h in sizes]
    for identity, one in zip(after, tracker.update(pixels, cells), strict=True):
        assert one.is_new == (identity not in before)
        if identity in before:
            assert one.track == tracks[identity].track


def test_a_tracker_that_is_resumed_knows_the_cells() -> None:
    tracker, past = FieldTracker(), []
    for x in (100, 180, 260, 600, 340):
        cells = cells_at(x, 100)
        tracked = tracker.update(field(x, 100), [cell for _, cell in cells])
        assert tracker.placed is not None
        seen = [(one.track, cell.box) for one, (_, cell) in zip(tracked, cells, strict=True) if one.is_new]
        past.append(EarlierField(tracker.placed, WIDTH, HEIGHT, seen))
    resumed = FieldTracker()
    resumed.recall(past)
    for x in (300, 620, 140):
        cells = [cell for _, cell in cells_at(x, 100)]
        expected = [s.track for s in tracker.update(field(x, 100), cells)]
        assert [s.track for s in resumed.update(field(x, 100), cells)] == expected
    assert resumed.unique == tracker.unique


def test_an_empty_glass_is_no_landmark() -> None:
    tracker = FieldTracker()
    blank = np.full((HEIGHT, WIDTH, 3), 230, np.uint8)
    cells = [cell for _, cell in cells_at(100, 100)]
    tracker.update(blank, cells)
    assert all(s.is_new for s in tracker.update(blank, cells))


def test_empty_glass_pushes_nothing_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_FIELDS", 2)
    tracker = FieldTracker()
    cells = [cell for _, cell in cells_at(100, 100)]
    first = tracker.update(field(100, 100), cells)
    for _ in range(5):
        tracker.update(np.full((HEIGHT, WIDTH, 3), 230, np.uint8), [])
    assert [s.track for s in tracker.update(field(100, 100), cells)] == [s.track for s in first]


def test_areas_on_both_sides_of_a_gap_become_one() -> None:
    # Two rows; in the first the stage jumps over 400 px, which the second row bridges.
    places = [(0, 0), (200, 0), (600, 0), (800, 0)]
    places += [(x, 160) for x in range(800, -1, -200)]
    tracker = FieldTracker()
    owner = walk(tracker, places)
    assert len(set(owner.values())) == len(owner)
    assert len({keyframe.area for keyframe in tracker._map._fields.newest(99)}) == 1
    # And all stand where they are on the slide.
    views = {keyframe.number: keyframe.view for keyframe in tracker._map._fields.newest(99)[::-1]}
    for (x, y), view in zip(places, views.values(), strict=True):
        assert view.left - views[1].left == pytest.approx(x, abs=2)
        assert view.top - views[1].top == pytest.approx(y, abs=2)


def elsewhere(number: int) -> npt.NDArray[np.uint8]:
    """One of many fields that overlap none other, as full of cells as a smear."""
    rng = np.random.default_rng(100 + number)
    view = np.full((HEIGHT, WIDTH, 3), (225, 215, 205), np.uint8)
    for _ in range(90):
        x, y = int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))
        cv2.circle(view, (x, y), int(rng.integers(6, 16)), [int(c) for c in rng.integers(90, 190, 3)], -1)
    return cv2.GaussianBlur(view, (0, 0), 1.5)


def test_a_field_is_known_again_after_a_long_way_elsewhere() -> None:
    tracker = FieldTracker()
    there = [(x, y) for y in (60, 300) for x in range(60, 800, 120)]
    owner = walk(tracker, there)
    for number in range(30):
        assert all(s.is_new for s in tracker.update(elsewhere(number), [Cell(Box(9, 9, 5, 5), DOT)]))
    counted = tracker.unique
    # In another order, not quite where it was, in other light.
    for x, y in there[::-3] + there[::4]:
        found = cells_at(x + 20, y + 15)
        tracked = tracker.update(field(x + 20, y + 15, gain=0.93), [cell for _, cell in found])
        known = [(i, s) for (i, c), s in zip(found, tracked, strict=True) if i in owner.values()]
        assert all(owner[one.track] == identity for identity, one in known)
        assert known
    # Only what the first way did not show is new.
    assert tracker.unique - counted <= 4


def test_a_resumed_tracker_knows_all_fields_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # Few textures lie ready: the others are unpacked.
    monkeypatch.setattr(remembered, "_MOST_TEXTURES", 4)
    tracker, past = FieldTracker(), []
    cells = [cell for _, cell in cells_at(100, 100)]
    views = [field(100, 100), *(elsewhere(number) for number in range(20))]
    for view in views:
        tracked = tracker.update(view, cells)
        assert tracker.placed is not None
        past.append(
            EarlierField(
                tracker.placed,
                WIDTH,
                HEIGHT,
                [(s.track, c.box) for s, c in zip(tracked, cells, strict=True)],
            )
        )
    resumed = FieldTracker()
    resumed.recall(past)
    for number, view in enumerate(views):
        expected = list(range(number * len(cells), (number + 1) * len(cells)))
        assert [s.track for s in resumed.update(view, cells)] == expected
    assert resumed.unique == tracker.unique


def test_a_way_round_that_drifted_comes_back_to_the_cells_that_are_known() -> None:
    tracker = FieldTracker()
    loop = [(x, 60) for x in range(0, 600, 90)] + [(600, y) for y in range(60, 500, 80)]
    loop += [(x, 500) for x in range(600, 0, -90)] + [(0, y) for y in range(500, 300, -80)]
    walk(tracker, loop)
    counted = tracker.unique
    # Say that the last field was placed wrongly by a fifth of a field.
    last = tracker._map._last
    assert last is not None
    tracker._map._last = replace(last, view=last.view.moved(60, 40))
    first = tracker.update(field(0, 60), [cell for _, cell in cells_at(0, 60)])
    assert not any(s.is_new for s in first)
    assert tracker.unique == counted


def test_fields_without_anything_in_common_are_never_confused() -> None:
    tracker = FieldTracker()
    for number in range(60):
        tracker.update(elsewhere(number), [])
    areas = {keyframe.area for keyframe in tracker._map._fields.newest(99)}
    assert len(areas) == 60


def test_touching_cells_segmented_as_one_now_and_then_are_two() -> None:
    tracker = FieldTracker()

    def cell(x: int, w: int) -> Cell:
        return Cell(Box(x, 100, w, 24), np.full((24, w), 128, np.uint8))

    apart, together = [cell(100, 24), cell(125, 24)], [cell(100, 49)]
    for cells in [together, apart, together, apart, apart, together, together, apart]:
        tracker.update(field(0, 0), cells)
    assert tracker.unique == 2


def test_two_cells_are_never_one_track_in_a_field() -> None:
    tracker = FieldTracker()
    mask = np.full((24, 24), 128, np.uint8)
    tracker.update(field(0, 0), [Cell(Box(100, 100, 24, 24), mask)])
    close = [Cell(Box(97, 100, 24, 24), mask), Cell(Box(103, 100, 24, 24), mask)]
    tracks = [s.track for s in tracker.update(field(0, 0), close)]
    assert len(set(tracks)) == 2
    assert 0 in tracks


def test_jitter_of_the_segmentation_is_forgiven() -> None:
    tracker = FieldTracker()
    tracker.update(field(100, 100), [cell for _, cell in cells_at(100, 100)])
    moved = tracker.update(field(100, 100), [cell for _, cell in cells_at(100, 100, jitter=(4, -3))])
    assert not any(s.is_new for s in moved)


def test_the_fields_are_not_altered() -> None:
    tracker = FieldTracker()
    view = field(0, 0)
    before = view.copy()
    tracker.update(view, [])
    tracker.update(view, [])
    np.testing.assert_array_equal(view, before)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_FIELDS", 3)
    monkeypatch.setattr(remembered, "_MOST_TEXTURES", 2)
    monkeypatch.setattr(remembered, "_MOST_SPECTRA", 2)
    monkeypatch.setattr(tracking, "_MOST_CELLS", 10)
    tracker = FieldTracker()
    rng = np.random.default_rng(0)
    numbers = []
    for _ in range(6):
        noise = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 3)
        cells = [Cell(Box(x, 50, 20, 20), np.full((20, 20), 128, np.uint8)) for x in (20, 80, 140, 200)]
        numbers += [s.track for s in tracker.update(noise, cells)]
    assert numbers == list(range(24))
    fields = tracker._map._fields
    assert (len(fields), len(fields._textures), len(fields._packed)) == (3, 2, 2)
    assert len(fields._spectra) <= 2
    assert sum(map(len, fields._squares.values())) == sum(map(len, fields._areas.values())) == 3
    assert len(tracker._cells._known) == 10
    assert sum(map(len, tracker._cells._squares.values())) == 10


@pytest.mark.parametrize("gain", [0.85, 1.1])
def test_the_light_may_change(gain: float) -> None:
    tracker = FieldTracker()
    tracker.update(field(100, 100), [cell for _, cell in cells_at(100, 100)])
    known = {i for i, _ in cells_at(100, 100)}
    found = cells_at(160, 140)
    tracked = tracker.update(field(160, 140, gain=gain), [cell for _, cell in found])
    assert [s.is_new for s in tracked] == [i not in known for i, _ in found]


def test_pixels_must_be_rgb() -> None:
    with pytest.raises(ValueError, match="uint8"):
        FieldTracker().update(np.zeros((10, 10), np.uint8), [])


def shift_of(
    before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]
) -> tuple[float, float, float] | None:
    return register(Spectrum(Texture.of(before)), Spectrum(Texture.of(after)))


@pytest.mark.parametrize(
    ("x", "y"),
    [(0, 0), (7, -3), (-160, 20), (250, 0), (-250, 10), (0, 180), (-5, -185), (150, 120), (-170, 130)],
)
def test_a_shift_is_measured_to_a_pixel(x: int, y: int) -> None:
    found = shift_of(field(400, 300), field(400 + x, 300 + y, gain=0.9))
    assert found is not None
    assert found[:2] == pytest.approx((x, y), abs=1)
    assert found[2] > 0.9


def test_a_shift_is_measured_beyond_the_pixels_of_the_reduced_field() -> None:
    large = cv2.resize(SLIDE, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    before, after = (
        np.ascontiguousarray(large[y : y + 960, x : x + 1280]) for x, y in ((800, 600), (1503, 689))
    )
    found = shift_of(before, after)
    assert found is not None
    assert found[:2] == pytest.approx((703, 89), abs=1.5)


def test_fields_that_show_different_places_have_no_shift() -> None:
    assert shift_of(field(100, 100), field(100, 100, plane=OTHER_SLIDE)) is None
    assert shift_of(field(0, 0), field(400, 0)) is None
    assert shift_of(field(0, 0), field(0, 0)[:-20]) is None


def test_noise_alone_is_no_texture() -> None:
    rng = np.random.default_rng(3)
    glass = rng.normal(220, 2, (480, 640, 3)).astype(np.uint8)
    assert Texture.of(glass).is_blank
    assert not Texture.of(field(0, 0)).is_blank
    assert shift_of(glass, glass) is None


def test_a_known_shift_is_refined_and_a_wrong_one_refused() -> None:
    before, after = Texture.of(field(300, 300)), Texture.of(field(400, 340))
    found = refine(before, after, (98.0, 43.0))
    assert found is not None
    assert found[:2] == pytest.approx((100, 40), abs=0.5)
    assert refine(before, after, (60.0, 40.0)) is None
    assert refine(before, after, (319.0, 0.0)) is None
    assert refine(before, Texture.of(field(400, 340)[:-10]), (100.0, 40.0)) is None


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (9, 9), (3, 700), (700, 3), (17, 33)])
def test_fields_of_any_size_are_taken(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    tracker = FieldTracker()
    for _ in range(2):
        tracker.update(pixels, [])


def test_rectangles() -> None:
    a, b = Rectangle(0, 0, 10, 20), Rectangle(5, 0, 15, 20)
    assert a.common(b) == Rectangle(5, 0, 10, 20)
    assert a.share(b) == 0.5
    assert a.share(a.moved(10, 0)) == a.share(a.moved(-30, -30)) == 0
    assert (a.radius, a.area, a.distance(a.moved(3, 4))) == (7.5, 200, 5)
