"""A crop of one cell becomes the network's input tensor: the same code in training and on the device.

Bit-equal on every architecture: integer or IEEE-exact arithmetic, and of OpenCV only
``INTER_LINEAR_EXACT`` and the fixed-point grey conversion (plain bilinear, area and cubic resizing
differ between x86-64 and aarch64).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.frames import CellCrop

NORMAL_MEAN = 128
NORMAL_STD = 48
# Channels that say where something is; all others hold grey levels.
MASKS = ("mask", "nucleus")
# Below this spread (grey levels) a cell is flat and stretching it would show noise as texture.
LEAST_STD = 4.0


class ScaledCell(NamedTuple):
    """A cell at the network's scale.

    Attributes
    ----------
    pixels : (h, w, 3) uint8, RGB
        Tight to the cell, its mean colour around it.
    inside : (h, w) bool
        The cell without its rim.
    """

    pixels: npt.NDArray[np.uint8]
    inside: npt.NDArray[np.bool_]


def to_tensor(crop: CellCrop, contract: InputContract) -> npt.NDArray[np.uint8]:
    """Bring one crop to the network's scale, centre it, and normalise it as the contract says.

    Parameters
    ----------
    crop : CellCrop
    contract : InputContract

    Returns
    -------
    (H, W, C) uint8
        Parts of the cell that stick out of the tensor are cut.
    """
    return tensor_of(scaled_cell(crop, contract), contract)


def tensor_of(cell: ScaledCell, contract: InputContract) -> npt.NDArray[np.uint8]:
    """Centre a cell that is at the network's scale, and normalise it: (H, W, C) uint8."""
    target, source = _centred(cell.inside.shape, (contract.height, contract.width))
    pixels, inside = np.ascontiguousarray(cell.pixels[source]), np.ascontiguousarray(cell.inside[source])
    planes = []
    for channel in contract.channels:
        if channel in MASKS:
            within = inside if channel == "mask" else np.ascontiguousarray(nucleus_of(cell)[source])
            planes.append(within.view(np.uint8) * np.uint8(255))
        else:
            values = _channel(pixels, channel)
            planes.append(normalised(values, inside) if contract.normalise else values)
    tensor: npt.NDArray[np.uint8] = _without_a_cell(contract).copy()
    tensor[target] = cv2.merge(planes).reshape(*inside.shape, len(planes))
    return tensor


@lru_cache(maxsize=4)
def _without_a_cell(contract: InputContract) -> npt.NDArray[np.uint8]:
    """Tensor of nothing, (H, W, C) uint8: a copy of it costs less than to fill plane by plane."""
    colour = NORMAL_MEAN if contract.normalise else 0
    levels = [0 if channel in MASKS else colour for channel in contract.channels]
    return np.full(contract.shape, levels, np.uint8)


def scaled_cell(crop: CellCrop, contract: InputContract) -> ScaledCell:
    """Bring one crop to the network's scale."""
    pixels, mask = _scaled(crop, contract.px_per_um / crop.px_per_um)
    return ScaledCell(pixels, _without_rim(mask >= 128, round(contract.rim_um * contract.px_per_um)))


def to_batch(crops: Sequence[CellCrop], contract: InputContract) -> npt.NDArray[np.uint8]:
    """Stack the tensors of several crops: (n, H, W, C) uint8."""
    batch = np.empty((len(crops), *contract.shape), np.uint8)
    for row, crop in zip(batch, crops, strict=True):
        row[...] = to_tensor(crop, contract)
    return batch


def normalised(values: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Bring one channel to a fixed mean and spread within the cell; the outside becomes the mean.

    Parameters
    ----------
    values : (h, w) uint8
    inside : (h, w) bool

    Returns
    -------
    (h, w) uint8
    """
    counts = _counts(values, inside)
    total = int(counts.sum())
    if total == 0:
        return np.full(values.shape, NORMAL_MEAN, np.uint8)
    levels = np.arange(256)
    # Sums of integers are exact, so that the table below is the same on every machine.
    mean = int((counts * levels).sum()) / total
    std = max(float(np.sqrt(int((counts * levels * levels).sum()) / total - mean * mean)), LEAST_STD)
    stretched = np.rint(NORMAL_MEAN + (levels - mean) * (NORMAL_STD / std))
    table: npt.NDArray[np.uint8] = np.clip(stretched, 0, 255).astype(np.uint8)
    normal = np.full(values.shape, NORMAL_MEAN, np.uint8)
    cv2.copyTo(cv2.LUT(values, table), inside.view(np.uint8), normal)
    return normal


def nucleus_of(cell: ScaledCell) -> npt.NDArray[np.bool_]:
    """Find the darker part of a cell: Otsu's threshold (1979) of green, which nuclear stains absorb most.

    Returns
    -------
    (h, w) bool
        All of the cell where it is of one grey level.
    """
    green = cell.pixels[:, :, 1]
    counts = _counts(green, cell.inside)
    total = int(counts.sum())
    if total == 0:
        return cell.inside
    levels = np.arange(256)
    # Integers, so that every machine finds the same threshold.
    below, sums = np.cumsum(counts), np.cumsum(counts * levels)
    above = total - below
    # (difference of the two means)^2 * below * above, both sides multiplied by the total.
    apart = (sums * above - (sums[-1] - sums) * below).astype(np.float64)
    between = np.divide(apart**2, below * above, out=np.full(256, -1.0), where=(below > 0) & (above > 0))
    threshold = int(np.argmax(between)) if between.max() >= 0 else 255
    return cell.inside & (green <= threshold)


def _counts(values: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """How often each of the 256 levels occurs inside."""
    mask = np.ascontiguousarray(inside).view(np.uint8)
    counts = cv2.calcHist([np.ascontiguousarray(values)], [0], mask, [256], [0, 256])
    return np.asarray(counts.ravel(), np.int64)


def _channel(pixels: npt.NDArray[np.uint8], channel: str) -> npt.NDArray[np.uint8]:
    if channel == "luminance":
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.asarray(cv2.extractChannel(pixels, ("red", "green", "blue").index(channel)), np.uint8)


def _scaled(crop: CellCrop, factor: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Cut the crop to its cell and resize it by `factor`, colours filled in around the cell."""
    x, y, w, h = cv2.boundingRect(crop.mask)
    if w == 0:
        return np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8)
    pixels = crop.pixels[y : y + h, x : x + w]
    mask = crop.mask[y : y + h, x : x + w]
    size = (max(1, round(w * factor)), max(1, round(h * factor)))
    return _resized(_padded_with_cell(pixels, mask), size), _resized(mask, size)


def _padded_with_cell(pixels: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Put the cell's mean colour around it: resizing must not mix black into the rim."""
    count = cv2.countNonZero(mask)
    # Sums of bytes are exact in float64.
    cell = cv2.copyTo(pixels, mask)
    colour = [(int(total) + count // 2) // count for total in cv2.sumElems(cell)[:3]]
    padded = cv2.merge([np.full(mask.shape, level, np.uint8) for level in colour])
    cv2.copyTo(pixels, mask, padded)
    return np.asarray(padded, np.uint8)


def _without_rim(inside: npt.NDArray[np.bool_], rim_px: int) -> npt.NDArray[np.bool_]:
    """Shrink the cell by a rim; what lies beyond the crop's edge is not cell."""
    if rim_px == 0:
        return inside
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim_px + 1, 2 * rim_px + 1))
    shrunk = cv2.erode(inside.view(np.uint8), disc, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(shrunk, np.uint8).view(bool)


def _resized(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize to (width, height): halve while more than half is too much, then one bilinear step."""
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1]:
        half = (max(size[0], image.shape[1] // 2), max(size[1], image.shape[0] // 2))
        image = cv2.resize(image, half, interpolation=cv2.INTER_LINEAR_EXACT)  # type: ignore[assignment]
    if (image.shape[1], image.shape[0]) == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR_EXACT)  # type: ignore[return-value]


def _centred(
    shape: tuple[int, ...], target: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices that put an array of `shape` into the middle of `target`, cutting what sticks out."""
    pairs = []
    for have, want in zip(shape, target, strict=False):
        length = min(have, want)
        pairs.append(
            (
                slice((want - length) // 2, (want - length) // 2 + length),
                slice((have - length) // 2, (have - length) // 2 + length),
            )
        )
    (ty, sy), (tx, sx) = pairs
    return (ty, tx), (sy, sx)
