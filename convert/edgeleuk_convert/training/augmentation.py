"""Alter input tensors the way another slide, camera or focus would, and draw balanced batches.

Everything is drawn from generators that are seeded by (seed, epoch, step), so a training that was
interrupted goes on with exactly the batches it would have had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.errors import UsageError
from edgeleuk.inference.preprocessing import MASKS, NORMAL_MEAN, normalised
from edgeleuk_convert.metrics.classification import balanced_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk_convert.dataset.cells import LabelledCell

    Tensor = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float64]

INSIDE = 128
# Bins of log area in which `size_balanced` makes the classes equally frequent.
_AREA_BINS = 12


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a tensor may be altered.

    Attributes
    ----------
    scale : float
        Largest relative change of size.
    shift_px : float
        Largest shift in either direction.
    gamma, contrast : float
        Largest change of the exponent and of the spread, relative.
    blur_px : float
        Largest standard deviation of a Gaussian blur; half of the tensors get one.
    noise : float
        Largest standard deviation of noise, in grey levels of the tensor; half get one.
    jpeg : float
        Share of tensors that go through a JPEG of quality 40 to 90.
    erode : float
        Share of tensors whose cell loses its rim, as another segmentation would cut it.
    """

    scale: float = 0.1
    shift_px: float = 4.0
    gamma: float = 0.2
    contrast: float = 0.1
    blur_px: float = 0.5
    noise: float = 3.0
    jpeg: float = 0.05
    erode: float = 0.2

    def __post_init__(self) -> None:
        for name, high in (
            ("scale", 0.9),
            ("shift_px", 1000),
            ("gamma", 5),
            ("contrast", 1),
            ("blur_px", 100),
            ("noise", 255),
            ("jpeg", 1),
            ("erode", 1),
        ):
            if not 0 <= getattr(self, name) <= high:
                raise UsageError(
                    f"augmentation.{name} is out of range", got=getattr(self, name), allowed=f"0 to {high}"
                )


def augmented(tensor: Tensor, contract: InputContract, how: Augmentation, rng: np.random.Generator) -> Tensor:
    """Return an altered copy of one tensor.

    Parameters
    ----------
    tensor : (H, W, C) uint8
    contract : InputContract
        Which channel is what; colours that it normalises are normalised again afterwards.
    how : Augmentation
    rng : numpy.random.Generator
    """
    outside = [0 if name in MASKS or not contract.normalise else NORMAL_MEAN for name in contract.channels]
    moved = _moved(tensor, outside, how, rng)
    colours = [index for index, name in enumerate(contract.channels) if name not in MASKS]
    inside = _inside(moved, contract)
    if rng.random() < how.erode:
        inside = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        if "mask" in contract.channels:
            moved[:, :, contract.channels.index("mask")] = np.where(inside, 255, 0)
        if "nucleus" in contract.channels:
            moved[~inside, contract.channels.index("nucleus")] = 0
    exponent = np.exp(rng.uniform(-how.gamma, how.gamma))
    contrast = 1 + rng.uniform(-how.contrast, how.contrast)
    sigma = rng.uniform(0.2, how.blur_px) if rng.random() < 0.5 and how.blur_px > 0.2 else 0.0
    noise = rng.uniform(0, how.noise) if rng.random() < 0.5 else 0.0
    quality = int(rng.integers(40, 91)) if rng.random() < how.jpeg else 0
    for index in colours:
        plane = np.ascontiguousarray(moved[:, :, index])
        plane = _table(exponent)[plane]
        if sigma:
            plane = cv2.GaussianBlur(plane, (0, 0), sigma)  # type: ignore[assignment]
        if noise:
            grain = rng.standard_normal(plane.shape, np.float32) * np.float32(noise)
            plane = np.clip(np.rint(plane + grain), 0, 255).astype(np.uint8)
        if quality:
            encoded = cv2.imencode(".jpg", plane, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
            plane = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)  # type: ignore[assignment]
        if contract.normalise:
            plane = normalised(plane, inside)
        values = np.clip(np.rint(NORMAL_MEAN + (np.arange(256) - NORMAL_MEAN) * contrast), 0, 255)
        moved[:, :, index] = np.where(inside, values.astype(np.uint8)[plane], np.uint8(outside[index]))
    return moved


def augmented_batch(
    tensors: Tensor,
    rows: npt.NDArray[np.int64],
    contract: InputContract,
    how: Augmentation,
    seed: Sequence[int],
) -> npt.NDArray[np.float32]:
    """Alter the chosen rows of `tensors`; (n, H, W, C) float32 bytes."""
    rng = np.random.default_rng(list(seed))
    return np.stack([augmented(tensors[row], contract, how, rng) for row in rows]).astype(np.float32)


def sampling_weights(cells: Sequence[LabelledCell], *, subject_cap: int, size_balanced: float) -> Floats:
    """Probability with which each cell is drawn.

    Parameters
    ----------
    cells : sequence of LabelledCell
        Both classes count the same.
    subject_cap : int
        Within a class, a subject of more cells than this is drawn as often as one of this many.
    size_balanced : float
        0: sizes as they come. 1: within each range of sizes both classes are drawn equally often, so
        that size tells the training nothing and the network must look at the chromatin. Between: part.

    Returns
    -------
    (n,) float64
        Sums to 1.
    """
    truth = np.array([cell.label == "blast" for cell in cells])
    subject = np.array([cell.subject or "" for cell in cells])
    weight = balanced_weights(truth, subject, cap=subject_cap)
    if size_balanced:
        area = np.log([cell.foreground_px for cell in cells])
        edges = np.quantile(area, np.linspace(0, 1, _AREA_BINS + 1)[1:-1])
        place = np.searchsorted(edges, area)
        share = np.stack(
            [np.bincount(place, weights=weight * side, minlength=_AREA_BINS) for side in (truth, ~truth)]
        )
        # What both classes have in common in a range, over what this class has there.
        common = 2 * share.prod(axis=0) / np.maximum(share.sum(axis=0), 1e-12)
        factor = common / np.maximum(share, 1e-12)
        weight = weight * factor[np.where(truth, 0, 1), place] ** size_balanced
        for side in (truth, ~truth):
            weight[side] /= 2 * weight[side].sum()
    return weight


def epoch_rows(weights: Floats, count: int, seed: Sequence[int]) -> npt.NDArray[np.int64]:
    """Draw `count` rows; low-discrepancy, so that an epoch holds each cell as often as it should."""
    rng = np.random.default_rng(list(seed))
    positions = (np.arange(count) + rng.random(count)) / count
    order = rng.permutation(len(weights))
    rows = order[np.minimum(np.searchsorted(np.cumsum(weights[order]), positions), len(weights) - 1)]
    return rng.permutation(rows)


def _moved(tensor: Tensor, outside: list[int], how: Augmentation, rng: np.random.Generator) -> Tensor:
    """Rotate by any angle, mirror, scale and shift."""
    height, width = tensor.shape[:2]
    angle, scale = rng.uniform(0, 2 * np.pi), 1 + rng.uniform(-how.scale, how.scale)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    mirror = rng.choice((-1.0, 1.0))
    linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = centre - linear @ centre + rng.uniform(-how.shift_px, how.shift_px, 2)
    matrix = np.column_stack([linear, offset])
    moved = cv2.warpAffine(
        tensor,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=outside,
    )
    return moved.reshape(tensor.shape)  # type: ignore[return-value]


def _inside(tensor: Tensor, contract: InputContract) -> npt.NDArray[np.bool_]:
    if "mask" in contract.channels:
        return tensor[:, :, contract.channels.index("mask")] >= INSIDE
    outside = NORMAL_MEAN if contract.normalise else 0
    inside: npt.NDArray[np.bool_] = (tensor != outside).any(axis=2)
    return inside


def _table(exponent: float) -> Tensor:
    return np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
