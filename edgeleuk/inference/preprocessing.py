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

    from edgeleuk.bundle.manifest import InputContract, Resize
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
    """Bring one crop to the network's form, as the contract says.

    Parameters
    ----------
    crop : CellCrop
    contract : InputContract

    Returns
    -------
    (H, W, C) uint8
        Parts of the cell that stick out of the tensor are cut.
    """
    return cell_and_tensor(crop, contract)[1]


def cell_and_tensor(crop: CellCrop, contract: InputContract) -> tuple[ScaledCell, npt.NDArray[np.uint8]]:
    """Return a cell at the network's scale, and what the network is given of it, (H, W, C) uint8."""
    cell = scaled_cell(crop, contract)
    if contract.framing == "centred":
        return cell, tensor_of(cell, contract)
    pixels = resized(framed(crop, contract), (contract.width, contract.height), contract.resize)
    planes = [_channel(pixels, channel) for channel in contract.channels]
    return cell, np.asarray(cv2.merge(planes), np.uint8).reshape(contract.shape)


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


def framed(crop: CellCrop, contract: InputContract) -> npt.NDArray[np.uint8]:
    """Return the picture or the box that a network was taught on, not yet resized.

    A picture of its own is taken as it is. Of a cell from a field, a picture is put together at the scale of
    the pictures that the network knows, so that it is resized as they were.

    Parameters
    ----------
    crop : CellCrop
    contract : InputContract
        Its framing is ``picture`` or ``box``.

    Returns
    -------
    (h, w, 3) uint8, RGB
    """
    kept = contract.surroundings == "kept"
    pixels = crop.pixels if kept else np.asarray(cv2.copyTo(crop.pixels, crop.mask), np.uint8)
    if contract.framing == "box":
        return _box(crop, pixels, contract.crop_px_per_um)
    if crop.whole or contract.picture_px is None:
        return pixels
    return _composed(crop, contract, contract.picture_px, kept=kept)


def _box(crop: CellCrop, pixels: npt.NDArray[np.uint8], px_per_um: float) -> npt.NDArray[np.uint8]:
    x, y, w, h = cv2.boundingRect(crop.mask)
    if w == 0:
        return pixels
    cut = np.ascontiguousarray(pixels[y : y + h, x : x + w])
    return cut if crop.whole else _resized(cut, _size(w, h, px_per_um / crop.px_per_um))


def _composed(
    crop: CellCrop, contract: InputContract, picture_px: tuple[int, int], *, kept: bool
) -> npt.NDArray[np.uint8]:
    """Put a cell from a field into the middle of a picture of (height, width)."""
    factor = contract.crop_px_per_um / crop.px_per_um
    picture = np.zeros((*picture_px, 3), np.uint8)
    if kept:
        # What the field does not show stays black.
        pixels = _resized(crop.pixels, _size(crop.pixels.shape[1], crop.pixels.shape[0], factor))
        target, source = _centred(pixels.shape[:2], picture_px)
        picture[target] = pixels[source]
        return picture
    pixels, mask = _scaled(crop, factor)
    target, source = _centred(mask.shape, picture_px)
    inside = (mask[source] >= 128).view(np.uint8)
    picture[target] = cv2.copyTo(np.ascontiguousarray(pixels[source]), np.ascontiguousarray(inside))
    return picture


def resized(picture: npt.NDArray[np.uint8], size: tuple[int, int], kind: Resize) -> npt.NDArray[np.uint8]:
    """Resize an (h, w, 3) picture to (width, height), to the same bytes on every machine.

    ``bilinear`` is what ``cv2.INTER_LINEAR`` and ``tf.image.resize`` do, ``nearest`` what Pillow and
    ``tf.image.resize`` do, ``area`` what ``cv2.INTER_AREA`` does, each to within one grey level.
    """
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    if kind == "halve-exact":
        return _resized(picture, size)
    if kind == "nearest":
        rows, columns = _nearest(picture.shape[0], size[1]), _nearest(picture.shape[1], size[0])
        return np.ascontiguousarray(picture[rows][:, columns])
    smaller = size[0] <= picture.shape[1] and size[1] <= picture.shape[0]
    if kind == "area" and smaller:
        return _averaged(picture, size)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR_EXACT), np.uint8)


def _nearest(have: int, want: int) -> npt.NDArray[np.int64]:
    """Return the pixel in which the middle of each new one lies."""
    return (2 * np.arange(want) + 1) * have // (2 * want)


def _averaged(picture: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Average what each new pixel covers: sums of whole numbers, which float64 holds exactly."""
    height, width = picture.shape[:2]
    rows, columns = _overlaps(height, size[1]), _overlaps(width, size[0])
    planes = [rows @ picture[:, :, index].astype(np.float64) @ columns.T for index in range(3)]
    area = height * width
    whole: npt.NDArray[np.uint8] = np.floor((np.stack(planes, axis=-1) + area // 2) / area).astype(np.uint8)
    return whole


@lru_cache(maxsize=8)
def _overlaps(have: int, want: int) -> npt.NDArray[np.float64]:
    """How much of each old pixel each new one covers, (want, have), in units of one ``want``-th."""
    starts, ends = np.arange(want)[:, None] * have, np.arange(1, want + 1)[:, None] * have
    old = np.arange(have)[None] * want
    covered: npt.NDArray[np.float64] = np.clip(
        np.minimum(ends, old + want) - np.maximum(starts, old), 0, None
    ).astype(np.float64)
    return covered


def _size(width: int, height: int, factor: float) -> tuple[int, int]:
    return max(1, round(width * factor)), max(1, round(height * factor))


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
    return np.asarray(cv2.split(pixels)[("red", "green", "blue").index(channel)], np.uint8)


def _scaled(crop: CellCrop, factor: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Cut the crop to its cell and resize it by `factor`, colours filled in around the cell."""
    x, y, w, h = cv2.boundingRect(crop.mask)
    if w == 0:
        return np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8)
    pixels = crop.pixels[y : y + h, x : x + w]
    mask = crop.mask[y : y + h, x : x + w]
    size = _size(w, h, factor)
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
