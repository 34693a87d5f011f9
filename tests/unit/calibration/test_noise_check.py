"""Noise and flat colour are no cells; every real cell is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeleuk.virtual.cells import single_cell
from edgeleuk_calibration.noise_check import Structure, noise_fault, structure
from edgeleuk_convert.dataset.decoding import decode

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

SIZE = (120, 120, 3)
MASK = np.zeros(SIZE[:2], np.uint8)
MASK[10:110, 15:100] = 255


def made(kind: str, seed: int = 0) -> Pixels:
    rng = np.random.default_rng(seed)
    pictures = {
        "gaussian": np.clip(rng.normal(128, 40, SIZE), 1, 255),
        "faint gaussian": rng.normal(128, 6, SIZE),
        "uniform": rng.integers(1, 256, SIZE),
        "grey noise": np.repeat(rng.integers(1, 256, (*SIZE[:2], 1)), 3, axis=2),
        "constant": np.full(SIZE, 140),
        "near-constant": 140 + rng.integers(-2, 3, SIZE),
        "faint slope": 140 + np.linspace(0, 4, SIZE[1])[None, :, None].repeat(SIZE[0], 0).repeat(3, 2),
    }
    return np.where(MASK[..., None] > 0, pictures[kind], 0).astype(np.uint8)


@pytest.mark.parametrize("kind", ["gaussian", "faint gaussian", "uniform", "grey noise"])
def test_noise_is_told(kind: str) -> None:
    assert (noise_fault(structure(made(kind), MASK)) or "").startswith("noise")


@pytest.mark.parametrize("kind", ["constant", "near-constant", "faint slope"])
def test_flat_colour_is_told(kind: str) -> None:
    assert (noise_fault(structure(made(kind), MASK)) or "").startswith("constant")


def test_the_black_around_a_cell_does_not_pass_for_structure() -> None:
    assert structure(made("gaussian"), MASK).correlation == pytest.approx(0, abs=0.05)
    assert structure(made("constant"), MASK) == Structure(0, 0)


def test_nothing_and_a_speck() -> None:
    assert structure(made("gaussian"), np.zeros_like(MASK)) == Structure(0, 0)
    speck = np.zeros_like(MASK)
    speck[50:53, 50:52] = 255
    assert structure(made("gaussian"), speck).spread > 0


def test_drawn_cells_are_cells() -> None:
    for seed in range(3):
        for label in ("blast", "normal"):
            crop = single_cell(label, seed)
            assert noise_fault(structure(crop.pixels, crop.mask)) is None


def test_real_cells_are_far_from_the_limits(edgeleuk_data: Path) -> None:
    """The flattest and the noisiest of all 5,269, and some others."""
    extreme = ("UID_H40_19_2_hem", "UID_28_1_1_all", "UID_48_17_1_all", "UID_28_5_2_all")
    files = [next((edgeleuk_data / "cnmc").glob(f"fold_*/*/{name}.*")) for name in extreme]
    files += sorted((edgeleuk_data / "cnmc").glob("fold_*/*/*.webp"))[::500]
    for file in files:
        pixels = decode(file)
        assert not isinstance(pixels, str)
        of = structure(pixels, np.where(pixels.any(axis=2), np.uint8(255), np.uint8(0)))
        assert of.spread > 2.5, file.name
        assert of.correlation > 0.9, file.name
