"""A stream that fails without a word: frozen, black, swapped, of another size; and one that only looks so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.capture import decoded, open_source
from edgeleuk.frames import Frame
from edgeleuk.virtual import VirtualSlide
from edgeleuk.vision.stream import BLACK, FROZEN, FROZEN_AFTER, SWAPPED, StreamWatch, stained_the_wrong_way

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.frames import RgbImage


def fields(number: int, *, seed: int = 1, white_cells: float = 3.0) -> list[RgbImage]:
    slide = VirtualSlide(seed, white_cells_per_field=white_cells, px_per_um=8)
    return [slide.field(40.0 * n, 0, width=480, height=360).pixels for n in range(number)]


def exchanged(pixels: RgbImage) -> RgbImage:
    return np.ascontiguousarray(pixels[..., ::-1])


def reasons(pictures: list[RgbImage], *, camera: bool = True) -> list[str | None]:
    watch = StreamWatch(camera=camera)
    return [watch.look(picture).reason for picture in pictures]


def kinds(pictures: list[RgbImage]) -> list[tuple[str, ...]]:
    watch = StreamWatch(camera=True)
    return [tuple(notice.kind for notice in watch.look(picture).notices) for picture in pictures]


FIELDS = fields(6)
BARE = fields(6, white_cells=0.0)


def test_a_healthy_stream_is_left_alone() -> None:
    assert reasons(FIELDS) == [None] * 6
    assert kinds(FIELDS) == [()] * 6


def test_a_frozen_picture_is_rejected_at_once_and_told_when_it_lasts() -> None:
    stream = [FIELDS[0], *[FIELDS[1].copy() for _ in range(5)], FIELDS[2]]
    assert reasons(stream) == [None, None, *[FROZEN] * 4, None]
    assert kinds(stream) == [(), (), (), (), ("frozen",), (), ("recovered",)]
    assert FROZEN_AFTER == 3


def test_a_picture_repeated_once_is_no_event() -> None:
    assert kinds([FIELDS[0], FIELDS[0], FIELDS[1], FIELDS[1], FIELDS[2]]) == [()] * 5


@given(place=st.tuples(st.integers(0, 359), st.integers(0, 479), st.integers(0, 2)))
def test_one_level_in_one_pixel_is_life(place: tuple[int, int, int]) -> None:
    moved = FIELDS[0].copy()
    moved[place] ^= 1
    assert reasons([FIELDS[0], moved]) == [None, None]


@pytest.mark.parametrize("noise", [0, 2, 6])
def test_black(noise: int) -> None:
    rng = np.random.default_rng(1)
    dark = np.abs(rng.normal(0, noise, FIELDS[0].shape)).astype(np.uint8)
    dark[5, 5] = 255  # a hot pixel is no light
    assert reasons([FIELDS[0], dark, dark, FIELDS[1]]) == [None, BLACK, BLACK, None]
    assert kinds([FIELDS[0], dark, dark, FIELDS[1]]) == [(), ("black",), (), ("recovered",)]


def test_a_dim_field_is_not_black() -> None:
    assert reasons([np.asarray(field * 0.2, np.uint8) for field in FIELDS]) == [None] * 6


def test_colours_that_are_swapped_from_the_first_picture_on() -> None:
    assert reasons([exchanged(field) for field in FIELDS]) == [SWAPPED] * 6


def test_colours_that_are_swapped_in_the_middle() -> None:
    stream = [*FIELDS[:2], *map(exchanged, FIELDS[2:4]), *FIELDS[4:]]
    assert reasons(stream) == [None, None, SWAPPED, SWAPPED, None, None]
    assert kinds(stream) == [(), (), ("swapped",), (), ("recovered",), ()]


def test_without_a_nucleus_the_streams_own_history_tells() -> None:
    assert all(stained_the_wrong_way(field) is None for field in BARE)
    stream = [*BARE[:2], *map(exchanged, BARE[2:4]), *BARE[4:]]
    assert reasons(stream) == [None, None, SWAPPED, SWAPPED, None, None]


def test_a_nucleus_corrects_a_history_that_was_swapped_from_the_beginning() -> None:
    stream = [*map(exchanged, BARE[:2]), exchanged(FIELDS[0]), *map(exchanged, BARE[2:4]), BARE[4]]
    assert reasons(stream) == [None, None, SWAPPED, SWAPPED, SWAPPED, None]


def test_a_sheet_of_blasts_without_red_cells_is_not_swapped() -> None:
    rng = np.random.default_rng(3)
    field = np.full((360, 480, 3), (225, 222, 228), np.uint8)
    for centre in rng.integers((20, 20), (460, 340), (40, 2)):
        cv2.circle(field, centre.tolist(), 34, (165, 160, 205), -1, cv2.LINE_AA)
        cv2.circle(field, centre.tolist(), 24, (95, 60, 140), -1, cv2.LINE_AA)
    assert stained_the_wrong_way(field) is None
    assert reasons([field]) == [None]


def test_dust_in_the_picture_is_no_fault_of_the_stream() -> None:
    dusty = [field.copy() for field in FIELDS]
    for field in dusty:
        cv2.circle(field, (200, 100), 12, (60, 58, 55), -1)
    assert reasons(dusty) == [None] * 6


def test_another_resolution_is_told_each_time() -> None:
    small = [np.ascontiguousarray(field[::2, ::2]) for field in FIELDS]
    watch = StreamWatch(camera=True)
    looks = [watch.look(field) for field in (FIELDS[0], small[1], small[2], FIELDS[3])]
    assert [look.reason for look in looks] == [None] * 4
    texts = [[notice.text for notice in look.notices] for look in looks]
    assert texts == [[], ["the camera now sends 240x180"], [], ["the camera now sends 480x360"]]


def test_a_folder_may_repeat_and_mix_its_pictures() -> None:
    stream = [FIELDS[0], FIELDS[0], np.ascontiguousarray(FIELDS[1][::2])]
    watch = StreamWatch(camera=False)
    assert [watch.look(field) for field in stream] == [(None, ())] * 3
    assert watch.look(exchanged(FIELDS[2])).reason == SWAPPED
    assert watch.look(np.zeros_like(FIELDS[0])).reason == BLACK


def test_real_fields_are_told_from_their_exchanged_selves(edgeleuk_data: Path) -> None:
    right, wrong = [], []
    with open_source(f"dir://{edgeleuk_data}/fields_bccd") as source:
        for item in source.frames():
            if isinstance(item, Frame):
                right.append(stained_the_wrong_way(decoded(item).pixels[::4, ::4]))
                wrong.append(stained_the_wrong_way(decoded(item).pixels[::4, ::4, ::-1]))
    # Measured: 83 of 182 fields tell, and none of them wrongly.
    assert True not in right
    assert False not in wrong
    assert right.count(False) > 60
    assert wrong.count(True) > 60
