"""What an altered tensor keeps, and how cells are drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeleuk.bundle.manifest import Channel, InputContract
from edgeleuk.inference.preprocessing import NORMAL_MEAN, normalised
from edgeleuk_convert.dataset.cells import LabelledCell
from edgeleuk_convert.training.augmentation import (
    Augmentation,
    augmented,
    augmented_batch,
    epoch_rows,
    sampling_weights,
)

STILL = Augmentation(
    scale=0, shift_px=0, gamma=0, contrast=0, blur_px=0, noise=0, jpeg=0, erode=0
)  # only rotation and mirroring are left


def contract(channels: tuple[Channel, ...] = ("luminance", "mask")) -> InputContract:
    """Return a small input contract."""
    return InputContract(
        height=64, width=64, channels=channels, normalise=True, px_per_um=4, crop_px_per_um=18.5
    )


def tensor(channels: int = 2) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Draw a noisy disc, normalised, with its mask last."""
    mask = cv2.circle(np.zeros((64, 64), np.uint8), (32, 32), 20, 255, -1)
    rng = np.random.default_rng(0)
    planes = [
        normalised(cv2.GaussianBlur(rng.integers(0, 256, (64, 64)).astype(np.uint8), (0, 0), 1.5), mask > 0)
        for _ in range(channels - 1)
    ]
    return np.dstack([*planes, mask])


@pytest.mark.parametrize("channels", [("luminance", "mask"), ("red", "green", "blue", "mask")])
def test_the_outside_stays_what_the_contract_says(channels: tuple[Channel, ...]) -> None:
    before = tensor(len(channels))
    for seed in range(20):
        after = augmented(before, contract(channels), Augmentation(), np.random.default_rng(seed))
        assert after.shape == before.shape
        assert after.dtype == np.uint8
        outside = after[:, :, -1] < 128
        assert (after[outside][:, :-1] == NORMAL_MEAN).all()
        area = np.count_nonzero(~outside) / np.count_nonzero(before[:, :, -1])
        assert 0.65 < area < 1.25
        inside = after[~outside][:, 0]
        assert abs(inside.mean() - NORMAL_MEAN) < 4
        assert 35 < inside.std() < 60


def test_rotation_alone_keeps_size_and_texture() -> None:
    before = tensor()
    after = augmented(before, contract(), STILL, np.random.default_rng(1))
    assert np.count_nonzero(after[:, :, 1] >= 128) == pytest.approx(
        np.count_nonzero(before[:, :, 1]), rel=0.02
    )
    assert not np.array_equal(after, before)


def test_the_seed_decides() -> None:
    tensors = np.stack([tensor(), tensor()])
    rows = np.array([0, 1, 1])
    one, again, other = (
        augmented_batch(tensors, rows, contract(), Augmentation(), seed)
        for seed in ((1, 2, 3), (1, 2, 3), (1, 2, 4))
    )
    assert one.shape == (3, 64, 64, 2)
    assert one.dtype == np.float32
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def cells(areas: dict[str, list[int]]) -> list[LabelledCell]:
    """Make cells of the given sizes; subjects whose name begins with H are normal."""
    return [
        LabelledCell(Path(f"{s}{n}"), "normal" if s[0] == "H" else "blast", s, s, f"{s}{n}", area, 450, 450)
        for s, of_subject in areas.items()
        for n, area in enumerate(of_subject)
    ]


def test_classes_and_subjects_are_drawn_alike() -> None:
    cohort = cells({"1": [100] * 80, "2": [100] * 2, "H1": [100] * 10})
    weights = sampling_weights(cohort, subject_cap=40, size_balanced=0)
    subject = np.array([cell.subject for cell in cohort])
    assert weights[subject == "H1"].sum() == pytest.approx(0.5)
    assert weights[subject == "1"].sum() == pytest.approx(20 * weights[subject == "2"].sum())


def test_size_can_be_made_to_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    cohort = cells(
        {
            "1": rng.normal(36000, 5000, 300).astype(int).tolist(),
            "H1": rng.normal(28000, 5000, 300).astype(int).tolist(),
        }
    )
    truth = np.array([cell.label == "blast" for cell in cohort])
    area = np.array([cell.foreground_px for cell in cohort])

    def gap(size_balanced: float) -> float:
        weights = sampling_weights(cohort, subject_cap=1000, size_balanced=size_balanced)
        assert weights.sum() == pytest.approx(1)
        means = [np.average(area[side], weights=weights[side]) for side in (truth, ~truth)]
        return float(means[0] - means[1])

    assert gap(0) > 7000
    assert gap(0.5) < 0.7 * gap(0)
    assert abs(gap(1)) < 700


def test_an_epoch_holds_each_cell_as_often_as_it_should() -> None:
    weights = np.array([0.5, 0.25, 0.125, 0.125])
    rows = epoch_rows(weights, 800, (0, 1))
    assert np.abs(np.bincount(rows, minlength=4) - 800 * weights).max() <= 1
    assert np.array_equal(rows, epoch_rows(weights, 800, (0, 1)))
    assert not np.array_equal(rows, epoch_rows(weights, 800, (0, 2)))
