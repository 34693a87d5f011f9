"""The lamp's light and the lens's shade, learnt from the fields of a scan where nobody took a blank.

Glass is the brightest that a place of the picture shows over many fields, but for dust and noise. What is
learnt is smooth: a polynomial of the fourth degree over the picture, of each colour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.vision.flatfield import BLANK_LEVELS, FlatField

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Floats = npt.NDArray[np.float32]

# So many fields tell it; of fewer than the least, cells would be taken for shade.
FIELDS = 60
LEAST_FIELDS = 12
_SIDE = 32
_DEGREE = 4
_ROUNDS = 5
_LEVEL = 0.5
# Over the fields, the share that is darker than glass at a place.
_GLASS = 0.8
# A shade beyond this is no lamp's.
_LEAST_GAIN, _MOST_GAIN = 0.5, 2.0


def learnt_light(pictures: Iterable[RgbImage]) -> FlatField | None:
    """Learn the light from fields of one size.

    Parameters
    ----------
    pictures : iterable of (H, W, 3) uint8, RGB

    Returns
    -------
    FlatField or None
        None where there are too few fields, or the shade is no lamp's.
    """
    small, shape = [], None
    for pixels in pictures:
        shape = shape or pixels.shape[:2]
        if pixels.shape[:2] == shape:
            small.append(cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA))
    if shape is None or len(small) < LEAST_FIELDS:
        return None
    glass = np.quantile(np.stack(small).astype(np.float32), _GLASS, axis=0)
    light = _smooth(np.asarray(glass, np.float32))
    if not (light.min() / light.mean() > _LEAST_GAIN and light.max() / light.mean() < _MOST_GAIN):
        return None
    full = cv2.resize(light, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    levels = np.clip(np.round(full / full.max() * 255 * BLANK_LEVELS), 1, 65535)
    return FlatField(levels.astype(np.uint16))


def _smooth(glass: Floats) -> Floats:
    """Fit a polynomial to (h, w, 3), which single dark or bright places do not move."""
    across, down = np.meshgrid(*(np.linspace(-1, 1, side) for side in glass.shape[1::-1]))
    powers = [(i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
    terms = np.stack([across.ravel() ** i * down.ravel() ** j for i, j in powers], axis=1)
    values = glass.reshape(-1, 3).astype(np.float64)
    fitted = np.empty_like(values)
    for colour in range(3):
        weights = np.ones(len(values))
        for _ in range(_ROUNDS):
            root = np.sqrt(weights)
            found = np.linalg.lstsq(root[:, None] * terms, root * values[:, colour], rcond=None)[0]
            fitted[:, colour] = terms @ found
            # Least absolute deviations, by weights.
            weights = 1 / np.maximum(np.abs(values[:, colour] - fitted[:, colour]), _LEVEL)
    return fitted.reshape(glass.shape).astype(np.float32)
