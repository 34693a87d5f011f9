from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.frames import Box, Cell
from edgeleuk.vision import tracking
from edgeleuk.vision.tracking import FieldTracker, Sighting

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
        sightings = tracker.update(field(x, y, **kwargs), [cell for _, cell in found])
        for (identity, _), sighting in zip(found, sightings, strict=True):
            assert owner.setdefault(sighting.track, identity) == identity
    return owner


def test_the_first_field_is_all_new() -> None:
    found = cells_at(0, 0)
    sightings = FieldTracker().update(field(0, 0), [cell for _, cell in found])
    assert sightings == [Sighting(track, is_new=True) for track in range(len(found))]


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
    for (identity, _), sighting in zip(cells_at(60, 0), later, strict=True):
        if identity in known:
            assert sighting == Sighting(known[identity].track, is_new=False)


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


def test_a_changed_size_starts_a_new_area() -> None:
    tracker = FieldTracker()
    cells = [cell for _, cell in cells_at(100, 100)]
    tracker.update(field(100, 100), cells)
    larger = np.ascontiguousarray(SLIDE[100 : 100 + 2 * HEIGHT, 100 : 100 + 2 * WIDTH])
    assert all(s.is_new for s in tracker.update(larger, cells))


def test_an_empty_glass_is_no_landmark() -> None:
    tracker = FieldTracker()
    blank = np.full((HEIGHT, WIDTH, 3), 230, np.uint8)
    cells = [cell for _, cell in cells_at(100, 100)]
    tracker.update(blank, cells)
    assert all(s.is_new for s in tracker.update(blank, cells))


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
    monkeypatch.setattr(tracking, "_MOST_KEYFRAMES", 3)
    monkeypatch.setattr(tracking, "_MOST_CELLS", 10)
    tracker = FieldTracker()
    rng = np.random.default_rng(0)
    numbers = []
    for _ in range(6):
        noise = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 3)
        cells = [Cell(Box(x, 50, 20, 20), np.full((20, 20), 128, np.uint8)) for x in (20, 80, 140, 200)]
        numbers += [s.track for s in tracker.update(noise, cells)]
    assert numbers == list(range(24))
    assert len(tracker._keyframes) == 3
    assert len(tracker._known) == 10


@pytest.mark.parametrize("gain", [0.85, 1.1])
def test_the_light_may_change(gain: float) -> None:
    tracker = FieldTracker()
    tracker.update(field(100, 100), [cell for _, cell in cells_at(100, 100)])
    known = {i for i, _ in cells_at(100, 100)}
    found = cells_at(160, 140)
    sightings = tracker.update(field(160, 140, gain=gain), [cell for _, cell in found])
    assert [s.is_new for s in sightings] == [i not in known for i, _ in found]


def test_pixels_must_be_rgb() -> None:
    with pytest.raises(ValueError, match="uint8"):
        FieldTracker().update(np.zeros((10, 10), np.uint8), [])
