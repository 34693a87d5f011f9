from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.vision.scale import RED_CELL_UM, estimate_px_per_um, is_plausible, measure_scale

if TYPE_CHECKING:
    import numpy.typing as npt

GLASS, RED, NUCLEUS = (225, 215, 205), (205, 150, 140), (95, 55, 140)


def field_of(
    diameter: int, centres: list[tuple[int, int]], *, size: tuple[int, int] = (480, 640), pallor: float = 0.0
) -> npt.NDArray[np.uint8]:
    field = np.full((*size, 3), GLASS, np.uint8)
    for x, y in centres:
        cv2.circle(field, (x, y), diameter // 2, RED, -1)
    for x, y in centres:
        if pallor:
            cv2.circle(field, (x, y), round(pallor * diameter / 2), GLASS, -1)
    grain = np.random.default_rng(0).normal(0, 2, field.shape)
    return np.clip(cv2.GaussianBlur(field, (0, 0), 1.0) + grain, 0, 255).astype(np.uint8)


GRID = [(x, y) for x in (80, 240, 400, 560) for y in (80, 240, 400)]


@pytest.mark.parametrize("diameter", [40, 60, 90, 110])
def test_lone_red_cells(diameter: int) -> None:
    estimate = estimate_px_per_um(field_of(diameter, GRID))
    assert estimate.red_cells == len(GRID)
    assert estimate.px_per_um == pytest.approx(diameter / RED_CELL_UM, rel=0.06)
    assert 0.02 < estimate.std_px_per_um / estimate.px_per_um < 0.1


def test_pale_centres_do_not_count_as_cells() -> None:
    estimate = estimate_px_per_um(field_of(90, GRID, pallor=0.45))
    assert estimate.px_per_um == pytest.approx(90 / RED_CELL_UM, rel=0.06)


def test_overlapping_cells_are_measured_in_their_clump() -> None:
    pairs = [(x + dx, y) for x, y in GRID for dx in (0, 55)]
    estimate = estimate_px_per_um(field_of(80, pairs))
    assert estimate.px_per_um == pytest.approx(80 / RED_CELL_UM, rel=0.1)


def test_white_cells_are_not_measured() -> None:
    field = field_of(60, GRID)
    for x in (160, 320, 480):
        cv2.circle(field, (x, 160), 65, (165, 150, 190), -1)
        cv2.circle(field, (x, 160), 50, NUCLEUS, -1)
    estimate = estimate_px_per_um(field)
    assert estimate.px_per_um == pytest.approx(60 / RED_CELL_UM, rel=0.06)


def test_a_large_picture_gives_pixels_of_that_picture() -> None:
    large = cv2.resize(field_of(60, GRID), (2560, 1920), interpolation=cv2.INTER_LINEAR_EXACT)
    assert estimate_px_per_um(large).px_per_um == pytest.approx(4 * 60 / RED_CELL_UM, rel=0.06)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_red_cells_give_none(count: int) -> None:
    assert estimate_px_per_um(field_of(90, GRID[:count])) is None


@pytest.mark.parametrize("value", [0, 255])
def test_a_plain_picture_gives_none(value: int) -> None:
    assert estimate_px_per_um(np.full((100, 100, 3), value, np.uint8)) is None


def test_a_single_pixel_gives_none() -> None:
    assert estimate_px_per_um(np.zeros((1, 1, 3), np.uint8)) is None


def test_pixels_must_be_rgb() -> None:
    with pytest.raises(ValueError, match="uint8"):
        estimate_px_per_um(np.zeros((10, 10, 3), np.float32))


@pytest.mark.parametrize("width_um", [60, 150, 240, 308, 400, 600])
def test_fields_of_any_width(width_um: float) -> None:
    # 2048 pixels across, as many red cells as a smear has, a third of them touching another.
    scale = 2048 / width_um
    rng = np.random.default_rng(round(width_um))
    step = 9.5 * scale
    centres = [
        (round(x + rng.uniform(-0.2, 0.2) * step), round(y + rng.uniform(-0.2, 0.2) * step))
        for x in np.arange(step / 2, 2048, step)
        for y in np.arange(step / 2, 1536, step)
        if rng.random() < 0.75
    ]
    estimate = estimate_px_per_um(
        field_of(round(RED_CELL_UM * scale), centres, size=(1536, 2048), pallor=0.3)
    )
    true = round(RED_CELL_UM * scale) // 2 * 2 / RED_CELL_UM
    assert estimate.px_per_um == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("diameter", [14, 20])
def test_a_scale_that_no_microscope_has_is_measured_and_not_estimated(diameter: int) -> None:
    field = field_of(
        diameter, [(x, y) for x in range(20, 310, 30) for y in range(20, 230, 30)], size=(240, 320)
    )
    assert not is_plausible(measure_scale(field).px_per_um)
    assert estimate_px_per_um(field) is None


def test_cells_too_large_to_be_plausible() -> None:
    centres = [(x, y) for x in range(250, 2400, 480) for y in range(250, 1800, 480)]
    field = field_of(360, centres, size=(1800, 2400))
    assert measure_scale(field).px_per_um > 40
    assert estimate_px_per_um(field) is None


def test_a_white_cell_alone_tells_no_scale() -> None:
    field = field_of(10, [], size=(300, 300))
    rng = np.random.default_rng(3)
    cv2.circle(field, (150, 150), 95, (190, 175, 205), -1)
    for angle in rng.uniform(0, 2 * np.pi, 60):
        # Its ragged rim is full of small arcs.
        x, y = (round(150 + 95 * part) for part in (np.cos(angle), np.sin(angle)))
        cv2.circle(field, (x, y), int(rng.integers(4, 9)), (190, 175, 205), -1)
    cv2.circle(field, (150, 150), 50, NUCLEUS, -1)
    assert estimate_px_per_um(field) is None


@pytest.mark.parametrize(("scale", "plausible"), [(2.9, False), (3.0, True), (40.0, True), (40.1, False)])
def test_plausible_scales(scale: float, *, plausible: bool) -> None:
    assert is_plausible(scale) is plausible
