"""Planes of the virtual microscope, over a slide that is a staircase, joined into one picture."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision.extended_focus import MAP_PX, extend_focus, map_size

if TYPE_CHECKING:
    from edgeleuk.frames import RgbImage

WIDTH, HEIGHT, STAIR_PX = 640, 480, 160
STEP_UM, PLANES = 0.8, 5
# Where a region is in focus it has so many times the detail that it has far out of it; else it shows nothing.
TEXTURE = 3.0


@cache
def looks(seed: int, place: int, far_steps: float, exposure: int) -> RgbImage:
    slide = VirtualSlide(seed, white_cells_per_field=8.0)
    return slide.field(
        90.0 * place, 60.0, z_um=far_steps * STEP_UM, exposure=exposure, width=WIDTH, height=HEIGHT
    ).pixels


def staircase(seed: int, place: int, stairs: list[float]) -> list[RgbImage]:
    """Take planes of a field whose strips are in focus at so many steps."""
    planes = []
    for plane in range(PLANES):
        strips = [looks(seed, place, round(plane - stair, 2), plane) for stair in stairs]
        parts = [strip[:, n * STAIR_PX : (n + 1) * STAIR_PX] for n, strip in enumerate(strips)]
        planes.append(np.ascontiguousarray(np.hstack(parts)))
    return planes


def detail(pixels: RgbImage) -> npt.NDArray[np.float32]:
    green = cv2.GaussianBlur(pixels[:, :, 1].astype(np.float32), (0, 0), 1.0)
    return np.asarray(cv2.Laplacian(green, cv2.CV_32F, ksize=3) ** 2, np.float32)


FIELDS = st.tuples(st.integers(1, 3), st.integers(0, 2))
STAIRS = st.lists(
    st.sampled_from([0.5, 1.0, 1.75, 2.0, 2.25, 3.0, 3.5]), min_size=WIDTH // STAIR_PX, max_size=4
)


@settings(max_examples=8, deadline=None)
@given(FIELDS, STAIRS)
def test_each_region_is_as_sharp_as_its_best_plane(field: tuple[int, int], stairs: list[float]) -> None:
    planes = staircase(*field, stairs)
    power = np.stack([detail(plane) for plane in planes])
    joined = detail(extend_focus(planes).pixels)
    side, regions = 32, 0
    for top in range(0, HEIGHT, side):
        # Not across a stair, where no slide is so steep.
        for left in (x for x in range(0, WIDTH, side) if (x % STAIR_PX) not in (0, STAIR_PX - side)):
            at = np.s_[top : top + side, left : left + side]
            told = [float(plane[at].mean()) for plane in power]
            far = np.abs(np.arange(PLANES) - stairs[left // STAIR_PX])
            if told[int(far.argmin())] < TEXTURE * told[int(far.argmax())]:
                continue
            regions += 1
            assert joined[at].mean() >= 0.9 * max(told)
    assert regions > 20


@settings(max_examples=8, deadline=None)
@given(FIELDS, STAIRS)
def test_heights_are_right_within_a_step_where_there_is_texture(
    field: tuple[int, int], stairs: list[float]
) -> None:
    told = extend_focus(staircase(*field, stairs)).plane
    assert told.shape == map_size(WIDTH, HEIGHT)[::-1]
    strip = STAIR_PX // MAP_PX
    for n, stair in enumerate(stairs):
        inside = told[:, n * strip + 4 : (n + 1) * strip - 4]
        known = inside[~np.isnan(inside)]
        assert known.size > 0.2 * inside.size
        assert np.quantile(np.abs(known - stair), 0.99) < 1
        assert abs(np.median(known) - stair) < 0.3


def test_where_there_is_nothing_to_focus_on_no_height_is_told() -> None:
    rng = np.random.default_rng(1)
    planes = [
        np.clip(220 + rng.normal(0, 1.4, (240, 320, 3)), 0, 255).astype(np.uint8) for _ in range(PLANES)
    ]
    joined = extend_focus(planes)
    assert np.isnan(joined.plane).all()
    # The plane of the focus that was found.
    assert np.array_equal(joined.pixels, planes[PLANES // 2])


@pytest.mark.parametrize("size", [(8, 8), (9, 17), (641, 479)])
def test_any_size(size: tuple[int, int]) -> None:
    planes = [np.full((*size, 3), grey, np.uint8) for grey in (100, 150, 200)]
    joined = extend_focus(planes)
    assert joined.pixels.shape == (*size, 3)
    assert joined.plane.shape == map_size(size[1], size[0])[::-1]


@pytest.mark.parametrize("planes", [[], [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)]])
def test_planes_that_do_not_belong_together(planes: list[RgbImage]) -> None:
    with pytest.raises(ValueError, match="expected planes of one size, got"):
        extend_focus(planes)


def test_the_order_of_the_planes_is_that_of_the_heights() -> None:
    planes = staircase(1, 0, [0.5, 0.5, 3.5, 3.5])
    up, down = extend_focus(planes), extend_focus(planes[::-1])
    both = ~np.isnan(up.plane) & ~np.isnan(down.plane)
    assert np.allclose(up.plane[both], PLANES - 1 - down.plane[both], atol=1e-3)
    for first, second in pairwise([up.pixels, down.pixels]):
        assert np.mean(first != second) < 0.2
