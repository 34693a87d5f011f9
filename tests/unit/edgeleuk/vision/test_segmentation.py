from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.frames import CYTOPLASM, NUCLEUS, Box, Cell
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision.segmentation import nucleus_and_cell_mask, segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

GLASS, RED, CYTOPLASM_COLOUR, NUCLEUS_COLOUR = (
    (225, 215, 205),
    (205, 150, 140),
    (165, 150, 190),
    (95, 55, 140),
)
PX_PER_UM = 8.0


def smear(
    white: Iterable[Sequence[int]],
    *,
    red: Iterable[Sequence[int]] = (),
    size: tuple[int, int] = (480, 640),
    glass: tuple[int, int, int] = GLASS,
    noise: float = 2.0,
) -> npt.NDArray[np.uint8]:
    """Field with white cells (x, y, cell radius um, nucleus radius um) and red cells (x, y); colours RGB."""
    field = np.full((*size, 3), glass, np.uint8)
    for x, y in red:
        cv2.circle(field, (x, y), round(3.75 * PX_PER_UM), RED, -1)
    for x, y, cell, _ in white:
        cv2.circle(field, (x, y), round(cell * PX_PER_UM), CYTOPLASM_COLOUR, -1)
    for x, y, _, nucleus in white:
        cv2.circle(field, (x, y), round(nucleus * PX_PER_UM), NUCLEUS_COLOUR, -1)
    field = cv2.GaussianBlur(field, (0, 0), 1.0)
    grain = np.random.default_rng(0).normal(0, noise, field.shape)
    return np.clip(field + grain, 0, 255).astype(np.uint8)


RED_CELLS = [(60, 60), (150, 400), (420, 60), (560, 420), (330, 420), (60, 250), (600, 120), (250, 60)]


def test_one_cell_among_red_cells_has_its_place_and_size() -> None:
    (cell,) = segment(smear([(300, 240, 6, 4)], red=RED_CELLS))
    assert cell.box.centre == pytest.approx((300, 240), abs=3)
    assert cell.area_px == pytest.approx(np.pi * 48**2, rel=0.08)
    assert cell.nucleus_area_px == pytest.approx(np.pi * 32**2, rel=0.08)
    assert not cell.touches_border
    assert set(np.unique(cell.mask)) == {0, CYTOPLASM, NUCLEUS}


def test_box_is_tight() -> None:
    (cell,) = segment(smear([(300, 240, 6, 4)], red=RED_CELLS))
    inside = cell.mask > 0
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()


@pytest.mark.parametrize("known", [None, PX_PER_UM])
def test_scale_may_be_given_or_estimated(known: float | None) -> None:
    field = smear([(300, 240, 6, 4), (480, 250, 7, 5)], red=RED_CELLS)
    assert len(segment(field, px_per_um=known)) == 2


@pytest.mark.parametrize(
    "glass",
    [(250, 235, 150), (235, 215, 235), (200, 200, 200), (255, 255, 255)],
    ids=["yellow", "violet", "dim", "bright"],
)
def test_the_background_colour_cancels_out(glass: tuple[int, int, int]) -> None:
    tinted = smear([(300, 240, 6, 4)], red=RED_CELLS).astype(np.float32) / GLASS * glass
    (cell,) = segment(np.clip(tinted, 0, 255).astype(np.uint8))
    assert cell.area_px == pytest.approx(np.pi * 48**2, rel=0.1)
    assert cell.nucleus_area_px == pytest.approx(np.pi * 32**2, rel=0.1)


def test_red_cells_as_dense_as_nuclei_are_left_out() -> None:
    """Colours as measured in a field of BCISC, whose thick red cells look grey."""
    field = np.full((480, 640, 3), (134, 179, 114), np.uint8)
    for x, y in RED_CELLS:
        cv2.circle(field, (x, y), round(3.75 * PX_PER_UM), (57, 61, 29), -1)
    assert segment(cv2.GaussianBlur(field, (0, 0), 1.0).astype(np.uint8), px_per_um=PX_PER_UM) == []


def test_no_white_cell_is_an_empty_list() -> None:
    assert segment(smear([], red=RED_CELLS)) == []


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_plain_picture_holds_no_cell(value: int) -> None:
    assert segment(np.full((480, 640, 3), value, np.uint8)) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (16, 16)])
def test_tiny_pictures_do_not_fail(size: tuple[int, int]) -> None:
    assert segment(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)) is not None


def test_platelets_are_left_out() -> None:
    platelets = [(x, y, 1.4, 1.2) for x, y in [(200, 150), (500, 300), (100, 150), (250, 300)]]
    assert segment(smear(platelets, red=RED_CELLS)) == []


@pytest.mark.parametrize("radius", [3.5, 5.0, 6.5])
def test_cells_whose_nuclei_touch_are_parted(radius: float) -> None:
    reach = round((radius + 0.4) * PX_PER_UM)
    white = [
        (300 - reach, 240, radius + 0.6, radius + 0.4),
        (300 + reach - 4, 250, radius + 0.6, radius + 0.4),
    ]
    first, second = segment(smear(white, red=RED_CELLS))
    assert first.area_px == pytest.approx(second.area_px, rel=0.1)
    assert first.box.centre[0] < 300 < second.box.centre[0]


def test_a_nucleus_with_a_waist_inside_one_cell_stays_whole() -> None:
    field = smear([(300, 240, 7.5, 0)], red=RED_CELLS, noise=0)
    for x in (274, 326):
        cv2.circle(field, (x, 240), 27, NUCLEUS_COLOUR, -1)
    assert len(segment(cv2.GaussianBlur(field, (0, 0), 1.0))) == 1


def test_a_clump_of_nuclei_does_not_pass_for_the_scale() -> None:
    red = [(60 + 75 * i, 50 + 70 * j) for i in range(8) for j in range(6) if not (2 < i < 6 and 1 < j < 5)]
    clump = [
        (310 + round(86 * x), 230 + round(74 * y), 5.5, 5.2) for x, y in [(-1, 0), (0, 0), (0.5, 1), (1, 0)]
    ]
    assert len(segment(smear(clump, red=red))) == 4


def test_dark_and_pale_chromatin_are_both_nuclei() -> None:
    field = smear([(200, 240, 6, 4), (430, 240, 6, 4)], red=RED_CELLS, noise=0)
    cv2.circle(field, (200, 240), 32, (25, 10, 70), -1)
    assert len(segment(field)) == 2


def test_a_vignette_does_not_pass_for_cytoplasm() -> None:
    whole = smear([(80, 400, 6, 4), (300, 240, 6, 4)], red=RED_CELLS)
    y, x = np.mgrid[:480, :640]
    shade = 1 - 0.25 * np.hypot((x - 320) / 320, (y - 240) / 240)[..., None] / 2**0.5
    cells = segment((whole * shade).astype(np.uint8))
    assert [cell.area_px for cell in cells] == pytest.approx([np.pi * 48**2] * 2, rel=0.12)


def test_lobes_of_one_nucleus_are_one_cell() -> None:
    field = smear([(300, 240, 7, 0)], red=RED_CELLS, noise=0)
    for x, y in [(275, 225), (322, 222), (300, 268)]:
        cv2.circle(field, (x, y), 17, NUCLEUS_COLOUR, -1)
    (cell,) = segment(field)
    assert cell.area_px == pytest.approx(np.pi * 56**2, rel=0.1)


def test_touching_cells_are_two() -> None:
    cells = segment(smear([(260, 240, 6, 5), (355, 240, 6, 5)], red=RED_CELLS))
    assert [round(cell.box.centre[0], -1) for cell in cells] == [260, 360]
    assert all(cell.area_px == pytest.approx(np.pi * 48**2, rel=0.12) for cell in cells)


def test_red_cells_that_touch_stay_outside() -> None:
    touching = [(300 + dx, 240 + dy) for dx, dy in [(76, 0), (-76, 0), (0, 76)]]
    (cell,) = segment(smear([(300, 240, 6, 4)], red=RED_CELLS + touching))
    assert cell.area_px == pytest.approx(np.pi * 48**2, rel=0.12)


@pytest.mark.parametrize("x", [0, 20, 639])
def test_a_cell_cut_by_the_border_says_so(x: int) -> None:
    (cell,) = segment(smear([(x, 240, 7, 5)], red=[p for p in RED_CELLS if abs(p[0] - x) > 70]))
    assert cell.touches_border


@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize(
    ("radius", "nucleus", "apart", "shown"),
    [
        (5, 5, 9.4, 6.0),
        (5, 5, 9.4, 3.0),
        (5, 5, 8.5, 4.0),
        (6.5, 6, 12.4, 2.0),
        (6.5, 6, 13.2, 1.5),
        (5, 4.6, 9.4, 2.0),
        (6, 4, 11.4, 3.0),
        (6, 4, 12.2, 3.0),
    ],
)
def test_a_whole_cell_that_touches_a_cut_one_is_whole(
    radius: float, nucleus: float, apart: float, shown: float, side: int
) -> None:
    depth = [(shown - radius + far) * PX_PER_UM for far in (0, apart)]
    white = [(320, int(y), radius, nucleus) for y in depth]
    field = np.ascontiguousarray(np.rot90(smear(white, red=[(60, 300), (560, 420), (300, 400)]), side))
    whole = [cell for cell in segment(field, px_per_um=PX_PER_UM) if not cell.touches_border]
    assert len(whole) == 1
    assert whole[0].area_px == pytest.approx(np.pi * (radius * PX_PER_UM) ** 2, rel=0.15)


@pytest.mark.parametrize("shown", [3.0, 5.0, 7.0, 9.0])
@pytest.mark.parametrize(
    "lobes", [((-2.2, 0), (2.2, 0)), ((0, -2.2), (0, 2.2)), ((-2, 1), (2, 1), (0, -2.4))]
)
def test_a_cut_cell_with_lobes_is_never_whole(lobes: Sequence[tuple[float, float]], shown: float) -> None:
    x, y = 320, round((shown - 6) * PX_PER_UM)
    parts = [(x + round(a * PX_PER_UM), y + round(b * PX_PER_UM), 0, 2.3) for a, b in lobes]
    field = smear([(x, y, 6, 2), *parts], red=[(60, 300), (560, 420), (300, 400)])
    assert all(cell.touches_border for cell in segment(field, px_per_um=PX_PER_UM))


@pytest.mark.parametrize("side", [120, 300])
def test_a_crop_that_is_mostly_one_cell(side: int) -> None:
    crop = cv2.resize(
        smear([(300, 240, 6, 4)])[180:300, 240:360], (side, side), interpolation=cv2.INTER_LINEAR_EXACT
    )
    (cell,) = segment(crop)
    assert cell.area_px == pytest.approx(np.pi * (48 * side / 120) ** 2, rel=0.08)


def test_cells_come_in_reading_order() -> None:
    places = [(100, 130), (330, 120), (560, 140), (90, 350), (300, 340), (540, 360)]
    cells = segment(smear([(x, y, 6, 4) for x, y in reversed(places)]), px_per_um=PX_PER_UM)
    assert [cell.box.centre for cell in cells] == [pytest.approx(place, abs=4) for place in places]


def test_the_picture_is_not_altered() -> None:
    field = smear([(300, 240, 6, 4)], red=RED_CELLS)
    before = field.copy()
    segment(field)
    np.testing.assert_array_equal(field, before)


def test_a_read_only_view_is_enough() -> None:
    field = smear([(300, 240, 6, 4)], red=RED_CELLS)[:, ::-1]
    field.flags.writeable = False
    assert len(segment(field)) == 1


@pytest.mark.parametrize("px_per_um", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_none_is_refused(px_per_um: float) -> None:
    with pytest.raises(ValueError, match="expected px_per_um above 0"):
        segment(smear([]), px_per_um=px_per_um)


def test_pixels_must_be_rgb() -> None:
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8"):
        segment(np.zeros((10, 10), np.uint8))


def test_painting_puts_each_mask_in_its_box() -> None:
    first = Cell(Box(1, 2, 3, 2), np.array([[0, 128, 0], [128, 255, 128]], np.uint8))
    second = Cell(Box(3, 3, 2, 1), np.array([[255, 128]], np.uint8))
    np.testing.assert_array_equal(
        nucleus_and_cell_mask([first, second], (5, 6)),
        [
            [0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0],
            [0, 0, 128, 0, 0, 0],
            [0, 128, 255, 255, 128, 0],
            [0, 0, 0, 0, 0, 0],
        ],
    )


def test_painting_no_cells_is_black() -> None:
    assert not nucleus_and_cell_mask([], (4, 7)).any()


@pytest.mark.parametrize("seed", range(3))
def test_whole_cells_do_not_depend_on_what_is_made_of_cut_ones(seed: int) -> None:
    pixels = VirtualSlide(seed=60 + seed, white_cells_per_field=8.0).field(0, 0).pixels
    usual, quick = (segment(pixels, px_per_um=13.0, outline_cut=outline) for outline in (True, False))
    assert [cell.touches_border for cell in usual].count(True) > 0
    by_place = {cell.box: cell for cell in usual if not cell.touches_border}
    whole = [cell for cell in quick if not cell.touches_border]
    assert {cell.box for cell in whole} == set(by_place)
    for cell in whole:
        np.testing.assert_array_equal(cell.mask, by_place[cell.box].mask)
    # Each cut one is still there, inside its outline, and at the border.
    cut = [[cell for cell in cells if cell.touches_border] for cells in (usual, quick)]
    assert len(cut[0]) == len(cut[1])
    for cell in cut[1]:
        x, y = cell.box.centre
        assert any(
            one.box.x <= x < one.box.x + one.box.w and one.box.y <= y < one.box.y + one.box.h
            for one in cut[0]
        )
