"""What a stained smear does to light: background, optical density, thresholds.

Every rule of this room works on optical density relative to the picture's own background, so that a yellow
filter, a dim lamp or another camera's white balance cancels out before anything is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.vision.reducing import green_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Floats = npt.NDArray[np.float32]

# Keeps the density of a pixel that clips at 0 finite, at a value noise does not dominate.
_DARK_OFFSET = 8.0
# Of a histogram that is to be parted, and every two of them, of which the first has to be the lower.
_BINS = 128
_NO_PAIRS = np.tri(_BINS, dtype=bool)
# Blue-violet nuclei absorb red and green and let blue pass; haemoglobin and eosin absorb blue as well.
_NUCLEUS_WEIGHTS = np.array([[1.0, 1.0, -1.0]], np.float32)


def background_colour(pixels: RgbImage) -> Floats:
    """Colour of the empty glass: the highest peak of green above Otsu's threshold.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB

    Returns
    -------
    (3,) float32, RGB, at least 1
    """
    green = green_of(pixels)
    threshold = int(cv2.threshold(green, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0])
    counts = cv2.calcHist([green], [0], None, [256], [0, 256]).ravel()
    counts = np.convolve(counts, np.full(9, 1 / 9), "same")
    first = min(threshold + 1, 255)
    peak = first + int(np.argmax(counts[first:]))
    near = cv2.inRange(green, max(peak - 5, 0), min(peak + 5, 255))
    if not near.any():
        return np.full(3, 255, np.float32)
    return np.array([max(1.0, level) for level in cv2.mean(pixels, near)[:3]], np.float32)


def optical_density(pixels: RgbImage, background: Floats) -> Floats:
    """Beer-Lambert: ``-log(I / I0)`` for each channel, natural logarithm.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    background : (3,) float32, RGB

    Returns
    -------
    (H, W, 3) float32, 0 for the background, negative where brighter
    """
    levels = np.arange(256, dtype=np.float32)[:, None]
    table = -np.log((levels + _DARK_OFFSET) / (background + _DARK_OFFSET))
    # A table for each channel takes less time than one for all three.
    planes = zip(cv2.split(pixels), table.T.astype(np.float32), strict=True)
    return np.asarray(cv2.merge([cv2.LUT(plane, of_levels) for plane, of_levels in planes]), np.float32)


def nuclear_density(density: Floats) -> Floats:
    """Red plus green minus blue density: high in nuclei, low in red cells.

    Parameters
    ----------
    density : (H, W, 3) float32

    Returns
    -------
    (H, W) float32
    """
    return np.asarray(cv2.transform(density, _NUCLEUS_WEIGHTS), np.float32)


def otsu(values: Floats, classes: int) -> tuple[float, ...]:
    """Thresholds that maximise the variance between 2 or 3 classes (Otsu, 1979).

    Parameters
    ----------
    values : (n,) float32
        Not empty.
    classes : int
        2 or 3.

    Returns
    -------
    tuple of `classes` - 1 floats, ascending
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return (low,) * (classes - 1)
    # As wide as the bins between them, the last one holds the greatest value alone.
    edge = high + (high - low) / (_BINS - 1)
    flat = np.ascontiguousarray(values).reshape(1, -1)
    share = cv2.calcHist([flat], [0], None, [_BINS], [low, edge]).ravel().astype(np.float64) / flat.size
    weight, moment = np.cumsum(share), np.cumsum(share * np.arange(_BINS))

    def spread(mass: npt.NDArray[np.float64], first: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(first**2 / np.where(mass > 1e-9, mass, np.inf), np.float64)

    below = spread(weight, moment)
    above = spread(1 - weight, moment[-1] - moment)
    if classes == 2:
        cuts: tuple[int, ...] = (int(np.argmax(below + above)),)
    else:
        # All pairs side by side: to gather half of them takes ten times as long.
        between = spread(weight - weight[:, None], moment - moment[:, None])
        both = below[:, None] + between + above
        both[_NO_PAIRS] = -1
        cuts = divmod(int(np.argmax(both)), _BINS)
    return tuple(low + (cut + 0.5) * (high - low) / (_BINS - 1) for cut in cuts)
