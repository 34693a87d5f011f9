"""The gate: how cells look, where their features lie, what is stored of it, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgeleuk.bundle.features import FeatureStatistics, decode_features, encode_features
from edgeleuk.bundle.manifest import InputContract
from edgeleuk.classifier.appearance import CellAppearance
from edgeleuk.classifier.appearance import appearance_of as measured
from edgeleuk.errors import BundleError, DataRefusedError, UsageError
from edgeleuk.frames import CellCrop
from edgeleuk.inference.preprocessing import scaled_cell
from edgeleuk.virtual.cells import single_cell
from edgeleuk_calibration.conformal import fit_conformal
from edgeleuk_calibration.out_of_distribution import feature_statistics, fit_appearance, fit_features
from edgeleuk_calibration.probability import choose_operating_point

CONTRACT = InputContract(
    height=128, width=128, channels=("luminance", "mask"), normalise=True, px_per_um=7.4, crop_px_per_um=18.5,
    rim_um=0.4,
)  # fmt: skip
CELLS = [single_cell(label, seed) for seed in range(3) for label in ("blast", "normal")]


def appearance_of(crop: CellCrop) -> CellAppearance:
    return measured(scaled_cell(crop, CONTRACT))


def with_pixels(crop: CellCrop, pixels: np.ndarray) -> CellCrop:
    inside = crop.mask[..., None] > 0
    return replace(crop, pixels=np.where(inside, np.clip(pixels, 1, 255), 0).astype(np.uint8))


def blurred(crop: CellCrop, sigma_um: float) -> CellCrop:
    inside = crop.mask > 0
    filled = np.where(inside[..., None], crop.pixels, crop.pixels[inside].mean(axis=0))
    return with_pixels(crop, cv2.GaussianBlur(filled.astype(np.float32), (0, 0), sigma_um * crop.px_per_um))


@pytest.mark.parametrize("cell", CELLS)
def test_a_dimmer_lamp_changes_no_measure_much(cell: CellCrop) -> None:
    one, two = appearance_of(cell), appearance_of(with_pixels(cell, cell.pixels * 0.7))
    np.testing.assert_allclose(one, two, rtol=0.06)


@pytest.mark.parametrize("cell", CELLS)
def test_blur_takes_sharpness_and_leaves_colour(cell: CellCrop) -> None:
    looks = [appearance_of(cell), *(appearance_of(blurred(cell, sigma_um)) for sigma_um in (0.2, 0.3, 0.5))]
    assert (np.diff([each.sharpness for each in looks]) < 0).all()
    np.testing.assert_allclose([each[:3] for each in looks], [looks[0][:3]] * 4, rtol=0.05)


@pytest.mark.parametrize("cell", CELLS)
def test_swapped_channels_turn_the_ratio_round(cell: CellCrop) -> None:
    one, two = appearance_of(cell), appearance_of(with_pixels(cell, cell.pixels[..., ::-1]))
    assert two.red_to_blue == pytest.approx(1 / one.red_to_blue)
    assert two.sharpness == pytest.approx(one.sharpness, rel=0.2)


def test_where_the_cell_lies_in_its_picture_does_not_matter() -> None:
    cell = CELLS[0]
    rolled = replace(
        cell, pixels=np.roll(cell.pixels, (20, -13), (0, 1)), mask=np.roll(cell.mask, (20, -13), (0, 1))
    )
    assert appearance_of(rolled) == appearance_of(cell)


def test_nothing_but_rim_is_grey_and_blurred() -> None:
    speck = CellCrop.on_black(np.full((3, 3, 3), 90, np.uint8), 18.5)
    assert appearance_of(speck) == CellAppearance(1.0, 1.0, 1.0, 1e-4)


def test_a_flat_cell_is_blurred() -> None:
    flat = with_pixels(CELLS[0], np.full(CELLS[0].pixels.shape, (120, 50, 130)))
    assert appearance_of(flat).sharpness == pytest.approx(1e-4)


def cohort(seed: int, subjects: int = 12, cells: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Features of cells that lie in a few directions, with noise in the rest; and whose they are."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(4, 24))
    features = rng.normal(size=(subjects * cells, 4)) @ directions + 0.1 * rng.normal(
        size=(subjects * cells, 24)
    )
    return features.astype(np.float32), np.repeat(np.arange(subjects).astype(str), cells)


def test_the_limit_lets_subjects_pass_and_stops_what_is_foreign() -> None:
    features, subject = cohort(0)
    statistics, limit = fit_features(features, subject, subject)
    assert (limit.cells, limit.subjects) == (240, 12)
    rng = np.random.default_rng(1)
    assert (statistics.distance(features) <= limit.limit).mean() > 0.97
    # Of the same length, but in directions that no cell has.
    foreign = rng.normal(size=features.shape)
    foreign *= np.linalg.norm(features, axis=1, keepdims=True) / np.linalg.norm(
        foreign, axis=1, keepdims=True
    )
    assert (statistics.distance(foreign) > limit.limit).mean() > 0.9


def test_the_same_cells_and_seed_give_the_same_bytes_and_read_back() -> None:
    features, subject = cohort(0)
    statistics, _ = fit_features(features, subject, subject)
    data = encode_features(statistics)
    assert encode_features(fit_features(features, subject, subject)[0]) == data
    read = decode_features(data)
    assert np.array_equal(read.distance(features), statistics.distance(features))


def test_features_that_are_all_alike_have_statistics() -> None:
    statistics = feature_statistics(np.full((20, 5), 2.0, np.float32), np.full(20, 0.05))
    assert statistics.distance([[2.0] * 5])[0] == 0
    assert statistics.distance([[2.1] * 5])[0] > 1000


def test_the_range_holds_the_training_cells_and_a_margin() -> None:
    looks = np.exp(np.random.default_rng(0).normal(size=(200, 4)))
    ranges = fit_appearance(looks, np.arange(200).astype(str))
    low, high = ranges.sharpness
    assert ((looks[:, 3] >= low) & (looks[:, 3] <= high)).mean() >= 0.99
    assert high > np.quantile(looks[:, 3], 0.995)


@pytest.mark.parametrize("data", [b"", b"no zip", encode_features(FeatureStatistics(
    np.zeros(3, np.float32), np.eye(2, 3, dtype=np.float32), 1.0))[:-30]])  # fmt: skip
def test_damaged_statistics_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="the feature statistics cannot be read"):
        decode_features(data)


def test_statistics_that_would_be_executed_are_refused() -> None:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, mean=np.array([print], object), basis=np.eye(2), residual=np.ones(1))
    with pytest.raises(BundleError, match="the feature statistics cannot be read"):
        decode_features(buffer.getvalue())


@pytest.mark.parametrize(
    ("mean", "basis", "residual", "sentence"),
    [
        (np.zeros(3), np.eye(2, 4), 1.0, r"a mean \(F,\) and a basis \(k, F\), got \(3,\) and \(2, 4\)"),
        (np.zeros(3), np.zeros((2, 3)), 1.0, "no row of zeros"),
        (np.full(3, np.nan), np.eye(2, 3), 1.0, "finite statistics"),
        (np.zeros(3), np.eye(2, 3), 0.0, "a residual above 0, got 0.0"),
    ],
)
def test_statistics_that_measure_nothing_are_refused(
    mean: np.ndarray, basis: np.ndarray, residual: float, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        FeatureStatistics(mean.astype(np.float32), basis.astype(np.float32), residual)


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(
        DataRefusedError, match="too few training cells for the gate: got 9, allowed 10 or more"
    ):
        fit_appearance(np.ones((9, 4)), np.arange(9).astype(str))


def test_one_group_is_refused() -> None:
    features, subject = cohort(0)
    with pytest.raises(DataRefusedError, match="several groups of subjects: got 1, allowed 2 or more"):
        fit_features(features, subject, np.full(len(subject), "all"))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_an_alpha_that_promises_nothing_is_refused(alpha: float) -> None:
    with pytest.raises(UsageError, match="alpha is out of range"):
        fit_conformal(np.ones(2), np.array([True, False]), np.array(["a", "b"]), alpha=alpha)


@pytest.mark.parametrize("name", ["sensitivity", "band_sensitivity", "band_specificity", "most_abstained"])
def test_a_share_over_one_is_refused(name: str) -> None:
    truth = np.array([True, False])
    with pytest.raises(UsageError, match=f"{name} is out of range: got 1.1, allowed 0 to 1"):
        choose_operating_point(truth.astype(float), truth, np.ones(2), **{name: 1.1})
