from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeleuk.vision.morphology import (
    around,
    closed,
    components,
    count_labels,
    distance_from,
    filled,
    mask_of,
    of_labels,
    opened,
    within,
)
from edgeleuk.vision.reducing import green_of, percentiles, reduced, thinned

PICTURES = arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24)))
MASKS = arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))).map(
    lambda mask: np.where(mask, np.uint8(255), np.uint8(0))
)
# On both sides of the radius from which distance transforms take over.
DIAMETERS = st.floats(0.5, 30)


@given(PICTURES, st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_percentiles_are_those_of_numpy(values: np.ndarray, percents: list[float]) -> None:
    np.testing.assert_allclose(percentiles(values, percents), np.percentile(values, percents), atol=1e-9)


@given(st.integers(0, 255), st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
def test_a_flat_picture_stays_flat(level: int, height: int, width: int, factor: int) -> None:
    size = (max(1, width // factor), max(1, height // factor))
    found = reduced(np.full((height, width, 3), level, np.uint8), size)
    assert found.shape == (size[1], size[0], 3)
    assert (found == level).all()


def test_reducing_averages() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 64), np.uint8)
    blocks = picture.reshape(12, 8, 8, 8).mean(axis=(1, 3))
    # Each of the three halvings rounds.
    assert np.abs(reduced(picture, (8, 12)) - blocks).max() <= 2


@given(
    st.integers(1, 24), st.integers(1, 24), st.integers(1, 5), st.sampled_from([np.uint8, np.float32]),
    st.booleans(),
)  # fmt: skip
def test_a_thinned_picture_is_its_slice(
    height: int, width: int, step: int, kind: type, exchanged: bool
) -> None:
    picture = np.arange(height * width * 3).reshape(height, width, 3).astype(kind)
    # A view with its channels exchanged cannot be copied pixel by pixel.
    picture = picture[..., ::-1] if exchanged else picture
    found = thinned(picture, step)
    np.testing.assert_array_equal(found, picture[::step, ::step])
    assert found.dtype == kind
    assert step == 1 or found.flags.c_contiguous


def test_nothing_is_done_to_a_picture_of_that_size() -> None:
    picture = np.zeros((5, 7), np.uint8)
    assert reduced(picture, (7, 5)) is picture


def test_green_is_copied() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    green = green_of(pixels)
    assert (green == pixels[..., 1]).all()
    green[:] = 0
    assert pixels[..., 1].any()


@given(MASKS, DIAMETERS)
def test_opening_is_what_distances_say(mask: np.ndarray, diameter: float) -> None:
    core = distance_from(np.where(mask, np.uint8(0), np.uint8(1))) > diameter / 2
    expected = (distance_from(core.astype(np.uint8)) < diameter / 2) & (mask > 0)
    assert ((opened(mask, diameter) > 0) == expected).all()


@given(MASKS, st.floats(0, 15))
def test_within_is_what_distances_say(mask: np.ndarray, radius: float) -> None:
    assert (within(mask, radius) == (distance_from(mask) <= radius)).all()


@given(MASKS, DIAMETERS)
def test_closing_adds_only_what_lies_between(mask: np.ndarray, diameter: float) -> None:
    found = closed(mask, diameter)
    assert (found >= mask).all()
    assert (distance_from(mask)[found > 0] <= diameter / 2).all() or not mask.any()
    assert (found > 0).any() == mask.any()


@pytest.mark.parametrize(("connectivity", "parts"), [(8, 1), (4, 2)])
def test_components_that_touch_by_a_corner(connectivity: int, parts: int) -> None:
    labels, areas = components(np.array([[255, 0], [0, 255]], np.uint8), connectivity)
    assert len(areas) == parts + 1
    assert areas.sum() == labels.size
    assert [int((labels == number).sum()) for number in range(len(areas))] == areas.tolist()


@given(MASKS)
def test_a_mask_is_255_where_something_is(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(mask_of(mask > 0), mask)


@given(MASKS, st.floats(0.5, 12))
def test_a_mask_is_closed_in_its_box_as_in_the_whole(mask: np.ndarray, diameter: float) -> None:
    place = around(mask, diameter / 2 + 1)
    found = np.zeros_like(mask)
    found[place] = filled(closed(mask[place], diameter))
    np.testing.assert_array_equal(found, filled(closed(mask, diameter)))


@given(
    st.integers(1, 300), arrays(np.int32, st.tuples(st.integers(1, 20), st.integers(1, 20))), st.booleans()
)
def test_labels_are_counted_and_chosen_as_by_numpy(count: int, values: np.ndarray, all_of_them: bool) -> None:
    labels = np.abs(values % count).astype(np.int32)
    where = None if all_of_them else labels % 3 == 0
    counted = labels.ravel() if where is None else labels[where]
    np.testing.assert_array_equal(count_labels(labels, count, where), np.bincount(counted, minlength=count))
    chosen = np.arange(count) % 2 == 0
    np.testing.assert_array_equal(of_labels(chosen, labels), chosen[labels])
