"""Fields that show few cells: unrelated ones are not taken for one another, and overlaps are found."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision.registration import Spectrum, Texture, _correlations, register

PX_PER_UM, WIDTH, HEIGHT = 13.0, 360, 270


def look(slide: VirtualSlide, x_um: float, y_um: float, exposure: int = 1) -> Spectrum:
    field = slide.field(x_um, y_um, width=WIDTH, height=HEIGHT, exposure=exposure)
    return Spectrum(Texture.of(field.pixels))


def test_unrelated_fields_with_few_cells_are_two_places() -> None:
    slide = VirtualSlide(seed=20)
    fields = [look(slide, 700.0 * i, 90.0 * i) for i in range(20)]
    pairs = list(itertools.combinations(fields, 2))
    # Round cells of one size do agree once in a while.
    assert sum(register(*pair) is not None for pair in pairs) <= 0.005 * len(pairs)


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_fields_with_few_cells_that_overlap_are_found(share: float) -> None:
    slide = VirtualSlide(seed=20)
    moved = (1 - share) * WIDTH
    found = [
        register(look(slide, 700.0 * i, 0.0), look(slide, 700.0 * i + moved / PX_PER_UM, 0.0, 2))
        for i in range(12)
    ]
    near = [shift is not None and np.hypot(shift.x - moved, shift.y) < 3 for shift in found]
    assert sum(near) >= 11


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_two_different_cells_on_empty_glass_are_two(cells: int) -> None:
    def field(seed: int) -> Spectrum:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        light = np.full((HEIGHT, WIDTH), 220.0)
        for _ in range(cells):
            at = rng.uniform(45, (WIDTH - 45, HEIGHT - 45))
            angle = np.arctan2(y - at[1], x - at[0])
            edge = 38 * (
                1 + sum(rng.normal(0, 0.08) * np.cos(k * angle + rng.uniform(0, 6)) for k in (2, 3, 4))
            )
            light -= 90 / (1 + np.exp((np.hypot(x - at[0], y - at[1]) - edge) / 2))
        light += rng.normal(0, 2, light.shape)
        return Spectrum(Texture.of(np.repeat(light.clip(0, 255)[..., None], 3, axis=2).astype(np.uint8)))

    fields = [field(seed) for seed in range(8)]
    assert all(register(*pair) is None for pair in itertools.combinations(fields, 2))


@pytest.mark.parametrize("seed", range(4))
def test_correlations_are_those_of_opencv(seed: int) -> None:
    whole = Texture.of(VirtualSlide(seed=seed).field(0.0, 0.0, width=WIDTH, height=HEIGHT).pixels).fine
    part = whole[9:-3, 2:-6]
    expected = cv2.matchTemplate(whole, part, cv2.TM_CCOEFF_NORMED)
    found = _correlations(whole, part)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.unravel_index(found.argmax(), found.shape) == (9, 2)
